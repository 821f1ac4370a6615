"""The internal listener: health, metrics, settings. It answers whatever the workers do."""
import http.client
import json
import os
import select
import signal
import socket
import subprocess
import threading
import time

import pytest

import process
import tokiophp as program
from gate import Gate
from inside import Inside, by
from web import Answer

HELLO = "<?php echo 'hello';"
STATUS = "<?php http_response_code((int)$_GET['s']); echo 'status';"
SLEEP = "<?php usleep((int)($_GET['ms'] * 1000)); echo 'slept';"


@pytest.fixture
def root(workdir):
    folder = os.path.join(workdir, "site")
    os.mkdir(folder)
    for name, text in (("hello.php", HELLO), ("status.php", STATUS), ("sleep.php", SLEEP),
                       ("gate.php", f"<?php {Gate(workdir).php} $gate(1);"), ("page.html", "<p>page")):
        with open(os.path.join(folder, name), "w") as f:
            f.write(text)
    return folder


def test_health(tokiophp, root):
    inside = Inside(tokiophp, root)
    for _ in range(3):
        assert inside.site.ask("/hello.php").status == 200
    answer = inside.get("/health")
    assert answer.status == 200 and answer.get("Content-Type") == "application/json"
    health = process.wait_for(lambda: (h := inside.json("/health"))["total_requests"] == 3 and h, what="three requests counted")
    assert health["status"] == "ok" and abs(health["timestamp"] - time.time()) < 60
    assert health["active_connections"] >= 0
    assert [(p["name"], p["status"], p["workers"]) for p in health["pools"]] == [("www", "ok", 4)]
    assert inside.json("/health/live")["status"] == "alive"
    assert inside.json("/health/ready")["status"] == "ok"
    assert inside.get("/nothing").status == 404
    assert inside.get("/health", method="POST").status == 405
    head = inside.get("/health", method="HEAD")
    assert head.status == 200 and head.body == b"" and int(head.get("Content-Length")) > 50


def test_unix_socket(tokiophp, root, workdir):
    inside = Inside(tokiophp, root, unix=os.path.join(workdir, "tmp/in.sock"))
    assert inside.json("/health", Host="any.name")["status"] == "ok"


def test_sums_are_exact(tokiophp, root):
    """Under load, over workers and loops, in both formats."""
    inside = Inside(tokiophp, root)
    plan = [("/hello.php", "GET", 200), ("/page.html", "GET", 200), ("/none", "GET", 404), ("/status.php?s=503", "GET", 503),
            ("/status.php?s=201", "POST", 201), ("/hello.php", "HEAD", 200), ("/page.html", "POST", 405), ("/hello.php", "BREW", 200)]
    rounds, threads = 60, 6
    wrong = []

    def client():
        c = http.client.HTTPConnection(*inside.site.address, timeout=30)
        for i in range(rounds):
            for target, method, status in plan:
                c.request(method, target, body=b"x=1" if method == "POST" else None)
                answer = c.getresponse()
                answer.read()
                if answer.status != status:
                    wrong.append((target, method, answer.status))
        c.close()

    running = [threading.Thread(target=client) for _ in range(threads)]
    for t in running:
        t.start()
    seen = []
    while any(t.is_alive() for t in running):
        seen.append(by(inside.samples(), "tokio_php_requests_total"))
        time.sleep(0.05)
    for t in running:
        t.join()
    assert not wrong, wrong[:5]
    assert seen == sorted(seen), "a counter went backwards"
    n = rounds * threads

    def complete():
        """Behind its answer a request is counted, and then its worker is idle."""
        s = inside.samples()
        return by(s, "tokio_php_requests_total") == n * len(plan) and by(s, "tokio_php_script_seconds_count") == 5 * n and \
            by(s, "tokio_php_workers", "state")["Idle"] == 4 and s
    final = process.wait_for(complete, what=f"{n * len(plan)} requests counted")
    for samples in (final, inside.samples("openmetrics")):
        methods = by(samples, "tokio_php_requests_total", "method")
        assert methods == {"GET": 4 * n, "POST": 2 * n, "HEAD": n, "OTHER": n}
        assert by(samples, "tokio_php_responses_total", "status") == {"200": 4 * n, "404": n, "503": n, "201": n, "405": n}
        assert by(samples, "tokio_php_request_duration_seconds_count") == n * len(plan)
        assert by(samples, "tokio_php_script_seconds_count") == 5 * n  # those that PHP ran
        assert by(samples, "tokio_php_queue_wait_seconds_count") == 5 * n
        buckets = by(samples, "tokio_php_request_duration_seconds_bucket", "le")
        values = [buckets[le] for le in sorted(buckets, key=float)]
        assert values == sorted(values) and values[-1] == n * len(plan)
        assert by(samples, "tokio_php_workers", "state")["Idle"] == 4
        assert by(samples, "tokio_php_dropped_requests") == 0
        for name in ("tokio_php_uptime_seconds", "tokio_php_requests_per_second", "tokio_php_response_time_avg_seconds",
                     "tokio_php_memory_usage_percent", "node_load1", "node_memory_MemTotal_bytes",
                     "node_memory_MemAvailable_bytes", "node_memory_MemUsed_bytes"):
            assert by(samples, name) > 0, name
    live = inside.json("/dashboard.json")["pools"][0]
    assert live["requests"] == n * len(plan) and live["statuses"] == [0, 5 * n, 0, 2 * n, n]
    assert sum(count for _, count in live["duration"]) == n * len(plan)


