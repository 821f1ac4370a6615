"""What users of tokio_php set in the environment, and what comes of it: no file, no flags."""
import json
import os
import re
import socket
import subprocess
import urllib.request

import pytest

import process
from certificate import make_cert
from files import put
from http_raw import Raw, insecure
from tokiophp import PROGRAM, is_stand_in

pytestmark = pytest.mark.skipif(is_stand_in(), reason="tokiophp's own variables")


class Started:
    def __init__(self, workdir, **env):
        put(workdir, "site/index.php", "<?php echo 'hi ', $_SERVER['HTTPS'] ?? 'plain';")
        self.address, self.inside, self.dir = ("127.0.0.1", process.free_port()), process.free_port(), workdir
        self.server = process.Program([PROGRAM], workdir, "out.log", cwd=workdir, env={
            "PATH": os.environ["PATH"], "HOME": workdir, "LISTEN_ADDR": "127.0.0.1:%d" % self.address[1], "DOCUMENT_ROOT": workdir + "/site",
            "INTERNAL_ADDR": "0.0.0.0:%d" % self.inside, **env})
        self.server.wait_accepting(self.address)

    def page(self, path):
        with urllib.request.urlopen(f"http://localhost:{self.inside}{path}", timeout=10) as answer:
            return answer.read().decode()

    def ask(self, tls=None, more=""):
        with Raw(self.address, tls=tls) as raw:
            return raw.send(f"GET / HTTP/1.1\r\nHost: localhost\r\n{more}Connection: close\r\n\r\n").reply()


@pytest.fixture
def start(workdir):
    started = []

    def begin(**env):
        started.append(Started(workdir, **env))
        return started[-1]
    yield begin
    for one in started:
        one.server.stop()


def test_variables_of_others_stop_nothing(start):
    one = start(PHP_WORKERS="2", INDEX_FILE="index.php", RUST_LOG="tokio_php=debug", USE_EXT="1", LOG_LEVEL="critical", PROFILE="production")
    assert one.ask().body == b"hi plain"
    health = json.loads(one.page("/health"))
    assert isinstance(health["timestamp"], int) and health["pools"][0]["workers"] == 2
    assert "node_memory_MemAvailable" in one.page("/metrics") and "node_memory_MemUsed" in one.page("/metrics")
    assert json.loads(one.page("/config"))["global"]["log_level"] != "unknown value"


def test_a_certificate_means_tls(start, workdir):
    make_cert(workdir, "own")
    one = start(TLS_CERT=f"{workdir}/own.pem", TLS_KEY=f"{workdir}/own.key", PROFILE="1")
    reply = one.ask(insecure(), "X-Profile: 1\r\n")
    assert reply.body == b"hi on" and reply.get("X-Profile-TLS-Protocol") == "TLSv1_3"
    assert one.ask().status == 400, "nobody sends passwords in clear"


def test_the_access_log_is_json(start):
    one = start(ACCESS_LOG="1")
    one.ask()
    line = process.wait_for(lambda: [text for text in one.server.log().splitlines() if '"type":"access"' in text], 15, "a line")[0]
    assert json.loads(line)["data"]["method"] == "GET"


@pytest.fixture
def started(workdir):
    """Like Started, with a stdout and stderr of the test's."""
    running = []

    def begin(stdout, stderr, **env):
        put(workdir, "site/index.php", "<?php error_log('said'); echo 'hi';")
        address = ("127.0.0.1", process.free_port())
        running.append(subprocess.Popen([PROGRAM], cwd=workdir, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True, env={
            "PATH": os.environ["PATH"], "HOME": workdir, "RUNTIME_DIRECTORY": workdir + "/run", "LISTEN_ADDR": "127.0.0.1:%d" % address[1],
            "DOCUMENT_ROOT": workdir + "/site", "ACCESS_LOG": "1", **env}))
        process.wait_for(lambda: process.accepts(address), 30, "the start")
        for _ in range(5):
            with urllib.request.urlopen("http://%s:%d/" % address, timeout=20) as answer:
                assert answer.read() == b"hi"
        return running[-1]
    yield begin
    for one in running:
        one.terminate()
        one.wait(30)


def test_both_logs_in_a_file_of_the_shell(started, workdir):
    """tokiophp >log 2>&1: no line lies on another one."""
    with open(workdir + "/both", "wb") as out:
        started(out, subprocess.STDOUT)

    def lines():
        with open(workdir + "/both", encoding="utf-8") as f:
            return f.read().splitlines()
    process.wait_for(lambda: len([line for line in lines() if '"type":"access"' in line]) == 5, 20, "the access log")
    process.wait_for(lambda: len([line for line in lines() if "said" in line]) == 5, 20, "the server's log")
    assert all(re.match(r"(\[\d\d-|\{.*\}$)", line) for line in lines()), lines()


def test_stdout_is_a_socket(started):
    """As systemd's is."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        started(theirs, subprocess.DEVNULL)
        ours.settimeout(20)
        text = b""
        while text.count(b'"type":"access"') < 5:
            text += ours.recv(65536)


def test_what_the_server_says_of_a_request(start):
    """Its own lines are no output of a worker."""
    one = start(RATE_LIMIT="1")
    assert [one.ask().status for _ in range(2)] == [200, 429]
    line, = process.wait_for(lambda: [text for text in one.server.log().splitlines() if "rate limit" in text], 20, "its line")
    assert re.match(r"\[[^]]+\] NOTICE: http: rate limit reached by 127.0.0.1$", line), line
