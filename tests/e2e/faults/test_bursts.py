"""Crashes that do not stop: one bad page under load. What crashes is answered; nobody else loses a request or waits for
long, whatever the crash has damaged and whenever it comes in the life of an engine process."""
import signal
import threading
import time

import process
import pytest
from background import Background
from faulty import Several, many, tell
from process import ProcessorWaits
from test_crashes import back_after

RATE = 20


class Crashes(Background):
    """While the `with` lasts: requests that crash, `rate` a second, or as fast as 8 clients get their answers."""

    def __init__(self, server, front, name, rate):
        super().__init__(*[self.run] * (16 if rate else 8))
        self.server, self.front, self.name, self.rate = server, front, name, rate
        self.lock, self.answers, self.asked = threading.Lock(), [], 0

    def run(self):
        while not self.over.is_set():
            with self.lock:
                self.asked += 1
                due = self.begin + self.asked / self.rate if self.rate else 0
            time.sleep(max(0, due - time.monotonic()))
            try:
                answer = self.server.fault(self.front, self.name).status
            except OSError as e:
                answer = repr(e)
            with self.lock:
                self.answers.append(answer)

    def __enter__(self):
        self.begin = time.monotonic()
        return super().__enter__()


def burst(server, front, name, rate, seconds, count=0):
    """Good requests beside the bad ones, of which there are at least `count`: none is lost, and hardly one waits longer
    than a good one does on this machine when nothing crashes."""
    with ProcessorWaits(server.server) as waits:
        with server.load(front, connections=4) as calm:
            time.sleep(1)
        with server.load(front, connections=4) as load:
            time.sleep(0.3)
            with Crashes(server, front, name, rate) as crashes:
                time.sleep(seconds)
                process.wait_for(lambda: len(crashes.answers) >= count, 60, f"{count} crashes")
            time.sleep(1)
    tell(f"{len(crashes.answers)} times {name}, {front}: {load.summary()}; longest wait for a processor {waits.longest_ms:.0f} ms")
    assert set(crashes.answers) <= {500, 502}, crashes.answers
    assert load.result["failed"] == 0, load.result["failures"]
    for what in ("p999_ms", "longest_gap_ms"):
        assert load.result[what] < 1000 + 20 * calm.result[what] + 2 * waits.longest_ms, what
    return crashes.answers


def usual_start(server, front):
    """Milliseconds until a new process serves on this machine, when nothing but a kill -9 has happened."""
    times = []
    for _ in range(3):
        server.kill_engine()
        times.append(back_after(server, front))
        server.wait_settled()
    return max(times)


@pytest.mark.parametrize("name", ["heap", "null"])
def test_twenty_a_second(faulty, front, name):
    server = faulty(fronts=(front,), pool="pm.max_children = 8\n")
    seconds = many(5, 60)
    burst(server, front, name, RATE, seconds, RATE * seconds)


@pytest.mark.parametrize("workers", [2, 8])
def test_as_many_as_come(faulty, front, workers):
    server = faulty(fronts=(front,), pool=f"pm.max_children = {workers}\n")
    burst(server, front, "null", None, many(3, 30), 50)
    assert back_after(server, front) < 1000 + 5 * usual_start(server, front)


@pytest.mark.parametrize("pm", ["pm = dynamic\npm.start_servers = 2\npm.min_spare_servers = 1\npm.max_spare_servers = 3\n",
                                "pm = ondemand\n"])
def test_workers_that_come_and_go(faulty, pm):
    server = faulty(fronts=("http",), pool=f"pm.max_children = 8\n{pm}")
    burst(server, "http", "heap", RATE, many(4, 60))


@pytest.mark.parametrize("name", ["heap", "free", "null"])
def test_while_an_engine_process_starts(faulty, front, name):
    """The first requests that a new process gets, after a kill -9, damage it."""
    server = faulty(fronts=("http", front), pool="pm.max_children = 8\n")
    usual, times = usual_start(server, front), []
    for _ in range(many(3, 20)):
        server.kill_engine()
        faults = Several([lambda: server.fault(front, name, timeout=20).status] * 3)
        times.append(back_after(server, front))
        faults.results()
        times.append(back_after(server, front))
    tell(f"{name} right after a kill -9, {front}: next request after {[round(t) for t in times]} ms")
    assert max(times) < 1000 + 5 * usual, usual
    process.wait_for(lambda: len(server.engines()) == 1, 20, "quiet")
    with server.load(front, connections=4) as after:
        time.sleep(0.5)
    assert after.result["failed"] == 0, after.result["failures"]


def test_during_reloads(faulty, front):
    server = faulty(fronts=(front,), pool="pm.max_children = 8\n")
    over = threading.Event()

    def reload():
        while not over.wait(0.7):
            server.server.signal(signal.SIGUSR2)
    thread = threading.Thread(target=reload)
    thread.start()
    try:
        burst(server, front, "heap", RATE, many(6, 60))
    finally:
        over.set()
        thread.join()
