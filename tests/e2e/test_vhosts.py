"""Several pools behind one HTTP listener, told apart by host name."""
import os
import shutil
import socket
import subprocess
import threading
import time

import pytest
from http_raw import Raw
from process import free_port, status_field, wait_for
from tokiophp import GROUP, IS_ROOT, USER

IDENTITY = f"user = {USER}\ngroup = {GROUP}\n" if IS_ROOT else ""
SCRIPT = """<?php
$in = file_get_contents('php://input');
header('X-Pool: ' . tokio_server_info()['pool']);
header('Content-Type: application/json');
echo json_encode(['pool' => tokio_server_info()['pool'], 'host' => $_SERVER['HTTP_HOST'], 'name' => $_SERVER['SERVER_NAME'],
    'uri' => $_SERVER['REQUEST_URI'], 'script' => $_SERVER['SCRIPT_NAME'], 'file' => $_SERVER['SCRIPT_FILENAME'],
    'info' => $_SERVER['PATH_INFO'] ?? null, 'root' => $_SERVER['DOCUMENT_ROOT'], 'method' => $_SERVER['REQUEST_METHOD'],
    'ip' => $_SERVER['REMOTE_ADDR'], 'query' => $_GET, 'post' => $_POST, 'md5' => md5($in), 'n' => strlen($in),
    'id' => tokio_request_id(), 'https' => $_SERVER['HTTPS'] ?? null]);
"""


def folder(workdir, name, **files):
    path = os.path.join(workdir, name)
    os.makedirs(path, exist_ok=True)
    os.chmod(path, 0o755)
    for file, text in files.items():
        with open(os.path.join(path, file.replace("_", ".")), "w") as f:
            f.write(text)
    return path


def pool(name, text, children=2):
    return f"[{name}]\npm = static\npm.max_children = {children}\ncatch_workers_output = yes\n{IDENTITY}{text}\n"


class Hosts:
    """Three pools on one port: the first, b.example.org, and everything below example.org."""

    def __init__(self, tokiophp, workdir, first="", second="", tls=""):
        self.port = free_port()
        self.address = ("127.0.0.1", self.port)
        for name in ("a", "b", "w"):
            folder(workdir, name, index_php=SCRIPT, file_txt=f"file of {name}\n")
        listen = f"http.listen = {tls}127.0.0.1:{self.port}\n"
        self.server = tokiophp(address=self.address, config="[global]\nerror_log = {dir}/error.log\ndaemonize = no\n" +
                               pool("first", f"{listen}http.document_root = {workdir}/a\n{first}") +
                               pool("second", f"{listen}http.server_name = b.example.org www.b.example.org\n"
                                    f"http.document_root = {workdir}/b\n{second}") +
                               pool("wild", f"http.server_name = *.example.org\nhttp.document_root = {workdir}/w\n"))

    def ask(self, host, target="/", method="GET", body=b"", fields="", tls=None):
        with Raw(self.address, tls=tls) as c:
            c.send(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode() + body)
            return c.reply(method)

    def json(self, *how, **more):
        import json
        reply = self.ask(*how, **more)
        assert reply.status == 200, (reply.status, reply.body)
        return json.loads(reply.body)


@pytest.fixture
def hosts(tokiophp, workdir):
    return Hosts(tokiophp, workdir)


@pytest.mark.parametrize("host, wanted", [
    ("b.example.org", "second"), ("B.Example.ORG", "second"), ("b.example.org:8080", "second"), ("b.example.org.", "second"),
    ("www.b.example.org", "second"), ("c.example.org", "wild"), ("x.y.example.org", "wild"), ("example.org", "first"),
    ("other.net", "first"), ("127.0.0.1", "first"), ("[::1]:80", "first"), ("xb.example.org", "wild"),
])
def test_host_decides(hosts, host, wanted):
    answer = hosts.json(host, "/index.php/more?x=1")
    assert answer["pool"] == wanted
    assert (answer["host"], answer["info"], answer["query"], answer["script"]) == (host, "/more", {"x": "1"}, "/index.php")
    assert answer["root"].endswith({"first": "/a", "second": "/b", "wild": "/w"}[wanted])
    assert answer["ip"] == "127.0.0.1"


def test_static_files_of_each_host(hosts):
    assert hosts.ask("b.example.org", "/file.txt").body == b"file of b\n"
    assert hosts.ask("z.example.org", "/file.txt").body == b"file of w\n"
    assert hosts.ask("a.net", "/file.txt").body == b"file of a\n"


def test_unreadable_file_of_another_pool(hosts, workdir):
    if not IS_ROOT:
        pytest.skip("needs root to make a file that the server cannot read")
    path = os.path.join(workdir, "b", "secret.txt")
    with open(path, "w") as f:
        f.write("secret")
    os.chmod(path, 0o600)
    reply = hosts.ask("b.example.org", "/secret.txt")
    assert reply.status in (403, 404) and b"secret" not in reply.body


def test_bodies_and_ids_cross(hosts):
    import hashlib
    for n in (0, 1, 70000, 3_000_000):
        body = os.urandom(n)
        answer = hosts.json("b.example.org", "/", "POST", body, fields="X-Request-ID: from-outside-1\r\n")
        assert (answer["n"], answer["md5"]) == (n, hashlib.md5(body).hexdigest())
        assert answer["id"] == "from-outside-1"
    form = hosts.json("b.example.org", "/", "POST", b"k=v&l[]=1", fields="Content-Type: application/x-www-form-urlencoded\r\n")
    assert form["post"] == {"k": "v", "l": ["1"]}


def test_response_names_the_same_id(hosts):
    import json
    reply = hosts.ask("b.example.org")
    assert reply.get("X-Request-ID") == json.loads(reply.body)["id"]


