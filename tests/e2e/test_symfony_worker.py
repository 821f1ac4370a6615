"""A Symfony application in worker mode, over HTTP and behind nginx: what it answers is what it answers in classic mode, users do not
mix, and nothing grows."""
import http.client
import json
import os
import re
import socket
import threading
import urllib.parse

import load
import packages
import pytest
import symfony
from browser import multipart
from faulty import Several, tell
from web import Site

USERS = 16
VISITS = int(os.environ.get("VISITS", "40"))  # of each user; VISITS=62500 makes a million
COOKIE = re.compile(rb"\r\nSet-Cookie: *((?:PHPSESSID|shop_session)=[^;\r]*)", re.I)
FORM = {"form[name]": "Pear & co", "form[pieces]": "3", "form[send]": ""}
# /visit, with its session, is different every time; so are these fields.
VARIES = re.compile(r"^(Date|Expires|X-Request-ID|Traceparent|Connection|Keep-Alive|Server|Transfer-Encoding|Content-Length)$", re.I)


class Shop:
    """An application in WORKDIR/shop; more: what its pool has beside the usual."""

    def __init__(self, tokiophp, webserver, workdir, way, more):
        self.folder = workdir + "/shop"
        if way == "nginx":
            self.server = tokiophp(pool="pm.max_children = 4\n" + more)
            site = webserver("nginx", self.folder + "/public", self.server.address, locations=NGINX)
            self.address = ("127.0.0.1", site.port)
        else:
            site = Site(tokiophp, self.folder + "/public", pool=f"pm.max_children = 4\nhttp.index = /index.php\n{more}")
            self.server, self.address = site.server, site.address

    def connect(self):
        return http.client.HTTPConnection(*self.address, timeout=60)

    def ask(self, target, method="GET", body=None, connection=None, **fields):
        """(status, fields, text)"""
        c = connection or self.connect()
        c.request(method, target, body, {k.replace("_", "-"): v for k, v in fields.items()})
        answer = c.getresponse()
        text = answer.read().decode()
        if not connection:
            c.close()
        return answer.status, answer.getheaders(), text


NGINX = "location / { try_files $uri /index.php$is_args$args; }"


@pytest.fixture(params=["http", "nginx"])
def way(request):
    return request.param


@pytest.fixture
def shop(tokiophp, webserver, workdir, way):
    try:
        symfony.unpack(workdir)
    except packages.Missing as why:
        pytest.skip(str(why))
    return lambda worker=True: Shop(tokiophp, webserver, workdir, way, symfony.pool(workdir + "/shop", worker))


def steady(answer):
    """What is the same each time."""
    status, fields, text = answer
    fields = sorted((n, re.sub("PHPSESSID=[^;]*", "PHPSESSID=", v)) for n, v in fields if not VARIES.match(n))
    return status, fields, text


def all_pages(shop):
    pages = {}
    for path in symfony.PAGES:
        for method in ("GET", "HEAD", "POST"):
            pages[method, path] = steady(shop.ask(path, method))
    body = urllib.parse.urlencode(FORM)
    pages["form"] = steady(shop.ask("/form", "POST", body, Content_Type="application/x-www-form-urlencoded"))
    pages["bad form"] = steady(shop.ask("/form", "POST", body.replace("=3", "=many"), Content_Type="application/x-www-form-urlencoded"))
    content, fields = multipart("file", "a.txt", b"some content\n" * 1000, "text/plain")
    pages["upload"] = steady(shop.ask("/upload", "POST", content, **fields))
    pages["not modified"] = steady(shop.ask("/cached", If_None_Match='"abc"'))
    pages["login"] = steady(shop.ask("/login?name=me"))
    return pages


