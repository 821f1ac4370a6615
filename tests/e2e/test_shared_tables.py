"""PHP's functions and constants, of which all threads of a process have one table (engine/php/shared_tables.c)."""
import json
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

import fcgi_client
import tokiophp as server_module
from process import wait_for

pytestmark = pytest.mark.skipif(server_module.is_stand_in(), reason="php-fpm has a process for each request")

SCRIPTS = {
    # What PHP has without a script, in a form that changes with each name and value.
    "all.php": "<?php $c = get_defined_constants(true); unset($c['user']); echo count($c, 1), md5(serialize($c)), "
               "md5(serialize(get_defined_functions()['internal'])), md5(serialize(get_declared_classes()));",
    # More constants and functions than there is room for in the tables, so that they grow.
    "own.php": "<?php $n = (int)$_GET['n']; for ($i = 0; $i < $n; $i++) { define(\"OWN_$i\", [$i, \"value $i\"]); } "
               "$s = ''; for ($i = 0; $i < $n; $i++) { $s .= \"function own_$i() { return $i; } \"; } eval($s); usleep(30000); "
               "$bad = 0; for ($i = 0; $i < $n; $i++) { $bad += constant(\"OWN_$i\") !== [$i, \"value $i\"] || (\"own_$i\")() !== $i; } "
               "echo $bad, ' ', PHP_VERSION, ' ', E_ALL, ' ', M_PI, ' ', strlen('four');",
    "others.php": "<?php echo json_encode([defined('OWN_0'), function_exists('own_0'), "
                  "isset(get_defined_constants(true)['user']), count(get_defined_functions()['user'])]);",
    "values.php": "<?php $c = get_defined_constants(); foreach ($c as $name => &$value) { if (is_string($value)) $value .= 'x'; else $value = null; } "
                  "$e = PHP_OS; $e[0] = '?'; $d = DIRECTORY_SEPARATOR; $d .= 'more'; echo PHP_OS, DIRECTORY_SEPARATOR, PHP_EOL;",
    "session.php": "<?php session_start(); echo strlen(@SID) < 99 ? 'ok' : 0; define('SECOND', 2); exit('.');",
    "fatal.php": "<?php define('OWN_0', 1); function own_0() {} nowhere();",
}


@pytest.fixture
def serve(tokiophp, workdir):
    for name, text in SCRIPTS.items():
        with open(f"{workdir}/www/{name}", "w") as f:
            f.write(text)
        os.utime(f"{workdir}/www/{name}", (1e9, 1e9))

    def start(pool):
        server = tokiophp(pool=pool)

        def ask(name, query=""):
            return fcgi_client.fetch(server.address, f"{workdir}/www/{name}", query=query).body.decode()
        return server, ask
    return start


def loaded(server, name):
    """The file of a library that the pool has loaded."""
    for pid in server.engine_pids():
        with open(f"/proc/{pid}/maps") as f:
            found = re.search(rf"(/\S*{name}\S*\.so\S*)", f.read())
        if found:
            return found[1]
    return None


def needs_new_libphp(server):
    readelf, library = shutil.which("readelf"), loaded(server, "libphp")
    if not readelf or not library:
        pytest.skip("no readelf, or no libphp")
    if loaded(server, "lib[at]san"):
        pytest.skip("a sanitizer's malloc maps no block for itself alone: tables are copied")
    if "zend_hash_copy" not in subprocess.run([readelf, "-rW", library], stdout=subprocess.PIPE, text=True).stdout:
        pytest.skip("this libphp does not leave its tables to tokiophp: it is of an older recipe")


def tables(server):
    """Each mapping of a shared table: what the process has of it alone, KiB."""
    found = []
    for pid in server.engine_pids():
        try:
            with open(f"/proc/{pid}/smaps") as f:
                text = f.read()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        for part in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", text):
            if "memfd:php-table" in part.splitlines()[0]:
                found.append(int(re.search(r"Anonymous:\s+(\d+)", part)[1]))
    return found


@pytest.mark.parametrize("pool", ["", "php_admin_value[disable_functions] = phpinfo,exec,str_rot13\n", "php_admin_value[opcache.enable] = 0\n"])
def test_all_threads_have_the_same(serve, pool):
    _, ask = serve("pm.max_children = 6\n" + pool)
    with ThreadPoolExecutor(6) as clients:
        said = list(clients.map(lambda n: ask("all.php" if n % 3 else "own.php", f"n={n}"), range(60)))
    assert len({text for n, text in enumerate(said) if n % 3}) == 1


@pytest.mark.parametrize("n", [1, 60, 7000])
def test_what_a_script_defines_is_its_own(serve, n):
    _, ask = serve("pm.max_children = 4\n")
    before = ask("all.php")
    with ThreadPoolExecutor(6) as clients:
        own = [clients.submit(ask, "own.php", f"n={n}") for _ in range(12)]
        others = [clients.submit(ask, "others.php") for _ in range(24)]
        assert {f.result() for f in others} == {"[false,false,false,0]"}
        said = {f.result() for f in own}
    assert len(said) == 1 and said.pop().startswith("0 8."), said
    assert {ask("all.php") for _ in range(8)} == {before}


def test_values_are_not_changed(serve):
    _, ask = serve("pm.max_children = 2\n")
    before = ask("all.php")
    for _ in range(6):
        assert ask("values.php") == "Linux/\n"
        assert ask("session.php").startswith("ok")
        ask("fatal.php")
    assert {ask("all.php") for _ in range(6)} == {before}


@pytest.mark.parametrize("pm", ["pm = static\n", "pm = ondemand\npm.process_idle_timeout = 1s\n",
                                "pm = dynamic\npm.start_servers = 1\npm.min_spare_servers = 1\npm.max_spare_servers = 1\n"])
def test_workers_come_and_go(serve, pm):
    """Threads that end give their tables back, also those that had to grow."""
    server, ask = serve(pm + "pm.max_children = 4\npm.max_requests = 2\n")
    before = ask("all.php")

    def round_of(count):
        with ThreadPoolExecutor(4) as clients:
            said = list(clients.map(lambda n: ask("own.php", "n=7000") if n % 5 == 4 else ask("all.php"), range(count)))
        assert {text for n, text in enumerate(said) if n % 5 < 4} == {before}
    round_of(40)
    few = wait_for(lambda: len(tables(server)) <= 2 * 6 and json.dumps(tables(server)), what="tables that were given back")
    round_of(160)
    wait_for(lambda: len(tables(server)) <= 2 * 6, what=f"tables that were given back, {few} before")
    assert not re.search(r"SIGSEGV|SIGABRT|exited on signal", server.messages())


def test_tables_that_grow_are_given_back(serve):
    """A thread whose scripts define thousands has tables of its own, and no mapping any more."""
    server, ask = serve("pm.max_children = 1\n")
    before = ask("all.php")
    needs_new_libphp(server)
    many = len(tables(server))
    for _ in range(3):
        assert ask("own.php", "n=7000").startswith("0 ")
        assert ask("all.php") == before
    assert len(tables(server)) <= many - 2


def test_tables_are_there_once(serve):
    """A thread has a mapping of each, and few of its pages alone."""
    server, ask = serve("pm.max_children = 8\n")
    for _ in range(16):
        ask("all.php")
    needs_new_libphp(server)
    found = tables(server)
    assert len(found) >= 2 * 9, found
    assert sum(found) <= 20 * len(found), found
