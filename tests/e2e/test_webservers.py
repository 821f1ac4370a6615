"""The whole path of a request: a client, a real web server, FastCGI, PHP, and back - behind nginx, Caddy and Apache."""
import base64
import concurrent.futures
import hashlib
import http.client
import json
import os
import socket
import threading
import time
import uuid
import zlib

import fcgi_client
import pytest
from process import connect, free_port, wait_for

MEGABYTE = 1 << 20
POOL = "php_admin_value[post_max_size] = 0\nphp_admin_value[upload_max_filesize] = 0\n"


class Answer:
    def __init__(self, response):
        self.status, self.reason, self.headers = response.status, response.reason, response.headers
        self.body = response.read()
        self.text = self.body.decode(errors="replace")

    def json(self):
        return json.loads(self.body)


def ask(site, path, method="GET", body=None, headers=None, timeout=60):
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=timeout)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        return Answer(connection.getresponse())
    finally:
        connection.close()


def temporary(site):
    """The path of a file that does not exist yet, in the folder that scripts may write."""
    return os.path.join(site.directory, "tmp", uuid.uuid4().hex)


def multipart(files, fields=()):
    boundary = "b" + uuid.uuid4().hex
    out = b""
    for name, value in fields:
        out += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    for field, name, content in files:
        out += (f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
                f'Content-Type: image/png\r\n\r\n').encode() + content + b"\r\n"
    return out + f"--{boundary}--\r\n".encode(), {"Content-Type": f"multipart/form-data; boundary={boundary}"}


# -- methods, variables, bodies --

def test_get_variables(site):
    got = ask(site, "/server.php?a=1&b[]=x&b[]=%20y", headers={"X-My-Header": "yes", "Cookie": "c=3; d=4"}).json()
    server = got["server"]
    assert got["get"] == {"a": "1", "b": ["x", " y"]} and got["cookie"] == {"c": "3", "d": "4"} and got["post"] == []
    assert server["REQUEST_METHOD"] == "GET" and server["QUERY_STRING"] == "a=1&b[]=x&b[]=%20y"
    assert server["REQUEST_URI"] == "/server.php?a=1&b[]=x&b[]=%20y" and server["HTTP_X_MY_HEADER"] == "yes"
    assert server["SCRIPT_FILENAME"] == site.root + "/server.php" and server["SCRIPT_NAME"] == "/server.php"
    assert server["PHP_SELF"] == "/server.php" and server["DOCUMENT_ROOT"] == site.root
    assert server["REMOTE_ADDR"] == "127.0.0.1" and server["SERVER_PORT"] == str(site.port)
    assert abs(server["REQUEST_TIME"] - time.time()) < 60 and isinstance(server["REQUEST_TIME_FLOAT"], float)


@pytest.mark.parametrize("query, path_info", [("", "/a/b"), ("?x=1", "/a%20b/c.php"), ("", "/")])
def test_path_info(site, query, path_info):
    server = ask(site, "/server.php" + path_info + query).json()["server"]
    assert server["PATH_INFO"] == path_info.replace("%20", " ")
    assert server["SCRIPT_NAME"] == "/server.php" and server["SCRIPT_FILENAME"] == site.root + "/server.php"
    assert server["PHP_SELF"] == "/server.php" + path_info.replace("%20", " ")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("size", [1, 8191, 65536, 300000])
def test_body_byte_for_byte(site, method, size):
    body = os.urandom(size)
    got = ask(site, "/echo.php", method, body, {"Content-Type": "application/octet-stream"})
    assert got.status == 200 and got.headers["X-Method"] == method and got.body == body


def test_post_form(site):
    body = "a=1&b[k]=%C3%BC&c=" + "z" * 100000
    got = ask(site, "/server.php", "POST", body, {"Content-Type": "application/x-www-form-urlencoded"}).json()
    assert got["post"] == {"a": "1", "b": {"k": "ü"}, "c": "z" * 100000} and bytes.fromhex(got["input"]).decode() == body