def test_small_response_has_its_length(hosts):
    reply = hosts.ask("b.example.org")
    assert reply.get("Content-Length") == str(len(reply.body)) and reply.get("X-Pool") == "second"
    head = hosts.ask("b.example.org", method="HEAD")
    assert head.status == 200 and head.body == b""


def test_many_at_once_on_kept_connections(hosts):
    wrong = []

    def client(host, wanted):
        with Raw(hosts.address) as c:
            for _ in range(50):
                reply = c.send(f"GET /?{host} HTTP/1.1\r\nHost: {host}\r\n\r\n").reply()
                if reply.status != 200 or reply.get("X-Pool") != wanted:
                    wrong.append((host, reply.status, reply.body[:200]))
    threads = [threading.Thread(target=client, args=pair) for pair in
               [("b.example.org", "second"), ("q.example.org", "wild"), ("main", "first")] * 4]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_reload_loses_nothing(hosts):
    import signal
    wrong, stop = [], threading.Event()

    def client(method):
        while not stop.is_set():
            reply = hosts.ask("b.example.org", "/", method, b"x" if method == "POST" else b"")
            if reply is None or reply.status != 200:
                wrong.append((method, reply and reply.status))
    threads = [threading.Thread(target=client, args=(m,)) for m in ("GET", "POST", "GET")]
    for t in threads:
        t.start()
    for _ in range(2):
        before = set(hosts.server.engine_pids())
        hosts.server.signal(signal.SIGUSR2)
        wait_for(lambda: not set(hosts.server.engine_pids()) & before, what="the end of those before")  # noqa: B023
    stop.set()
    for t in threads:
        t.join()
    assert not wrong


def test_nobody_else_reaches_the_internal_address(hosts):
    """Every other user of this machine can see its name; none can use it."""
    if not IS_ROOT:
        pytest.skip("needs root to become somebody else")
    names = [line.split()[-1] for line in open("/proc/net/unix") if "@tokiophp-" in line and line.rstrip().endswith("-second")]
    code = """
import os, socket, sys
os.setgid(1); os.setuid(1)
answers = []
for name in sys.argv[1:]:
    s = socket.socket(socket.AF_UNIX); s.settimeout(5)
    try:
        s.connect("\\0" + name[1:])
    except ConnectionRefusedError:
        continue
    try:
        s.sendall(bytes([1, 9, 0, 0, 0, 0, 0, 0]))
        answers.append(s.recv(100))
    except OSError:
        answers.append(b"")
print(answers)
"""
    assert names
    out = subprocess.run(["/usr/bin/python3", "-c", code, *names], capture_output=True, text=True, timeout=30)
    assert out.returncode == 0, out.stderr
    assert set(eval(out.stdout)) == {b""}, out.stdout
    hosts.server.wait_message(r"user 1 may not connect to the internal address")


def test_h2_and_tls_with_a_certificate_for_each_name(tokiophp, workdir):
    if not shutil.which("openssl") or not shutil.which("curl"):
        pytest.skip("needs openssl and curl")
    for name in ("a", "b"):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}.example.org",
                        "-addext", f"subjectAltName=DNS:{name}.example.org", "-keyout", f"{workdir}/{name}.key", "-out",
                        f"{workdir}/{name}.pem"], check=True, capture_output=True)
        os.chmod(f"{workdir}/{name}.key", 0o644)
    with open(f"{workdir}/form", "w") as f:
        f.write("z=" + "1" * 300000)
    hosts = Hosts(tokiophp, workdir, tls="tls:", first=f"http.server_name = a.example.org\nhttp.tls_cert = {workdir}/a.pem\nhttp.tls_key = {workdir}/a.key\n",
                  second=f"http.tls_cert = {workdir}/b.pem\nhttp.tls_key = {workdir}/b.key\n")
    for name, wanted in (("a", "first"), ("b", "second")):
        for protocol in ("--http1.1", "--http2"):
            out = subprocess.run(["curl", "-sS", protocol, "--cacert", f"{workdir}/{name}.pem", "--resolve",
                                  f"{name}.example.org:{hosts.port}:127.0.0.1", "-w", "\n%{http_version}", "-d", f"@{workdir}/form",
                                  f"https://{name}.example.org:{hosts.port}/"], capture_output=True, text=True, timeout=30)
            assert out.returncode == 0, out.stderr
            assert f'"pool":"{wanted}"' in out.stdout and '"https":"on"' in out.stdout and '"n":300002' in out.stdout
            assert out.stdout.endswith("2" if protocol == "--http2" else "1.1")


def test_same_address_without_a_name_is_refused(tokiophp, workdir):
    port = free_port()
    server = tokiophp(wait=False, config="[global]\ndaemonize = no\n" + "".join(
        pool(name, f"http.listen = 127.0.0.1:{port}\nhttp.document_root = {workdir}\n") for name in ("one", "two")))
    assert server.wait() == 78
    server.stopped = True
    assert "http.listen names an address of pool one" in server.log()


def test_slow_reader_of_another_pool(hosts, workdir):
    """50 MB through the other pool to a client that begins late: bounded memory, and every byte arrives."""
    with open(os.path.join(workdir, "b", "big.php"), "w") as f:
        f.write("<?php for ($i = 0; $i < 800; $i++) echo str_repeat(chr(65 + $i % 26), 65536);")
    with Raw(hosts.address) as c:
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        c.send("GET /big.php HTTP/1.1\r\nHost: b.example.org\r\n\r\n")
        time.sleep(1)
        assert hosts.ask("b.example.org").status == 200
        peak = max(status_field(pid, "VmRSS") for pid in hosts.server.engine_pids())
        reply = c.reply()
    assert reply.status == 200 and len(reply.body) == 800 * 65536
    assert reply.body[65536:65538] == b"BB"
    assert peak < 200_000
