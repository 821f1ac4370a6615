"""What operators of php-fpm see of their pools: counters, status pages and their clients, log lines, limits, identity.
Nearly all of these tests pass against a php-fpm too: TOKIOPHP=/usr/sbin/php-fpm8.2 (or a build of 8.4)."""
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest

import fcgi_client
import tokiophp as server_module
from both import PHP_FPM
from process import tasks, wait_for
from side_by_side import SideBySide

needs_root = pytest.mark.skipif(not server_module.IS_ROOT, reason="needs root")
ours_only = pytest.mark.skipif(server_module.is_stand_in(), reason="php-fpm does it otherwise")


def script(workdir, name, text):
    path = os.path.join(workdir, "www", name)
    with open(path, "w") as f:
        f.write(text)
    return path


def status(address, query="json", path="/status"):
    return fcgi_client.fetch(address, path, uri=path, query=query)


def numbers(address):
    return json.loads(status(address).body)


class Busy:
    """Requests that run until the block is left (or some seconds are over)."""

    def __init__(self, address, path, count, seconds=60):
        self.flag = path + ".go"
        with open(path, "w") as f:
            f.write(f"<?php for ($i = 0; $i < {seconds * 50} && !file_exists('{self.flag}'); $i++) {{ usleep(20000); clearstatcache(); }} echo 'done';")
        self.answers = []
        self.threads = [threading.Thread(target=lambda: self.answers.append(self.one(address, path))) for _ in range(count)]

    @staticmethod
    def one(address, path):
        with fcgi_client.Connection(address, 60) as c:
            return c.request(path, query="x=1").body

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        open(self.flag, "w").close()
        for t in self.threads:
            t.join(60)


# -- sizes --

def test_dynamic_counters(workdir, tokiophp):
    server = tokiophp(pool="pm = dynamic\npm.max_children = 5\npm.start_servers = 2\npm.min_spare_servers = 1\n"
                           "pm.max_spare_servers = 3\npm.status_path = /status")

    def one_asked():
        """Where the one that was asked before is still seen at work, a third one is started, and stays."""
        n = numbers(server.address)
        assert (n["process manager"], n["max children reached"]) == ("dynamic", 0) and n["total processes"] <= 3
        return n["active processes"] == 1 and n["total processes"] >= 2 and n["idle processes"] == n["total processes"] - 1
    wait_for(one_asked, 10, "the page and the idle ones")
    with Busy(server.address, workdir + "/www/busy.php", 4) as busy:
        wait_for(lambda: numbers(server.address)["active processes"] == 5, 20, "four busy and the one that answers")
        wait_for(lambda: numbers(server.address)["total processes"] == 5, 20, "all five workers")
    assert busy.answers == [b"done"] * 4
    # one idle worker a second is too many until pm.max_spare_servers are left; the one that answers is active
    wait_for(lambda: numbers(server.address)["total processes"] <= 4, 20, "fewer workers again")
    assert numbers(server.address)["max active processes"] == 5


def test_max_children_is_reached_and_said(workdir, tokiophp):
    server = tokiophp(pool="pm = dynamic\npm.max_children = 3\npm.start_servers = 1\npm.min_spare_servers = 1\n"
                           "pm.max_spare_servers = 2\npm.status_path = /status")
    with Busy(server.address, workdir + "/www/busy.php", 3):
        server.wait_message(r"WARNING: \[pool www\] server reached pm\.max_children setting \(3\), consider raising it")
    assert numbers(server.address)["max children reached"] == 1


def test_ondemand_starts_with_nobody_and_ends_with_nobody(workdir, tokiophp):
    server = tokiophp(pool="pm = ondemand\npm.max_children = 3\npm.process_idle_timeout = 1s\npm.status_path = /status")
    def asked_alone():
        n = numbers(server.address)
        return (n["process manager"], n["total processes"], n["idle processes"]) == ("ondemand", 1, 0)
    # a question keeps its worker, and so did whoever looked whether the server accepts: only now and then there is one alone
    wait_for(lambda: asked_alone() or time.sleep(3), 60, "nobody but the worker that is asked")
    with Busy(server.address, workdir + "/www/busy.php", 2):
        wait_for(lambda: numbers(server.address)["total processes"] == 3, 20, "three workers")
    wait_for(lambda: time.sleep(3) or asked_alone(), 60, "the end of the idle ones")


def test_ondemand_says_when_it_has_no_more(workdir, tokiophp):
    server = tokiophp(pool="pm = ondemand\npm.max_children = 2")
    with Busy(server.address, workdir + "/www/busy.php", 4) as busy:
        server.wait_message(r"WARNING: \[pool www\] server reached max_children setting \(2\), consider raising it")
    assert busy.answers == [b"done"] * 4  # those that had to wait were served, too


