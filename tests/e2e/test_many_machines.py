"""Three machines behind a balancer, with sessions in Redis: a rolling upgrade under load loses no request, and a machine that
dies costs only what was in flight on it. HAProxy, Caddy: HTTP, with checks of /health/ready. nginx: FastCGI over TCP on kept
connections, without checks. Their configurations are those of docs/many-machines.md."""
import http.client
import json
import os
import re
import shutil
import signal
import threading
import time

import pytest

from nodes import Machines
from process import Program, accepts, free_port, wait_for
from tokiophp import GROUP, IS_ROOT, PROGRAM, ROOT, USER

DELAY = 5  # drain_delay: the page's checks come every second, and two have to fail
CLIENTS = 8

SCRIPT = """<?php
HANDLER
session_start();
$_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1;
usleep(random_int(0, 20000));
header('Content-Type: application/json');
echo json_encode(['n' => $_SESSION['n'], 'node' => getenv('NODE'), 'release' => getenv('RELEASE'), 'method' => $_SERVER['REQUEST_METHOD']]);
"""

PHPREDIS = "ini_set('session.save_handler', 'redis'); ini_set('session.save_path', 'tcp://HOST:PORT');"

SOCKET = r"""
class RedisSession implements SessionHandlerInterface {
    private $socket;
    private function ask(...$words) {
        $text = '*' . count($words) . "\r\n";
        foreach ($words as $word) $text .= '$' . strlen($word) . "\r\n$word\r\n";
        if (fwrite($this->socket, $text) !== strlen($text) || ($line = fgets($this->socket)) === false || $line[0] === '-')
            throw new Exception('Redis: ' . var_export($line ?? null, true));
        if ($line[0] !== '$' || (int)substr($line, 1) < 0) return null;
        return substr(stream_get_contents($this->socket, (int)substr($line, 1) + 2), 0, -2);
    }
    public function open(string $path, string $name): bool {
        $this->socket = stream_socket_client('tcp://HOST:PORT', $code, $text, 10);
        return $this->socket !== false;
    }
    public function close(): bool { return fclose($this->socket); }
    public function read(string $id): string { return $this->ask('GET', "session:$id") ?? ''; }
    public function write(string $id, string $data): bool { $this->ask('SET', "session:$id", $data); return true; }
    public function destroy(string $id): bool { $this->ask('DEL', "session:$id"); return true; }
    public function gc(int $seconds): int { return 0; }
}
session_set_save_handler(new RedisSession, true);
"""

NODE = """[global]
error_log = {directory}/error.log
daemonize = no
control_socket = {directory}/ctl
drain_delay = {delay}
drain_timeout = 20
[www]
{user}pm = static
pm.max_children = 8
listen = {host}:{fcgi}
http.listen = {host}:{http}
http.internal_listen = {host}:{inside}
http.document_root = {www}
env[NODE] = {number}
env[RELEASE] = {release}
"""


class Node:
    """tokiophp on one machine; its release is the name of the program and a word in its answers."""

    def __init__(self, cluster, number):
        self.cluster, self.number, self.host = cluster, number, cluster.machines.hosts[number]
        self.directory = os.path.join(cluster.directory, f"node{number}")
        os.mkdir(self.directory)
        self.install(1)
        self.start()

    def install(self, release):
        """What a package does: the file is exchanged."""
        program = os.path.join(self.directory, "tokiophp")
        shutil.copy2(PROGRAM, program + ".new")
        os.rename(program + ".new", program)
        c = self.cluster
        with open(os.path.join(self.directory, "tokiophp.ini"), "w") as f:
            f.write(NODE.format(directory=self.directory, delay=DELAY, host=self.host, fcgi=c.fcgi, http=c.http, inside=c.inside,
                                www=c.www, number=self.number, release=release,
                                user=f"user = {USER}\ngroup = {GROUP}\n" if IS_ROOT else ""))

    def start(self):
        command = [*self.cluster.machines.inside(self.number), f"{self.directory}/tokiophp", "-F", "-y", f"{self.directory}/tokiophp.ini"]
        self.program = Program(command, self.directory, "tokiophp.log")
        self.cluster.programs.append(self.program)
        wait_for(lambda: self.health() == (200, "ok"), what=f"node {self.number} is ready")

    def health(self):
        try:
            connection = http.client.HTTPConnection(self.host, self.cluster.inside, timeout=5)
            connection.request("GET", "/health/ready")
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())["status"]
        except OSError:
            return None

    def accepts(self):
        return accepts((self.host, self.cluster.http)) and accepts((self.host, self.cluster.fcgi))

    def messages(self):
        with open(f"{self.directory}/error.log") as f:
            return f.read()

    def kill(self):
        self.program.kill_family()
        self.cluster.programs.remove(self.program)


