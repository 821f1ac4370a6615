"""The border of a pool: nothing that one of its processes can write reaches the supervisor or another pool."""
import ctypes
import fcntl
import hashlib
import os
import random
import re
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

import process
from fcgi_client import fetch
from test_control import ctl
from tokiophp import GROUP, IS_ROOT, USER

WORD = 8


@pytest.fixture
def server(tokiophp, workdir):
    with open(os.path.join(workdir, "hello.php"), "w") as f:
        f.write("<?php echo 'hello';")
    user = f"user = {USER}\ngroup = {GROUP}\n" if IS_ROOT else ""
    pools = "".join(f"[{name}]\n{user}listen = {{dir}}/{name}.sock\nlisten.mode = 0666\npm = static\npm.max_children = 2\n"
                    f"pm.status_path = /status\n" for name in ("good", "bad"))
    s = tokiophp(address=os.path.join(workdir, "good.sock"),
                 config="[global]\nerror_log = {dir}/error.log\ndaemonize = no\ncontrol_socket = {dir}/ctl\n" + pools)
    s.wait_message("ready to handle connections")
    s.script = os.path.join(workdir, "hello.php")
    return s


def hello(server, pool="good"):
    answer = fetch(os.path.join(server.directory, f"{pool}.sock"), server.script, timeout=20)
    return answer.status, answer.body


def engines(server, pool):
    """Pids of the pool's processes, as the supervisor tells them."""
    text = ctl(server, "status")[1].split(f"pool {pool} ")[1].split("\npool ")[0]
    return [int(pid) for pid in re.findall(r"process pid=(\d+)", text)]


def boards(pid):
    """[(address, bytes, inode)] of the boards that it has mapped."""
    found = []
    with open(f"/proc/{pid}/maps") as f:
        for line in f:
            if "memfd:" in line and "memfd:board" in line:
                first, last = (int(x, 16) for x in line.split()[0].split("-"))
                found.append((first, last - first, line.split()[4]))
    return found


def memory_files(pid):
    return [n for n in process.descriptors(pid).values() if "memfd:" in n and "opcache" not in n.lower()]


@pytest.mark.skipif(not IS_ROOT, reason="looks into other users' processes")
def test_no_process_has_another_s_board(server):
    seen = []
    for pool in ("good", "bad"):
        for pid in engines(server, pool):
            mapped = boards(pid)
            assert len(mapped) == 1
            assert len([n for n in memory_files(pid) if "board" in n]) == 1
            seen.append(mapped[0][2])
    assert len(set(seen)) == len(seen) == 2
    assert boards(server.pid) == []


