"""Paths that run in another pool, and paths that go to any FastCGI server: whatever happens there stays there."""
import json
import os
import socket
import struct
import threading
import time

import pytest
from files import put_all
from http_raw import Raw
from gate import Gate
from process import ProcessorWaits, free_port, wait_for
from test_vhosts import SCRIPT, folder, pool

HEAVY = {
    "heavy-crash.php": "<?php function deeper() { return array_map('deeper', [1]); } deeper(); echo 'still here';",
    "heavy-loop.php": "<?php while (true) { }",
    "heavy-memory.php": "<?php $a = []; while (true) { $a[] = str_repeat('x', 1 << 20); }",
    "heavy-sleep.php": "<?php sleep(30);",
    "heavy-stream.php": "<?php GATE while (ob_get_level()) ob_end_flush(); for ($i = 0; $i < 5; $i++) { echo \"part $i\\n\"; flush(); $gate($i); }",
    "heavy-abort.php": "<?php register_shutdown_function(function () { rename($_GET['f'], $_GET['f'] . '.whole'); });"
                       "while (ob_get_level()) ob_end_flush(); for ($i = 0; $i < 400; $i++) {"
                       "file_put_contents($_GET['f'], $i); echo str_repeat('x', 4096); flush(); usleep(50000); }",
    "heavy-x.php": SCRIPT, "index.php": SCRIPT, "status.php": "<?php http_response_code(418); header('X-A: 1'); echo 'teapot';",
}


class Shop:
    def __init__(self, tokiophp, workdir, heavy="", first="", extra=""):
        self.port, self.workdir = free_port(), workdir
        self.address = ("127.0.0.1", self.port)
        self.root = folder(workdir, "site")
        put_all(self.root, {name: text.replace("GATE", Gate(workdir).php) for name, text in HEAVY.items()})
        with open(os.path.join(self.root, "heavy-file.txt"), "w") as f:
            f.write("a file\n")
        self.server = tokiophp(address=self.address, config="[global]\nerror_log = {dir}/error.log\ndaemonize = no\n" +
                               pool("main", f"http.listen = 127.0.0.1:{self.port}\nhttp.document_root = {self.root}\n{first}") +
                               pool("heavy", f"http.routes = /heavy-* /api/export/*\n{heavy}") + extra)

    def ask(self, target, method="GET", fields="", timeout=20):
        with Raw(self.address, timeout=timeout) as c:
            return c.send(f"{method} {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n").reply(method)

    def pool_of(self, target):
        return json.loads(self.ask(target).body)["pool"]


@pytest.mark.parametrize("target, wanted", [
    ("/heavy-x.php", "heavy"), ("/%68eavy-x.php", "heavy"), ("//heavy-x.php", "heavy"), ("/./heavy-x.php", "heavy"),
    ("/heavy-x.php/info?q=1", "heavy"), ("/index.php", "main"), ("/index.php/heavy-x.php", "main"), ("/?/heavy-", "main"),
])
def test_paths_decide(tokiophp, workdir, target, wanted):
    assert Shop(tokiophp, workdir).pool_of(target) == wanted


def test_front_controller_runs_in_the_other_pool(tokiophp, workdir):
    shop = Shop(tokiophp, workdir, first="http.index = /index.php\n")
    answer = json.loads(shop.ask("/api/export/all?x=1").body)
    assert (answer["pool"], answer["uri"], answer["script"]) == ("heavy", "/api/export/all?x=1", "/index.php")
    assert shop.pool_of("/api/other") == "main"


def test_first_match_in_file_order(tokiophp, workdir):
    shop = Shop(tokiophp, workdir, first="http.routes = /heavy-x*\n", extra=pool("late", "http.routes = /heavy-* /in*\n"))
    assert [shop.pool_of(t) for t in ("/heavy-x.php", "/index.php")] == ["main", "late"]
    assert shop.ask("/heavy-file.txt").body == b"a file\n"