PAGE = os.path.join(ROOT, "docs/many-machines.md")

NGINX = """
{user}
daemon off; worker_processes 2; pid {dir}/nginx.pid; error_log {dir}/nginx-error.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {dir}/nginx-body; fastcgi_temp_path {dir}/nginx-fastcgi; proxy_temp_path {dir}/nginx-proxy;
    uwsgi_temp_path {dir}/nginx-uwsgi; scgi_temp_path {dir}/nginx-scgi;
    {site}
}}
"""



def from_page(kind, cluster):
    """The page's blocks of this language, with this test's addresses in place of the page's."""
    with open(PAGE) as f:
        blocks = re.findall(rf"```{kind}\n(.*?)```", f.read(), re.S)
    found = []
    for text in blocks:
        for i, host in enumerate(cluster.machines.hosts):
            text = text.replace(f"10.0.0.{11 + i}", host)
        for page, here in ((":8080", f":{cluster.http}"), (":9000", f":{cluster.fcgi}"), ("bind :80\n", "bind %s:%d\n" % cluster.front), ("listen 80;", "listen %s:%d;" % cluster.front),
                           ("http://:80 ", "http://%s:%d " % cluster.front), ("9090", str(cluster.inside))):
            text = text.replace(page, here)
        found.append(text)
    return found


def haproxy(cluster):
    return "\n".join(from_page("haproxy", cluster)), ["haproxy", "-db", "-f"]


def nginx(cluster):
    site = from_page("nginx", cluster)[0].replace("/srv/shop/public/index.php", f"{cluster.www}/count.php")
    shutil.copy("/etc/nginx/fastcgi_params", cluster.directory)
    text = NGINX.format(dir=cluster.directory, site=site, user="user root;" if IS_ROOT else "")
    return text, ["nginx", "-p", cluster.directory, "-e", f"{cluster.directory}/nginx-error.log", "-c"]


def caddy(cluster):
    return "{\nadmin off\nauto_https off\ngrace_period 1s\n}\n" + from_page("caddy", cluster)[0], \
        ["caddy", "run", "--adapter", "caddyfile", "--config"]


BALANCERS = {"haproxy": haproxy, "nginx": nginx, "caddy": caddy}


class Cluster:
    def __init__(self, directory):
        self.directory, self.www, self.programs = directory, f"{directory}/www", []
        self.machines = Machines()

    def __enter__(self):
        self.machines.__enter__()
        try:
            self.http, self.fcgi, self.inside = free_port(), free_port(), free_port()
            self.start_redis()
            self.nodes = [Node(self, i) for i in range(len(self.machines.hosts))]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for program in reversed(self.programs):
            program.kill_family()
        self.machines.__exit__()

    def start_redis(self):
        port = free_port()
        self.programs.append(Program(["redis-server", "--bind", self.machines.here, "--port", str(port), "--protected-mode", "no",
                                      "--save", "", "--appendonly", "no"], self.directory, "redis.log"))
        self.programs[-1].wait_accepting((self.machines.here, port))
        with open(f"{self.www}/count.php", "w") as f:
            handler = f"if (extension_loaded('redis')) {{ {PHPREDIS} }} else {{ {SOCKET} }}"
            f.write(SCRIPT.replace("HANDLER", handler).replace("HOST", self.machines.here).replace("PORT", str(port)))

    def balance(self, kind):
        self.kind, self.front = kind, (self.machines.here, free_port())
        text, command = BALANCERS[kind](self)
        path = f"{self.directory}/{kind}.conf"
        with open(path, "w") as f:
            f.write(text)
        env = dict(os.environ, HOME=self.directory, XDG_DATA_HOME=self.directory, XDG_CONFIG_HOME=self.directory)
        self.programs.append(Program([*command, path], self.directory, f"{kind}.log", env=env))
        self.programs[-1].wait_accepting(self.front)


class Client(threading.Thread):
    """One visitor, with one request at a time on a connection that is kept; its session counts them. Every fourth is a POST,
    which a balancer may not repeat."""

    def __init__(self, cluster, over):
        super().__init__(daemon=True)
        self.address, self.over = cluster.front, over
        self.answers, self.lost, self.wrong, self.cookie = [], [], [], None
        self.connection, self.count = None, 0

    def ask(self, method):
        fields = {"Cookie": self.cookie} if self.cookie else {}
        if self.connection is None:
            self.connection = http.client.HTTPConnection(*self.address, timeout=60)
        self.connection.request(method, "/count.php", body=b"a=b" if method == "POST" else None, headers=fields)
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise OSError(f"{answer.status} {body[:80]!r}")
        self.cookie = self.cookie or answer.getheader("Set-Cookie").split(";")[0]
        return json.loads(body)

    def run(self):
        turn = 0
        while not self.over.is_set():
            turn += 1
            method = "POST" if turn % 4 == 0 else "GET"
            begun = time.monotonic()
            try:
                got = self.ask(method)
            except (OSError, http.client.HTTPException) as e:
                self.lost.append((round(time.monotonic() - begun, 2), method, repr(e)))
                self.connection.close()
                self.connection, self.count = None, None
                continue
            if self.count is not None and got["n"] != self.count + 1:
                self.wrong.append((method, self.count, got))
            self.count = got["n"]
            self.answers.append((got["node"], got["release"]))


