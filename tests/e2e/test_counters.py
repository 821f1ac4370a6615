"""Counters through a reload: the metrics go on, exactly; php-fpm's status page begins anew."""
import json
import os
import shutil
import signal
import threading
import time

import pytest

import process
import tokiophp as program
import web
from inside import Inside, parser

HELLO = "<?php echo 'hello';"
EARLY = "<?php echo 'early'; tokio_finish_request(); usleep(20000);"
NAP = "<?php usleep((int)$_GET['ms'] * 1000); echo 'slept';"
POOL = "pm.status_path = /status\nrequest_slowlog_timeout = 1\nslowlog = {dir}/slow.log\nrequest_terminate_timeout = 30\n"


@pytest.fixture
def root(workdir):
    folder = os.path.join(workdir, "site")
    os.mkdir(folder)
    for name, text in (("hello.php", HELLO), ("early.php", EARLY), ("nap.php", NAP)):
        with open(os.path.join(folder, name), "w") as f:
            f.write(text)
    return folder


@pytest.fixture
def own_program(workdir):
    """A copy of the server's program, for a file to be replaced."""
    real, path = program.PROGRAM, os.path.join(workdir, "tokiophp-copy")
    shutil.copy(real, path)
    program.PROGRAM = path
    yield path
    program.PROGRAM = real


def numbers(inside):
    """{name: sum over labels} of all counters and the uptime."""
    sums = {}
    for family in parser.text_string_to_metric_families(inside.get("/metrics").text):
        for sample in family.samples:
            if family.type in ("counter", "histogram") or sample.name == "tokio_php_uptime_seconds":
                key = sample.name + sample.labels.get("le", "") + sample.labels.get("status", "")
                sums[key] = sums.get(key, 0) + sample.value
    return sums


def reload(server, number=2, seconds=30):
    server.signal(signal.SIGUSR2)
    process.wait_for(lambda: server.messages().count("ready to handle connections") >= number, seconds, "the reload")


def old_ones_gone(server, before):
    process.wait_for(lambda: not set(before) & set(server.family()[1:]), 30, "the old generation's end")


def test_accepted(tokiophp, root):
    """A pool that serves HTTP counts its requests like one that is asked over FastCGI: each of PHP's, and its own pages."""
    with open(os.path.join(root, "status.php"), "w") as f:
        f.write("<?php echo fpm_get_status()['accepted-conn'];")
    site = web.Site(tokiophp, root, "pm.status_path = /status\n")
    for _ in range(3):
        assert site.ask("/hello.php").text == "hello"
    assert json.loads(site.ask("/status?json").text)["accepted conn"] == 4
    assert site.ask("/status.php").text == "5"
    assert "accepted conn:        6\n" in site.ask("/status").text


def settled(inside):
    last = None
    while last != (now := {k: v for k, v in numbers(inside).items() if not k.endswith(("seconds", "total_total"))}):
        last = now
        time.sleep(0.3)
    return now


def test_metrics_go_on_and_the_status_page_begins_anew(tokiophp, root):
    inside = Inside(tokiophp, root, POOL)
    for path in ("/hello.php",) * 5 + ("/early.php",) * 3 + ("/nap.php?ms=2500",):
        assert inside.site.ask(path).status == 200
    before, family = settled(inside), inside.server.family()[1:]
    assert before["tokio_php_requests_total"] >= 9
    assert before["tokio_php_early_responses_total"] == 3
    assert before["tokio_php_slow_requests_total"] == 1
    uptime, started = numbers(inside)["tokio_php_uptime_seconds"], time.time()
    assert "slow requests:        1\n" in inside.site.ask("/status").text
    reload(inside.server)
    old_ones_gone(inside.server, family)
    after = settled(inside)
    swaps = "tokio_php_generation_swaps_total"
    assert after.pop(swaps) == before.pop(swaps) + 1
    before["tokio_php_requests_total"] += 1  # the status page
    assert after["tokio_php_requests_total"] == before["tokio_php_requests_total"]
    assert {k: v for k, v in after.items() if v < before.get(k, 0)} == {}
    assert after["tokio_php_slow_requests_total"] == 1 and after["tokio_php_early_responses_total"] == 3
    passed = time.time() - started
    assert numbers(inside)["tokio_php_uptime_seconds"] >= uptime + passed - 0.5
    text = inside.site.ask("/status").text
    assert "slow requests:        0\n" in text and "accepted conn:        1\n" in text  # this one


