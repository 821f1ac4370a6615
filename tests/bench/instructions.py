"""Instructions of requests over FastCGI, counted by valgrind in all processes of a pool with one worker. They do not
depend on what else the machine does. The kernel's own are not among them.

A pool is started once. Between two requests for a script that calls fgetc() it answers COUNT requests of one kind:
valgrind writes down what it has counted whenever that function is called.
"""
import os
import re
import shutil

import fcgi_client
import tokiophp
from peers import OWN
from site_files import SCRIPTS

MARK = "<?php fgetc(fopen(__FILE__, 'r'));"
BROWSER = {
    "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "HTTP_ACCEPT": "text/html,*/*",
    "HTTP_ACCEPT_LANGUAGE": "en-US,en;q=0.5", "HTTP_CONNECTION": "keep-alive", "REDIRECT_STATUS": "200", "REQUEST_SCHEME": "http",
    "CONTENT_LENGTH": "", "CONTENT_TYPE": "",
}


def asked(root, path):
    """What nginx would send for a path: the script, and variables."""
    name, _, query = path.partition("?")
    script, _, info = (name + "index.php" if name.endswith("/") else name).partition(".php")
    script += ".php"
    return root + script, {**BROWSER, "SCRIPT_NAME": script, "DOCUMENT_URI": script + info, "PATH_INFO": info, "REQUEST_URI": path,
                           "QUERY_STRING": query, "DOCUMENT_ROOT": root}


class Counted:
    """A pool below valgrind. more: options of callgrind's."""

    def __init__(self, bench, name, program, workers=1, more=""):
        self.place = bench.place("count")
        self.mark = bench.root + "/mark.php"
        with open(self.mark, "w") as f:
            f.write(MARK)
        wrapper = self.place + "/php-fpm-run" if program == bench.fpm else self.place + "/run"
        with open(wrapper, "w") as f:
            f.write(f"#!/bin/sh\nexec valgrind --tool=callgrind --trace-children=yes --dump-before=zif_fgetc {more} "
                    f"--callgrind-out-file={self.place}/tmp/%p.out --log-file={self.place}/tmp/%p.log {program} \"$@\"\n")
        os.chmod(wrapper, 0o755)
        tokiophp.PROGRAM = wrapper
        try:
            self.pool = tokiophp.Tokiophp(self.place, settings="log_level = warning", wait=False, args=bench.options(program),
                                          pool=f"pm.max_children = {workers}\nrequest_terminate_timeout = 0\ncatch_workers_output = no\n{bench.more}")
        finally:
            tokiophp.PROGRAM = OWN
        self.pool.wait_accepting(self.pool.address, 180)
        self.ask(self.mark, {}, 1)

    def ask(self, script, variables, count):
        with fcgi_client.Connection(self.pool.address, timeout=300) as c:
            for _ in range(count):
                reply = c.request(script, keep=True, **variables)
                if reply.status != 200:
                    raise SystemExit(f"{script}: {reply.status} {reply.stdout[:300]!r} {reply.stderr[:300]!r}")

    def dumped(self):
        return {name for name in os.listdir(self.place + "/tmp") if re.fullmatch(r"\d+\.out\.\d+", name)}

    def dumps(self, ask):
        """What was counted from one mark to the next, as texts."""
        self.ask(self.mark, {}, 1)
        before = self.dumped()
        ask()
        self.ask(self.mark, {}, 1)
        for name in self.dumped() - before:
            with open(f"{self.place}/tmp/{name}") as f:
                yield f.read()

    def between(self, ask):
        """Instructions from one mark to the next."""
        return sum(int(n) for text in self.dumps(ask) for n in re.findall(r"^(?:totals|summary): (\d+)", text, re.M)[:1])

    def of(self, script, variables, warm, count):
        self.ask(script, variables, warm)
        nothing = self.between(lambda: None)
        return (self.between(lambda: self.ask(script, variables, count)) - nothing) / count

    def stop(self):
        self.pool.kill_family()


def compare(bench):
    if not shutil.which("valgrind"):
        bench.without("instructions", "valgrind is not installed")
        return
    counted = {}
    for name, program in (("tokiophp", OWN), ("php-fpm", bench.fpm)):
        pool = Counted(bench, name, program)
        try:
            for script, path in bench.scripts.items():
                few = script not in SCRIPTS
                counted.setdefault(script, {})[name] = pool.of(*asked(bench.root, path), 4 if few else 50, 6 if few else 200)
                print(f"  {script:10} {name:9} {counted[script][name]:12.0f} instructions a request", flush=True)
        finally:
            pool.stop()
    for script, numbers in counted.items():
        ratio = numbers["tokiophp"] / numbers["php-fpm"]
        print(f"  {script:10} ratio {ratio:.3f}", flush=True)
        bench.record.add(script, "tokiophp", instructions=numbers["tokiophp"])
        bench.record.add(script, "php-fpm", instructions=numbers["php-fpm"], instructions_ratio=ratio)
