"""Limits of clients and requests, profiles, the stub engine and a server that only the environment configures."""
import http.client
import os
import select
import signal
import subprocess
import threading
import time

import pytest

import process
import tokiophp as program
from gate import Gate
from process import connect, free_port
from web import Site


@pytest.fixture
def root(workdir):
    folder = os.path.join(workdir, "site")
    os.mkdir(folder)
    for name, text in (("hello.php", "<?php echo 'hello';"), ("sleep.php", "<?php usleep(700000); echo 'slept';"),
                       ("size.php", "<?php echo strlen(file_get_contents('php://input'));"), ("page.html", "<p>page")):
        with open(os.path.join(folder, name), "w") as f:
            f.write(text)
    return folder


def test_connections_per_client(tokiophp, root):
    site = Site(tokiophp, root, "http.connections_per_client = 3\n")

    def three():
        """None: the fixture's own connection is not gone yet."""
        opened = [connect(site.address) for _ in range(3)]
        for s in opened:
            try:
                s.sendall(b"GET /page.html HTTP/1.1\r\nHost: a\r\n\r\n")
                good = b"200 OK" in s.recv(4096)
            except ConnectionError:
                good = False
            if not good:
                for each in opened:
                    each.close()
                return None
        return opened
    kept = process.wait_for(three, what="three connections")
    extra = connect(site.address)
    extra.settimeout(5)
    try:
        extra.sendall(b"GET /page.html HTTP/1.1\r\nHost: a\r\n\r\n")
        assert extra.recv(100) == b""
    except ConnectionError:
        pass
    kept.pop().close()
    process.wait_for(lambda: accepted(site), what="room for another connection")


def test_bodies_together(tokiophp, root):
    """Of many uploads that never end none takes more than its part: memory, then files, then a polite refusal."""
    site = Site(tokiophp, root, "http.body_memory = 256K\nhttp.body_files = 2M\nhttp.body_buffer = 1M\n")
    engine, body = process.wait_for(site.server.engine_pids)[0], b"x" * 100_000

    def begin():
        s = connect(site.address)
        s.settimeout(20)
        s.sendall(b"POST /size.php HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n" + body)
        return s

    def in_files():
        size = 0
        for fd in os.listdir(f"/proc/{engine}/fd"):
            try:
                link = os.readlink(f"/proc/{engine}/fd/{fd}")
                size += os.stat(f"/proc/{engine}/fd/{fd}").st_size if "(deleted)" in link and "memfd:" not in link else 0
            except OSError:
                continue
        return size

    held = [begin() for _ in range(20)]
    process.wait_for(lambda: in_files() >= 1_700_000, 20, "bodies in files")
    late, answers = [begin() for _ in range(5)], {}

    def refusals():
        """Of connections that several loops have taken in; which are looked at first is not said."""
        for s in select.select([s for s in late if s not in answers], [], [], 1)[0]:
            answers[s] = s.recv(4096)
        return len(answers) >= 2
    process.wait_for(refusals, what="two that are refused")
    assert all(b" 503 " in answer and b"Retry-After: " in answer for answer in answers.values()), answers
    assert in_files() <= 2 << 20
    assert site.ask("/hello.php").text == "hello"  # what brings no body is served
    for s in held[:10]:
        s.sendall(b"y")
        assert s.recv(4096).endswith(b"100001")
    process.wait_for(lambda: site.ask("/size.php", "POST", body).text == "100000", 10, "room again")
    for s in held + late:
        s.close()


def test_connections_per_client_behind_a_balancer(tokiophp, root):
    """Clients are counted, not the balancer that speaks for them."""
    site = Site(tokiophp, root, "http.connections_per_client = 2\nhttp.proxy_protocol = yes\n", wait=False)
    process.wait_for(lambda: process.accepts(site.address), what="a server")

    def client(number):
        s = connect(site.address)
        s.settimeout(10)
        try:
            s.sendall(b"PROXY TCP4 10.0.0.%d 10.0.0.99 1000 80\r\nGET /page.html HTTP/1.1\r\nHost: a\r\n\r\n" % number)
            return s, s.recv(4096)[:15]
        except ConnectionError:
            return s, b""

    waiting = [connect(site.address) for _ in range(5)]  # the balancer, before it says for whom
    kept = [client(number) for number in (1, 2, 3, 1, 2, 3)]
    assert [answer for _, answer in kept] == [b"HTTP/1.1 200 OK"] * 6
    refused = client(1)
    assert refused[1] == b""
    for s in [s for s, _ in kept] + [refused[0]] + waiting:
        s.close()


def accepted(site):
    try:
        return site.ask("/page.html").status == 200
    except (OSError, http.client.HTTPException):
        return False


def test_rate_limit_counts_exactly_and_forgets(tokiophp, root):
    def one_window(seconds):
        """Whether all that was asked was asked in one; on a slow machine it has to be a longer one."""
        port = free_port()
        site = Site(tokiophp, root, f"http.rate_limit = 20\nhttp.rate_window = {seconds}s\nhttp.internal_listen = 127.0.0.1:{port}\n")
        statuses, lock, began = [], threading.Lock(), time.monotonic()

        def client():
            for _ in range(10):
                status = site.ask("/page.html", X_Forwarded_For="9.9.9.%d" % len(statuses)).status
                with lock:
                    statuses.append(status)
        try:
            running = [threading.Thread(target=client) for _ in range(4)]
            for t in running:
                t.start()
            for t in running:
                t.join()
            if time.monotonic() - began >= seconds:
                return False
            assert statuses.count(200) == 20 and statuses.count(429) == 20  # a forged header changes nothing
            text = subprocess.run(["curl", "-s", f"http://127.0.0.1:{port}/metrics"], capture_output=True, text=True).stdout
            assert 'tokio_php_rate_limited_total{pool="www"} 20' in text
            process.wait_for(lambda: site.ask("/page.html").status == 200, 10, "the next window")
            return True
        finally:
            site.server.stop()
    assert any(one_window(seconds) for seconds in (3, 6, 12, 24))