def test_connections_are_counted_and_forgotten(tokiophp, root):
    inside = Inside(tokiophp, root)
    open_ones = [process.connect(inside.site.address) for _ in range(5)]
    process.wait_for(lambda: inside.json("/health")["active_connections"] == 5, what="five connections")
    for s in open_ones:
        s.close()
    process.wait_for(lambda: inside.json("/health")["active_connections"] == 0, what="no connection")
    s = process.connect(inside.site.address)
    process.wait_for(lambda: inside.json("/health")["active_connections"] == 1, what="one connection")
    old = inside.server.engine_pids()[0]
    os.kill(old, signal.SIGKILL)  # its gauges must not stay
    process.wait_for(lambda: inside.server.engine_pids() not in ([], [old]), what="a new engine process")
    process.wait_for(lambda: answers(inside) and inside.json("/health")["active_connections"] == 0, what="gauge reset")
    s.close()


def answers(inside):
    try:
        return inside.get("/health").status == 200
    except OSError:
        return False


def start_requests(site, target, count):
    sockets = []
    for _ in range(count):
        s = process.connect(site.address)
        s.sendall(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % target.encode())
        sockets.append(s)
    return sockets


def test_answers_while_all_workers_are_busy(tokiophp, root):
    inside = Inside(tokiophp, root)
    sockets = start_requests(inside.site, "/sleep.php?ms=100000", 10)  # 4 run, 6 wait
    process.wait_for(lambda: inside.json("/health")["pools"][0]["active"] == 4, what="four busy workers")
    health = inside.json("/health")
    assert health["status"] == "ok" and health["pools"][0]["status"] == "busy"
    process.wait_for(lambda: by(inside.samples(), "tokio_php_pending_requests") == 6, what="six that wait")
    seen = lambda: inside.json("/dashboard.json")["pools"][0]["workers"]  # noqa: E731
    process.wait_for(lambda: [(w["state"], w["uri"]) for w in seen()] == [("Running", "/sleep.php")] * 4, what="what they do")
    workers = seen()
    assert all(w["us"] > 0 for w in workers)
    for s in sockets:
        s.close()


def test_health_while_all_workers_sleep(tokiophp, root):
    inside = Inside(tokiophp, root)
    sockets = start_requests(inside.site, "/sleep.php?ms=100000", 20)
    process.wait_for(lambda: inside.json("/health")["pools"][0]["active"] == 4, what="four busy workers")
    for kept in (False, True):
        times, c = [], http.client.HTTPConnection(*inside.address, timeout=10)
        for _ in range(200):
            if not kept:
                c.close()
            began = time.monotonic()
            c.request("GET", "/health")
            answer = Answer(c.getresponse())
            times.append((time.monotonic() - began) * 1000)
            assert answer.status == 200 and b'"ok"' in answer.body
        c.close()
        times.sort()
        print(f"\n/health over {'one connection' if kept else 'a connection each'}: p50 {times[100]:.2f} ms, p99 {times[198]:.2f} ms, slowest {times[-1]:.2f} ms")
    assert inside.json("/health")["pools"][0]["active"] == 4, "the workers did not sleep all the time"
    for s in sockets:
        s.close()


