"""Memory of workers and of idle connections."""
import re
import resource
import socket
import ssl
import time

import load
from peers import OWN
from process import status_field


def pss_kb(pid):
    try:
        with open(f"/proc/{pid}/smaps_rollup") as f:
            return int(re.search(r"^Pss:\s+(\d+)", f.read(), re.M).group(1))
    except OSError:
        return status_field(pid, "VmRSS")


def total_kb(programs):
    return sum(pss_kb(pid) for program in programs for pid in program.family())


def workers(bench):
    for name, program in (("tokiophp", OWN), ("php-fpm", bench.fpm)):
        seen = {}
        for count in (4, 32, 128):
            front = bench.beside(name, program, count, 0)
            try:
                for _ in range(2):
                    load.wrk(front.url("h1", "/json.php"), max(64, count), 1)
                seen[count] = total_kb(front.programs[1:])
                rss, tables = (sum(p.rss_kb(field) for p in front.programs[1:]) for field in ("VmRSS", "VmPTE"))
                print(f"  {name:9} {count:3} workers   {seen[count] / 1024:7.1f} MB   + page tables {tables / 1024:5.1f} MB"
                      f"   (sum of resident sets {rss / 1024:7.1f} MB)", flush=True)
                seen[count] += tables
                bench.record.add(f"{count} workers", name, mb=seen[count] / 1024)
            finally:
                front.stop()
        print(f"  {name:9} each further worker, with its page tables: {(seen[128] - seen[4]) / 124:6.0f} KB", flush=True)
        bench.record.add("each further worker", name, kb=(seen[128] - seen[4]) / 124)


def connect(address, context):
    """A connection after one answer, kept open."""
    s = socket.create_connection(address, timeout=20)
    if context:
        s = context.wrap_socket(s, server_hostname="localhost")
    s.sendall(b"GET /1kib.bin HTTP/1.1\r\nHost: localhost\r\n\r\n")
    got = b""
    while b"\r\n\r\n" not in got or len(got) < got.index(b"\r\n\r\n") + 4 + 1024:
        more = s.recv(65536)
        if not more:
            raise OSError("closed")
        got += more
    return s


def hold(address, context, count):
    held = []
    for _ in range(count):
        held.append(connect(address, context))
    return held


def idle(bench):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    most = min(10000, hard - 200)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    front = bench.http(more="rlimit_files = 65536\nhttp.idle_timeout = 300\n")
    try:
        for url, count, how in ((front.http, most, None), (front.https, min(most, 2000), context)):
            address = ("127.0.0.1", int(url.rsplit(":", 1)[1]))
            alone = load.run(front, "h1", "/hello.php", 100, 1)
            hold(address, how, 20)  # what the first ones make once
            before, began = total_kb(front.programs), time.monotonic()
            held = hold(address, how, count)
            took, after = time.monotonic() - began, total_kb(front.programs)
            print(f"  {count:5} idle {'TLS' if how else 'plain'} connections: {(after - before) / count:6.2f} KiB each"
                  f"   (made in {took:.1f} s)", flush=True)
            bench.record.add(f"{count} idle {'TLS' if how else 'plain'} connections", "tokiophp", kb=(after - before) / count)
            beside = load.run(front, "h1", "/hello.php", 100, 1)
            print(f"        100 active ones beside them: {beside.rate:.0f} requests/s, p99 {beside.p99:.2f} ms; "
                  f"without them: {alone.rate:.0f}, {alone.p99:.2f} ms", flush=True)
            for s in held:
                s.close()
    finally:
        front.stop()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