class Intruder(threading.Thread):
    """Writes every word of a pool's boards, again and again: first one word after the other, then all of them."""

    def __init__(self, server, pool):
        super().__init__()
        self.server, self.pool, self.over, self.written, self.random = server, pool, threading.Event(), 0, random.Random(7)

    def values(self, address):
        return [0, 1, 2 ** 64 - 1, self.random.getrandbits(64), address]

    def write(self, f, address, data):
        f.seek(address)
        f.write(data)
        f.flush()
        self.written += len(data) // WORD

    def attack(self, pid):
        address, size, _ = boards(pid)[0]
        with open(f"/proc/{pid}/mem", "r+b", buffering=0) as f:
            for at in range(0, min(size, 4096), WORD):
                for value in self.values(address):
                    self.write(f, address + at, value.to_bytes(WORD, "little"))
            for value in self.values(address):
                self.write(f, address, value.to_bytes(WORD, "little") * (size // WORD))
            self.write(f, address, self.random.randbytes(size))

    def run(self):
        while not self.over.is_set():
            for pid in self.pids:
                try:
                    self.attack(pid)
                except (OSError, IndexError):
                    continue  # it is gone
            self.pids = [p for p in self.server.family()[1:] if p not in self.spare and boards_or_none(p)]

    def begin(self, spare):
        self.spare, self.pids = spare, [p for p in self.server.family()[1:] if p not in spare]
        self.start()
        process.wait_for(lambda: self.written > 10000, 30, "a board that is written")


def boards_or_none(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as f:
            return "pool bad" in f.read() and boards(pid)
    except OSError:
        return None


@pytest.mark.skipif(not IS_ROOT, reason="writes into other users' processes")
def test_an_intruder_on_its_own_board(server):
    """While the supervisor does everything that it can be asked for, also at the pool's end."""
    intruder = Intruder(server, "bad")
    good = engines(server, "good")
    intruder.begin(good)
    try:
        for _ in range(20):
            for words in (["status"], ["top"]):
                code, text, error = ctl(server, *words)
                assert code == 0 and text and not error
            assert hello(server) == (200, b"hello")
            page = fetch(os.path.join(server.directory, "good.sock"), server.script, uri="/status", query="full")
            assert page.status == 200 and re.search(rb"active processes:     [12]\n", page.body)
        assert ctl(server, "restart", "bad")[0] == 0
        for _ in range(3):
            for pid in intruder.pids[:1]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
            assert ctl(server, "status")[0] == 0
            assert hello(server) == (200, b"hello")
            time.sleep(0.3)
        assert engines(server, "good") == good
        intruder.spare = []
        ctl(server, "reload")
        process.wait_for(lambda: server.messages().count("ready to handle connections") >= 2, 60, "the reload")
        assert hello(server) == (200, b"hello")
        assert ctl(server, "status")[0] == 0
    finally:
        intruder.over.set()
        intruder.join()
    process.wait_for(lambda: hello(server, "bad") == (200, b"hello"), 60, "the pool, without its intruder")


@pytest.mark.skipif(not IS_ROOT, reason="writes into other users' processes")
def test_an_intruder_while_the_server_ends(server):
    intruder = Intruder(server, "bad")
    intruder.begin(engines(server, "good"))
    try:
        server.stop(signal.SIGQUIT, 60)
    finally:
        intruder.over.set()
        intruder.join()


# Long ones, as what is freed loses only its first bytes.
SECRETS = {name: "hush" + hashlib.sha256(name.encode()).hexdigest() for name in (
    "env[DB_PASSWORD]", "worker.env[API_KEY]", "php_admin_value[mysqli.default_pw]", "php_value[x.secret]", "http.internal_token",
    "http.add_header[Authorization]", "http.redirect[/old]", "cron[job]", "$SHOP_PASSWORD")}


def setting_of(name, secret):
    """Its line in the pool's section."""
    return {"http.redirect[/old]": f"{name} = https://user:{secret}@example.org/", "cron[job]": f"{name} = \"@yearly true {secret}\"",
            "$SHOP_PASSWORD": "env[SHOP_PASSWORD] = $SHOP_PASSWORD"}.get(name, f"{name} = {secret}") + "\n"


def left_in(memory):
    """Which of them are there, be it only in part."""
    return {name for name, value in SECRETS.items() if value[20:60].encode() in memory}


def tls_files(folder):
    names = [os.path.join(folder, f"tls.{kind}") for kind in ("crt", "key")]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "3",
                    "-out", names[0], "-keyout", names[1]], check=True, stderr=subprocess.DEVNULL)
    return names


def private_number(key):
    """Bytes out of the middle of one of its primes."""
    text = subprocess.run(["openssl", "rsa", "-in", key, "-noout", "-text"], check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL).stdout.decode()
    digits = re.search(r"prime1:([0-9a-f:\s]+)", text).group(1)
    return bytes.fromhex(re.sub(r"[:\s]", "", digits))[16:64]


def memory_of(pid):
    """All that the process can read of its own memory, but for mapped files."""
    pieces = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            span, rights, _, _, inode, *path = line.split(maxsplit=5)
            if not rights.startswith("r") or (path and path[0].startswith(("/usr", "/lib", "/opt", "[v"))):
                continue
            first, last = (int(x, 16) for x in span.split("-"))
            try:
                memory.seek(first)
                pieces.append(memory.read(min(last - first, 64 << 20)))
            except (OSError, ValueError):
                continue
    return b"\0".join(pieces)


def processes_of(server, pool):
    return [p for p in server.family()[1:] if open(f"/proc/{p}/cmdline").read().rstrip("\0 ").endswith(f"pool {pool}")]


def user_of(pid):
    """Its effective user; who owns its folder in /proc does not say."""
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"^Uid:\s+\d+\s+(\d+)", f.read(), re.M).group(1))


# The address sanitizer keeps what is freed, and copies of stacks and of the environment.
looks_for_remains = pytest.mark.skipif(not IS_ROOT or bool(os.environ.get("SANITIZER")),
                                       reason="looks into other users' processes, without a sanitizer's own memory in them")