def steady(shop, seconds):
    """Asks the main pool all the time; gives what went wrong and the slowest answer."""
    wrong, slowest, end = [], 0, time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.monotonic()
        reply = shop.ask("/index.php")
        slowest = max(slowest, time.monotonic() - begin)
        if reply.status != 200 or b'"pool":"main"' not in reply.body:
            wrong.append((reply.status, reply.body[:200]))
    return wrong, slowest


@pytest.mark.parametrize("target, statuses", [
    ("/heavy-crash.php", {500, 502, 503}), ("/heavy-loop.php", {503, 504, 500}), ("/heavy-memory.php", {500}),
    ("/heavy-sleep.php", {503, 504, 500})])
def test_misfortune_of_one_pool_does_not_delay_another(tokiophp, workdir, target, statuses):
    """Twelve requests at a pool of two workers that each crash, loop, eat memory or sleep."""
    shop = Shop(tokiophp, workdir, heavy="request_terminate_timeout = 2s\nphp_admin_value[memory_limit] = 64M\n"
                "php_admin_value[max_execution_time] = 0\nhttp.queue_capacity = 8\n"
                "php_admin_value[zend.max_allowed_stack_size] = -1\n")
    assert shop.pool_of("/heavy-x.php") == "heavy" and shop.pool_of("/index.php") == "main"
    usual = steady(shop, 0.5)[1]
    before = set(shop.server.engine_pids())
    seen = []
    clients = [threading.Thread(target=lambda: seen.append(shop.ask(target, timeout=60))) for _ in range(12)]
    for t in clients:
        t.start()
    with ProcessorWaits(shop.server) as waits:
        wrong, slowest = steady(shop, 3)
    for t in clients:
        t.join()
    assert not wrong and slowest < 1 + 20 * usual + 2 * waits.longest_ms / 1000
    assert len(seen) == 12 and all(reply is not None for reply in seen)
    assert {reply.status for reply in seen} & statuses and {reply.status for reply in seen} <= {500, 502, 503, 504}
    wait_for(lambda: shop.ask("/heavy-x.php").status == 200, 30, "the heavy pool working again")
    assert before & set(shop.server.engine_pids())


def test_status_and_fields_pass(tokiophp, workdir):
    shop = Shop(tokiophp, workdir, extra=pool("t", "http.routes = /status.php\n"))
    reply = shop.ask("/status.php")
    assert (reply.status, reply.body, reply.get("X-A"), reply.get("Content-Length")) == (418, b"teapot", "1", "6")
    assert len([1 for name, _ in reply.fields if name.lower() == "date"]) == 1


def test_flushed_parts_arrive_as_they_come(tokiophp, workdir):
    shop = Shop(tokiophp, workdir)
    with Raw(shop.address) as c:
        c.send("GET /heavy-stream.php HTTP/1.1\r\nHost: x\r\n\r\n")
        assert c.head()[0] == 200
        for i in range(5):
            n = int(c.line(), 16)
            assert c.file.read(n + 2) == f"part {i}\n\r\n".encode()
            Gate(workdir).open(i)


def test_client_that_leaves_ends_the_script(tokiophp, workdir):
    shop = Shop(tokiophp, workdir)
    mark = os.path.join(workdir, "tmp", "ended")
    with Raw(shop.address) as c:
        c.send(f"GET /heavy-abort.php?f={mark} HTTP/1.1\r\nHost: x\r\n\r\n")
        assert c.head()[0] == 200
    wait_for(lambda: os.path.exists(mark + ".whole"), what="the script's end")
    with open(mark + ".whole") as f:
        assert int(f.read()) < 399, "it ran to its end"
    for _ in range(4):
        assert shop.ask("/heavy-x.php").status == 200


# ---- any FastCGI server

class FakeServer:
    """Accepts FastCGI connections; `script(connection, number)` does what the test wants of it."""

    def __init__(self, path, script):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(path)
        os.chmod(path, 0o777)
        self.sock.listen(64)
        self.script, self.count, self.held = script, 0, []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                c, _ = self.sock.accept()
            except OSError:
                return
            self.count += 1
            self.held.append(c)
            threading.Thread(target=self.guard, args=(c, self.count), daemon=True).start()

    def guard(self, c, number):
        try:
            self.script(c, number)
        except (OSError, struct.error):
            pass


