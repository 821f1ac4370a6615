"""Worker mode beside classic mode and php-fpm: a bare callback, and a page of a Symfony application."""
import os
import re
import shutil
import socket

import cost
import load
import memory
import packages
import symfony
from peers import OWN

HELLO = """<?php
$handler = static function () { echo 'Hello, world'; };
if (isset($_SERVER['FRANKENPHP_WORKER'])) { while (frankenphp_handle_request($handler)); } else { $handler(); }
"""
CLIENTS = 32
FEW, MANY = 100, 500


class Project:
    """A document root, its script, the path that is asked for, and lines for the pool."""

    def __init__(self, root, script, path, env=""):
        self.root, self.script, self.path, self.env = root, script, path, env

    def held(self, num):
        return f"worker.script = {self.root}/{self.script}\nworker.num = {num}\n"


def projects(bench):
    root = bench.folder + "/hello"
    os.makedirs(root)
    with open(root + "/index.php", "w") as f:
        f.write(HELLO)
    os.chmod(root, 0o755)
    yield "hello", Project(root, "index.php", "/index.php")
    try:
        folder = bench.folder + "/www/shop"
        if not os.path.exists(folder):  # the page of topic applications is of the same one
            symfony.unpack(bench.folder + "/www")
    except packages.Missing as why:
        bench.without("symfony", str(why))
        return
    yield "symfony", Project(folder + "/public", "index.php", "/index.php/fruit", "" if "APP_ENV" in bench.more else "env[APP_ENV] = prod\nenv[APP_DEBUG] = 0\n")


def fronts_of(bench, project):
    """Ours, in worker mode, is the first of each three."""
    held = project.env + project.held(bench.workers)

    def named(name, front):
        front.name = name
        return front
    bench.root, before = project.root, bench.root
    try:
        yield "HTTP", [named("tokiophp", bench.http(more=held)), named("classic", bench.http(more=project.env)), *bench.php_fpm_peers(project.env)]
        yield "FastCGI", [bench.beside(name, program, bench.workers, bench.workers, more) for name, program, more in (
            ("tokiophp", OWN, held), ("classic", OWN, project.env), ("php-fpm", bench.fpm, project.env))]
    finally:
        bench.root = before


def ask(address, path, count):
    with socket.create_connection(address, timeout=300) as s:
        file = s.makefile("rb")
        for _ in range(count):
            s.sendall(b"GET %s HTTP/1.1\r\nHost: a\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n\r\n" % path.encode())
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += file.read(1)
            if b" 200 " not in head.split(b"\r\n")[0]:
                raise SystemExit(f"{path}: {head!r}")
            file.read(int(re.search(rb"Content-Length: (\d+)", head, re.I).group(1)))


def instructions(bench, project, more):
    """Of one request, PHP's own included."""
    cost.ask = lambda address, _, count: ask(address, project.path, count)
    bench.root, before = project.root, bench.root
    try:
        many, within, of_many = cost.instructions(bench, more, MANY)
        few, within_few, of_few = cost.instructions(bench, more, FEW)
    finally:
        bench.root = before
    if of_many != of_few or not within["metrics"] or not within_few["metrics"]:
        return bench.without("instructions", "a process was killed before it said anything")
    return (many - few) / (MANY - FEW)


def worker(bench):
    """Worker mode beside classic mode and php-fpm: a bare callback, a Symfony page"""
    for name, project in projects(bench):
        for way, fronts in fronts_of(bench, project):
            try:
                clients = CLIENTS if way == "HTTP" else bench.workers
                results = load.rounds({front.name: front for front in fronts}, bench.rounds, lambda front, p=project, c=clients: load.run(
                    front, "h1", p.path, c, bench.seconds))
                load.report(bench.record, f"{name}, {way}", results)
                if way == "FastCGI":
                    for front in fronts:
                        print(f"  {name + ', memory':26} {front.name:22} {memory.total_kb(front.programs[1:]) / 1024:7.1f} MB with "
                              f"{bench.workers} workers", flush=True)
                        bench.record.add(f"{name}, memory", front.name, mb=memory.total_kb(front.programs[1:]) / 1024)
            finally:
                for front in fronts:
                    front.stop()
        if not shutil.which("valgrind"):  # callgrind_annotate comes with it
            bench.without("instructions", "valgrind is not installed")
        elif not bench.quick:
            held, classic = (instructions(bench, project, project.env + more) for more in (project.held(1), ""))
            if held and classic:
                print(f"  {name + ', instructions':26} worker {held:11.0f}   classic {classic:11.0f}   ratio {classic / held:5.2f}", flush=True)
                bench.record.add(f"{name}, instructions", "tokiophp", instructions=held)
                bench.record.add(f"{name}, instructions", "classic", instructions=classic, instructions_ratio=held / classic)