@looks_for_remains
def test_while_php_starts_nothing_secret_of_other_pools_is_there(tokiophp, workdir):
    """A preload script is a user's code, and the first of it."""
    cert, key = tls_files(workdir)
    secret = private_number(key)
    pem = [line.encode() for line in open(key).read().split("\n")[2:-3]]
    ports = [process.free_port() for _ in range(2)]
    with open(os.path.join(workdir, "preload.php"), "w") as f:
        f.write(f"<?php file_put_contents('{workdir}/reached', implode(',', getenv())); sleep(3);")
    os.chmod(workdir, 0o777)
    shop = "".join(setting_of(*item) for item in SECRETS.items())
    user = f"user = {USER}\ngroup = {GROUP}\n"
    config = ("[global]\nerror_log = {dir}/error.log\ndaemonize = no\n"
              f"[shop]\n{user}listen = {{dir}}/shop.sock\npm = static\npm.max_children = 1\n{shop}"
              f"http.document_root = {workdir}\nhttp.tls_listen = 127.0.0.1:{ports[0]}\nhttp.tls_cert = {cert}\nhttp.tls_key = {key}\n"
              f"http.internal_listen = 127.0.0.1:{ports[1]}\n"
              f"[nosy]\n{user}listen = {{dir}}/nosy.sock\npm = static\npm.max_children = 1\n"
              f"php_admin_value[opcache.enable] = 1\nphp_admin_value[opcache.preload] = {workdir}/preload.php\n")
    server = tokiophp(config=config, wait=False, env={**os.environ, "SHOP_PASSWORD": SECRETS["$SHOP_PASSWORD"]})
    process.wait_for(lambda: os.path.exists(os.path.join(workdir, "reached")), 60, "the preload script")
    memory = memory_of([p for p in processes_of(server, "nosy") if user_of(p) != 0][0])
    assert b"preload.php" in memory  # it is looked at
    found = left_in(memory)
    found |= {"the key's file"} if any(line in memory for line in pem) else set()
    found |= {"the key"} if secret in memory or secret[::-1] in memory else set()
    assert not found
    assert "hush" not in open(os.path.join(workdir, "reached")).read()
    server.wait_message("ready to handle connections", 30)
    for pid in processes_of(server, "nosy"):
        assert not left_in(memory_of(pid))
    memory = memory_of(processes_of(server, "shop")[0])
    assert left_in(memory) == {*SECRETS} and (secret in memory or secret[::-1] in memory)
    assert not any(line in memory for line in pem)
    tasks = left_in(memory_of(processes_of(server, "shop:tasks")[0]))
    assert {"cron[job]", "env[DB_PASSWORD]", "$SHOP_PASSWORD"} <= tasks and not {t for t in tasks if t.startswith("http.")}


@looks_for_remains
def test_what_was_seen_of_other_pools_is_not_there(tokiophp, workdir):
    """The supervisor keeps which functions of a pool ran in the last hour; a process that it makes later has none of them."""
    os.chmod(workdir, 0o777)
    with open(os.path.join(workdir, "burn.php"), "w") as f:
        f.write("<?php function hush_hush() { for ($end = hrtime(true) + 3e9; hrtime(true) < $end;); } hush_hush();")
    name = b"hush" + b"_hush"
    user = f"user = {USER}\ngroup = {GROUP}\n"
    config = ("[global]\nerror_log = {dir}/error.log\ndaemonize = no\ncontrol_socket = {dir}/ctl\n" +
              "".join(f"[{pool}]\n{user}listen = {{dir}}/{pool}.sock\npm = static\npm.max_children = 1\n" for pool in ("shop", "nosy")))
    server = tokiophp(address=os.path.join(workdir, "shop.sock"), config=config)

    def is_kept():
        assert fetch(server.address, f"{workdir}/burn.php").status == 200
        return name.decode() in ctl(server, "profile", "--last")[1]

    process.wait_for(is_kept, 90, "what was seen of the pool")
    assert name in memory_of(server.family()[0])  # it is found
    before = engines(server, "nosy")
    ctl(server, "restart", "nosy")
    process.wait_for(lambda: len(engines(server, "nosy")) == 1 and engines(server, "nosy") != before, 30, "another process")
    assert name not in memory_of(engines(server, "nosy")[0])


def lingering_sockets(count):
    """Whose last close(2) waits for a peer that does not read: for an hour, if it may."""
    listener = socket.create_server(("127.0.0.1", 0))
    made = []
    for _ in range(count):
        s = socket.create_connection(listener.getsockname())
        peer = listener.accept()[0]
        s.setblocking(False)
        try:
            while True:
                s.send(b"x" * 65536)
        except BlockingIOError:
            pass
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
        made.append((s, peer))
    listener.close()
    return made


