"""What being looked at costs: the profile of the last hour, which is always on, and one at 99 looks a second.

All of it happens in the control thread of a pool's process, which does little else: so its processor time is compared with
that of all threads, and does not drown in what else the machine does. What workers pay beside that (they wait when their
request ends while they are looked at) shows in the processor time of a request.
"""
import statistics
import subprocess
import time

import load
import peers

DEEP = """<?php
class Walk {
    public function down(int $n, callable $do) { return $n > 0 ? $this->down($n - 1, $do) : $do(); }
}
$sum = 0;
for ($i = 0; $i < 40; $i++) {
    $sum += (new Walk)->down(30, function () { $s = 0; foreach (range(1, 50) as $k) { $s += strlen(md5("k$k")); } return $s; });
}
echo $sum;"""
HOW = {"off": ("keep_profile = no\n", None), "the last hour": ("", None), "99 a second": ("keep_profile = no\n", 99), "1000 a second": ("keep_profile = no\n", 1000)}


def engine(front):
    """The process that runs PHP: the supervisor's child."""
    top = front.programs[0]
    return next(pid for pid in top.family() if pid != top.pid)


def thread_us(pid, tid):
    with open(f"/proc/{pid}/task/{tid}/schedstat") as f:
        return int(f.read().split()[0]) / 1000


class Looked:
    def __init__(self, front, hz, seconds):
        self.front, self.hz, self.seconds, self.running = front, hz, seconds, None

    def __enter__(self):
        if self.hz:
            socket = self.front.programs[0].directory + "/ctl.sock"
            self.running = subprocess.Popen([peers.OWN, "ctl", "-s", socket, "profile", "--seconds", str(int(self.seconds) + 30), "--hz", str(self.hz)],
                                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __exit__(self, *_):
        if self.running:
            self.running.kill()
            self.running.wait()


def one(bench, front, hz, path):
    """(requests a second, processor time of a request, the control thread's share of it in percent, its milliseconds a second)"""
    pid = engine(front)
    with Looked(front, hz, bench.seconds):
        control, all_threads, began = thread_us(pid, pid), load.cpu_us([pid]), time.monotonic()
        rate, count, _, _ = load.wrk(front.url("h1", path), bench.workers, max(2, bench.seconds))
        control, all_threads = thread_us(pid, pid) - control, load.cpu_us([pid]) - all_threads
        seconds = time.monotonic() - began
    return rate, all_threads / max(1, count), control / max(1, all_threads) * 100, control / 1000 / seconds


def compare(bench):
    with open(bench.root + "/deep.php", "w") as f:
        f.write(DEEP)
    fronts = {name: bench.http(more=more + "process.dumpable = yes\n") for name, (more, _) in HOW.items()}
    try:
        for script, path in {**bench.scripts, "30 calls deep": "/deep.php"}.items():
            results = load.rounds(fronts, bench.rounds, lambda front: one(bench, front, HOW[name_of(fronts, front)][1], path))  # noqa: B023
            none, idle_ms = (statistics.median(r[i] for r in results["off"]) for i in (2, 3))
            for name, runs in results.items():
                rate, cpu, share, ms = (statistics.median(column) for column in zip(*runs))
                print(f"  {script:14} {name:14} {rate:9.0f} requests/s   {cpu:8.1f} us CPU a request   control thread {share:5.2f} %, "
                      f"of it for looking {share - none:+.2f} %, {ms - idle_ms:+.2f} ms a second", flush=True)
                bench.record.add(script, name, rate=rate, cpu_us=cpu, looking=share - none, looking_ms=ms - idle_ms)
    finally:
        for front in fronts.values():
            front.stop()


def name_of(fronts, front):
    return next(name for name, f in fronts.items() if f is front)


def sampling(bench):
    """What profiles cost: none, the kept one of the last hour, 99 and 1000 looks a second"""
    compare(bench)
