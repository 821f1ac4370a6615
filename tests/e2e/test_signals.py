"""Signals to the supervisor, and processes that are killed: what runs is finished where that was promised, and nothing
stays behind."""
import os
import signal
import socket
import threading
import time

import pytest

from fcgi_client import Connection, fetch
from process import accepts, free_port, session_of, wait_for
from test_start import is_zombie_of, parent_of


class Asking(threading.Thread):
    """One request in the background."""

    def __init__(self, server, script, **how):
        super().__init__(daemon=True)
        self.server, self.script, self.how = server, script, how
        self.response = self.error = None
        self.start()

    def run(self):
        try:
            self.response = fetch(self.server.address, self.script, **self.how)
        except (OSError, AssertionError) as e:
            self.error = e

    def result(self, seconds=30):
        self.join(seconds)
        assert not self.is_alive(), "no answer"
        return self.response


@pytest.fixture
def slow(workdir):
    """A script that says in a file that it runs, then sleeps, then answers."""
    path = os.path.join(workdir, "www/slow.php")
    with open(path, "w") as f:
        f.write(f"""<?php
touch('{workdir}/tmp/' . $_GET['name']);
for ($i = 0; $i < $_GET['ms'] / 50; $i++) {{ usleep(50000); }}
echo 'finished ', $_GET['name'];
""")

    def ask(server, name, ms):
        asking = Asking(server, path, query=f"name={name}&ms={ms}")
        wait_for(lambda: os.path.exists(f"{workdir}/tmp/{name}"), 10, "the request runs")
        return asking
    return ask


def engines(server):
    return [p for p in server.engine_pids() if parent_of(p) == server.pid]


def hello(server, workdir):
    return fetch(server.address, os.path.join(workdir, "www/hello.php")).status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_term_and_int_end_now(tokiophp, slow, number):
    server = tokiophp()
    asking = slow(server, "long", 600000)
    assert server.stop(number) == 0
    response = asking.result()
    assert not response or b"finished" not in response.body
    assert "exiting, bye-bye!" in server.messages()


def test_quit_finishes_what_runs(tokiophp, slow):
    server = tokiophp()
    asking = slow(server, "long", 1500)
    assert server.stop(signal.SIGQUIT) == 0
    assert asking.result().body == b"finished long"
    assert not os.path.exists(server.address)


def test_quit_has_a_deadline(tokiophp, slow):
    server = tokiophp(settings="process_control_timeout = 2s\n")
    asking = slow(server, "endless", 600000)
    begun = time.monotonic()
    assert server.stop(signal.SIGQUIT, 60) == 0
    assert time.monotonic() - begun > 1
    asking.result()


def test_term_after_quit_ends_now(tokiophp, slow):
    server = tokiophp()
    asking = slow(server, "long", 600000)
    server.signal(signal.SIGQUIT)
    server.wait_message("Finishing ...")
    assert server.stop(signal.SIGTERM) == 0
    asking.result()


def test_usr1_reopens_all_logs(tokiophp, workdir):
    server = tokiophp(settings="log_level = notice\n", pool="access.log = {dir}/access.log\naccess.format = %R %r\n"
                      "slowlog = {dir}/slow.log\nrequest_slowlog_timeout = 1s\n")
    logs = ["error.log", "access.log", "slow.log"]
    assert hello(server, workdir) == 200
    wait_for(lambda: os.path.getsize(f"{workdir}/access.log") > 0, 5, "a line in the access log")
    for log in logs:
        os.rename(f"{workdir}/{log}", f"{workdir}/{log}.1")
    server.signal(signal.SIGUSR1)
    wait_for(lambda: all(os.path.exists(f"{workdir}/{log}") for log in logs), 10, "new log files")
    server.wait_message("access log file re-opened")
    sizes = {log: os.path.getsize(f"{workdir}/{log}.1") for log in logs}
    for log in logs:
        assert oct(os.stat(f"{workdir}/{log}").st_mode & 0o777) == "0o600"
    with open(f"{workdir}/www/complain.php", "w") as f:
        f.write("<?php error_log('the script complains'); usleep(1500000);")
    fetch(server.address, f"{workdir}/www/complain.php")
    wait_for(lambda: "complain.php" in open(f"{workdir}/access.log").read(), 5, "the new access log")
    wait_for(lambda: "complain.php" in open(f"{workdir}/slow.log").read(), 5, "the new slow log")
    wait_for(lambda: "the script complains" in open(f"{workdir}/error.log").read(), 5, "the new error log")
    assert sizes == {log: os.path.getsize(f"{workdir}/{log}.1") for log in logs}


