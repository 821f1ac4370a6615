"""The sampling profiler: by script, URL and function, on the processor and asleep; over the control socket and the internal listener."""
import ctypes
import http.client
import json
import os
import platform
import re
import shutil
import subprocess
import threading
import time

import pytest

import process
import tokiophp as program
from inside import Inside

pytestmark = pytest.mark.skipif(program.is_stand_in(), reason="tokiophp's own words")

BURN = "<?php class Oven { function heat($s) { $end = microtime(true) + $s; while (microtime(true) < $end) { hash('sha256', str_repeat('x', 20000)); } } }\n" \
    "function outer($s) { (new Oven)->heat($s); }\nouter((float)$_GET['s']); echo 'burnt';"
REST = "<?php function nap($s) { $t = microtime(true); usleep((int)($s * 1e6)); return microtime(true) - $t; } echo nap((float)$_GET['s']);"

AFTER = "<?php function later($s) { $end = microtime(true) + $s; while (microtime(true) < $end) { hash('sha256', 'x'); } }\n" \
    "echo 'sent'; fastcgi_finish_request(); later((float)$_GET['s']);"
SHORT = "<?php function brief() { for ($i = 0; $i < 20; $i++) { md5('x' . $i); } return 'short'; } echo brief();"


@pytest.fixture
def server(tokiophp, workdir):
    os.mkdir(workdir + "/site")
    for name, text in (("burn.php", BURN), ("rest.php", REST), ("after.php", AFTER), ("short.php", SHORT)):
        with open(f"{workdir}/site/{name}", "w") as f:
            f.write(text)
    return Inside(tokiophp, workdir + "/site", "http.internal_token = secret\n", settings="control_socket = {dir}/ctl.sock\n")


class Load:
    """Two clients that ask until they are told to end; what naps took, in seconds."""

    def __init__(self, server):
        self.stop, self.naps, self.server = threading.Event(), [], server
        self.threads = [threading.Thread(target=self.run, args=(target,)) for target in ("/burn.php?s=0.3", "/rest.php?s=0.3")]

    def run(self, target):
        while not self.stop.is_set():
            text = self.server.site.ask(target).text
            if "rest" in target:
                self.naps.append(float(text))

    def __enter__(self):
        for t in self.threads:
            t.start()
        time.sleep(0.3)
        return self

    def __exit__(self, *_):
        self.stop.set()
        for t in self.threads:
            t.join()


def ctl(workdir, *words):
    return subprocess.run([program.PROGRAM, "ctl", "-s", workdir + "/ctl.sock", *words], capture_output=True, timeout=60, check=False)


def stacks(text):
    found = {}
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        found[tuple(stack.split(";"))] = int(count)
    return found


def check(found, root):
    burnt = {s: n for s, n in found.items() if s[:3] == ("cpu", "GET_/burn.php", root + "/burn.php")}
    slept = {s: n for s, n in found.items() if s[:3] == ("wait", "GET_/rest.php", root + "/rest.php")}
    assert any(s[3:5] == ("outer", "Oven::heat") for s in burnt) and any(s[-1] in ("hash", "str_repeat", "microtime") for s in burnt), found
    assert any(s[3:] == ("nap", "usleep") for s in slept), found
    assert sum(burnt.values()) >= 10 and sum(slept.values()) >= 10, found


def test_over_the_control_socket(server, workdir):
    with Load(server) as load:
        done = ctl(workdir, "profile", "www", "--seconds", "2")
        assert done.returncode == 0, done
    check(stacks(done.stdout.decode()), workdir + "/site")
    assert min(load.naps) >= 0.29, "nobody's sleep is cut short"


def test_for_other_programs(server, workdir):
    with Load(server):
        scope = ctl(workdir, "profile", "--seconds", "1", "--format", "speedscope")
        pprof = ctl(workdir, "profile", "--seconds", "1", "--format", "pprof", "-o", workdir + "/p.pb")
    assert scope.returncode == 0 and pprof.returncode == 0, (scope, pprof)
    data = json.loads(scope.stdout)
    names = [frame["name"] for frame in data["shared"]["frames"]]
    assert "Oven::heat" in names and "usleep" in names
    for profile in data["profiles"]:
        assert len(profile["samples"]) == len(profile["weights"]) > 0 and profile["endValue"] == sum(profile["weights"])
        assert all(0 <= f < len(names) for sample in profile["samples"] for f in sample)
    with open(workdir + "/p.pb", "rb") as f:
        read_pprof(f.read())


