"""Cases of a web front end: what is sent, and the right answer. Each case is a row of a table; one runner asks it over
every protocol and everywhere a script can run, and asks the servers whose answer is right as well.

    ways     h1   HTTP/1.1 on a plain connection, byte by byte what the case says
             h2   HTTP/2 by ALPN over TLS
             h2c  HTTP/2 with prior knowledge
    places   own     the pool that has the listener runs the script
             routed  another pool does (http.routes), which the listener's process asks
    peers    nginx   nginx in front of a php-fpm: the case's answer must be its answer, too, over HTTP/1.1
             caddy   the same with Caddy

A table is a list of Case; `parametrize(TABLE)` makes the tests of it, which get `ask` and hand it to `check`:

    @parametrize(CASES)
    def test_web(stages, case, way, place):
        stages.check(case, way, place)
"""
import glob
import json
import os
import re
import socket
import subprocess

import process
import pytest
import tokiophp
import webservers
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from http_raw import insecure
from workdirs import make_workdir, remove_workdir

WAYS, PLACES = ("h1", "h2", "h2c"), ("own", "routed")
SECONDS = 20
ABSENT = None
VARIABLES = "<?php header('Content-Type: application/json'); echo json_encode($_SERVER, JSON_INVALID_UTF8_SUBSTITUTE);"


class Case:
    """
    fields: [(name, value)]; content: bytes, or None; raw: HTTP/1 bytes instead of all these; {port} in it is the port's.
    site: whose files and settings (see Site). want, all of them optional:
        status   a number
        body     bytes, a str, or a compiled pattern that is found in it
        has      {field: its value, ABSENT, a list of all values in order, or a compiled pattern}
        server   {variable: value or ABSENT} of what VARIABLES has printed
        ended    "whole" (the default), or "cut": the answer breaks off, and its reader sees that it does
        logged   a pattern that a new line of the error log has
        check    a function that gets the reply and asserts
    """

    def __init__(self, name, target="/", method="GET", fields=(), content=None, host="test.example", raw=None, site="plain",
                 ways=WAYS, places=PLACES, peers=(), **want):
        self.name, self.target, self.method, self.fields, self.content = name, target, method, list(fields), content
        self.host, self.site, self.peers, self.want = host, site, peers, want
        self.raw = raw.encode("latin-1") if isinstance(raw, str) else raw
        self.ways, self.places = (("h1",) if raw is not None else ways), places
        unknown = set(want) - {"status", "body", "has", "server", "ended", "logged", "check"}
        assert not unknown, unknown


def parametrize(table):
    """One test for each case, way and place; names are the table's, so they are unique."""
    names = [case.name for case in table]
    assert len(set(names)) == len(names), "two cases have one name"
    rows = [(case, way, place) for case in sorted(table, key=lambda c: c.site)
            for way, place in [(w, p) for w in case.ways for p in case.places] + [("h1", peer) for peer in case.peers]]
    return pytest.mark.parametrize("case, way, place", rows, ids=[f"{c.name}-{w}-{p}" for c, w, p in rows])


class Site:
    """files: {path below the document root: text or bytes}; pool: lines of every pool that serves it; listener: lines
    of those that have an address; more: {name: lines} of further pools; nginx: its locations where they are not the
    usual ones; prepare: called with the folder before anything starts. {folder} and {root} in lines are the site's."""

    def __init__(self, files, pool="", listener="", more=None, nginx="", prepare=None):
        self.files, self.pool, self.listener, self.more = files, pool, listener, more or {}
        self.nginx, self.prepare = nginx, prepare


# -- what came back --

class Reply:
    def __init__(self):
        self.status, self.fields, self.body, self.ended = 0, [], b"", "nothing came"

    def all(self, name):
        return [v for n, v in self.fields if n.lower() == name.lower()]

    def __repr__(self):
        return f"<{self.status} {self.fields} {self.body[:300]!r} {self.ended}>"


