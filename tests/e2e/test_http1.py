"""HTTP/1.0 and 1.1 with PHP behind it: framing, keep-alive, bodies, streaming, aborts, deadlines, limits."""
import os
import socket
import time

import pytest

from files import put_all
from gate import Gate
from http_raw import Raw
from process import wait_for
from web import Site

SCRIPTS = {
    "echo.php": "<?php header('X-Length: ' . strlen($b = file_get_contents('php://input'))); echo $b;",
    "vars.php": "<?php header('Content-Type: application/json'); echo json_encode($_SERVER);",
    "hello.php": "<?php echo 'hello';",
    "big.php": "<?php header('Content-Type: application/octet-stream');"
               " for ($i = 0; $i < 64; $i++) echo str_repeat(chr(65 + $i % 26), 65536);",
    "length.php": "<?php header('Content-Length: 5'); echo $_GET['body']; flush();",
    "stream.php": "<?php for ($i = 0; $i < 3; $i++) { echo $i; flush(); usleep(100000); }",
    "sse.php": "<?php header('Content-Type: text/event-stream'); ob_end_flush();"
               " GATE echo \"data: 1\\n\\n\"; $gate(1); echo \"data: 2\\n\\n\";",
    "finish.php": "<?php echo 'early'; fastcgi_finish_request(); GATE $gate(1); touch($_GET['file']);",
    "abort.php": "<?php register_shutdown_function(function () { file_put_contents($_GET['file'],"
                 " (string) connection_aborted()); });"
                 " for ($i = 0; $i < 200; $i++) { echo str_repeat('x', 10000); flush(); usleep(20000); }",
    "quiet.php": "<?php register_shutdown_function(function () { file_put_contents($_GET['file'],"
                 " (string) connection_aborted()); });"
                 " for ($i = 0; $i < 40; $i++) { echo $i, \"\\n\"; flush(); usleep(100000); }",
    "status.php": "<?php http_response_code((int) $_GET['s']); header('Connection: upgrade'); header('TE: x');",
    "send.php": "<?php header('X-Accel-Redirect: /' . $_GET['f']); header('Content-Type: text/x-mine'); echo 'no';",
    "sleep.php": "<?php usleep(1200000); echo 'slept';",
    "size.php": "<?php echo strlen(file_get_contents('php://input')), ' ',"
                " count($_FILES) ? $_FILES['f']['size'] : '';",
}


@pytest.fixture
def serve(tokiophp, workdir):
    root = workdir + "/site"
    os.mkdir(root)
    put_all(root, {name: text.replace("GATE", Gate(workdir).php) for name, text in SCRIPTS.items()})
    os.mkdir(workdir + "/private")
    with open(workdir + "/private/doc.txt", "w") as f:
        f.write("0123456789")
    os.symlink("/etc/passwd", workdir + "/private/link")

    def start(pool="", **how):
        return Site(tokiophp, root, pool=pool, **how)
    return start


def get(path, *fields, version="1.1", method="GET"):
    return f"{method} {path} HTTP/{version}\r\n" + "".join(f + "\r\n" for f in ("Host: test.example", *fields)) + "\r\n"


def test_keep_alive_and_pipelining(serve):
    site = serve()
    with Raw(site.address) as raw:
        for _ in range(3):
            assert raw.send(get("/hello.php")).reply().body == b"hello"
        raw.send(get("/echo.php", "Content-Length: 3", method="POST") + "abc" + get("/hello.php") +
                 get("/nothing.txt") + get("/hello.php", "Connection: close"))
        assert raw.reply().body == b"abc"
        assert raw.reply().body == b"hello"
        assert raw.reply().status == 404
        last = raw.reply()
        assert last.body == b"hello" and last.get("Connection") == "close" and raw.at_end()


