"""systemd: what is said to its notification socket, and sockets that it or a php-fpm hands over."""
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from fcgi_client import fetch
from gate import Gate
from process import ProcessorWaits, accepts, free_port, wait_for
from test_signals import Asking, hello
from tokiophp import PROGRAM, ROOT


class Systemd:
    """The receiving end of NOTIFY_SOCKET."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        os.chmod(path, 0o666)
        self.got = []
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            try:
                text = self.socket.recv(4096).decode()
            except OSError:
                return
            self.got.append((time.monotonic(), text.splitlines()))

    def wait_line(self, start, after=0, seconds=15):
        """The first message after number `after` that has a line beginning so; its number."""
        def found():
            for i, (_, lines) in enumerate(list(self.got)):
                if i >= after and any(line.startswith(start) for line in lines):
                    return i + 1
        return wait_for(found, seconds, f"a notification {start!r}, got {self.got}")


@pytest.fixture
def systemd(workdir):
    s = Systemd(os.path.join(workdir, "notify"))
    yield s
    s.socket.close()


def environment(systemd, **more):
    return dict(os.environ, NOTIFY_SOCKET=systemd.socket.getsockname(), **more)


def test_life_in_notifications(tokiophp, workdir, systemd):
    server = tokiophp(env=environment(systemd), settings="systemd_interval = 1\n")
    ready = systemd.wait_line("READY=1")
    assert f"MAINPID={server.pid}" in systemd.got[ready - 1][1]
    assert "STATUS=Ready to handle connections" in systemd.got[ready - 1][1]
    assert hello(server, workdir) == 200
    # the one that has answered may still be about its end when it is said for the first time
    status = systemd.wait_line("STATUS=Processes active: 0, idle: 4, ", ready)
    line = next(x for x in systemd.got[status - 1][1] if x.startswith("STATUS="))
    assert "req/sec" in line
    asked = time.monotonic()
    server.signal(signal.SIGUSR2)
    reloading = systemd.wait_line("RELOADING=1", status)
    stamp = next(x for x in systemd.got[reloading - 1][1] if x.startswith("MONOTONIC_USEC="))
    assert asked <= int(stamp.partition("=")[2]) / 1e6 <= systemd.got[reloading - 1][0]
    again = systemd.wait_line("READY=1", reloading)
    assert f"MAINPID={server.pid}" in systemd.got[again - 1][1]
    server.stop(signal.SIGQUIT)
    systemd.wait_line("STOPPING=1", again)


def test_refused_reload_is_ready_again(tokiophp, systemd):
    server = tokiophp(env=environment(systemd))
    first = systemd.wait_line("READY=1")
    with open(server.config_path, "a") as f:
        f.write("nonsense\n")
    server.signal(signal.SIGUSR2)
    reloading = systemd.wait_line("RELOADING=1", first)
    systemd.wait_line("READY=1", reloading)


def processor_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_watchdog_is_fed_in_every_phase(tokiophp, workdir, systemd):
    gate = Gate(workdir)
    with open(f"{workdir}/www/long.php", "w") as f:
        f.write(f"<?php touch('{workdir}/tmp/runs'); {gate.php} $gate(1); echo 'finished';")
    server = tokiophp(env=environment(systemd, WATCHDOG_USEC="1000000"))
    with ProcessorWaits(server) as waits:
        at = systemd.wait_line("READY=1")
        asking = Asking(server, f"{workdir}/www/long.php")
        wait_for(lambda: os.path.exists(f"{workdir}/tmp/runs"), 10, "the request runs")
        for _ in range(2):
            at = systemd.wait_line("WATCHDOG=1", at)
        server.signal(signal.SIGQUIT)
        at = systemd.wait_line("STOPPING=1", at)
        begun, used = time.monotonic(), processor_seconds(server.pid)
        for _ in range(4):
            at = systemd.wait_line("WATCHDOG=1", at)
        assert processor_seconds(server.pid) - used < (time.monotonic() - begun) / 2, "the supervisor spins"
        gate.open(1)
        assert asking.result().body == b"finished"
        server.stop(signal.SIGQUIT)
    fed = [t for t, lines in systemd.got if "WATCHDOG=1" in lines]
    longest = max(b - a for a, b in zip(fed, fed[1:]))
    assert longest < 0.95 + 2 * waits.longest_ms / 1000, fed


def test_engine_processes_cannot_speak_for_us(tokiophp, workdir, systemd):
    server = tokiophp(env=environment(systemd, WATCHDOG_USEC="10000000"), pool="clear_env = no\n")
    with open(f"{workdir}/www/getenv.php", "w") as f:
        f.write("<?php foreach (['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'LISTEN_FDS', 'FPM_SOCKETS', 'TOKIOPHP_STATE', 'HOME'] as $n) "
                "echo $n, '=', getenv($n), ';';")
    assert fetch(server.address, f"{workdir}/www/getenv.php").body.startswith(
        b"NOTIFY_SOCKET=;WATCHDOG_USEC=;LISTEN_FDS=;FPM_SOCKETS=;TOKIOPHP_STATE=;HOME=/")


# The descriptors become 3, 4 ...; "$$" in a variable is our process, which becomes the program.
LAUNCHER = """
import ast, os, sys
high = [os.dup2(fd, 100 + i) for i, fd in enumerate(ast.literal_eval(sys.argv[1]))]
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i, inheritable=True)
    os.close(fd)
os.closerange(3 + len(high), 100)
for pair in sys.argv[2].split():
    name, _, value = pair.partition("=")
    os.environ[name] = value.replace("$$", str(os.getpid()))
