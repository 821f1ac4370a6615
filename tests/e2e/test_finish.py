"""The end of the server: who connects while it drains is refused, and who waits in a queue already is served. The engine
process is stopped for a moment where connections have to wait; a request whose body is held back keeps a drain going."""
import concurrent.futures
import errno
import os
import signal
import socket
import subprocess
import threading

import pytest

from certificate import make_cert
from fcgi_client import PARAMS, STDIN, Connection, begin, pairs, record, request, stream, variables
from http_raw import Raw, insecure
from process import free_port, halt, session_of, wait_for
from tokiophp import PROGRAM

KINDS = ["unix", "tcp", "http", "tls"]


class Http:
    def __init__(self, address, tls=None, target="/hello.php"):
        self.address, self.tls, self.target = address, tls, target
        self.host = "Host: localhost\r\n"

    def connect(self):
        return socket.create_connection(self.address, timeout=20)

    def raw(self, sock):
        raw = Raw.__new__(Raw)
        raw.sock = self.tls.wrap_socket(sock, server_hostname="localhost") if self.tls else sock
        raw.file = raw.sock.makefile("rb")
        return raw

    def ask(self, sock):
        """What is said before the server listens."""
        if not self.tls:
            sock.sendall(f"GET {self.target} HTTP/1.1\r\n{self.host}\r\n".encode())

    def answered(self, sock):
        raw = self.raw(sock)
        if self.tls:
            raw.send(f"GET {self.target} HTTP/1.1\r\n{self.host}\r\n")
        reply = raw.reply()
        raw.close()
        return reply is not None and reply.status == 200

    def hold(self):
        self.held = self.raw(self.connect())
        self.held.send(f"POST {self.target} HTTP/1.1\r\n{self.host}Content-Length: 4\r\n\r\nab")

    def let_go(self):
        return self.held.send("cd").reply().status == 200


class Fcgi:
    def __init__(self, address, script):
        self.address, self.script = address, script

    def connect(self):
        sock = socket.socket(socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET)
        sock.settimeout(20)
        try:
            sock.connect(self.address)
        except OSError:
            sock.close()
            raise
        return sock

    def ask(self, sock):
        sock.sendall(request(self.script))

    def answered(self, sock):
        c = Connection.__new__(Connection)
        c.socket, c.buffer, c.timeout = sock, b"", 20
        with c:
            return c.read_response().end == (0, 0)

    def hold(self):
        self.held = Connection(self.address)
        self.held.send(begin() + stream(PARAMS, pairs(variables(self.script, body=b"abcd"))) + record(STDIN, b"ab"))

    def let_go(self):
        self.held.send(record(STDIN, b"cd") + record(STDIN))
        return self.held.read_response().end == (0, 0)


@pytest.fixture
def front(request, tokiophp, workdir):
    """A server with one way in, of the kind that the test asks for."""
    script, kind = f"{workdir}/www/hello.php", request.param
    http = ("127.0.0.1", free_port())
    pool = "engine = stub\npm.max_children = 2\n"
    if kind in ("http", "tls"):
        pool += f"http.document_root = {workdir}/www\nhttp.{'tls_' if kind == 'tls' else ''}listen = {http[0]}:{http[1]}\n"
    if kind == "tls":
        pool += make_cert(workdir, "localhost")
    address = http if kind == "tcp" else f"{workdir}/fcgi.sock"
    server = tokiophp(pool=pool, address=address, settings="control_socket = {dir}/ctl\n")
    server.wait_message("ready to handle connections")
    front = Fcgi(address, script) if kind in ("unix", "tcp") else Http(http, insecure() if kind == "tls" else None)
    front.server = server
    return front


def engine(server, pool="www"):
    """The engine process of a pool."""
    found = []

    def look():
        text = subprocess.run([PROGRAM, "ctl", "-s", f"{server.directory}/ctl", "status"], stdout=subprocess.PIPE, text=True,
                              check=False, timeout=20).stdout
        part = text.partition(f"pool {pool} ")[2].partition("\npool ")[0]
        found[:] = [int(line.split()[1][4:]) for line in part.splitlines() if "state=ready" in line]
        return found
    wait_for(look, 10, "an engine process that is ready")
    return found[0]


def refused(front):
    """Refused, and not just left waiting."""
    try:
        front.connect().close()
    except OSError as e:
        assert e.errno in (errno.ECONNREFUSED, errno.ENOENT), e
        return True
    return False


@pytest.mark.parametrize("front", KINDS, indirect=True)
def test_who_connects_while_it_drains_is_refused(front):
    front.hold()
    front.server.signal(signal.SIGQUIT)
    wait_for(lambda: refused(front), 10, "a refusal")
    assert front.server.running()
    assert not isinstance(front.address, str) or not os.path.exists(front.address)
    assert refused(front)
    assert front.let_go()
    assert front.server.wait() == 0


