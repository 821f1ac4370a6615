"""The rate limit with more clients than its table has places: bounded, exact for those that ask, not to be fooled."""
import os
import re
import socket
import threading
import time

import pytest

import process
from process import connect
from web import Site

WINDOW = 600  # longer than a test: no window ends by itself


@pytest.fixture
def root(workdir):
    folder = os.path.join(workdir, "site")
    os.mkdir(folder)
    with open(os.path.join(folder, "page.html"), "w") as f:
        f.write("<p>page")
    return folder


def statuses(site, clients, batch=400, field="X-Forwarded-For"):
    """The status of one request for each client, sent in batches over one connection."""
    found = []
    with connect(site.address) as s:
        s.settimeout(30)
        rest = b""
        for start in range(0, len(clients), batch):
            piece = clients[start:start + batch]
            sender = threading.Thread(target=s.sendall, args=(b"".join(
                b"HEAD /page.html HTTP/1.1\r\nHost: a\r\n%s: %s\r\n\r\n" % (field.encode(), c.encode()) for c in piece),))
            sender.start()
            wanted = len(found) + len(piece)
            while len(found) < wanted:
                data = s.recv(1 << 20)
                assert data, f"closed after {len(found)} answers: {rest[-300:]}"
                heads = (rest + data).split(b"\r\n\r\n")
                rest = heads.pop()
                found += [int(head[9:12]) for head in heads]
            sender.join()
    return found


def rss_kb(site):
    return sum(process.status_field(pid, "VmRSS") for pid in site.server.engine_pids())


def test_a_hundred_thousand_clients(tokiophp, root):
    site = Site(tokiophp, root, f"http.rate_limit = 5\nhttp.rate_window = {WINDOW}\nhttp.trusted_proxies = 127.0.0.1\n",
                php=False)
    busy = "203.0.113.7"
    assert statuses(site, [busy] * 5) == [200] * 5

    def crowd(first, count):
        return ["10.%d.%d.%d" % (i >> 16 & 255, i >> 8 & 255, i & 255) for i in range(first, first + count)]

    statuses(site, crowd(0, 20000))
    before, began = rss_kb(site), time.monotonic()
    answers = statuses(site, crowd(20000, 100000))
    after, took = rss_kb(site), time.monotonic() - began
    print(f"\n100000 clients in {took:.1f} s: {before} KiB before, {after} KiB after")
    assert answers == [200] * 100000
    assert after - before < 16 * 1024
    assert statuses(site, [busy] * 3) == [429] * 3  # a crowd does not make it forgotten


def test_exact_at_the_window_s_edge(tokiophp, root):
    def three_windows(seconds):
        """Whether all that was asked in a window was asked in time; on a slow machine it has to be a longer one."""
        site = Site(tokiophp, root, f"http.rate_limit = 7\nhttp.rate_window = {seconds}s\nhttp.trusted_proxies = 127.0.0.1\n", php=False)
        try:
            for _ in range(3):
                began = time.monotonic()
                answers = [(statuses(site, clients), time.monotonic() - began) for _ in range(10)]
                if answers[-1][1] >= seconds:
                    return False
                for number, (found, _) in enumerate(answers):
                    assert found == [200 if number < 7 else 429] * 50
                # the window of each began with its own first request; the last one's is over `seconds` after the first round
                time.sleep(max(0, began + answers[0][1] + seconds + 0.05 - time.monotonic()))
            return True
        finally:
            site.server.stop()
    clients = ["198.51.100.%d" % i for i in range(50)]
    assert any(three_windows(seconds) for seconds in (2, 4, 8, 16))


def test_the_head_says_when(tokiophp, root):
    site = Site(tokiophp, root, "http.rate_limit = 3\nhttp.rate_window = 3s\nhttp.trusted_proxies = 127.0.0.1\n", php=False)
    heads = [site.ask("/page.html", X_Forwarded_For="9.9.9.9") for _ in range(3)]
    assert [h.status for h in heads] == [200, 200, 200]
    refused = None
    while not refused or refused.status != 429:  # a slow machine may have come into the next window
        refused = site.ask("/page.html", X_Forwarded_For="9.9.9.9")
    wait = int(refused.get("Retry-After"))
    assert 1 <= wait <= 3
    time.sleep(wait)
    assert site.ask("/page.html", X_Forwarded_For="9.9.9.9").status == 200


