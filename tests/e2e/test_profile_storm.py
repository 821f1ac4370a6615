"""Profiles of scripts at their worst: while they crash, end, recurse, jump between fibers and generators, are compiled and thrown
away. Nobody's request fails for it, and no process ends but those that were told to."""
import functools
import os
import random
import re
import time

import pytest

import process
import tokiophp as program
from background import Background
from inside import Inside
from test_profile import ctl, stacks

pytestmark = pytest.mark.skipif(program.is_stand_in(), reason="tokiophp's own words")

WILD = """<?php
function numbers($n) { for ($i = 0; $i < $n; $i++) { yield hash('crc32', "$i"); } return $n; }
function outer($n) { $got = yield from numbers($n); yield from numbers($got); }
function deep($n) { return $n > 0 ? deep($n - 1) + 1 : 0; }
class Tree { public $below = []; function grow($n) { if ($n > 0) { $this->below[] = (new Tree)->grow($n - 1); } return $this; }
    function __destruct() { strlen(serialize([1, 2])); } }
$fibers = array_map(fn($i) => new Fiber(function () use ($i) { for ($k = 0; $k < 30; $k++) { Fiber::suspend(deep($i)); } }), range(1, 5));
foreach ($fibers as $f) { $f->start(); }
for ($k = 0; $k < 30; $k++) { foreach ($fibers as $f) { $f->resume(); } }
$sum = 0;
foreach (outer(200) as $text) { $sum += strlen($text); }
$sum += deep(20000);
(new Tree)->grow(50);
$list = range(1, 300);
usort($list, fn($a, $b) => $b <=> $a);
$name = 'made_' . random_int(0, 1 << 40);
eval("function $name(\\$n) { return array_sum(array_map(fn(\\$i) => \\$i * 2, range(1, \\$n))); }");
$sum += $name(100);
set_error_handler(fn() => true);
try { (function () { throw new LogicException('x'); })(); } catch (Exception) { $sum++; }
register_shutdown_function(function () { deep(100); });
array_map('deep', range(1, 40));
preg_replace_callback('/a/', fn($m) => deep(5) . $m[0], str_repeat('ab', 200));
if (isset($_GET['reset'])) { opcache_reset(); }
if (isset($_GET['exit'])) { echo 'wild'; exit; }
echo 'wild';"""


@pytest.fixture(params=["disable", "tracing", "function"])
def server(tokiophp, workdir, request):
    os.mkdir(workdir + "/site")
    with open(workdir + "/site/wild.php", "w") as f:
        f.write(WILD)
    jit = f"php_admin_value[opcache.jit] = {request.param}\nphp_admin_value[opcache.jit_buffer_size] = 32M\nphp_admin_flag[opcache.enable] = on\n"
    return Inside(tokiophp, workdir + "/site", f"http.internal_token = secret\npm.max_children = 6\n{jit}",
                  settings="control_socket = {dir}/ctl.sock\n")


def pids(workdir):
    return re.findall(r"process pid=(\d+)", ctl(workdir, "status").stdout.decode())


class Storm(Background):
    """Clients that ask for wild pages, and others that ask for profiles of them."""

    def __init__(self, server, workdir, target="/wild.php"):
        super().__init__(*[self.ask] * 4, *(functools.partial(self.look, hz) for hz in (1000, 99)))
        self.server, self.workdir, self.target = server, workdir, target
        self.wrong, self.answers, self.seen = [], 0, 0

    def ask(self):
        ends = random.Random(1)
        while not self.over.is_set():
            answer = self.server.site.ask(self.target + ("?exit" if ends.random() < 0.3 else ""))
            self.answers += 1
            if answer.text != "wild":
                self.wrong.append((answer.status, answer.text[:200]))

    def look(self, hz):
        while not self.over.is_set():
            done = ctl(self.workdir, "profile", "--seconds", "2", "--hz", str(hz))
            if done.returncode == 0:
                self.seen += sum(stacks(done.stdout.decode(errors="replace")).values())


def test_wild_scripts(server, workdir):
    before = pids(workdir)
    with Storm(server, workdir) as storm:
        time.sleep(6)
        process.wait_for(lambda: storm.wrong or (storm.answers > 10 and storm.seen > 20), what="answers, and looks at them")
    assert not storm.wrong, storm.wrong[:3]
    assert pids(workdir) == before, "no process has ended"


def restarted(workdir):
    """Whether the pool was restarted. While a reload exchanges the program, nobody answers at the control socket."""
    done = ctl(workdir, "restart", "www")
    assert done.returncode == 0 or b"no server answers" in done.stderr, done
    return done.returncode == 0


def test_processes_that_go(server, workdir):
    """Reloads, restarts and OPcache resets in between."""
    with Storm(server, workdir) as storm:
        for _ in range(3):
            time.sleep(1)
            assert server.site.ask("/wild.php?reset").text == "wild"
            time.sleep(1)
            process.wait_for(lambda: restarted(workdir), what="the restart of the pool")
            time.sleep(1)
            ctl(workdir, "reload")
        process.wait_for(lambda: storm.wrong or storm.answers > 10, what="answers")
    assert not storm.wrong, storm.wrong[:3]
    log = open(server.server.error_log).read()
    assert "SIGSEGV" not in log and "crashed" not in log
