"""PHP_VALUE and PHP_ADMIN_VALUE of a request: what php-fpm makes of them in a fresh worker, in one that has served many
requests, beside others."""
import json
import os
import re
import threading

import pytest

import tokiophp as server_module
from both import PHP_FPM
from fcgi_client import Connection, fetch
from files import replace
from process import wait_for
from side_by_side import SideBySide
from test_opcache_reset import opcache_lines

pytestmark = pytest.mark.skipif(not PHP_FPM or server_module.is_stand_in(), reason="no php-fpm to compare with")
FRESH = "pm.max_requests = 1"  # php-fpm keeps a value for good, and believes that an error is one of a script

SCRIPTS = {
    "session.php": """<?php error_reporting(E_ALL); ini_set('html_errors', 0);
echo json_encode([ini_get('session.save_handler'), ini_get('session.serialize_handler')]);
try { var_dump(session_start()); $_SESSION['a'] = 1; var_dump(session_encode(), session_write_close()); }
catch (Throwable $e) { echo get_class($e), $e->getMessage(); }""",
    "restore.php": """<?php $out = [ini_get('precision'), ini_set('precision', '5'), ini_get('precision')]; ini_restore('precision');
$out[] = ini_get('precision'); $out[] = ini_get_all(null, true)['precision']; $out[] = ini_set('memory_limit', '99M'); $out[] = ini_get('memory_limit');
echo json_encode($out);""",
    "all.php": "<?php $x = ini_get_all(null, false); foreach (['precision', 'memory_limit', 'date.timezone', 'open_basedir', 'include_path', "
               "'session.save_handler', 'error_log', 'mbstring.language', 'default_charset', 'disable_functions', 'assert.exception', "
               "'zend.assertions', 'opcache.enable', 'auto_prepend_file', 'output_buffering'] as $k) { $y[$k] = $x[$k] ?? null; } echo json_encode($y);",
    "missing.php": """<?php $all = get_defined_functions()['internal'];
echo json_encode([function_exists('exec'), is_callable('exec'), in_array('exec', $all), in_array('exec', get_extension_funcs('standard')),
  isset((new ReflectionExtension('standard'))->getFunctions()['exec']), function_exists('strrev'), in_array('strrev', $all),
  is_callable('EXEC'), function_exists('\\\\exec')]);
try { echo exec('echo ran'); } catch (Error $e) { echo get_class($e), $e->getMessage(); }
try { echo call_user_func('exec', 'echo ran'); } catch (Error $e) { echo get_class($e), $e->getMessage(); }
try { new ReflectionFunction('exec'); echo 'reflected'; } catch (Exception $e) { echo get_class($e), $e->getMessage(); }
try { $f = 'exec'; echo $f('echo ran'); } catch (Error $e) { echo get_class($e), $e->getMessage(); }
try { echo strrev('abc'); } catch (Error $e) { echo get_class($e), $e->getMessage(); }
foreach ($all as $name) { if ($name === '' || $name[0] === "\\0") echo 'strange name'; }""",
    "own.php": "<?php if (!function_exists('exec')) { function exec($x) { return \"mine $x\"; } } echo exec('echo ran');",
    "error.php": "<?php echo json_encode(error_get_last());",
    "calls.php": "<?php echo exec('echo ran'), function_exists('exec') ? 'is' : 'is not';",
}
CASES = [
    {"PHP_VALUE": "session.save_handler=redis_is_not_here"},
    {"PHP_VALUE": "session.serialize_handler=unknown"},
    {"PHP_VALUE": "session.serialize_handler=php_serialize\nprecision=7"},
    {"PHP_ADMIN_VALUE": "session.save_handler=not_there\nsession.serialize_handler=neither"},
    {"PHP_VALUE": "session.gc_divisor=0\nsession.sid_length=1\nsession.name=\nsession.use_trans_sid=1"},
    {"PHP_VALUE": "date.timezone=Nowhere/Atall\nmbstring.language=klingon\nmbstring.internal_encoding=no-such"},
    {"PHP_VALUE": "memory_limit=1\npcre.backtrack_limit=x\nassert.exception=0"},
    {"PHP_VALUE": "mbstring.http_output=what\niconv.internal_encoding=what\nopcache.enable=1"},
    {"PHP_VALUE": "opcache.enable=0"},
    {"PHP_VALUE": "open_basedir=/nowhere_at_all_but_here"},
    {"PHP_VALUE": "precision = 3"},
    {"PHP_ADMIN_VALUE": "precision = 4\nmemory_limit=66M"},
    {"PHP_VALUE": "precision = 3", "PHP_ADMIN_VALUE": "precision = 4"},
    {"PHP_VALUE": "precision[] = 3\n[section]\nno.such = 1\n= 4\nprecision = \nprecision = ${HOME}"},
    {"PHP_VALUE": "precision = 3\n; comment\nprecision = 6 ; more\nuser_ini.filename = x\nerror_log = /dev/null"},
    {"PHP_VALUE": "precision = \"3"},
    {"PHP_ADMIN_VALUE": "disable_functions=exec"},
    {"PHP_ADMIN_VALUE": "disable_functions = \"exec, strrev,,not_there system\""},
    {"PHP_VALUE": "disable_functions = exec"},
    {},
]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    from workdirs import make_workdir, remove_workdir
    folder = make_workdir()
    php = "php_value[session.save_path] = {dir}/tmp\nphp_value[html_errors] = 0\nphp_value[display_errors] = 1"
    with SideBySide(folder, pool=php, theirs=FRESH) as programs:
        programs.paths = {name: programs.script(name, text) for name, text in SCRIPTS.items()}
        yield programs
    remove_workdir(folder)