def test_body_without_length(site):
    """A chunked request: Caddy streams it without CONTENT_LENGTH, the others buffer or convert it."""
    parts = [os.urandom(n) for n in (1, 5000, 70000)]
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=30)
    connection.request("POST", "/echo.php", body=iter(parts), headers={"Content-Type": "application/octet-stream"},
                       encode_chunked=True)
    response = connection.getresponse()
    assert response.status == 200 and response.read() == b"".join(parts)
    connection.close()


def test_head(site):
    got = ask(site, "/head.php", "HEAD")
    assert got.status == 200 and got.body == b"" and got.headers["X-Seen"] == "HEAD"
    assert ask(site, "/head.php").body == b"hello"


def test_not_modified(site):
    first = ask(site, "/notmodified.php")
    assert (first.status, first.body, first.headers["ETag"]) == (200, b"content", '"v1"')
    second = ask(site, "/notmodified.php", headers={"If-None-Match": '"v1"'})
    assert (second.status, second.body) == (304, b"")


# -- headers, cookies, output --

def test_sixty_headers_and_status(site):
    got = ask(site, "/headers.php")
    assert got.status == 418
    assert [got.headers[f"X-Header-{i}"] for i in range(60)] == [f"value {i}" for i in range(60)]
    assert ", ".join(got.headers.get_all("X-Twice")) == "one, two"  # Apache joins them
    assert sorted(c.split("=")[0] for c in got.headers.get_all("Set-Cookie")) == ["a", "b"]
    assert int(got.text) >= 64


def test_large_cookies(site):
    """Nearly 64 KiB of cookies, the most that nginx and Caddy put into one FastCGI request; Apache stops at 16 KiB."""
    cookies = {f"c{i}": "v" * 4000 for i in range(3 if site.kind == "apache" else 16)}
    got = ask(site, "/server.php", headers={"Cookie": "; ".join(f"{k}={v}" for k, v in cookies.items())})
    assert got.status == 200 and got.json()["cookie"] == cookies


def test_many_request_headers(site):
    headers = {f"X-N{i}": f"value-{i}" for i in range(60)}
    server = ask(site, "/server.php", headers=headers).json()["server"]
    assert all(server[f"HTTP_X_N{i}"] == f"value-{i}" for i in range(60))


@pytest.mark.parametrize("repeat", [1, 100, 8000])
def test_binary_output(site, repeat):
    assert ask(site, f"/binary.php?n={repeat}").body == (bytes(range(256)) + b"\r\n\0") * repeat


def test_exit_and_shutdown_function(site):
    assert ask(site, "/exit.php").text == "inside exit shutdown"


def test_fatal_error_is_500(site):
    assert ask(site, "/fatal_early.php").status == 500
    assert ask(site, "/hello.php").text == "hello"


# -- uploads, sessions, authorisation --

def test_upload_of_several_files(site):
    contents = [os.urandom(n) for n in (0, 1, 9000, 3 * MEGABYTE)]
    files = [("one", "a.png", contents[0]), ("many[]", "b c.png", contents[1]), ("many[]", "d.png", contents[2]),
             ("big", "ü.bin", contents[3])]
    body, headers = multipart(files, [("title", "Größe"), ("tags[]", "x")])
    got = ask(site, "/upload.php", "POST", body, headers).json()
    assert got["post"] == {"title": "Größe", "tags": ["x"]} and got["fake"] is False
    assert [f["name"] for f in got["files"]] == ["a.png", "b c.png", "d.png", "ü.bin"]
    for told, content in zip(got["files"], contents):
        assert told["error"] == 0 and told["uploaded"] and told["moved"] and told["size"] == len(content)
        assert told["md5"] == hashlib.md5(content).hexdigest()


