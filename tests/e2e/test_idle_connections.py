"""Thousands of idle kept-alive connections, plain and TLS, while a hundred active ones are served."""
import resource
import selectors
import shutil
import signal
import socket
import ssl
import subprocess
import time

import pytest
from certificate import make_cert
from fcgi_client import Connection, request
from http_raw import Raw, insecure
from process import free_port, status_field, wait_for
from test_vhosts import folder

REQUEST = b"GET /hello.php HTTP/1.1\r\nHost: x\r\n\r\n"


def descriptors(wanted):
    """As many of the wanted connections as the limit of descriptors allows, and raises our own limit to that."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(wanted, hard - 600) if hard != resource.RLIM_INFINITY else wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(count + 500, hard) if hard != resource.RLIM_INFINITY else count + 500, hard))
    return count


def connect_all(address, count, context):
    """Connections that have each had one answer from PHP, opened a few at a time."""
    done = []
    while len(done) < count:
        batch = []
        for _ in range(min(100, count - len(done))):
            s = socket.create_connection(address, timeout=30)
            if context:
                s = context.wrap_socket(s, server_hostname="localhost")
            s.sendall(REQUEST)
            batch.append(s)
        for s in batch:
            data = b""
            while not data.endswith(b"hello"):
                piece = s.recv(4096)
                assert piece, "closed instead of an answer"
                data += piece
        done += batch
    return done


def still_open(connections):
    """None of them has become readable, which is what an end would look like."""
    with selectors.DefaultSelector() as s:
        for c in connections:
            s.register(c, selectors.EVENT_READ)
        readable = s.select(0)
    return not readable if not isinstance(connections[0], ssl.SSLSocket) else True


def settled_rss(pid):
    """Resident memory when it has not changed for a second."""
    before = None
    while before != (now := status_field(pid, "VmRSS")):
        before = now
        time.sleep(1)
    return now


@pytest.mark.seconds(240)
@pytest.mark.parametrize("kind, wanted, limit_kb", [("plain", 10000, 2), ("tls", 2000, 30)])
def test_idle_connections_cost_little(tokiophp, workdir, capsys, kind, wanted, limit_kb):
    count = descriptors(wanted)
    if count < 500:
        pytest.skip(f"the limit of open files leaves {count} connections")
    address = ("127.0.0.1", free_port())
    root = folder(workdir, "idle", hello_php="<?php echo 'hello';")
    tls = make_cert(workdir, "one") if kind == "tls" else ""
    server = tokiophp(pool=f"{'http.tls_listen' if tls else 'http.listen'} = 127.0.0.1:{address[1]}\n"
                      f"http.document_root = {root}\nhttp.idle_timeout = 600s\nrlimit_files = {count + 400}\n{tls}")
    server.wait_accepting(address)
    context = insecure() if tls else None
    warm = connect_all(address, 200, context)  # buffers, arenas, spares: what is there whatever the number
    engine = max(server.engine_pids(), key=lambda pid: status_field(pid, "VmRSS"))
    before = settled_rss(engine)
    idle = connect_all(address, count - 200, context)
    each = (settled_rss(engine) - before) / len(idle)
    active = busy(address, context)
    with capsys.disabled():
        print(f"\n{len(idle)} idle {kind} connections: {each:.2f} KiB each; beside them {active}")
    assert still_open(idle)
    for c in (idle[0], idle[len(idle) // 2], idle[-1], warm[0]):
        c.sendall(REQUEST)
        wait_for(lambda c=c: c.recv(4096).endswith(b"hello"), 10, "an answer on a connection that was idle")
    for c in idle + warm:
        c.close()
    assert each < limit_kb


@pytest.mark.parametrize("front", ["http", "fcgi"])
def test_select_beside_them(tokiophp, workdir, front):
    """select(2), which stream_select() calls, knows descriptors up to 1,023: connections leave those to scripts."""
    count = descriptors(1300)
    if count < 1300:
        pytest.skip(f"the limit of open files leaves {count} connections")
    address = ("127.0.0.1", free_port())
    root = folder(workdir, "idle", hello_php="<?php echo 'hello';", select_php="<?php $p = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0); fwrite($p[0], 'x');"
                  "$r = [$p[1], popen('echo', 'r')]; $w = $e = null; echo stream_select($r, $w, $e, 5) > 0 && in_array($p[1], $r, true) ? 'hello' : 'no';")
    server = tokiophp(pool=f"http.listen = 127.0.0.1:{address[1]}\nhttp.document_root = {root}\nhttp.idle_timeout = 600s\nrlimit_files = 2000\n")
    server.wait_accepting(address)
    asking = [Connection(server.address) for _ in range(2)]  # our own numbers are low, too
    if front == "http":
        idle = connect_all(address, count, None)
    else:
        idle = [Connection(server.address) for _ in range(count)]
        for c in idle:
            c.socket.sendall(request(root + "/hello.php", keep=True))
            assert c.read_response().body == b"hello"
    for c in asking * 2:
        assert c.request(script=root + "/select.php", keep=True).body == b"hello"
    if front == "fcgi":  # those are handed over
        old = server.engine_pids()
        server.signal(signal.SIGUSR2)
        wait_for(lambda: not set(old) & set(server.engine_pids()), 60, "the end of the old process")
        assert asking[0].request(script=root + "/select.php", keep=True).body == b"hello"
    for c in idle:
        c.close()


def busy(address, context):
    """A hundred connections at work; gives what they did."""
    if shutil.which("h2load"):
        url = f"{'https' if context else 'http'}://127.0.0.1:{address[1]}/hello.php"
        out = subprocess.run(["h2load", "--h1", "-c", "100", "-n", "5000", url], capture_output=True, text=True, timeout=100)
        assert "5000 succeeded, 0 failed, 0 errored" in out.stdout, out.stdout + out.stderr
        return "5000 requests of 100 clients"
    clients = [Raw(address, tls=context) for _ in range(100)]
    for _ in range(10):
        for c in clients:
            c.send(REQUEST)
        assert all(c.reply().body == b"hello" for c in clients)
    for c in clients:
        c.close()
    return "1000 requests of 100 clients"
