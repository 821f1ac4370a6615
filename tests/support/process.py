"""Programs under test: started in a session of their own, so that everything they leave behind is found."""
import os
import re
import signal as signals
import socket
import subprocess
import threading
import time


class Failure(AssertionError):
    """A program under test did not do what it must, whatever the test was about."""


def free_port(host="127.0.0.1"):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as s:
        s.bind((host, 0))
        return s.getsockname()[1]


PATIENCE = 30  # seconds: what is waited for comes at once, unless the machine has much else to do


def wait_for(condition, seconds=PATIENCE, what="condition"):
    """The condition's first true value. Fails after `seconds`, and never before PATIENCE."""
    seconds = max(seconds, PATIENCE)
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"{what} did not come true within {seconds} s")
        time.sleep(0.02)


def connect(address, timeout=PATIENCE):
    """A connected stream socket. address: a path, or (host, port)."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    s = socket.socket(family)
    s.settimeout(timeout)
    try:
        s.connect(address)
    except OSError:
        s.close()
        raise
    return s


def accepts(address):
    try:
        connect(address, 2).close()
        return True
    except OSError:
        return False


def session_of(pid):
    """The session id of a process, or None. A zombie counts as gone."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[3])


def parent_of(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return int(f.read().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def own_family():
    """This process and what it has started."""
    return [os.getpid(), *(int(p) for p in os.listdir("/proc") if p.isdigit() and parent_of(p) == os.getpid())]


def end_descendants():
    """Whatever this process has started and is still there, with what that has started, at once. Who has left its session
    is found by its parent, whose parent has ended by its session."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        there = {int(p): (session_of(p), parent_of(p)) for p in os.listdir("/proc") if p.isdigit() and session_of(p) is not None}
        left, more = set(), {os.getpid()}
        while more:
            left |= more
            more = {pid for pid, (session, parent) in there.items() if parent in left or session in left} - left
        left.discard(os.getpid())
        if not left:
            return
        for pid in left:
            try:
                os.kill(pid, signals.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
        time.sleep(0.02)


def status_field(pid, field):
    """A number of kilobytes from /proc/PID/status, 0 if the process is gone."""
    try:
        with open(f"/proc/{pid}/status") as f:
            for line in f:
                if line.startswith(field + ":"):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


def halt(pid):
    """SIGSTOP, and the stop of its last thread: until then one that was just woken may still take a connection."""
    os.kill(pid, signals.SIGSTOP)

    def stopped():
        try:
            states = []
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/stat") as f:
                    states.append(f.read().rpartition(")")[2].split()[0])
            return all(state in "TZX" for state in states)
        except (FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            return False
    wait_for(stopped, what=f"the stop of {pid}")


def descriptors(pid):
    """{number: what it leads to}, of those that are not closed meanwhile."""
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            continue
    return found


def tasks(pid):
    """Ids of its threads; none if it is gone."""
    try:
        return os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []


def without_own_signals(text):
    """A /proc/PID/status without signals 32 and 33, which are the C library's own: posix_spawn(3), and so make,
    leaves them ignored in what it starts."""
    return re.sub(r"(SigIgn:\t)(\w+)", lambda m: "%s%016x" % (m[1], int(m[2], 16) & ~(3 << 31)), text)


class Program:
    """One running program. Its output goes to LOG in `directory`."""

    def __init__(self, command, directory, log, env=None, cwd=None):
        self.command, self.directory = command, directory
        self.log_path = os.path.join(directory, log)
        self.stopped = False
        env = dict(os.environ if env is None else env)
        if env.get("RUNTIME_DIRECTORY") == os.environ.get("RUNTIME_DIRECTORY"):
            env["RUNTIME_DIRECTORY"] = os.path.join(directory, "run")
        with open(self.log_path, "ab") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, cwd=cwd,
                                            start_new_session=True)
        self.pid = self.process.pid

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def running(self):
        return self.process.poll() is None

    def family(self):
        """Every live process of the session, the program itself first."""
        pids = [int(p) for p in os.listdir("/proc") if p.isdigit() and session_of(p) == self.pid]
        return sorted(pids, key=lambda pid: (pid != self.pid, pid))

    def rss_kb(self, field="VmRSS"):
        return sum(status_field(pid, field) for pid in self.family())

    def switches(self):
        """How often each thread has gone to sleep or was put aside. One that ends meanwhile is not among them."""
        found = {}
        for pid in self.family():
            for tid in tasks(pid):
                try:
                    with open(f"/proc/{pid}/task/{tid}/status") as f:
                        found[pid, tid] = [line for line in f if line.startswith(("voluntary", "nonvoluntary"))]
                except OSError:
                    pass
        return found

    def still(self, seconds=2):
        """Nothing of it has run for so long."""
        before = self.switches()
        time.sleep(seconds)
        return before == self.switches()

    def wait_accepting(self, address, seconds=PATIENCE):
        def ready():
            if not self.running():
                raise Failure(f"{self.command[0]} ended with {self.process.returncode} at start:\n{self.log()}")
            return accepts(address)
        wait_for(ready, seconds, f"{self.command[0]} listening on {address}")

    def signal(self, number):
        os.kill(self.pid, number)

    def wait(self, seconds=PATIENCE):
        """Its exit code. Fails after `seconds`, and never before PATIENCE."""
        seconds = max(seconds, PATIENCE)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.command[0]} (pid {self.pid}) did not end within {seconds} s") from None

    def kill_family(self):
        for pid in self.family():
            try:
                os.kill(pid, signals.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()

    def stop(self, number=signals.SIGTERM, seconds=PATIENCE):
        """End it and return its exit code. What it left running is killed, and is a failure."""
        if self.stopped:
            return self.process.returncode
        self.stopped = True
        try:
            if self.running():
                self.signal(number)
            code = self.wait(seconds)
            end = time.monotonic() + PATIENCE / 3
            while self.family() and time.monotonic() < end:
                time.sleep(0.02)
            left = self.family()
            if left:
                names = [open(f"/proc/{p}/cmdline").read().replace("\0", " ") for p in left if os.path.exists(f"/proc/{p}")]
                raise Failure(f"{self.command[0]} left processes behind: {names}")
            return code
        finally:
            self.kill_family()


def stop_all(programs):
    """The last one first; the first complaint is raised when all are ended."""
    complaint = None
    for program in reversed(programs):
        try:
            program.stop()
        except AssertionError as e:
            complaint = complaint or e
    if complaint:
        raise complaint


class ProcessorWaits:
    """While the `with` lasts: the longest time in which a thread of the programs, of the test, or of a process that the
    test has started was runnable and got no processor. Some machines starve a whole session for seconds; what a server
    owes is counted from when it may run, and what a client sees from when it may look."""

    def __init__(self, *programs):
        self.programs, self.longest_ms, self.over = list(programs), 0, threading.Event()
        self.waits = []  # (end of a look, pid, milliseconds since the one before) of the first thread of each program's processes
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def look(self, pid, tid, seen, counts):
        with open(f"/proc/{pid}/task/{tid}/schedstat") as f:
            waited = int(f.read().split()[1])
        longer_ms = (waited - seen.get(tid, waited)) / 1e6
        seen[tid] = waited
        self.longest_ms = max(self.longest_ms, longer_ms)
        if counts and int(tid) == pid and longer_ms > 0:
            self.waits.append((time.monotonic(), pid, longer_ms))

    def watch(self):
        seen = {}
        while not self.over.wait(0.2):
            theirs = [pid for program in self.programs for pid in program.family()]
            for pid in [*theirs, *own_family()]:
                try:
                    for tid in os.listdir(f"/proc/{pid}/task"):
                        self.look(pid, tid, seen, pid in theirs)
                except OSError:
                    pass

    def between(self, begin, end):
        """How long, from begin to end, the first thread of one of its processes wanted to run and could not. Those threads
        run no scripts: what scripts take from each other does not count."""
        sums = {}
        for when, pid, ms in self.waits:
            if begin < when < end + 0.4:
                sums[pid] = sums.get(pid, 0) + ms
        return max(sums.values(), default=0)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
