"""A pool whose engine process cannot start, or dies as soon as it is ready: clients get a 503 instead of waiting, it is
said why, tries go on at growing intervals, and with the cause the 503 goes."""
import http.client
import os
import re
import signal
import subprocess
import time

import pytest

from fcgi_client import fetch
from process import Failure, free_port, wait_for
from test_control import ctl
from test_signals import engines, hello
from tokiophp import PROGRAM



@pytest.fixture
def broken(tokiophp, workdir):
    """A good pool, and beside it one whose processes do not start while the folder `there` is missing."""
    os.mkdir(f"{workdir}/there")

    def start(more="", listen="listen = {dir}/two.sock\nlisten.mode = 0666\n"):
        server = tokiophp(settings="control_socket = {dir}/ctl\n", php="[two]\npm = static\npm.max_children = 2\n"
                          "user = nobody\ngroup = nogroup\npm.status_path = /status\nchdir = {dir}/there\n" + listen + more)
        server.wait_message("ready to handle connections")
        return server
    return start


def break_it(server, workdir):
    """From now on no process of the second pool can start; the one that serves is killed."""
    os.rmdir(f"{workdir}/there")
    text = ctl(server, "status")[1].partition("pool two ")[2]
    os.kill(int(re.search(r"process pid=(\d+)", text).group(1)), signal.SIGKILL)
    wait_for(lambda: "crash-loop" in ctl(server, "status")[1], 30, "the crash loop")


def test_a_threshold_that_is_never_reached(tokiophp, workdir):
    server = tokiophp(settings="emergency_restart_threshold = 9000000000\nemergency_restart_interval = 1m\n")
    server.wait_message("ready to handle connections")
    first = engines(server)
    os.kill(first[0], signal.SIGSEGV)
    wait_for(lambda: engines(server) not in ([], first), 20, "another process")
    assert hello(server, workdir) == 200


def status_of(address, script):
    try:
        return fetch(address, script)
    except (OSError, AssertionError):
        return None


def test_fastcgi_clients_get_503(broken, workdir):
    server = broken()
    script = f"{workdir}/www/hello.php"
    assert fetch(f"{workdir}/two.sock", script).status == 200
    assert ctl(server, "health") == (0, "healthy\n", "")
    break_it(server, workdir)
    response = wait_for(lambda: (lambda r: r if r and r.status == 503 else None)(status_of(f"{workdir}/two.sock", script)),
                        20, "a 503")
    assert int(response.header("Retry-After")) > 0
    assert response.end == (0, 0)
    for _ in range(20):
        assert fetch(f"{workdir}/two.sock", script).status == 503
    page = fetch(f"{workdir}/two.sock", "/status")
    assert page.status == 503 and b"crash loop" in page.body and b"enter its directories" in page.body
    assert hello(server, workdir) == 200  # the other pool knows nothing of it
    server.wait_message(r"\[pool two\] crash loop: 3 starts failed in a row")
    server.wait_message(r"failed to chdir\(.*/there\)")
    assert ctl(server, "health") == (70, "", "error: pool two has no process that serves\n")
    seat = ctl(server, "status")[1].partition("pool two ")[2].splitlines()[1]
    assert "crash-loop" in seat and "reason=" in seat and re.search(r"failures=\d+", seat)
    os.mkdir(f"{workdir}/there")
    wait_for(lambda: (lambda r: r and r.status == 200)(status_of(f"{workdir}/two.sock", script)), 30, "the recovery")
    server.wait_message(r"\[pool two\] serves again")
    assert "crash-loop" not in ctl(server, "status")[1]
    assert "stand-in state=ready" not in ctl(server, "status")[1]
    assert ctl(server, "health")[0] == 0
    for _ in range(20):
        assert fetch(f"{workdir}/two.sock", script).status == 200


def get(port, path="/hello.php"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response, response.read()
    except (OSError, http.client.HTTPException):
        return None, b""
    finally:
        connection.close()


def test_http_clients_get_503(broken, workdir):
    settings = subprocess.run([PROGRAM, "--print-settings"], stdout=subprocess.PIPE).stdout
    if b"http.listen" not in settings:
        pytest.skip("a build without http")
    port = free_port()
    server = broken(listen=f"http.listen = 127.0.0.1:{port}\nhttp.document_root = {workdir}/www\n")
    assert get(port)[0].status == 200
    break_it(server, workdir)
    wait_for(lambda: (lambda r: r and r.status == 503)(get(port)[0]), 20, "a 503")
    response, body = get(port)
    assert response.status == 503 and response.version == 11 and int(response.getheader("Retry-After")) > 0 and body
    os.mkdir(f"{workdir}/there")
    wait_for(lambda: (lambda r: r and r.status == 200)(get(port)[0]), 30, "the recovery")


def test_process_that_dies_when_it_serves(tokiophp, workdir):
    """Killed again and again as soon as it is there: the burst is used up, then the pace is limited."""
    server = tokiophp(settings="control_socket = {dir}/ctl\n", pool="engine = stub\n")
    server.wait_message("ready to handle connections")
    end = time.monotonic() + 60
    while "crash-loop" not in ctl(server, "status")[1]:
        if time.monotonic() > end:
            raise Failure("no crash loop")
        for line in ctl(server, "status")[1].splitlines():
            found = re.search(r"process pid=(\d+) .*state=ready(?! stand-in)", line)
            try:
                os.kill(int(found.group(1)) if found else 0, signal.SIGKILL if found else 0)
            except ProcessLookupError:
                pass  # the one that was killed just now
    server.wait_message(r"crash loop: its engine processes die faster than one in 2 s")
    assert server.messages().count("exited on signal 9") < 100
    wait_for(lambda: "crash-loop" not in ctl(server, "status")[1], 30, "calm")
    assert hello(server, workdir) == 200
    assert len(engines(server)) == 1


def test_reload_repairs_at_once(broken, workdir):
    server = broken()
    break_it(server, workdir)
    text = open(server.config_path).read()
    with open(server.config_path, "w") as f:
        f.write(text.replace(f"chdir = {workdir}/there\n", ""))
    server.signal(signal.SIGUSR2)
    script = f"{workdir}/www/hello.php"
    wait_for(lambda: (lambda r: r and r.status == 200)(status_of(f"{workdir}/two.sock", script)), 20, "the recovery")
    wait_for(lambda: "crash-loop" not in ctl(server, "status")[1], 10, "a good state")


def test_ends_in_a_crash_loop(broken, workdir):
    server = broken()
    break_it(server, workdir)
    assert server.stop(signal.SIGQUIT) == 0
