"""Whose settings count where pools share a listener: each http.* row says it, and one that would be without effect where
it is given stops the start."""
import json
import os
import re
import socket
import ssl
import subprocess

import pytest
from certificate import make_cert
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, ResponseReceived
from http_raw import Raw
from process import free_port, wait_for
from tokiophp import PROGRAM
from web_cases import ABSENT, VARIABLES, Case, Site, fixture, parametrize, pool_section

FILES = {
    "vars.php": VARIABLES, "up/vars.php": VARIABLES, "up/file.php": "<?php header('X-Accel-Redirect: secret.txt');",
    "text.php": "<?php header('Content-Type: text/plain'); echo str_repeat('t', 5000);",
    "up/text.php": "<?php header('Content-Type: text/plain'); echo str_repeat('t', 5000);",
    "missing.php": "<?php http_response_code(404);", "up/missing.php": "<?php http_response_code(404);",
}


def prepare(folder):
    for path, text in {"files/secret.txt": "sent\n", "pages/404.html": "THEIR PAGE"}.items():
        os.makedirs(os.path.dirname(os.path.join(folder, path)), mode=0o755, exist_ok=True)
        with open(os.path.join(folder, path), "w") as f:
            f.write(text)


# [own] is the listener's pool, with the tightest rules; [shop] has a host, [up] paths of every host.
SHOP = """http.server_name = shop.example
http.document_root = {root}
http.max_body_size = 5000
http.request_id_headers = no
http.trusted_proxies = 127.0.0.0/8
http.security_headers = yes
http.compression = no
"""
UP = """http.routes = /up/*
http.max_body_size = 50000
http.sendfile_root = {folder}/files
http.methods = GET, POST
http.error_pages_dir = {folder}/pages
http.header_csp = "default-src 'self'"
"""
SITES = {"shared": Site(FILES, listener="http.max_body_size = 1000\n", prepare=prepare, more={
    "shop": SHOP, "up": UP, "limited": "http.server_name = limited.example\nhttp.document_root = {root}\nhttp.rate_limit = 2\n"})}
stages = fixture(SITES)
OWN = ("own",)
GZIP = [("Accept-Encoding", "gzip")]
PAGE = [("Accept", "text/html")]
PROXIED = [("X-Forwarded-For", "203.0.113.7"), ("X-Forwarded-Host", "limited.example")]


def case(name, target="/vars.php", host="test.example", **how):
    return Case(name, target, host=host, site="shared", places=OWN, **how)


def posted(name, target, n, status, host="test.example"):
    return case(name, target, host, method="POST", content=b"x" * n, status=status)