os.execv(sys.argv[3], sys.argv[3:])
"""


@pytest.fixture
def handed_over(workdir):
    """Starts the server with listening sockets of ours."""
    started = []

    def start(address, sockets, variables, more=""):
        config = os.path.join(workdir, "tokiophp.ini")
        with open(config, "w") as f:
            f.write(f"[global]\nerror_log = {workdir}/error.log\n[www]\nlisten = {address}\npm = static\n"
                    "pm.max_children = 2\nuser = nobody\ngroup = nogroup\nlisten.mode = 0666\n" + more)
        numbers = [s.fileno() for s in sockets]
        log = open(os.path.join(workdir, "start.log"), "wb")
        process = subprocess.Popen([sys.executable, "-c", LAUNCHER, repr(numbers), variables, PROGRAM, "-F", "-y", config],
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=numbers,
                                   start_new_session=True)
        log.close()
        started.append(process)

        def messages():
            text = open(f"{workdir}/start.log").read()
            return text + (open(f"{workdir}/error.log").read() if os.path.exists(f"{workdir}/error.log") else "")
        wait_for(lambda: "ready to handle connections" in messages(), 20, "the start")
        return process, messages
    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
            assert process.wait(20) == 0


def listening(address):
    s = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    s.bind(address)
    s.listen(64)
    if isinstance(address, str):
        os.chmod(address, 0o666)
    return s


def test_socket_activation(handed_over, workdir):
    address = ("127.0.0.1", free_port())
    with listening(address) as s:
        process, messages = handed_over("%s:%d" % address, [s], "LISTEN_PID=$$ LISTEN_FDS=1")
    assert f'using inherited socket fd=3, "{address[0]}:{address[1]}"' in messages()
    assert fetch(address, f"{workdir}/www/hello.php").status == 200
    process.send_signal(signal.SIGUSR2)  # it stays ours over a reload
    wait_for(lambda: messages().count("ready to handle connections") == 2, 20, "the reload")
    assert fetch(address, f"{workdir}/www/hello.php").status == 200


def test_activated_unix_socket_stays_systemds(handed_over, workdir):
    """systemd goes on listening there: who took the path away would cut everybody off."""
    path = f"{workdir}/activated.sock"
    with listening(path) as s:
        process, messages = handed_over(path, [s], "LISTEN_PID=$$ LISTEN_FDS=1")
        assert fetch(path, f"{workdir}/www/hello.php").status == 200
        process.send_signal(signal.SIGUSR2)
        wait_for(lambda: messages().count("ready to handle connections") == 2, 20, "the reload")
        process.send_signal(signal.SIGQUIT)
        assert process.wait(20) == 0
        assert accepts(path)


def test_activation_for_somebody_else(handed_over, workdir):
    address = ("127.0.0.1", free_port())
    with listening(("127.0.0.1", free_port())) as s:
        _, messages = handed_over("%s:%d" % address, [s], "LISTEN_PID=1 LISTEN_FDS=1")
    assert "using inherited socket" not in messages()
    assert fetch(address, f"{workdir}/www/hello.php").status == 200


def test_sockets_of_a_php_fpm(handed_over, workdir):
    path, other = f"{workdir}/from-fpm.sock", f"{workdir}/unused.sock"
    with listening(path) as used, listening(other) as unused:
        process, messages = handed_over(path, [used, unused], f"FPM_SOCKETS={path}=3,{other}=4,nonsense=5,=,x=y")
    assert f'using inherited socket fd=3, "{path}"' in messages()
    assert fetch(path, f"{workdir}/www/hello.php").status == 200
    assert not os.path.exists(other)  # nobody wants it: closed, and its path is gone, as php-fpm does
    process.send_signal(signal.SIGQUIT)
    assert process.wait(20) == 0
    assert not os.path.exists(path)  # nobody listens there any more


def test_sockets_that_another_program_keeps(handed_over, workdir):
    path, address = f"{workdir}/kept.sock", ("127.0.0.1", free_port())
    with listening(path) as kept, listening(address) as tcp:
        process, _ = handed_over(path, [kept, tcp], f"FPM_SOCKETS={path}=3,{address[0]}:{address[1]}=4",
                                 f"http.listen = {address[0]}:{address[1]}\nhttp.document_root = {workdir}/www\n")
        assert fetch(path, f"{workdir}/www/hello.php").status == 200
        process.send_signal(signal.SIGQUIT)
        assert process.wait(20) == 0
        assert accepts(path) and accepts(address)


def analyze(*words):
    if not os.path.exists("/usr/bin/systemd-analyze"):
        pytest.skip("no systemd-analyze")
    done = subprocess.run(["systemd-analyze", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    return done.returncode, done.stdout


@pytest.mark.parametrize("name", ["tokiophp.service", "tokiophp.socket"])
def test_unit_file_is_valid(workdir, name):
    # the program and the configuration need not be installed here; a socket needs its service beside it
    for unit in ("tokiophp.service", "tokiophp.socket"):
        with open(os.path.join(workdir, unit), "w") as copy, open(os.path.join(ROOT, "etc", unit)) as shipped:
            copy.write(shipped.read().replace("/usr/sbin/tokiophp", "/bin/true"))
    code, said = analyze("verify", "--man=no", os.path.join(workdir, name))
    complaints = [x for x in said.splitlines() if "tokiophp" in x]
    assert code == 0 and not complaints, said


def test_unit_is_exposed_to_less_than_three():
    code, said = analyze("security", "--offline=yes", "--threshold=29", os.path.join(ROOT, "etc/tokiophp.service"))
    assert code == 0, said.splitlines()[-1]