def test_upload_leaves_no_temporary_file(site):
    body, headers = multipart([("f", "x", b"y" * 100000)])
    ask(site, "/hello.php", "POST", body, headers)
    wait_for(lambda: not [n for n in os.listdir(site.directory + "/tmp") if n.startswith("php")], 5, "no upload left behind")


def test_session(site):
    first = ask(site, "/session.php")
    cookie = first.headers["Set-Cookie"].split(";")[0]
    assert first.text == "1"
    assert [ask(site, "/session.php", headers={"Cookie": cookie}).text for _ in range(3)] == ["2", "3", "4"]
    assert ask(site, "/session.php").text == "1"


def test_session_concurrent(site):
    """PHP's session lock: requests of one session queue up, none is lost."""
    cookie = {"Cookie": ask(site, "/session.php").headers["Set-Cookie"].split(";")[0]}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda _: int(ask(site, "/session.php", headers=cookie).text), range(24)))
    assert sorted(seen) == list(range(2, 26))


def test_http_authorisation(site):
    refused = ask(site, "/auth.php")
    assert refused.status == 401 and refused.headers["WWW-Authenticate"] == 'Basic realm="test"'
    token = base64.b64encode("user:pa:ß".encode()).decode()
    assert ask(site, "/auth.php", headers={"Authorization": "Basic " + token}).text == "user:pa:ß"
    assert ask(site, "/auth.php").status == 401


def test_nothing_leaks_into_the_next_request(site):
    """putenv and ini_set of one request are undone; the Proxy header is no environment variable; no argument list."""
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: ask(site, f"/environment.php?set={i}", headers={"Proxy": "evil"}), range(16)))
        answers = list(pool.map(lambda _: ask(site, "/environment.php?a+b", headers={"Proxy": "evil"}).json(), range(16)))
    for mine, proxy_env, proxy_server, precision, sapi, _argv in answers:
        assert mine is False and not proxy_env and precision == "14" and sapi == "fpm-fcgi"
        assert proxy_server is None or "fpm" in os.environ.get("TOKIOPHP", "")


# -- time: early answers, flushes, aborts --

def test_early_response(site):
    """The client has the whole answer while the script still runs."""
    file = temporary(site)
    got = ask(site, "/early.php?file=" + os.path.basename(file), timeout=30)
    assert got.text.startswith("early unsent") and "never seen" not in got.text and not os.path.exists(file)
    open(file + ".go", "w").close()
    wait_for(lambda: os.path.exists(file), 10, "the end of the script")