def stolen_sockets(pid):
    """The engine process's ends of its channel and its lookout, as an intruder in it has them."""
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd, ends = os.pidfd_open(pid), []
    for fd, what in process.descriptors(pid).items():
        if what.startswith("socket:"):
            copy = libc.syscall(438, pidfd, fd, 0)  # pidfd_getfd
            s = socket.socket(fileno=copy) if copy >= 0 else None
            if s and s.family == socket.AF_UNIX and s.type == socket.SOCK_SEQPACKET:
                ends.append(s)
    os.close(pidfd)
    return ends


@pytest.mark.skipif(not IS_ROOT, reason="reaches into other users' processes")
def test_descriptors_that_cannot_be_closed(server):
    """Nobody but their sender waits for them: in packets that are messages, that are none, and that are questions."""
    sent = lingering_sockets(5)
    ends = stolen_sockets(engines(server, "bad")[0])
    assert len(ends) == 2
    magic, hand_over, warm_list = 0x746b6368, 7, 5
    process.halt(server.pid)  # so that ours are not the last ones
    for (s, _), kind in zip(sent, (hand_over, warm_list, 99)):
        for end in ends:
            socket.send_fds(end, [struct.pack("<IIq", magic, kind, 0) + b"fcgi"], [s.fileno()])
    for (s, _), end in zip(sent[3:5], ends):
        socket.send_fds(end, [b"nonsense"], [s.fileno()])
    for s, _ in sent:
        s.close()
    for end in ends:
        end.close()
    os.kill(server.pid, signal.SIGCONT)
    for _ in range(10):
        assert ctl(server, "status")[0] == 0
        assert hello(server) == (200, b"hello")
    ctl(server, "restart", "good")
    process.wait_for(lambda: "generation=2" in ctl(server, "status")[1], 30, "a new process of the neighbour")
    for _, peer in sent:
        peer.close()


@pytest.mark.skipif(not IS_ROOT, reason="reaches into other users' processes")
def test_descriptors_in_empty_packets(server):
    """An empty packet looks like the end of a socket; what came with it is closed all the same."""
    fd = os.memfd_create("carried")
    ends = stolen_sockets(engines(server, "bad")[0])
    process.halt(server.pid)  # so that the end of one is not answered by closing the other before it is written to
    for end in ends:
        socket.send_fds(end, [b""], [fd] * 50)
        end.close()
    os.kill(server.pid, signal.SIGCONT)
    process.wait_for(lambda: not any("carried" in name for name in memory_files(server.pid)), 20, "that nothing is left open")
    os.close(fd)
    assert ctl(server, "status")[0] == 0
    assert hello(server) == (200, b"hello")


def is_alive(server):
    for _ in range(5):
        assert ctl(server, "status")[0] == 0
        assert hello(server) == (200, b"hello")


@pytest.mark.skipif(not IS_ROOT, reason="reaches into other users' processes")
@pytest.mark.parametrize("killed", (False, True), ids=("behind_an_end", "at_its_death"))
def test_descriptors_that_are_left_unread(server, killed):
    """What waits behind an empty packet, which looks like the end, or in the sockets of a process that is gone."""
    sent, bad = lingering_sockets(2), engines(server, "bad")[0]
    ends = stolen_sockets(bad)
    assert len(ends) == 2
    process.halt(server.pid)  # so that ours are not the last ones
    for (s, _), end in zip(sent, ends):
        if not killed:
            end.send(b"")
        for _ in range(100):
            socket.send_fds(end, [b"nonsense"], [s.fileno()])
        s.close()
        end.close()
    if killed:
        os.kill(bad, signal.SIGKILL)
    os.kill(server.pid, signal.SIGCONT)
    is_alive(server)
    process.wait_for(lambda: engines(server, "bad") not in ([], [bad]), 60, "another process")
    for _, peer in sent:
        peer.close()


