"""What a table of requests cannot say: bytes before and beside a request, answers that come before its end, files that
change."""
import os
import socket
import struct
import time

import pytest
from certificate import make_cert
from h2.events import ResponseReceived, StreamEnded, StreamReset
from http_raw import Raw, insecure
from process import free_port
from test_http2 import Client
from web import Site

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


@pytest.fixture
def folder(workdir):
    root = workdir + "/site"
    os.mkdir(root)
    with open(root + "/vars.php", "w") as f:
        f.write("<?php echo $_SERVER['REMOTE_ADDR'], ' ', strlen(file_get_contents('php://input'));")
    return root


# -- PROXY protocol --

@pytest.mark.parametrize("extra", [0, 3, 1000, 4000, 20000, 65535 - 12])
@pytest.mark.parametrize("pieces", [1, 7])
def test_extras_of_a_proxy(tokiophp, folder, extra, pieces):
    """Certificates in type-length-value fields are up to 64 KB."""
    site = Site(tokiophp, folder, pool="http.proxy_protocol = yes\n")
    head = SIGNATURE + b"\x21\x11" + struct.pack(">H", 12 + extra) + bytes([203, 0, 113, 9, 127, 0, 0, 1]) + struct.pack(">HH", 4711, 80)
    data = head + b"\x04" * extra + b"GET /vars.php HTTP/1.1\r\nHost: x\r\n\r\n"
    with Raw(site.address) as c:
        step = len(data) // pieces + 1
        for at in range(0, len(data), step):
            c.send(data[at:at + step])
            time.sleep(0.01 if pieces > 1 else 0)
        assert c.reply().body == b"203.0.113.9 0"


def test_extras_that_never_come(tokiophp, folder):
    site = Site(tokiophp, folder, pool="http.proxy_protocol = yes\nhttp.header_timeout = 1s\n")
    with Raw(site.address) as c:
        c.send(SIGNATURE + b"\x21\x11\xff\xff" + bytes(12))
        assert c.at_end()


def test_extras_before_tls(tokiophp, folder, workdir):
    port = free_port()
    tokiophp(pool=f"http.tls_listen = 127.0.0.1:{port}\nhttp.document_root = {folder}\nhttp.proxy_protocol = yes\n" + make_cert(workdir, "one")) \
        .wait_accepting(("127.0.0.1", port))
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
        plain.sendall(SIGNATURE + b"\x21\x11" + struct.pack(">H", 12 + 9000) + bytes([203, 0, 113, 9, 127, 0, 0, 1, 1, 1, 0, 80]) + bytes(9000))
        with insecure().wrap_socket(plain, server_hostname="localhost") as s:
            s.sendall(b"GET /vars.php HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b"203.0.113.9" in s.recv(65536)


# -- plain HTTP where TLS is spoken --

@pytest.mark.parametrize("redirect", [False, True])
def test_plain_http_on_a_tls_port(tokiophp, folder, workdir, redirect):
    port = free_port()
    tokiophp(pool=f"http.tls_listen = 127.0.0.1:{port}\nhttp.document_root = {folder}\n" + make_cert(workdir, "one") +
             ("http.tls_redirect = yes\n" if redirect else "")).wait_accepting(("127.0.0.1", port))
    with Raw(("127.0.0.1", port)) as c:
        reply = c.send(f"GET /vars.php?a=1 HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n").reply()
        url = f"https://localhost:{port}/vars.php?a=1"
        assert (reply.status, reply.get("Location")) == ((308, url) if redirect else (400, None))
        assert url.encode() in reply.body and b"HTTPS" in reply.body and c.at_end()
    for garbage in (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"):
        with Raw(("127.0.0.1", port)) as c:
            time.sleep(0.1)  # the server has looked, and seen nothing
            reply = c.send(garbage).reply()
            assert reply.status in (400, 505) and not reply.get("Location") and c.at_end()
    with Raw(("127.0.0.1", port), tls=insecure()) as c:
        assert c.send("GET /vars.php HTTP/1.1\r\nHost: x\r\n\r\n").reply().status == 200


# -- answers before the end of a request --

@pytest.mark.parametrize("path, method, status, length", [
    ("/vars.php", "POST", 413, 100_000_000), ("/vars.php", "POST", 413, None), ("/file.txt", "POST", 405, None),
    ("/missing.txt", "POST", 404, None)])
def test_an_early_answer_stops_the_client(tokiophp, folder, path, method, status, length):
    """HTTP/2: the answer, and then RST_STREAM(NO_ERROR): nothing more is wanted."""
    with open(folder + "/file.txt", "w") as f:
        f.write("x")
    site = Site(tokiophp, folder, pool="http.max_body_size = 100K\n")
    with Client(site.address) as c:
        fields = [("content-length", str(length))] if length else []
        stream = c.request(path, method, end=False, fields=fields)
        sent, events = 0, []
        while sent < 3_000_000 and not any(isinstance(e, StreamReset) for e in events):
            window = min(c.h2.local_flow_control_window(stream), 16384)
            if window > 0 and not any(isinstance(e, StreamEnded) for e in events):
                c.h2.send_data(stream, b"x" * window)
                sent += window
                c.flush()
            c.raw.sock.settimeout(0.05 if window > 0 else 10)
            try:
                events += c.h2.receive_data(c.raw.sock.recv(65536))
            except TimeoutError:
                continue
            c.flush()
        assert [int(dict(e.headers)[":status"]) for e in events if isinstance(e, ResponseReceived)] == [status]
        assert [e.error_code for e in events if isinstance(e, StreamReset)] == [0]
        assert sent < 1_000_000
        c.raw.sock.settimeout(20)
        assert c.get("/vars.php")[0] == 200 # the connection goes on


# -- files that change --

def test_new_content_with_the_old_time_and_size(tokiophp, folder):
    """SOURCE_DATE_EPOCH, rsync --times, container images: the same time and size, and yet another file."""
    site = Site(tokiophp, folder)
    path = folder + "/app.js"
    for how in ("written", "renamed"):
        tags = []
        for text in ("one", "two", "six"):
            target = path if how == "written" else path + ".new"
            with open(target, "w") as f:
                f.write(text)
            os.utime(target, (0, 0))
            if how == "renamed":
                os.rename(target, path)
            time.sleep(1.2) # how long a file is believed unseen
            reply = site.ask("/app.js", **({"If_None_Match": tags[-1]} if tags else {}))
            assert (reply.status, reply.body) == (200, text.encode()), (how, text, tags)
            assert site.ask("/app.js", If_None_Match=reply.get("ETag")).status == 304
            tags.append(reply.get("ETag"))
        assert len(set(tags)) == 3