def test_rate_limit_of_a_proxy_s_clients(tokiophp, root):
    site = Site(tokiophp, root, "http.rate_limit = 2\nhttp.trusted_proxies = 127.0.0.1\n")
    for client in ("1.1.1.1", "2.2.2.2", "2001:db8::1"):
        assert [site.ask("/page.html", X_Forwarded_For=client).status for _ in range(3)] == [200, 200, 429]
    assert site.ask("/page.html", X_Forwarded_For="2001:db8::ffff").status == 429  # the same /64
    assert site.ask("/page.html", X_Forwarded_For="2001:db8:0:1::1").status == 200


def test_body_and_head_limits(tokiophp, root):
    site = Site(tokiophp, root, "http.max_body_size = 1000\nhttp.head_size = 2048\nhttp.methods = GET POST\n")
    assert site.ask("/size.php", "POST", body=b"x" * 1000).text == "1000"
    assert site.ask("/size.php", "POST", body=b"x" * 1001).status == 413
    assert site.ask("/page.html", X_Long="x" * 3000).status == 431
    refused = site.ask("/page.html", "PUT")
    assert refused.status == 405 and "GET" in refused.get("Allow")


def test_full_queue(tokiophp, root, workdir):
    site = Site(tokiophp, root, "pm.max_children = 1\nhttp.queue_capacity = 2\n")
    statuses, lock = [], threading.Lock()

    def client():
        answer = site.ask("/wait.php")
        with lock:
            statuses.append((answer.status, answer.get("Retry-After")))
    gate = Gate(workdir)
    with open(f"{root}/wait.php", "w") as f:
        f.write(f"<?php {gate.php} $gate(1); echo 'done';")
    running = [threading.Thread(target=client) for _ in range(8)]
    for t in running:
        t.start()
    process.wait_for(lambda: len(statuses) >= 5, what="refusals")
    gate.open(1)
    for t in running:
        t.join()
    served = statuses.count((200, None))  # one that runs and two that wait; it too waits until the worker has it
    assert served in (2, 3) and statuses.count((503, "1")) == 8 - served, statuses


def test_profile(tokiophp, root):
    site = Site(tokiophp, root, "http.profile = yes\n")
    names = ["X-Profile-" + n for n in ("Total-Us", "Queue-Us", "PHP-Startup-Us", "Script-Us", "PHP-Shutdown-Us")]
    times = {n: int(site.ask("/sleep.php", X_Profile="1").get(n, "-1")) for n in names}
    assert all(t >= 0 for t in times.values()), times
    answer = site.ask("/sleep.php", X_Profile="1")
    assert int(answer.get("X-Profile-Script-Us")) >= 600000
    assert int(answer.get("X-Profile-Total-Us")) >= int(answer.get("X-Profile-Script-Us"))
    assert int(site.ask("/page.html", X_Profile="1").get("X-Profile-Total-Us")) >= 0
    for fields in ({}, {"X_Profile": "0"}, {"X_Profile": "yes"}):
        assert not [n for n, _ in site.ask("/hello.php", **fields).fields if n.startswith("X-Profile")]


def test_profile_has_to_be_allowed(tokiophp, root):
    site = Site(tokiophp, root)
    assert not [n for n, _ in site.ask("/hello.php", X_Profile="1").fields if n.startswith("X-Profile")]


def test_stub(tokiophp, root):
    site = Site(tokiophp, root, php=False)
    assert site.ask("/hello.php").text == "tokiophp stub\n"
    assert site.ask("/hello.php", "POST", body=b"x" * 100000).status == 200
    assert site.ask("/page.html").text == "<p>page"


def test_the_environment_is_enough(workdir, root):
    address, inside = ("127.0.0.1", free_port()), ("127.0.0.1", free_port())
    log = os.path.join(workdir, "access.log")
    env = {"PATH": os.environ["PATH"], "LISTEN_ADDR": "127.0.0.1:%d" % address[1], "DOCUMENT_ROOT": root, "PHP_WORKERS": "2",
           "INTERNAL_ADDR": "127.0.0.1:%d" % inside[1], "RATE_LIMIT": "50", "RATE_WINDOW": "60", "PROFILE": "1", "ACCESS_LOG": log,
           "SERVICE_NAME": "shop", "REQUEST_TIMEOUT": "30", "QUEUE_CAPACITY": "10", "DRAIN_TIMEOUT_SECS": "5", "LOG_LEVEL": "notice"}
    server = process.Program([program.PROGRAM, "serve", "-d", "memory_limit=64M"], workdir, "serve.log", env=env, cwd=workdir)
    try:
        server.wait_accepting(address)
        ask = Site.__new__(Site)
        ask.address = address
        answer = ask.ask("/hello.php", X_Profile="1")
        assert answer.text == "hello" and answer.get("X-Profile-Total-Us")
        ask.address = inside
        process.wait_for(lambda: ask.ask("/health/ready").status == 200, what="ready")
        assert b'"workers":2' in ask.ask("/health").body
        config = ask.ask("/config").text
        for name, value in (("http.rate_limit", "50"), ("http.queue_capacity", "10"), ("service_name", "shop")):
            assert f'"{name}": "{value}"' in config, name
    finally:
        code = server.stop(signal.SIGTERM)
    assert code == 0
    with open(log) as f:
        assert "GET /hello.php" in f.read()
