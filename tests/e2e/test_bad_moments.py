"""A request, a connection or an order that comes at the worst moment: between two looks of somebody else. Processes are
stopped and let go, so that the moment is there every time."""
import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request

import pytest

from certificate import make_cert
from fcgi_client import Connection, request
from gate import Gate
from http_raw import Raw, insecure
from process import descriptors, free_port, halt, session_of, wait_for
from tokiophp import PROGRAM

HELLO = b"GET /hello.php HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def serve(tokiophp, workdir):
    """start(...): a server; its `port` speaks HTTP, and ctl() to its control socket."""
    def start(pool="", settings=""):
        port = free_port()
        server = tokiophp(pool=f"http.listen = 127.0.0.1:{port}\nhttp.document_root = {workdir}/www\n{pool}",
                          settings=f"control_socket = {{dir}}/ctl\n{settings}")
        server.port, server.http = port, ("127.0.0.1", port)
        server.script = f"{workdir}/www/hello.php"
        server.wait_message("ready to handle connections")
        return server
    return start


def script(workdir, name, text):
    with open(f"{workdir}/www/{name}", "w") as f:
        f.write(text)
    return f"{workdir}/www/{name}"


def ctl(server, *words):
    done = subprocess.run([PROGRAM, "ctl", "-s", f"{server.directory}/ctl", *words], stdout=subprocess.PIPE, text=True,
                          check=False, timeout=20)
    return done.stdout


def processes(server, state):
    """Ids of the engine processes in this state."""
    lines = [line.split() for line in ctl(server, "status").splitlines() if line.strip().startswith("process pid=")]
    return [int(words[1][4:]) for words in lines if f"state={state}" in words]


@contextlib.contextmanager
def stopped(pid):
    halt(pid)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def idle_connections(server, count):
    """FastCGI connections that have been answered once."""
    idle = [Connection(server.address) for _ in range(count)]
    for c in idle:
        assert c.request(server.script, keep=True).end == (0, 0)
    return idle


def answered_again(server, idle):
    for c in idle:
        c.send(request(server.script, keep=True))
    assert [c.read_response().end for c in idle] == [(0, 0)] * len(idle)
    for c in idle:
        c.close()


def test_idle_connections_are_all_handed_over(serve):
    """The old process has said good-bye and is gone before the supervisor reads a word of it."""
    server = serve("engine = stub\n")
    idle = idle_connections(server, 150)
    old, = processes(server, "ready")
    with stopped(old):
        ctl(server, "restart", "www")
        wait_for(lambda: processes(server, "draining") == [old], 10, "the order to drain")
        with stopped(server.pid):
            os.kill(old, signal.SIGCONT)
            wait_for(lambda: session_of(old) is None, 10, "the old process's end")
    answered_again(server, idle)


def test_more_idle_connections_than_the_way_holds(serve):
    """The successor does not read for a moment: what does not fit on the way to it waits."""
    server = serve("engine = stub\n", "rlimit_files = 4096\n")
    idle = idle_connections(server, 450)
    old, = processes(server, "ready")
    with stopped(old):
        ctl(server, "restart", "www")
        wait_for(lambda: processes(server, "draining") == [old], 10, "the order to drain")
        new, = processes(server, "ready")
        with stopped(new):
            os.kill(old, signal.SIGCONT)
            time.sleep(0.3)
    wait_for(lambda: session_of(old) is None, 20, "the old process's end")
    answered_again(server, idle)


def test_a_first_request_that_waits_for_a_worker(serve, workdir):
    """Its connection was accepted by a worker that then had other work for longer than a silent client is waited for."""
    server = serve("pm.max_children = 1\n")
    sleeps = script(workdir, "sleep.php", "<?php sleep(7); echo 'slept';")
    with Connection(server.address) as early, Connection(server.address) as long:
        time.sleep(0.5)  # both are accepted, and silent
        long.send(request(sleeps))
        time.sleep(0.3)
        early.send(request(server.script))
        assert long.read_response().body == b"slept"
        assert early.read_response().end == (0, 0)


