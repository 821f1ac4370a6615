"""Crashes while every worker is looked at a thousand times a second: each costs its own request, and nothing else."""
import glob
import os
import subprocess
import time

import process
import pytest
from background import Background
from faulty import many

KINDS = ("null", "overflow", "abort", "fpe", "bus")


class Profiles(Background):
    """One after the other, in two threads; how many have ended well."""

    def __init__(self, server):
        super().__init__(self.run, self.run)
        self.server, self.good, self.lines = server, 0, 0

    def run(self):
        while not self.over.is_set():
            done = subprocess.run([self.server.server.command[0], "ctl", "-s", f"{self.server.directory}/ctl", "profile", "--seconds", "1",
                                   "--hz", "1000"], capture_output=True, timeout=60, check=False)
            self.good += done.returncode == 0
            self.lines += done.stdout.count(b"\n")


def test_crashes_while_looked_at(faulty, workdir):
    os.mkdir(f"{workdir}/crashes")
    os.chmod(f"{workdir}/crashes", 0o777)
    server = faulty(settings=f"crash_dir = {workdir}/crashes\n", fronts=("http",))
    server.script("work.php", "<?php function work($n) { return $n ? work($n - 1) : md5('x'); } for ($i = 0; $i < 200; $i++) { work(50); } echo 'ok';")
    count = many(20, 100)
    with Profiles(server) as profiles, server.load("http", "/work.php", connections=8) as load:
        time.sleep(0.5)
        statuses = []
        for i in range(count):
            statuses.append(server.fault("http", KINDS[i % len(KINDS)]).status)
            time.sleep(0.05)
        time.sleep(1.5)
    assert load.result["failed"] == 0 and load.result["good"] > 0, load.result["failures"]
    assert set(statuses) <= {500, 502}
    process.wait_for(lambda: len(glob.glob(f"{workdir}/crashes/*")) == count, 20, "a file for each crash, and for nothing else")
    process.wait_for(lambda: server.count(r"crash: SIG[A-Z]+ \(signal") == count, 20, "a report for each crash")
    assert profiles.good > 0 and profiles.lines > 0


@pytest.mark.parametrize("number", [9, 15])
def test_processes_that_are_killed_while_looked_at(faulty, number):
    server = faulty(fronts=("http",))
    with Profiles(server) as profiles:
        for _ in range(4):
            time.sleep(0.7)
            server.kill_engine(number)
            process.wait_for(lambda: answers(server), 30, "another one")
    assert profiles.good > 0
    assert server.ask("http", "/hello.php").status == 200


def answers(server):
    try:
        return server.ask("http", "/hello.php", timeout=2).status == 200
    except OSError:
        return False
