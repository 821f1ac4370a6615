"""FastCGI spoken raw: what a web server may send, and what nothing should ever send."""
import os
import random
import socket
import threading
import time

import pytest

import fcgi_client as fcgi
from files import put_all
from gate import Gate
from process import wait_for
from tokiophp import is_stand_in

only_here = pytest.mark.skipif(is_stand_in(), reason="php-fpm does not do it: see docs/fastcgi.md")

SCRIPTS = {
    "hello.php": "<?php echo 'hello';",
    "echo.php": "<?php readfile('php://input');",
    "server.php": "<?php ksort($_SERVER); foreach ($_SERVER as $k => $v) { if (is_string($v)) echo \"$k=$v\\n\"; }",
    "size.php": "<?php $n = (int) $_GET['n']; $x = str_repeat('0123456789abcdef', 4096);"
                "for (; $n > 0; $n -= 65536) echo $n < 65536 ? substr($x, 0, $n) : $x;",
    "stderr.php": "<?php error_log('one'); error_log('two'); echo 'body';",
    "early.php": "<?php GATE echo 'early'; fastcgi_finish_request(); $gate(1); touch($_GET['mark']);",
    "ticks.php": "<?php for ($i = 0; $i < 2000; $i++) { echo 'tick'; flush(); usleep(5000); }",
    "ends.php": "<?php register_shutdown_function(fn () => file_put_contents($_GET['mark'], connection_status()));"
                "for ($i = 0; $i < 2000; $i++) { echo str_repeat('x', 10000); flush(); usleep(5000); }",
    "status.php": "<?php http_response_code((int) $_GET['code']); header('X-A: b'); echo 'x';",
    "line.php": "<?php header('HTTP/1.1 418 ' . str_repeat('t', 3000));",
    "own.php": "<?php header('Status: 299 Mine'); http_response_code(404);",
}


@pytest.fixture
def server(tokiophp, workdir):
    root = os.path.join(workdir, "scripts")
    os.mkdir(root)
    put_all(root, {name: text.replace("GATE", Gate(workdir).php) for name, text in SCRIPTS.items()})
    os.chmod(workdir, 0o777)
    s = tokiophp(pool="pm.max_children = 4\nping.path = /ping\npm.status_path = /status")
    s.script = lambda name: os.path.join(root, name)
    return s


def alive(server):
    r = fcgi.fetch(server.address, server.script("hello.php"))
    assert (r.status, r.body, r.end) == (200, b"hello", (0, fcgi.REQUEST_COMPLETE)), (r.head, r.body, r.stderr)


# -- what web servers do --

@only_here
def test_who_connects_and_says_nothing_yet(server):
    """A worker waits a moment for what a web server is about to send, and no longer; what comes later is served as well."""
    silent = [fcgi.Connection(server.address) for _ in range(40)]
    try:
        began = time.monotonic()
        for _ in range(20):
            alive(server)
        assert time.monotonic() - began < 5
        for c in silent:
            r = c.request(server.script("hello.php"))
            assert r.body == b"hello" and c.closed()
    finally:
        for c in silent:
            c.close()


@only_here
def test_who_says_nothing_costs_others_no_time(tokiophp, workdir):
    """That moment is not spent on each of many who are silent."""
    server = tokiophp(pool="pm.max_children = 1\n")

    def delay():
        silent = []
        try:
            silent.extend(fcgi.Connection(server.address) for _ in range(400))
            began = time.monotonic()
            assert fcgi.fetch(server.address, f"{workdir}/www/hello.php").status == 200
            return time.monotonic() - began
        finally:
            for c in silent:
                c.close()
    assert min(delay() for _ in range(3)) < 0.2  # 0.4 s are spent otherwise


def test_one_request_a_connection(server):
    with fcgi.Connection(server.address) as c:
        r = c.request(server.script("hello.php"))
        assert r.body == b"hello" and r.end == (0, 0)
        assert r.header("Status") is None and r.header("Content-Type").startswith("text/html")
        assert c.closed()


def test_keep_alive(server):
    with fcgi.Connection(server.address) as c:
        for i in range(50):
            r = c.request(server.script("hello.php"), keep=True, request_id=1 + i * 1000)
            assert r.body == b"hello"
        assert not c.closed(seconds=0.5)


@only_here
def test_pipelined(server):
    with fcgi.Connection(server.address) as c:
        c.send(b"".join(fcgi.request(server.script("echo.php"), method="POST", body=b"%d" % i, keep=True, request_id=i)
                        for i in range(1, 20)))
        for i in range(1, 20):
            assert c.read_response(i).body == b"%d" % i


