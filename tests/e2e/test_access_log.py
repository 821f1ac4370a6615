"""The access log: forms, rotation without a lost line, and a reader that stops reading."""
import base64
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request

import pytest

import fcgi_client
import process
import tokiophp as program
from web import Answer, Site
from web_cases import pool_section


@pytest.fixture
def root(workdir):
    folder = os.path.join(workdir, "site")
    os.mkdir(folder)
    for name, text in (("hello.php", "<?php echo 'hello';"), ("early.php", "<?php echo 'x'; tokio_finish_request(); sleep(4);"),
                       ("page.html", "<p>page")):
        with open(os.path.join(folder, name), "w") as f:
            f.write(text)
    return folder


def lines(path):
    with open(path, "rb") as f:
        data = f.read()
    assert not data or data.endswith(b"\n")
    return data.decode().splitlines()


def waited_for(path, *parts):
    """A line with each of the parts, in their order: lines of different threads may change places."""
    process.wait_for(lambda: len(lines(path)) == len(parts), what=f"{len(parts)} lines")
    return [next(line for line in lines(path) if part in line) for part in parts]


def test_json(tokiophp, root, workdir):
    path = os.path.join(workdir, "access.log")
    site = Site(tokiophp, root, f"access.log = {path}\nhttp.access_log_format = json\n", settings="service_name = shop\n")
    site.ask('/hello.php?a=1"&b=%00', User_Agent='a"b\\c', Referer="http://ref/\xe9", X_Forwarded_For="1.2.3.4")
    site.ask("/page.html")
    site.ask("/none", "HEAD")
    site.ask("/early.php")
    first, page, none, early = [json.loads(line) for line in waited_for(path, "/hello.php", "/page.html", "/none", "/early.php")]
    assert re.match(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", first["ts"])
    assert (first["level"], first["type"], first["msg"]) == ("info", "access", "GET /hello.php 200")
    assert first["ctx"]["service"] == "shop" and set(first["ctx"]) == {"service", "request_id", "trace_id", "span_id"}
    data = first["data"]
    assert set(data) == {"host", "method", "path", "query", "http", "status", "bytes", "duration_ms", "upstream", "upstream_ms", "ip", "ua", "referer", "xff", "tls"}
    assert (data["method"], data["path"], data["query"], data["http"]) == ("GET", "/hello.php", 'a=1"&b=%00', "HTTP/1.1")
    assert (data["status"], data["bytes"], data["ip"]) == (200, 5, "127.0.0.1")
    assert data["host"] == page["data"]["host"] == "%s:%d" % site.address
    assert (data["ua"], data["referer"], data["xff"], data["tls"]) == ('a"b\\c', "http://ref/\ufffd", "1.2.3.4", None)
    assert data["duration_ms"] > 0
    assert (page["data"]["path"], page["data"]["bytes"], page["data"]["ua"]) == ("/page.html", 7, None)
    assert (none["data"]["method"], none["data"]["status"], none["data"]["bytes"]) == ("HEAD", 404, 0)
    assert early["data"]["duration_ms"] < 4000  # the response's, not the script's


def test_client_behind_another_pool(tokiophp, root, workdir):
    """The log of a pool that is asked by the process of another one has the client, not that process."""
    path = os.path.join(workdir, "behind.log")
    address = f"127.0.0.1:{process.free_port()}"
    served = f"http.listen = {address}\nhttp.document_root = {root}\nhttp.trusted_proxies = 127.0.0.1\n"
    behind = f"{served}http.routes = *.php\naccess.log = {path}\naccess.format = json\n"
    server = tokiophp(pool=served, php=pool_section("behind", behind))
    server.wait_accepting(("127.0.0.1", int(address.split(":")[1])))
    for forwarded, ip in ((None, "127.0.0.1"), ("192.0.2.7", "192.0.2.7")):
        fields = {"X-Forwarded-For": forwarded} if forwarded else {}
        connection = http.client.HTTPConnection(address, timeout=20)
        connection.request("GET", f"/hello.php?{ip}", headers=fields)
        assert connection.getresponse().read() == b"hello"
        connection.close()
        process.wait_for(lambda: os.path.exists(path) and any(f"?{ip}" in line or f'"query":"{ip}"' in line for line in lines(path)), 20, "its line")
        assert json.loads(lines(path)[-1])["data"]["ip"] == ip


def test_combined(tokiophp, root, workdir):
    path = os.path.join(workdir, "access.log")
    site = Site(tokiophp, root, f"access.log = {path}\naccess.format = combined\n")
    site.ask("/hello.php?x=1", Referer='r"s', User_Agent="agent\\1", Authorization="Basic " + base64.b64encode(b"joe:x").decode())
    site.ask("/page.html")
    hello, page = waited_for(path, "/hello.php", "/page.html")
    when = r"\[\d\d/\w{3}/20\d\d:\d\d:\d\d:\d\d [+-]\d{4}\]"
    assert re.match(r'127\.0\.0\.1 - joe ' + when + r' "GET /hello\.php\?x=1 HTTP/1\.1" 200 5 "r\\x22s" "agent\\x5C1"$', hello)
    assert re.match(r'127\.0\.0\.1 - - ' + when + r' "GET /page\.html HTTP/1\.1" 200 7 "-" "-"$', page)


def test_php_fpm_form(tokiophp, root, workdir):
    path = os.path.join(workdir, "access.log")
    site = Site(tokiophp, root, f'access.log = {path}\naccess.format = "%m %r%Q%q %s"\n')
    site.ask("/hello.php?x=1")
    site.ask("/page.html")
    assert waited_for(path, "/hello.php", "/page.html") == ["GET /hello.php?x=1 200", "GET /page.html 200"]


def test_a_wrong_form_stops_the_start(workdir, root):
    path = os.path.join(workdir, "t.ini")
    with open(path, "w") as f:
        f.write(f"[global]\nerror_log = {workdir}/e.log\n[www]\n" + ("user = nobody\ngroup = nogroup\n" if program.IS_ROOT else "") +
                f"pm = static\npm.max_children = 1\nhttp.listen = 127.0.0.1:8099\nhttp.document_root = {root}\nhttp.access_log_format = \"%z\"\n")
    done = subprocess.run([program.PROGRAM, "-t", "-y", path], capture_output=True, text=True, timeout=20)
    assert done.returncode == 78 and "http.access_log_format" in done.stderr


def send_many(site, count, target, threads=4):
    """Numbered requests; returns the longest time that one took."""
    slowest, failures = [], []

    def client(start):
        c, worst = http.client.HTTPConnection(*site.address, timeout=30), 0
        for i in range(start, count, threads):
            began = time.monotonic()
            c.request("GET", f"{target}?n={i}")
            if c.getresponse().read() not in (b"hello", b"<p>page"):
                failures.append(i)
            worst = max(worst, time.monotonic() - began)
        slowest.append(worst)
        c.close()
    running = [threading.Thread(target=client, args=(i,)) for i in range(threads)]
    for t in running:
        t.start()
    for t in running:
        t.join()
    assert not failures and len(slowest) == threads
    return max(slowest)


def numbers(paths):
    return [int(re.search(r"\?n=(\d+)", line).group(1)) for path in paths for line in lines(path)]


def test_rotation_loses_no_line(tokiophp, root, workdir):
    path = os.path.join(workdir, "access.log")
    site = Site(tokiophp, root, f"access.log = {path}\nhttp.access_log_format = combined\n")
    rotated, stop = [], threading.Event()

    def rotate():
        while not stop.is_set():
            old = f"{path}.{len(rotated)}"
            os.rename(path, old)
            rotated.append(old)
            site.server.signal(signal.SIGUSR1)
            process.wait_for(lambda: os.path.exists(path), what="a new log file")
            time.sleep(0.1)
    t = threading.Thread(target=rotate)
    t.start()
    try:
        send_many(site, 4000, "/hello.php")
    finally:
        stop.set()
        t.join()
    site.server.stop(signal.SIGQUIT)
    assert len(rotated) > 1
    assert sorted(numbers([*rotated, path])) == list(range(4000))


def test_a_reader_that_stops(tokiophp, root, workdir):
    """Requests go on; what did not fit is counted exactly, and said in one line."""
    fifo, out = os.path.join(workdir, "tmp/fifo"), os.path.join(workdir, "copy")
    os.mkfifo(fifo)
    os.chmod(fifo, 0o666)
    reader = subprocess.Popen(["sh", "-c", f"exec cat {fifo} > {out}"])
    count = 6000
    try:
        port = process.free_port()
        site = Site(tokiophp, root, f"access.log = {fifo}\nhttp.access_log_format = json\nhttp.internal_listen = 127.0.0.1:{port}\n")

        def dropped():
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            c.request("GET", "/metrics")
            text = Answer(c.getresponse()).text
            return int(re.search(r"^tokio_php_log_lines_dropped_total\{.*\} (\d+)$", text, re.M).group(1))
        reader.send_signal(signal.SIGSTOP)
        send_many(site, count, "/page.html")
        assert dropped() > 0
        reader.send_signal(signal.SIGCONT)
        site.server.wait_message(r"access log: \d+ lines did not fit and were dropped")
        process.wait_for(lambda: len(lines_so_far(out)) + dropped() == count, what="all lines written or counted")
        said = [int(n) for n in re.findall(r"access log: (\d+) lines did not fit", site.server.messages())]
        assert sum(said) == dropped() and len(said) == 1
        got = [int(re.search(r"n=(\d+)", json.loads(line)["data"]["query"]).group(1)) for line in lines_so_far(out)]
        assert len(set(got)) == len(got)
        send_many(site, 100, "/hello.php")  # and now nothing is dropped
        process.wait_for(lambda: len(lines_so_far(out)) == len(got) + 100, what="a hundred lines more")
        site.server.stop(signal.SIGQUIT)
    finally:
        reader.kill()
        reader.wait()


def test_a_reader_that_is_gone(tokiophp, root, workdir):
    """Logs that are opened again wait for nobody who might read them: the supervisor has more to do."""
    fifo = os.path.join(workdir, "tmp/fifo")
    os.mkfifo(fifo)
    os.chmod(fifo, 0o666)
    reader = subprocess.Popen(["cat", fifo], stdout=subprocess.DEVNULL)
    try:
        site = Site(tokiophp, root, f"access.log = {fifo}\n", settings=f"control_socket = {workdir}/ctl\n")
        site.server.wait_message("ready to handle connections")
    finally:
        reader.kill()
        reader.wait()
    site.server.signal(signal.SIGUSR1)
    site.server.wait_message(r"failed to open log \(.*fifo\)")
    done = subprocess.run([program.PROGRAM, "ctl", "-s", f"{workdir}/ctl", "status"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "running" in done.stdout, done
    reader = subprocess.Popen(["cat", fifo], stdout=subprocess.PIPE, text=True)

    def has_reader():
        try:
            return os.fdopen(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK), "w")
        except OSError:
            return None
    try:
        with process.wait_for(has_reader, what="another reader"):
            site.server.signal(signal.SIGUSR1)
            site.server.wait_message("access log file re-opened")
        send_many(site, 1, "/page.html")
        assert "/page.html" in reader.stdout.readline()
    finally:
        site.server.stop(signal.SIGQUIT)
        reader.kill()
        reader.communicate()


MANY = int(os.environ.get("ACCESS_LOG_REQUESTS", "20000"))  # 1000000 is the proof, the default a reminder


def load_until(address, done, path="/hello.php"):
    """wrk in pieces, at least one, until done() says so; the slowest answer in ms."""
    unit, worst = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}, 0
    while True:
        text = subprocess.run(["wrk", "-t1", "-c16", "--timeout", "60s", "-d%d" % (2 if MANY < 100000 else 5), f"http://{address[0]}:{address[1]}{path}"],
                              capture_output=True, text=True, timeout=100).stdout
        assert "Non-2xx" not in text and "Socket errors" not in text, text
        number, word = re.search(r"Latency\s+\S+\s+\S+\s+([\d.]+)(us|ms|s|m)\s", text).groups()
        worst = max(worst, float(number) * unit[word])
        if done():
            return worst


class Counters:
    def __init__(self, port):
        self.port = port

    def read(self):
        """(requests, dropped lines) as the server counts them"""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        c.request("GET", "/metrics")
        text = Answer(c.getresponse()).text
        c.close()
        return [sum(int(n) for n in re.findall(rf"^tokio_php_{name}_total\{{.*\}} (\d+)$", text, re.M))
                for name in ("requests", "log_lines_dropped")]

    def settled(self):
        """Once no request is running any more."""
        before = None
        while before != (now := self.read()[0]):
            before = now
            time.sleep(0.5)
        return now


def count_lines(path):
    n = 0
    with open(path, "rb") as f:
        while piece := f.read(1 << 20):
            n += piece.count(b"\n")
    return n


@pytest.mark.seconds(900)
@pytest.mark.skipif(not shutil.which("wrk"), reason="no wrk")
def test_many_requests_and_a_reader_that_stops(tokiophp, root, workdir):
    """What was logged and what was dropped are together what the server answered."""
    fifo, out, port = os.path.join(workdir, "tmp/fifo"), os.path.join(workdir, "copy"), process.free_port()
    os.mkfifo(fifo)
    os.chmod(fifo, 0o666)
    reader = subprocess.Popen(["sh", "-c", f"exec cat {fifo} > {out}"])
    try:
        site = Site(tokiophp, root, f"access.log = {fifo}\nhttp.access_log_format = json\nhttp.internal_listen = 127.0.0.1:{port}\n", php=False)
        counters = Counters(port)
        reading = load_until(site.address, lambda: counters.read()[0] > MANY / 3)
        before = counters.read()[1]
        reader.send_signal(signal.SIGSTOP)
        stopped = load_until(site.address, lambda: counters.read()[0] > MANY * 2 / 3)
        reader.send_signal(signal.SIGCONT)
        site.server.wait_message(r"access log: \d+ lines did not fit and were dropped")
        resumed = load_until(site.address, lambda: counters.read()[0] >= MANY)
        requests = counters.settled()
        process.wait_for(lambda: count_lines(out) + counters.read()[1] == requests, what="every request logged or counted")
        dropped = counters.read()[1]
        said = sum(int(n) for n in re.findall(r"access log: (\d+) lines did not fit", site.server.messages()))
        print(f"\n{requests} requests, {count_lines(out)} lines, {dropped} dropped ({before} before the stop, {said} said); slowest answer: "
              f"{reading:.1f} ms while the log is read, {stopped:.1f} ms while it is not, {resumed:.1f} ms afterwards")
        assert said == dropped > 0
        assert all(json.loads(line)["type"] == "access" for line in lines_so_far(out)[::997])
    finally:
        reader.kill()
        reader.wait()


@pytest.mark.seconds(900)
@pytest.mark.skipif(not shutil.which("wrk"), reason="no wrk")
def test_many_requests_and_rotation(tokiophp, root, workdir):
    path, port = os.path.join(workdir, "access.log"), process.free_port()
    site = Site(tokiophp, root, f"access.log = {path}\nhttp.access_log_format = combined\nhttp.internal_listen = 127.0.0.1:{port}\n", php=False)
    counters, rotated, stop = Counters(port), [], threading.Event()

    def rotate():
        while not stop.wait(0.5):
            rotated.append(f"{path}.{len(rotated)}")
            os.rename(path, rotated[-1])
            site.server.signal(signal.SIGUSR1)
            process.wait_for(lambda: os.path.exists(path), what="a new log file")
    t = threading.Thread(target=rotate)
    t.start()
    try:
        worst = load_until(site.address, lambda: counters.read()[0] >= MANY)
    finally:
        stop.set()
        t.join()
    requests = counters.settled()
    process.wait_for(lambda: sum(map(count_lines, [*rotated, path])) + counters.read()[1] == requests, what="every request logged or counted")
    dropped = counters.read()[1]
    print(f"\n{requests} requests in {len(rotated) + 1} files, {dropped} dropped, slowest answer {worst:.1f} ms")
    assert len(rotated) > 1


def lines_so_far(path):
    with open(path, "rb") as f:
        data = f.read()
    return data[:data.rfind(b"\n") + 1].decode().splitlines()


def test_lines_that_a_full_disk_does_not_take(tokiophp, workdir):
    """They are lost, requests are served, and the error log says how many."""
    server = tokiophp(pool="access.log = /dev/full\n")
    for _ in range(3):
        assert fcgi_client.fetch(server.address, f"{workdir}/www/hello.php").body == b"hello"

    def said():
        os.kill(server.pid, signal.SIGCHLD)  # any event: an idle supervisor does not look
        return re.search(r"ERROR: (\d+) lines of access or slow logs could not be written", server.messages())
    assert process.wait_for(said).group(1) in "123"


def test_fewer_processes_after_a_reload(tokiophp, root, workdir):
    """What processes of before finish is logged, of those as well whose place there is no more."""
    path, marks, count = os.path.join(workdir, "access.log"), os.path.join(workdir, "tmp"), 4
    script = os.path.join(root, "long.php")
    with open(script, "w") as f:
        f.write(f"<?php touch('{marks}/began-' . $_GET['n']); while (!file_exists('{marks}/go')) usleep(50000); echo 'hello';")
    server = tokiophp(pool=f"pm = static\npm.processes = 2\npm.max_children = {count // 2}\naccess.log = {path}\naccess.format = %r%Q%q\n")
    clients = [threading.Thread(target=fcgi_client.fetch, args=(server.address, script), kwargs={"query": f"n={i}", "timeout": 60}) for i in range(count)]
    for t in clients:
        t.start()
    process.wait_for(lambda: len([n for n in os.listdir(marks) if n.startswith("began-")]) == count, 20, "the scripts, in both processes")
    with open(server.config_path) as f:
        text = f.read()
    with open(server.config_path, "w") as f:
        f.write(text.replace("pm.processes = 2", "pm.processes = 1"))
    server.signal(signal.SIGUSR2)
    process.wait_for(lambda: server.messages().count("ready to handle connections") >= 2, 30, "the reload")
    with open(os.path.join(marks, "go"), "w"):
        pass
    for t in clients:
        t.join()
    process.wait_for(lambda: len(lines(path)) == count, 20, "their lines")
    assert sorted(numbers([path])) == list(range(count))


def test_stdout_is_what_it_was_started_with(workdir):
    """A socket, as systemd's: /dev/stdout cannot be opened. It stays the log over reloads and rotations."""
    here, there = socket.socketpair()
    port = process.free_port()
    server = subprocess.Popen([program.PROGRAM, "serve", f"{workdir}/www", "--listen", f"127.0.0.1:{port}"], stdin=subprocess.DEVNULL, stdout=there,
                              stderr=open(f"{workdir}/said.log", "wb"), start_new_session=True,
                              env={"PATH": os.environ["PATH"], "ACCESS_LOG": "1", "USE_STUB": "1", "RUNTIME_DIRECTORY": workdir})
    there.close()
    here.settimeout(process.PATIENCE)
    try:
        for number, order in enumerate((None, signal.SIGUSR1, signal.SIGUSR2)):
            if order:
                server.send_signal(order)
            words = {None: "serving", signal.SIGUSR1: "access log file re-opened", signal.SIGUSR2: "serving"}[order]
            process.wait_for(lambda: open(f"{workdir}/said.log").read().count(words) > (order == signal.SIGUSR2), what=words)
            seen, end = b"", time.monotonic() + process.PATIENCE
            with open(f"{workdir}/www/file{number}.txt", "w") as f:
                f.write("a file")
            while f"GET /file{number}.txt 200".encode() not in seen and time.monotonic() < end:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/file{number}.txt", timeout=5).read()
                    seen += here.recv(65536, socket.MSG_DONTWAIT)
                except OSError:
                    time.sleep(0.1)
            assert f"GET /file{number}.txt 200".encode() in seen, order
    finally:
        server.terminate()
        assert server.wait(process.PATIENCE) == 0
        here.close()