def test_killed_engine_process_is_replaced(tokiophp, workdir):
    server = tokiophp()
    server.wait_message("ready to handle connections")
    for _ in range(5):
        victim = engines(server)[0]
        os.kill(victim, signal.SIGKILL)
        assert hello(server, workdir) == 200
        wait_for(lambda: session_of(victim) is None, 5, "the end of the killed process")
    wait_for(lambda: not [p for p in os.listdir("/proc") if p.isdigit() and is_zombie_of(p, server.pid)], what="no zombies")
    assert "exited on signal 9 (SIGKILL)" in server.messages()


def test_killed_helper_harms_nobody(tokiophp, workdir):
    """An engine process has a helper that holds OPcache's lock for it."""
    server = tokiophp(php="php_admin_value[opcache.enable] = 1\n")
    server.wait_message("ready to handle connections")
    helpers = [p for p in server.engine_pids() if parent_of(p) != server.pid]
    if not helpers:
        pytest.skip("this build needs no helper")
    for helper in helpers:
        os.kill(helper, signal.SIGKILL)
    for _ in range(20):
        assert hello(server, workdir) == 200
    assert server.running()


def test_killed_supervisor_leaves_no_orphan(tokiophp, workdir, slow):
    """What runs is finished; then the engine processes end by themselves, and the port is free."""
    address = ("127.0.0.1", free_port())
    server = tokiophp(address=address)
    asking = slow(server, "long", 1500)
    children = server.engine_pids()
    assert children
    server.stopped = True
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    assert asking.result().body == b"finished long"
    wait_for(lambda: all(session_of(p) is None for p in children), 15, "the engine processes' end")
    assert not accepts(address)
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(address)


@pytest.mark.parametrize("first", [signal.SIGUSR2, signal.SIGHUP, signal.SIGUSR1])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGQUIT])
def test_end_in_the_middle_of_something(tokiophp, workdir, first, second):
    server = tokiophp()
    assert hello(server, workdir) == 200
    for pause in (0, 0.05, 0.15):
        server.signal(first)
        time.sleep(pause)
    assert server.stop(second) == 0


@pytest.mark.seconds(180)
def test_storm_of_signals_loses_no_request(tokiophp, workdir):
    server = tokiophp()
    storm = [signal.SIGUSR2, signal.SIGHUP, signal.SIGUSR1] * 8
    failed, count, over = [], [0], threading.Event()

    def ask():
        while not over.is_set():
            try:
                status = hello(server, workdir)
            except (OSError, AssertionError) as e:
                status = repr(e)
            count[0] += 1
            if status != 200:
                failed.append(status)
    threads = [threading.Thread(target=ask, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in storm:
        server.signal(number)
        time.sleep(0.05)
    time.sleep(3)
    over.set()
    for thread in threads:
        thread.join(30)
    assert count[0] and not failed
    assert server.stop(signal.SIGQUIT) == 0


def test_signals_to_an_engine_process(tokiophp, workdir, slow):
    """Strays from a terminal or a careless killall: HUP, INT, USR1, USR2 do nothing; QUIT drains it, TERM ends it."""
    server = tokiophp()
    victim = wait_for(lambda: engines(server), 10, "an engine process")[0]
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        os.kill(victim, number)
    time.sleep(0.5)
    assert hello(server, workdir) == 200
    assert victim in engines(server)
    asking = slow(server, "long", 1000)
    os.kill(victim, signal.SIGQUIT)
    assert asking.result().body == b"finished long"
    wait_for(lambda: session_of(victim) is None, 10, "the drained process's end")
    assert hello(server, workdir) == 200
    victim = engines(server)[0]
    os.kill(victim, signal.SIGTERM)
    wait_for(lambda: session_of(victim) is None, 10, "the terminated process's end")
    assert hello(server, workdir) == 200
    with Connection(server.address) as c:
        assert c.request(os.path.join(workdir, "www/hello.php"), keep=True).status == 200


def test_two_processes_serve_one_pool(tokiophp, workdir):
    server = tokiophp(pool="pm.processes = 2\n")
    server.wait_message("ready to handle connections")
    before = engines(server)
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    wait_for(lambda: len(engines(server)) == 2 and before[0] not in engines(server), 10, "its successor")
    assert before[1] in engines(server)
    for _ in range(20):
        assert hello(server, workdir) == 200
    server.signal(signal.SIGUSR2)
    wait_for(lambda: len(engines(server)) == 2 and not set(before) & set(engines(server)), 20, "the new generation")
    assert hello(server, workdir) == 200
