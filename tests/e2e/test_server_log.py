"""The server log when nobody reads it: requests, workers and the supervisor go on, and what is missing is said."""
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

import fcgi_client
import process
import side_by_side
from web import Site

TALK = "<?php for ($i = 0; $i < 100; $i++) { error_log('line ' . str_repeat('x', 500)); } echo 'said';"


def read_so_far(path):
    with open(path, errors="replace") as f:
        return f.read()


@pytest.fixture
def reader(workdir):
    """A FIFO for the error log, and who reads it."""
    fifo, out = os.path.join(workdir, "tmp/fifo"), os.path.join(workdir, "copy")
    os.mkfifo(fifo)
    os.chmod(fifo, 0o666)
    cat = subprocess.Popen(["sh", "-c", f"exec cat {fifo} > {out}"])
    cat.fifo, cat.text = fifo, lambda: read_so_far(out)
    yield cat
    cat.kill()
    cat.wait()


def talking_site(tokiophp, workdir, reader, pool):
    root = os.path.join(workdir, "site")
    os.mkdir(root)
    with open(os.path.join(root, "talk.php"), "w") as f:
        f.write(TALK)
    return Site(tokiophp, root, pool, settings=f"error_log = {reader.fifo}\n")


def talk(site, times):
    for _ in range(times):
        assert site.ask("/talk.php").text == "said"


def said(reader):
    return sum(int(n) for n in re.findall(r"the log did not take (\d+) lines", reader.text()))


