"""drain_delay: a server that was told to end says so in /health, and takes connections until balancers have noticed. Where a
test must not depend on time the delay is an hour, and the end is SIGTERM's."""
import concurrent.futures
import http.client
import json
import os
import signal
import subprocess
import threading

import pytest

import process
from fcgi_client import Connection, fetch
from gate import Gate
from h2_client import Client as Http2
from http_raw import Raw
from process import free_port, wait_for
from test_finish import ROUTED, Http, engine, refused
from tokiophp import IS_ROOT, PROGRAM

HOUR = "drain_delay = 1h\n"


class Node:
    """A server with both front ends and pages of its own."""

    def __init__(self, start, workdir, delay, pool="engine = stub\n", **how):
        self.http, self.inside = ("127.0.0.1", free_port()), ("127.0.0.1", free_port())
        self.script = f"{workdir}/www/hello.php"
        inside = "" if how.pop("sleeps", False) else f"http.internal_listen = {self.inside[0]}:{self.inside[1]}\n"
        self.server = start(pool=f"{inside}http.listen = {self.http[0]}:{self.http[1]}\nhttp.document_root = {workdir}/www\n{pool}",
                            settings=f"control_socket = {{dir}}/ctl\n{delay}", **how)
        self.fcgi = self.server.address

    def ready(self):
        self.server.wait_message("ready to handle connections")
        return self

    def ctl(self, *words):
        done = subprocess.run([PROGRAM, "ctl", "-s", f"{self.server.directory}/ctl", *words], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False, timeout=20)
        return done.stdout

    def state(self):
        return (self.ctl("status").split('"') + [""])[1]

    def health(self, path="/health"):
        """(status, word)"""
        connection = http.client.HTTPConnection(*self.inside, timeout=20)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())["status"]
        finally:
            connection.close()

    def ask(self):
        with Raw(self.http) as raw:
            return raw.send("GET /hello.php HTTP/1.1\r\nHost: localhost\r\n\r\n").reply()

    def drain(self, sleeps=False):
        """The supervisor has heard, and its processes have, if there are any."""
        self.server.signal(signal.SIGQUIT)
        self.server.wait_message("Draining: ")
        if not sleeps:
            wait_for(lambda: self.ask().get("Connection") == "close", what="the process has heard")
        return self


@pytest.fixture
def node(tokiophp, workdir):
    return lambda delay=HOUR, **how: Node(tokiophp, workdir, delay, **how).ready()


def test_it_says_so_and_serves_on(node):
    n = node()
    assert n.health() == (200, "ok") and n.health("/health/ready") == (200, "ok")
    assert n.ask().get("Connection") is None
    n.drain()
    assert n.health() == (503, "draining") and n.health("/health/ready") == (503, "draining")
    assert n.health("/health/live") == (200, "alive")
    assert n.ctl("health") == "error: the server is draining\n"
    answer = n.ask()
    assert (answer.status, answer.get("Connection")) == (200, "close")
    assert fetch(n.fcgi, n.script).status == 200


def test_without_a_delay_it_ends_at_once(node):
    n = node("")
    n.server.signal(signal.SIGQUIT)
    assert n.server.wait() == 0
    assert "Draining" not in n.server.messages()


def test_further_orders_change_nothing(node):
    n = node().drain()
    n.server.signal(signal.SIGQUIT)
    assert "connections are still taken" in n.ctl("drain")
    assert n.state() == "draining" and n.ask().status == 200
    assert n.server.messages().count("Draining: ") == 1
    n.server.signal(signal.SIGTERM)
    assert n.server.wait() == 0
    assert "Finishing" not in n.server.messages()