CASES = [
    posted("the listener's limit", "/vars.php", 1000, 200), posted("beyond the listener's", "/vars.php", 1001, 413),
    posted("a host's limit", "/vars.php", 5000, 200, "shop.example"), posted("beyond a host's", "/vars.php", 5001, 413, "shop.example"),
    posted("a path's limit", "/up/vars.php", 50000, 200), posted("beyond a path's", "/up/vars.php", 50001, 413),
    posted("a path's limit on a host", "/up/vars.php", 50000, 200, "shop.example"),
    posted("beyond a path's on a host", "/up/vars.php", 50001, 413, "shop.example"),
    case("ids of the listener's", has={"X-Request-ID": re.compile(".")}), case("no ids of the host", host="shop.example", has={"X-Request-ID": ABSENT}),
    case("no ids of the host's paths", "/up/vars.php", "shop.example", has={"X-Request-ID": ABSENT}),
    case("no proxy is trusted", fields=PROXIED, server={"REMOTE_ADDR": "127.0.0.1", "SERVER_NAME": "test.example"}),
    case("the host's proxies", host="shop.example", fields=PROXIED, server={"REMOTE_ADDR": "203.0.113.7", "SERVER_NAME": "limited.example"}),
    case("the host's proxies on a path", "/up/vars.php", "shop.example", fields=PROXIED, server={"REMOTE_ADDR": "203.0.113.7"}),
    case("the host's fields", host="shop.example", has={"X-Frame-Options": "SAMEORIGIN", "Content-Security-Policy": ABSENT}),
    case("the host's fields on a path", "/up/vars.php", "shop.example",
         has={"X-Frame-Options": "SAMEORIGIN", "Content-Security-Policy": "default-src 'self'"}),
    case("no fields", "/up/vars.php", has={"X-Frame-Options": ABSENT, "Content-Security-Policy": ABSENT}),
    case("compressed", "/text.php", fields=GZIP, has={"Content-Encoding": "gzip"}),
    case("compressed on a path", "/up/text.php", fields=GZIP, has={"Content-Encoding": "gzip"}),
    case("not compressed on a host", "/text.php", "shop.example", fields=GZIP, has={"Content-Encoding": ABSENT}),
    case("not compressed on a path of the host", "/up/text.php", "shop.example", fields=GZIP, has={"Content-Encoding": ABSENT}),
    case("a path's files", "/up/file.php", status=200, body="sent\n"), case("a path's files on a host", "/up/file.php", "shop.example", status=200, body="sent\n"),
    case("a path's methods", "/up/vars.php", method="DELETE", status=405), case("any method elsewhere", method="DELETE", status=200),
    case("a path's error pages", "/up/missing.php", fields=PAGE, status=404, body="THEIR PAGE"),
    case("none elsewhere", "/missing.php", fields=PAGE, status=404, body=b""),
]


@parametrize(CASES)
def test_whose_settings(stages, case, way, place):
    stages.check(case, way, place)


def test_each_host_counts_for_itself(stages):
    """http.rate_limit = 2 on one host, none on the others, and Host decides whatever X-Forwarded-Host says."""
    stage = stages.stage("shared")
    ask = lambda host, fields=(): stage.ask(case("x", host=host, fields=fields), "h1", "own").status  # noqa: E731
    assert [ask("test.example") for _ in range(4)] == [200] * 4
    assert [ask("shop.example", PROXIED) for _ in range(4)] == [200] * 4
    assert [ask("limited.example") for _ in range(4)] == [200, 200, 429, 429]
    assert ask("test.example") == 200


# -- what is refused --

def rows():
    """{name: (owner, default)} of every http.* row."""
    text = subprocess.run([PROGRAM, "--print-settings=markdown"], capture_output=True, text=True, check=True).stdout
    cells = [re.split(r" (?<!\\)\| ?", line.strip("| ")) for line in text.splitlines() if line.startswith("| `http.")]
    return {c[0].strip("`").replace("[NAME]", "[/x]"): (c[4], c[2].strip("`")) for c in cells}


VALUES = {"http.tls_client_ca": "/dev/null", "http.tls_ciphers": "ECDHE-RSA-AES128-GCM-SHA256", "http.tls_ocsp_file": "/dev/null",
          "http.upstream[/x]": "127.0.0.1:9", "http.cache[/x]": "1h", "http.index": "index.php", "http.document_root": "{root}"}


