"""The HTTP server as clients of other makes see it: every protocol of curl, h2load's load, slowhttptest's malice; and
what reaches them on the way: early hints, streams that are compressed, stapled responses, addresses from a balancer,
certificates that change under way."""
import datetime
import json
import os
import select
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time
import zlib

import pytest
from certificate import make_cert
from files import put_all
from gate import Gate
from http_raw import Raw, insecure
from process import free_port, wait_for
from test_vhosts import folder

SCRIPTS = {
    "hello.php": "<?php header('Content-Type: text/plain'); echo 'hello';",
    "vars.php": "<?php header('Content-Type: application/json'); echo json_encode($_SERVER);",
    "page.php": "<?php header('Content-Type: text/html'); for ($i = 0; $i < 20000; $i++) echo 'line ', $i * 7919 % 10007, \"\\n\";",
    "hints.php": "<?php header('Link: </style.css>; rel=preload; as=style'); header('X-Not: in hints'); tokio_send_headers(103);"
                 " GATE $gate('hints'); header('Content-Type: text/plain'); echo 'done';",
    "stream.php": "<?php GATE header('Content-Type: text/plain'); while (ob_get_level()) ob_end_flush();"
                  " for ($i = 0; $i < 3; $i++) { echo \"data: $i\\n\\n\"; flush(); $gate($i); }",
    "sse.php": "<?php GATE header('Content-Type: text/event-stream'); while (ob_get_level()) ob_end_flush();"
               " for ($i = 0; $i < 3; $i++) { echo \"data: $i\\n\\n\"; flush(); $gate($i); }",
}


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")


@pytest.fixture
def serve(tokiophp, workdir):
    root = folder(workdir, "site")
    put_all(root, {name: text.replace("GATE", Gate(workdir).php) for name, text in SCRIPTS.items()})
    with open(os.path.join(root, "big.bin"), "wb") as f:
        f.write(os.urandom(4 << 20))

    class Served:
        pass

    def start(pool="", tls=True):
        s = Served()
        s.root, s.plain, s.tls = root, ("127.0.0.1", free_port()), ("127.0.0.1", free_port())
        secure = f"http.tls_listen = 127.0.0.1:{s.tls[1]}\n" + make_cert(workdir, "one") if tls else ""
        s.server = tokiophp(pool=f"http.listen = 127.0.0.1:{s.plain[1]}\nhttp.document_root = {root}\n{secure}{pool}")
        s.server.wait_accepting(s.plain)
        return s
    return start


def curl(*how, data=None):
    return subprocess.run(["curl", "-sS", "-k", *how], input=data, capture_output=True, timeout=40)


WAYS = {"1.0": ("http", ["--http1.0"], "1.0"), "1.1": ("http", ["--http1.1"], "1.1"), "h2c": ("http", ["--http2-prior-knowledge"], "2"),
        "upgrade": ("http", ["--http2"], "2"), "tls 1.1": ("https", ["--http1.1"], "1.1"), "tls h2": ("https", ["--http2"], "2"),
        "tls 1.2": ("https", ["--http2", "--tls-max", "1.2"], "2")}


@pytest.mark.parametrize("way", WAYS)
def test_curl(serve, way):
    need("curl")
    s = serve()
    scheme, options, version = WAYS[way]
    base = f"{scheme}://127.0.0.1:{(s.tls if scheme == 'https' else s.plain)[1]}"
    out = curl(*options, "-w", "|%{http_version}", f"{base}/hello.php")
    # We answer HTTP/1.0 as HTTP/1.1, as RFC 9110 (2.5) wants; a request with a body is not upgraded.
    assert out.stdout.decode() == f"hello|{'1.1' if version == '1.0' else version}", out.stderr
    out = curl(*options, f"{base}/big.bin")
    assert out.returncode == 0, out.stderr
    assert out.stdout == open(s.root + "/big.bin", "rb").read()
    body = os.urandom(300000)
    v = json.loads(curl(*options, "--data-binary", "@-", f"{base}/vars.php?x=%20y", data=body).stdout)
    assert (v["REQUEST_METHOD"], v["CONTENT_LENGTH"], v["QUERY_STRING"]) == ("POST", "300000", "x=%20y")
    assert v["SERVER_PROTOCOL"] == {"1.0": "HTTP/1.0", "1.1": "HTTP/1.1", "2": "HTTP/2.0"}["1.1" if way == "upgrade" else version]
    assert ("HTTPS" in v) == (scheme == "https")
    assert curl(*options, "-I", f"{base}/hello.php").stdout.startswith(b"HTTP/")


