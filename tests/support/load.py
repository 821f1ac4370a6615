#!/usr/bin/python3
"""HTTP/1.1 load that counts every response exactly.

As a program: load.py METHOD HOST PORT CONNECTIONS PATH... ; keeps CONNECTIONS kept-alive connections busy, each with one
request at a time, until its stdin ends, and prints what happened as JSON. Load is that program as an object.

A response counts as good if its status is 200 and its body is what the first good body of that path was (paths that
contain "any" may answer anything). A connection that ends without an answer to its request is a failure ("lost"), also
if the connection had served others before: no request is ever sent twice.

"gaps" are the times without a good answer, from the one before to the next one or the end, as CLOCK_MONOTONIC has it.
"""
import collections
import json
import select
import socket
import subprocess
import sys
import time

HUNG_SECONDS = 60
KEPT = 200  # failures, and gaps, whose story is kept
GAP_SECONDS = 0.25


class Bad(Exception):
    pass


def parse(data):
    """(status, close, body, rest) of the first response in data, or None if it is not complete."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = data[:end]
    lower = head.lower()
    try:
        status = int(head[9:12])
    except ValueError:
        raise Bad(f"no response: {head[:60]!r}") from None
    close = b"\r\nconnection: close" in lower
    start = end + 4
    at = lower.find(b"\r\ncontent-length:")
    if at >= 0:
        length = int(lower[at + 17:].split(b"\r\n", 1)[0])
        if len(data) < start + length:
            return None
        return status, close, data[start:start + length], data[start + length:]
    if b"\r\ntransfer-encoding: chunked" not in lower:
        if status in (204, 304):
            return status, close, b"", data[start:]
        raise Bad("neither a length nor chunks")
    body = b""
    while True:
        line = data.find(b"\r\n", start)
        if line < 0:
            return None
        size = int(data[start:line].split(b";")[0], 16)
        start = line + 2
        if len(data) < start + size + 2:
            return None
        body += data[start:start + size]
        start += size + 2
        if size == 0:
            return status, close, body, data[start:]


class Connection:
    __slots__ = ("socket", "data", "path", "sent", "served")


class Client:
    def __init__(self, host, port, connections, paths, method="GET"):
        self.address = (host, port)
        self.paths = paths
        self.requests = {
            path: (f"{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\n" +
                   ("Content-Length: 3\r\n\r\na=b" if method == "POST" else "\r\n")).encode() for path in paths}
        self.turn = 0
        self.expected = {}
        self.good = 0
        self.statuses = collections.Counter()
        self.kinds = collections.Counter()
        self.failures = []
        self.latencies = []
        self.last_good = self.begin = time.monotonic()
        self.gap, self.gaps = 0.0, []
        self.new_connections = 0
        self.epoll = select.epoll()
        self.by_fd = {}
        for _ in range(connections):
            self.open()

    def fail(self, kind, c, more=""):
        now = time.monotonic()
        self.kinds[kind] += 1
        if len(self.failures) < KEPT:
            self.failures.append([round(now - self.begin, 3), kind, c.path, c.served, round(now - c.sent, 3), more])

    def open(self):
        c = Connection()
        c.data, c.served, c.path, c.sent = b"", 0, "-", time.monotonic()
        for attempt in range(200):
            c.socket = socket.socket()
            try:
                c.socket.connect(self.address)
                break
            except OSError as e:
                c.socket.close()
                self.fail("refused", c, str(e))
                time.sleep(0.01)
        else:
            return
        self.new_connections += 1
        c.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        c.socket.setblocking(False)
        self.by_fd[c.socket.fileno()] = c
        self.epoll.register(c.socket.fileno(), select.EPOLLIN)
        self.send(c)

    def close(self, c):
        self.epoll.unregister(c.socket.fileno())
        del self.by_fd[c.socket.fileno()]
        c.socket.close()

    def again(self, c):
        self.close(c)
        self.open()

    def send(self, c):
        c.path = self.paths[self.turn % len(self.paths)]
        self.turn += 1
        c.sent = time.monotonic()
        try:
            c.socket.send(self.requests[c.path])
        except OSError as e:
            self.fail("lost", c, f"send: {e}")
            self.again(c)

    def answered(self, c, status, body):
        now = time.monotonic()
        self.statuses[status] += 1
        if "any" in c.path:
            good = True
        elif status != 200:
            good = False
            self.fail(f"status {status}", c, body[:60].decode("latin-1"))
        else:
            good = self.expected.setdefault(c.path, body) == body
            if not good:
                self.fail("body", c, body[:60].decode("latin-1"))
        if good:
            self.good += 1
            c.served += 1
            self.note_gap(now)
            self.last_good = now
            self.latencies.append(now - c.sent)

    def note_gap(self, now):
        """How long nobody got a good answer."""
        gap = now - self.last_good
        self.gap = max(self.gap, gap)
        if gap > GAP_SECONDS and len(self.gaps) < KEPT:
            self.gaps.append([round(self.last_good, 3), round(now, 3)])

    def receive(self, c):
        try:
            piece = c.socket.recv(262144)
        except BlockingIOError:
            return
        except OSError as e:
            self.fail("cut" if c.data else "lost", c, str(e))
            self.again(c)
            return
        if not piece:
            self.fail("cut" if c.data else "lost", c, "closed")
            self.again(c)
            return
        c.data += piece
        try:
            got = parse(c.data)
        except Bad as e:
            self.fail("garbage", c, str(e))
            self.again(c)
            return
        if got:
            status, close, body, c.data = got
            self.answered(c, status, body)
            if c.data:
                self.fail("extra", c, c.data[:60].decode("latin-1"))
                close = True
            if close:
                self.again(c)
            else:
                self.send(c)

    def hung(self, c):
        self.fail("hung", c)
        self.again(c)

    def run(self, stop):
        look = time.monotonic() + 1
        while not stop():
            for fd, _ in self.epoll.poll(0.1):
                if fd in self.by_fd:
                    self.receive(self.by_fd[fd])
            if time.monotonic() > look:
                look = time.monotonic() + 1
                for c in [c for c in self.by_fd.values() if look - c.sent > HUNG_SECONDS]:
                    self.hung(c)
        return self.finish()

    def finish(self):
        """What is on its way is still counted."""
        self.note_gap(time.monotonic())
        end = time.monotonic() + 15
        self.open = lambda: None
        self.send = self.close
        while self.by_fd and time.monotonic() < end:
            for fd, _ in self.epoll.poll(0.1):
                if fd in self.by_fd:
                    self.receive(self.by_fd[fd])
        for c in list(self.by_fd.values()):
            self.fail("hung", c, "at the end")
        seconds = time.monotonic() - self.begin
        lat = sorted(self.latencies) or [0]
        return {"good": self.good, "failed": sum(self.kinds.values()), "kinds": dict(self.kinds),
                "statuses": dict(self.statuses), "failures": self.failures, "seconds": round(seconds, 2),
                "rate": round(self.good / seconds), "longest_gap_ms": round(self.gap * 1000),
                "gaps": self.gaps,
                "p50_ms": round(lat[len(lat) // 2] * 1000, 2), "p99_ms": round(lat[len(lat) * 99 // 100] * 1000, 2),
                "p999_ms": round(lat[len(lat) * 999 // 1000] * 1000, 2),
                "max_ms": round(lat[-1] * 1000, 1), "connections": self.new_connections}


class Load:
    """with Load(port, "/hello.php") as load: ... ; then load.result, a dictionary."""

    def __init__(self, port, *paths, connections=8, host="127.0.0.1", method="GET"):
        self.process = subprocess.Popen(
            [sys.executable, __file__, method, host, str(port), str(connections), *paths],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.result = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def family(self):
        return [self.process.pid]

    def kill(self):
        self.process.kill()
        self.process.communicate()

    def stop(self):
        if self.result is None:
            out, _ = self.process.communicate(timeout=60)
            self.result = json.loads(out)
        return self.result

    def summary(self):
        r = self.result
        return ", ".join(f"{k} {r[k]}" for k in ("good", "failed", "kinds", "rate", "longest_gap_ms", "p50_ms", "p99_ms",
                                                 "p999_ms", "max_ms", "connections"))


def main():
    method, host, port, connections, *paths = sys.argv[1:]
    client = Client(host, int(port), int(connections), paths, method)

    def ended():
        return select.select([sys.stdin], [], [], 0)[0]
    json.dump(client.run(ended), sys.stdout)


if __name__ == "__main__":
    main()
