"""Reloads, binary upgrades, bad configurations and signals: nobody's request is lost."""
import contextlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import threading
import time

import h2.config
import h2.connection
import h2.events
import process
import pytest
import tokiophp as tokiophp_module
from faulty import Several, many, tell

RELOAD = "Reloading in progress"


def reload(server, number=signal.SIGUSR2):
    """One reload, to its end: the new generation serves."""
    before = server.count("ready to handle connections")
    server.server.signal(number)
    process.wait_for(lambda: server.count("ready to handle connections") > before, 20, "the reload")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_reloads(faulty, front, method):
    server = faulty(fronts=(front,))
    rounds = many(10, 100)
    with server.load(front, connections=8, method=method) as load:
        for _ in range(rounds):
            reload(server, signal.SIGHUP)
            time.sleep(0.02)
        time.sleep(1.5)
    tell(f"{rounds} reloads, {front} {method}: {load.summary()}")
    assert load.result["failed"] == 0, load.result["failures"]
    server.wait_settled()


def test_reloads_with_quiet_connections(faulty, front):
    """Connections that send a request now and then: one of them meets every moment of a drain."""
    server = faulty(fronts=(front,))
    failures = []
    stop = threading.Event()

    def visitor(pause):
        import http.client
        c = http.client.HTTPConnection("127.0.0.1", server.ports[front], timeout=20)
        while not stop.is_set():
            try:
                c.request("POST", "/hello.php", body="a=b")
                r = c.getresponse()
                r.read()
                if r.status != 200:
                    failures.append(r.status)
            except (http.client.HTTPException, OSError) as e:
                failures.append(repr(e))
                c.close()
            time.sleep(pause)
    visitors = Several([lambda p=0.01 + 0.013 * i: visitor(p) for i in range(16)])
    for _ in range(many(5, 40)):
        reload(server)
        time.sleep(0.5)
    stop.set()
    visitors.results()
    assert failures == []


def test_slow_requests_finish(faulty, front):
    server = faulty(fronts=(front,))
    server.script("slow.php", "<?php for ($i = 0; $i < 8; $i++) { usleep(200000); } echo 'slow';")
    slow = Several([lambda: server.ask(front, "/slow.php").text] * 3)
    time.sleep(0.3)
    reload(server)
    assert slow.results() == ["slow"] * 3


def test_binary_upgrades(faulty, front, workdir, monkeypatch):
    program = f"{workdir}/program"
    shutil.copy(tokiophp_module.PROGRAM, program)
    monkeypatch.setattr(tokiophp_module, "PROGRAM", program)
    server = faulty(fronts=(front,))
    rounds = many(5, 20)
    with server.load(front, connections=8) as load:
        for _ in range(rounds):
            shutil.copy(program, program + ".new")
            os.rename(program + ".new", program)
            reload(server)
        time.sleep(1)
    tell(f"{rounds} binary upgrades, {front}: {load.summary()}")
    assert load.result["failed"] == 0, load.result["failures"]


def test_bad_configurations(faulty, front):
    server = faulty(fronts=(front,))
    rounds = many(5, 20)
    with open(server.server.config_path) as f:
        good = f.read()
    first = server.serving_pid()
    bad = ["pm.max_children = many\n", "nonsense\n", "[www2]\nlisten = /nowhere/at/all\n", "pm.bogus = 1\n"]
    with server.load(front, connections=8) as load:
        for i in range(rounds):
            with open(server.server.config_path, "w") as f:
                f.write(good + bad[i % len(bad)])
            before = server.count("reload refused: .*nothing was changed")
            server.server.signal(signal.SIGUSR2)
            process.wait_for(lambda n=before: server.count("reload refused: .*nothing was changed") > n, 20, "refusal")
        assert server.serving_pid() == first
        with open(server.server.config_path, "w") as f:
            f.write(good)
        reload(server)
        time.sleep(1)
    tell(f"{rounds} bad configurations, {front}: {load.summary()}")
    assert load.result["failed"] == 0, load.result["failures"]
    assert "pm.max_children" in server.server.messages() and "many" in server.server.messages()


class H2:
    """A client that keeps the rules of RFC 9113: after GOAWAY it opens another connection for new streams."""

    def __init__(self, port):
        self.port, self.good, self.failures, self.connections = port, 0, [], 0

    def connect(self):
        self.connections += 1
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.h2.initiate_connection()
        self.socket.sendall(self.h2.data_to_send())
        self.left, self.rest, self.last_stream = False, b"", 1 << 31

    def without_goaway(self, data):
        """Python's h2 ends everything at a GOAWAY, also the streams that are still to be answered."""
        data, kept = self.rest + data, b""
        while len(data) >= 9 and len(data) >= 9 + int.from_bytes(data[:3], "big"):
            frame, data = data[:9 + int.from_bytes(data[:3], "big")], data[9 + int.from_bytes(data[:3], "big"):]
            if frame[3] == 7:
                self.left, self.last_stream = True, int.from_bytes(frame[9:13], "big") & 0x7fffffff
            else:
                kept += frame
        self.rest = data
        return kept

    def streams(self, count):
        """Some requests at the same time; how each ended."""
        open_streams = {}
        for _ in range(count):
            stream = self.h2.get_next_available_stream_id()
            self.h2.send_headers(stream, [(":method", "GET"), (":path", "/hello.php"), (":scheme", "http"),
                                          (":authority", "localhost")], end_stream=True)
            open_streams[stream] = None
        self.socket.sendall(self.h2.data_to_send())
        while open_streams:
            data = self.socket.recv(65536)
            if not data:
                self.failures.append(f"closed with {len(open_streams)} streams open")
                self.left = True
                return
            for e in self.h2.receive_data(self.without_goaway(data)):
                if isinstance(e, h2.events.ResponseReceived):
                    open_streams[e.stream_id] = dict(e.headers)[b":status"]
                elif isinstance(e, h2.events.StreamEnded):
                    status = open_streams.pop(e.stream_id)
                    if status == b"200":
                        self.good += 1
                    else:
                        self.failures.append(status)
                elif isinstance(e, h2.events.StreamReset):
                    open_streams.pop(e.stream_id, None)
                    self.failures.append("reset")
                elif isinstance(e, h2.events.DataReceived):
                    self.h2.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
            for lost in [s for s in open_streams if s > self.last_stream]:
                del open_streams[lost]  # was not processed: may be sent again, and is
            out = self.h2.data_to_send()
            if out:
                self.socket.sendall(out)

    def run(self, stop):
        self.connect()
        while not stop.is_set():
            if self.left:
                self.socket.close()
                self.connect()
            self.streams(5)