def test_a_bucket_fills_evenly(tokiophp, root):
    def a_token_comes_back(token):
        """Whether nothing took longer than such a token, of which there are four, takes to come back."""
        site = Site(tokiophp, root, f"http.rate_limit = 4\nhttp.rate_window = {4 * token}s\nhttp.rate_kind = bucket\n"
                    "http.trusted_proxies = 127.0.0.1\n", php=False)
        try:
            began = time.monotonic()
            first, refused = statuses(site, ["9.9.9.9"] * 8), site.ask("/page.html", X_Forwarded_For="9.9.9.9")
            if time.monotonic() - began > token * 0.7:
                return False
            assert first == [200] * 4 + [429] * 4
            assert 1 <= int(refused.get("Retry-After")) <= token
            time.sleep(began + token * 1.35 - time.monotonic())
            found = statuses(site, ["9.9.9.9"] * 3)
            if time.monotonic() - began > token * 2:
                return False
            assert found == [200, 429, 429]
            return True
        finally:
            site.server.stop()
    assert any(a_token_comes_back(seconds) for seconds in (2, 4, 8, 16))


def test_a_forged_field_changes_nothing(tokiophp, root):
    site = Site(tokiophp, root, f"http.rate_limit = 10\nhttp.rate_window = {WINDOW}\nhttp.trusted_proxies = 192.0.2.1\n", php=False)
    forged = ["10.0.0.%d" % i for i in range(40)]
    for number, field in enumerate(("X-Forwarded-For", "Forwarded", "X-Real-IP", "Client-IP")):
        values = ["for=" + c for c in forged] if field == "Forwarded" else forged
        assert statuses(site, values, field=field) == ([200] * 10 + [429] * 30 if number == 0 else [429] * 40)


def test_a_trusted_proxy_passes_on_a_forged_chain(tokiophp, root):
    """What the proxy appended counts, not what its client had written before it."""
    site = Site(tokiophp, root, f"http.rate_limit = 3\nhttp.rate_window = {WINDOW}\nhttp.trusted_proxies = 127.0.0.1\n", php=False)
    assert statuses(site, ["10.9.9.%d, 203.0.113.9" % i for i in range(6)]) == [200] * 3 + [429] * 3
    assert statuses(site, ["203.0.113.10"]) == [200]


def test_ipv6_by_64(tokiophp, root):
    site = Site(tokiophp, root, f"http.rate_limit = 4\nhttp.rate_window = {WINDOW}\nhttp.trusted_proxies = 127.0.0.1\n", php=False)
    assert statuses(site, ["2001:db8:1:2:%x::%x" % (i, i + 1) for i in range(8)]) == [200] * 4 + [429] * 4
    assert statuses(site, ["2001:db8:1:3::1"] * 5) == [200] * 4 + [429]
    assert statuses(site, ["::ffff:192.0.2.9", "192.0.2.9"] * 3) == [200] * 4 + [429] * 2  # one client in two spellings
    assert statuses(site, ["::ffff:192.0.2.10"] * 2) == [200] * 2  # mapped addresses are not one /64


def test_proxy_protocol(tokiophp, root):
    site = Site(tokiophp, root, f"http.rate_limit = 2\nhttp.rate_window = {WINDOW}\nhttp.proxy_protocol = yes\n", php=False)

    def ask(client):
        with socket.create_connection(site.address, timeout=10) as s:
            s.sendall(f"PROXY TCP4 {client} 127.0.0.1 1000 80\r\n".encode() +
                      b"GET /page.html HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 8.8.8.8\r\nConnection: close\r\n\r\n")
            data = b""
            while piece := s.recv(4096):
                data += piece
        return int(re.match(rb"HTTP/1.1 (\d+)", data).group(1))
    assert [ask("10.1.1.%d" % (i % 5)) for i in range(15)] == [200] * 10 + [429] * 5
