"""OPcache in an engine process: what a reset does to what is served from then on, and what a full cache leads to."""
import os
import re
import time

import pytest

import tokiophp as server_module
from both import PHP_FPM
from fcgi_client import Connection, fetch
from files import replace
from process import PATIENCE
from side_by_side import SideBySide

pytestmark = pytest.mark.skipif(server_module.is_stand_in(), reason="it is compared where php-fpm does it")
RESET = "<?php var_dump(opcache_reset());"
STATUS = "<?php $s = opcache_get_status(false); echo json_encode($s ? [$s['opcache_enabled'], $s['restart_pending'] ?? null] : $s);"
INI = "zend_extension = opcache\n"


def opcache_lines():
    """php-fpm of a distribution has OPcache as a module."""
    return INI if PHP_FPM and "OPcache" not in os.popen(f"{PHP_FPM} -n -m 2>/dev/null").read() else ""


@pytest.mark.skipif(not PHP_FPM, reason="no php-fpm to compare with")
def test_nothing_old_after_a_reset(workdir):
    """Timestamps are not looked at: after opcache_reset() has said true, not one answer is the old code's."""
    version, reset = workdir + "/www/version.php", replace(workdir + "/www/reset.php", RESET)
    ini = opcache_lines() + "opcache.validate_timestamps = 0\nopcache.file_update_protection = 0\n"
    with SideBySide(workdir, pool="pm.max_children = 2", php_ini=ini) as both:
        for program in both.programs:
            with Connection(program.address, 30) as c:
                for n in range(12):
                    replace(version, f"<?php echo {n};")
                    assert c.request(script=reset, keep=True).body == b"bool(true)\n", program.command
                    for _ in range(5 + 20 * (n % 3)):
                        assert c.request(script=version, keep=True).body == str(n).encode(), program.command
                        time.sleep(0.01 if n > 8 else 0)


def test_reset_while_the_successor_starts(workdir, tokiophp):
    """What starts at that moment has compiled the code that was to be forgotten: it does not serve."""
    version, reset = workdir + "/www/version.php", replace(workdir + "/www/reset.php", RESET)
    replace(version, "<?php echo 'old';")
    server = tokiophp(pool="pm.max_children = 1", php="php_admin_value[opcache.validate_timestamps] = 0\n")
    fetch(server.address, version)
    deadline, n = time.monotonic() + 8, 0

    def swaps_seen():
        return server.messages().count("is being replaced: opcache_reset")
    with Connection(server.address, 30) as c:
        while time.monotonic() < deadline or swaps_seen() < 2:
            n += 1
            replace(version, f"<?php echo {n};")
            assert c.request(script=reset, keep=True).body == b"bool(true)\n"
            for _ in range(n % 7 * 4):
                time.sleep(0.03)
                assert c.request(script=version, keep=True).body == str(n).encode()
    messages = server.messages()
    assert "could not start" not in messages and "crash" not in messages


@pytest.mark.skipif(not PHP_FPM, reason="no php-fpm to compare with")
@pytest.mark.parametrize("how", ["opcache.enable = 0", "opcache.file_cache = {dir}/tmp\nopcache.file_cache_only = 1"])
def test_reset_of_nothing(workdir, how):
    """False, and nobody is replaced."""
    reset = replace(workdir + "/www/reset.php", RESET)
    with SideBySide(workdir, php_ini=opcache_lines() + how) as both:
        for _ in range(3):
            theirs, ours = both.ask(reset)
            assert theirs == ours == (200, "bool(false)\n")
        time.sleep(1.5)
        assert "replaced" not in both.ours.messages()


@pytest.mark.skipif(not PHP_FPM, reason="no php-fpm to compare with")
def test_reset_twice_in_a_request(workdir):
    """The restart that the first one has asked for is still to come: false. To the next request it has been, here as there."""
    twice = replace(workdir + "/www/twice.php", "<?php var_dump(opcache_reset(), opcache_reset(), opcache_reset());")
    with SideBySide(workdir, pool="pm.max_children = 1", php_ini=opcache_lines()) as both:
        for _ in range(4):
            theirs, ours = both.ask(twice)
            assert theirs == ours == (200, "bool(true)\nbool(false)\nbool(false)\n")
            assert both.ask(replace(workdir + "/www/reset.php", RESET)) == [(200, "bool(true)\n")] * 2


