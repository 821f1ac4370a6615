"""Servers that have nothing to do: an idle pm = ondemand pool has no engine process, and is there when somebody comes; and
no thread of an idle server wakes up."""
import os
import signal
import threading
import time

import pytest

from fcgi_client import fetch
from process import free_port, halt, session_of, status_field, wait_for
from test_bad_moments import ctl, script
from test_finish import Fcgi, Http, refused
from test_start import parent_of

ONDEMAND = "pm = ondemand\npm.process_idle_timeout = 1s\npm.max_children = 4\n"


@pytest.fixture
def serve(tokiophp, workdir):
    def start(pool="", settings="", http=True):
        port = free_port()
        pool = (f"http.listen = 127.0.0.1:{port}\nhttp.document_root = {workdir}/www\n" if http else "") + pool
        server = tokiophp(pool=pool, settings=f"control_socket = {{dir}}/ctl\n{settings}", wait=False)
        server.wait_message("ready to handle connections")
        server.fcgi = Fcgi(server.address, f"{workdir}/www/hello.php")
        server.http = Http(("127.0.0.1", port))
        return server
    return start


def engines(server):
    return [p for p in server.engine_pids() if parent_of(p) == server.pid]


def asleep(server):
    return not engines(server) and " asleep" in ctl(server, "status")


def answers(front):
    sock = front.connect()
    front.ask(sock)
    return front.answered(sock)


def test_an_idle_ondemand_pool_has_no_process(serve):
    server = serve(ONDEMAND)
    assert asleep(server)
    for front in (server.fcgi, server.http):
        assert answers(front)
        assert len(engines(server)) == 1
        wait_for(lambda: asleep(server), 20, "the pool's sleep")
    assert "WARNING" not in server.messages() and "ERROR" not in server.messages()


def test_a_crowd_wakes_it(serve):
    server = serve(ONDEMAND)
    waiting = [front.connect() for front in (server.fcgi, server.http) * 20]
    for i, sock in enumerate(waiting):
        (server.fcgi, server.http)[i % 2].ask(sock)
    assert all((server.fcgi, server.http)[i % 2].answered(sock) for i, sock in enumerate(waiting))
    wait_for(lambda: asleep(server), 20, "the pool's sleep")


def test_connections_at_the_moment_of_falling_asleep(serve):
    """One every now and then, at about the time after which it goes."""
    server = serve("engine = stub\n" + ONDEMAND)
    for i in range(12):
        assert answers(server.http) and answers(server.fcgi)
        time.sleep(1.9 + i * 0.05)


def test_an_open_connection_keeps_it_awake(serve):
    server = serve("engine = stub\n" + ONDEMAND)
    server.http.hold()
    time.sleep(4)
    assert len(engines(server)) == 1
    assert server.http.let_go()
    server.http.held.close()
    wait_for(lambda: asleep(server), 20, "the pool's sleep")


def test_two_processes_sleep_and_wake_together(serve):
    server = serve("engine = stub\npm.processes = 2\n" + ONDEMAND)
    assert asleep(server)
    server.http.hold()  # so that they do not fall asleep again, however late they are looked at
    wait_for(lambda: ctl(server, "status").count("state=ready") == 2, 20, "both processes")
    assert server.http.let_go()
    server.http.held.close()
    wait_for(lambda: asleep(server), 20, "the pool's sleep")
    assert answers(server.fcgi)


@pytest.mark.parametrize("first", ["connection", "list"])
def test_none_sleeps_while_another_serves(serve, first):
    """Half of a pool that has just fallen asleep wakes up when the other half, which was about to, has something to do; where the
    supervisor hears first that this half goes, all of the pool sleeps, and wakes up for the next who comes."""
    server = serve("engine = stub\npm.processes = 2\n" + ONDEMAND.replace("1s", "4s"))
    assert answers(server.http)
    wait_for(lambda: ctl(server, "status").count("state=ready") == 2, 20, "both processes")
    slow = engines(server)[0]
    time.sleep(3)  # both rest
    halt(slow)
    wait_for(lambda: " asleep" in ctl(server, "status"), 20, "the sleep of the other one")
    if first == "list":
        halt(server.pid)
    server.http.hold()
    if first == "connection":
        wait_for(lambda: " asleep" not in ctl(server, "status"), 20, "the other one")
    sleeps = status_field(slow, "voluntary_ctxt_switches")
    os.kill(slow, signal.SIGCONT)
    if first == "list":
        wait_for(lambda: status_field(slow, "voluntary_ctxt_switches") > sleeps, 20, "its answer")
        server.signal(signal.SIGCONT)
        wait_for(lambda: ctl(server, "status").count(" asleep") == 2, 20, "the sleep of both")
    assert answers(server.fcgi)
    wait_for(lambda: ctl(server, "status").count("state=ready") == 2, 5, "both processes")
    assert server.http.let_go()
    server.http.held.close()
    wait_for(lambda: asleep(server), 30, "the pool's sleep")


def test_reload_while_it_sleeps(serve):
    server = serve(ONDEMAND)
    server.signal(signal.SIGUSR2)
    wait_for(lambda: server.messages().count("ready to handle connections") == 2, 20, "the reload")
    assert asleep(server)
    assert answers(server.http)
    server.signal(signal.SIGUSR2)
    wait_for(lambda: server.messages().count("ready to handle connections") == 3, 20, "the reload")
    assert answers(server.fcgi)
    wait_for(lambda: asleep(server), 20, "the pool's sleep")