@pytest.mark.skipif(not IS_ROOT, reason="reaches into other users' processes")
def test_many_descriptors_that_cannot_be_closed(server):
    """They do not stay with the supervisor: neither do they use its numbers up, nor does it wait for them when it executes itself."""
    pipe = os.pipe()
    end = stolen_sockets(engines(server, "bad")[0])[0]
    before = len(process.descriptors(server.pid))
    for _ in range(6):
        for s, _ in (sent := lingering_sockets(4)):
            process.halt(server.pid)
            socket.send_fds(end, [b"nonsense"], [s.fileno()])
            s.close()
            os.kill(server.pid, signal.SIGCONT)
        for _ in range(20):
            try:
                socket.send_fds(end, [b"nonsense"], [pipe[0]] * 200, socket.MSG_DONTWAIT)
            except BlockingIOError:
                time.sleep(0.05)
    is_alive(server)
    process.wait_for(lambda: len(process.descriptors(server.pid)) < before + 20, 10, "that they are not the supervisor's any more")
    began = time.monotonic()
    server.signal(signal.SIGUSR2)
    process.wait_for(lambda: server.messages().count("ready to handle connections") == 2, 30, "the reload")
    assert time.monotonic() - began < 20
    is_alive(server)
    for s, peer in sent:
        peer.close()
    end.close()
    for fd in pipe:
        os.close(fd)


LOGGED = """access.log = {dir}/shared.access
slowlog = {dir}/shared.slow
request_slowlog_timeout = 1s
"""


@pytest.fixture
def logging_server(tokiophp, workdir):
    """Pools that share their log files: one with HTTP, and one that is a host on its listener."""
    for name, code in (("hello", "echo 'hello';"), ("slow", "sleep(2); echo 'slow';")):
        with open(os.path.join(workdir, f"{name}.php"), "w") as f:
            f.write(f"<?php {code}")
    user = f"user = {USER}\ngroup = {GROUP}\n" if IS_ROOT else ""
    http = f"http.listen = 127.0.0.1:{process.free_port()}\nhttp.document_root = {{dir}}\n"
    pools = "".join(f"[{name}]\n{user}listen = {{dir}}/{name}.sock\nlisten.mode = 0666\npm = static\npm.max_children = 2\n"
                    f"catch_workers_output = yes\n{LOGGED}{more}" for name, more in (("good", ""), ("bad", http), ("guest", f"{http}http.server_name = guest.example\n")))
    s = tokiophp(address=os.path.join(workdir, "good.sock"),
                 config="[global]\nerror_log = {dir}/error.log\ndaemonize = no\ncontrol_socket = {dir}/ctl\n" + pools)
    s.wait_message("ready to handle connections")
    s.script = os.path.join(workdir, "hello.php")
    return s


def stolen(pid):
    """Every descriptor of the process, as an intruder in it has them: (what it is, ours)."""
    libc, pidfd, found = ctypes.CDLL(None, use_errno=True), os.pidfd_open(pid), []
    for fd in map(int, os.listdir(f"/proc/{pid}/fd")):
        copy = libc.syscall(438, pidfd, fd, 0)  # pidfd_getfd
        if copy >= 0:
            found.append((os.readlink(f"/proc/self/fd/{copy}"), copy))
    os.close(pidfd)
    return found


def spoil(fd):
    """All that can be done to a file by who may write to it, however it was opened."""
    for attempt in (lambda: fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK), lambda: os.ftruncate(fd, 0),
                    lambda: os.lseek(fd, 0, os.SEEK_SET), lambda: os.pwrite(fd, b"X" * 64, 0)):
        try:
            attempt()
        except OSError:
            pass


@pytest.mark.skipif(not IS_ROOT, reason="reaches into other users' processes")
def test_no_log_can_be_spoilt(logging_server):
    """What a pool's process may write to is no file: it cannot take back what it, or another pool, has logged."""
    server, names = logging_server, ("error.log", "shared.access", "shared.slow")
    paths = [os.path.join(server.directory, name) for name in names]
    for pool in ("good", "bad"):
        assert hello(server, pool) == (200, b"hello")
        assert fetch(os.path.join(server.directory, f"{pool}.sock"), os.path.join(server.directory, "slow.php")).body == b"slow"
    process.wait_for(lambda: all(os.path.getsize(path) > 0 for path in paths), 20, "lines in all logs")
    process.wait_for(lambda: open(paths[1]).read().count("slow.php") == 2, 20, "the access log")
    process.wait_for(lambda: open(paths[0]).read().count("finished trace") == 2, 20, "the slow log")
    before = [open(path).read() for path in paths]
    pids = engines(server, "bad")
    for pid in pids:
        for what, fd in stolen(pid):
            assert not what.startswith(server.directory) and ".log" not in what, what
            if not what.startswith("socket:"):  # those have no place to write at
                spoil(fd)
            os.close(fd)
    assert [open(path).read()[:len(text)] for path, text in zip(paths, before)] == before
    assert hello(server) == (200, b"hello")
    process.wait_for(lambda: open(paths[1]).read().count("hello.php") == 3, 20, "another line")


