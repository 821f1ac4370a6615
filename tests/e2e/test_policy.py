"""What a site's settings say about clients and answers: error pages, security headers, rate limit, proxies."""
import os
import socket

import pytest

from files import put
from web import Site

SHOW = "<?php echo $_SERVER['REMOTE_ADDR'], ' ', $_SERVER['REQUEST_SCHEME'], ' ', $_SERVER['HTTPS'] ?? '-';"


@pytest.fixture
def root(workdir):
    folder = os.path.join(workdir, "site")
    put(folder, "page.html", "<p>page")
    put(folder, "show.php", SHOW)
    put(folder, "empty.php", "<?php http_response_code(404);")
    put(folder, "full.php", "<?php http_response_code(404); echo 'mine';")
    put(folder, "own.php", "<?php header('X-Frame-Options: DENY'); echo 'own';")
    put(workdir, "errors/404.html", "<p>lost")
    put(workdir, "errors/5xx.html", "<p>broken")
    return folder


def test_error_pages(tokiophp, root):
    site = Site(tokiophp, root, "http.error_pages_dir = {dir}/errors\n")
    for target in ("/none", "/empty.php"):
        answer = site.ask(target, Accept="text/html")
        assert (answer.status, answer.text) == (404, "<p>lost"), target
        assert answer.get("Content-Type").startswith("text/html")
        assert "lost" not in site.ask(target, Accept="application/json").text
    assert site.ask("/full.php", Accept="text/html").text == "mine"
    head = site.ask("/none", "HEAD", Accept="text/html")
    assert head.status == 404 and head.body == b"" and head.get("Content-Length") == "7"


def test_own_bodies(tokiophp, root):
    site = Site(tokiophp, root, php=False)
    assert site.ask("/none", Accept="*/*").text == "404 Not Found\n"
    assert "<h1>404</h1>" in site.ask("/none", Accept="text/html").text
    for target, field, status in (("/none", b"A: b", b"404"), ("/page.html", b'If-Match: "x"', b"412")):
        raw = exchange(site.address, b"HEAD %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%s\r\n\r\n" % (target.encode(), field))
        assert raw.split()[1] == status and raw.endswith(b"\r\n\r\n") and raw.count(b"\r\n\r\n") == 1, raw
    assert site.ask("/page.html", Range="bytes=99-").get("Content-Type").startswith("text/")


def test_security_headers(tokiophp, root):
    site = Site(tokiophp, root, "http.security_headers = yes\nhttp.header_csp = \"default-src 'self'\"\n"
                "http.header_hsts = \"max-age=60\"\n")
    for target in ("/page.html", "/show.php", "/none"):
        answer = site.ask(target)
        assert answer.get("X-Frame-Options") == "SAMEORIGIN", target
        assert answer.get("X-Content-Type-Options") == "nosniff"
        assert answer.get("Content-Security-Policy") == "default-src 'self'"
        assert answer.get("Strict-Transport-Security") is None  # not without TLS
    assert site.ask("/own.php").get("X-Frame-Options") == "DENY"


def test_rate_limit(tokiophp, root):
    site = Site(tokiophp, root, "http.rate_limit = 5\nhttp.rate_window = 60s\n", php=False)
    assert [site.ask("/page.html").status for _ in range(7)] == [200] * 5 + [429] * 2
    refused = site.ask("/page.html")
    assert 0 < int(refused.get("Retry-After")) <= 60
    assert refused.get("X-RateLimit-Limit") == "5"
    assert refused.get("X-RateLimit-Remaining") == "0"
    assert 0 < int(refused.get("X-RateLimit-Reset")) <= 60


def test_trusted_proxies(tokiophp, root):
    site = Site(tokiophp, root, "http.trusted_proxies = 127.0.0.0/8\n")
    assert site.ask("/show.php").text == "127.0.0.1 http -"
    assert site.ask("/show.php", X_Forwarded_For="6.6.6.6, 1.2.3.4", X_Forwarded_Proto="https").text == "1.2.3.4 https on"
    assert site.ask("/show.php", Forwarded="for=1.2.3.4;proto=https").text == "1.2.3.4 https on"


def test_nobody_is_trusted(tokiophp, root):
    site = Site(tokiophp, root)
    assert site.ask("/show.php", X_Forwarded_For="1.2.3.4", X_Forwarded_Proto="https").text == "127.0.0.1 http -"


def exchange(address, data):
    with socket.create_connection(address, timeout=20) as s:
        s.sendall(data)
        answer = b""
        while True:
            try:
                piece = s.recv(65536)
            except ConnectionResetError:
                return answer
            if not piece:
                return answer
            answer += piece


def test_proxy_protocol(tokiophp, root):
    site = Site(tokiophp, root, "http.proxy_protocol = yes\n")
    request = b"GET /show.php HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    first = exchange(site.address, b"PROXY TCP4 1.2.3.4 5.6.7.8 1234 80\r\n" + request)
    assert b"1.2.3.4 http -" in first
    second = exchange(site.address, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x01\x02\x03\x05\x05\x06\x07\x08\x04\xd2\0\x50" + request)
    assert b"1.2.3.5 http -" in second
    assert exchange(site.address, request) == b""