def read_chunks(file):
    body = b""
    while True:
        line = file.readline()
        if not line.endswith(b"\r\n"):
            return body, "cut"
        size = int(line.split(b";")[0], 16)
        if size == 0:
            return body, "whole" if file.readline() == b"\r\n" else "cut"
        piece = file.read(size + 2)
        body += piece[:size]
        if len(piece) < size + 2:
            return body, "cut"


def read_h1(file, method):
    """One final answer: interim ones are dropped."""
    reply = Reply()
    first = file.readline().decode("latin-1")
    if not first:
        return reply
    reply.status = int(first.split()[1])
    while (line := file.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        reply.fields.append((name, value.strip()))
    if reply.status < 200:
        return read_h1(file, method)
    reply.ended = "whole"
    if method == "HEAD" or reply.status in (204, 304):
        return reply
    if reply.all("Transfer-Encoding"):
        reply.body, reply.ended = read_chunks(file)
    elif reply.all("Content-Length"):
        n = int(reply.all("Content-Length")[0])
        reply.body = file.read(n)
        reply.ended = "whole" if len(reply.body) == n else "cut"
    else:
        reply.body = file.read()
    return reply


def ask_h1(address, case):
    data = case.raw
    if data is None:
        lines = [f"{case.method} {case.target} HTTP/1.1", f"Host: {case.host}", *(f"{n}: {v}" for n, v in case.fields)]
        if case.content is not None:
            lines.append(f"Content-Length: {len(case.content)}")
        data = "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + (case.content or b"")
    with socket.create_connection(address, timeout=SECONDS) as s, s.makefile("rb") as file:
        s.sendall(data.replace(b"{port}", str(address[1]).encode()))
        try:
            return read_h1(file, data.split(b" ")[0].decode("latin-1"))
        except ConnectionResetError:
            reply = Reply()
            reply.ended = "cut"
            return reply


class Stream:
    """One request on an HTTP/2 connection of its own; what a library would refuse to send is sent."""

    def __init__(self, sock, case, scheme):
        self.sock, self.reply = sock, Reply()
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="latin-1", validate_outbound_headers=False,
                                               normalize_outbound_headers=False, validate_inbound_headers=False))
        self.h2.initiate_connection()
        names = [(":method", case.method), (":scheme", scheme), (":authority", case.host), (":path", case.target)]
        self.id = self.h2.get_next_available_stream_id()
        self.h2.send_headers(self.id, names + [(n.lower(), v) for n, v in case.fields], end_stream=case.content is None)
        self.left = case.content
        self.send()

    def send(self):
        while self.left is not None:
            n = min(len(self.left), self.h2.local_flow_control_window(self.id), self.h2.max_outbound_frame_size)
            if self.left and n <= 0:
                break
            piece, self.left = self.left[:n], self.left[n:] or None
            self.h2.send_data(self.id, piece, end_stream=self.left is None)
        self.sock.sendall(self.h2.data_to_send())

    def handle(self, event):
        reply = self.reply
        if isinstance(event, ResponseReceived):
            reply.fields = [(n, v) for n, v in event.headers if not n.startswith(":")]
            reply.status = int(dict(event.headers)[":status"])
        elif isinstance(event, DataReceived):
            reply.body += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, self.id)
        elif isinstance(event, StreamEnded):
            reply.ended = "whole"
        elif isinstance(event, StreamReset) and reply.ended != "whole":
            reply.ended = "cut"
        elif isinstance(event, ConnectionTerminated) and reply.ended != "whole":
            reply.ended = f"cut: GOAWAY {event.error_code}"

    def run(self):
        while self.reply.ended == "nothing came":
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                self.reply.ended = "cut"
                break
            for event in self.h2.receive_data(data):
                self.handle(event)
            try:
                self.send()
            except (ProtocolError, BrokenPipeError, ConnectionResetError):
                self.left = None # the answer came before all of the body
        return self.reply


