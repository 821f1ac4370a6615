"""tokiophp top on terminals of many sizes: what stands where, that nothing is torn, and what keys do."""
import os
import random
import re
import signal
import threading
import time

import pytest

import process
import tokiophp as program
from terminal import Screen, Terminal
from web import Site

pytestmark = pytest.mark.skipif(program.is_stand_in(), reason="tokiophp's own words")

SIZES = [(5, 20), (3, 10), (10, 40), (24, 80), (50, 132), (60, 200)]
UP, DOWN, RIGHT, LEFT, PAGE_DOWN, END, HOME = "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D", "\x1b[6~", "\x1b[F", "\x1b[H"


@pytest.fixture
def served(tokiophp, workdir):
    root = os.path.join(workdir, "site")
    os.mkdir(root)
    for name, text in (("hello.php", "<?php echo 'hello';"), ("slow.php", "<?php usleep(60000); echo 'slow';"),
                       ("slower.php", "<?php usleep(640000); echo 'slower';"), ("wait.php", "<?php usleep(300000); echo 'waited';"),
                       ("wrong.php", "<?php echo $x; trigger_error('the flux capacitor is cold', E_USER_WARNING);")):
        with open(os.path.join(root, name), "w") as f:
            f.write(text)
    site = Site(tokiophp, root, "pm.max_children = 12\n", settings="control_socket = {dir}/ctl.sock\n")
    for path in ("/slow.php", "/slower.php", "/wrong.php", "/hello.php?" + "x" * 100):
        site.ask(path)
    return site


@pytest.fixture
def top(workdir):
    started = []

    def start(rows, columns):
        started.append(Terminal([program.PROGRAM, "top", "-s", os.path.join(workdir, "ctl.sock")], rows, columns))
        return started[-1]
    yield start
    for t in started:
        t.stop()


def is_whole(screen):
    """The first line and the last one stand, each over the whole of it is theirs, and nothing has scrolled away."""
    lines = screen.lines()
    first = " tokiophp"[:screen.columns]
    return lines[0].startswith(first) and lines[-1].startswith(" q end"[:screen.columns]) and screen.reverse[-1][1]


def check(screen):
    assert not screen.unknown and screen.scrolled == 0
    assert screen.alternate and not screen.cursor_shown


@pytest.mark.parametrize("rows, columns", SIZES)
def test_sizes(served, top, rows, columns):
    t = top(rows, columns)
    t.until(is_whole, "a frame")
    t.type(DOWN * 3)
    t.until(lambda s: is_whole(s) and not any("pool www" in line for line in s.lines()[:2]), "three lines further")
    t.type(HOME)
    t.until(is_whole, "the begin")
    check(t.screen)
    t.type("q")
    assert t.wait() == 0
    assert not t.screen.alternate and t.screen.cursor_shown


def test_the_last_column(served, top):
    """A row that is as long as the screen keeps its end."""
    wide = top(24, 80)
    t = wide.until(lambda s: next((line for line in s.lines() if "STATE " in line), None), "the head of the table")
    narrow = top(24, len(t))
    narrow.until(lambda s: t in s.lines(), "the same line in a screen that it just fits")


def test_scrolls_to_slow_scripts_and_errors(served, top):
    t = top(6, 100)
    t.until(is_whole, "a frame")
    assert not any("SLOWEST" in line for line in t.screen.lines())
    seen = []
    for _ in range(40):
        t.type(DOWN)
        before = list(t.screen.lines())
        t.read(0.3)
        seen += [line for line in t.screen.lines() if line not in before]
    text = "\n".join(seen)
    assert re.search(r"([6-9]\d\d|[1-9]\d\d\d)\.\d ms .*/slower\.php", text), text
    assert text.index("/slower.php") < text.index("/slow.php"), "the slowest first"
    assert re.search(r" 2  \S*/wrong\.php .*flux capacitor", text), text
    end = t.screen.lines()
    t.type(PAGE_DOWN * 5)
    t.read(1.2)
    assert t.screen.lines()[1:] == end[1:], "there is no more"
    t.type(HOME)
    t.until(lambda s: any("pool www" in line for line in s.lines()), "the begin")
    check(t.screen)


def test_looks_to_the_right(served, top):
    t = top(24, 40)
    t.until(lambda s: any("MEMORY" in line for line in s.lines()), "the table")
    assert not any("PID  REQUEST" in line for line in t.screen.lines())
    t.type(RIGHT * 4)
    t.until(lambda s: any("PID  REQUEST" in line for line in s.lines()) and any("GET /hello.php" in line for line in s.lines()), "its last column")
    assert t.screen.lines()[0].startswith(" tokiophp"), "the first line stands"
    t.type(LEFT * 9)
    t.until(lambda s: any("STATE" in line for line in s.lines()), "the begin")
    check(t.screen)


