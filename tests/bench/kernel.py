"""Events of the kernel per request, counted by perf; without it, what /proc knows."""
import os
import re
import shutil
import signal
import subprocess
import time

import load

EVENTS = {"syscalls:sys_enter_futex": "futex calls", "raw_syscalls:sys_enter": "system calls",
          "context-switches": "context switches", "page-faults": "page faults"}


def from_proc(pids):
    switches = faults = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat") as f:
                faults += int(f.read().rpartition(")")[2].split()[7])
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/status") as f:
                    switches += sum(int(n) for n in re.findall(r"ctxt_switches:\s+(\d+)", f.read()))
        except OSError:
            pass
    return switches, faults


def with_perf(pids, make):
    """perf begins to count when it is told to, as it takes its time to start where much runs, and says that it does."""
    (told, tell), (said, say) = os.pipe(), os.pipe()
    perf = subprocess.Popen(["perf", "stat", "-x;", "-D", "-1", f"--control=fd:{told},{say}", "-e", ",".join(EVENTS), "-p", ",".join(map(str, pids))],
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, pass_fds=(told, say))
    os.close(told)
    os.close(say)
    with open(tell, "wb", buffering=0) as orders, open(said, "rb", buffering=0) as answers:
        try:
            orders.write(b"enable\n")
            counts = answers.read(1) != b""
        except BrokenPipeError:
            counts = False
        requests = max(1, make()) if counts else 0
        if counts:
            perf.send_signal(signal.SIGINT)
        text = perf.communicate()[1]
    fields = [line.split(";") for line in text.splitlines() if line.count(";") > 3]
    return {EVENTS[f[2]]: int(f[0]) / requests for f in fields if f[0].isdigit() and f[2] in EVENTS} or None if counts else None


def lacks():
    """Why only what /proc knows can be counted: a list of at most one reason."""
    if not shutil.which("perf"):
        return ["perf is not installed"]
    return [] if with_perf([os.getpid()], lambda: 1) else ["perf may count nothing here"]


def settle(pids):
    """Until nobody runs what the last load has left: a tenth of a second without a tenth of it of processor time."""
    for _ in range(100):
        before = load.cpu_us(pids)
        time.sleep(0.1)
        if load.cpu_us(pids) - before < 10000:
            return


def count(pids, make):
    """make: a function that makes load and returns the number of requests."""
    for _ in range(3 if shutil.which("perf") else 0):
        counted = with_perf(pids, make)
        if counted and counted.get("system calls") != 0:  # else it has missed all of them, which it does now and then
            return counted
    before = from_proc(pids)
    requests = max(1, make())
    after = from_proc(pids)
    return {"context switches": (after[0] - before[0]) / requests, "page faults": (after[1] - before[1]) / requests}
