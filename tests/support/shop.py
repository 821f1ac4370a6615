"""Applications in worker mode as their users meet them: a shop over HTTP or behind nginx, and users who log in and come again and
again, all at once."""
import http.client
import json
import os
import re
import socket
import threading

import load
from faulty import Several, tell
from web import Site

USERS = 16
VISITS = int(os.environ.get("VISITS", "40"))  # of each user; VISITS=62500 makes a million
COOKIE = re.compile(rb"\r\nSet-Cookie: *((?:PHPSESSID|shop_session)=[^;\r]*)", re.I)
# /visit, with its session, is different every time; so are these fields.
VARIES = re.compile(r"^(Date|Expires|X-Request-ID|Traceparent|Connection|Keep-Alive|Server|Transfer-Encoding|Content-Length)$", re.I)
NGINX = "location / { try_files $uri /index.php$is_args$args; }"


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
    """Logs in, then comes again and again; wrong is what was not his own. visit() is the application's."""

    def __init__(self, shop, number):
        super().__init__()
        self.connection, self.name_, self.wrong, self.asked = Kept(shop.address), f"user{number}", [], 0

    def visit(self, n, cookie):
        """The n-th time: (the cookie of the next time, whether all was his own, what came)."""
        raise NotImplementedError

    def run(self):
        try:
            status, cookie, _ = self.connection.get(f"/login?name={self.name_}")
            if status != 303 or not cookie:
                raise AssertionError((status, cookie))
            for n in range(1, VISITS + 1):
                cookie, good, came = self.visit(n, cookie)
                self.asked += 1
                if not good:
                    self.wrong.append((n, came))
                    return
        except Exception as e:
            self.wrong.append(repr(e))
        finally:
            self.connection.close()


def memory_of(shop):
    """{thread: the most of some looks}"""
    found = {}

    def look():
        for _ in range(12):
            thread, used = json.loads(shop.ask("/memory")[2])
            found[thread] = max(found.get(thread, 0), used)
    assert Several([look] * 8).results() == [None] * 8
    return found


def check_growth(title, shop, visit, warm):
    """visit(n): n rounds of somebody's, of whom four come at once. What the script of each thread holds after some rounds is what it
    holds at the end."""
    assert Several([lambda: visit(warm)] * 4).results(200) == [None] * 4
    before, rounds = memory_of(shop), max(warm, VISITS)
    assert Several([lambda: visit(rounds)] * 4).results(30000) == [None] * 4
    after = memory_of(shop)
    tell(f"{title}: {before} bytes after {4 * warm} rounds, {after} after {4 * rounds} more")
    both = set(before) & set(after)
    assert both and all(after[thread] < before[thread] + 64 * 1024 for thread in both), (before, after)


def check_users(title, shop, user):
    """USERS of this kind at once; none sees anything of another."""
    users = [user(shop, n) for n in range(USERS)]
    for one in users:
        one.start()
    for one in users:
        one.join()
    wrong = [w for one in users for w in one.wrong]
    tell(f"{title}: {sum(u.asked for u in users)} requests of {USERS} users at once, {len(wrong)} wrong")
    assert not wrong, wrong[:3]
