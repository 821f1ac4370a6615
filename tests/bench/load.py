"""Load generators, and what the servers' processes spent meanwhile."""
import os
import re
import statistics
import subprocess
import sys

UNIT = {"us": 0.001, "ms": 1.0, "s": 1000.0}
TICK_US = 1000000 / os.sysconf("SC_CLK_TCK")


class Run:
    """One run: requests per second, p50 and p99 in ms, processor time in us per request of all servers and of the pool alone."""

    def __init__(self, rate, p50, p99, cpu_us, pool_us):
        self.rate, self.p50, self.p99, self.cpu_us, self.pool_us = rate, p50, p99, cpu_us, pool_us


def cpu_by_task(pids):
    """{task: us} of all their threads, in the kernel's nanoseconds; where it does not tell them, of the processes in its ticks."""
    spent = {}
    for pid in pids:
        try:
            if not os.path.exists(f"/proc/{pid}/schedstat"):
                with open(f"/proc/{pid}/stat") as f:
                    fields = f.read().rpartition(")")[2].split()
                spent[pid] = (int(fields[11]) + int(fields[12])) * TICK_US
                continue
            tasks = os.listdir(f"/proc/{pid}/task")
        except OSError:
            continue
        for task in tasks:
            try:
                with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                    spent[int(task)] = int(f.read().split()[0]) / 1000
            except OSError:
                pass
    return spent


def cpu_us(pids):
    return sum(cpu_by_task(pids).values())


def cpu_since(before, pids):
    """Of threads that are new, all; one that has ended takes nothing back of what others spent."""
    return sum(us - before.get(task, 0) for task, us in cpu_by_task(pids).items())


def command(arguments, seconds):
    done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds + 60)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)}:\n{done.stdout}")
    return done.stdout


def wrk(url, clients, seconds, whose=""):
    text = command(["wrk", "-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s", "--latency", url], seconds)
    if re.search(r"Non-2xx", text):
        sys.exit(f"{url}: errors under load:\n{text}")
    late = re.search(r"Socket errors: (.*)", text)
    if late:
        print(f"    {whose or url}: {late.group(1)}")
    times = {p: float(n) * UNIT[u] for p, n, u in re.findall(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)", text, re.M)}
    return (float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1)), int(re.search(r"(\d+) requests in", text).group(1)),
            times["50"], times["99"])


def h2load(url, clients, seconds, _whose=""):
    text = command(["h2load", "-D", f"{max(1, round(seconds))}", "-c", str(max(1, clients // 4)), "-m", "4", "-t1", url], seconds)
    if not re.search(r" 0 failed, 0 errored, 0 timeout", text) or not re.search(r"0 4xx, 0 5xx", text):
        sys.exit(f"{url}: errors under load:\n{text}")
    middle = re.search(r"time for request:\s+\S+\s+(\S+?)(us|ms|s)\s+([\d.]+)(us|ms|s)", text)
    # h2load gives no percentiles: the mean stands for the median, the slowest for the 99th
    return (float(re.search(r"finished in .*?, ([\d.]+) req/s", text).group(1)), int(re.search(r"(\d+) succeeded", text).group(1)),
            float(middle.group(3)) * UNIT[middle.group(4)], float(middle.group(1)) * UNIT[middle.group(2)])


def run(front, protocol, path, clients, seconds):
    """Load on a peers.Front. Where there is but one program, it is the pool and the web server."""
    before = [cpu_by_task(program.family()) for program in front.programs]
    rate, count, p50, p99 = (h2load if protocol == "h2" else wrk)(front.url(protocol, path), clients, seconds, front.name)
    spent = [cpu_since(b, program.family()) / max(1, count) for program, b in zip(front.programs, before)]
    return Run(rate, p50, p99, sum(spent), spent[-1])


def paced(url, rate, clients, seconds, folder):
    """At a fixed rate: (p50, p99) in ms of every single request. The clients of one h2load send at the same moments, all of
    them in one go; so each is a program of its own, and they begin when they begin."""
    logs = [f"{folder}/paced{i}.log" for i in range(clients)]
    for log in logs:
        if os.path.exists(log):
            os.unlink(log)
    programs = [subprocess.Popen(["h2load", "--h1", "-t1", "-c", "1", f"--rps={max(1, round(rate / clients))}", "-D", str(seconds),
                                  f"--log-file={log}", url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for log in logs]
    for program in programs:
        if program.wait(seconds + 60):
            sys.exit(f"{url}: h2load ended with {program.returncode}")
    fields = []
    for log in logs:
        with open(log) as f:
            fields += [line.split("\t") for line in f]
    times = sorted(int(time) / 1000 for _, status, time, *_ in fields if status == "200")
    if len(times) < len(fields) or not times:
        sys.exit(f"{url}: {len(fields) - len(times)} of {len(fields)} requests failed at {rate:.0f} a second")
    if len(times) < 0.9 * rate * seconds:
        print(f"    {url}: {len(times) / seconds:.0f} requests/s and no more, where {rate:.0f} are asked for")
    return times[len(times) // 2], times[int(len(times) * 0.99)]


def rounds(contestants, count, one):
    """{name: [result, ...]}: every contestant once a round, after one run each that does not count. Each other round goes
    backwards, so that nobody always comes after the same one."""
    results = {name: [] for name in contestants}
    for number in range(count + 1):
        for name in list(contestants)[::-1 if number % 2 else 1]:
            result = one(contestants[name])
            if number:
                results[name].append(result)
    return results


def ratios(ours, theirs):
    """Median, smallest and largest of the rounds' ratios."""
    values = [a / max(1e-9, b) for a, b in zip(ours, theirs)]
    return statistics.median(values), min(values), max(values)


def ratio(ours, theirs, column):
    """Where a round's result is a tuple."""
    return ratios([run[column] for run in ours], [run[column] for run in theirs])[0]


def of(runs, field):
    return [getattr(run, field) for run in runs]


def report(record, case, results, first="tokiophp"):
    """Prints a line for each contestant, and keeps it."""
    for name, runs in results.items():
        row = {field: statistics.median(of(runs, field)) for field in ("rate", "p50", "p99", "cpu_us", "pool_us")}
        line = (f"  {case:26} {name:24} {row['rate']:9.0f} requests/s   p50 {row['p50']:7.2f} ms   p99 {row['p99']:7.2f} ms   "
                f"{row['cpu_us']:7.1f} us CPU a request, the pool {row['pool_us']:7.1f}")
        if name != first:
            row["ratio"], row["least"], row["most"] = ratios(of(results[first], "rate"), of(runs, "rate"))
            row["cpu_ratio"], row["pool_ratio"] = (ratios(of(results[first], field), of(runs, field))[0] for field in ("cpu_us", "pool_us"))
            line += (f"   ratio {row['ratio']:5.2f} ({row['least']:.2f} to {row['most']:.2f}, {len(runs)} rounds), "
                     f"CPU {row['cpu_ratio']:.2f}, pool {row['pool_ratio']:.2f}")
        print(line, flush=True)
        record.add(case, name, **row)