def rows_of(screen):
    return [line for line in screen.lines() if re.search(r"^   (Idle|Running|Reading)", line)]


def test_sorts(served, top):
    def values(screen, group):
        return [float(re.match(r"   \S+ +([\d.]+) \S+ +([\d.]+) MB +(\d+)", line).group(group)) for line in rows_of(screen)
                if re.match(r"   \S+ +[\d.]+ \S+ +[\d.]+ MB", line)]
    t = top(40, 110)
    t.until(lambda s: len(rows_of(s)) == 12 and "order (time)" in s.lines()[-1], "a frame by time")
    orders = {}
    for order, column in (("memory", 2), ("served", 3), ("time", 1)):
        t.type("s")
        t.until(lambda s: f"order ({order})" in s.lines()[-1], order)  # noqa: B023
        t.read(0.5)
        orders[order] = values(t.screen, column)
    assert orders["memory"] == sorted(orders["memory"], reverse=True)
    assert orders["served"] == sorted(orders["served"], reverse=True)
    t.type("ss")
    t.until(lambda s: "order (served)" in s.lines()[-1], "two keys at once")


def test_filters(served, top):
    t = top(40, 110)
    t.until(lambda s: len(rows_of(s)) == 12, "all workers")
    t.type("/slower")
    t.until(lambda s: s.lines()[-1].startswith(" filter: slower_"), "what is typed")
    t.type("\r")
    t.until(lambda s: len(rows_of(s)) < 12 and any("/slower.php" in line for line in s.lines())
            and not any("/wrong.php" in line for line in s.lines()), "the rows with it")
    assert "filter: slower" in t.screen.lines()[-1]
    t.type("/\x1b")
    t.until(lambda s: len(rows_of(s)) == 12, "all again")
    t.type("/FLUX\x7f\x7f\x7f\x7fflux\r")
    t.until(lambda s: any("flux capacitor" in line for line in s.lines()) and not rows_of(s), "without regard to case")
    check(t.screen)


def test_while_it_is_resized(served, top):
    stop = threading.Event()

    def ask():
        while not stop.is_set():
            served.ask("/wait.php")
    clients = [threading.Thread(target=ask) for _ in range(3)]
    for c in clients:
        c.start()
    try:
        t, chance = top(24, 80), random.Random(7)
        t.until(is_whole, "a frame")
        for _ in range(12):
            rows, columns = chance.choice([*SIZES, (5, 80), (60, 20), (24, 79), (2, 30)])
            t.resize(rows, columns)
            t.type(chance.choice([DOWN, PAGE_DOWN, END, HOME, UP]))
            t.until(lambda s: is_whole(s) or s.rows < 3, (rows, columns))
            assert not t.screen.unknown
        t.resize(24, 100)
        t.type(HOME)
        t.until(lambda s: is_whole(s) and any("pool www" in line for line in s.lines()) and
                any(re.search(r"^   Running .*GET /wait\.php", line) for line in s.lines()), "all of it, and what runs")
        left_over = [line for line in t.screen.lines()[1:-1] if line and not line.startswith("   ") and not line.startswith(" pool")]
        assert not left_over
    finally:
        stop.set()
        for c in clients:
            c.join()


def test_resized_while_it_waits_for_an_answer(served, top):
    t = top(24, 80)
    t.until(is_whole, "a frame")
    os.kill(served.server.pid, signal.SIGSTOP)
    try:
        time.sleep(1.5)  # it asks once a second
        before = t.screen.lines()[0]
        t.resize(24, 100)
        time.sleep(0.3)
    finally:
        os.kill(served.server.pid, signal.SIGCONT)
    t.until(lambda s: is_whole(s) and s.lines()[0] != before, "another answer")
    t.type("q")
    assert t.wait() == 0


def test_the_end_of_the_server(served, top):
    t = top(24, 80)
    t.until(is_whole, "a frame")
    served.server.stop()
    assert t.wait() == 70
    assert not t.screen.alternate and t.screen.cursor_shown and "does not answer" in " ".join(t.screen.lines())


def test_the_screen_itself():
    """What the other tests look at: wraps as a terminal does, and loses what a terminal loses."""
    s = Screen(2, 5)
    s.feed(b"abcde\r\nfg")
    assert s.lines() == ["abcde", "fg"] and s.scrolled == 0
    s.feed(b"\x1b[Habcde\x1b[K")
    assert s.lines()[0] == "abcd"
    s.feed(b"\x1b[Habcdef")
    assert s.lines() == ["abcde", "fg"]
    s.feed(b"\x1b[2;5Hxy")
    assert s.scrolled == 1
    assert s.feed(b"\x1b[") == b"\x1b["
    process.wait_for(lambda: True, what="nothing")
