"""Worker scripts in numbers: /metrics, `ctl status`, the status page; and worker.max_memory, which one of them decides."""
import os
import re
import subprocess

import pytest

import process
from faulty import Several
from fcgi_client import fetch
from inside import by, openmetrics, parser
from test_worker_mode import FRONTS, Worker
from tokiophp import PROGRAM

LEAK = "Lives::$kept[] = str_repeat('x', 400000); return memory_get_usage();"


@pytest.fixture
def worker(tokiophp, workdir):
    def start(pool="", settings="", **how):
        port = process.free_port()
        w = Worker(tokiophp, workdir, pool=f"http.internal_listen = 127.0.0.1:{port}\npm.status_path = /status\n{pool}",
                   settings="control_socket = {dir}/ctl\n" + settings, **how)
        w.port = port
        return w
    return start


@pytest.fixture(params=FRONTS)
def front(request):
    return request.param


def samples(w, accept="text/plain"):
    import http.client
    c = http.client.HTTPConnection("127.0.0.1", w.port, timeout=20)
    c.request("GET", "/metrics", headers={"Accept": accept})
    text = c.getresponse().read().decode()
    c.close()
    families = list((openmetrics if "openmetrics" in accept else parser).text_string_to_metric_families(text))
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


def status(w):
    """{word: text} of the worker script's line."""
    text = subprocess.run([PROGRAM, "ctl", "-s", f"{w.server.directory}/ctl", "status"], capture_output=True, text=True, check=True).stdout
    line = re.search("^  worker script (.*)$", text, re.M)
    assert line, text
    return dict(word.split("=") for word in line.group(1).split())


def number(w, name, label=None):
    return by(samples(w), "tokio_php_worker_script_" + name, label)


def test_numbers(worker, front):
    w = worker(num=2)
    process.wait_for(lambda: number(w, "threads", "state")["idle"] == 2, what="two that wait")
    assert number(w, "boots_total") == 2 and number(w, "boot_seconds_total") > 0 and number(w, "boot_failures_total") == 0
    assert set(number(w, "restarts_total", "reason").values()) == {0} and number(w, "queue") == 0
    memory = number(w, "memory_bytes", "worker")
    assert set(memory) == {"0", "1"} and all(v > 100000 for v in memory.values())
    for _ in range(8):
        w.run(front, LEAK)
    process.wait_for(lambda: sum(number(w, "memory_bytes", "worker").values()) > sum(memory.values()) + 8 * 390000, what="the leak")
    assert by(samples(w, "application/openmetrics-text"), "tokio_php_worker_script_boots_total") == 2
    line = status(w)
    assert (line["idle"], line["busy"], line["boots"], line["boot-failures"]) == ("2", "0", "2", "0") and int(line["memory-most"]) > 500000
    assert not any(word.startswith("restarts") for word in line)


def test_a_pool_without_one_has_no_such_lines(tokiophp, workdir):
    from web import Site
    port = process.free_port()
    Site(tokiophp, workdir, f"http.internal_listen = 127.0.0.1:{port}\n")

    class Plain:
        pass
    plain = Plain()
    plain.port = port
    assert not [name for name, _ in samples(plain) if "worker_script" in name]


@pytest.mark.parametrize("reason,code", [
    ("exit", "exit;"),
    ("fatal", "trigger_error('x', E_USER_ERROR);"),
    ("max_memory", "Lives::$kept[] = str_repeat('x', 9000000); return 1;"),
    ("max_requests", "return 1;"),
    ("ended", None),
])
def test_restarts_by_reason(worker, front, reason, code):
    w = worker(pool=f"worker.max_requests = {2 if reason == 'max_requests' else 9}\nworker.max_memory = 8M\n")
    before = w.boot(front)
    if code:
        w.raw(front, code)
    else:
        w.put("between.php", "<?php exit;")
        w.boot(front)
        os.unlink(w.folder + "/between.php")
    assert w.boot(front) != before
    restarts = {r: n for r, n in number(w, "restarts_total", "reason").items() if n}
    assert set(restarts) == {reason} and status(w)["restarts-" + reason] == str(int(restarts[reason]))
    assert restarts[reason] == 1 or reason == "ended"  # it may have met between.php after the first request, too


def test_what_does_not_boot_is_counted(worker):
    w = worker(pool="worker.max_consecutive_failures = 0\n")
    w.boot()
    w.put("boot.php", "<?php throw new Exception('no database');")
    w.raw("http", "exit;")
    process.wait_for(lambda: number(w, "threads", "state")["down"] == 1, what="a script that is down")
    assert number(w, "boot_failures_total") >= 1 and status(w)["down"] == "1"