@pytest.mark.parametrize("n", [0, 1, 8183, 8184, 8185, 8192, 65528, 65535, 65536, 1 << 20, 20 << 20])
def test_response_sizes(server, n):
    expected = (b"0123456789abcdef" * (n // 16 + 1))[:n]
    with fcgi.Connection(server.address) as c:
        for _ in range(2):
            r = c.request(server.script("size.php"), query=f"n={n}", keep=True)
            assert len(r.body) == n and r.body == expected and r.end == (0, 0)


@pytest.mark.parametrize("n", [0, 1, 7, 8184, 65535, 65536, 3 << 20])
@pytest.mark.parametrize("record", [65535, 8192, 1000])
def test_body_sizes(server, n, record):
    body = random.Random(n).randbytes(n)
    with fcgi.Connection(server.address) as c:
        for _ in range(2):
            r = c.request(server.script("echo.php"), method="POST", body=body, stdin_size=record, keep=True)
            assert r.body == body and r.end == (0, 0)


@only_here
@pytest.mark.parametrize("size", [1, 2, 7, 8, 100])
def test_params_in_any_pieces(server, size):
    with fcgi.Connection(server.address) as c:
        for _ in range(2):
            r = c.request(server.script("server.php"), params_size=size, keep=True, X_LONG="v" * 300)
            assert b"\nX_LONG=" + b"v" * 300 + b"\n" in r.body


@only_here
def test_params_beyond_64k(server):
    with fcgi.Connection(server.address) as c:
        for n in (65000, 66000, 300000, 700000):
            r = c.request(server.script("server.php"), keep=True, HTTP_COOKIE="a=" + "c" * n)
            assert b"\nHTTP_COOKIE=a=" + b"c" * n + b"\n" in r.body


def test_head_in_any_packets(server):
    data = fcgi.request(server.script("echo.php"), method="POST", body=b"hello", keep=True)
    with fcgi.Connection(server.address) as c:
        for cut in list(range(1, 60, 7)) + [len(data) - 20, len(data) - 9, len(data) - 1]:
            c.send(data[:cut])
            time.sleep(0.02)
            c.send(data[cut:])
            assert c.read_response().body == b"hello"


def test_records_with_padding(server):
    v = fcgi.pairs(fcgi.variables(server.script("echo.php"), method="POST", body=b"abcdef"))
    with fcgi.Connection(server.address) as c:
        c.send(fcgi.begin(keep=True) + fcgi.record(fcgi.PARAMS, v, padding=255) + fcgi.record(fcgi.PARAMS, padding=8) +
               fcgi.record(fcgi.STDIN, b"abc", padding=1) + fcgi.record(fcgi.STDIN, b"def", padding=7) +
               fcgi.record(fcgi.STDIN, padding=5))
        assert c.read_response().body == b"abcdef"
        assert c.request(server.script("hello.php")).body == b"hello"


def test_messages(server):
    r = fcgi.fetch(server.address, server.script("stderr.php"))
    assert r.body == b"body" and r.stderr == b"PHP message: one; PHP message: two"


def test_status_lines(server):
    r = fcgi.fetch(server.address, server.script("status.php"), query="code=404")
    assert r.head.startswith("Status: 404 Not Found\r\n") and r.header("X-A") == "b"
    assert fcgi.fetch(server.address, server.script("status.php"), query="code=299").head.startswith("Status: 299\r\n")
    assert "Status" not in fcgi.fetch(server.address, server.script("status.php"), query="code=200").head
    assert fcgi.fetch(server.address, server.script("status.php"), query="code=304").header("Content-Type") is None
    line = fcgi.fetch(server.address, server.script("line.php")).head.split("\r\n")[0]
    assert line == "Status: 418 " + "t" * (1023 - len("Status: 418 "))
    assert fcgi.fetch(server.address, server.script("own.php")).head.count("Status:") == 1


def test_answers_without_a_script(server):
    r = fcgi.fetch(server.address, server.script("none.php"))
    assert (r.status, r.body, r.stderr) == (404, b"File not found.\n", b"Primary script unknown")
    r = fcgi.fetch(server.address, server.script("hello.php"), SCRIPT_FILENAME=None)
    assert (r.status, r.body) == (404, b"File not found.\n")
    r = fcgi.fetch(server.address, "/etc/passwd")
    assert (r.status, r.body) == (403, b"Access denied.\n")
    assert r.stderr == b"Access to the script '/etc/passwd' has been denied (see security.limit_extensions)"
    r = fcgi.fetch(server.address, "/nonexistent", uri="/ping")
    assert (r.status, r.body, r.header("Content-Type")) == (200, b"pong", "text/plain;charset=UTF-8")
    assert b"pool:" in fcgi.fetch(server.address, "/nonexistent", uri="/status").body


def test_http_proxy_is_no_variable(server):
    assert b"HTTP_PROXY" not in fcgi.fetch(server.address, server.script("server.php"), HTTP_PROXY="evil").body


# -- lengths --

@only_here
@pytest.mark.parametrize("length", ["-1", "abc", "", None, "-99999999999999999999", " 3", "1e3"])
def test_body_without_a_length(server, length):
    with fcgi.Connection(server.address) as c:
        r = c.request(server.script("echo.php"), method="PUT", body=b"z" * 50000, CONTENT_LENGTH=length, keep=True)
        assert r.body == b"z" * 50000
        assert c.request(server.script("hello.php")).body == b"hello"


@only_here
@pytest.mark.parametrize("length, expected", [("3", b"abc"), ("0", b""), ("100", b"abcdef"), ("9" * 30, None)])
def test_body_of_another_length(server, length, expected):
    with fcgi.Connection(server.address) as c:
        r = c.request(server.script("echo.php"), method="PUT", body=b"abcdef", CONTENT_LENGTH=length, keep=True)
        assert r.end == (0, 0) and (expected is None or r.body == expected)
        assert c.request(server.script("hello.php")).body == b"hello"


# -- aborts --

@pytest.mark.parametrize("how", ["close", pytest.param("abort", marks=only_here)])
def test_abort_while_the_script_runs(server, workdir, how):
    mark = os.path.join(workdir, "mark")
    with fcgi.Connection(server.address) as c:
        c.send(fcgi.request(server.script("ends.php"), query="mark=" + mark, keep=True))
        assert c.read_record()[0] == fcgi.STDOUT
        if how == "close":
            c.close()
        else:
            c.send(fcgi.record(fcgi.ABORT))
            assert c.read_response().end == (0, 0)
            assert c.request(server.script("hello.php")).body == b"hello"
        wait_for(lambda: os.path.exists(mark) and open(mark).read(), what="the script's end")
        assert open(mark).read() == "1"
    alive(server)


@only_here
def test_abort_before_the_script_runs(server):
    v = fcgi.pairs(fcgi.variables(server.script("echo.php"), method="POST", CONTENT_LENGTH="1000"))
    with fcgi.Connection(server.address) as c:
        c.send(fcgi.begin(keep=True) + fcgi.record(fcgi.PARAMS, v) + fcgi.record(fcgi.ABORT))
        assert c.read_response().end == (0, 0)
        c.send(fcgi.begin(keep=True) + fcgi.record(fcgi.PARAMS, v) + fcgi.record(fcgi.PARAMS) +
               fcgi.record(fcgi.STDIN, b"some of it") + fcgi.record(fcgi.ABORT))
        assert c.read_response().end == (0, 0)
        c.send(fcgi.record(fcgi.ABORT))  # too late: of nothing
        assert c.request(server.script("hello.php")).body == b"hello"


def test_early_response(server, workdir):
    mark = os.path.join(workdir, "mark")
    with fcgi.Connection(server.address) as c:
        r = c.request(server.script("early.php"), query="mark=" + mark, keep=True)
        assert r.body == b"early" and r.end == (0, 0) and not os.path.exists(mark)
        Gate(workdir).open(1)
        wait_for(lambda: os.path.exists(mark), what="what comes behind the answer")


@only_here
def test_early_response_frees_the_connection(server, workdir):
    with fcgi.Connection(server.address) as c:
        for i in range(3):
            mark = os.path.join(workdir, f"mark{i}")
            assert c.request(server.script("early.php"), query="mark=" + mark, keep=True).body == b"early"
            assert not os.path.exists(mark)
            assert c.request(server.script("hello.php"), keep=True).body == b"hello"
        Gate(workdir).open(1)


# -- control records --

def test_get_values(server):
    asked = fcgi.record(fcgi.GET_VALUES, fcgi.pairs({"FCGI_MPXS_CONNS": "", "FCGI_OTHER": ""}), 0)
    with fcgi.Connection(server.address) as c:
        c.send(asked)
        assert c.read_record() == (fcgi.GET_VALUES_RESULT, 0, fcgi.pairs({"FCGI_MPXS_CONNS": "0"}))
        assert c.request(server.script("hello.php"), keep=True).body == b"hello"


@only_here
def test_get_values_that_would_overflow(server):
    with fcgi.Connection(server.address) as c:
        c.send(fcgi.record(fcgi.GET_VALUES, fcgi.pairs([("FCGI_MAX_CONNS", ""), ("FCGI_MPXS_CONNS", "")] * 25), 0))
        assert c.read_record()[2] == fcgi.pairs({"FCGI_MPXS_CONNS": "0"})
        c.send(fcgi.record(fcgi.GET_VALUES, b"x" * 5000, 0))
        assert c.closed()
    alive(server)


@only_here
def test_unknown_types_and_roles(server):
    with fcgi.Connection(server.address) as c:
        c.send(fcgi.record(99, b"what", 0))
        assert c.read_record() == (fcgi.UNKNOWN_TYPE, 0, b"\x63" + b"\0" * 7)
        c.send(fcgi.begin(role=7, keep=True, request_id=3))
        assert c.read_record() == (fcgi.END, 3, b"\0\0\0\0" + bytes([fcgi.UNKNOWN_ROLE]) + b"\0" * 3)
        for role, name in (fcgi.AUTHORIZER, b"AUTHORIZER"), (fcgi.FILTER, b"FILTER"):
            r = c.request(server.script("server.php"), role=role, keep=True)
            assert b"FCGI_ROLE=" + name + b"\n" in r.body


@only_here
def test_another_request_in_between(server):
    v = fcgi.pairs(fcgi.variables(server.script("echo.php"), method="POST", body=b"abcdef"))
    with fcgi.Connection(server.address) as c:
        c.send(fcgi.begin(keep=True) + fcgi.begin(request_id=2) + fcgi.record(fcgi.PARAMS, b"junk", 2) +
               fcgi.stream(fcgi.PARAMS, v) + fcgi.record(fcgi.STDIN, b"abc") + fcgi.record(fcgi.STDIN, b"", 2) +
               fcgi.record(fcgi.STDIN, b"def") + fcgi.record(fcgi.STDIN))
        assert c.read_record() == (fcgi.END, 2, b"\0\0\0\0" + bytes([fcgi.CANT_MPX_CONN]) + b"\0" * 3)
        assert c.read_response().body == b"abcdef"


# -- what is refused --

BAD = {
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "version 0": fcgi.record(fcgi.BEGIN, b"\0\1\0\0\0\0\0\0", version=0),
    "version 2": fcgi.record(fcgi.BEGIN, b"\0\1\0\0\0\0\0\0", version=2),
    "short begin": fcgi.record(fcgi.BEGIN, b"\0\1\0"),
    "long begin": fcgi.record(fcgi.BEGIN, b"\0\1\0\0\0\0\0\0" + b"x" * 100),
    "begin twice": fcgi.begin() + fcgi.begin(),
    "begin 0": fcgi.begin(request_id=0),
    "body before params": fcgi.begin() + fcgi.record(fcgi.STDIN, b"x"),
    "our own types": fcgi.record(fcgi.STDOUT, b"x"),
    "unknown type of a request": fcgi.begin() + fcgi.record(77, b"x"),
    "lengths": fcgi.begin() + fcgi.record(fcgi.PARAMS, b"\xff" * 8) + fcgi.record(fcgi.PARAMS),
    "lengths that overflow": fcgi.begin() + fcgi.record(fcgi.PARAMS, b"\xff\xff\xff\xfe\x80\0\0\2") + fcgi.record(fcgi.PARAMS),
    "half a pair": fcgi.begin() + fcgi.record(fcgi.PARAMS, b"\5\5ab") + fcgi.record(fcgi.PARAMS),
    "too many pairs": fcgi.begin() + fcgi.record(fcgi.PARAMS, b"\0" * 60000) + fcgi.record(fcgi.PARAMS),
    "too long": fcgi.begin() + fcgi.stream(fcgi.PARAMS, fcgi.pairs({"A": "b" * (1 << 20)})),
}


@only_here
@pytest.mark.parametrize("what", BAD)
def test_refused(server, what):
    with fcgi.Connection(server.address) as c:
        try:
            c.send(BAD[what])
        except ConnectionError:
            pass
        assert c.closed()
    alive(server)


def test_ends_in_the_middle(server):
    data = fcgi.request(server.script("echo.php"), method="POST", body=b"x" * 100)
    for cut in range(0, len(data), 37):
        with fcgi.Connection(server.address) as c:
            c.send(data[:cut])
    alive(server)


@only_here
def test_refusals_do_not_fill_the_log(server):
    for _ in range(200):
        with fcgi.Connection(server.address) as c:
            c.send(b"garbage!" * 4)
            assert c.closed()
    assert server.messages().count("not FastCGI") <= 30
    alive(server)


@pytest.mark.seconds(300)
@only_here
def test_mutations(server):
    """10,000 random mutations of a valid request: the engine process stays the same one, and others are served, before,
    among and behind them."""
    rng = random.Random(7)
    valid = fcgi.request(server.script("echo.php"), method="POST", body=b"hello" * 20, keep=True)
    before = server.engine_pids()
    stop, failed, served = threading.Event(), [], [0]

    def others():
        with fcgi.Connection(server.address) as c:
            while not stop.is_set():
                r = c.request(server.script("hello.php"), keep=True)
                if r.body != b"hello":
                    failed.append(r.stdout)
                served[0] += 1
                time.sleep(0.005)
    thread = threading.Thread(target=others, daemon=True)
    thread.start()
    for sent in range(10000):
        if sent % 1000 == 0:  # whatever the machine does: nobody waits for ever
            seen = served[0]
            wait_for(lambda: served[0] > seen or failed)
        data = bytearray(valid)
        for _ in range(rng.choice((1, 1, 1, 2, 5))):
            kind, at = rng.randrange(4), rng.randrange(len(data))
            if kind == 0:
                data[at] = rng.randrange(256)
            elif kind == 1:
                data[at] ^= 1 << rng.randrange(8)
            elif kind == 2:
                del data[at:at + rng.randrange(1, 20)]
            else:
                data[at:at] = rng.randbytes(rng.randrange(1, 20))
            data = data or bytearray(b"\0")
        with fcgi.Connection(server.address) as c:
            c.socket.send(data)
            c.socket.shutdown(socket.SHUT_WR)
            if rng.random() < 0.05:
                while c.socket.recv(65536):
                    pass
    stop.set()
    thread.join()
    assert not failed
    assert set(before) <= set(server.engine_pids())
    alive(server)


# -- peers that wait --

@only_here
def test_idle_connections_hold_no_worker(server):
    idle = [fcgi.Connection(server.address) for _ in range(250)]
    try:
        for c in idle:
            assert c.request(server.script("hello.php"), keep=True).body == b"hello"
        for _ in range(200):
            alive(server)
        assert all(c.request(server.script("hello.php"), keep=True).body == b"hello" for c in idle[::10])
    finally:
        for c in idle:
            c.close()


@only_here
def test_stalled_peers_hold_no_worker(server):
    """More of them than workers, in every place up to the end of the head; others are served at once."""
    data = fcgi.request(server.script("hello.php"))
    stalled = []
    try:
        for cut in (0, 1, 7, 8, 15, 16, 20, 24, 100, len(data) - 17):
            c = fcgi.Connection(server.address)
            c.send(data[:cut])
            stalled.append((c, data[cut:]))
        for _ in range(50):
            alive(server)
        for c, rest in stalled[1:]:
            c.send(rest)
            assert c.read_response().body == b"hello"
        assert stalled[0][0].closed(seconds=60)  # nothing came in 5 s
    finally:
        for c, _ in stalled:
            c.close()


@only_here
def test_lingering_peers_hold_no_worker(server):
    """A peer that never closes after its answer, with a body that nobody reads on its way."""
    v = fcgi.pairs(fcgi.variables(server.script("hello.php"), method="PUT", CONTENT_LENGTH=str(10 << 20)))
    peers = [fcgi.Connection(server.address) for _ in range(12)]
    try:
        for c in peers:
            c.send(fcgi.begin() + fcgi.stream(fcgi.PARAMS, v) + fcgi.record(fcgi.STDIN))
            assert c.read_response().end == (0, 0)
        for _ in range(50):
            alive(server)
    finally:
        for c in peers:
            c.close()


@only_here
def test_who_does_not_read_gets_no_memory(server):
    """GET_VALUES without end, answers unread: the connection is closed, not buffered."""
    with fcgi.Connection(server.address, timeout=30) as c:
        asked = fcgi.record(fcgi.GET_VALUES, fcgi.pairs({"FCGI_MPXS_CONNS": ""}), 0) * 100
        c.socket.settimeout(10)
        with pytest.raises(ConnectionError):
            for _ in range(100000):
                c.socket.sendall(asked)
    alive(server)