def test_ready_turns_on_a_kept_connection(tokiophp, root, workdir):
    """Whoever finds a connection closed finds the server not ready, too."""
    inside = Inside(tokiophp, root)
    probe = http.client.HTTPConnection(*inside.address, timeout=10)
    idle = http.client.HTTPConnection(*inside.site.address, timeout=10)
    (busy,) = start_requests(inside.site, "/gate.php", 1)
    process.wait_for(lambda: inside.json("/health")["pools"][0]["active"] == 1, what="a busy worker")

    def ask(connection, path):
        connection.request("GET", path)
        return Answer(connection.getresponse()).status
    assert ask(probe, "/health/ready") == 200 and ask(idle, "/hello.php") == 200
    own = probe.sock
    inside.server.signal(signal.SIGQUIT)
    if select.select([idle.sock], [], [], 1)[0]:  # closed because it was idle
        assert ask(probe, "/health/ready") == 503
    process.wait_for(lambda: ask(probe, "/health/ready") == 503, what="not ready")
    print("\nthe probe's connection", "was kept" if probe.sock is own else "was closed after an answer")
    busy.setblocking(False)
    with pytest.raises(BlockingIOError):
        busy.recv(1)  # not closed
    Gate(workdir).open(1)
    busy.settimeout(20)
    assert b"200 OK" in busy.recv(4096)
    busy.close()
    probe.close()
    idle.close()
    assert inside.server.wait() == 0


def test_stopped_workers_do_not_stop_it(tokiophp, root):
    """Endless loops in every worker."""
    with open(os.path.join(root, "loop.php"), "w") as f:
        f.write("<?php set_time_limit(0); while (true) { }")
    inside = Inside(tokiophp, root)
    sockets = start_requests(inside.site, "/loop.php", 4)
    process.wait_for(lambda: inside.json("/health")["pools"][0]["active"] == 4, what="four busy workers")
    for _ in range(20):
        assert inside.get("/health/ready").status == 200
    for s in sockets:
        s.close()


def test_ready_turns_before_connections_close(tokiophp, root, workdir):
    inside = Inside(tokiophp, root)
    (busy,) = start_requests(inside.site, "/gate.php", 1)
    process.wait_for(lambda: inside.json("/health")["pools"][0]["active"] == 1, what="a busy worker")
    inside.server.signal(signal.SIGQUIT)
    process.wait_for(lambda: inside.get("/health/ready").status == 503, what="not ready")
    assert inside.json("/health")["status"] == "draining"
    assert inside.get("/health").status == 503
    assert inside.get("/health/live").status == 200
    busy.setblocking(False)
    with pytest.raises(BlockingIOError):
        busy.recv(1)  # still open, its answer still to come
    Gate(workdir).open(1)
    busy.settimeout(20)
    assert b"200 OK" in busy.recv(4096)
    busy.close()
    assert inside.server.wait() == 0


def test_reload_keeps_health_and_counts(tokiophp, root):
    inside = Inside(tokiophp, root)
    statuses, stop = [], threading.Event()

    def probe():
        while not stop.is_set():
            try:
                statuses.append(inside.get("/health/ready").status)
            except OSError as e:
                statuses.append(e)
            time.sleep(0.02)
    t = threading.Thread(target=probe)
    t.start()

    def processes():
        try:
            return [p["pid"] for p in inside.json("/dashboard.json")["pools"][0]["processes"]]
        except OSError as e:
            return [e]
    before = processes()
    try:
        inside.server.signal(signal.SIGUSR2)
        process.wait_for(lambda: len(set(before + processes())) > 1 and not set(before) & set(inside.server.family()),
                         what="a new generation alone")
    finally:
        stop.set()
        t.join()
    assert set(statuses) == {200}, statuses


def test_token(tokiophp, root):
    inside = Inside(tokiophp, root, "http.internal_token = s3cr/t+1\n")
    for path in ("/", "/config", "/status", "/dashboard.json", "/none", "/config?token="):
        assert inside.get(path).status == 401, path
    assert inside.get("/config").get("WWW-Authenticate").startswith("Bearer")
    for wrong in ("wrong", "s3cr/t+", "s3cr/t+1x"):
        assert inside.get("/config", Authorization="Bearer " + wrong).status == 401
    process.wait_for(lambda: inside.get("/config", Authorization="Bearer s3cr/t+1").status == 200, what="the token taken")
    assert inside.get("/config?token=s3cr/t%2B1").status == 200
    assert inside.get("/status?token=s3cr/t+1").status == 200
    assert "s3cr/t+1" not in inside.get("/config", Authorization="Bearer s3cr/t+1").text
    for path in ("/health", "/health/live", "/health/ready", "/metrics"):  # kubelet and Prometheus have none
        assert inside.get(path).status == 200, path