def fields(data):
    """(number, value) of a protocol buffer."""
    at = 0

    def varint():
        nonlocal at
        n = shift = 0
        while True:
            n |= (data[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if data[at - 1] < 128:
                return n
    while at < len(data):
        key = varint()
        n = varint()
        if key & 7 == 2:
            yield key >> 3, data[at:at + n]
            at += n
        else:
            assert key & 7 == 0
            yield key >> 3, n


def varints(data):
    return [n for _, n in fields(b"".join(b"\x08" + piece for piece in split_varints(data)))]


def split_varints(data):
    start = 0
    for i, byte in enumerate(data):
        if byte < 128:
            yield data[start:i + 1]
            start = i + 1


def read_pprof(data):
    all_fields = list(fields(data))
    texts = [v.decode() for n, v in all_fields if n == 6]
    functions = {dict(fields(v))[1]: texts[dict(fields(v))[2]] for n, v in all_fields if n == 5}
    locations = {dict(fields(v))[1]: functions[dict(fields(dict(fields(v))[4]))[1]] for n, v in all_fields if n == 4}
    assert texts[0] == "" and 0 not in locations
    samples = [dict(fields(v)) for n, v in all_fields if n == 2]
    shown = [[locations[i] for i in varints(s[1])] for s in samples]
    assert any("Oven::heat" in s and s[-1] == "GET_/burn.php" for s in shown), shown
    assert all(len(varints(s[2])) == 2 for s in samples)


def test_over_the_internal_listener(server, workdir):
    assert server.get("/profile?seconds=1").status == 401
    with Load(server):
        answer = server.get("/profile?seconds=2&pool=www&format=folded", Authorization="Bearer secret")
    assert answer.status == 200, answer.text
    check(stacks(answer.text), workdir + "/site")
    for wrong in ("pool=nothing", "seconds=0", "hz=0", "hz=5000", "format=nothing"):
        assert server.get("/profile?seconds=1&" + wrong, Authorization="Bearer secret").status in (400, 409), wrong
    assert server.get("/health").status == 200


def test_what_cannot_be(server, workdir):
    for words in (["profile", "nothing"], ["profile", "--seconds", "0"], ["profile", "--hz", "5000"], ["profile", "--seconds", "x"]):
        done = ctl(workdir, *words)
        assert done.returncode == 70 and b"error: " in done.stderr, done
    assert ctl(workdir, "profile", "--format", "nothing").returncode == 64
    done = ctl(workdir, "profile", "--seconds", "1")
    assert done.returncode == 0 and done.stdout == b"" and b"no worker ran" in done.stderr


def test_a_reload_meanwhile(server, workdir):
    """A process that goes takes nobody along: the others' pipes end, and so does this one."""
    with Load(server):
        running = subprocess.Popen([program.PROGRAM, "ctl", "-s", workdir + "/ctl.sock", "profile", "--seconds", "3"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(0.5)
        assert ctl(workdir, "restart", "www").returncode == 0
        assert running.wait(60) == 0
        running.communicate()
        assert server.site.ask("/rest.php?s=0").status == 200


def pipes(pid):
    """{inode: descriptor} of those that it only writes into."""
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
            with open(f"/proc/{pid}/fdinfo/{fd}", encoding="utf-8") as f:
                flags = int(re.search(r"flags:\s*(\d+)", f.read()).group(1), 8)
        except FileNotFoundError:
            continue
        if target.startswith("pipe:") and flags & os.O_ACCMODE == os.O_WRONLY:
            found[target] = int(fd)
    return found


def descriptors(pids, before):
    """Theirs of the one pipe that both have and that is new; None: there is none yet."""
    one, other = (pipes(pid) for pid in pids)
    common = (set(one) & set(other)) - before
    return [(one[p], other[p]) for p in common][0] if common else None


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the number of kcmp")
def test_each_process_has_an_open_file_of_its_own(tokiophp, workdir):
    """Or one could make the others wait: whether a write waits is a matter of the open file."""
    os.mkdir(workdir + "/site")
    server = Inside(tokiophp, workdir + "/site", "pm = static\npm.processes = 2\npm.max_children = 2\n",
                    settings="control_socket = {dir}/ctl.sock\n")
    ready = lambda: re.findall(r"process pid=(\d+) .*state=ready", ctl(workdir, "status").stdout.decode())  # noqa: E731
    process.wait_for(lambda: len(ready()) == 2, what="both processes")
    pids = [int(pid) for pid in ready()]
    before = set(pipes(pids[0])) | set(pipes(pids[1]))
    running = subprocess.Popen([program.PROGRAM, "ctl", "-s", workdir + "/ctl.sock", "profile", "--seconds", "3"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    fds = process.wait_for(lambda: descriptors(pids, before), what="two processes with the same pipe")
    libc = ctypes.CDLL(None, use_errno=True)
    same = libc.syscall(312, pids[0], pids[1], 0, *fds)
    assert same != 0, "one open file for both"
    assert running.wait(60) == 0
    running.communicate()
    if same < 0:
        pytest.skip(f"kcmp: {os.strerror(ctypes.get_errno())}")
    assert server.get("/health").status == 200


def test_a_client_that_is_gone(server, workdir):
    """Nothing is looked at for nobody, and the next one finds a place."""
    pid = int(re.search(r"process pid=(\d+)", ctl(workdir, "status").stdout.decode()).group(1))
    before = set(pipes(pid))
    new = lambda: set(pipes(pid)) - before  # noqa: E731
    sock = process.connect(server.address)
    sock.sendall(b"GET /profile?seconds=300&token=secret HTTP/1.1\r\nHost: localhost\r\n\r\n")
    process.wait_for(new, what="a profile")
    sock.close()
    process.wait_for(lambda: not new(), what="its end")
    running = subprocess.Popen([program.PROGRAM, "ctl", "-s", workdir + "/ctl.sock", "profile", "--seconds", "300"], stdout=subprocess.DEVNULL)
    process.wait_for(new, what="another profile")
    running.kill()
    running.wait()
    process.wait_for(lambda: not new(), what="its end, too")


def test_several_at_once(server, workdir):
    found = []
    ask = lambda hz: found.append(ctl(workdir, "profile", "www", "--seconds", "2", "--hz", hz))  # noqa: E731
    with Load(server):
        askers = [threading.Thread(target=ask, args=(hz,)) for hz in ("99", "50", "200")]
        for t in askers:
            t.start()
        for t in askers:
            t.join()
    for done in found:
        assert done.returncode == 0, done
        check(stacks(done.stdout.decode()), workdir + "/site")


def test_after_the_answer(server, workdir):
    """A script that works on when its answer has left is still a script."""
    assert server.site.ask("/after.php?s=3").text == "sent"
    found = stacks(ctl(workdir, "profile", "--seconds", "1").stdout.decode())
    assert sum(n for s, n in found.items() if s[:4] == ("cpu", "GET_/after.php", workdir + "/site/after.php", "later")) >= 10, found


def test_short_requests(server, workdir):
    """Of requests that take less than a millisecond there are as many samples as of others, for the time that they take."""
    stop = threading.Event()

    def run():
        c = http.client.HTTPConnection(*server.site.address, timeout=20)
        while not stop.is_set():
            c.request("GET", "/short.php")
            assert c.getresponse().read() == b"short"
        c.close()
    clients = [threading.Thread(target=run) for _ in range(2)]
    for t in clients:
        t.start()
    spent = lambda: float(re.search(r"^tokio_php_request_duration_seconds_sum\{[^}]*\} ([\d.e+-]+)$", server.get("/metrics").text, re.M).group(1))  # noqa: E731
    try:
        running = subprocess.Popen([program.PROGRAM, "ctl", "-s", workdir + "/ctl.sock", "profile", "--seconds", "4", "--hz", "200"],
                                   stdout=subprocess.PIPE)
        before = spent()
        found = stacks(running.communicate()[0].decode())
        expected = (spent() - before) * 200
    finally:
        stop.set()
        for t in clients:
            t.join()
    assert {s[2] for s in found} == {workdir + "/site/short.php"}
    assert expected > 20 and expected / 10 <= sum(found.values()) <= expected * 5, (expected, found)


WORKER = "<?php function handle() { $end = microtime(true) + 0.2; while (microtime(true) < $end) { hash('sha256', 'x'); } echo 'handled'; }\n" \
    "while (tokio_handle_request(fn() => handle())) { }"


def test_requests_of_a_worker_script(tokiophp, workdir):
    """They run on top of a script that never ends: its own code is at the begin of their stacks."""
    os.mkdir(workdir + "/site")
    with open(workdir + "/site/worker.php", "w") as f:
        f.write(WORKER)
    server = Inside(tokiophp, workdir + "/site", f"worker.script = {workdir}/site/worker.php\nworker.num = 2\n",
                    settings="control_socket = {dir}/ctl.sock\n")
    stop = threading.Event()

    def run():
        while not stop.is_set():
            assert server.site.ask("/worker.php").text == "handled"
    client = threading.Thread(target=run)
    client.start()
    try:
        found = stacks(ctl(workdir, "profile", "--seconds", "2").stdout.decode())
    finally:
        stop.set()
        client.join()
    handled = {s: n for s, n in found.items() if "handle" in s and s[:3] == ("cpu", "GET_/worker.php", workdir + "/site/worker.php")}
    assert sum(handled.values()) >= 20 and all(s[3] == "tokio_handle_request" for s in handled), found


# So deep, and with names so long, that the outermost find no room.
DEEP = "<?php function spin() { $end = microtime(true) + 0.02; while (microtime(true) < $end) { hash('sha256', 'x'); } }\n" \
    "function NAME($n) { $n ? NAME($n - 1) : spin(); }\nfunction first_of_all() { NAME(110); }\n" \
    "$end = microtime(true) + (float)$_GET['s']; while (microtime(true) < $end) { first_of_all(); } echo 'back';"


def test_a_name_that_found_no_room_is_not_kept(server, workdir):
    """Names in OPcache's memory are kept for the looks that follow: those that were read whole."""
    name = "n" * 80
    with open(workdir + "/site/deep.php", "w") as f:
        f.write(DEEP.replace("NAME", name))
    os.utime(workdir + "/site/deep.php", (1, 1))  # OPcache takes no file that may still be written
    client = threading.Thread(target=server.site.ask, args=("/deep.php?s=2.5",))
    client.start()
    try:
        found = stacks(ctl(workdir, "profile", "--seconds", "2").stdout.decode())
    finally:
        client.join()
    deep = [s for s in found if "spin" in s]
    assert deep and all(s[3:5] == ("(outer_functions)", name) and set(s[4:s.index("spin")]) == {name} for s in deep), found


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_where_the_kernel_forbids_to_look(server, workdir):
    """As some containers do: then the same is copied through a pipe."""
    pid = re.search(r"process pid=(\d+)", ctl(workdir, "status").stdout.decode()).group(1)
    tracer = subprocess.Popen(["strace", "-qq", "-p", pid, "-e", "trace=process_vm_readv", "-e", "inject=process_vm_readv:error=EPERM",
                               "-o", workdir + "/traced"], stderr=subprocess.DEVNULL)
    try:
        traced = lambda: int(re.search(r"TracerPid:\s+(\d+)", open(f"/proc/{pid}/status").read()).group(1))  # noqa: E731
        process.wait_for(lambda: traced() or tracer.poll() is not None, what="a tracer")
        if tracer.poll() is not None:
            pytest.skip("nobody may be traced here")
        with Load(server):
            done = ctl(workdir, "profile", "www", "--seconds", "2")
    finally:
        tracer.terminate()
        tracer.wait()
    assert done.returncode == 0, done
    check(stacks(done.stdout.decode()), workdir + "/site")
    with open(workdir + "/traced") as f:
        assert "EPERM" in f.read()