def ask_h2(address, case, tls):
    with socket.create_connection(address, timeout=SECONDS) as plain:
        sock = insecure("h2").wrap_socket(plain, server_hostname=case.host.split(":")[0]) if tls else plain
        try:
            return Stream(sock, case, "https" if tls else "http").run()
        finally:
            if tls:
                sock.close()


# -- where it is asked --

def php_fpm():
    """A php-fpm to compare with, or None."""
    known = ["/opt/tokiophp/php-8.4-nts/sbin/php-fpm", *sorted(glob.glob("/usr/sbin/php-fpm8*"))]
    return next((path for path in known if os.access(path, os.X_OK)), None)


def certificate(folder, name="test.example"):
    """NAME.pem and NAME.key in the folder."""
    path = os.path.join(folder, name)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", path + ".key", "-out", path + ".pem", "-days", "9", "-subj", f"/CN={name}",
                    "-addext", f"subjectAltName=DNS:{name}"], check=True, capture_output=True)
    return path


def pool_section(name, text):
    identity = f"user = {tokiophp.USER}\ngroup = {tokiophp.GROUP}\n" if tokiophp.IS_ROOT else ""
    return f"[{name}]\npm = static\npm.max_children = 2\ncatch_workers_output = yes\n{identity}{text}\n"


def dry_run(workdir, line):
    """What -t says of a site with this line; {dir} stands for the folder."""
    os.mkdir(workdir + "/site")
    path = workdir + "/t.ini"
    with open(path, "w") as f:
        f.write(f"[global]\nerror_log = {workdir}/error.log\n" + pool_section(
            "www", f"http.listen = 127.0.0.1:{process.free_port()}\nhttp.document_root = {workdir}/site\n{line.replace('{dir}', workdir)}\n"))
    return subprocess.run([tokiophp.PROGRAM, "-t", "-y", path], capture_output=True, text=True, check=False)