@pytest.mark.parametrize("case", range(len(CASES)))
def test_same_as_a_fresh_worker(both, case):
    """In one worker of ours, over and over: no case leaves anything to the next."""
    for name, path in both.paths.items():
        theirs, ours = both.ask(path, **CASES[case])
        if theirs[0] is None:  # the worker ended: the client of a web server sees 502
            assert ours[0] == 500, (name, ours)
        else:
            assert ours == theirs, name


def test_nothing_stays(both):
    """Every case, then a plain request: it is the plain request of a fresh worker, and the worker lives."""
    plain = both.ask(both.paths["all.php"])
    assert plain[0] == plain[1]
    with Connection(both.ours.address, 30) as c:
        for _ in range(3):
            for case in CASES:
                for path in both.paths.values():
                    c.request(script=path, keep=True, **case)
                got = c.request(script=both.paths["all.php"], keep=True)
                assert (got.status, got.body.decode()) == plain[1], case
    assert "heap" not in both.ours.messages() and "crash" not in both.ours.messages()


def test_exit_cannot_be_disabled(both):
    """PHP says so and leaves it; what stands beside it is disabled."""
    path = both.script("exit.php", "<?php echo json_encode([function_exists('strrev'), function_exists('exec')]); exit('left'); echo 'went on';")
    for names in ("exit", "die, exit", "exec,exit,strrev"):
        got = both.one(both.ours, path, {"PHP_ADMIN_VALUE": f'disable_functions = "{names}"'})
        assert got == (200, ("[false,false]" if "exec" in names else "[true,true]") + "left"), names
    assert both.one(both.ours, path, {}) == (200, "[true,true]left")


@pytest.mark.parametrize("where", ["request", "pool"])
def test_names_from_home(workdir, where):
    """A relative name that is said before the script runs begins where the pool is, not where the script before was."""
    settings = ["open_basedir = .", "session.auto_start = 1\nsession.save_path = saved"]
    os.mkdir(workdir + "/saved")
    os.chmod(workdir + "/saved", 0o777)
    with SideBySide(workdir, FRESH, php_ini="\n".join(settings) if where == "pool" else "") as pair:
        paths = []
        for name in ("a", "b"):
            os.mkdir(f"{workdir}/www/{name}")
            paths.append(pair.script(name + "/where.php", "<?php session_write_close(); echo basename(getcwd()), error_get_last()['message'] ?? '';"))
        for _ in range(2):
            for setting in settings if where == "request" else [""]:
                for path in paths:
                    pair.ask(paths[0])
                    theirs, ours = pair.ask(path, PHP_VALUE=setting)
                    assert ours == theirs and theirs[0] == 200, setting


def test_error_belongs_to_its_request(both):
    """save_handler=user ends php-fpm's worker; here it is that request's answer and line in the log."""
    case = {"PHP_VALUE": "session.save_handler=user"}
    theirs, ours = both.ask(both.paths["all.php"], **case)
    assert theirs[0] in (None, 500) and ours[0] == 500
    for program in both.programs:
        wait_for(lambda: 'Session save handler "user" cannot be set by ini_set()' in program.messages(), 10, "the error's line")
    assert fetch(both.ours.address, both.paths["calls.php"]).body == b"ranis"


