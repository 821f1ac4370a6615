"""How long and how deep a script gets, beside php-fpm: hard_timeout, and the stack of C."""
import re
import json

import pytest

import tokiophp as server_module
from both import OTHER_RELEASE, PHP_FPM
from fcgi_client import fetch
from files import replace
from needs import needs_php
from process import wait_for
from side_by_side import SideBySide
from test_opcache_reset import opcache_lines

pytestmark = pytest.mark.skipif(not PHP_FPM or server_module.is_stand_in(), reason="no php-fpm to compare with")
# some ten seconds of processor time, in one call
LONG = "<?php set_time_limit(1); $a = str_repeat('ab', 60000); $b = str_repeat('ba', 60000); echo levenshtein($a, $b), 'not reached';"
DEEP = """<?php $max = 0; $f = function ($n) use (&$f, &$max) { $max = $n; return array_map($f, [$n + 1]); };
try { $f(0); } catch (Error $e) { $out[] = [preg_replace('/\\d+/', 'N', $e->getMessage()), $max]; }
class A { function __get($x) { global $max; $max++; return (new A)->{'a'}; } } $max = 0;
try { (new A)->x; } catch (Error $e) { $out[] = [preg_replace('/\\d+/', 'N', $e->getMessage()), $max]; }
echo json_encode($out);"""
CHAIN = "<?php $c = null; for ($i = 0; $i < $_GET['n']; $i++) { $c = function () use ($c) {}; } $c = null; echo 'freed';"


def test_hard_timeout(workdir):
    """A C function that does not end: after max_execution_time and hard_timeout of processor time its client is answered,
    and the others never wait for it."""
    with SideBySide(workdir, pool="pm.max_children = 2") as pair:
        path, hello = pair.script("long.php", LONG), workdir + "/www/hello.php"
        theirs, ours = pair.ask(path)
        assert theirs[0] is None and ours[0] == 500 and "not reached" not in ours[1]
        for program in pair.programs:
            wait_for(lambda: "Maximum execution time of 1+2 seconds exceeded (terminated)" in program.messages(), 10, "the line")
        wait_for(lambda: "is written off" in pair.ours.messages(), 10, "the worker's end")
        for _ in range(4):
            assert fetch(pair.ours.address, hello).body == b"hello"


def test_no_hard_timeout(workdir):
    """0: waited for as long as it takes. A script that hears of its end has it as before."""
    with SideBySide(workdir, php_ini="hard_timeout = 0\nhtml_errors = 0\n") as pair:
        path = pair.script("some.php", "<?php set_time_limit(1); $a = str_repeat('ab', 12000); for ($i = 0; $i < 1000; $i++) { levenshtein($a, $a); }")
        theirs, ours = pair.ask(path)
        assert "Maximum execution time of 1 second exceeded" in ours[1] and theirs == ours
        assert "terminated" not in pair.ours.messages()


@pytest.mark.parametrize("cpu,ends", [(0.2, True), (9, False)])
def test_shutdown_functions_have_the_hard_limit(workdir, cpu, ends):
    """The limit was heard; what runs afterwards has hard_timeout, and is told again."""
    text = """<?php register_shutdown_function(function () {
    $used = fn() => ($u = getrusage())['ru_utime.tv_sec'] + $u['ru_utime.tv_usec'] / 1e6;
    for ($t = $used(); $used() - $t < %s;) { } echo ' shutdown'; });
set_time_limit(1); while (true) { }""" % cpu
    with SideBySide(workdir, php_ini="hard_timeout = 1\nhtml_errors = 0\n") as pair:
        theirs, ours = pair.ask(pair.script("shutdown.php", text))
        assert ours[1].count("Maximum execution time") == (1 if ends else 2)
        assert ours[1].endswith(" shutdown") == ends
        lines = [re.sub(r"on line [234]", "on line N", text[1]) for text in (theirs, ours)]  # in a loop or in what it calls
        assert lines[0] == lines[1]


@needs_php("8.3", "zend.max_allowed_stack_size")
def test_as_deep_as_php_fpm(workdir):
    with SideBySide(workdir, php_ini="memory_limit = 2G\n") as pair:
        path = pair.script("deep.php", DEEP)
        theirs, ours = pair.ask(path)
        assert ours[0] == 200
        ours = json.loads(ours[1])
        if theirs[0] == 200:  # PHP below 8.3 has no such limit, and crashes
            for their, our in zip(json.loads(theirs[1]), ours):
                assert our[0] == their[0] and our[1] >= their[1]
        chain = pair.script("chain.php", CHAIN)
        for n in (60000, 100000):
            theirs, ours = pair.ask(chain, query=f"n={n}")
            assert theirs[0] is None or ours == theirs == (200, "freed"), n


def test_memory_that_is_used_up_is_said_once(workdir):
    """How full OPcache is, is asked at the end of a request: not of one that has no room for the question."""
    with SideBySide(workdir, php_ini=opcache_lines() + "opcache.enable = 1\nhtml_errors = 0\n") as pair:
        path = replace(workdir + "/www/full.php", "<?php function f() { f(); } ini_set('memory_limit', '64M'); f();")
        for _ in range(3):
            theirs, ours = pair.ask(path)
            assert ours == theirs and ours[1].count("Allowed memory size of 67108864 bytes") == 1


@pytest.mark.skipif(OTHER_RELEASE is not None, reason=str(OTHER_RELEASE))
def test_errno_survives_a_notice(workdir):
    """PHP says that a read failed, and looks at errno afterwards: whether this is the end of the file."""
    text = """<?php error_reporting(E_ALL); ini_set('html_errors', 0); ini_set('display_errors', $_GET['show']); ini_set('log_errors', $_GET['log']);
$f = fopen($_GET['file'], 'w'); fwrite($f, 'x'); rewind($f);
var_dump(@fread($f, 10), feof($f)); $g = fopen($_GET['file'], 'a'); var_dump(fread($g, 10), feof($g), fgets($g), feof($g), stream_get_contents($g));
$r = fopen($_GET['file'], 'r'); var_dump(fwrite($r, 'y'), feof($r)); $d = fopen('/', 'r'); var_dump(fread($d, 10), feof($d));"""
    with SideBySide(workdir, php_ini="error_log =\n") as pair:
        path = pair.script("read.php", text)
        for show in "01":
            for log in "01":
                theirs, ours = pair.ask(path, query=f"show={show}&log={log}&file={workdir}/tmp/file")
                assert ours[0] == 200 and ours == theirs, (show, log)