@ours_only
def test_process_max_is_about_all_pools(workdir, tokiophp):
    user = f"user = {server_module.USER}\ngroup = {server_module.GROUP}\n" if server_module.IS_ROOT else ""
    config = "[global]\nerror_log = {dir}/error.log\ndaemonize = no\nprocess.max = 5\n"
    for name in "abc":
        config += f"[{name}]\n{user}listen = {{dir}}/{name}.sock\nlisten.mode = 0666\npm = static\npm.max_children = 3\n" \
                  "pm.status_path = /status\n"
    server = tokiophp(config=config, address=workdir + "/a.sock")
    server.wait_message(r"WARNING: The maximum number of processes has been reached\. Please review your configuration and "
                        r"consider raising 'process\.max'")

    def totals():
        return [len(tasks(pid)) - 1 for pid in server.engine_pids() if tasks(pid)]
    wait_for(lambda: sum(totals()) == 5, 10, "five workers in all pools")
    time.sleep(2.5)
    assert sum(totals()) == 5
    server.signal(signal.SIGUSR2)
    wait_for(lambda: len(re.findall("ready to handle connections", server.messages())) >= 2, 20, "the reload")
    wait_for(lambda: sum(totals()) == 5, 20, "five workers again")
    time.sleep(2.5)
    assert sum(totals()) == 5


# -- status pages and their clients --

FIELDS = ["pool", "process manager", "start time", "start since", "accepted conn", "listen queue", "max listen queue",
          "listen queue len", "idle processes", "active processes", "total processes", "max active processes",
          "max children reached", "slow requests"]
WORKER = ["pid", "state", "start time", "start since", "requests", "request duration", "request method", "request uri",
          "content length", "user", "script", "last request cpu", "last request memory"]


def test_status_as_an_exporter_reads_it(workdir, tokiophp):
    """php-fpm_exporter and its like: ?json&full, every field decoded into a typed struct."""
    server = tokiophp(pool="pm.status_path = /status\npm.max_children = 3")
    hello = workdir + "/www/hello.php"
    busy = workdir + "/www/busy.php"
    for _ in range(5):
        fcgi_client.fetch(server.address, hello)
    with Busy(server.address, busy, 1):
        got = wait_for(lambda: [page for page in [status(server.address, "json&full")] if busy.encode() in
                                page.body.replace(b"\\/", b"/")], 10, "the worker that runs a script")[0]
    assert got.header("Content-Type").startswith("application/json") and got.header("Cache-Control")
    n = json.loads(got.body)
    assert [k for k in n if k in FIELDS] == FIELDS and set(n) - set(FIELDS) <= {"processes", "memory peak"}
    assert all(isinstance(n[k], int) for k in FIELDS if k not in ("pool", "process manager"))
    assert abs(n["start time"] - time.time()) < 120 and n["accepted conn"] >= 6 and n["total processes"] == 3
    assert len(n["processes"]) == 3
    for worker in n["processes"]:
        assert list(worker) == WORKER
        assert isinstance(worker["last request cpu"], float) and isinstance(worker["request duration"], int)
        assert worker["state"] in ("Creating", "Idle", "Running", "Getting request information", "Ending", "Finishing") and isinstance(worker["pid"], int)
    assert len({w["pid"] for w in n["processes"]}) == 3 and sum(w["requests"] for w in n["processes"]) >= 6
    runs = [w for w in n["processes"] if w["script"] == busy]
    assert len(runs) == 1 and runs[0]["request uri"] == "/busy.php?x=1" and runs[0]["request method"] == "GET"


def test_openmetrics_parses(workdir, tokiophp):
    parser = pytest.importorskip("prometheus_client.parser")
    server = tokiophp(pool="pm.status_path = /status")
    got = status(server.address, "openmetrics")
    assert got.header("Content-Type") == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    wait_for(lambda: numbers(server.address)["active processes"] == 1, 10, "three idle workers")
    got = status(server.address, "openmetrics")
    families = {f.name: f for f in parser.text_string_to_metric_families(got.body.decode())}
    values = {s.name: s.value for f in families.values() for s in f.samples}
    # the worker that answered the page before may still be about its end
    assert values["phpfpm_up"] == 1 and values["phpfpm_total_processes"] == 4 and values["phpfpm_active_processes"] in (1, 2)
    assert any(n.startswith("phpfpm_accepted_connections") for n in values) and got.body.endswith(b"# EOF\n")


