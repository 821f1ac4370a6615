"""One request is counted once and has one line, in the pool whose site it is: with its client, its host, what ran it and
how long that took. One table: what is asked, and whose that is; asked over HTTP/1.1 and HTTP/2."""
import base64
import http.client
import json
import os
import re
import signal
import socket
import threading
import time

import pytest

import process
from fcgi_client import fetch
from files import put_all
from gate import Gate
from h2_client import Client
from http_raw import Raw
from web_cases import pool_section

POOLS = ("www", "shop", "heavy", "few")
SCRIPTS = {
    "hello.php": "<?php echo 'hello';",
    "nap.php": "<?php GATE touch('TMP/started'); $gate(1); echo 'slept';",
    "long.php": "<?php touch('TMP/started'); for ($i = 0; $i < 200 && !file_exists('TMP/go'); $i++) usleep(50000); echo 'long';",
    "heavy-x.php": "<?php echo str_repeat('x', 100);",
    "heavy-teapot.php": "<?php http_response_code(418); header('X-A: 1'); echo 'teapot';",
    "heavy-early.php": "<?php echo 'early'; tokio_finish_request(); usleep(1000);",
    "heavy-sent.php": "<?php header('X-Accel-Redirect: /page.html');",
    "page.html": "<p>page", "heavy-page.html": "<p>heavy page", "few.html": "<p>few",
}


class Town:
    """A pool with a listener, a virtual host, and two pools that have paths of both hosts."""

    def __init__(self, tokiophp, workdir, form="json", settings=""):
        self.workdir, self.address = workdir, ("127.0.0.1", process.free_port())
        self.inside = ("127.0.0.1", process.free_port())
        self.mark = os.path.join(workdir, "tmp/started")
        roots = {}
        for host in ("main", "shop"):
            roots[host] = os.path.join(workdir, host)
            os.mkdir(roots[host])
            put_all(roots[host], {name: text.replace("TMP", workdir + "/tmp").replace("GATE", Gate(workdir).php) for name, text in SCRIPTS.items()})
        listen = f"http.listen = 127.0.0.1:{self.address[1]}\n"

        def pool(name, text):
            return (f"listen = {workdir}/{name}.sock\nlisten.mode = 0666\naccess.log = {self.log(name)}\n"
                    f"access.format = {form}\npm.status_path = /{name}-status\nping.path = /{name}-ping\n{settings}{text}")
        main = pool("www", f"{listen}http.document_root = {roots['main']}\nhttp.sendfile_root = {roots['main']}\n"
                            f"http.internal_listen = 127.0.0.1:{self.inside[1]}\n")
        others = (pool_section("shop", pool("shop", f"http.server_name = shop.example\nhttp.document_root = {roots['shop']}\n")) +
                  pool_section("heavy", pool("heavy", "http.routes = /heavy-*\n")) +
                  pool_section("few", pool("few", "http.routes = /few*\nhttp.rate_limit = 1\nhttp.rate_window = 3600\n")))
        self.server = tokiophp(pool=main, php=others, address=self.address)
        self.server.wait_accepting(self.address)
        process.wait_for(lambda: all(os.path.exists(f"{workdir}/{name}.sock") for name in POOLS), 20, "the sockets")
        self.seen = {name: 0 for name in POOLS}

    def log(self, name):
        return os.path.join(self.workdir, f"{name}-access.log")

    def lines(self):
        """{pool: its new lines}"""
        found = {}
        for name in POOLS:
            with open(self.log(name)) as f:
                found[name] = f.read().splitlines()[self.seen[name]:]
        return found

    def take(self, name):
        """The only new line, which is that pool's."""
        process.wait_for(lambda: self.lines()[name], 20, f"a line in the log of {name}")
        found = self.lines()
        assert {pool: len(lines) for pool, lines in found.items()} == {pool: int(pool == name) for pool in POOLS}, found
        self.seen[name] += 1
        return found[name][0]

    def counted(self):
        """{pool: requests}, {pool: responses}, {pool: durations}"""
        c = http.client.HTTPConnection(*self.inside, timeout=10)
        c.request("GET", "/metrics")
        text = c.getresponse().read().decode()
        c.close()
        names = ("tokio_php_requests_total", "tokio_php_responses_total", "tokio_php_request_duration_seconds_count")
        sums = [{pool: 0 for pool in POOLS} for _ in names]
        for name, pool, value in re.findall(r'^(\w+)\{pool="(\w+)"[^}]*\} (\d+)$', text, re.M):
            if name in names:
                sums[names.index(name)][pool] += int(value)
        return sums


@pytest.fixture
def town(tokiophp, workdir):
    return Town(tokiophp, workdir)


