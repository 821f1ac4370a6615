"""php-fpm is replaced by tokiophp under load and the other way round: the program's file is exchanged and the master
gets SIGUSR2, as a package upgrade would do it. Same path, same configuration, same process id, no failed request."""
import glob
import http.client
import os
import signal
import threading
import time

import pytest

import tokiophp as server_module
from process import Program, wait_for

PHP_FPM = next(iter(sorted(glob.glob("/usr/sbin/php-fpm8*"))), None)
needs_php_fpm = pytest.mark.skipif(not PHP_FPM or server_module.is_stand_in(), reason="no php-fpm is installed")

CONFIG = """
[global]
error_log = {dir}/error.log
pid = {dir}/fpm.pid
daemonize = no
process_control_timeout = 10
[www]
%s
listen = {dir}/fcgi.sock
listen.mode = 0666
pm = %s
pm.max_children = 6
pm.start_servers = 2
pm.min_spare_servers = 1
pm.max_spare_servers = 4
"""
SCRIPT = """<?php
if (isset($_GET['sleep'])) { usleep((int) $_GET['sleep']); }
echo PHP_ZTS ? 'threads' : 'processes', ' ', str_repeat('x', 20000);
"""


class Load:
    """Clients that ask without pause until they are told to stop; `failed` are the answers that were not right."""

    def __init__(self, port, clients=4):
        self.port, self.ended = port, threading.Event()
        self.kinds, self.failed = {"threads": 0, "processes": 0}, []
        self.phase = "before"  # who hands over, for the list of failures
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(i,), daemon=True) for i in range(clients)]
        for thread in self.threads:
            thread.start()

    def ask(self, uri):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", uri)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as e:
            return 0, repr(e).encode()
        finally:
            connection.close()

    def run(self, number):
        while not self.ended.is_set():
            status, body = self.ask("/zts.php" + ("?sleep=100000" if number == 0 else ""))
            kind, _, rest = body.decode(errors="replace").partition(" ")
            with self.lock:
                if status == 200 and kind in self.kinds and rest == "x" * 20000:
                    self.kinds[kind] += 1
                else:
                    self.failed.append((self.phase, status, body[:200]))
            time.sleep(0.002)

    def wait_kind(self, kind, more=50):
        before = self.kinds[kind]
        wait_for(lambda: self.kinds[kind] > before + more or self.failed, 30, f"answers by {kind}")

    def stop(self):
        self.ended.set()
        for thread in self.threads:
            thread.join(30)


def exchange(path, program):
    """A new file by rename, as a package manager does it."""
    os.symlink(program, path + ".new")
    os.rename(path + ".new", path)


def start(workdir, pm):
    user = f"user = {server_module.USER}\ngroup = {server_module.GROUP}" if server_module.IS_ROOT else ""
    config = os.path.join(workdir, "php-fpm.conf")
    with open(config, "w") as f:
        f.write((CONFIG % (user, pm)).replace("{dir}", workdir))
    with open(workdir + "/www/zts.php", "w") as f:
        f.write(SCRIPT)
    path = os.path.join(workdir, "php-fpm8.4")
    exchange(path, PHP_FPM)
    program = Program([path, "-F", "-n", "-y", config], workdir, "takeover.log")
    program.wait_accepting(workdir + "/fcgi.sock")
    return program, path


def log_of(workdir):
    with open(workdir + "/error.log") as f:
        return f.read()


@needs_php_fpm
@pytest.mark.parametrize("pm", ["static", "dynamic", "ondemand"])
def test_there_and_back_under_load(workdir, webserver, pm):
    program, path = start(workdir, pm)
    try:
        front = webserver("nginx", workdir + "/www", workdir + "/fcgi.sock", keepalive=False)
        load = Load(front.port)
        load.wait_kind("processes")
        for outgoing, binary, kind in (("php-fpm", server_module.PROGRAM, "threads"),
                                       ("tokiophp", PHP_FPM, "processes"),
                                       ("php-fpm", server_module.PROGRAM, "threads"),
                                       ("tokiophp", server_module.PROGRAM, "threads")):
            exchange(path, os.path.abspath(binary))
            load.phase = f"{outgoing} hands over"
            lines = log_of(workdir).count("ready to handle connections")
            program.signal(signal.SIGUSR2)
            wait_for(lambda: log_of(workdir).count("ready to handle connections") > lines, 30, "the new program")
            time.sleep(0.5)
            load.wait_kind(kind)
        load.stop()
        log = log_of(workdir)
        assert load.failed == [], log
        assert program.running() and open(workdir + "/fpm.pid").read() == str(program.pid)
        assert log.count("using inherited socket fd=") == 4 and f'"{workdir}/fcgi.sock"' in log
        # nobody of an earlier image is left behind
        wait_for(lambda: len(program.family()) == 2, 20, "one engine process")
        assert program.stop() == 0 and not os.path.exists(workdir + "/fcgi.sock") and not os.path.exists(workdir + "/fpm.pid")
    finally:
        program.kill_family()


@needs_php_fpm
def test_php_fpm_obeys_after_it_was_handed_back(workdir):
    """Signals that tokiophp blocks are not blocked in the php-fpm that takes its place; its workers block in accept."""
    program, path = start(workdir, "static")
    try:
        for binary in (server_module.PROGRAM, PHP_FPM):
            exchange(path, os.path.abspath(binary))
            lines = log_of(workdir).count("ready to handle connections")
            program.signal(signal.SIGUSR2)
            wait_for(lambda: log_of(workdir).count("ready to handle connections") > lines, 30, "the new program")
        wait_for(lambda: len(program.family()) == 7, 20, "six workers and nobody else")
        pids = program.family()
        time.sleep(1)
        assert program.family() == pids  # none ended because accept() said EAGAIN
        with open(f"/proc/{program.pid}/status") as f:
            blocked = int(next(line.split()[1] for line in f if line.startswith("SigBlk")), 16)
        assert not blocked & (1 << (signal.SIGTERM - 1)) and not blocked & (1 << (signal.SIGQUIT - 1))
        assert program.stop(signal.SIGQUIT) == 0
    finally:
        program.kill_family()