@pytest.mark.skipif(not shutil.which("cgi-fcgi"), reason="cgi-fcgi is not installed")
def test_cgi_fcgi_as_the_manual_shows_it(workdir, tokiophp):
    server = tokiophp(pool="pm.status_path = /status\nping.path = /ping")

    def ask(name, query=""):
        env = {"PATH": os.environ["PATH"], "SCRIPT_NAME": name, "SCRIPT_FILENAME": name, "QUERY_STRING": query,
               "REQUEST_METHOD": "GET"}
        return subprocess.run(["cgi-fcgi", "-bind", "-connect", server.address], env=env, timeout=20, stdout=subprocess.PIPE,
                              text=True).stdout
    assert ask("/ping").replace("\r", "").endswith("\n\npong")
    # the one that answered the ping may still be about its end
    page = wait_for(lambda: (lambda text: re.search(r"^idle processes: +3$", text, re.M) and text)(ask("/status").replace("\r", "")), what="three idle ones")
    assert "Content-type: text/plain;charset=UTF-8" in page and re.search(r"^pool: +www$", page, re.M)
    assert "request URI" not in page
    assert re.search(r"^request URI: +/status\?full$", ask("/status", "full").replace("\r", ""), re.M)
    assert "<status>" in ask("/status", "xml") and "<table>" in ask("/status", "html")


def test_status_listen_answers_while_all_workers_are_busy(workdir, tokiophp):
    extra = workdir + "/status.sock"
    server = tokiophp(pool=f"pm.max_children = 2\npm.status_listen = {extra}\npm.status_path = /status\nping.path = /ping")
    wait_for(lambda: os.path.exists(extra), 10, "the second socket")
    with Busy(server.address, workdir + "/www/busy.php", 6) as busy:
        def states():
            return [w["state"] for w in json.loads(status(extra, "json&full").body)["processes"]]
        wait_for(lambda: states() == ["Running"] * 2, 15, "both workers to be busy")
        n = json.loads(status(extra, "json&full").body)
        assert n["pool"] == "www" and n["idle processes"] == 0 and n["total processes"] == 2
        assert fcgi_client.fetch(extra, "/ping", uri="/ping").body == b"pong"
    assert busy.answers == [b"done"] * 6


# -- log lines --

def test_slow_log(workdir, tokiophp):
    path = script(workdir, "slow.php", "<?php\nfunction inner() { usleep(2500000); }\nfunction outer() { inner(); }\nouter(); echo 'end';")
    server = tokiophp(pool=f"slowlog = {workdir}/slow.log\nrequest_slowlog_timeout = 1s\npm.status_path = /status")
    assert fcgi_client.fetch(server.address, path, query="q=1").body == b"end"
    server.wait_message(rf"WARNING: \[pool www\] child \d+, script '{path}' \(request: \"GET /slow\.php\?q=1\"\) "
                        r"executing too slow \(\d+\.\d{6} sec\), logging")
    with open(workdir + "/slow.log") as f:
        text = f.read()
    assert re.fullmatch(r"\n\[\d\d-\w{3}-\d{4} \d\d:\d\d:\d\d\]  \[pool www\] pid \d+\nscript_filename = " + re.escape(path) + r"\n"
                        r"\[0x[0-9a-f]+\] usleep\(\) " + re.escape(path) + r":2\n"
                        r"\[0x[0-9a-f]+\] inner\(\) " + re.escape(path) + r":3\n"
                        r"\[0x[0-9a-f]+\] outer\(\) " + re.escape(path) + r":4\n", text), text
    assert numbers(server.address)["slow requests"] == 1


def test_terminate_timeout(workdir, tokiophp):
    path = script(workdir, "long.php", "<?php sleep(3600); echo 'end';")
    server = tokiophp(pool="request_terminate_timeout = 1s")
    try:
        body = fcgi_client.fetch(server.address, path).body
    except (OSError, AssertionError):
        body = b""
    assert b"end" not in body
    server.wait_message(rf"WARNING: \[pool www\] child \d+, script '{path}' \(request: \"GET /long\.php\"\) "
                        r"execution timed out \(\d+\.\d{6} sec\), terminating")
    assert fcgi_client.fetch(server.address, workdir + "/www/hello.php").body == b"hello"


@pytest.mark.parametrize("decorate", ["yes", "no"])
def test_worker_output(workdir, tokiophp, decorate, monkeypatch):
    """As php-fpm. Under another name what PHP says are records of the server's log (test_php_errors.py)."""
    name = workdir + "/php-fpm"
    os.symlink(server_module.PROGRAM, name)
    monkeypatch.setattr(server_module, "PROGRAM", name)
    path = script(workdir, "say.php", "<?php file_put_contents('php://stderr', \"one\\ntwo\\n\"); error_log('three');")
    settings = "" if server_module.is_stand_in() else "log_request_id = no\n"
    server = tokiophp(pool=f"catch_workers_output = yes\ndecorate_workers_output = {decorate}", settings=settings)
    fcgi_client.fetch(server.address, path)
    for said in ("one", "two", "NOTICE: PHP message: three"):
        line = rf"^\[[^]]+\] WARNING: \[pool www\] child \d+ said into stderr: \"{said}\"$" if decorate == "yes" else rf"^{said}$"
        server.wait_message("(?m)" + line)


