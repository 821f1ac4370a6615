"""What the protocol itself asks of a server: methods, versions, the framing of bodies, and how a connection ends under a
client that is still sending. One table of cases (tests/support/web_cases.py), and what takes a connection of its own."""
import os
import re
import socket

import pytest

from h2_client import frame
from files import put_all
from http_raw import Raw, insecure
from web_cases import ABSENT, Case, Site, fixture, parametrize

EVERY = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
FILES = {
    "index.php": "<?php echo $_SERVER['REQUEST_METHOD'], ' ', $_SERVER['SERVER_PROTOCOL'], ' ', file_get_contents('php://input');",
    "file.txt": "a file\n",
}
SITES = {
    "every": Site(FILES),
    "some": Site(FILES, pool="http.methods = GET, POST PUT\n"),
    "readers": Site(FILES, pool="http.methods = HEAD GET\n"),
}
stages = fixture(SITES)


def of(table):
    return [Case(name, target, method, site=site, status=status, has={"Allow": allow}, **how)
            for name, site, method, target, status, allow, how in table]


METHODS = of([
    ("any method of a script", "every", "BREW", "/index.php", 200, ABSENT, {"body": re.compile("^BREW ")}),
    ("a long one", "every", "VERSION-CONTROL", "/index.php", 200, ABSENT, {"body": re.compile("^VERSION-CONTROL ")}),
    ("any method of a file", "every", "BREW", "/file.txt", 405, "GET, HEAD", {"peers": ()}),
    ("a small letter", "every", "get", "/file.txt", 405, "GET, HEAD", {}),
    ("a write to a file", "every", "PUT", "/file.txt", 405, "GET, HEAD", {"content": b"x"}),
    ("a question about a file", "every", "OPTIONS", "/file.txt", 405, "GET, HEAD", {}),
    ("a trace of a script", "every", "TRACE", "/index.php", 405, EVERY, {}),
    ("a trace of a file", "every", "TRACE", "/file.txt", 405, "GET, HEAD", {}),
    ("one of some", "some", "PUT", "/index.php", 200, ABSENT, {"content": b"x"}),
    ("none of some", "some", "DELETE", "/index.php", 405, "GET, POST, PUT", {}),
    ("none of some, a file", "some", "POST", "/file.txt", 405, "GET", {"content": b"x"}),
    ("the head of a file, not of some", "some", "HEAD", "/file.txt", 405, "GET", {}),
    ("none of the readers", "readers", "POST", "/index.php", 405, "HEAD, GET", {"content": b"x"}),
])


@parametrize(METHODS)
def test_methods(stages, case, way, place):
    stages.check(case, way, place)


def head(line, *fields):
    return "\r\n".join([line, "Host: test.example", "Connection: close", *fields, "", ""])


def chunked(body):
    return head("POST /index.php HTTP/1.1", "Transfer-Encoding: chunked") + body


FRAMING = [Case(name, site="every", raw=raw, peers=peers, **want) for name, raw, peers, want in [
    ("a later version", head("GET /index.php HTTP/1.2"), ("nginx",), {"status": 200}),
    ("a later version, to a script", head("GET /index.php HTTP/1.9"), (), {"status": 200, "body": "GET HTTP/1.1 "}),
    ("another protocol", head("GET /index.php HTTP/3.0"), ("nginx",), {"status": 505}),
    ("OPTIONS of all", head("OPTIONS * HTTP/1.1"), (), {"status": 204, "has": {"Allow": EVERY}}),
    ("zeros in front of a size", chunked("0000000000000000000005\r\nhello\r\n0000\r\n\r\n"), (),
     {"status": 200, "body": "POST HTTP/1.1 hello"}),
    ("blanks before an extension", chunked("5 \t; a=b\r\nhello\r\n0 ;x\r\n\r\n"), (), {"status": 200, "body": "POST HTTP/1.1 hello"}),
    ("blanks behind a size", chunked("5 \r\nhello\r\n0\r\n\r\n"), (), {"status": 400}),
    ("a size in two", chunked("5 5\r\nhello\r\n0\r\n\r\n"), (), {"status": 400}),
    ("a size that is too large", chunked("10000000000000005\r\nhello\r\n0\r\n\r\n"), ("nginx",), {"status": re.compile("4..")}),
]]
FRAMING[-1].want = {"check": lambda reply: reply.status in (400, 413) or pytest.fail(repr(reply))}


@parametrize(FRAMING)
def test_framing(stages, case, way, place):
    stages.check(case, way, place)


@pytest.fixture
def limited(tokiophp, workdir):
    import web
    root = workdir + "/site"
    os.mkdir(root)
    put_all(root, FILES)
    return web.Site(tokiophp, root, pool="http.max_body_size = 1M\n").address


@pytest.mark.parametrize("target, status, size", [("/index.php", 413, 40 << 20), ("/file.txt", 405, 40 << 20)])
def test_answer_under_a_sender(limited, target, status, size):
    """A client that sends all of its body before it looks up reads the answer that came at its beginning."""
    piece = b"x" * (1 << 20)
    with Raw(limited) as raw:
        raw.send(f"POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n")
        for _ in range(size // len(piece)):
            raw.send(piece)
        assert raw.reply().status == status


def test_sender_that_never_ends(limited):
    """What is sent behind the end is taken for a while, not for ever."""
    with Raw(limited, timeout=60) as raw:
        raw.send("POST /index.php HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(4000):
                raw.send(b"x" * (1 << 20))


def test_preface_against_the_handshake(stages):
    stage = stages.stage("every")
    stage.start()
    address = ("127.0.0.1", stage.ports["own"]["tls"])
    for protocols in (["http/1.1"], []):
        with socket.create_connection(address, timeout=20) as plain, insecure(*protocols).wrap_socket(plain, server_hostname="a") as s:
            s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
            assert re.match(rb"HTTP/1.1 (400|505) ", s.recv(100))
    with socket.create_connection(address, timeout=20) as plain, insecure("h2").wrap_socket(plain, server_hostname="a") as s:
        s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
        assert s.recv(9)[3] == 4  # SETTINGS