def test_resets_without_end(workdir, tokiophp):
    """Each new process is asked to forget at once: the swaps wait, it is said once, nothing old is served and nothing fails."""
    version, reset = workdir + "/www/version.php", replace(workdir + "/www/reset.php", RESET)
    server = tokiophp(pool="pm.max_children = 2", php="php_admin_value[opcache.validate_timestamps] = 0\n")
    end, n = time.monotonic() + 9, 0
    waits = "so the next swaps wait: opcache_reset() was called"
    with Connection(server.address, 30) as c:
        while time.monotonic() < end or waits not in server.messages() and time.monotonic() < end + PATIENCE:
            n += 1
            replace(version, f"<?php echo {n};")
            assert c.request(script=reset, keep=True).body == b"bool(true)\n"
            assert c.request(script=version, keep=True).body == str(n).encode()
            time.sleep(0.002)
    messages = server.messages()
    assert 1 <= messages.count("is being replaced: opcache_reset") <= 5
    assert messages.count(waits) == 1


def test_reset_may_be_restricted(workdir, tokiophp):
    reset, inner = replace(workdir + "/www/reset.php", RESET), workdir + "/www/inner"
    os.mkdir(inner)
    server = tokiophp(php=f"php_admin_value[opcache.restrict_api] = {inner}\nphp_value[display_errors] = 0\n")
    assert fetch(server.address, reset).body == b"bool(false)\n"
    assert fetch(server.address, replace(inner + "/reset.php", RESET)).body == b"bool(true)\n"
    assert fetch(server.address, reset).body == b"bool(false)\n"


def classes(folder, count, size):
    """Scripts that fill the cache: each with a class of its own and strings that nothing else has."""
    os.makedirs(folder, exist_ok=True)
    for i in range(count):
        body = "".join(f"public $p{i}_{j} = 'text number {j} of script {i}'; function f{i}_{j}($a{i}_{j}) {{ return $a{i}_{j} + {j}; }}\n"
                       for j in range(size))
        replace(f"{folder}/c{i}.php", f"<?php class C{i} {{ {body} }} echo 'c{i}';")
    return [f"{folder}/c{i}.php" for i in range(count)]


def swaps(server, seconds, paths):
    end = time.monotonic() + seconds
    with Connection(server.address, 30) as c:
        while time.monotonic() < end:
            for path in paths:
                got = c.request(script=path, keep=True)
                assert (got.status, got.body) == (200, os.path.basename(path)[:-4].encode())
    return re.findall(r"is being replaced: (.*)", server.messages())


@pytest.mark.parametrize("what", ["strings", "memory"])
def test_code_that_does_not_fit(workdir, tokiophp, what):
    """More code than the cache has room for: everything is served, nobody is replaced without end, and it is said once."""
    settings = {"strings": "php_admin_value[opcache.interned_strings_buffer] = 1\nphp_admin_value[opcache.memory_consumption] = 128\n",
                "memory": "php_admin_value[opcache.memory_consumption] = 8\nphp_admin_value[opcache.interned_strings_buffer] = 1\n"}[what]
    paths = classes(workdir + "/www/code", 60, 240)
    server = tokiophp(pool="pm.max_children = 2", php=settings)
    assert swaps(server, 6, paths) == []
    messages = server.messages()
    part = {"strings": r"interned strings \(opcache.interned_strings_buffer\)", "memory": r"memory \(opcache.memory_consumption\)"}[what]
    assert len(re.findall(r"OPcache: \d+% of its " + part + " are used", messages)) == 1
    assert len(re.findall("OPcache is full: ", messages)) == (what == "memory")
    used = fetch(server.address, replace(workdir + "/www/used.php", "<?php $m = opcache_get_status(false)['memory_usage']; "
                                     "echo round(100 * $m['used_memory'] / ($m['used_memory'] + $m['free_memory'] + $m['wasted_memory']));")).body
    assert int(used) < 98 or what == "strings"


def test_waste_is_replaced(workdir, tokiophp):
    """Former versions of scripts fill the memory: a new engine process has room again."""
    paths = classes(workdir + "/www/code", 20, 100)
    server = tokiophp(pool="pm.max_children = 2", php="php_admin_value[opcache.memory_consumption] = 12\n"
                      "php_admin_value[opcache.interned_strings_buffer] = 2\nphp_admin_value[opcache.revalidate_freq] = 0\n")
    for age in range(99, 20, -1):
        for path in paths:
            os.utime(path, (time.time() - age,) * 2)
        if swaps(server, 0.3, paths):
            break
    assert "is being replaced: OPcache" in server.messages()
