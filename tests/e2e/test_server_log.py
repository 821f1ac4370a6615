"""The server log when nobody reads it: requests, workers and the supervisor go on, and what is missing is said."""
import os
import re
import signal
import subprocess
import time

import pytest

import process
from web import Site

TALK = "<?php for ($i = 0; $i < 100; $i++) { error_log('line ' . str_repeat('x', 500)); } echo 'said';"


def read_so_far(path):
    with open(path, errors="replace") as f:
        return f.read()


@pytest.fixture
def reader(workdir):
    """A FIFO for the error log, and who reads it."""
    fifo, out = os.path.join(workdir, "tmp/fifo"), os.path.join(workdir, "copy")
    os.mkfifo(fifo)
    os.chmod(fifo, 0o666)
    cat = subprocess.Popen(["sh", "-c", f"exec cat {fifo} > {out}"])
    cat.fifo, cat.text = fifo, lambda: read_so_far(out)
    yield cat
    cat.kill()
    cat.wait()


def talking_site(tokiophp, workdir, reader, pool):
    root = os.path.join(workdir, "site")
    os.mkdir(root)
    with open(os.path.join(root, "talk.php"), "w") as f:
        f.write(TALK)
    return Site(tokiophp, root, pool, settings=f"error_log = {reader.fifo}\n")


def talk(site, times):
    began = time.monotonic()
    for _ in range(times):
        assert site.ask("/talk.php").text == "said"
    assert time.monotonic() - began < 20


def said(reader):
    return sum(int(n) for n in re.findall(r"the log did not take (\d+) lines", reader.text()))


def test_workers_lines_through_the_supervisor(tokiophp, workdir, reader):
    site = talking_site(tokiophp, workdir, reader, "catch_workers_output = yes\n")
    talk(site, 1)
    process.wait_for(lambda: reader.text().count("line xxx") == 100, what="a hundred lines")
    reader.send_signal(signal.SIGSTOP)
    talk(site, 10)  # half a megabyte; a pipe holds 64 KiB
    time.sleep(0.5)  # the supervisor reads what workers said
    reader.send_signal(signal.SIGCONT)
    process.wait_for(lambda: reader.text().count("line xxx") > 100, what="what the pipe held")
    talk(site, 1)
    process.wait_for(lambda: reader.text().count("line xxx") + said(reader) == 1200, what="every line is there or counted")
    assert said(reader) > 500


def test_a_reload_while_nobody_reads(tokiophp, workdir, reader):
    site = talking_site(tokiophp, workdir, reader, "catch_workers_output = yes\n")
    reader.send_signal(signal.SIGSTOP)
    talk(site, 10)
    first = site.server.family()
    site.server.signal(signal.SIGUSR1)
    site.server.signal(signal.SIGUSR2)
    process.wait_for(lambda: not set(first[1:]) & set(site.server.family()), what="new engine processes")
    talk(site, 2)
    reader.send_signal(signal.SIGCONT)