def test_reload_while_it_wakes_up(serve, workdir):
    """What was started with the earlier configuration is replaced as well."""
    os.makedirs(f"{workdir}/www", exist_ok=True)
    with open(f"{workdir}/www/which.php", "w") as f:
        f.write("<?php echo getenv('WHICH');")
    server = serve("env[WHICH] = old\n" + ONDEMAND)
    done = []
    asking = threading.Thread(target=lambda: done.append(fetch(server.address, f"{workdir}/www/which.php", timeout=60).body), daemon=True)
    asking.start()
    starting = wait_for(lambda: engines(server), 10, "a process")[0]
    halt(starting)
    with open(server.config_path) as f:
        text = f.read()
    with open(server.config_path, "w") as f:
        f.write(text.replace("env[WHICH] = old", "env[WHICH] = new"))
    server.signal(signal.SIGUSR2)
    wait_for(lambda: server.messages().count("fpm is running") == 2, 20, "the next image")
    os.kill(starting, signal.SIGCONT)
    wait_for(lambda: server.messages().count("ready to handle connections") == 2, 30, "the reload")
    asking.join(60)
    assert len(done) == 1
    assert fetch(server.address, f"{workdir}/www/which.php").body == b"new"


def test_a_process_more_while_one_serves(serve):
    """It does not sleep until the other one has rested."""
    server = serve("engine = stub\npm.processes = 1\n" + ONDEMAND.replace("1s", "60s"))
    assert answers(server.http)
    with open(server.config_path) as f:
        text = f.read()
    with open(server.config_path, "w") as f:
        f.write(text.replace("pm.processes = 1", "pm.processes = 2"))
    server.signal(signal.SIGUSR2)
    wait_for(lambda: server.messages().count("ready to handle connections") == 2, 30, "the reload")
    wait_for(lambda: ctl(server, "status").count("state=ready") == 2, 5, "both processes")


@pytest.mark.parametrize("kind", ["fcgi", "http"])
def test_quit_when_somebody_has_just_come(serve, kind):
    server = serve(ONDEMAND)
    front = getattr(server, kind)
    halt(server.pid)
    sock = front.connect()
    front.ask(sock)
    server.signal(signal.SIGQUIT)
    server.signal(signal.SIGCONT)
    assert front.answered(sock)
    assert server.wait() == 0
    assert refused(front)


def test_quit_while_it_sleeps(serve):
    server = serve(ONDEMAND)
    assert server.stop(signal.SIGQUIT) == 0
    assert refused(server.fcgi) and refused(server.http)


def test_killed_while_it_starts(serve):
    """Who waits is served by the next one."""
    server = serve(ONDEMAND)
    done = []
    asking = threading.Thread(target=lambda: done.append(answers(server.http)), daemon=True)
    asking.start()
    os.kill(wait_for(lambda: engines(server), 10, "a process")[0], signal.SIGKILL)
    asking.join(30)
    assert done == [True]


SLEEPING = """[global]
error_log = {dir}/error.log
daemonize = no
control_socket = {dir}/ctl
[www]
pm = static
pm.max_children = 2
http.listen = 127.0.0.1:PORT
http.document_root = {dir}/www
http.internal_listen = 127.0.0.1:HEALTH
USER
[api]
pm = ondemand
pm.process_idle_timeout = 1s
pm.max_children = 2
http.routes = /api/*
USER
"""


def test_a_routed_request_wakes_its_pool(tokiophp, workdir):
    port, health = free_port(), free_port()
    user = "user = nobody\ngroup = nogroup\n" if os.geteuid() == 0 else ""
    os.mkdir(f"{workdir}/www/api")
    script(workdir, "api/x.php", "<?php echo 'x';")
    text = SLEEPING.replace("PORT", str(port)).replace("HEALTH", str(health)).replace("USER\n", user)
    server = tokiophp(config=text, address=("127.0.0.1", port))
    server.wait_message("ready to handle connections")
    front = Http(("127.0.0.1", port), target="/api/x.php")
    assert len(engines(server)) == 1
    assert answers(Http(("127.0.0.1", health), target="/health/ready"))  # a pool that sleeps is healthy
    assert "asleep" in ctl(server, "status").partition("pool api")[2]
    for _ in range(2):
        assert answers(front)
        wait_for(lambda: len(engines(server)) == 1, 60, "the pool's sleep")
    assert answers(Http(("127.0.0.1", health), target="/metrics"))


def test_a_deadline_counts_after_a_rest(serve, workdir):
    """Nobody ticks while the process rests: whoever takes a request has to say so."""
    server = serve("pm.max_children = 2\nrequest_terminate_timeout = 1s\n")
    wait_for(lambda: server.still(), 60, "rest")
    sleeps = script(workdir, "sleeps.php", "<?php sleep(60); echo 'slept';")
    response = fetch(server.address, sleeps)
    assert b"slept" not in response.body
    server.wait_message("execution timed out")


@pytest.mark.parametrize("pool", ["pm = static\npm.max_children = 3\n",
                                  "pm = dynamic\npm.max_children = 5\npm.start_servers = 2\npm.min_spare_servers = 1\n"
                                  "pm.max_spare_servers = 2\n", ONDEMAND,
                                  "pm.max_children = 2\nworker.script = {dir}/www/worker/index.php\nworker.num = 2\n"])
def test_an_idle_server_sleeps(serve, pool):
    server = serve(pool)
    assert answers(server.fcgi) and answers(server.http)
    wait_for(lambda: server.still(), 60, "a server that sleeps")
    assert answers(server.fcgi) and answers(server.http)
    wait_for(lambda: server.still(), 60, "a server that sleeps")


def test_a_resting_process_that_dies_is_replaced(serve):
    server = serve("pm.max_children = 2\n")
    wait_for(lambda: server.still(), 60, "rest")
    old = engines(server)[0]
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: session_of(old) is None, 10, "its end")
    assert answers(server.http)