def test_a_silent_client_is_not_waited_for(serve):
    server = serve("pm.max_children = 1\n")
    with Connection(server.address) as silent:
        begin = time.monotonic()
        assert silent.closed(60)
        assert time.monotonic() - begin > 4


def test_an_answer_that_the_worker_could_not_send_whole(serve, workdir):
    """The loop sends the rest; it has no earlier progress of this client to judge it by."""
    server = serve()
    script(workdir, "big.php", "<?php header('Content-Length: 60000'); echo str_repeat('x', 60000);")
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        s.settimeout(20)
        s.connect(server.http)
        s.sendall(b"GET /big.php HTTP/1.1\r\nHost: x\r\n\r\n" * 80)  # more than the socket's buffer grows to
        time.sleep(2)
        with s.makefile("rb") as f:
            got = 0
            while got < 80:
                head = f.readline()
                assert head.startswith(b"HTTP/1.1 200"), f"after {got} answers: {head!r}"
                while f.readline() != b"\r\n":
                    pass
                assert f.read(60000) == b"x" * 60000, f"answer {got} is cut"
                got += 1


def test_requests_that_come_while_nobody_looks(serve):
    """The process got no processor for longer than an idle connection is kept: what has come meanwhile is served."""
    server = serve("engine = stub\nhttp.idle_timeout = 2s\n")
    pid = processes(server, "ready")[0]

    def answered_once():
        """None: it took so long that the first ones may be idle for too long already; a busy machine can do better again."""
        began = time.monotonic()
        clients = [Raw(server.http).send(HELLO) for _ in range(150)]
        if all(getattr(c.reply(), "status", None) == 200 for c in clients) and time.monotonic() - began < 1:
            return clients
        for c in clients:
            c.close()
        return None
    clients = wait_for(answered_once, what="answers within a second")
    with stopped(pid):
        for c in clients:
            c.send(HELLO)
        time.sleep(2.6)
    assert [getattr(c.reply(), "status", None) for c in clients] == [200] * len(clients)
    for c in clients:
        assert c.at_end()  # and idle ones are closed as ever
        c.close()


def test_handshakes_while_nobody_looks(tokiophp, workdir):
    """The same for what a handshake has to say."""
    port = free_port()
    server = tokiophp(pool=f"engine = stub\nhttp.tls_listen = 127.0.0.1:{port}\nhttp.document_root = {workdir}/www\n"
                      f"http.handshake_timeout = 5s\n{make_cert(workdir, 'one')}",
                      settings="control_socket = {dir}/ctl\n")
    server.wait_message("ready to handle connections")
    results = []

    def visit(plain):
        with insecure("http/1.1").wrap_socket(plain, server_hostname="localhost") as s:
            s.sendall(HELLO)
            results.append(s.recv(12))
    plains = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(60)]
    time.sleep(0.3)
    threads = [threading.Thread(target=visit, args=(plain,)) for plain in plains]
    with stopped(processes(server, "ready")[0]):
        for t in threads:
            t.start()
        time.sleep(5.6)
    for t in threads:
        t.join()
    assert results == [b"HTTP/1.1 200"] * len(plains)


def sockets(pid):
    return sum(target.startswith("socket:") for target in descriptors(pid).values())