@pytest.mark.parametrize("options", [["--h1"], []], ids=["h1", "h2"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_h2load(serve, scheme, options):
    need("h2load")
    s = serve()
    port = (s.tls if scheme == "https" else s.plain)[1]
    for path in ("hello.php", "page.php"):
        out = subprocess.run(["h2load", *options, "-c", "20", "-m", "10" if not options else "1", "-n", "2000",
                              f"{scheme}://127.0.0.1:{port}/{path}"], capture_output=True, text=True, timeout=100)
        assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in out.stdout, out.stdout + out.stderr


@pytest.mark.parametrize("how", [["-H"], ["-B"], ["-X"]], ids=["slow head", "slow body", "slow read"])
def test_slow_clients_hold_nobody_up(serve, how):
    """300 slow connections of slowhttptest; meanwhile everybody else is served at once."""
    need("slowhttptest")
    s = serve("http.header_timeout = 3s\nhttp.body_timeout = 3s\nhttp.write_timeout = 3s\n", tls=False)
    attack = subprocess.Popen(["slowhttptest", *how, "-c", "300", "-r", "300", "-i", "2", "-l", "8", "-t", "GET" if how != ["-B"] else "POST",
                               "-u", f"http://127.0.0.1:{s.plain[1]}/{'page' if how == ['-X'] else 'hello'}.php", "-p", "2",
                               "-w", "10", "-y", "20", "-n", "2", "-z", "8"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 6
        while time.monotonic() < end:
            with Raw(s.plain) as c:
                assert c.send("GET /hello.php HTTP/1.1\r\nHost: x\r\n\r\n").reply().body == b"hello"
    finally:
        attack.terminate()
        attack.wait()


def test_early_hints(serve, workdir):
    s = serve()
    with Raw(s.plain) as c:
        c.send("GET /hints.php HTTP/1.1\r\nHost: x\r\n\r\n")
        status, fields, _ = c.head()
        assert status == 103 and ("Link", "</style.css>; rel=preload; as=style") in fields and len(fields) == 1
        Gate(workdir).open("hints")
        final = c.reply()
        assert (final.status, final.body, final.get("X-Not")) == (200, b"done", "in hints")
        c.send("GET /hello.php HTTP/1.1\r\nHost: x\r\n\r\n")
        assert c.reply().body == b"hello"
    with Raw(s.plain) as c:
        assert c.send("GET /hints.php HTTP/1.0\r\n\r\n").reply().status == 200, "HTTP/1.0 knows no 103"
    for way in ("tls h2", "h2c"):
        need("curl")
        scheme, options, _ = WAYS[way]
        out = curl(*options, "-i", f"{scheme}://127.0.0.1:{(s.tls if scheme == 'https' else s.plain)[1]}/hints.php").stdout
        first, rest = out.split(b"\r\n\r\n", 1)
        assert first.startswith(b"HTTP/2 103") and b"link: </style.css>" in first
        assert rest.startswith(b"HTTP/2 200") and rest.endswith(b"done")


def unpack(coding, data):
    """All that can be had of the beginning of a compressed stream."""
    if coding == "gzip":
        return zlib.decompressobj(31).decompress(data)
    if coding in ("br", "zstd"):
        tool = {"br": "brotli", "zstd": "zstd"}[coding]
        return subprocess.run([tool, "-d", "-c"], input=data, capture_output=True).stdout if shutil.which(tool) else None
    return data


@pytest.mark.parametrize("way", ["1.1", "h2c", "tls h2"])
@pytest.mark.parametrize("script, coding", [("stream", "gzip"), ("stream", "br"), ("stream", "zstd"), ("stream", None), ("sse", "gzip")])
def test_parts_arrive_one_by_one(serve, workdir, way, script, coding):
    """What a script flushes leaves at once, compressed too. Events are not compressed: a proxy that unpacks would
    hold them back."""
    need("curl")
    s = serve()
    scheme, options, _ = WAYS[way]
    url = f"{scheme}://127.0.0.1:{(s.tls if scheme == 'https' else s.plain)[1]}/{script}.php"
    p = subprocess.Popen(["curl", "-sSkN", *options, "-D", workdir + "/head", *(["-H", f"Accept-Encoding: {coding}"] if coding else []),
                          url], stdout=subprocess.PIPE)
    pieces = []
    while select.select([p.stdout], [], [], 20)[0]:
        piece = os.read(p.stdout.fileno(), 65536)
        if not piece:
            break
        pieces.append(piece)
        Gate(workdir).open(len(pieces) - 1)
    assert p.wait(20) == 0
    with open(workdir + "/head") as f:
        said = [line.split(":")[1].strip() for line in f.read().lower().splitlines() if line.startswith("content-encoding:")]
    coding = None if script == "sse" else coding
    assert said == ([coding] if coding else [])
    assert len(pieces) >= 3, "the parts came all at once"
    if coding in ("gzip", None):
        assert unpack(coding, pieces[0]).startswith(b"data: 0\n\n")
    assert unpack(coding, b"".join(pieces)) in (None, b"data: 0\n\ndata: 1\n\ndata: 2\n\n")


@pytest.mark.parametrize("way", ["1.1", "h2c", "tls h2", "tls 1.1"])
@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_compressed_page(serve, way, coding):
    need("curl")
    tool = {"gzip": "gzip", "br": "brotli", "zstd": "zstd"}[coding]
    s = serve()
    scheme, options, _ = WAYS[way]
    base = f"{scheme}://127.0.0.1:{(s.tls if scheme == 'https' else s.plain)[1]}"
    whole = curl(*options, f"{base}/page.php").stdout
    packed = curl(*options, "-H", f"Accept-Encoding: {coding}", f"{base}/page.php").stdout
    assert len(packed) < len(whole) / 2
    need(tool)
    assert subprocess.run([tool, "-d", "-c"], input=packed, capture_output=True).stdout == whole


def wrap(s):
    return insecure().wrap_socket(s, server_hostname="localhost")


@pytest.mark.parametrize("version", [1, 2])
def test_proxy_protocol_before_tls(serve, version):
    s = serve("http.proxy_protocol = yes\n")
    header = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n" if version == 1 else \
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c" + socket.inet_aton("192.0.2.7") + socket.inet_aton("198.51.100.1") + struct.pack("!HH", 4711, 443)
    for address, tls in ((s.plain, False), (s.tls, True)):
        c = socket.create_connection(address, timeout=20)
        c.sendall(header)
        c = wrap(c) if tls else c
        c.sendall(b"GET /vars.php HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        v = json.loads(c.makefile("rb").read().split(b"\r\n\r\n", 1)[1])
        assert (v["REMOTE_ADDR"], v["REMOTE_PORT"]) == ("192.0.2.7", "4711")
        c.close()


def test_proxy_header_is_needed(serve):
    s = serve("http.proxy_protocol = yes\n")
    with Raw(s.plain) as c:
        c.send("GET /vars.php HTTP/1.1\r\nHost: x\r\n\r\n")
        assert c.at_end()


def served_certificate(address):
    with wrap(socket.create_connection(address, timeout=20)) as c:
        return c.getpeercert(True)


def test_certificate_and_tickets_over_a_reload(serve, workdir):
    """A reload shows the new certificate; who comes with an old ticket is served all the same; no request is lost."""
    s = serve()
    wrong, stop = [], threading.Event()

    def client():
        while not stop.is_set():
            try:
                with Raw(s.tls, tls=insecure()) as c:
                    if c.send("GET /hello.php HTTP/1.1\r\nHost: x\r\n\r\n").reply().status != 200:
                        wrong.append("status")
            except Exception as e:  # whatever it is, it is lost
                wrong.append(repr(e))
    context = insecure()
    with Raw(s.tls, tls=context) as c:
        c.send("GET /hello.php HTTP/1.1\r\nHost: x\r\n\r\n").reply()
        session = c.sock.session
    before = served_certificate(s.tls)
    thread = threading.Thread(target=client)
    thread.start()
    make_cert(workdir, "one", days="9")
    s.server.signal(signal.SIGUSR2)
    wait_for(lambda: served_certificate(s.tls) != before, 30, "the new certificate")
    stop.set()
    thread.join()
    assert not wrong
    with context.wrap_socket(socket.create_connection(s.tls, timeout=20), server_hostname="localhost", session=session) as c:
        c.sendall(b"GET /hello.php HTTP/1.0\r\n\r\n")
        assert c.makefile("rb").read().endswith(b"hello")


def test_ocsp_response_is_stapled(serve, workdir):
    need("openssl")
    make_cert(workdir, "ca")
    make_cert(workdir, "one")
    serial = subprocess.run(["openssl", "x509", "-in", f"{workdir}/one.pem", "-noout", "-serial"], capture_output=True,
                            text=True).stdout.split("=")[1].strip()
    end = (datetime.datetime.now() + datetime.timedelta(days=2)).strftime("%y%m%d%H%M%SZ")
    with open(f"{workdir}/index", "w") as f:
        f.write(f"V\t{end}\t\t{serial}\tunknown\t/CN=one\n")
    made = subprocess.run(["openssl", "ocsp", "-index", f"{workdir}/index", "-rsigner", f"{workdir}/ca.pem", "-rkey", f"{workdir}/ca.key",
                           "-CA", f"{workdir}/ca.pem", "-issuer", f"{workdir}/ca.pem", "-serial", "0x" + serial, "-ndays", "1",
                           "-respout", f"{workdir}/one.ocsp"], capture_output=True, text=True)
    if not os.path.exists(f"{workdir}/one.ocsp"):
        pytest.skip("openssl made no response: " + made.stderr[-300:])
    os.chmod(f"{workdir}/one.ocsp", 0o644)
    s = serve(f"http.tls_ocsp_file = {workdir}/one.ocsp\n")
    out = subprocess.run(["openssl", "s_client", "-status", "-connect", f"127.0.0.1:{s.tls[1]}"], input="", capture_output=True, text=True,
                         timeout=30).stdout
    assert "OCSP Response Status: successful" in out and serial.lstrip("0") in out


def test_kernel_tls(serve):
    """Files over TLS by sendfile, where the kernel can encrypt; the bytes are the same in any case."""
    try:
        with open("/proc/net/tls_stat") as f:
            before = dict(line.split() for line in f)
    except OSError:
        pytest.skip("this kernel has no TLS (/proc/net/tls_stat): files are read and encrypted by OpenSSL")
    need("curl")
    s = serve()
    assert curl(f"https://127.0.0.1:{s.tls[1]}/big.bin").stdout == open(s.root + "/big.bin", "rb").read()
    with open("/proc/net/tls_stat") as f:
        after = dict(line.split() for line in f)
    if int(after["TlsTxSw"]) + int(after["TlsTxDevice"]) == int(before["TlsTxSw"]) + int(before["TlsTxDevice"]):
        pytest.skip("OpenSSL did not hand the connection to the kernel")


def test_tls_context_is_not_plaintext(serve):
    s = serve()
    with pytest.raises((ssl.SSLError, ConnectionError, OSError)):
        wrap(socket.create_connection(s.plain, timeout=5))
