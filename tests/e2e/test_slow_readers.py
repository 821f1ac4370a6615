"""Clients that do not read: their answers wait in a file, and the workers go on."""
import hashlib
import os
import socket
import time

import pytest
from certificate import make_cert
from h2_client import Client

import process
from files import put_all
from http_raw import insecure
from web import Site

BIG = "<?php mt_srand(7); for ($i = 0; $i < 80; $i++) { $p = ''; while (strlen($p) < 65536) $p .= pack('N', mt_rand()); echo $p; }"
ONE_PIECE = "<?php echo str_repeat('0123456789abcdef', 5 << 16);"
SCRIPTS = {"hello.php": "<?php echo 'hello';", "big.php": BIG, "piece.php": ONE_PIECE,
           "stream.php": "<?php while (ob_get_level()) ob_end_flush(); for ($i = 0; $i < 6; $i++)"
                         " { echo str_repeat(chr(65 + $i), 1 << 20); flush(); usleep(100000); }",
           "endless.php": "<?php register_shutdown_function(fn() => file_put_contents($_GET['f'], 'ended'));"
                          " while (true) echo str_repeat('x', 65536);"}


@pytest.fixture
def root(workdir):
    folder = os.path.join(workdir, "site")
    os.mkdir(folder)
    os.chmod(workdir, 0o777)
    put_all(folder, SCRIPTS)
    return folder


def open_slow(address, target, tls=None):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    s.settimeout(30)
    s.connect(address)
    s = tls.wrap_socket(s, server_hostname="localhost") if tls else s
    s.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    return s


def body_of(s):
    data = b""
    while piece := s.recv(1 << 20):
        data += piece
    head, body = data.split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 200")
    if b"transfer-encoding: chunked" not in head.lower():
        return body
    whole = b""
    while True:
        size, body = body.split(b"\r\n", 1)
        n = int(size, 16)
        if n == 0:
            return whole
        whole, body = whole + body[:n], body[n + 2:]


def files(site):
    links = process.descriptors(site.server.engine_pids()[0]).values()
    return sum("(deleted)" in link and "memfd:" not in link for link in links)


def files_at_rest(site):
    """When something has run; a small answer needs none of its own."""
    assert site.ask("/hello.php").text == "hello"
    return files(site)


@pytest.mark.parametrize("target", ["/big.php", "/piece.php", "/stream.php"])
@pytest.mark.parametrize("way", ["plain", "tls"])
def test_workers_are_free(tokiophp, workdir, root, way, target):
    """Twice as many of them as there are workers; and every byte arrives when they read."""
    port = process.free_port()
    site = Site(tokiophp, root, f"http.tls_listen = 127.0.0.1:{port}\n{make_cert(workdir, 'one')}http.compression = no\n"
                "http.write_timeout = 10m\n")
    before = files_at_rest(site)
    wanted = hashlib.sha256(site.ask(target).body).hexdigest()
    process.wait_for(lambda: files(site) == before, what="the file's end, if there was one")
    address = site.address if way == "plain" else ("127.0.0.1", port)
    slow = [open_slow(address, target, insecure() if way == "tls" else None) for _ in range(8)]
    process.wait_for(lambda: files(site) >= before + 8, 20, "answers in files")
    for _ in range(20):
        assert site.ask("/hello.php").text == "hello"
    for s in slow:
        assert hashlib.sha256(body_of(s)).hexdigest() == wanted
        s.close()
    process.wait_for(lambda: files(site) == before, 10, "the files' end")


def test_http2_streams(tokiophp, root):
    site = Site(tokiophp, root, "http.compression = no\n")
    before = files_at_rest(site)
    wanted = site.ask("/big.php").body
    process.wait_for(lambda: files(site) == before, what="the file's end, if there was one")
    with Client(site.address) as client:
        streams = [client.request("/big.php") for _ in range(8)]  # whose windows stay closed
        process.wait_for(lambda: files(site) >= before + 8, 20, "answers in files")
        assert site.ask("/hello.php").text == "hello"
        client.finish(*streams)
        assert all(client.body[stream] == wanted for stream in streams)
    process.wait_for(lambda: files(site) == before, 10, "the files' end")


def test_an_answer_has_its_bound(tokiophp, workdir, root):
    """Beyond it the worker waits, and the script hears when its client is gone."""
    site = Site(tokiophp, root, "http.response_buffer = 2M\n")
    before = files_at_rest(site)
    slow = open_slow(site.address, f"/endless.php?f={workdir}/ended")
    process.wait_for(lambda: files(site) == before + 1, 20, "an answer in a file")
    time.sleep(0.5)
    engine = site.server.engine_pids()[0]
    sizes = []
    for fd in os.listdir(f"/proc/{engine}/fd"):
        try:
            if "(deleted)" in os.readlink(f"/proc/{engine}/fd/{fd}"):
                sizes.append(os.stat(f"/proc/{engine}/fd/{fd}").st_size)
        except OSError:
            pass
    assert max(sizes) <= 2 << 20 or "memfd" in str(sizes)
    slow.close()
    process.wait_for(lambda: os.path.exists(f"{workdir}/ended"), 20, "the script's end")
    process.wait_for(lambda: files(site) == before, 10, "the file's end")
