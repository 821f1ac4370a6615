"""Requests that do not come to their end: the access log and the counters say what happened, with the bytes that really
left. 400: the request broke off; 499: nobody waited for the answer; else the status that was sent, and less of its body."""
import json
import os
import socket
import struct
import time

import pytest

import process
from files import put_all
from gate import Gate
from h2_client import Client
from web_cases import pool_section, read_h1

BIG = 8 << 20
SCRIPTS = {
    "hello.php": "<?php echo 'hello';",
    "slow.php": "<?php GATE touch('TMP/started'); $gate($_GET['n']); echo str_repeat('x', 50);",
    "big.php": f"<?php for ($i = 0; $i < {BIG >> 16}; $i++) echo str_repeat('b', 65536);",
    "text.php": "<?php header('Content-Type: text/plain'); echo str_repeat('text ', 4000);",
    "stream.php": "<?php while (ob_get_level()) ob_end_flush(); for ($i = 0; $i < 5; $i++) { echo 'part'; flush(); usleep(1000); }",
    "sent.php": "<?php header('X-Accel-Redirect: /big.bin');",
}


@pytest.fixture
def root(workdir):
    folder = os.path.join(workdir, "site")
    os.mkdir(folder)
    put_all(folder, {name: text.replace("TMP", workdir + "/tmp").replace("GATE", Gate(workdir).php) for name, text in SCRIPTS.items()})
    with open(os.path.join(folder, "big.bin"), "wb") as f:
        f.write(b"f" * BIG)
    return folder


class Logged:
    """A site with a log; place: whether its scripts run in the pool that listens or in another one."""

    def __init__(self, tokiophp, root, workdir, place):
        self.path, self.mark = os.path.join(workdir, "access.log"), os.path.join(workdir, "tmp/started")
        self.address = ("127.0.0.1", process.free_port())
        self.asked, self.gate = 0, Gate(workdir)
        listen = f"http.listen = 127.0.0.1:{self.address[1]}\n"
        served = f"{listen}http.document_root = {root}\nhttp.sendfile_root = {root}\n"
        served += f"access.log = {self.path}\nhttp.access_log_format = json\n"
        behind = pool_section("behind", served + "http.routes = *.php\n") if place == "routed" else ""
        self.server = tokiophp(pool=served, php=behind)
        self.server.wait_accepting(self.address)

    def wait_started(self):
        """The script runs."""
        process.wait_for(lambda: os.path.exists(self.mark), 20, "the script")
        os.unlink(self.mark)

    def let_go(self, number):
        """The script, for whose answer nobody waits any more: what the server needs to see that is not seen from outside."""
        time.sleep(0.7)
        self.gate.open(number)

    def logged(self):
        """Status and bytes of the next request that is logged, of those after the last call."""
        def found():
            with open(self.path) as f:
                return [json.loads(line)["data"] for line in f.read().splitlines()][self.asked:]
        process.wait_for(found, 20, "another line of the access log")
        time.sleep(0.05)
        lines = found()
        assert len(lines) == 1, lines
        self.asked += 1
        return lines[0]["status"], lines[0]["bytes"]


def connect(address):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
    s.settimeout(20)
    s.connect(address)
    return s


def get(path, fields="", method="GET"):
    return f"{method} {path} HTTP/1.1\r\nHost: test.example\r\n{fields}\r\n".encode()


def kill(s):
    """As a client that is killed: a reset instead of an end."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def read_whole(s):
    with s.makefile("rb") as file:
        reply = read_h1(file, "GET")
    assert reply.ended == "whole"
    return reply


@pytest.fixture(params=["own", "routed"])
def asked(tokiophp, root, workdir, request):
    return Logged(tokiophp, root, workdir, request.param)


def test_whole_answers(asked):
    """Of answers that arrive the log has the bytes of the body as it was sent: compressed, without the framing."""
    for path, fields in [("/hello.php", ""), ("/stream.php", ""), ("/text.php", "Accept-Encoding: gzip\r\n"),
                         ("/big.bin", "Range: bytes=2-11\r\n"), ("/sent.php", "Range: bytes=2-11\r\n"), ("/none.txt", "")]:
        for keep in ("", "Connection: close\r\n"):
            with connect(asked.address) as s:
                s.sendall(get(path, fields + keep))
                reply = read_whole(s)
            assert asked.logged() == (reply.status, len(reply.body)), (path, keep, reply)
    with Client(asked.address) as client:
        for path in ("/hello.php", "/stream.php", "/big.bin", "/sent.php", "/none.txt"):
            status, body = client.get(path)
            assert asked.logged() == (status, len(body)), path


@pytest.mark.parametrize("end", [kill, socket.socket.close], ids=["killed", "closed"])
def test_upload_that_breaks_off(asked, end):
    for framing in ("Content-Length: 1000", "Transfer-Encoding: chunked"):
        s = connect(asked.address)
        s.sendall(get("/hello.php", framing + "\r\nExpect: 100-continue\r\n", "POST"))
        assert s.recv(9) == b"HTTP/1.1 "  # its head is read
        s.sendall(b"5\r\nhello\r\n")
        end(s)
        assert asked.logged() == (400, 0)


@pytest.mark.parametrize("end", [kill, socket.socket.close], ids=["killed", "closed"])
def test_client_that_leaves_during_the_script(asked, end):
    s = connect(asked.address)
    s.sendall(get("/slow.php?n=1"))
    asked.wait_started()
    end(s)
    asked.let_go(1)
    assert asked.logged() == (499, 0)
    with connect(asked.address) as s:  # one that has only said all that it has to say
        s.sendall(get("/slow.php?n=2"))
        s.shutdown(socket.SHUT_WR)
        asked.wait_started()
        asked.gate.open(2)
        assert read_whole(s).body == b"x" * 50
        assert asked.logged() == (200, 50)


@pytest.mark.parametrize("path", ["/big.bin", "/big.php", "/sent.php"])
def test_download_that_breaks_off(asked, path):
    s = connect(asked.address)
    s.sendall(get(path))
    got = len(s.recv(65536, socket.MSG_WAITALL))
    kill(s)
    status, sent = asked.logged()
    assert status == 200 and got - 2000 < sent < BIG, (got, sent)


def test_http2_streams_that_are_cancelled(asked):
    with Client(asked.address) as client:
        stream = client.request("/hello.php", "POST", end=False)
        client.h2.send_data(stream, b"some")
        client.h2.reset_stream(stream, 8)
        client.flush()
        assert asked.logged() == (400, 0)
        stream = client.request("/slow.php?n=1")
        asked.wait_started()
        client.h2.reset_stream(stream, 8)
        client.ping()
        asked.gate.open(1)
        assert asked.logged() == (499, 0)
        for path in ("/big.bin", "/big.php", "/sent.php"):
            stream = client.request(path)
            while len(client.body.get(stream, b"")) < 100000:
                assert client.step()
            client.h2.reset_stream(stream, 8)
            client.flush()
            status, sent = asked.logged()
            assert status == 200 and 100000 <= sent < BIG, (path, sent)
        assert client.get() == (200, b"hello")


def test_http2_connection_that_ends(asked):
    for path, least in (("/slow.php?n=1", 0), ("/big.php", 65000)):
        client = Client(asked.address)
        stream = client.request(path)
        while len(client.body.get(stream, b"")) < least:
            assert client.step()
        if not least:
            asked.wait_started()
        client.raw.close()
        asked.let_go(1)
        status, sent = asked.logged()
        assert status == (200 if least else 499) and least <= sent < BIG, (status, sent)