@looks_for_remains
def test_what_others_have_logged_is_not_in_a_new_process(logging_server):
    """Lines of logs pass through the supervisor, and whoever wants a new process of its own makes one."""
    server, secrets = logging_server, {kind: hashlib.sha256(kind.encode()).hexdigest() for kind in ("uri", "stderr", "error_log")}
    script = os.path.join(server.directory, "talk.php")
    with open(script, "w") as f:
        f.write(f"<?php file_put_contents('php://stderr', 'x={secrets['stderr']}\n'); error_log('y={secrets['error_log']}'); echo 'hello';")
    for _ in range(20):
        assert fetch(os.path.join(server.directory, "good.sock"), script, uri=f"/{secrets['uri']}").body == b"hello"
    logged = [os.path.join(server.directory, name) for name in ("error.log", "shared.access")]
    for kind, secret in secrets.items():
        process.wait_for(lambda: sum(open(path).read().count(secret) for path in logged) == 20, 20, f"what was said into {kind}")  # noqa: B023
    before = engines(server, "bad")
    os.kill(before[0], signal.SIGKILL)
    process.wait_for(lambda: set(engines(server, "bad")) - set(before) and hello(server, "bad") == (200, b"hello"), 30, "a new process")
    memory = memory_of(engines(server, "bad")[0])
    assert b"bad.sock" in memory  # it is looked at
    assert not {kind for kind, secret in secrets.items() if secret[20:60].encode() in memory}


@pytest.mark.skipif(not IS_ROOT, reason="looks into other users' processes")
def test_what_a_process_has_of_others(logging_server):
    """ARCHITECTURE.md, "What crosses the border": each descriptor and each shared mapping of a process that serves."""
    server = logging_server
    held = {pool: descriptors(engines(server, pool)[0]) for pool in ("good", "bad")}
    kept = descriptors(server.pid)
    assert {what for what in held["good"] if what in held["bad"] and not what.startswith("anon_inode:")} <= {"/dev/null"}
    for pool, own in held.items():
        counts = {kind: sum(1 for what in own if re.match(pattern, what)) for kind, pattern in KINDS.items()}
        other = [what for what in own if not any(re.match(pattern, what) for pattern in KINDS.values())]
        assert not other
        assert counts["board"] == 1 and counts["null"] <= 1 and counts["table"] <= 2
        # the board, and the listeners, which the supervisor keeps for the next process
        shared = [what.split(":")[0] for what in own if what in kept and not what.startswith(("/dev/null", "anon_inode:", "pipe:"))]
        assert sorted(shared) == ["/memfd"] + ["socket"] * (2 if pool == "bad" else 1)
        sockets = stolen_sockets(engines(server, pool)[0])
        assert len(sockets) == 2  # the channel and the lookout
        for s in sockets:
            s.close()
        # stdout, stderr, the journal, the access log and the slow log, and the guest's access log; others are its own.
        # While it works, one more for its part of the profile of the last hour.
        assert sum(1 for what in own if what.startswith("pipe:") and what in kept) - (6 if pool == "bad" else 5) in (0, 1)
        assert writable_shared(engines(server, pool)[0]) <= {"/memfd:board (deleted)", "/dev/zero (deleted)"}


KINDS = {"board": r"/memfd:board", "null": r"/dev/null$", "pipe": r"pipe:", "socket": r"socket:",
         "own": r"anon_inode:\[?(eventpoll|eventfd|timerfd|signalfd)", "opcache": r"/memfd:opcache_lock|/tmp/\.ZendSem",
         "table": r"/memfd:php-table"}


def descriptors(pid):
    """What its descriptors are, each kernel object once."""
    found = set()
    for fd, what in process.descriptors(pid).items():
        found.add(what + (f" {os.stat(f'/proc/{pid}/fd/{fd}').st_ino}" if "memfd:" in what else ""))
    return sorted(found)


def writable_shared(pid):
    """Mappings that somebody else could see it write to."""
    with open(f"/proc/{pid}/maps") as maps:
        fields = [line.split(maxsplit=5) for line in maps]
    return {f[5].strip() if len(f) > 5 else "" for f in fields if f[1][1] == "w" and f[1][3] == "s"}
