"""As many requests as fit into a few seconds, over every front end, while the server is swapped: each has its answer, and
its own. Hand-overs between threads and between processes that go wrong once in a million times are met here sooner or
later; what they are is in test_bad_moments.py."""
import os
import signal
import subprocess
import threading
import time

import pytest

import counting
from certificate import make_cert
from process import free_port
from tokiophp import PROGRAM

SECONDS = 5
SWAP_SECONDS = 3
# protocol, connections, options
LOADS = {
    "h1": ("h1", 8), "h1-pauses": ("h1", 8, "--pause", "2000"), "h1-close": ("h1", 2, "--close"),
    "h1s": ("h1s", 8), "h2": ("h2", 4), "h2s": ("h2s", 2),
    "fcgi": ("fcgi", 8), "fcgi-pauses": ("fcgi", 8, "--pause", "2000"), "fcgi-close": ("fcgi", 2, "--close"),
}


@pytest.fixture
def serve(tokiophp, workdir):
    """A server with every front end, and the load that meets it."""
    with open(f"{workdir}/www/number.php", "w") as f:
        f.write("<?php echo $_SERVER['QUERY_STRING'];")
    port, tls_port = free_port(), free_port()

    def start(engine, pool=""):
        server = tokiophp(pool=f"engine = {engine}\nhttp.listen = 127.0.0.1:{port}\nhttp.tls_listen = 127.0.0.1:{tls_port}\n"
                          f"http.document_root = {workdir}/www\n{make_cert(workdir, 'one')}{pool}",
                          settings="control_socket = {dir}/ctl\n")
        server.wait_message("ready to handle connections")

        def load(protocol, connections, *options, seconds=SECONDS, prefix=()):
            address = server.address if protocol == "fcgi" else tls_port if protocol.endswith("s") else port
            echo = ["--echo"] if engine == "php" else []
            return counting.start(protocol, address, connections, seconds, "--path", "/number.php", "--script",
                                  f"{workdir}/www/number.php", *echo, *options, prefix=prefix)
        return server, load
    return start


class Swaps:
    """Changes of the serving process, one after the other, while the `with` lasts."""

    def __init__(self, server, how):
        self.server, self.how, self.over = server, how, threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.over.wait(0.3):
            if self.how == "reload":
                self.server.signal(signal.SIGUSR2)
            elif self.how == "restart":
                subprocess.run([PROGRAM, "ctl", "-s", f"{self.server.directory}/ctl", "restart", "www"], check=False,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


@pytest.mark.parametrize("name", LOADS)
def test_stub(serve, capsys, name):
    _, load = serve("stub")
    count = counting.result(load(*LOADS[name]))
    with capsys.disabled():
        print(f" {count['answered']} requests, the slowest {count['slowest_ms']} ms", end="", flush=True)


@pytest.mark.parametrize("how", ["restart", "reload"])
@pytest.mark.parametrize("name", LOADS)
def test_php_is_swapped(serve, name, how):
    server, load = serve("php")
    with Swaps(server, how):
        count = counting.result(load(*LOADS[name], seconds=SWAP_SECONDS))
    assert count["answered"] > 0


def test_requests_are_used_up(serve):
    """pm.max_requests asks for a swap a second, beside all front ends at once."""
    server, load = serve("php", "pm.max_requests = 50\n")
    swaps = 0
    for _ in range(4):  # where a process takes long to start, two of them have not been used up in the first turn
        if swaps < 2:
            loads = [load(*how) for how in LOADS.values()]
            for each in loads:
                counting.result(each)
            swaps = server.messages().count("is being replaced: pm.max_requests")
    assert swaps >= 2


def test_one_processor(serve):
    """On one processor the threads of the process that goes run one after the other: its loop hears of the drain late."""
    all_of_them = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(all_of_them)})  # of this thread; what it starts inherits it
    try:
        server, load = serve("stub")
        with Swaps(server, "restart"):
            loads = [load("h1", 1, "--close", seconds=10), load("h1", 2, "--close", "--pause", "1000", seconds=10)]
            for each in loads:
                counting.result(each)
    finally:
        os.sched_setaffinity(0, all_of_them)


def test_no_load_left_behind(serve):
    """The client itself: a server that is gone is a failure."""
    server, load = serve("stub")
    running = load("h1", 2, seconds=3)
    time.sleep(1)
    server.stop(signal.SIGTERM)
    out, _ = running.communicate(timeout=30)
    assert running.returncode == 1, out