class Load:
    def __init__(self, cluster):
        self.over = threading.Event()
        self.clients = [Client(cluster, self.over) for _ in range(CLIENTS)]

    def __enter__(self):
        for client in self.clients:
            client.start()
        wait_for(lambda: self.nodes() == {"0", "1", "2"}, what="answers of all nodes")
        return self

    def __exit__(self, *_):
        self.over.set()
        for client in self.clients:
            client.join(90)

    def gather(self, what):
        return [x for client in self.clients for x in getattr(client, what)]

    def nodes(self):
        return {node for node, _ in self.gather("answers")}

    def wait_more(self, number=200):
        """So many more answers; every one of them was asked for after the last, but for one of each client."""
        now = len(self.gather("answers"))
        wait_for(lambda: len(self.gather("answers")) > now + number, what="more answers")


@pytest.fixture
def cluster(workdir):
    missing = [p for p in ("redis-server",) if not shutil.which(p)]
    if missing:
        pytest.skip(f"{missing[0]} is not installed")
    with Cluster(workdir) as c:
        yield c


@pytest.fixture(params=sorted(BALANCERS))
def balanced(request, cluster):
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed")
    cluster.balance(request.param)
    return cluster


def drain(node):
    """It says that it goes while it still takes connections, and ends."""
    node.program.signal(signal.SIGQUIT)
    wait_for(lambda: node.health() == (503, "draining") or "Finishing" in node.messages(), what="it says so")
    if "Finishing" not in node.messages():  # on a machine that was slow to look, it may be over
        accepted = node.accepts()
        assert accepted or "Finishing" in node.messages()
    assert node.program.wait(60) == 0
    node.cluster.programs.remove(node.program)


@pytest.mark.seconds(240)
def test_a_rolling_upgrade_loses_nothing(balanced):
    with Load(balanced) as load:
        for node in balanced.nodes:
            drain(node)
            node.install(2)
            node.start()
        wait_for(lambda: {(str(n.number), "2") for n in balanced.nodes} <= set(load.gather("answers")), what="all are upgraded")
    assert not load.gather("lost"), load.gather("lost")[:5]
    assert not load.gather("wrong"), load.gather("wrong")[:5]


@pytest.mark.seconds(240)
def test_upgrades_in_place_at_the_same_time_lose_nothing(balanced):
    """A package upgrade: no node is missed for a moment, so all can have it at once."""
    with Load(balanced) as load:
        for node in balanced.nodes:
            node.install(2)
            node.program.signal(signal.SIGUSR2)
        wait_for(lambda: {(str(n.number), "2") for n in balanced.nodes} <= set(load.gather("answers")), what="all are upgraded")
        load.wait_more()
    assert not load.gather("lost"), load.gather("lost")[:5]
    assert not load.gather("wrong"), load.gather("wrong")[:5]


@pytest.mark.seconds(240)
def test_a_node_that_dies_costs_what_was_in_flight(balanced):
    with Load(balanced) as load:
        balanced.nodes[1].kill()
        load.wait_more(1000)
        balanced.nodes[1].start()
        known = len(load.gather("lost"))
        wait_for(lambda: "1" in {node for c in load.clients for node, _ in c.answers[-5:]}, what="it is asked again")
        load.wait_more()
    lost = load.gather("lost")
    assert len(lost) == known
    if balanced.kind != "caddy":  # which cannot repeat a body, not even to a machine that refuses: until it has noticed
        assert all(len(client.lost) <= 1 for client in load.clients), lost
    if balanced.kind != "haproxy":  # they repeat what may be repeated
        assert all(method == "POST" for _, method, _ in lost), lost


@pytest.mark.seconds(240)
def test_two_of_three_leave_at_once(balanced):
    with Load(balanced) as load:
        for node in balanced.nodes[:2]:
            node.program.signal(signal.SIGQUIT)
        for node in balanced.nodes[:2]:
            assert node.program.wait(60) == 0
            balanced.programs.remove(node.program)
        wait_for(lambda: {node for c in load.clients for node, _ in c.answers[-5:]} == {"2"}, what="the third has them all")
    assert not load.gather("lost"), load.gather("lost")[:5]
    assert not load.gather("wrong"), load.gather("wrong")[:5]