class Stage:
    """A site with every server that a case of it is asked of; each is started when the first case needs it."""

    def __init__(self, site):
        self.site, self.folder = site, make_workdir()
        self.root, self.programs, self.ports = os.path.join(self.folder, "site"), [], {}
        self.server = None
        for name, text in site.files.items():
            path = os.path.join(self.root, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as f:
                f.write(text if isinstance(text, bytes) else text.encode())
        for path, _, _ in os.walk(self.root):
            os.chmod(path, 0o755)
        if site.prepare:
            site.prepare(self.folder)

    def config(self):
        tls = certificate(self.folder)
        listener = f"http.tls_cert = {tls}.pem\nhttp.tls_key = {tls}.key\n{self.site.listener}"
        served = f"http.document_root = {self.root}\n{self.site.pool}"
        text = "[global]\nerror_log = {dir}/error.log\ndaemonize = no\n"
        for place in PLACES:
            self.ports[place] = {"plain": process.free_port(), "tls": process.free_port()}
            address = "http.listen = 127.0.0.1:%(plain)d, tls:127.0.0.1:%(tls)d\n" % self.ports[place]
            text += pool_section(place, address + served + listener)
        address = "http.listen = 127.0.0.1:%(plain)d\n" % self.ports["routed"]
        text += pool_section("behind", address + served + "http.routes = /*\n")
        return text + "".join(pool_section(name, lines) for name, lines in self.site.more.items())

    def start(self):
        if not self.server:
            text = self.config().replace("{folder}", self.folder).replace("{root}", self.root)
            self.server = tokiophp.Tokiophp(self.folder, config=text, address=("127.0.0.1", self.ports["own"]["plain"]))
            self.programs.append(self.server)
            self.server.wait_accepting(("127.0.0.1", self.ports["routed"]["plain"]))

    def start_fpm(self, path):
        sock, conf = os.path.join(self.folder, "fpm.sock"), os.path.join(self.folder, "fpm.conf")
        if not os.path.exists(conf):
            identity = f"user = {tokiophp.USER}\ngroup = {tokiophp.GROUP}\n" if tokiophp.IS_ROOT else ""
            with open(conf, "w") as f:
                f.write(f"[global]\nerror_log = {self.folder}/fpm-error.log\ndaemonize = no\n[www]\nlisten = {sock}\n"
                        f"listen.mode = 0666\npm = static\npm.max_children = 2\n{identity}")
            self.programs.append(process.Program([path, "-F", "-n", "-y", conf], self.folder, "fpm.log"))
            self.programs[-1].wait_accepting(sock)
        return sock

    def start_peer(self, kind):
        fpm = php_fpm()
        if kind in self.ports or not fpm or webservers.missing(kind):
            return
        how = {"keepalive": False, "locations": self.site.nginx} if kind == "nginx" else {}
        front = webservers.KINDS[kind](self.folder, self.root, self.start_fpm(fpm), **how)
        self.programs.append(front)
        self.ports[kind] = {"plain": front.port}

    def ask(self, case, way, place):
        self.start() if place in PLACES else self.start_peer(place)
        if place not in self.ports:
            pytest.skip(f"no {place} with a php-fpm here")
        address = ("127.0.0.1", self.ports[place]["tls" if way == "h2" else "plain"])
        return ask_h1(address, case) if way == "h1" else ask_h2(address, case, way == "h2")

    def stop(self):
        try:
            process.stop_all(self.programs)
        finally:
            remove_workdir(self.folder)


class Stages:
    """The stages of a test file."""

    def __init__(self, sites):
        self.sites, self.stages = sites, {}

    def stage(self, name):
        if name not in self.stages:
            self.stages[name] = Stage(self.sites[name])
        return self.stages[name]

    def check(self, case, way, place):
        stage = self.stage(case.site)
        before = len(stage.server.messages()) if stage.server else 0
        reply = stage.ask(case, way, place)
        compare(reply, case.want)
        if "logged" in case.want and place in PLACES:
            process.wait_for(lambda: re.search(case.want["logged"], stage.server.messages()[before:]), 10,
                             f"a log line like {case.want['logged']!r}")

    def stop(self):
        complaint = None
        for stage in self.stages.values():
            try:
                stage.stop()
            except AssertionError as e:
                complaint = complaint or e
        if complaint:
            raise complaint


# -- the right answer --

def fits(seen, wanted):
    if isinstance(wanted, re.Pattern):
        return bool(seen) and all(wanted.search(s) for s in seen)
    if wanted is ABSENT:
        return not seen
    return seen == (wanted if isinstance(wanted, list) else [wanted])


def compare_body(reply, wanted):
    if isinstance(wanted, re.Pattern):
        assert wanted.search(reply.body if isinstance(wanted.pattern, bytes) else reply.body.decode("latin-1")), reply
    else:
        assert reply.body == (wanted if isinstance(wanted, bytes) else wanted.encode()), reply


def compare(reply, want):
    if "status" in want:
        assert reply.status == want["status"], reply
    ended = want.get("ended", "whole")
    assert reply.ended.startswith(ended), (ended, reply)
    for name, wanted in want.get("has", {}).items():
        assert fits(reply.all(name), wanted), (name, wanted, reply)
    if "body" in want:
        compare_body(reply, want["body"])
    if "server" in want:
        seen = json.loads(reply.body)
        seen = {name: seen.get(name) for name in want["server"]}
        assert seen == want["server"], reply
    if "check" in want:
        want["check"](reply)


def fixture(sites):
    """The fixture `stages` of a test file with these sites."""
    @pytest.fixture(scope="module")
    def stages():
        made = Stages(sites)
        yield made
        made.stop()
    return stages


__all__ = ["ABSENT", "PLACES", "VARIABLES", "WAYS", "Case", "Site", "fixture", "parametrize", "pool_section", "read_h1"]