def record(kind, data=b""):
    return struct.pack("!BBHHBB", 1, kind, 1, len(data), 0, 0) + data


END = record(3, bytes(8))


def read_request(c):
    """Parameters and body of one request."""
    f, params, body = c.makefile("rb"), b"", b""
    while True:
        _, kind, _, n, padding, _ = struct.unpack("!BBHHBB", f.read(8))
        data = f.read(n)
        f.read(padding)
        if kind == 4:
            params += data
        if kind == 5:
            body += data
            if not n:
                break
    pairs, i = {}, 0
    while i < len(params):
        lengths = []
        for _ in range(2):
            n = params[i]
            i += 1
            if n & 128:
                n = int.from_bytes(bytes([n & 127]) + params[i:i + 3], "big")
                i += 3
            lengths.append(n)
        pairs[params[i:i + lengths[0]].decode()] = params[i + lengths[0]:i + sum(lengths)].decode()
        i += sum(lengths)
    return pairs, body


def answer(text):
    def script(c, _number):
        read_request(c)
        c.sendall(record(6, text) + END if text is not None else END)
        c.close()
    return script


@pytest.fixture
def far(tokiophp, workdir):
    """far(script, settings): a server whose /far/* goes to a FastCGI server that does what the script says."""
    made = []

    def make(script, settings=""):
        path = os.path.join(workdir, "far.sock")
        if script:
            fake = FakeServer(path, script)
            made.append(fake)
        shop = Shop(tokiophp, workdir, first=f"http.upstream[/far/*] = {path}\n{settings}")
        shop.fake = made[-1] if made else None
        return shop
    yield make
    for fake in made:
        fake.sock.close()
        for c in fake.held:
            c.close()


def test_parameters(far):
    seen = []

    def script(c, _number):
        seen.append(read_request(c))
        c.sendall(record(6, b"Content-Type: text/plain\r\n\r\nfar away") + END)
        c.close()
    shop = far(script)
    reply = shop.ask("/far/app.php/more/x?a=1", fields="X-Some: thing\r\nProxy: evil\r\nContent-Length: 0\r\n")
    assert (reply.status, reply.body, reply.get("Content-Length")) == (200, b"far away", "8")
    pairs, body = seen[0]
    assert body == b""
    wanted = {"SCRIPT_NAME": "/far/app.php", "SCRIPT_FILENAME": shop.root + "/far/app.php", "PATH_INFO": "/more/x", "QUERY_STRING": "a=1",
              "REQUEST_METHOD": "GET", "REQUEST_URI": "/far/app.php/more/x?a=1", "HTTP_X_SOME": "thing", "DOCUMENT_ROOT": shop.root,
              "SERVER_PROTOCOL": "HTTP/1.1", "GATEWAY_INTERFACE": "CGI/1.1"}
    assert {k: pairs.get(k) for k in wanted} == wanted
    assert "HTTP_PROXY" not in pairs and pairs["HTTP_TRACEPARENT"] == reply.get("traceparent")
    shop.ask("/far/dir/")
    assert seen[1][0]["SCRIPT_NAME"] == "/far/dir/index.php"


@pytest.mark.parametrize("text, status", [
    (None, 502),                                               # no response at all
    (b"", 502),
    (b"no colon here\r\n\r\nx", 502),
    (b"X: a\0b\r\n\r\nx", 502),                                # a control character
    (b"X: a\rSet-Cookie: b\r\n\r\nx", 502),
    (b"Status: abc\r\n\r\nx", 502),
    (b"X: " + b"y" * 60000 + b"\r\n", 502),                    # a head that never ends
    (b"Status: 404 Gone Fishing\r\n\r\nx", 404),
    (b"Location: /x\r\n\r\n", 302),
    (b"Content-Type: text/plain\n\nnewlines only", 200),
])
def test_what_a_server_may_say(far, text, status):
    assert far(answer(text)).ask("/far/x.php").status == status


def test_nobody_there(far):
    shop = far(None)
    assert shop.ask("/far/x.php").status == 502
    assert shop.pool_of("/index.php") == "main"