def missed_lines(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        return int(re.search(r"^tokio_php_supervisor_log_lines_dropped_total (\d+)$", page.read().decode(), re.M).group(1))


def test_workers_lines_through_the_supervisor(tokiophp, workdir, reader):
    port = process.free_port()
    site = talking_site(tokiophp, workdir, reader, f"catch_workers_output = yes\nhttp.internal_listen = 127.0.0.1:{port}\n")
    talk(site, 1)
    process.wait_for(lambda: reader.text().count("line xxx") == 100, what="a hundred lines")
    reader.send_signal(signal.SIGSTOP)
    talk(site, 10)  # half a megabyte; a pipe holds 64 KiB
    process.wait_for(lambda: missed_lines(port) > 500, what="missing lines in the metrics")
    reader.send_signal(signal.SIGCONT)
    process.wait_for(lambda: reader.text().count("line xxx") > 100, what="what the pipe held")
    talk(site, 1)
    process.wait_for(lambda: reader.text().count("line xxx") + said(reader) == 1200, what="every line is there or counted")
    assert missed_lines(port) == said(reader)


def test_a_reload_while_nobody_reads(tokiophp, workdir, reader):
    port = process.free_port()
    site = talking_site(tokiophp, workdir, reader, f"catch_workers_output = yes\nhttp.internal_listen = 127.0.0.1:{port}\n")
    reader.send_signal(signal.SIGSTOP)
    talk(site, 10)
    process.wait_for(lambda: missed_lines(port) > 500, what="missing lines in the metrics")
    first = site.server.family()
    site.server.signal(signal.SIGUSR1)
    site.server.signal(signal.SIGUSR2)
    process.wait_for(lambda: not set(first[1:]) & set(site.server.family()), what="new engine processes")
    talk(site, 2)
    assert missed_lines(port) > 500  # also those that the image before missed
    reader.send_signal(signal.SIGCONT)


def missed_anywhere(port):
    """By the supervisor, or by a process that writes its own lines."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        return sum(int(n) for n in re.findall(r"^tokio_php_(?:supervisor_)?log_lines_dropped_total(?:\{.*\})? (\d+)$", page.read().decode(), re.M))


class SystemLog:
    """A daemon at /dev/log that reads, or not."""
    PATH = "/dev/log"

    def __init__(self):
        self.messages, self.reads = [], threading.Event()
        self.start()

    def start(self):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.PATH)
        self.socket.settimeout(0.05)
        os.chmod(self.PATH, 0o666)
        self.reads.set()
        self.ends = False
        self.thread = threading.Thread(target=self.read, args=(self.socket,))
        self.thread.start()

    def read(self, s):
        while not self.ends and self.reads.wait():
            try:
                self.messages.append(s.recv(65536).decode(errors="replace"))
            except TimeoutError:
                pass

    def text(self):
        return "\n".join(self.messages)

    def stop(self):
        self.ends = True
        self.reads.set()
        self.thread.join()
        self.socket.close()
        os.unlink(self.PATH)


@pytest.fixture
def system_log():
    if os.path.lexists(SystemLog.PATH) or os.geteuid() != 0:
        pytest.skip("the system has a log of its own")
    log = SystemLog()
    yield log
    log.stop()


def system_site(tokiophp, workdir, system_log, port):
    system_log.fifo = "syslog\nsyslog.ident = shop\nsyslog.facility = local3"
    site = talking_site(tokiophp, workdir, system_log, f"catch_workers_output = yes\nhttp.internal_listen = 127.0.0.1:{port}\n")
    process.wait_for(lambda: "ready to handle connections" in system_log.text(), what="the first messages")
    return site


def test_a_system_log_that_nobody_reads(tokiophp, workdir, system_log):
    port = process.free_port()
    site = system_site(tokiophp, workdir, system_log, port)
    assert re.search(r"^<157>\w{3} [ \d]\d [\d:]{8} shop\[\d+\]: \[NOTICE\] ready to handle connections$", system_log.text(), re.M)
    system_log.reads.clear()
    talk(site, 10)  # more than the socket's queue takes
    process.wait_for(lambda: missed_anywhere(port) > 300, what="missing lines in the metrics")
    system_log.reads.set()
    process.wait_for(lambda: system_log.text().count("line xxx") > 5, what="what the queue held")
    talk(site, 1)
    process.wait_for(lambda: system_log.text().count("line xxx") + said(system_log) == 1100, what="every line is there or counted")


def test_a_reload_while_nobody_reads_the_system_log(tokiophp, workdir, system_log):
    site = system_site(tokiophp, workdir, system_log, process.free_port())
    system_log.reads.clear()
    talk(site, 10)
    first = site.server.family()
    site.server.signal(signal.SIGUSR1)
    site.server.signal(signal.SIGUSR2)
    process.wait_for(lambda: not set(first[1:]) & set(site.server.family()), what="new engine processes")
    talk(site, 2)


def test_a_system_log_that_starts_anew(tokiophp, workdir, system_log):
    site = system_site(tokiophp, workdir, system_log, process.free_port())
    talk(site, 1)
    process.wait_for(lambda: system_log.text().count("line xxx") == 100, what="a hundred lines")
    system_log.stop()
    talk(site, 1)
    time.sleep(0.5)  # the supervisor reads what workers said
    system_log.start()
    talk(site, 1)
    process.wait_for(lambda: system_log.text().count("line xxx") + said(system_log) == 300, what="every line is there or counted")
    assert system_log.text().count("line xxx") >= 200


# -- what workers say --

SAY = """<?php $n = $_GET['n']; $w = fopen('php://stderr', 'w'); $l = fn($c, $size) => "<$n:$c:" . str_repeat(chr(97 + $n % 26), $size) . ":$c:$n>";
for ($i = 0; $i < 6; $i++) {
    switch ($i % 3) {
        case 0: file_put_contents('php://stderr', $l($i, $_GET['size']) . "\\n"); break;
        case 1: fwrite($w, $l($i, $_GET['size']) . "\\n"); break;
        case 2: file_put_contents('php://stderr', substr($l($i, $_GET['size']), 0, 100)); usleep(2000); fwrite($w, substr($l($i, $_GET['size']), 100) . "\\n"); break;
    }
}
fwrite($w, "unfinished of $n"); echo $_SERVER['TOKIO_REQUEST_ID'];
"""


@pytest.mark.parametrize("size", (10, 5000, 20000))
def test_lines_of_concurrent_workers_are_whole(tokiophp, workdir, size):
    """Whatever their length: every one is there, unmixed, in order, and under its worker's number."""
    with open(f"{workdir}/www/say.php", "w") as f:
        f.write(SAY.replace("\\\\", "\\"))
    server = tokiophp(pool="pm.max_children = 8\n", settings="log_limit = 65535\n")

    def ask(n):
        return fcgi_client.fetch(server.address, f"{workdir}/www/say.php", query=f"n={n}&size={size}").body
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(24)))
    process.wait_for(lambda: server.messages().count("unfinished of") == 24, 15, "all lines")
    of_worker = {}
    for worker, text in re.findall(r'child (\d+) said into stderr: "(.*?)", request \S+\n', server.messages()):
        of_worker.setdefault(worker, []).append(text)
    assert str(server.engine_pids()[0]) not in of_worker
    heard = []
    for lines in of_worker.values():
        for at in range(0, len(lines), 7):
            n = int(re.match(r"<(\d+):", lines[at])[1])
            heard.append(n)
            assert lines[at:at + 7] == [f"<{n}:{c}:{chr(97 + n % 26) * size}:{c}:{n}>" for c in range(6)] + [f"unfinished of {n}"]
    assert sorted(heard) == list(range(24))