def test_what_was_kept_ends_with_its_next_answer(node):
    n = node()
    kept, unused = Connection(n.fcgi), Connection(n.fcgi)
    raw = Raw(n.http)
    for connection in (kept, unused):
        assert connection.request(n.script, keep=True).end == (0, 0)
    raw.send("GET /hello.php HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert raw.reply().status == 200
    n.drain()
    assert kept.request(n.script, keep=True).end == (0, 0)
    assert kept.closed()
    raw.send("GET /hello.php HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert raw.reply().get("Connection") == "close" and raw.at_end()
    assert unused.request(n.script, keep=True).end == (0, 0)
    for connection in (kept, unused, raw):
        connection.close()


def test_files_and_errors_end_their_connections_too(node, workdir):
    with open(f"{workdir}/www/file.txt", "w") as f:
        f.write("file")
    n = node().drain()
    for target, status in (("/file.txt", 200), ("/none.txt", 404)):
        with Raw(n.http) as raw:
            reply = raw.send(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").reply()
            assert (reply.status, reply.get("Connection")) == (status, "close") and raw.at_end()


def test_a_crashed_process_is_replaced_meanwhile(node):
    n = node().drain()
    first = engine(n.server)
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: engine(n.server) != first, what="another process")
    answer = n.ask()
    assert (answer.status, answer.get("Connection")) == (200, "close")
    assert n.health() == (503, "draining")


def test_crashes_ask_for_no_reload_meanwhile(node):
    n = node(HOUR + "emergency_restart_threshold = 1\nemergency_restart_interval = 1m\n").drain()
    first = engine(n.server)
    os.kill(first, signal.SIGSEGV)
    wait_for(lambda: engine(n.server) != first, what="another process")
    assert n.ask().status == 200
    assert n.ctl("reload") == "error: not now\n"
    assert "initiating reload" not in n.server.messages()


def test_a_restart_of_a_pool_meanwhile(node):
    n = node().drain()
    first = engine(n.server)
    n.ctl("restart", "www")
    wait_for(lambda: engine(n.server) != first, what="another process")
    answer = n.ask()
    assert (answer.status, answer.get("Connection")) == (200, "close")


def test_there_is_no_reload_meanwhile(node):
    n = node().drain()
    n.server.signal(signal.SIGUSR2)
    n.server.wait_message("no reload: the server ends")
    assert n.ctl("reload") == "error: not now\n"
    assert n.state() == "draining" and n.ask().status == 200
    assert "reloading" not in n.server.messages()


def test_the_order_comes_while_a_configuration_is_tested(node, workdir):
    """The test of a reload loads PHP: the order is there before it is done, or right after it. Either way nobody is sent away."""
    n = node(pool="")
    n.server.signal(signal.SIGUSR2)
    n.server.signal(signal.SIGQUIT)
    wait_for(lambda: n.state() == "draining", what="the order was heard")
    assert n.health() == (503, "draining") and n.ask().status == 200
    assert n.server.messages().count("Draining: ") == 1


BOOT = "<?php GATE $gate(getenv('BOOT')); while (tokio_handle_request(function () { echo 'booted'; })) { }"


def test_the_order_comes_while_it_starts(tokiophp, workdir):
    """Nobody has been sent to it yet, so nobody has to be told."""
    with open(f"{workdir}/www/boot.php", "w") as f:
        f.write(BOOT.replace("GATE", Gate(workdir).php).replace("getenv('BOOT')", "1"))
    n = Node(tokiophp, workdir, HOUR, pool=f"worker.script = {workdir}/www/boot.php\nworker.num = 1\n", wait=False)
    wait_for(lambda: n.state() == "launching", what="the control socket")
    n.server.signal(signal.SIGQUIT)
    assert n.server.wait() == 0


def test_the_order_comes_while_a_reload_starts_its_processes(tokiophp, workdir):
    """What served before serves on."""
    gate = Gate(workdir)
    gate.open(1)
    with open(f"{workdir}/www/boot.php", "w") as f:
        f.write(BOOT.replace("GATE", gate.php))
    n = Node(tokiophp, workdir, HOUR, pool=f"env[BOOT] = 1\nworker.script = {workdir}/www/boot.php\nworker.num = 1\n").ready()
    with open(n.server.config_path) as f:
        text = f.read()
    with open(n.server.config_path, "w") as f:
        f.write(text.replace("env[BOOT] = 1", "env[BOOT] = 2"))
    n.server.signal(signal.SIGUSR2)
    wait_for(lambda: "state=starting" in n.ctl("status"), what="the next process")
    n.drain()
    assert n.health() == (503, "draining") and n.ask().status == 200
    gate.open(2)
    wait_for(lambda: "state=starting" not in n.ctl("status"), what="the next process serves")
    answer = n.ask()
    assert (answer.status, answer.get("Connection")) == (200, "close")


ONDEMAND = "engine = stub\npm = ondemand\npm.process_idle_timeout = 1s\n"


@pytest.mark.parametrize("delay, wakes", [(HOUR, True), ("drain_delay = 1s\n", False)])
def test_a_pool_that_sleeps(node, delay, wakes):
    n = node(delay, pool=ONDEMAND, sleeps=True)
    wait_for(lambda: " asleep" in n.ctl("status"), what="its sleep")
    n.drain(sleeps=True)
    if wakes:
        answer = n.ask()
        assert (answer.status, answer.get("Connection")) == (200, "close")
        wait_for(lambda: " asleep" in n.ctl("status"), what="its sleep")
        assert fetch(n.fcgi, n.script).status == 200
    else:
        assert n.server.wait() == 0


def test_pools_that_others_ask(tokiophp, workdir):
    port = free_port()
    os.mkdir(f"{workdir}/www/api")
    with open(f"{workdir}/www/api/x.php", "w") as f:
        f.write("<?php")
    config = ROUTED.replace("PORT", str(port)).replace("USER\n", "user = nobody\ngroup = nogroup\n" if IS_ROOT else "")
    server = tokiophp(config=config.replace("daemonize = no\n", "daemonize = no\ndrain_delay = 2s\n"))
    server.wait_message("ready to handle connections")
    front = Http(("127.0.0.1", port), target="/api/x.php")
    front.hold()
    server.signal(signal.SIGQUIT)
    server.wait_message("Draining: ")
    statuses = set()
    while not refused(front):  # on one connection to the other pool, which is kept
        try:
            sock = front.connect()
        except ConnectionRefusedError:
            break
        front.ask(sock)
        with sock, front.raw(sock) as raw:
            statuses.add(raw.reply().status)
    assert statuses == {200}
    assert server.running() and front.let_go()
    assert server.wait() == 0


def test_http2_is_told_when_the_delay_is_over(node):
    """Not before: who leaves early comes back to the same machine, as long as its balancer believes in it."""
    def seen_within(seconds):
        """Whether all was looked at within the delay; on a slow machine it has to be a longer one."""
        n = node(f"drain_delay = {seconds}s\n")
        over = lambda: "Finishing" in n.server.messages()  # noqa: E731
        with Http2(n.http) as old:
            assert old.get()[0] == 200
            try:
                n.drain()
                with Http2(n.http) as new:
                    assert new.get()[0] == 200 and old.get()[0] == 200
                    assert over() or (old.terminated, new.terminated) == (None, None)
                in_time = not over()
            except (OSError, AssertionError):
                if not over():
                    raise
                in_time = False
            while old.terminated is None:
                assert old.step()
            assert old.terminated == 0 and over()
        assert n.server.wait() == 0
        for log in (n.server.error_log, n.server.log_path):
            os.truncate(log, 0)
        return in_time
    assert any(seen_within(seconds) for seconds in (3, 8, 20))


class Clients:
    """Each asks until it is refused for good, on connections that it keeps where that is offered."""

    def __init__(self, n, count=6):
        self.n, self.count, self.bad, self.good = n, count, [], 0
        self.refusals = threading.Event()

    def http(self):
        while True:
            try:
                raw = Raw(self.n.http)
            except ConnectionRefusedError:
                return
            with raw:
                close = False
                while not close:
                    reply = raw.send("GET /hello.php HTTP/1.1\r\nHost: localhost\r\n\r\n").reply()
                    if reply is None or reply.status != 200:
                        self.bad.append(reply and reply.status)
                        return
                    self.good += 1
                    close = reply.get("Connection") == "close"

    def fcgi(self):
        while True:
            try:
                connection = Connection(self.n.fcgi)
            except (ConnectionRefusedError, FileNotFoundError):
                return
            with connection:
                closed = False
                while not closed:
                    response = connection.request(self.n.script, keep=True)
                    if response.end != (0, 0):
                        self.bad.append(response.end)
                        return
                    self.good += 1
                    connection.socket.setblocking(False)
                    try:
                        closed = connection.socket.recv(1) == b""
                    except BlockingIOError:
                        pass
                    connection.socket.settimeout(process.PATIENCE)

    def run(self, kind):
        try:
            getattr(self, kind)()
        except (OSError, AssertionError) as e:
            self.bad.append((kind, repr(e)))


def test_under_load_nobody_is_cut_off(node):
    """Kept connections and all: no request meets the end of one. Over TCP, where an answer and the end that comes with it are
    one packet."""
    n = node("drain_delay = 2s\n", address=("127.0.0.1", free_port()))
    clients = Clients(n)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        running = [pool.submit(clients.run, kind) for kind in ("http", "http", "http", "fcgi", "fcgi", "fcgi")]
        wait_for(lambda: clients.good > 100, what="some answers")
        n.server.signal(signal.SIGQUIT)
        n.server.wait_message("Draining: ")
        assert n.server.wait() == 0
        for client in running:
            client.result(60)
    assert not clients.bad, clients.bad[:5]


@pytest.mark.parametrize("number, finished", [(signal.SIGTERM, True), (signal.SIGINT, False)])
def test_serve_drains_on_sigterm(workdir, number, finished):
    """What starts it in a container knows no other signal; Ctrl-C is a person who wants to go on."""
    gate, port = Gate(workdir), free_port()
    with open(f"{workdir}/www/slow.php", "w") as f:
        f.write(f"<?php touch('{workdir}/tmp/runs'); {gate.php} $gate(1); echo 'finished';")
    server = process.Program([PROGRAM, "serve", f"{workdir}/www", "--listen", f"127.0.0.1:{port}", "--workers", "2"], workdir,
                             "serve.log", env={"PATH": os.environ["PATH"]})
    try:
        server.wait_accepting(("127.0.0.1", port))
        with Raw(("127.0.0.1", port)) as raw:
            raw.send("GET /slow.php HTTP/1.1\r\nHost: localhost\r\n\r\n")
            wait_for(lambda: os.path.exists(f"{workdir}/tmp/runs"), what="the request runs")
            server.signal(number)
            if finished:
                wait_for(lambda: not process.accepts(("127.0.0.1", port)), what="a refusal")
                server.signal(number)  # a second one changes nothing
                gate.open(1)
                assert raw.reply().body == b"finished"
            else:
                assert server.wait() == 0
                assert raw.reply() is None
        assert server.wait() == 0
    finally:
        gate.open(1)
        server.stop()