def checked(workdir, more):
    """-t's exit code and words for a listener's pool and another one."""
    os.makedirs(workdir + "/site", exist_ok=True)
    first = f"http.listen = 127.0.0.1:{free_port()}\nhttp.document_root = {workdir}/site\n"
    path = workdir + "/t.ini"
    with open(path, "w") as f:
        f.write(f"[global]\nerror_log = {workdir}/error.log\n" + pool_section("first", first) + pool_section("other", more.replace("{root}", workdir + "/site")))
    done = subprocess.run([PROGRAM, "-t", "-y", path], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_each_row_counts_or_is_refused(workdir):
    seen = {"listener": 0, "host": 0, "files": 0, "site": 0, "": 0}
    for name, (owner, default) in rows().items():
        line = f"{name} = {VALUES.get(name, default)}\n"
        host, paths = "http.server_name = o.example\nhttp.document_root = {root}\n", "http.routes = /x/*\n"
        seen[owner] += 1
        if owner == "listener":
            for part in (host, paths):
                code, words = checked(workdir, part + line)
                assert code != 0 and f"{name} has no effect here" in words and "the listener's" in words, (name, words)
        elif owner in ("host", "files") and name != "http.document_root":
            code, words = checked(workdir, paths + line)
            assert code != 0 and f"{name.split('[')[0]} has no effect here" in words, (name, words)
            code, words = checked(workdir, host + line)
            assert code == 0 or "TLS" in words, (name, words)
    assert seen["listener"] >= 9 and seen["host"] >= 7 and seen["files"] >= 6 and seen["site"] >= 25, seen


@pytest.mark.parametrize("lines, why", [
    ("http.server_name = o.example\nhttp.document_root = {root}\nhttp.tls_client_verify = required\nhttp.tls_client_ca = {root}/../ca.pem\n",
     "no address of this pool speaks TLS"),
    ("http.routes = /x/*\nhttp.rate_window = 5s\n", "it needs http.rate_limit"),
])
def test_refused(workdir, lines, why):
    make_cert(workdir, "ca")
    code, words = checked(workdir, lines)
    assert code != 0 and why in words, words


def test_an_address_of_another_pool_with_routes(workdir, tokiophp):
    """http.listen names the other pool's address, so the paths are claimed there only; no document root is needed."""
    ports = [free_port(), free_port()]
    os.mkdir(workdir + "/site")
    with open(workdir + "/site/x.php", "w") as f:
        f.write("<?php echo tokio_server_info()['pool'];")
    text = "[global]\nerror_log = {dir}/error.log\ndaemonize = no\n"
    for name, port in zip(("a", "b"), ports):
        text += pool_section(name, f"http.listen = 127.0.0.1:{port}\nhttp.document_root = {workdir}/site\n")
    text += pool_section("c", f"http.listen = 127.0.0.1:{ports[1]}\nhttp.routes = /*\n")
    tokiophp(config=text, address=("127.0.0.1", ports[1]))

    def pool(port):
        with Raw(("127.0.0.1", port)) as c:
            return c.send("GET /x.php HTTP/1.1\r\nHost: x\r\n\r\n").reply().body
    assert [pool(port) for port in ports] == [b"a", b"c"]


# -- client certificates --

class Vault:
    """Three hosts on one TLS address: anybody may see open, vault and safe want a certificate of one authority each."""

    def __init__(self, workdir, tokiophp):
        self.dir, self.port = workdir, free_port()
        os.mkdir(workdir + "/site")
        with open(workdir + "/site/vars.php", "w") as f:
            f.write("<?php echo json_encode($_SERVER);")
        for ca in ("ca1", "ca2"):
            make_cert(workdir, ca)
            make_cert(workdir, f"client-of-{ca}", issuer=ca)
        self.wild = make_cert(workdir, "wild", san="*.example")
        rule = "http.document_root = {dir}/site\nhttp.tls_client_verify = required\nhttp.tls_client_ca = {dir}/%s.pem\n"
        server = tokiophp(address=("127.0.0.1", self.port), config="[global]\nerror_log = {dir}/error.log\ndaemonize = no\n" + pool_section(
            "open", f"http.tls_listen = 127.0.0.1:{self.port}\nhttp.document_root = {workdir}/site\n{self.wild}{self.staple('open', 3)}") +
            pool_section("vault", "http.server_name = vault.example\n" + rule % "ca1" + make_cert(workdir, "vault", san="vault.example") +
                         self.staple("vault", 6) + "http.tls_ciphers = ECDHE-ECDSA-AES256-GCM-SHA384\n") +
            pool_section("safe", "http.server_name = safe.example\nhttp.tls_ciphers = ECDHE-ECDSA-CHACHA20-POLY1305\n" + rule % "ca2") +
            pool_section("twin", "http.server_name = twin.example\n" + rule % "ca2"))
        server.wait_message("ready to handle connections", 60)
        self.server = server

    def shaken(self, name, ca, *more):
        """What openssl says of a handshake."""
        return subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-servername", name, "-status",
                               "-cert", f"{self.dir}/client-of-{ca}.pem", "-key", f"{self.dir}/client-of-{ca}.key", *more],
                              input="", capture_output=True, text=True, timeout=60, check=False).stdout

    def staple(self, name, status):
        """A response of the authority that says nothing but its status, the smallest that there is."""
        with open(f"{self.dir}/{name}.ocsp", "wb") as f:
            f.write(b"\x30\x03\x0a\x01" + bytes([status]))
        return f"http.tls_ocsp_file = {self.dir}/{name}.ocsp\n"

    def context(self, client=None, version=ssl.TLSVersion.TLSv1_3):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = context.maximum_version = version
        if client:
            context.load_cert_chain(f"{self.dir}/{client}.pem", f"{self.dir}/{client}.key")
        return context

    def resume(self, name, context):
        """A session that its host resumes, the first one as any other, and the variables of the request in it."""
        session = self.ask(name, name, context)[2]
        variables = self.ask(name, name, context, session)[1]
        assert variables["SSL_SESSION_RESUMED"] == "Resumed"
        return session, variables

    def ask(self, sni, host, context, session=None):
        """Status (0: the handshake or the connection failed), the variables, the session."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as plain:
            try:
                with context.wrap_socket(plain, server_hostname=sni, session=session) as s:
                    s.sendall(f"GET /vars.php HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                    text = b""
                    while data := s.recv(65536):
                        text += data
                    session = s.session
            except (ssl.SSLError, ConnectionError):
                return 0, None, None
        head, _, body = text.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        return status, json.loads(body) if status == 200 else None, session


@pytest.fixture
def vault(workdir, tokiophp):
    return Vault(workdir, tokiophp)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_each_host_asks_for_its_own_clients(vault, version):
    def status(sni, host, client=None):
        return vault.ask(sni, host, vault.context(client, version))[0]
    assert status("open.example", "open.example") == 200
    assert status(None, "open.example") == 200
    assert status("other.example", "unknown.example") == 200
    for name, ca, other in (("vault.example", "ca1", "ca2"), ("safe.example", "ca2", "ca1")):
        assert status(name, name) == 0
        assert status(name, name, f"client-of-{other}") == 0
        assert status(name, name, f"client-of-{ca}") == 200
        # who shook hands with one and asks another one
        assert status("open.example", name) == 421
        assert status(None, name) == 421
        assert status("open.example", name, f"client-of-{ca}") == 421
        assert status(name, "open.example", f"client-of-{ca}") == 421
        assert status(name, name.upper() + ".", f"client-of-{ca}") == 200
    assert status("vault.example", "safe.example", "client-of-ca1") == 421
    assert status("safe.example", "twin.example", "client-of-ca2") == 200 # the same is asked there
    variables = vault.ask("vault.example", "vault.example", vault.context("client-of-ca1", version))[1]
    assert variables["SSL_CLIENT_VERIFY"] == "SUCCESS" and "client-of-ca1" in variables["SSL_CLIENT_S_DN"]
    assert "SSL_CLIENT_VERIFY" not in vault.ask("open.example", "open.example", vault.context("client-of-ca1", version))[1]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_no_certificate(vault, version):
    """A session that was made with a host that asks nothing opens no other host."""
    context = vault.context(version=version)
    session, _ = vault.resume("open.example", context)
    assert vault.ask("vault.example", "vault.example", context, session)[0] == 0
    context = vault.context("client-of-ca1", version)
    session, variables = vault.resume("vault.example", context)
    assert variables["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert vault.ask("safe.example", "safe.example", context, session)[0] == 0


def test_the_host_has_its_certificate(vault):
    for name, shown in (("vault.example", "vault"), ("safe.example", "wild"), ("open.example", "wild"), ("nowhere.org", "wild")):
        context = vault.context("client-of-ca1" if name == "vault.example" else "client-of-ca2")
        with socket.create_connection(("127.0.0.1", vault.port), timeout=20) as plain, context.wrap_socket(plain, server_hostname=name) as s:
            der = s.getpeercert(True)
        text = subprocess.run(["openssl", "x509", "-inform", "der", "-noout", "-subject"], input=der, capture_output=True, check=True).stdout
        assert f"CN = {shown}".encode() in text, (name, text)


def test_each_host_has_its_ciphers_and_staple(vault):
    """Also where its certificate is another's: safe has none of its own. TLS 1.3 has suites that no setting changes."""
    for name, ca, suite, staple in (("vault.example", "ca1", "ECDHE-ECDSA-AES256-GCM-SHA384", "unauthorized"),
                                    ("safe.example", "ca2", "ECDHE-ECDSA-CHACHA20-POLY1305", "trylater"),
                                    ("twin.example", "ca2", "", "trylater"), ("open.example", "ca1", "", "trylater")):
        text = vault.shaken(name, ca, "-tls1_2")
        assert f"Cipher is {suite}" in text and "Cipher is (NONE)" not in text and f"OCSP Response Status: {staple}" in text, (name, text)
        other = "ECDHE-ECDSA-AES128-GCM-SHA256" if suite else "ECDHE-ECDSA-AES128-SHA"  # which the usual list has not
        assert "Cipher is (NONE)" in vault.shaken(name, ca, "-tls1_2", "-cipher", other), name
        assert "TLSv1.3" in vault.shaken(name, ca, "-tls1_3")


