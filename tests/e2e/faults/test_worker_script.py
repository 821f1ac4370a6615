"""What goes wrong in a worker script costs the request in which it does, as in classic mode."""
import os
import signal
import socket
import subprocess
import urllib.parse

import process
import pytest
from faulty import Several, tell

SETTINGS = "pm.max_children = 2\nworker.num = 3\nworker.max_consecutive_failures = 1\nrequest_terminate_timeout = 2s\nrlimit_core = 0\n" \
           "php_admin_value[memory_limit] = 64M\n"
TARGET = "/worker.php?n=1"


@pytest.fixture
def held(faulty, workdir, front):
    """A pool with faults/www/worker.php as its worker script."""
    return faulty(pool=f"worker.script = {workdir}/faulty/worker.php\n" + SETTINGS, settings="process_control_timeout = 6s\n", fronts=(front,))


def code(text):
    return "/worker.php?code=" + urllib.parse.quote(text)


FAULTS = {
    # name: (target, statuses)
    "segfault": ("/worker.php?do=null", (500, 502)),
    "heap": ("/worker.php?do=heap", (200, 500, 502)),
    "free": ("/worker.php?do=free", (200, 500, 502)),
    "stack": ("/worker.php?do=overflow", (500, 502)),
    "endless": (code("while (true) { }"), (504, 500)),
    "sleeps": (code("sleep(30);"), (504, 500)),
    "in_c": ("/worker.php?do=spin&with=" + urllib.parse.quote("[4]"), (200, 504, 500)),
    "exit": (code("echo 'x'; exit;"), (200,)),
    "fatal": (code("trigger_error('x', E_USER_ERROR);"), (500,)),
    "throws": (code("throw new Exception('x');"), (500,)),
    "memory": (code("$a = []; while (true) $a[] = str_repeat('x', 100000);"), (500, 504)),
    "recursion": (code("function f() { return 1 + f(); } f();"), (500, 504)),
    "kills_itself": (code("posix_kill(posix_getpid(), SIGTERM);"), (500,)),
    "opcache_reset": (code("var_dump(opcache_reset());"), (200,)),
}


@pytest.mark.seconds(240)
def test_faults_cost_their_own_request(held, front):
    answers = {}
    with held.load(front, TARGET, connections=4) as load:
        for name, (target, _) in FAULTS.items():
            answers[name] = held.ask(front, target, timeout=60).status
    tell(f"faults in a worker script, {front}: {answers}; {load.summary()}")
    assert load.result["failed"] == 0, load.result["failures"]
    assert {n: s for n, s in answers.items() if s not in FAULTS[n][1]} == {}
    process.wait_for(lambda: held.ask(front, TARGET).text == "hello", 20, "service")


@pytest.mark.seconds(240)
def test_scripts_are_swapped_without_a_loss(held, front):
    """ctl restart and reloads boot new scripts first; one that cannot boot leaves the old ones where they are."""
    def boots():
        return {a.text for a in Several([lambda: held.ask(front, "/worker.php?boot")] * 12).results()}

    def engine():
        return held.ask(front, code("echo getmypid();")).text

    def restart():
        subprocess.run([held.server.command[0], "ctl", "-s", f"{held.directory}/ctl", "restart", "www"], check=True, capture_output=True)

    with held.load(front, TARGET, connections=4) as load:
        for swap in (restart, restart, lambda: held.server.signal(signal.SIGUSR2)):
            before = boots()
            swap()
            process.wait_for(lambda: not boots() & before, 30, "new scripts")
        before = engine()
        held.script("broken.php", "<?php throw new Exception('no database');")
        held.server.signal(signal.SIGUSR2)
        held.server.wait_message("did not boot: .*no database")
        assert engine() == before, "the old one is gone"
        os.unlink(held.www + "/broken.php")
    tell(f"worker scripts are swapped, {front}: {load.summary()}")
    assert load.result["failed"] == 0, load.result["failures"]


def test_a_client_that_leaves_costs_no_boot(faulty, workdir, front):
    server = faulty(pool=f"worker.script = {workdir}/faulty/worker.php\nworker.num = 1\n", fronts=(front,))
    before = server.ask(front, "/worker.php?boot").text
    target = code("for ($i = 0; $i < 20; $i++) { echo str_repeat('x', 300000); flush(); usleep(20000); }")
    for _ in range(4):
        with socket.create_connection(("127.0.0.1", server.ports[front]), 20) as s:
            s.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert s.recv(1000)
    assert server.ask(front, "/worker.php?boot", timeout=60).text == before
