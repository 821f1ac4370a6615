"""An engine process that does not react any more is replaced; nobody asks one that has nothing to do."""
import os
import signal

import pytest

from process import halt, session_of, wait_for
from test_bad_moments import ctl, script
from test_rest import answers, engines, serve  # noqa: F401


def patient(front):
    """A connection that has been told everything, and waits for its answer."""
    sock = front.connect()
    sock.settimeout(90)
    front.ask(sock)
    return sock


@pytest.mark.seconds(180)
def test_stopped_while_it_rests(serve):  # noqa: F811
    """Who connects finds it stopped, and is answered by its successor."""
    server = serve("pm.max_children = 2\n")
    wait_for(lambda: server.still(), 60, "rest")
    old = engines(server)[0]
    halt(old)
    # nobody asks before there is a reason, where those that are awake are asked every 5 s
    wait_for(lambda: server.still(6), 60, "that nobody asks")
    waiting = [(front, patient(front)) for front in (server.http, server.fcgi)]
    wait_for(lambda: "silent" in ctl(server, "status"), 30, "that its silence is told")
    assert all(front.answered(sock) for front, sock in waiting)
    wait_for(lambda: session_of(old) is None, 60, "its end")
    assert "it has not reacted for" in server.messages()
    assert answers(server.http)


@pytest.mark.seconds(180)
def test_stopped_while_it_has_a_connection(serve):  # noqa: F811
    """Nobody new comes; it is asked all the same."""
    server = serve("engine = stub\npm.max_children = 2\n")
    old = engines(server)[0]
    server.http.hold()
    halt(old)
    wait_for(lambda: session_of(old) is None, 60, "its end")
    assert answers(server.http) and answers(server.fcgi)
    server.http.held.close()


@pytest.mark.seconds(180)
def test_let_go_in_time(serve):  # noqa: F811
    server = serve("pm.max_children = 2\n")
    old = engines(server)[0]
    halt(old)
    waiting = patient(server.http)
    wait_for(lambda: "silent" in ctl(server, "status"), 30, "that its silence is told")
    os.kill(old, signal.SIGCONT)
    assert server.http.answered(waiting)
    wait_for(lambda: "silent" not in ctl(server, "status"), 20, "that it is well again")
    assert engines(server) == [old]


@pytest.mark.seconds(180)
def test_health_knows(tokiophp, workdir):
    """Asked at another pool."""
    from test_rest import SLEEPING, Http, free_port
    port, health = free_port(), free_port()
    user = "user = nobody\ngroup = nogroup\n" if os.geteuid() == 0 else ""
    os.mkdir(f"{workdir}/www/api")
    script(workdir, "api/x.php", "<?php echo 'x';")
    text = SLEEPING.replace("pm = ondemand", "pm = static").replace("PORT", str(port)).replace("HEALTH", str(health))
    server = tokiophp(config=text.replace("USER\n", user), address=("127.0.0.1", port))
    server.wait_message("ready to handle connections")
    healthy = Http(("127.0.0.1", health), target="/health/ready")
    wait_for(lambda: answers(healthy), 20, "health")
    status = ctl(server, "status").partition("pool api")[2]
    asked = int(status.partition("process pid=")[2].split()[0])
    halt(asked)
    route = Http(("127.0.0.1", port), target="/api/x.php")
    waiting = patient(route)
    wait_for(lambda: not answers(healthy), 40, "that the pool is down")
    assert route.answered(waiting) or session_of(asked) is None
    wait_for(lambda: answers(healthy), 40, "health")
    assert answers(route)