class Load:
    """Clients that count their answers, and somebody who looks at the counters all the time."""

    def __init__(self, inside, clients=4):
        self.inside, self.answers, self.falls, self.seen = inside, 0, [], {}
        self.stop, self.lock = threading.Event(), threading.Lock()
        self.threads = [threading.Thread(target=self.ask) for _ in range(clients)] + [threading.Thread(target=self.look)]
        for t in self.threads:
            t.start()

    def ask(self):
        while not self.stop.is_set():
            try:
                self.inside.site.ask("/hello.php")
            except OSError:
                continue  # no answer: the connection was closed before it had a request
            with self.lock:
                self.answers += 1

    def look(self):
        while not self.stop.is_set():
            try:
                now = numbers(self.inside)
            except OSError:
                continue  # the page's connection closed with its process
            self.falls += [f"{k}: {self.seen[k]} -> {v}" for k, v in now.items() if v < self.seen.get(k, 0)]
            self.seen = now

    def end(self):
        self.stop.set()
        for t in self.threads:
            t.join()


def test_nothing_is_lost_or_counted_twice_under_load(tokiophp, root):
    """Also not with other numbers of workers before and after, and reloads that follow each other."""
    inside = Inside(tokiophp, root, "pm.max_children = 3\n" + POOL)
    before, load = settled(inside), Load(inside)
    try:
        for number, workers in enumerate((12, 2, 40), 2):
            text = open(inside.server.config_path).read()
            with open(inside.server.config_path, "w") as f:
                f.write("\n".join(f"pm.max_children = {workers}" if line.startswith("pm.max_children") else line
                                  for line in text.split("\n")))
            reload(inside.server, number)
            seen = load.answers
            process.wait_for(lambda: load.answers > seen + 8, 30, "answers after the reload")
    finally:
        load.end()
    assert load.falls == []
    after = settled(inside)
    assert after["tokio_php_requests_total"] == before["tokio_php_requests_total"] + load.answers
    assert after["tokio_php_request_duration_seconds_count"] == after["tokio_php_requests_total"]


def test_a_program_that_counts_differently_begins_at_zero(tokiophp, root, own_program):
    inside = Inside(tokiophp, root, POOL)
    for _ in range(20):
        assert inside.site.ask("/hello.php").status == 200
    family = inside.server.family()[1:]
    with open(own_program, "rb") as f:
        binary = f.read()
    assert binary.count(b"tokiophp-%d-%zu-%zu") == 1  # what describes the layout
    with open(own_program + ".new", "wb") as f:
        f.write(binary.replace(b"tokiophp-%d-%zu-%zu", b"tokiofoo-%d-%zu-%zu"))
    shutil.copymode(own_program, own_program + ".new")
    os.rename(own_program + ".new", own_program)
    reload(inside.server)
    old_ones_gone(inside.server, family)
    inside.server.wait_message(r"NOTICE: \[pool www\] the counters of the metrics begin anew: this program lays them out in another way")
    assert inside.site.ask("/hello.php").status == 200
    assert settled(inside)["tokio_php_requests_total"] == 1


def test_a_pool_that_goes_and_comes(tokiophp, root):
    inside = Inside(tokiophp, root, POOL)
    text = open(inside.server.config_path).read()
    users = "\n".join(line for line in text.split("\n") if line.startswith(("user", "group")))
    other = f"\n[other]\n{users}\nlisten = {inside.server.directory}/other.sock\npm = static\npm.max_children = 2\n"
    for number, more in enumerate((other, "", other), 2):
        assert inside.site.ask("/hello.php").status == 200
        with open(inside.server.config_path, "w") as f:
            f.write(text + more)
        family = inside.server.family()[1:]
        reload(inside.server, number)
        old_ones_gone(inside.server, family)
        assert settled(inside)["tokio_php_requests_total"] == number - 1
    assert 'tokio_php_requests_total{pool="other",method="GET"} 0' in inside.get("/metrics").text

    def held(name):
        return sum(name in what for what in process.descriptors(inside.server.pid).values())
    process.wait_for(lambda: held("memfd:view") == 0, what="the end of what was shown last")
    assert held("memfd:board") == 2
