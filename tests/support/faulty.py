"""A pool that is made to fail, reached through both front ends, with PHP scripts from tests/e2e/faults/www and the
extension of tests/support/fault_ext. FAULTS=long makes the tests' counts those of the soak test."""
import concurrent.futures
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import urllib.parse

import process
from load import Load

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = os.path.join(HERE, "../e2e/faults/www")
LONG = os.environ.get("FAULTS") == "long"
FRONTS = ("http", "fcgi")


def many(short, long):
    return long if LONG else short


def build_folder():
    return os.environ.get("BUILD") or os.path.abspath(os.path.join(HERE, "../../build"))


def php_config():
    given = os.environ.get("PHP_CONFIG")
    makefile = os.path.join(build_folder(), "../Makefile")
    if not given and os.path.exists(makefile):
        with open(makefile) as f:
            for line in f:
                if line.startswith("PHP_CONFIG = "):
                    given = line.split("=", 1)[1].strip()
    return given


def tell(text):
    """Numbers that are worth seeing, also when the test passes: FAULTS_REPORT=FILE collects them."""
    print(text)
    if os.environ.get("FAULTS_REPORT"):
        with open(os.environ["FAULTS_REPORT"], "a") as f:
            f.write(text + "\n")


class Several:
    """Calls made at the same time; .results() waits for what each returned, an exception being a result too."""

    def __init__(self, calls):
        self.pool = concurrent.futures.ThreadPoolExecutor(max_workers=len(calls))
        self.futures = [self.pool.submit(call) for call in calls]

    def results(self, seconds=60):
        done = [f.exception(seconds) or f.result() for f in self.futures]
        self.pool.shutdown()
        return done


class Answer:
    def __init__(self, response):
        self.status, self.headers = response.status, response.headers
        self.text = response.read().decode("utf-8", "replace")

    def __repr__(self):
        return f"<{self.status} {self.text[:200]!r}>"


class Faulty:
    def __init__(self, directory, start, webserver, extension, pool, settings, fronts, php, **how):
        self.directory = directory
        self.www = os.path.join(directory, "faulty")
        shutil.copytree(SCRIPTS, self.www)
        self.http_port = process.free_port()
        lines = f"http.listen = 127.0.0.1:{self.http_port}\nhttp.document_root = {self.www}\n"
        args = [word for value in (f"extension={extension}", *php) for word in ("-d", value)]
        self.server = start(pool=lines + pool, settings=f"control_socket = {directory}/ctl\n" + settings, args=args, **how)
        self.server.wait_accepting(("127.0.0.1", self.http_port))
        process.wait_for(lambda: self.ready(), 20, "its workers")
        self.ports = {"http": self.http_port}
        self.webserver = webserver
        for front in fronts:
            self.front(front)

    def ready(self):
        """The supervisor has seen it, too: what is killed from now on is replaced."""
        control = subprocess.run([self.server.command[0], "ctl", "-s", f"{self.directory}/ctl", "status"], capture_output=True)
        return b"state=ready" in control.stdout

    def front(self, front):
        if front == "fcgi":
            self.ports["fcgi"] = self.webserver("nginx", self.www, self.server.address).port

    def ask(self, front, target, timeout=30, method="GET", body=None, headers=None):
        c = http.client.HTTPConnection("127.0.0.1", self.ports[front], timeout=timeout)
        try:
            c.request(method, target, body=body, headers=headers or {})
            return Answer(c.getresponse())
        finally:
            c.close()

    def fault(self, front, name, *arguments, timeout=30):
        more = "&with=" + urllib.parse.quote(json.dumps(arguments)) if arguments else ""
        return self.ask(front, f"/fault.php?do={name}{more}", timeout)

    def load(self, front, *targets, **how):
        return Load(self.ports[front], *(targets or ("/hello.php",)), **how)

    def script(self, name, text):
        path = os.path.join(self.www, name)
        with open(path + ".new", "w") as f:
            f.write(text)
        os.rename(path + ".new", path)

    def engines(self):
        """Engine processes: children of the supervisor with more than one thread."""
        found = []
        for pid in self.server.family()[1:]:
            try:
                if len(os.listdir(f"/proc/{pid}/task")) > 2:
                    found.append(pid)
            except OSError:
                pass
        return found

    def serving_pid(self, front="http"):
        return int(self.ask(front, "/pid.php").text)

    def kill_engine(self, number=signal.SIGKILL):
        pid = self.serving_pid()
        os.kill(pid, number)
        return pid

    def count(self, pattern):
        return len(re.findall(pattern, self.server.messages(), re.M))

    def wait_settled(self, seconds=20):
        """One engine process and nothing else going on."""
        process.wait_for(lambda: len(self.engines()) == 1, seconds, "one engine process left")

    def memory_kb(self):
        return sum(process.status_field(p, "VmRSS") for p in self.server.family())