def test_flush(site):
    """What was flushed is at the client before the script goes on."""
    file = temporary(site)
    s = connect(("127.0.0.1", site.port))
    s.sendall(f"GET /flush.php?file={os.path.basename(file)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    seen = b""
    while b"first" not in seen:
        more = s.recv(65536)
        assert more, seen
        seen += more
    assert b"second" not in seen
    open(file, "w").close()
    while True:
        more = s.recv(65536)
        if not more:
            break
        seen += more
    s.close()
    assert b"second" in seen and b"timeout" not in seen


@pytest.mark.parametrize("ignore, reached", [(0, "started 1 1"), (1, "all 1 1")])
def test_client_abort(site, ignore, reached):
    file = temporary(site)
    s = connect(("127.0.0.1", site.port))
    s.sendall(f"GET /abort.php?ignore={ignore}&file={os.path.basename(file)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    wait_for(lambda: os.path.exists(file + ".begin"), 10, "the script's begin")
    s.recv(1000)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    s.close()
    wait_for(lambda: os.path.exists(file + ".end") and os.path.getsize(file + ".end"), 20, "the shutdown function")
    assert open(file + ".end").read() == reached


# -- size --

GIGABYTE = 1 << 30


class Peak(threading.Thread):
    """The highest sum of resident memory of a program's processes while it is watched."""

    def __init__(self, program):
        super().__init__(daemon=True)
        self.program, self.highest, self.ended = program, program.rss_kb(), threading.Event()

    def run(self):
        while not self.ended.wait(0.1):
            self.highest = max(self.highest, self.program.rss_kb())

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join()


def zeros_crc(n):
    block, crc = bytes(MEGABYTE), 0
    for _ in range(n // MEGABYTE):
        crc = zlib.crc32(block, crc)
    return "%08x" % crc


@pytest.mark.seconds(300)
def test_upload_of_a_gigabyte_in_flat_memory(site):
    before = site.server.rss_kb()
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=250)
    with Peak(site.server) as peak:
        block = bytes(MEGABYTE)
        connection.request("PUT", "/big/sink.php", body=(block for _ in range(GIGABYTE // MEGABYTE)),
                           headers={"Content-Length": str(GIGABYTE), "Content-Type": "application/octet-stream"})
        answer = connection.getresponse().read().decode()
    connection.close()
    assert answer == f"{GIGABYTE} {zeros_crc(GIGABYTE)} flat"
    assert peak.highest - before < 48 * 1024


@pytest.mark.seconds(300)
def test_download_of_a_gigabyte_in_flat_memory(site):
    before = site.server.rss_kb()
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=250)
    with Peak(site.server) as peak:
        connection.request("GET", f"/big/source.php?n={GIGABYTE}")
        response = connection.getresponse()
        if site.kind != "apache":  # which believes no script's Content-Length and sends chunks
            assert response.getheader("Content-Length") == str(GIGABYTE)
        n = 0
        buffer = bytearray(MEGABYTE)
        zero = bytes(MEGABYTE)
        while True:
            got = response.readinto(buffer)
            if not got:
                break
            assert buffer[:got] == zero[:got]
            n += got
    connection.close()
    assert n == GIGABYTE and peak.highest - before < 48 * 1024


# -- refusals --

def test_file_not_found(site):
    got = ask(site, "/missing.php")
    assert (got.status, got.text.strip()) == (404, "File not found.")


def test_access_denied(workdir, tokiophp, webserver):
    """security.limit_extensions: a script by another name is refused, whatever the web server asks for."""
    server = tokiophp(pool="security.limit_extensions = .php5")
    front = webserver("nginx", workdir + "/www", server.address)
    site = type("S", (), {"port": front.port})
    got = ask(site, "/hello.php")
    assert (got.status, got.text.strip()) == (403, "Access denied.")


# -- connections --

def test_parallel_requests(site):
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert set(pool.map(lambda _: ask(site, "/hello.php").text, range(300))) == {"hello"}


@pytest.mark.parametrize("keepalive", [True, False])
def test_upstream_keepalive(workdir, tokiophp, webserver, keepalive):
    server = tokiophp()
    front = webserver("nginx", workdir + "/www", server.address, keepalive=keepalive)
    site = type("S", (), {"port": front.port})
    for _ in range(100):
        assert ask(site, "/hello.php").text == "hello"


def test_tcp_listener(workdir, tokiophp, webserver):
    server = tokiophp(address=("127.0.0.1", free_port()))
    for kind in ("nginx", "caddy", "apache"):
        front = webserver(kind, workdir + "/www", server.address)
        assert ask(type("S", (), {"port": front.port}), "/hello.php").text == "hello"


def test_idle_connections_hold_no_worker(workdir, tokiophp, webserver):
    """200 kept-alive FastCGI connections that have served a request and wait, and four workers: others are served at
    once, and the idle connections still work afterwards."""
    server = tokiophp()
    script = workdir + "/www/hello.php"
    idle = [fcgi_client.Connection(server.address) for _ in range(200)]
    try:
        for connection in idle:
            assert connection.request(script, keep=True).body == b"hello"
        front = webserver("nginx", workdir + "/www", server.address)
        site = type("S", (), {"port": front.port})
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            assert set(pool.map(lambda _: ask(site, "/hello.php").text, range(400))) == {"hello"}
        for connection in idle:
            assert connection.request(script, keep=True).body == b"hello"
    finally:
        for connection in idle:
            connection.close()