def test_reloads_and_http2(faulty):
    server = faulty(fronts=("http",))
    stop = threading.Event()
    clients = [H2(server.http_port) for _ in range(4)]
    running = Several([lambda c=c: c.run(stop) for c in clients])
    for _ in range(many(5, 50)):
        reload(server)
        time.sleep(0.3)
    with contextlib.suppress(process.Failure):  # of which the clients know more
        process.wait_for(lambda: all(c.connections > 1 for c in clients), 60, "new connections")
    stop.set()
    assert running.results() == [None] * 4
    failures = sum((c.failures for c in clients), [])
    tell(f"reloads, HTTP/2: good {sum(c.good for c in clients)}, failed {len(failures)}, "
         f"connections {sum(c.connections for c in clients)}")
    assert failures == []
    assert all(c.connections > 1 for c in clients)


def test_a_reload_starts_warm(faulty):
    server = faulty(fronts=("http",))
    for i in range(20):
        server.script(f"part{i}.php", f"<?php function part{i}() {{ return {i}; }}\n")
        os.utime(f"{server.www}/part{i}.php", (1, 1))  # OPcache leaves files alone that are just being written
    server.script("all.php", "<?php foreach (range(0, 19) as $i) { include __DIR__ . \"/part$i.php\"; }\n"
                             "$s = opcache_get_status(true); echo json_encode([getmypid(), count($s['scripts']),"
                             "$s['opcache_statistics']['misses'], $s['opcache_statistics']['hits']]);")
    before = json.loads(server.ask("http", "/all.php").text)
    server.ask("http", "/all.php")
    reload(server)
    process.wait_for(lambda: server.serving_pid() != before[0], 10, "the new process")
    pid, scripts, misses, hits = json.loads(server.ask("http", "/all.php").text)
    tell(f"first request after a reload: {scripts} scripts cached, {misses} misses, {hits} hits")
    assert pid != before[0] and scripts >= 20 and hits >= 20


SIGNALS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@pytest.mark.parametrize("last", [signal.SIGQUIT, signal.SIGTERM])
def test_signals_in_every_order(faulty, front, last):
    """25 signals at short intervals in every order of the three that are not the end, then the end."""
    server = faulty(fronts=(front,))
    orders = list(itertools.permutations(SIGNALS))
    random.Random(2).shuffle(orders)
    todo = [s for order in orders for s in order] + [signal.SIGUSR2] * 7
    with server.load(front, connections=8) as load:
        for number in todo[:25]:
            server.server.signal(number)
            time.sleep(0.04)
        time.sleep(1.5)
    tell(f"25 signals, {front}: {load.summary()}")
    assert load.result["failed"] == 0, load.result["failures"]
    server.server.signal(signal.SIGUSR2)
    server.server.signal(last)
    server.server.signal(signal.SIGUSR1)
    assert server.server.wait(20) == 0
    process.wait_for(lambda: server.server.family() == [], 5, "the end of all")


def test_quit_finishes_what_runs(faulty, front):
    """QUIT under load: no request that was taken is lost; then nobody listens."""
    server = faulty(fronts=(front,))
    marks = f"{server.directory}/tmp"
    server.script("slow.php", f"<?php touch('{marks}/runs' . tokio_worker_id()); usleep(1500000); echo 'slow';")
    slow = Several([lambda: server.ask(front, "/slow.php").text] * 3)
    process.wait_for(lambda: sum(name.startswith("runs") for name in os.listdir(marks)) == 3, what="three that run")
    server.server.signal(signal.SIGQUIT)
    assert slow.results() == ["slow"] * 3
    assert server.server.wait(20) == 0


def test_every_pair_of_signals(faulty):
    """TERM or QUIT at any moment of a reload: it ends, with 0 and no process left."""
    pairs = list(itertools.product((signal.SIGUSR2, signal.SIGHUP, signal.SIGUSR1),
                                   (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT)))
    server = faulty(fronts=("http",))
    for i, (first, last) in enumerate(pairs):
        server.server.signal(first)
        time.sleep(0.03 * (i % 5))
        server.server.signal(last)
        assert server.server.wait(20) == 0, server.server.messages()[-2000:]
        process.wait_for(lambda: server.server.family() == [], 5, f"the end of all after {first!r}, {last!r}")
        if i + 1 < len(pairs):
            server.server.__init__(server.directory, config=re.sub(r"\Z", "", open(server.server.config_path).read()),
                                   args=server.server.command[4:])