@pytest.mark.parametrize("address", ["127.8.8.8:0", "[::1]:0", "/tmp/none.sock", "0.0.0.0:0", "[::]:0", "9999", "10.1.2.3:80"])
def test_every_address_is_taken_without_a_token(workdir, root, address):
    path = os.path.join(workdir, "t.ini")
    with open(path, "w") as f:
        user = "user = nobody\ngroup = nogroup\n" if program.IS_ROOT else ""
        f.write(f"[global]\nerror_log = {workdir}/e.log\n[www]\n{user}pm = static\npm.max_children = 1\nhttp.listen = 127.0.0.1:8099\n"
                f"http.document_root = {root}\nhttp.internal_listen = {address.replace(':0', ':8098')}\n")
    done = subprocess.run([program.PROGRAM, "-t", "-y", path], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr


def test_names_of_other_sites(tokiophp, root):
    """A web page that points its own name at 127.0.0.1 reads nothing."""
    inside = Inside(tokiophp, root)
    for host in ("localhost:1", "localhost.", "127.0.0.1", "[::1]:9", "10.0.0.1:80", socket.gethostname()):
        assert inside.get("/health", Host=host).status == 200, host
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80"):
        assert inside.get("/health", Host=host).status == 421, host


def test_config_masks_secrets(tokiophp, root):
    inside = Inside(tokiophp, root, "env[DB_PASSWORD] = hunter2\nenv[MODE] = production\nhttp.rate_limit = 1000\n"
                    "http.add_header[Authorization] = Bearer hunter2\nhttp.add_header[X-Served-By] = us\n"
                    "http.redirect[/old] = https://me:hunter2@example.org/\nhttp.redirect[/login] = /welcome\n")
    text = inside.get("/config").text
    assert "hunter2" not in text
    pool = json.loads(text)["pools"]["www"]
    assert pool["env"] == {"DB_PASSWORD": "***", "MODE": "***"}
    assert pool["http.add_header"] == {"Authorization": "***", "X-Served-By": "us"}
    assert pool["http.redirect"] == {"/old": "***", "/login": "/welcome"}
    assert pool["http.rate_limit"] == "1000" and pool["pm.max_children"] == "4" and pool["http.compression"] is True
    assert json.loads(text)["global"]["daemonize"] is False and json.loads(text)["global"]["log_level"] == "notice"


def test_several_pools_from_one_listener(tokiophp, root, workdir):
    ports = [process.free_port() for _ in range(3)]
    user = "user = nobody\ngroup = nogroup\n" if program.IS_ROOT else ""
    config = "[global]\nerror_log = {dir}/error.log\ndaemonize = no\n" + "".join(
        f"[{name}]\n{user}pm = static\npm.max_children = {n}\nhttp.listen = 127.0.0.1:{port}\nhttp.document_root = {root}\n{extra}"
        for name, n, port, extra in (("one", 2, ports[0], f"http.internal_listen = 127.0.0.1:{ports[2]}\n"), ("two", 3, ports[1], "")))
    server = tokiophp(config=config, address=("127.0.0.1", ports[0]))
    server.wait_accepting(("127.0.0.1", ports[1]))

    def ask(port, path):
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        c.request("GET", path)
        return Answer(c.getresponse())
    for _ in range(5):
        assert ask(ports[1], "/hello.php").text == "hello"

    def counted():
        pools = json.loads(ask(ports[2], "/dashboard.json").body)["pools"]
        return [(p["name"], p["requests"], len(p["workers"])) for p in pools] == [("one", 0, 2), ("two", 5, 3)]
    process.wait_for(counted, what="the other pool's numbers")
    status = json.loads(ask(ports[2], "/status").body)
    assert [p["pool"] for p in status] == ["one", "two"] and len(status[1]["processes"]) == 3


def test_bad_visitors(tokiophp, root):
    inside = Inside(tokiophp, root)
    idle = [process.connect(inside.address) for _ in range(40)]
    for text, status in ((b"NONSENSE\r\n\r\n", b"400"), (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", b"4"),
                         (b"GET /health HTTP/1.1\r\n" + b"A: b\r\n" * 2000 + b"\r\n", b"431")):
        with process.connect(inside.address) as s:
            try:
                s.sendall(text)
                answer = s.recv(100)
            except ConnectionResetError:
                continue
            assert answer.split(b" ")[1].startswith(status), answer
    assert inside.get("/health").status == 200
    for s in idle:
        s.close()
    flood = []
    for _ in range(100):  # more than it takes
        flood.append(socket.create_connection(inside.address, timeout=5))
    for s in flood:
        s.close()
    process.wait_for(lambda: answers(inside), what="an answer after the flood")


def test_silent_visitors_make_way(tokiophp, root):
    inside = Inside(tokiophp, root)
    silent = [process.connect(inside.address) for _ in range(150)]
    try:
        for _ in range(3):
            assert inside.get("/health/live").status == 200
            silent += [process.connect(inside.address) for _ in range(70)]
            assert inside.get("/health").status == 200
    finally:
        for c in silent:
            c.close()