def test_http10(serve):
    site = serve()
    with Raw(site.address) as raw:
        reply = raw.send("GET /hello.php HTTP/1.0\r\n\r\n").reply()
        assert reply.body == b"hello" and raw.at_end()
    with Raw(site.address) as raw:
        for _ in range(2):
            reply = raw.send("GET /hello.php HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").reply()
            assert reply.body == b"hello" and reply.get("Connection") == "keep-alive"
    with Raw(site.address) as raw:
        reply = raw.send("GET /stream.php HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").reply()
        assert reply.body == b"012" and reply.get("Transfer-Encoding") is None and raw.at_end()


def test_head(serve):
    site = serve()
    with Raw(site.address) as raw:
        reply = raw.send(get("/length.php?body=12345", method="HEAD")).reply("HEAD")
        assert reply.status == 200 and reply.get("Content-Length") == "5"
        assert raw.send(get("/big.php", method="HEAD")).reply("HEAD").status == 200
        assert raw.send(get("/hello.php")).reply().body == b"hello"


def test_variables(serve):
    import json
    site = serve()
    with Raw(site.address) as raw:
        reply = raw.send(get("/vars.php/info/x?a=1&b=%20", "X-Mine: 1", "X-Mine: 2", "Bad_Name: x", "Proxy: evil",
                             "Cookie: a=1", "Cookie: b=2", "Authorization: Basic dTpw")).reply()
    v = json.loads(reply.body)
    assert v["REQUEST_URI"] == "/vars.php/info/x?a=1&b=%20"
    assert (v["SCRIPT_NAME"], v["PATH_INFO"], v["PHP_SELF"]) == ("/vars.php", "/info/x", "/vars.php/info/x")
    assert v["QUERY_STRING"] == "a=1&b=%20" and v["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert v["HTTP_X_MINE"] == "1, 2" and v["HTTP_COOKIE"] == "a=1; b=2"
    assert "HTTP_BAD_NAME" not in v and "HTTP_PROXY" not in v
    assert v["SERVER_NAME"] == "test.example" and v["SERVER_PORT"] == str(site.address[1])
    assert v["REMOTE_ADDR"] == "127.0.0.1" and v["SERVER_ADDR"] == "127.0.0.1"
    assert v["PHP_AUTH_USER"] == "u" and v["PHP_AUTH_PW"] == "p"
    assert v["REQUEST_SCHEME"] == "http" and "HTTPS" not in v


@pytest.mark.parametrize("size", [0, 1, 5000, 70000, 3 << 20])
def test_bodies(serve, size):
    site = serve()
    body = os.urandom(size)
    with Raw(site.address) as raw:
        raw.send(get("/echo.php", f"Content-Length: {size}", method="POST").encode() + body)
        assert raw.reply().body == body
        raw.send(get("/echo.php", "Transfer-Encoding: chunked", method="POST"))
        for at in range(0, size, 100001):
            part = body[at:at + 100001]
            raw.send(b"%x\r\n" % len(part) + part + b"\r\n")
        raw.send("0\r\n\r\n")
        reply = raw.reply()
        assert reply.body == body and reply.get("X-Length") == str(size)
    site.server.wait_accepting(site.address)
    assert not [n for n in os.listdir("/tmp") if n.startswith("tokiophp-body-")]


def test_expect_continue(serve):
    site = serve("http.max_body_size = 1000\n")
    with Raw(site.address) as raw:
        raw.send(get("/echo.php", "Content-Length: 3", "Expect: 100-continue", method="POST"))
        assert raw.reply().status == 100
        assert raw.send("abc").reply().body == b"abc"
        raw.send(get("/echo.php", "Content-Length: 1001", "Expect: 100-continue", method="POST"))
        assert raw.reply().status == 413 and raw.at_end()
    with Raw(site.address) as raw:
        raw.send(get("/echo.php", "Transfer-Encoding: chunked", method="POST") + "401\r\n" + "x" * 1025 + "\r\n")
        assert raw.reply().status == 413


def test_upload(serve):
    site = serve()
    data = os.urandom(200000)
    body = b"--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a\"\r\n\r\n" + data + b"\r\n--B--\r\n"
    with Raw(site.address) as raw:
        raw.send(get("/size.php", "Content-Type: multipart/form-data; boundary=B", f"Content-Length: {len(body)}",
                     method="POST").encode() + body)
        assert raw.reply().body.split()[-1] == b"200000"


def test_large_response_is_chunked(serve):
    site = serve()
    with Raw(site.address) as raw:
        reply = raw.send(get("/big.php")).reply()
        assert reply.get("Transfer-Encoding") == "chunked" and len(reply.body) == 64 * 65536
        assert reply.body[65536 * 3:65536 * 3 + 2] == b"DD"


def test_slow_reader_gets_everything(serve):
    site = serve()
    with Raw(site.address) as raw:
        raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        raw.send(get("/big.php"))
        time.sleep(1)
        assert len(raw.reply().body) == 64 * 65536
        assert raw.send(get("/hello.php")).reply().body == b"hello"


def test_announced_length(serve):
    site = serve()
    with Raw(site.address) as raw:
        assert raw.send(get("/length.php?body=12345")).reply().body == b"12345"
        assert raw.send(get("/length.php?body=1234567")).reply().body == b"12345"
        raw.send(get("/length.php?body=123"))
        assert raw.head()[0] == 200
        assert raw.file.read() == b"123"  # and the end: nobody waits for the rest


def test_streaming(serve, workdir):
    site = serve()
    with Raw(site.address) as raw:
        reply = raw.send(get("/stream.php")).reply()
        assert reply.body == b"012" and reply.get("Transfer-Encoding") == "chunked"
        raw.send(get("/sse.php"))
        assert raw.head()[0] == 200
        assert raw.line() and raw.line() == "data: 1"
        Gate(workdir).open(1)
        raw.line(), raw.line()
        assert raw.line() and raw.line() == "data: 2"


@pytest.mark.parametrize("script", ["abort.php?", "quiet.php?"])
def test_a_stream_has_its_time(serve, workdir, script):
    """http.stream_timeout counts also for a client that reads all that comes."""
    site = serve("http.stream_timeout = 1s\n")
    mark = workdir + "/tmp/aborted"
    with Raw(site.address) as raw:
        raw.send(get(f"/{script}file={mark}"))
        assert raw.head()[0] == 200
        assert not raw.file.read().endswith(b"0\r\n\r\n"), "the script came to its end"
    wait_for(lambda: os.path.exists(mark) and open(mark).read() == "1", 10, "connection_aborted()")
    with Raw(site.address) as raw:
        assert raw.send(get("/stream.php")).reply().body == b"012"


def test_early_response_frees_the_connection(serve, workdir):
    site = serve()
    mark = workdir + "/tmp/mark"
    with Raw(site.address) as raw:
        assert raw.send(get(f"/finish.php?file={mark}")).reply().body == b"early"
        assert raw.send(get("/hello.php")).reply().body == b"hello"
        assert not os.path.exists(mark)
    Gate(workdir).open(1)
    wait_for(lambda: os.path.exists(mark), 10, "the script went on")


def test_half_close_gets_its_answer(serve):
    site = serve()
    with Raw(site.address) as raw:
        raw.send(get("/sleep.php"))
        raw.sock.shutdown(socket.SHUT_WR)
        assert raw.reply().body == b"slept" and raw.at_end()
    with Raw(site.address) as raw:
        raw.send(get("/hello.php") + get("/hello.php"))
        raw.sock.shutdown(socket.SHUT_WR)
        assert raw.reply().body == b"hello" and raw.reply().body == b"hello" and raw.at_end()


def test_abort_reaches_php(serve, workdir):
    site = serve()
    mark = workdir + "/tmp/aborted"
    with Raw(site.address) as raw:
        raw.send(get(f"/abort.php?file={mark}"))
        raw.head()
    wait_for(lambda: os.path.exists(mark) and open(mark).read() == "1", 10, "connection_aborted()")


def test_status_and_hop_by_hop_fields(serve):
    site = serve()
    with Raw(site.address) as raw:
        for status in (204, 304, 201, 404, 500):
            reply = raw.send(get(f"/status.php?s={status}")).reply()
            assert reply.status == status
            assert reply.get("TE") is None and reply.get("Connection") is None
        assert raw.send(get("/hello.php")).reply().body == b"hello"


def test_accel_redirect(serve, workdir):
    site = serve(f"http.sendfile_root = {workdir}/private\n")
    with Raw(site.address) as raw:
        reply = raw.send(get("/send.php?f=doc.txt")).reply()
        assert reply.body == b"0123456789" and reply.get("Content-Type").startswith("text/x-mine")
        reply = raw.send(get("/send.php?f=doc.txt", "Range: bytes=2-4")).reply()
        assert (reply.status, reply.body) == (206, b"234")
        for outside in ("../site/hello.php", "link", "nothing"):
            assert raw.send(get("/send.php?f=" + outside)).reply().status == 404


def test_deadlines(serve):
    site = serve("http.header_timeout = 1s\nhttp.idle_timeout = 2s\nhttp.body_timeout = 1s\n")

    def said(text):
        raw = Raw(site.address)
        return raw.send(text) if text else raw
    with said(get("/hello.php")) as idle, said("GET / HTTP/1.1\r\nHost: a\r\n") as slow_head, \
            said(get("/echo.php", "Content-Length: 10", method="POST") + "a") as slow_body, said("") as silent:
        assert idle.reply().body == b"hello"
        assert slow_head.reply().status == 408 and slow_head.at_end()
        assert slow_body.reply().status == 408 and slow_body.at_end()
        assert silent.at_end()
        assert idle.at_end()


def test_limits(serve):
    site = serve("http.methods = GET POST\n")
    with Raw(site.address) as raw:
        reply = raw.send(get("/hello.php", method="DELETE")).reply()
        assert reply.status == 405 and reply.get("Allow") == "GET, POST"
    for request, status in ((get("/" + "a" * 9000), 414), (get("/", "X: " + "y" * 40000), 431),
                            (get("/", *[f"X{i}: y" for i in range(101)]), 431)):
        with Raw(site.address) as raw:
            assert raw.send(request).reply().status == status


def test_connections_of_one_client(serve):
    site = serve("http.connections_per_client = 3\n")

    def three():
        """None: not all of those before are gone yet, where they are counted."""
        opened = [Raw(site.address) for _ in range(3)]
        try:
            if all(getattr(r.send(get("/hello.php")).reply(), "body", None) == b"hello" for r in opened):
                return opened
        except (ConnectionResetError, BrokenPipeError):
            pass
        for r in opened:
            r.close()
        return None
    open_ones = wait_for(three, what="three connections")
    with Raw(site.address) as fourth:
        try:
            assert fourth.send(get("/hello.php")).reply() is None
        except (ConnectionResetError, BrokenPipeError):
            pass
    for r in open_ones:
        r.close()


def test_queue_is_bounded(serve):
    site = serve("pm.max_children = 1\nhttp.queue_capacity = 1\n")
    raws = [Raw(site.address) for _ in range(5)]
    for raw in raws:
        raw.send(get("/sleep.php"))
        time.sleep(0.05)
    replies = [raw.reply() for raw in raws]
    refused = [r for r in replies if r.status == 503]
    assert refused and all(r.get("Retry-After") == "1" for r in refused)
    assert [r.body for r in replies if r.status == 200] == [b"slept"] * (5 - len(refused))


def test_timeout_is_504(serve):
    site = serve("request_terminate_timeout = 1s\n")
    with open(os.path.join(os.path.dirname(site.server.error_log), "site/loop.php"), "w") as f:
        f.write("<?php for (;;) { }")
    with Raw(site.address) as raw:
        assert raw.send(get("/loop.php")).reply().status in (500, 504)


def test_reload_loses_nothing(serve):
    site = serve()
    import signal
    with Raw(site.address) as idle:
        assert idle.send(get("/hello.php")).reply().body == b"hello"
        os.kill(site.server.pid, signal.SIGUSR2)
        end = time.monotonic() + 4
        while time.monotonic() < end:
            with Raw(site.address) as raw:
                assert raw.send(get("/hello.php", "Connection: close")).reply().body == b"hello"