def test_requests_that_wait(worker, front):
    w = worker()
    gate = w.folder + "/gate"
    asked = Several([lambda: w.raw(front, f"while (!is_file('{gate}')) usleep(1000); clearstatcache(); return 1;")] * 6)
    process.wait_for(lambda: number(w, "queue") >= 1, what="requests in the queue")
    assert number(w, "threads", "state")["busy"] == 1
    w.put("gate", "open")
    assert [r[0] for r in asked.results()] == [200] * 6
    process.wait_for(lambda: number(w, "queue") == 0, what="an empty queue")


def test_the_status_page_shows_them(worker, front):
    """php-fpm's format: a worker script is one more process, and its last request is there."""
    w = worker()
    w.run(front, "return 1;")

    def rows():
        page = fetch(w.server.address, "/status", query="full").body.decode() if front == "fcgi" else w.site.ask("/status?full").text
        return [row for row in page.split("************************") if f"script:               {w.script}\n" in row]
    process.wait_for(lambda: [row for row in rows() if "state:                Idle" in row], what="its line")
    assert len(rows()) == 1


# -- worker.max_memory --

def test_more_memory_than_allowed(worker, front):
    """The script ends after the request that was too much; the next one meets a new boot, and none is lost."""
    w = worker(pool="worker.max_memory = 4M\n", files={"after.php": "<?php error_log('the end of ' . $boot);"})
    boots = {}
    for _ in range(40):
        answer = w.all(front, LEAK)
        boots.setdefault(answer["boot"], []).append(answer["answer"])
    assert len(boots) >= 3
    *ended, last = boots.values()
    assert all(most[-1] > 4 << 20 and all(m <= 4 << 20 for m in most[:-1]) for most in ended), boots
    process.wait_for(lambda: number(w, "restarts_total", "reason")["max_memory"] == len(boots) - (last[-1] <= 4 << 20), what="the count")
    w.server.wait_message("the end of " + next(iter(boots)))


def test_many_scripts_that_leak(worker, front):
    w = worker(pool="worker.max_memory = 4M\n", num=3)
    answers = Several([lambda: [w.all(front, LEAK)["boot"] for _ in range(30)]] * 4).results()
    assert not [a for a in answers if isinstance(a, Exception)], answers
    assert number(w, "restarts_total", "reason")["max_memory"] >= 6


def test_garbage_is_no_reason(worker, front):
    """Objects that only hold each other are collected before memory is judged."""
    w = worker(pool="worker.max_memory = 4M\n")
    code = "$a = new ArrayObject(); $a->self = $a; $a->text = str_repeat('x', 5000000); return 1;"
    assert len({w.all(front, code)["boot"] for _ in range(5)}) == 1


def test_a_limit_below_the_boot_is_said(worker):
    w = worker(pool="worker.max_memory = 100K\n")
    w.server.wait_message(r"keeps \d+ bytes once it has booted: worker.max_memory ends it after each request")
    assert w.boot() != w.boot()


@pytest.mark.seconds(180)
def test_a_process_that_is_full(worker):
    """pm.max_memory counts what worker scripts hold: the process is replaced, and no request is lost."""
    w = worker(pool="pm.max_memory = 300M\nphp_admin_value[memory_limit] = -1\n", num=2)
    before = w.server.family()[1:]
    for _ in range(120):
        w.run("http", "Lives::$kept[] = str_repeat('x', 4000000); return 1;")
        if not set(before) & set(w.server.family()[1:]):
            break
    process.wait_for(lambda: not set(before) & set(w.server.family()[1:]), 60, "a new process")
    w.server.wait_message("pm.max_memory is reached")


def test_opcache_is_closed_before_it_is_full(worker, front):
    """What a worker script's requests include fills it as well: they are looked at, as all others are."""
    w = worker(pool="php_admin_value[opcache.memory_consumption] = 8\nphp_admin_value[opcache.interned_strings_buffer] = 1\n")
    for i in range(60):
        numbers = ", ".join(str(i * 10000 + n) for n in range(10000))
        w.put(f"many{i}.php", f"<?php function many{i}() {{ return [{numbers}]; }} return count(many{i}());")
        os.utime(os.path.join(w.folder, f"many{i}.php"), (1, 1))
        assert w.run(front, f"return include '{w.folder}/many{i}.php';") == 10000
    assert max(by(samples(w), "tokio_php_opcache_used_percent", "pool").values()) >= 90
    w.server.wait_message("OPcache is full: scripts that are not in it are compiled at each request")
    assert "is being replaced" not in w.server.messages() and "exited on signal" not in w.server.messages()