def test_http2_that_begins_when_the_process_drains(tokiophp, workdir):
    """Its handshake was under way when the others were told to go: it is told, too."""
    port = free_port()
    server = tokiophp(pool=f"engine = stub\nhttp.tls_listen = 127.0.0.1:{port}\nhttp.document_root = {workdir}/www\n"
                      f"{make_cert(workdir, 'one')}", settings="control_socket = {dir}/ctl\n")
    server.wait_message("ready to handle connections")
    old, = processes(server, "ready")
    before = sockets(old)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
        wait_for(lambda: sockets(old) == before + 1, what="a connection that waits for the first byte of the handshake")
        ctl(server, "restart", "www")
        wait_for(lambda: processes(server, "draining") == [old], 10, "the order to drain")
        time.sleep(0.5)
        with insecure("h2").wrap_socket(plain, server_hostname="localhost") as s:
            s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
            data = b""
            with contextlib.suppress(ConnectionResetError, TimeoutError):
                while piece := s.recv(4096):
                    data += piece
    kinds = set()
    while len(data) >= 9:
        kinds.add(data[3])
        data = data[9 + int.from_bytes(data[:3], "big"):]
    assert 7 in kinds, "no GOAWAY"
    wait_for(lambda: session_of(old) is None, 10, "the old process's end")


def test_health_checks_while_the_process_is_swapped(serve):
    internal = free_port()
    server = serve(f"engine = stub\nhttp.internal_listen = 127.0.0.1:{internal}\n")
    over, failures, good = threading.Event(), [], 0

    def swap():
        try:
            for number in range(2, 22):
                ctl(server, "restart", "www")
                wait_for(lambda n=number: f"generation={n} state=ready" in ctl(server, "status"), 20, "the swap")
        finally:
            over.set()
    thread = threading.Thread(target=swap)
    thread.start()
    while not over.is_set():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{internal}/health", timeout=10) as answer:
                answer.read()
            good += 1
        except OSError as e:
            failures.append(e)
    thread.join()
    assert not failures and good, f"{good} good, {failures[:5]}"
    assert "generation=21 state=ready" in ctl(server, "status")


