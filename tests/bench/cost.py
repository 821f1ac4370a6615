"""What watching costs: the access log, request ids and trace headers, on the smallest script.

Time on a shared machine does not show some percent, so the instructions are counted, too: valgrind runs the server with
one worker, twice, and the difference of the two runs is that of their requests alone. Ids and metrics are always made:
what they take is read from the functions that make them.
"""
import os
import re
import shutil
import socket
import subprocess

import load
import peers
import process
import tokiophp

WITHOUT = "http.request_id_headers = no\n"
WITH = {
    "combined log": "access.log = {dir}/access.log\nhttp.access_log_format = combined\n" + WITHOUT,
    "JSON log": "access.log = {dir}/access.log\nhttp.access_log_format = json\n" + WITHOUT,
    "ids shown": "http.request_id_headers = yes\n",
    "all": "access.log = {dir}/access.log\nhttp.access_log_format = json\nhttp.request_id_headers = yes\n",
}
ALWAYS = {"metrics": "metrics_add_request", "ids": "request_identify"}
FEW, MANY = 300, 2300


def in_time(bench):
    fronts = []
    try:
        for name, more in {"without": WITHOUT, "with all": WITH["all"]}.items():
            fronts.append(bench.http(more=more))
            fronts[-1].name = name
        results = load.rounds({f.name: f for f in fronts}, bench.rounds * 2, lambda f: load.run(f, "h1", "/hello.php", 32, bench.seconds))
        load.report(bench.record, "hello", results, first="without")
    finally:
        for front in fronts:
            front.stop()


def ask(address, path, count):
    with socket.create_connection(address, timeout=120) as s:
        for _ in range(count):
            s.sendall(b"GET %s HTTP/1.1\r\nHost: a\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n\r\n" % path.encode())
            data = b""
            while not data.endswith(b"Hello, world") and not data.endswith(b"0\r\n\r\n"):
                piece = s.recv(65536)
                if not piece:
                    raise SystemExit(f"closed: {data!r}")
                data += piece


def of_function(files, name):
    """Instructions below a function in all processes."""
    text = "".join(subprocess.run(["callgrind_annotate", "--auto=no", "--inclusive=yes", "--threshold=100", file], stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True).stdout for file in files)
    return sum(int(n.replace(",", "")) for n in re.findall(rf"^ *([\d,]+) .*:{name} ", text, re.M))


def instructions(bench, more, count):
    """Of a whole run with so many requests, those of the functions of ALWAYS, and how many processes there were."""
    place = bench.place("count")
    wrapper, port = place + "/run", process.free_port()
    with open(wrapper, "w") as f:
        f.write(f"#!/bin/sh\nexec valgrind --tool=callgrind --trace-children=yes --callgrind-out-file={place}/tmp/%p.out "
                f"--log-file={place}/tmp/%p.log {peers.OWN} \"$@\"\n")
    os.chmod(wrapper, 0o755)
    tokiophp.PROGRAM, program = wrapper, None
    try:
        program = tokiophp.Tokiophp(place, settings="log_level = warning", wait=False, pool=f"pm.max_children = 1\n{peers.POOL}{bench.more}"
                                    f"http.listen = 127.0.0.1:{port}\nhttp.document_root = {bench.root}\n{more}")
        program.wait_accepting(("127.0.0.1", port), 120)
        ask(("127.0.0.1", port), "/hello.php", count)
        program.stop(seconds=120)
    finally:
        tokiophp.PROGRAM = peers.OWN
        if program:
            program.kill_family()
    total, files = 0, []
    for file in (f"{place}/tmp/{name}" for name in os.listdir(place + "/tmp") if name.endswith(".out")):
        with open(file) as f:
            found = [int(n) for n in re.findall(r"^totals: (\d+)", f.read(), re.M)]
        total += sum(found)
        files += [file] if found else []
    return total, {name: of_function(files, function) for name, function in ALWAYS.items()}, len(files)


def a_request(bench, more):
    for _ in range(5):
        many, within, processes = instructions(bench, more, MANY)
        few, within_few, of_few = instructions(bench, more, FEW)
        # On a busy machine a process may have been replaced, or killed before it said anything.
        if processes == of_few and 0.8 < within["metrics"] / MANY / (within_few["metrics"] / FEW or 1) < 1.2:
            return (many - few) / (MANY - FEW), {name: n / MANY for name, n in within.items()}
    raise SystemExit("processes are replaced in every run: the machine is too busy")


def in_instructions(bench):
    base, always = a_request(bench, WITHOUT)
    least = base - sum(always.values())
    print(f"  hello without            {base:9.0f} instructions a request, PHP's own included", flush=True)
    bench.record.add("hello, instructions", "without", instructions=base)
    for name, n in always.items():
        print(f"    of these for {name:11} {n:9.0f}                             {n / least * 100:+.1f} %", flush=True)
    for name, more in WITH.items():
        own = a_request(bench, more)[0]
        print(f"  hello with {name:13} {own:9.0f} instructions a request      {(own / base - 1) * 100:+.1f} %   "
              f"beside no ids and metrics either: {(own / least - 1) * 100:+.1f} %", flush=True)
        bench.record.add("hello, instructions", name, instructions=own)


def cost(bench):
    """Access log and request ids on hello, with and without"""
    in_time(bench)
    if not shutil.which("valgrind"):
        bench.without("instructions", "valgrind is not installed")
    else:
        in_instructions(bench)