def test_closed_in_the_middle(far):
    shown = threading.Event()

    def script(c, number):
        read_request(c)
        if number == 2:
            c.sendall(record(6, b"Content-Type: text/plain\r\n\r\nhalf"))
            assert shown.wait(30)
        c.close()
    shop = far(script)
    assert shop.ask("/far/x.php").status == 502
    with Raw(shop.address) as c:
        c.send("GET /far/x.php HTTP/1.1\r\nHost: x\r\n\r\n")
        assert c.head()[0] == 200
        shown.set()
        rest = c.file.read()
        assert b"half" in rest and not rest.endswith(b"0\r\n\r\n"), "a cut response must not look complete"


def test_not_fastcgi_at_all(far):
    def script(c, _number):
        c.recv(100)
        c.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert far(script).ask("/far/x.php").status == 502


def test_silence_costs_504(far):
    shop = far(lambda c, _: read_request(c), "http.upstream_timeout = 1s\n")
    assert shop.ask("/far/x.php").status == 504
    assert shop.pool_of("/index.php") == "main"


def keeper(deaf_after=None):
    def script(c, _number):
        served = 0
        while True:
            read_request(c)
            served += 1
            if deaf_after and served > deaf_after:
                c.close()
                return
            c.sendall(record(6, b"Content-Type: text/plain\r\n\r\nok") + END)
    return script


def test_connections_are_kept(far):
    shop = far(keeper(), "http.upstream_keep_alive = yes\n")
    for _ in range(10):
        assert shop.ask("/far/x.php").body == b"ok"
    assert shop.fake.count == 1


def test_kept_connection_that_dies_is_replaced(far):
    """Every second request on a connection is met by its end: the client does not notice."""
    shop = far(keeper(deaf_after=1), "http.upstream_keep_alive = yes\n")
    for _ in range(6):
        assert shop.ask("/far/x.php").status == 200
    assert shop.fake.count > 2


def test_post_is_never_sent_twice(far):
    seen = []

    def script(c, _number):
        while True:
            seen.append(read_request(c)[1])
            if len(seen) == 2:
                c.close()
                return
            c.sendall(record(6, b"Content-Type: text/plain\r\n\r\nok") + END)
    shop = far(script, "http.upstream_keep_alive = yes\n")
    with Raw(shop.address) as c:
        post = "POST /far/x.php HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbod%d"
        assert c.send(post % 1).reply().status == 200
        assert c.send(post % 2).reply().status == 502
    assert seen == [b"bod1", b"bod2"]


def test_large_body_to_a_slow_server(far):
    size = 8 << 20
    got = []

    def script(c, _number):
        time.sleep(0.5)
        got.append(len(read_request(c)[1]))
        c.sendall(record(6, b"Content-Type: text/plain\r\n\r\ntaken") + END)
        c.close()
    shop = far(script)
    with Raw(shop.address) as c:
        c.send(f"POST /far/x.php HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n").send(b"u" * size)
        assert c.reply().body == b"taken"
    assert got == [size]


def test_server_that_answers_without_reading_the_body(far):
    def script(c, _number):
        c.recv(1000)
        c.sendall(record(6, b"Status: 403 No\r\nContent-Type: text/plain\r\n\r\nno") + END)
        time.sleep(0.3)
        c.close()
    shop = far(script)
    with Raw(shop.address) as c:
        c.send(f"POST /far/x.php HTTP/1.1\r\nHost: x\r\nContent-Length: {4 << 20}\r\n\r\n").send(b"u" * (4 << 20))
        assert c.reply().status == 403


def test_client_that_leaves_closes_the_connection(far):
    closed = threading.Event()

    def script(c, _number):
        read_request(c)
        c.sendall(record(6, b"Content-Type: text/event-stream\r\n\r\ndata: 1\n\n"))
        for _ in range(200):
            time.sleep(0.05)
            try:
                c.sendall(record(6, b"data: 1\n\n"))
            except OSError:
                closed.set()
                return
    shop = far(script)
    with Raw(shop.address) as c:
        c.send("GET /far/x.php HTTP/1.1\r\nHost: x\r\n\r\n")
        assert c.head()[0] == 200
    assert closed.wait(10)