def just_too_much():
    """So many bytes are taken at once by a socket that nobody reads, and then not one more."""
    found = []
    for n in range(100000, 1000000, 1024):
        with contextlib.ExitStack() as stack:
            ours, _ = (stack.enter_context(s) for s in socket.socketpair())
            ours.setblocking(False)
            if ours.send(bytes(n)) < n:
                break
            try:
                ours.send(bytes(16))
            except BlockingIOError:
                found.append(n)
    return found[len(found) // 2]


@pytest.mark.parametrize("where", ["middle", "end"])
def test_a_worker_that_is_lost_in_its_answer(serve, workdir, where):
    """Its connection is cut and counted out, once: also when the worker wakes from that. The process can drain."""
    server = serve("pm.max_children = 2\nrequest_terminate_timeout = 1s\nrequest_terminate_timeout_track_finished = yes\n",
                  "process_control_timeout = 20s\n")
    size = 1000000 if where == "middle" else just_too_much()
    large = script(workdir, "large.php", f"<?php echo str_repeat('x', {size});")
    with Connection(server.address) as c:
        c.send(request(large, keep=True))  # and does not read
        server.wait_message("does not react and is written off")
        time.sleep(6)  # until its connection is cut
        old, = processes(server, "ready")
        ctl(server, "restart", "www")
        wait_for(lambda: processes(server, "draining") in ([old], []) and processes(server, "ready") != [old], 10, "the swap")
        wait_for(lambda: session_of(old) is None, 10, "the old process's end")
    assert "is killed" not in server.messages()


def reload_with(server, change):
    """Begins a reload with a changed configuration."""
    with open(server.config_path) as f:
        text = change(f.read())
    with open(server.config_path, "w") as f:
        f.write(text)
    server.signal(signal.SIGUSR2)


END_OF_A_PROCESS = {
    "killed": lambda server, pid, c: os.kill(pid, signal.SIGKILL),
    "crashed": lambda server, pid, c: os.kill(pid, signal.SIGSEGV),
    "swapped": lambda server, pid, c: ctl(server, "restart", "two"),
    "reset": lambda server, pid, c: c.closed(0.01) or c.send(request(f"{server.directory}/www/reset.php", keep=True)),
}


@pytest.mark.parametrize("moment", ["launching", "draining"])
@pytest.mark.parametrize("end", END_OF_A_PROCESS)
def test_the_process_of_a_removed_pool_ends(tokiophp, workdir, end, moment):
    """A pool that the new configuration does not have any more loses its process while the others start, or while it
    drains: nothing follows it, and nobody else notices."""
    script(workdir, "reset.php", "<?php opcache_reset();")
    gate = Gate(workdir)
    script(workdir, "sleep.php", f"<?php {gate.php} $gate(1); opcache_reset();")
    slow_start = script(workdir, "preload.php", "<?php usleep(1500000);")
    user = "user = nobody\ngroup = nogroup\n" if os.geteuid() == 0 else ""
    two = f"[two]\npm = static\npm.max_children = 2\nlisten = {workdir}/two.sock\nlisten.mode = 0666\n{user}"
    server = tokiophp(settings="control_socket = {dir}/ctl\n", php=two)
    server.script = f"{workdir}/www/hello.php"
    server.wait_message("ready to handle connections")
    www_pid, two_pid = processes(server, "ready")
    first, second = Connection(f"{workdir}/two.sock"), Connection(f"{workdir}/two.sock")
    if moment == "draining":
        first.send(request(f"{workdir}/www/sleep.php"))
    second.request(server.script, keep=True)
    preload = f"php_admin_value[opcache.preload] = {slow_start}\n"
    reload_with(server, lambda text: text.replace(two, preload if moment == "launching" else ""))
    wait_for(lambda: 'state="launching"' in ctl(server, "status") if moment == "launching"
             else two_pid in processes(server, "draining"), 10, moment)
    gate.open(1)
    END_OF_A_PROCESS[end](server, two_pid, second)
    wait_for(lambda: server.messages().count("ready to handle connections") == 2, 20, "the end of the reload")
    wait_for(lambda: session_of(two_pid) is None, 10, "the end of the removed pool's process")
    first.close()
    second.close()
    with Connection(server.address) as c:
        assert c.request(server.script, keep=True).end == (0, 0)
    wait_for(lambda: session_of(www_pid) is None, 20, "the end of the old process")
    assert len(processes(server, "ready")) == 1 and processes(server, "starting") == []


def test_a_next_request_whose_worker_is_lost(serve, workdir):
    """It came in one packet with the one before, which was answered early and then never ended: its connection ends."""
    server = serve("pm.max_children = 2\nrequest_terminate_timeout = 1s\nrequest_terminate_timeout_track_finished = yes\n",
                  "process_control_timeout = 10m\n")
    early = script(workdir, "early.php", "<?php echo 'early'; fastcgi_finish_request(); password_hash('x', PASSWORD_BCRYPT,"
                                         "['cost' => 20]);")
    with Connection(server.address) as c:
        c.send(request(early, keep=True) + request(server.script, keep=True))
        assert c.read_response().body == b"early"
        assert c.closed(15)
    old, = processes(server, "ready")
    server.signal(signal.SIGQUIT)
    wait_for(lambda: session_of(old) is None, 60, "the end of the process")


def test_c_code_that_does_not_end(serve, workdir):
    """It burns a processor after its deadline, until its process is replaced, which does not wait for it."""
    server = serve("pm.max_children = 4\nrequest_terminate_timeout = 1s\n", "process_control_timeout = 60s\n")
    endless = script(workdir, "endless.php", "<?php password_hash('x', PASSWORD_BCRYPT, ['cost' => 30]);")
    old, = processes(server, "ready")
    with Connection(server.address) as c:
        c.send(request(endless))
        assert c.read_response().status == 504
    server.wait_message("is being replaced: a worker that was written off is still busy", 30)
    wait_for(lambda: session_of(old) is None, 20, "the end of the process")
    with Connection(server.address) as c:
        assert c.request(server.script, keep=True).end == (0, 0)