def test_a_staple_is_renewed_while_nobody_asks(vault):
    """The first handshake after a rest has what was written meanwhile."""
    assert "OCSP Response Status: trylater" in vault.shaken("open.example", "ca1")
    wait_for(vault.server.still, 60, "rest")
    vault.staple("open", 6)
    assert "OCSP Response Status: unauthorized" in vault.shaken("open.example", "ca1")


@pytest.mark.parametrize("sni, authority, client, status", [
    ("open.example", "open.example", None, 200), ("open.example", "vault.example", None, 421), ("open.example", "vault.example", "ca1", 421),
    ("vault.example", "vault.example", "ca1", 200), ("vault.example", "open.example", "ca1", 421), ("vault.example", "safe.example", "ca1", 421),
    ("safe.example", "twin.example", "ca2", 200), ("open.example", "nowhere.example", None, 200)])
def test_http2_of_one_host_asks_for_another(vault, sni, authority, client, status):
    """Browsers share a connection between hosts of one certificate: each request on it is judged by its own authority, and
    one that is misdirected ends nothing but itself."""
    context = vault.context(client and f"client-of-{client}")
    context.set_alpn_protocols(["h2"])
    h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
    with socket.create_connection(("127.0.0.1", vault.port), timeout=30) as plain, context.wrap_socket(plain, server_hostname=sni) as s:
        h2.initiate_connection()
        seen = {}
        for name in (authority, sni):
            stream = h2.get_next_available_stream_id()
            h2.send_headers(stream, [(":method", "GET"), (":path", "/vars.php"), (":scheme", "https"), (":authority", name)], end_stream=True)
            s.sendall(h2.data_to_send())
            while stream not in seen:
                for event in h2.receive_data(s.recv(65536)):
                    if isinstance(event, ResponseReceived):
                        seen[event.stream_id] = int(dict(event.headers)[":status"])
                    assert not isinstance(event, ConnectionTerminated)
                s.sendall(h2.data_to_send())
    assert list(seen.values()) == [status, 200]