def test_lines_say_whose_they_are(tokiophp, workdir):
    """As JSON with the worker's and the request's id."""
    with open(f"{workdir}/www/say.php", "w") as f:
        f.write(SAY.replace("\\\\", "\\"))
    server = tokiophp(settings="log_format = json\nlog_limit = 4096\n")
    ids = [fcgi_client.fetch(server.address, f"{workdir}/www/say.php", query=f"n={n}&size=10").body.decode() for n in range(3)]
    process.wait_for(lambda: server.messages().count("unfinished of") == 3, 15, "all lines")
    for n, request in enumerate(ids):
        lines = [json.loads(line)["ctx"] for line in server.messages().splitlines() if f"<{n}:" in line or f"unfinished of {n}" in line]
        assert len(lines) == 7 and {line["request_id"] for line in lines} == {request}
        assert all(line["worker"] > 0 for line in lines)


@pytest.mark.parametrize("size", (10, 5000))
def test_text_lines_say_whose_they_are(tokiophp, workdir, size):
    """Of eight requests at once, each line has its worker's and its request's id, and log_limit is kept."""
    with open(f"{workdir}/www/say.php", "w") as f:
        f.write(SAY.replace("\\\\", "\\"))
    server = tokiophp(pool="pm.max_children = 8\n", settings="log_limit = 1024\n")

    def ask(n):
        return fcgi_client.fetch(server.address, f"{workdir}/www/say.php", query=f"n={n}&size={size}", HTTP_X_REQUEST_ID=f"id-of-{n}").body
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(24))) == [f"id-of-{n}".encode() for n in range(24)]
    process.wait_for(lambda: server.messages().count("unfinished of") == 24, 15, "all lines")
    workers = {}
    for line in server.messages().splitlines():
        assert len(line) < 1024
        found = re.search(r'child (\d+) said into stderr: "(.*)"(.*)$', line)
        if found:
            n = int(re.fullmatch(r", request id-of-(\d+)", found[3])[1])
            letters = set(re.sub(r"<\d+:\d|:\d:\d+>|unfinished of \d+|[:\d<>]", "", found[2]))
            assert letters <= {chr(97 + n % 26), "."}  # "..." where a message is cut
            workers.setdefault(n, set()).add(found[1])
    assert len(workers) == 24 and all(len(w) == 1 for w in workers.values())


def test_php_fpms_lines_are_php_fpms(workdir):
    """Called php-fpm, nothing stands behind the quote, unless it is asked for."""
    with open(f"{workdir}/www/say.php", "w") as f:
        f.write("<?php file_put_contents('php://stderr', \"said\\n\");")
    for name, settings, end in (("ours", "", ""), ("ours", "log_request_id = yes", r", request \S+")):
        program = side_by_side.One(workdir, name, "", "", None, [], settings)
        try:
            program.wait_accepting(program.address)
            fcgi_client.fetch(program.address, f"{workdir}/www/say.php")
            process.wait_for(lambda: re.search(rf'(?m)^\[[^]]+\] WARNING: \[pool www\] child \d+ said into stderr: "said"{end}$', program.messages()), 15, "its line")
        finally:
            program.stop()


def test_a_stream_of_the_log_is_passed_to_programs(tokiophp, workdir):
    with open(f"{workdir}/www/pass.php", "w") as f:
        f.write("<?php $p = proc_open('echo by the program >&2', [2 => fopen('php://stderr', 'w')], $q); echo proc_close($p);"
                "$p = proc_open('echo by path >&2', [2 => ['file', 'php://stderr', 'w']], $q); echo proc_close($p);")
    server = tokiophp()
    assert fcgi_client.fetch(server.address, f"{workdir}/www/pass.php").body == b"00"
    for text in ("by the program", "by path"):
        server.wait_message(f'said into stderr: "{text}"')