def over_h1(town, host, method, path, fields=(), body=None):
    with Raw(town.address, timeout=20) as c:
        extra = "".join(f"{n}: {v}\r\n" for n, v in fields) + (f"Content-Length: {len(body)}\r\n" if body else "")
        return c.send(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{extra}\r\n{body or ''}").reply(method).status


def over_h2(town, host, method, path, fields=(), body=None):
    with Client(town.address) as client:
        return client.get(path, method=method, authority=host, fields=[(n.lower(), v) for n, v in fields])[0]


MAIN, SHOP = "main.example", "shop.example"
# what is asked, whose it is, and what ran it; more fields
CASES = [
    (MAIN, "GET", "/hello.php", "www", 200, None), (MAIN, "GET", "/page.html", "www", 200, None),
    (MAIN, "GET", "/none.html", "www", 404, None), (MAIN, "GET", "/.env", "www", 403, None),
    (MAIN, "DELETE", "/page.html", "www", 405, None), (MAIN, "OPTIONS", "*", "www", 204, None),
    (MAIN, "GET", "/www-ping", "www", 200, None),
    (SHOP, "GET", "/hello.php", "shop", 200, "pool shop"), (SHOP, "HEAD", "/hello.php", "shop", 200, "pool shop"),
    (SHOP, "GET", "/page.html", "shop", 200, None), (SHOP, "GET", "/none.html", "shop", 404, None),
    (SHOP, "GET", "/none.php", "shop", 404, None), (SHOP, "DELETE", "/page.html", "shop", 405, None),
    (SHOP, "GET", "/shop-ping", "shop", 200, "pool shop"), (SHOP, "GET", "/shop-status", "shop", 200, "pool shop"),
    (MAIN, "GET", "/heavy-x.php", "heavy", 200, "pool heavy"), (SHOP, "GET", "/heavy-x.php?q=1", "heavy", 200, "pool heavy"),
    (MAIN, "GET", "/heavy-teapot.php", "heavy", 418, "pool heavy"), (MAIN, "GET", "/heavy-early.php", "heavy", 200, "pool heavy"),
    (MAIN, "GET", "/heavy-sent.php", "heavy", 200, "pool heavy"),
    (SHOP, "GET", "/heavy-page.html", "heavy", 200, None), (SHOP, "GET", "/heavy-none.html", "heavy", 404, None),
]
SPOOFS = [("Tokio-Counted", "1"), ("X-Forwarded-Host", "shop.example"), ("X-Forwarded-For", "192.0.2.9")]


@pytest.mark.parametrize("ask", [over_h1, over_h2], ids=["h1", "h2"])
def test_table(town, ask):
    wanted = {pool: 0 for pool in POOLS}
    for host, method, path, pool, status, upstream in CASES:
        assert ask(town, host, method, path, SPOOFS) == status, (host, path)
        data = json.loads(town.take(pool))["data"]
        wanted[pool] += 1
        assert (data["status"], data["host"], data["ip"], data["method"]) == (status, host, "127.0.0.1", method), path
        assert (data["path"], data["upstream"]) == (path.split("?")[0], upstream)
        assert data["duration_ms"] >= 0 and (data["upstream_ms"] is None) == (upstream is None), data
        assert upstream is None or 0 < data["upstream_ms"] <= data["duration_ms"] + 1, data
    process.wait_for(lambda: town.counted() == [wanted] * 3, 20, f"the counters: {wanted}")


def test_requests_that_go_wrong(town):
    """Aborted, broken off, limited, and asked over FastCGI by whoever says that it counts them itself."""
    wanted = {pool: 0 for pool in POOLS}

    def took(pool, status, upstream=None):
        data = json.loads(town.take(pool))["data"]
        wanted[pool] += 1
        assert (data["status"], data["upstream"]) == (status, upstream), data
        process.wait_for(lambda: town.counted() == [wanted] * 3, 20, f"the counters: {wanted}")
        return data
    s = socket.create_connection(town.address, timeout=20)
    s.sendall(f"GET /nap.php HTTP/1.1\r\nHost: {SHOP}\r\n\r\n".encode())
    process.wait_for(lambda: os.path.exists(town.mark), 20, "the script")
    s.close()
    time.sleep(0.7)  # that nobody waits for it any more is not seen from outside
    Gate(town.workdir).open(1)
    assert took("shop", 499, "pool shop")["bytes"] == 0
    s = socket.create_connection(town.address, timeout=20)
    s.sendall(f"POST /hello.php HTTP/1.1\r\nHost: {SHOP}\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n".encode())
    assert s.recv(9) == b"HTTP/1.1 "
    s.close()
    took("shop", 400)
    s = socket.create_connection(town.address, timeout=20)  # no request, and nobody's but the listener's
    s.sendall(f"GET / HTTP/1.1\r\nHost: {SHOP}\r\nHost: {SHOP}\r\n\r\n".encode())
    assert s.recv(12) == b"HTTP/1.1 400"
    s.close()
    took("www", 400)
    assert over_h1(town, MAIN, "GET", "/few.html") == 200
    took("few", 200)
    assert over_h1(town, SHOP, "GET", "/few.html") == 429
    took("few", 429)
    for more in ({}, {"TOKIO_COUNTED": "1"}, {"TOKIO_COUNTED": "usage"}):
        script = os.path.join(town.workdir, "shop/hello.php")
        assert fetch(f"{town.workdir}/shop.sock", script, **more).status == 200
        took("shop", 200)


def test_php_fpm_form(tokiophp, workdir):
    """The letters mean the same for a pool that is asked through another one's listener; what only the process that runs
    the script can know is told by it."""
    town = Town(tokiophp, workdir, form='"%n %R %{HTTP_HOST}e %u %m %r%Q%q %s %f %{kilo}M %{milli}d %C"')
    user = base64.b64encode(b"joe:secret").decode()
    for path, script, ran in (("/hello.php?a=b", f"{workdir}/shop/hello.php", True), ("/page.html", "-", False)):
        assert over_h1(town, SHOP, "GET", path, [("Authorization", "Basic " + user)]) == 200
        words = town.take("shop").split()
        assert words[:8] == ["shop", "127.0.0.1", SHOP, "joe", "GET", path, "200", script]
        assert (int(words[8]) > 0) == ran and float(words[9]) >= 0 and float(words[10]) >= 0
    assert over_h1(town, MAIN, "GET", "/hello.php") == 200
    assert town.take("www").split()[:2] == ["www", "127.0.0.1"]


def test_accepted_connections(town):
    """php-fpm's number: what its workers took up, in the pool whose workers those are."""
    for host, path in ((SHOP, "/hello.php"), (SHOP, "/page.html"), (SHOP, "/heavy-x.php"), (MAIN, "/hello.php"), (SHOP, "/hello.php")):
        assert over_h1(town, host, "GET", path) == 200

    def accepted(name):
        text = fetch(f"{town.workdir}/{name}.sock", f"/{name}-status", uri=f"/{name}-status", SCRIPT_NAME=f"/{name}-status").body.decode()
        return int(re.search(r"accepted conn: +(\d+)", text).group(1))
    assert {name: accepted(name) for name in ("www", "shop", "heavy")} == {"www": 2, "shop": 3, "heavy": 2}


def test_rotation_and_reload(town):
    """Logs that were moved away are opened anew for whoever writes to them; counters go on through a reload, and what the
    process of before still answers is counted and logged, too."""
    wanted = {pool: 0 for pool in POOLS}

    def ask(path, pool):
        assert over_h1(town, SHOP, "GET", path) == 200
        wanted[pool] += 1
        assert json.loads(town.take(pool))["data"]["path"] == path
    ask("/page.html", "shop")
    for name in POOLS:
        os.rename(town.log(name), town.log(name) + ".1")
        town.seen[name] = 0
    town.server.signal(signal.SIGUSR1)
    process.wait_for(lambda: all(os.path.exists(town.log(name)) for name in POOLS), 20, "new files")
    town.server.wait_message("access log file re-opened")
    ask("/page.html", "shop")
    ask("/hello.php", "shop")
    ask("/heavy-page.html", "heavy")
    process.wait_for(lambda: town.counted() == [wanted] * 3, 20, "the counters")
    family = town.server.family()[1:]
    late = threading.Thread(target=lambda: over_h1(town, SHOP, "GET", "/nap.php"))
    late.start()
    process.wait_for(lambda: os.path.exists(town.mark), 20, "the script")
    town.server.signal(signal.SIGUSR2)
    process.wait_for(lambda: town.server.messages().count("ready to handle connections") >= 2, 30, "the reload")
    Gate(town.workdir).open(1)
    late.join()
    wanted["shop"] += 1
    assert json.loads(town.take("shop"))["data"]["path"] == "/nap.php"
    process.wait_for(lambda: not set(family) & set(town.server.family()[1:]), 30, "the old generation's end")
    for path, pool in (("/page.html", "shop"), ("/heavy-x.php", "heavy"), ("/hello.php", "shop")):
        ask(path, pool)
    process.wait_for(lambda: town.counted() == [wanted] * 3, 20, f"the counters: {wanted}")


def test_a_pool_that_goes(town):
    """What the process of before still answers for a pool that the configuration does not have any more is logged, too:
    there, through one more reload."""
    late = threading.Thread(target=lambda: over_h1(town, SHOP, "GET", "/long.php"))
    late.start()
    process.wait_for(lambda: os.path.exists(town.mark), 20, "the script")
    with open(town.server.config_path) as f:
        text = f.read()
    first, last = text.index("[shop]"), text.index("[heavy]")
    with open(town.server.config_path, "w") as f:
        f.write(text[:first] + text[last:])
    for reloads in (2, 3):
        town.server.signal(signal.SIGUSR2)
        process.wait_for(lambda: town.server.messages().count("ready to handle connections") >= reloads, 30, "the reload")
    with open(os.path.join(town.workdir, "tmp/go"), "w"):
        pass
    late.join()
    assert json.loads(town.take("shop"))["data"]["status"] == 200
    assert over_h1(town, SHOP, "GET", "/hello.php") == 200
    town.take("www")