def test_log_reopen(workdir, tokiophp):
    server = tokiophp(pool="access.log = {dir}/access.log")
    hello = workdir + "/www/hello.php"
    fcgi_client.fetch(server.address, hello)
    for name in ("access.log", "error.log"):
        os.rename(f"{workdir}/{name}", f"{workdir}/{name}.1")
    server.signal(signal.SIGUSR1)
    wait_for(lambda: os.path.exists(workdir + "/access.log"), 10, "the new access log")
    server.wait_message("error log file re-opened")
    server.wait_message("access log file re-opened")
    # The engine process takes the new file up a moment after the supervisor.
    wait_for(lambda: fcgi_client.fetch(server.address, hello) and "/hello.php" in open(workdir + "/access.log").read(),
             10, "a line in the new file")


# -- who a worker is --

@needs_root
def test_chroot(workdir, tokiophp):
    os.makedirs(workdir + "/jail/app")
    with open(workdir + "/jail/app/a.php", "w") as f:
        f.write("<?php echo getcwd(), ' ', __FILE__, ' ', implode(',', array_diff(scandir('/'), ['.', '..'])), ' ', "
                "file_exists('/etc/passwd') ? 'out' : 'in', ' ', getenv('USER'), ' ', getenv('HOME');")
    server = tokiophp(pool="chroot = {dir}/jail\nchdir = /app")
    got = fcgi_client.fetch(server.address, "/app/a.php").body.decode()
    home = pwd.getpwnam(server_module.USER).pw_dir
    assert got == f"/app /app/a.php app in {server_module.USER} {home}"


@needs_root
def test_limits_priority_and_dumpable(workdir, tokiophp):
    path = script(workdir, "who.php", "<?php echo json_encode([file_get_contents('/proc/self/limits'), pcntl(), "
                  "@file_get_contents('/proc/self/environ') !== false]); function pcntl() { return trim(explode(' ', "
                  "preg_replace('/^.*\\) /', '', file_get_contents('/proc/thread-self/stat')))[16]); }")
    for dumpable in ("yes", "no"):
        server = tokiophp(pool=f"rlimit_files = 2048\nrlimit_core = 4096\nprocess.priority = 7\nprocess.dumpable = {dumpable}")
        limits, nice, readable = json.loads(fcgi_client.fetch(server.address, path).body)
        assert re.search(r"^Max open files +2048 +2048", limits, re.M) and re.search(r"^Max core file size +4096 +4096", limits, re.M)
        assert nice == "7" and readable == (dumpable == "yes")
        server.stop()


@needs_root
def test_socket_owner_group_mode(workdir, tokiophp):
    server = tokiophp(pool="listen.owner = 12345\nlisten.group = 23456\nlisten.mode = 0600")
    info = os.stat(server.address)
    assert (info.st_uid, info.st_gid, info.st_mode & 0o777) == (12345, 23456, 0o600)


@needs_root
@pytest.mark.skipif(not PHP_FPM, reason="no php-fpm to compare with")
@pytest.mark.parametrize("number", ["4294967294", "4294967295", "4294967296", "4294979641", "18446744073709551615", "99999999999999999999", "007"])
def test_socket_owner_of_any_number(workdir, number):
    """What is too large for an id is read as php-fpm reads it."""
    with SideBySide(workdir, pool=f"listen.owner = {number}\nlisten.group = {number}") as both:
        owners = [(info.st_uid, info.st_gid) for info in (os.stat(p.address) for p in both.programs)]
        assert owners[0] == owners[1]


@needs_root
@pytest.mark.skipif(not shutil.which("getfacl"), reason="getfacl is not installed")
def test_socket_acl(workdir, tokiophp):
    server = tokiophp(pool="listen.acl_users = www-data,backup\nlisten.acl_groups = adm\nlisten.mode = 0660")
    acl = subprocess.run(["getfacl", "-p", server.address], stdout=subprocess.PIPE, text=True).stdout
    for entry in ("user:www-data:rw-", "user:backup:rw-", "group:adm:rw-"):
        assert entry in acl, acl


def test_environment_of_a_pool(workdir, tokiophp):
    path = script(workdir, "env.php", "<?php echo json_encode([getenv('A'), getenv('B'), getenv('LEFT'), $_SERVER['A'], getenv('PATH')]);")
    env = dict(os.environ, LEFT="over", FROM="outside")
    for clear, left in (("yes", False), ("no", "over")):
        server = tokiophp(pool=f"clear_env = {clear}\nenv[A] = 1\nenv[B] = $FROM", env=env)
        got = json.loads(fcgi_client.fetch(server.address, path).body)
        assert got[:4] == ["1", "outside", left, "1"] and bool(got[4]) == (clear == "no")
        server.stop()
