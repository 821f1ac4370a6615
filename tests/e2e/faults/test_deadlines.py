"""What hangs ends at its deadline with 504, and others are served meanwhile."""
import os
import socket
import time

import process
import pytest
from faulty import FRONTS, LONG, Several, tell

HANGS = {
    "loop": "while (1);",
    "sleep": "sleep(3600);",
    "connect": "fsockopen('127.0.0.1', (int)$_GET['port'], $errno, $error, 3600);",
    "read": "$pair = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0); stream_set_timeout($pair[0], 3600); fread($pair[0], 1);",
    "wait": "fclose(fopen(__DIR__ . '/pipe', 'r'));",
    "flock": "$a = fopen('/tmp/tokiophp-lock-' . getmypid(), 'c'); flock($a, LOCK_EX); $b = fopen('/tmp/tokiophp-lock-' . getmypid(), 'c'); flock($b, LOCK_EX);",
    "exec": "exec('sleep 9 2>&1');",
    "shutdown": "register_shutdown_function(function () { while (1); }); while (1);",
    "stubborn": "fault_stubborn(30);",
    "spin": "fault_spin(20);",
}


class Deaf:
    """A port whose queue is full: connecting to it takes as long as the client is patient."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.port = self.listener.getsockname()[1]
        self.others = []
        for _ in range(3):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(("127.0.0.1", self.port))
            self.others.append(s)

    def close(self):
        for s in [self.listener, *self.others]:
            s.close()


@pytest.fixture
def deaf():
    d = Deaf()
    yield d
    d.close()


def name(pid):
    try:
        with open(f"/proc/{pid}/comm") as f:
            return f.read()
    except OSError:
        return ""


@pytest.mark.parametrize("front, kind", [(front, kind) for front in FRONTS for kind in HANGS
                                         if LONG or front == "http" or kind in ("loop", "connect", "stubborn")])
def test_more_hanging_scripts_than_workers(faulty, front, kind, deaf):
    server = faulty(fronts=(front,), pool="pm.max_children = 4\nrequest_terminate_timeout = 1s\n",
                    settings="process_control_timeout = 4s\n")
    os.mkfifo(f"{server.www}/pipe")
    os.chmod(f"{server.www}/pipe", 0o666)
    server.script("hang.php", f"<?php {HANGS[kind]} echo 'any';")
    begin = time.monotonic()
    times = []

    def hang():
        status = server.ask(front, f"/hang.php?port={deaf.port}", timeout=60).status
        times.append(time.monotonic() - begin)
        return status
    with server.load(front, connections=4) as load:
        answers = Several([hang] * 6).results()
    tell(f"6 x {kind}, 4 workers, {front}: {answers} after {min(times):.1f} to {max(times):.1f} s; {load.summary()}")
    assert load.result["failed"] == 0, load.result["failures"]
    assert answers == [504] * 6
    if kind == "exec":  # what a script started is nobody's any more, as with php-fpm
        process.wait_for(lambda: not any("sleep" in name(p) for p in server.server.family()), 20, "the end of sleep")


def test_a_lost_session_lock_and_its_files(faulty, front):
    """A timed-out request leaves neither its session locked nor its uploads behind."""
    server = faulty(fronts=(front,), pool="pm.max_children = 4\nrequest_terminate_timeout = 1s\n")
    server.script("session.php", "<?php session_id('abc'); session_start(); $_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1;"
                                 "if (isset($_GET['hang'])) { $t = tmpfile(); while (1); } echo 'n=', $_SESSION['n'];")
    body = (b"--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x\"\r\n\r\n" + b"u" * 100000 + b"\r\n--b--\r\n")
    hang = server.ask(front, "/session.php?hang=1", method="POST", body=body,
                      headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert hang.status == 504
    assert server.ask(front, "/session.php").text.startswith("n=")
    process.wait_for(lambda: not [f for f in os.listdir(f"{server.directory}/tmp") if f.startswith("php")], what="no upload left")


def test_heartbeat(faulty, front):
    server = faulty(fronts=(front,), pool="request_terminate_timeout = 4s\n")
    server.script("beat.php", "<?php for ($i = 0; $i < 6; $i++) { sleep(1); tokio_request_heartbeat(4); } echo 'alive';")
    server.script("late.php", "<?php tokio_request_heartbeat(1); sleep(3600);")
    assert server.ask(front, "/beat.php").text == "alive"
    assert server.ask(front, "/late.php").status == 504


def test_max_execution_time_is_the_threads_own(faulty, front):
    server = faulty(fronts=(front,), pool="pm.max_children = 4\n", php=("display_errors=1", "html_errors=0"))
    server.script("long.php", "<?php set_time_limit(1); while (true);")
    server.script("other.php", "<?php $t = microtime(true); while (microtime(true) - $t < 2.5); echo 'done';")
    answers = Several([lambda: server.ask(front, "/long.php").text, lambda: server.ask(front, "/other.php").text,
                       lambda: server.ask(front, "/long.php").text]).results()
    assert "Maximum execution time of 1 second exceeded" in answers[0]
    assert "Maximum execution time of 1 second exceeded" in answers[2]
    assert answers[1] == "done"


def test_the_written_off_are_replaced(faulty):
    """Workers stuck in C: new ones take their place, and then a new process."""
    server = faulty(fronts=("http",), pool="pm.max_children = 4\nrequest_terminate_timeout = 1s\n",
                    settings="process_control_timeout = 4s\n")
    first = server.serving_pid()
    stuck = Several([lambda: server.fault("http", "stubborn", 60).status] * 6)
    assert stuck.results() == [504] * 6
    process.wait_for(lambda: server.serving_pid() != first, 15, "a new process")
    server.server.wait_message("too many workers are stuck")
    process.wait_for(lambda: process.session_of(first) is None, 15, "the end of the old one")
