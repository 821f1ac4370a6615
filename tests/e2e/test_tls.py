"""TLS: protocols, names, tickets, client certificates, and the sentence that a bad certificate gets."""
import json
import os
import signal
import socket
import ssl
import subprocess

import pytest

import key_updates
import process
from certificate import make_cert
from http_raw import Raw, insecure
from tokiophp import GROUP, IS_ROOT, PROGRAM, USER, Tokiophp


@pytest.fixture
def serve(tokiophp, workdir):
    root = workdir + "/site"
    os.mkdir(root)
    with open(root + "/vars.php", "w") as f:
        f.write("<?php echo json_encode($_SERVER);")
    with open(root + "/file.bin", "wb") as f:
        f.write(bytes(range(256)) * 4000)

    def start(pool):
        address = ("127.0.0.1", process.free_port())
        tokiophp(pool=f"http.tls_listen = 127.0.0.1:{address[1]}\nhttp.document_root = {root}\n{pool}") \
            .wait_accepting(address)
        return address
    return start


def ask(address, context, path="/vars.php"):
    with Raw(address, tls=context) as raw:
        return raw.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").reply()


def test_http1_over_tls(serve, workdir):
    address = serve(make_cert(workdir, "one"))
    v = json.loads(ask(address, insecure()).body)
    assert v["HTTPS"] == "on" and v["REQUEST_SCHEME"] == "https"
    assert v["SSL_PROTOCOL"] == "TLSv1.3" and v["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert ask(address, insecure(), "/file.bin").body == bytes(range(256)) * 4000
    with Raw(address, tls=insecure()) as raw:
        for _ in range(3):
            assert raw.send("GET /vars.php HTTP/1.1\r\nHost: localhost\r\n\r\n").reply().status == 200


def send_all(sock, data):
    try:
        sock.sendall(data)
        while sock.recv(65536):
            pass
    except ConnectionError:
        pass  # the server has had enough of it


class Sealed:
    """A connection whose records are bytes until they are sent."""

    def __init__(self, address):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = insecure().wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.sock = socket.create_connection(address, timeout=process.PATIENCE)
        self.exchange(self.tls.do_handshake)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def exchange(self, step):
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self.sock.sendall(self.outgoing.read())
                self.incoming.write(self.sock.recv(65536))

    def read_until(self, enough):
        came = b""
        while not enough(came):
            came += self.exchange(lambda: self.tls.read(65536))
        return came


def answers_of(address, requests):
    """As they come, if each request is a record of its own and all of them arrive at once."""
    with Sealed(address) as client:
        for request in requests:
            client.tls.write(request)
        return client.read_until(lambda came: came.count(b"HTTP/1.1 200") == len(requests))


@pytest.mark.parametrize("path", ["/vars.php", "/small.txt"])
def test_requests_that_come_together(serve, workdir, path):
    """What OpenSSL has taken from the socket and nobody has read yet makes no event: it must not be waited for."""
    address = serve(make_cert(workdir, "one"))
    with open(workdir + "/site/small.txt", "w") as f:
        f.write("small")
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n".encode()
    for count in (2, 3, 40):
        assert answers_of(address, [request + b"X-Filler: %s\r\n\r\n" % (b"x" * (700 * i % 9000)) for i in range(count)])
    end = b"\r\n"
    assert answers_of(address, [request[:9], request[9:] + end + request, end + request + end])


def test_records_that_bring_nothing(serve, workdir):
    """Work for a loop that costs a client next to nothing: whoever else it serves has his turn meanwhile, and there is an end to it."""
    log = workdir + "/access.log"
    address = serve(make_cert(workdir, "one") + f"http.loops = 1\nhttp.header_timeout = 10m\naccess.log = {log}\naccess.format = %r\n")
    for name in ("first", "behind", "other"):
        with open(f"{workdir}/site/{name}.txt", "w") as f:
            f.write(name)
    with open(workdir + "/site/who.php", "w") as f:
        f.write("<?php echo getmypid();")

    def request(name):
        return f"GET /{name}.txt HTTP/1.1\r\nHost: localhost\r\n\r\n"
    engine = int(ask(address, insecure(), "/who.php").body)
    with key_updates.Client(address) as client, Raw(address, tls=insecure()) as other:
        client.data(request("first").encode())
        first = client.records()
        client.sock.sendall(first)
        assert client.read().startswith(b"HTTP/1.1 200")
        process.halt(engine)
        client.updates(2000)  # more than are looked at in a turn, and all of them fit into the server's socket
        client.data(request("behind").encode())
        client.sock.sendall(client.records()[len(first):])
        other.send(request("other"))
        os.kill(engine, signal.SIGCONT)
        assert other.reply().status == 200
        assert client.read().startswith(b"HTTP/1.1 200"), "some of them are nobody's fault"

        def lines():
            with open(log) as f:
                return [name for line in f for name in ("behind", "other") if name in line]
        process.wait_for(lambda: len(lines()) == 2, what="lines of both")
        assert lines() == ["other", "behind"]
    with key_updates.Client(address) as client:
        client.updates(70000)
        client.sock.settimeout(process.PATIENCE)
        send_all(client.sock, client.records())


@pytest.mark.parametrize("piece", [1, 3, 50])
def test_records_that_come_in_small_pieces(serve, workdir, piece):
    """They bring something, however long it takes."""
    address = serve(make_cert(workdir, "one"))
    with open(workdir + "/site/length.php", "w") as f:
        f.write("<?php echo strlen(file_get_contents('php://input')), ' bytes';")
    with Sealed(address) as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.tls.write(b"POST /length.php HTTP/1.1\r\nHost: localhost\r\nContent-Length: 320000\r\n\r\n" + b"x" * 320000)
        records = memoryview(client.outgoing.read())
        for at in range(0, len(records), piece):
            client.sock.send(records[at:at + piece])
        client.read_until(lambda came: b"320000 bytes" in came)


def test_protocols(serve, workdir):
    address = serve(make_cert(workdir, "one"))
    for protocols, chosen in ((("h2", "http/1.1"), "h2"), (("http/1.1",), "http/1.1"), ((), None)):
        with Raw(address, tls=insecure(*protocols)) as raw:
            assert raw.sock.selected_alpn_protocol() == chosen
    with pytest.raises((ssl.SSLError, ConnectionError)):
        Raw(address, tls=insecure("spdy/1"))
    twelve = insecure()
    twelve.maximum_version = ssl.TLSVersion.TLSv1_2
    assert json.loads(ask(address, twelve).body)["SSL_PROTOCOL"] == "TLSv1.2"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        eleven = insecure()
        eleven.minimum_version = ssl.TLSVersion.TLSv1
        eleven.maximum_version = ssl.TLSVersion.TLSv1_1
        Raw(address, tls=eleven)
    out = subprocess.run(["curl", "-sk", "--http2", "-w", "%{http_version} %{http_code}", "-o", "/dev/null",
                          f"https://127.0.0.1:{address[1]}/file.bin"], capture_output=True, text=True, timeout=20)
    assert out.stdout == "2 200"


def test_plaintext_on_a_tls_port(serve, workdir):
    address = serve(make_cert(workdir, "one"))
    with Raw(address) as raw: # a sentence, and nothing of the site
        reply = raw.send("GET /vars.php HTTP/1.1\r\nHost: a\r\n\r\n").reply()
        assert reply.status == 400 and reply.body.endswith(b"https://a/vars.php\n") and raw.at_end()
    assert ask(address, insecure()).status == 200


PROXY = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"


@pytest.mark.parametrize("header", [b"", PROXY], ids=["direct", "proxied"])
def test_first_byte_during_a_drain(tokiophp, workdir, header):
    """Whoever is connected and has said nothing when the process begins to drain is served by it, whatever it speaks, and
    holds it no longer than the connection lasts."""
    address = ("127.0.0.1", process.free_port())
    with open(workdir + "/vars.php", "w") as f:
        f.write("<?php echo json_encode($_SERVER);")
    server = tokiophp(pool=f"http.tls_listen = 127.0.0.1:{address[1]}\nhttp.document_root = {workdir}\n"
                      f"http.handshake_timeout = 60s\nhttp.proxy_protocol = {'yes' if header else 'no'}\n" + make_cert(workdir, "one"))
    server.wait_message("ready to handle connections")

    def connect():
        s = socket.create_connection(address, timeout=30)
        s.sendall(header)
        return s

    def over_tls(s):
        with insecure().wrap_socket(s, server_hostname="localhost") as tls:
            tls.sendall(b"GET /vars.php HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            return json.loads(tls.makefile("rb").read().split(b"\r\n\r\n", 1)[1])["REMOTE_ADDR"]
    client = "192.0.2.7" if header else "127.0.0.1"
    plain, secure, silent = connect(), connect(), connect()
    assert over_tls(connect()) == client  # so those before it have been accepted
    engines = set(server.family()[1:])
    server.signal(signal.SIGUSR2)
    process.wait_for(lambda: len(set(server.family()[1:]) - engines) > 0, 60, "the successor")
    assert over_tls(connect()) == client
    plain.sendall(b"GET /vars.php HTTP/1.1\r\nHost: a\r\n\r\n")
    reply = plain.makefile("rb").read()
    assert reply.startswith(b"HTTP/1.1 400 ") and reply.endswith(b"https://a/vars.php\n"), reply
    assert over_tls(secure) == client
    silent.close()
    plain.close()
    process.wait_for(lambda: not engines & set(server.family()[1:]), 60, "the old generation's end")


@pytest.mark.parametrize("proxied, said, answer", [
    (False, b"", b""), (False, b"GE", b"HTTP/1.1 408 "), (False, b"\x16\x03", b""), (True, b"", b""), (True, PROXY[:9], b""),
    (True, PROXY, b""), (True, PROXY + b"GET /", b"HTTP/1.1 408 "), (True, PROXY + b"\x16", b"")])
def test_who_stops_speaking(serve, workdir, proxied, said, answer):
    """Each wait before a request has an end, and only who speaks HTTP is told so in HTTP."""
    address = serve(make_cert(workdir, "one") + "http.handshake_timeout = 1s\nhttp.header_timeout = 1s\n"
                    f"http.proxy_protocol = {'yes' if proxied else 'no'}\n")
    with socket.create_connection(address, timeout=60) as s:
        s.sendall(said)
        got = b""
        try:
            while data := s.recv(4096):
                got += data
        except ConnectionResetError:
            assert not answer  # what it had said was not read
    assert got.startswith(answer) and bool(got) == bool(answer), got


def test_names(serve, workdir):
    pool = make_cert(workdir, "first", "first.example")
    make_cert(workdir, "second", "*.second.example")
    address = serve(pool + f"http.tls_certs = {workdir}/second.pem:{workdir}/second.key\n")

    def subject(name):
        out = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{address[1]}", "-servername", name],
                             input="", capture_output=True, text=True, timeout=20)
        return "second" if "CN = second" in out.stdout else "first" if "CN = first" in out.stdout else out.stdout
    assert subject("first.example") == "first"
    assert subject("a.second.example") == "second"
    assert subject("unknown.example") == "first"


def test_tickets(serve, workdir):
    address = serve(make_cert(workdir, "one"))
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = insecure()
        context.maximum_version = version
        with Raw(address, tls=context) as raw:
            raw.send("GET /vars.php HTTP/1.1\r\nHost: localhost\r\n\r\n").reply()
            session = raw.sock.session
        with context.wrap_socket(socket.create_connection(address, timeout=20), server_hostname="localhost",
                                 session=session) as again:
            assert again.session_reused


def test_sessions_outlive_processes(tokiophp, workdir):
    """A ticket opens in every process of its pool, after a swap and after a reload, and in no other pool."""
    pools, addresses = "", [("127.0.0.1", process.free_port()) for _ in range(2)]
    cert = make_cert(workdir, "one")
    user = f"user = {USER}\ngroup = {GROUP}\n" if IS_ROOT else ""
    for name, address in zip(("one", "two"), addresses):
        pools += (f"[{name}]\n{user}pm = static\npm.max_children = 2\npm.processes = 2\n{cert}"
                  f"http.tls_listen = 127.0.0.1:{address[1]}\nhttp.document_root = {workdir}\n")
    with open(workdir + "/hello.txt", "w") as f:
        f.write("hello")
    server = tokiophp(address=addresses[0], config="[global]\nerror_log = {dir}/error.log\ndaemonize = no\n"
                      "control_socket = {dir}/ctl\n" + pools)
    server.wait_message("ready to handle connections")
    context = insecure()
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    def connection(address, session=None):
        """The session, and whether it was resumed."""
        with socket.create_connection(address, timeout=20) as s, \
                context.wrap_socket(s, server_hostname="localhost", session=session) as tls:
            tls.sendall(b"GET /hello.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert tls.recv(1000).startswith(b"HTTP/1.1 200")
            return tls.session, tls.session_reused

    session, resumed = connection(addresses[0])
    assert not resumed
    assert all(connection(addresses[0], session)[1] for _ in range(10))
    assert not connection(addresses[1], session)[1]
    engines = set(server.family()[1:])
    subprocess.run([PROGRAM, "ctl", "-s", workdir + "/ctl", "restart", "one"], check=True, stdout=subprocess.DEVNULL)
    process.wait_for(lambda: len(engines - set(server.family()[1:])) >= 2, 30, "the swap")
    assert all(connection(addresses[0], session)[1] for _ in range(6))
    engines = set(server.family()[1:])
    server.signal(signal.SIGUSR2)
    process.wait_for(lambda: not engines & set(server.family()[1:]), 60, "the reload")
    assert all(connection(addresses[0], session)[1] for _ in range(6))
    assert not connection(addresses[1], session)[1]


def test_client_certificates(serve, workdir):
    pool = make_cert(workdir, "one")
    make_cert(workdir, "stranger")
    ca = make_cert(workdir, "ca")
    assert ca
    address = serve(pool + f"http.tls_client_ca = {workdir}/ca.pem\nhttp.tls_client_verify = optional\n")
    assert json.loads(ask(address, insecure()).body)["SSL_CLIENT_VERIFY"] == "NONE"
    known = insecure()
    known.load_cert_chain(f"{workdir}/ca.pem", f"{workdir}/ca.key")
    v = json.loads(ask(address, known).body)
    assert v["SSL_CLIENT_VERIFY"] == "SUCCESS" and v["SSL_CLIENT_S_DN"] == "CN=ca"
    assert v["SSL_CLIENT_CERT"].startswith("-----BEGIN CERTIFICATE-----")
    unknown = insecure()
    unknown.load_cert_chain(f"{workdir}/stranger.pem", f"{workdir}/stranger.key")
    with pytest.raises((ssl.SSLError, ConnectionError, AttributeError)):
        assert ask(address, unknown).status


@pytest.mark.parametrize("break_it,sentence", [
    (lambda w: os.unlink(w + "/one.pem"), "cannot use the certificate"),
    (lambda w: open(w + "/one.pem", "w").write("nonsense"), "cannot use the certificate"),
    (lambda w: open(w + "/one.key", "w").write("nonsense"), "cannot use the private key"),
    (lambda w: (make_cert(w, "two"), os.rename(w + "/two.key", w + "/one.key")), "private key"),
], ids=["missing", "not a certificate", "not a key", "another key"])
def test_bad_certificate_stops_the_start(workdir, break_it, sentence):
    pool = make_cert(workdir, "one")
    break_it(workdir)
    server = Tokiophp(workdir, wait=False, pool=f"http.tls_listen = 127.0.0.1:{process.free_port()}\n"
                      f"http.document_root = {workdir}\n{pool}")
    try:
        assert server.process.wait(20) != 0
        assert sentence in server.messages() and "one." in server.messages()
    finally:
        server.kill_family()


DEEP = """<?php
while (ob_get_level()) ob_end_clean();
function down($n) { if ($n % 8 == 0) { echo "x"; flush(); } array_map('down', [$n + 1]); }
try { down(0); } catch (Error $e) { echo "\\n", $e->getMessage(); }
"""


def test_output_from_the_end_of_the_stack(serve, workdir):
    """A worker that seals its own answer needs room for that, however deep its script is."""
    address = serve(make_cert(workdir, "one") + "php_admin_value[memory_limit] = -1\n")
    with open(workdir + "/site/deep.php", "w") as f:
        f.write(DEEP)
    levels, said = ask(address, insecure(), "/deep.php").body.split(b"\n")
    assert len(levels) > 1000 and b"Maximum call stack size" in said