@pytest.mark.seconds(300)
def test_answers_are_those_of_classic_mode(shop):
    first = shop(worker=False)
    classic = all_pages(first)
    first.server.stop()
    assert classic["GET", "/hello/World"][2] == "Hello World by GET" and classic["form"][2] == '{"name":"Pear & co","pieces":3}'
    assert classic["GET", "/fails"][0] == 500 and classic["GET", "/nothing"][0] == 404 and "FRUIT 19" in classic["GET", "/fruit"][2]
    held = shop()
    for _ in range(3):
        own = all_pages(held)
        assert {k: (own[k], v) for k, v in classic.items() if own[k] != v} == {}
    assert "exited on signal" not in held.server.messages()


class Kept:
    """A connection of somebody's, made anew when the server ends it; a million requests through http.client are an hour."""

    def __init__(self, address):
        self.address, self.sock = address, None

    def get(self, target, **fields):
        """(status, the session's cookie if it is set, or None, body)"""
        if not self.sock:
            self.sock = socket.create_connection(self.address, timeout=60)
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        self.sock.sendall(f"GET {target} HTTP/1.1\r\nHost: shop\r\n{lines}\r\n".encode())
        data = b""
        while not (answer := load.parse(data)):
            more = self.sock.recv(65536)
            if not more:
                raise EOFError(f"the connection ended after {data[:500]!r}")
            data += more
        status, close, body, rest = answer
        if rest:
            raise ValueError(f"behind an answer: {rest[:500]!r}")
        if close:
            self.close()
        cookie = COOKIE.search(data)
        return status, cookie and cookie.group(1).decode(), body

    def close(self):
        if self.sock:
            self.sock.close()
        self.sock = None


class User(threading.Thread):
    """Logs in, then comes again and again; wrong is what was not his own."""

    def __init__(self, shop, number):
        super().__init__()
        self.connection, self.name_, self.wrong, self.asked = Kept(shop.address), f"user{number}", [], 0

    def run(self):
        try:
            status, cookie, _ = self.connection.get(f"/login?name={self.name_}")
            if status != 303 or not cookie:
                raise AssertionError((status, cookie))
            for n in range(1, VISITS + 1):
                status, new, body = self.connection.get(f"/visit?name={self.name_}", Cookie=cookie, X_Name=self.name_)
                self.asked += 1
                if status != 200 or json.loads(body) != [self.name_, self.name_, self.name_, n, 1, self.name_] or new:
                    self.wrong.append((n, status, new, body[:300]))
                    return
        except Exception as e:
            self.wrong.append(repr(e))
        finally:
            self.connection.close()


@pytest.mark.seconds(300 if VISITS < 1000 else 36000)
def test_users_never_mix(shop, way):
    held = shop()
    users = [User(held, n) for n in range(USERS)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    wrong = [w for user in users for w in user.wrong]
    tell(f"Symfony in worker mode, {way}: {sum(u.asked for u in users)} requests of {USERS} users at once, {len(wrong)} wrong")
    assert not wrong, wrong[:3]


@pytest.mark.seconds(300 if VISITS < 1000 else 36000)
def test_nothing_grows(shop, way):
    """What the script of each thread holds after hundreds of requests is what it holds at the end."""
    held = shop()

    def visit(times):
        connection = held.connect()
        for _ in range(times):
            for path in ("/fruit", "/form", "/visit?name=x", "/fails", "/nothing"):
                held.ask(path, connection=connection)
        connection.close()

    def memory():
        """{thread: the most of some looks}"""
        found = {}

        def look():
            for _ in range(12):
                thread, used = json.loads(held.ask("/memory")[2])
                found[thread] = max(found.get(thread, 0), used)
        assert Several([look] * 8).results() == [None] * 8
        return found
    assert Several([lambda: visit(50)] * 4).results(200) == [None] * 4
    before = memory()
    assert Several([lambda: visit(max(50, VISITS))] * 4).results(30000) == [None] * 4
    after = memory()
    tell(f"Symfony in worker mode, {way}: {before} bytes after 1000 requests, {after} after {20 * max(50, VISITS)} more")
    both = set(before) & set(after)
    assert both and all(after[thread] < before[thread] + 64 * 1024 for thread in both), (before, after)