def test_functions_beside_others(workdir, tokiophp):
    """A function that one request disables is there for all others at the same time, and back afterwards."""
    path = workdir + "/www/calls.php"
    with open(path, "w") as f:
        f.write("<?php usleep(2000); echo function_exists('exec') ? 'is' : 'is not'; try { echo exec('echo ran'); } catch (Error $e) { echo $e->getMessage(); }")
    server = tokiophp(pool="pm.max_children = 4")
    wrong = []

    def ask(case, expected):
        with Connection(server.address, 60) as c:
            for _ in range(60):
                body = c.request(script=path, keep=True, **case).body.decode()
                if body != expected:
                    wrong.append(body)
    threads = [threading.Thread(target=ask, args=a) for a in (
        ({}, "isran"), ({}, "isran"), ({"PHP_ADMIN_VALUE": "disable_functions=exec"}, "is notCall to undefined function exec()"),
        ({"PHP_ADMIN_VALUE": "disable_functions=exec"}, "is notCall to undefined function exec()"))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


def test_disabled_with_opcache(workdir, tokiophp):
    """Code that OPcache has compiled with a function in it does not fall over its absence; nor does preloaded code."""
    path = workdir + "/www/cached.php"
    with open(path, "w") as f:
        f.write("<?php try { echo exec('echo ran'), function_exists('exec'); } catch (Error $e) { echo $e->getMessage(); }")
    os.utime(path, (1, 1))
    with open(workdir + "/preload.php", "w") as f:
        f.write("<?php function preloaded() { try { return exec('echo ran'); } catch (Error $e) { return $e->getMessage(); } }")
    with open(workdir + "/www/preloaded.php", "w") as f:
        f.write("<?php echo preloaded();")
    case = {"PHP_ADMIN_VALUE": "disable_functions=exec"}
    for preload in ("", "php_admin_value[opcache.preload] = {dir}/preload.php\n"):
        server = tokiophp(pool="pm.max_children = 1", php=preload)
        for _ in range(4):
            assert fetch(server.address, path).body == b"ran1"
            assert fetch(server.address, path, **case).body == b"Call to undefined function exec()"
            if preload:
                assert fetch(server.address, workdir + "/www/preloaded.php").body == b"ran"
                assert fetch(server.address, workdir + "/www/preloaded.php", **case).body == b"Call to undefined function exec()"
        server.stop()


def test_values_in_shared_code(workdir):
    """What OPcache makes of ini_get() with an administrator's value is in the shared code, there and here: the value of the request that
    compiled it. All else says the request's own."""
    script = replace(workdir + "/www/shared.php", "<?php echo ini_get('precision'), ' ', ini_get($_GET['n']), ' ', 1 / strlen($_GET['n']);")
    with SideBySide(workdir, pool="pm.max_children = 4", php_ini=opcache_lines() + "opcache.enable = 1") as pair:
        said = []
        for program in pair.programs:
            workers = [Connection(program.address, 30) for _ in range(4)]  # php-fpm gives each a worker of its own
            said.append([c.request(script=script, keep=True, query="n=precision", **values).body.decode() for c, values in zip(workers, (
                {"PHP_ADMIN_VALUE": "precision=4"}, {"PHP_ADMIN_VALUE": "precision=5"}, {"PHP_VALUE": "precision=6"}, {}))])
            for c in workers:
                c.close()
    assert said[0] == said[1] and [line.split(" ", 1)[1] for line in said[1]] == [
        "4 0.1111", "5 0.11111", "6 0.111111", "14 0.11111111111111"]


def test_a_value_that_is_not_counted(workdir, tokiophp):
    """mb_get_info() frees the value that it hands out (ext/mbstring/mbstring.c); php-fpm's worker does not survive that."""
    path = workdir + "/www/info.php"
    with open(path, "w") as f:
        f.write("<?php $all = mb_get_info(); $n = 'http_output_conv_mimetypes'; echo $all[$n], mb_get_info($n), mb_get_info($n); unset($all); echo ini_get(\"mbstring.$n\");")
    server = tokiophp(pool="pm.max_children = 1")
    for n in range(20):
        value = f"of-request-{n}"
        got = fetch(server.address, path, PHP_VALUE="mbstring.http_output_conv_mimetypes=" + value)
        assert got.body.decode() == 4 * value
        assert "of-request" not in fetch(server.address, path).body.decode()
    assert "heap" not in server.messages() and "crash" not in server.messages()


@pytest.mark.parametrize("where", ["request", "host", "directory"])
def test_the_cache_of_names_is_back(workdir, where):
    """PHP does without it where there is an open_basedir; the requests after that have it as in a fresh worker."""
    # of a name that nobody has asked for before: php-fpm looks the script's own folder up before the request begins
    script = "<?php realpath('%s'); echo ini_get('open_basedir'), json_encode(isset(realpath_cache_get()['%s']));"
    with SideBySide(workdir, FRESH, php_ini="[HOST=limited]\nopen_basedir = /\n") as pair:
        for name in ("a", "b"):
            os.mkdir(f"{workdir}/www/{name}")
        path, plain = (pair.script(n, script % (p, p)) for n, p in (("a/limited.php", "/usr/share"), ("b/plain.php", "/usr/lib")))
        if where == "directory":
            pair.script("a/.user.ini", "open_basedir = /\n")
        how = {"request": {"PHP_VALUE": "open_basedir=/"}, "host": {"SERVER_NAME": "limited"}, "directory": {"DOCUMENT_ROOT": workdir + "/www"}}[where]
        for _ in range(2):
            theirs, ours = pair.ask(path, **how)
            assert ours == theirs == (200, "/false")
            theirs, ours = pair.ask(plain)
            assert ours == theirs == (200, "true")


def test_what_was_empty_is_empty(workdir):
    """Settings that may not be empty, and were: they do not point to what was the request's."""
    names = ["opcache.preferred_memory_model", "opcache.preload_user", "opcache.preload"]
    php_ini = opcache_lines() + "opcache.enable = 1\nopcache.preload_user =\n"
    with SideBySide(workdir, FRESH, php_ini=php_ini, ours="pm.max_requests = 0") as pair:
        path = pair.script("configuration.php", "<?php $d = opcache_get_configuration()['directives']; for ($i = 0; $i < 50; $i++) $x[] = str_repeat(chr(65 + $i % 26), 10 + $i);"
                           f"foreach ({json.dumps(names)} as $n) echo $n, '=', $d[$n], ' ';")
        plain = pair.ask(path)
        for name in names[:1] + names[2:]:
            for n in range(8):
                theirs, ours = pair.ask(path, PHP_ADMIN_VALUE=f"{name}=\"/of-request-{'x' * n}\"")
                assert "of-request" in ours[1] and re.sub("preload_user=\\w*", "", ours[1]) == re.sub("preload_user=\\w*", "", theirs[1])
                assert pair.one(pair.ours, path, {}) == plain[1], name


def test_what_comes_back_is_nobodys(workdir):
    """A setting of php.ini that PHP complains of: said when the server starts, not by each thread, nor when it comes back after a
    request that had another value."""
    settings = "session.sid_length = 26\nsession.use_only_cookies = 0\nhtml_errors = 0\nlog_errors = 1\nerror_log = {dir}/tmp/{name}-errors\n"
    with SideBySide(workdir, FRESH, php_ini=settings, ours="pm.max_children = 3") as pair:
        path = pair.script("last.php", "<?php echo json_encode(error_get_last());")
        case = {"PHP_VALUE": "session.sid_length=32\nsession.use_only_cookies=1\nassert.active=0"}
        for how in (case, {}) * 4:
            theirs, ours = pair.ask(path, **how)
            assert ours == theirs and (theirs[1] == "null") == (not how)
        with open(workdir + "/tmp/ours-errors", encoding="utf-8") as f:
            said = f.read()
        assert "assert.active" in said and "sid_length" not in said and "use_only_cookies" not in said


@pytest.mark.parametrize("name", ["opcache.protect_memory", "opcache.force_restart_timeout", "syslog.ident", "syslog.facility"])
def test_settings_of_the_process(workdir, tokiophp, name):
    """They cannot come from one request: it is warned, and nobody sees anything of it."""
    server = tokiophp(pool="pm.max_children = 2")
    for _ in range(3):
        assert fetch(server.address, workdir + "/www/hello.php", PHP_ADMIN_VALUE=name + "=1").body == b"hello"
        assert fetch(server.address, workdir + "/www/hello.php").body == b"hello"
    server.wait_message(f"WARNING: .*{name} acts on every request of this server process")
    assert "crash" not in server.messages()