@pytest.mark.parametrize("front", ["unix", "http"], indirect=True)
def test_an_old_process_that_drains_still_keeps_nothing_open(front):
    """It has been replaced, and its last request outlives the order to end."""
    front.hold()
    front.server.signal(signal.SIGUSR2)
    wait_for(lambda: front.server.messages().count("ready to handle connections") == 2, 20, "the reload")
    sock = front.connect()
    front.ask(sock)
    assert front.answered(sock)
    front.server.signal(signal.SIGQUIT)
    wait_for(lambda: refused(front), 10, "a refusal")
    assert front.server.running()
    assert front.let_go()
    assert front.server.wait() == 0


@pytest.mark.parametrize("number", [1, 40])
@pytest.mark.parametrize("front", KINDS, indirect=True)
def test_who_waits_already_is_served(front, number):
    old = engine(front.server)
    halt(old)
    waiting = [front.connect() for _ in range(number)]
    for sock in waiting:
        front.ask(sock)
    front.server.signal(signal.SIGQUIT)
    front.server.wait_message("Finishing ...")
    os.kill(old, signal.SIGCONT)
    with concurrent.futures.ThreadPoolExecutor(number) as clients:
        assert list(clients.map(front.answered, waiting)) == [True] * number
    assert front.server.wait() == 0
    assert refused(front)


@pytest.mark.parametrize("front", KINDS, indirect=True)
def test_under_load_nobody_is_cut_off(front):
    """Each connection is refused or answered."""
    cut, answers, over = [], [0], threading.Event()

    def ask():
        while not over.is_set():
            try:
                sock = front.connect()
            except OSError as e:
                if e.errno not in (errno.ECONNREFUSED, errno.ENOENT):
                    cut.append(e)
                return
            try:
                front.ask(sock)
                if not front.answered(sock):
                    cut.append("no answer")
            except (OSError, AssertionError) as e:
                cut.append(e)
            answers[0] += 1
    threads = [threading.Thread(target=ask, daemon=True) for _ in range(6)]
    for thread in threads:
        thread.start()
    wait_for(lambda: answers[0] > 20, 20, "some answers")
    front.server.signal(signal.SIGQUIT)
    assert front.server.wait() == 0
    over.set()
    for thread in threads:
        thread.join(30)
    assert not cut, cut[:5]


ROUTED = """[global]
error_log = {dir}/error.log
daemonize = no
control_socket = {dir}/ctl
[www]
engine = stub
pm = static
pm.max_children = 2
http.listen = 127.0.0.1:PORT
http.document_root = {dir}/www
USER
[api]
engine = stub
pm = static
pm.max_children = 2
listen = {dir}/fcgi.sock
listen.mode = 0666
http.routes = /api/*
USER
"""


def test_a_pool_that_others_ask_ends_after_them(tokiophp, workdir):
    port = free_port()
    user = "user = nobody\ngroup = nogroup\n" if os.geteuid() == 0 else ""
    os.mkdir(f"{workdir}/www/api")
    with open(f"{workdir}/www/api/x.php", "w") as f:
        f.write("<?php")
    server = tokiophp(config=ROUTED.replace("PORT", str(port)).replace("USER\n", user))
    server.wait_message("ready to handle connections")
    front = Http(("127.0.0.1", port), target="/api/x.php")
    direct = Fcgi(f"{workdir}/fcgi.sock", f"{workdir}/www/hello.php")
    front.hold()
    old, asked = engine(server), engine(server, "api")
    halt(old)
    waiting = [front.connect() for _ in range(10)]
    for sock in waiting:
        front.ask(sock)
    server.signal(signal.SIGQUIT)
    server.wait_message("Finishing ...")
    os.kill(old, signal.SIGCONT)
    assert [front.answered(sock) for sock in waiting] == [True] * 10
    wait_for(lambda: refused(front) and refused(direct), 10, "a refusal")
    assert session_of(asked) is not None
    assert front.let_go()
    assert server.wait() == 0


@pytest.mark.parametrize("front", KINDS, indirect=True)
def test_term_refuses_as_well(front):
    front.hold()
    front.server.signal(signal.SIGTERM)
    assert front.server.wait() == 0
    assert refused(front)
    front.held.close()


def test_a_reload_refuses_nobody(tokiophp, workdir):
    """Not even while no process takes connections."""
    server = tokiophp(pool="engine = stub\n", settings="control_socket = {dir}/ctl\n")
    server.wait_message("ready to handle connections")
    front = Fcgi(server.address, f"{workdir}/www/hello.php")
    old = engine(server)
    halt(old)
    waiting = [front.connect() for _ in range(5)]
    for sock in waiting:
        front.ask(sock)
    server.signal(signal.SIGUSR2)
    assert [front.answered(sock) for sock in waiting] == [True] * 5
    os.kill(old, signal.SIGCONT)
    wait_for(lambda: session_of(old) is None, 20, "the old process's end")
