"""docs/threads.md, row by row: what a request changes, while others look, and after it."""
import os
import re
import shutil
import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

import fcgi_client
import tokiophp as server_module
from process import wait_for
from runtime import ask_build

ROOT = server_module.ROOT
pytestmark = pytest.mark.skipif(server_module.is_stand_in(), reason="php-fpm has a process for each request")

# A change, and what shows it. The change waits in the middle; every other request says what the first one said.
REQUEST = {
    "working directory": ("chdir('/usr');", "echo getcwd();"),
    "file mode mask": ("umask(0177);", "echo umask();"),
    "environment": ("putenv('A=b'); putenv('PATH=/nowhere');", "var_dump(getenv('A'), getenv('PATH'), shell_exec('echo $A')); "),
    "C's own time zone": ("putenv('TZ=EST5');", "echo (new SQLite3(':memory:'))->querySingle(\"SELECT strftime('%H', 0, 'unixepoch', 'localtime')\"), ' ', unixtojd(3600), ' ', easter_date(2024);"),
    "locale": ("if (!setlocale(LC_ALL, 'de_DE')) exit('no such locale');", "echo json_encode([setlocale(LC_ALL, 0), localeconv()['decimal_point'], preg_match('/^\\w$/', \"\\xe4\"), ctype_alpha(\"\\xe4\"), nl_langinfo(RADIXCHAR)]);"),
    "translations": ("bindtextdomain('messages', __DIR__ . '/two'); textdomain('mine'); bindtextdomain('mine', __DIR__ . '/one'); setlocale(LC_MESSAGES, 'de_DE');", "echo textdomain(null), '|', bindtextdomain('mine', null), '|', gettext('hello'), dgettext('messages', 'hello');"),
    "system log": ("openlog('changed', LOG_PERROR, LOG_USER);", "echo 'nothing to see';"),
    "PHP's settings": ("ini_set('precision', 3); set_include_path('/x'); error_reporting(0); ignore_user_abort(true); set_time_limit(77);", "echo ini_get('precision'), get_include_path(), error_reporting(), ignore_user_abort(), ini_get('max_execution_time');"),
    "time zone": ("date_default_timezone_set('Asia/Tokyo');", "echo date('T'), date_default_timezone_get();"),
    "encodings": ("mb_internal_encoding('EUC-JP'); mb_language('ja'); mb_substitute_character(0x3f3f); mb_regex_encoding('EUC-JP');", "echo mb_internal_encoding(), mb_language(), mb_substitute_character(), mb_regex_encoding();"),
    "locale of ICU": ("Locale::setDefault('ja_JP');", "echo Locale::getDefault(), (new NumberFormatter(Locale::getDefault(), NumberFormatter::SPELLOUT))->format(7);"),
    "XML": ("libxml_use_internal_errors(true); libxml_set_external_entity_loader(fn() => null); @simplexml_load_string('<a'); libxml_set_streams_context(stream_context_create());",
            "echo json_encode([libxml_use_internal_errors(), count(libxml_get_errors()), libxml_get_external_entity_loader() === null]);"),
    "streams": ("class W { public $context; } stream_wrapper_register('mine', 'W'); stream_wrapper_unregister('http'); stream_context_set_default(['http' => ['method' => 'X']]); class F extends php_user_filter {} stream_filter_register('mine', 'F');",
                "echo json_encode([in_array('mine', stream_get_wrappers()), in_array('http', stream_get_wrappers()), stream_context_get_options(stream_context_get_default()), in_array('mine', stream_get_filters())]);"),
    "errors": ("@trigger_error('mine'); @openssl_pkey_get_private('nonsense'); json_decode('{'); @preg_match('/(?:\\D+|<\\d+>)*[!?]/', 'foobar foobar foobar');",
               "echo json_encode([error_get_last(), openssl_error_string(), json_last_error(), preg_last_error()]);"),
    "random numbers": ("mt_srand(5); mt_rand();", "mt_srand(3); usleep(1000); echo mt_rand(), ' ', mt_rand();"),
    "signal mask": ("pcntl_sigprocmask(SIG_BLOCK, [SIGHUP, SIGUSR1]);", "pcntl_sigprocmask(SIG_BLOCK, [SIGWINCH], $old); sort($old); echo join(',', $old);"),
    "processor time": ("$t = microtime(true); while (microtime(true) - $t < 0.3);", "$a = getrusage(); usleep(100000); $b = getrusage(); $f = fn($r) => $r['ru_utime.tv_sec'] * 1e6 + $r['ru_utime.tv_usec']; echo json_encode($f($b) - $f($a) < 60000);"),
    "handles": ("$s = curl_share_init(); curl_share_setopt($s, CURLSHOPT_SHARE, CURL_LOCK_DATA_COOKIE); $c = curl_init(); curl_setopt($c, CURLOPT_SHARE, $s); curl_setopt($c, CURLOPT_COOKIELIST, 'Set-Cookie: a=b; domain=x.example');",
                "$c = curl_init(); echo json_encode(curl_getinfo($c, CURLINFO_COOKIELIST));"),
    "a signal to its own process": None,  # test_a_signal_to_its_own_process
}
REFUSED = {
    "identity": "posix_setuid(1);posix_seteuid(1);posix_setgid(1);posix_setegid(1);posix_initgroups('nobody', 1)",
    "session and group": "posix_setsid();posix_setpgid(0, 0)",
    "limits and priority": "posix_setrlimit(POSIX_RLIMIT_NOFILE, 10, 10);proc_nice(1);pcntl_setpriority(1);pcntl_setcpuaffinity(null, [0])",
    "name spaces": "pcntl_unshare(0);pcntl_setns(getmypid())",
    "forks": "pcntl_fork();pcntl_exec('/bin/true');pcntl_rfork(0);pcntl_forkx(0)",
    "signal handlers": "pcntl_signal(SIGTERM, SIG_IGN);pcntl_alarm(1);pcntl_sigwaitinfo([SIGTERM]);pcntl_sigtimedwait([SIGTERM], $i, 1)",
    "children of others": "pcntl_wait($s);pcntl_waitpid(-1, $s);pcntl_waitpid(0, $s, WNOHANG);pcntl_waitid();pcntl_waitid(P_ALL, null, $i, WEXITED | WNOHANG);"
                         "pcntl_waitpid('-1', $s, WNOHANG);pcntl_waitpid(false, $s, WNOHANG);@pcntl_waitid(null, null, $i, WEXITED | WNOHANG);pcntl_waitid('0', null, $i, WEXITED | WNOHANG)",
    "a signal to another worker": "posix_kill(other(), SIGTERM)",
}
# What one request does before another one looks, and what that says. The first still runs then; {look} is what the second says without.
SHARED = {
    "what lies in shared memory on purpose": None,  # test_memory_is_shared_on_purpose, test_scripts_are_compiled_once
    "time of children": None,  # test_the_time_of_children_is_shared
    "what a library asks the environment for once": None,  # test_environment.py, test_libraries_that_ask_once
    "settings of SQLite and libedit": None,  # test_settings_of_libraries, test_named_memory_databases
    "the resolver of C": ("putenv('HOSTALIASES=' . __DIR__ . '/../tmp/aliases'); file_put_contents(__DIR__ . '/../tmp/aliases', 'aliased localhost');", "echo gethostbyname('aliased');", "aliased"),
    "language of translations": ("putenv('LANGUAGE=fr');", "bindtextdomain('mine', __DIR__ . '/cat'); textdomain('mine'); setlocale(LC_MESSAGES, 'de_DE'); echo gettext('hello');", "eins"),
    "process id": ("", "echo getmypid() === (int)file_get_contents(__DIR__ . '/../tmp/pid') ? 'same' : 'another';", "same"),
    "record locks": None,  # test_record_locks
    "defaults of libraries": None,  # test_fonts_of_the_process, test_strings_of_certificates
}


OTHER = ("function other() { do { usleep(10000); $l = array_filter(fpm_get_status()['procs'], fn($p) => $p['state'] === 'Idle'); } while (!$l);"
         "return end($l)['pid']; } ")


def rows():
    with open(os.path.join(ROOT, "docs/threads.md")) as f:
        return re.findall(r"^\| ([^|]+?) \| (.*) \| (request|refused|shared) \|$", f.read(), re.M)


def test_every_row_is_tested():
    assert {what for what, _, whose in rows() if whose == "request"} == set(REQUEST)
    assert {what for what, _, whose in rows() if whose == "refused"} == set(REFUSED)
    assert {what for what, _, whose in rows() if whose == "shared"} == set(SHARED)
    with open(os.path.join(ROOT, "engine/php/hygiene.c")) as f:
        calls = set(re.findall(r'"([a-z_]+)"', re.search(r"process_calls\[\] = \{(.*?)\};", f.read(), re.S)[1]))
    named = set(re.findall(r"`(\w+)\(", " ".join(functions for _, functions, whose in rows() if whose == "refused")))
    assert calls <= named, "refused, but not said"


@pytest.fixture(scope="module")
def locales(tmp_path_factory):
    folder = tmp_path_factory.mktemp("locales")
    for part in (folder, folder.parent, folder.parent.parent):
        os.chmod(part, 0o755)
    done = subprocess.run(["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(folder / "de_DE")], capture_output=True)
    return str(folder) if done.returncode in (0, 1) and (folder / "de_DE").exists() else None


def start(tokiophp, workdir, scripts, pool=""):
    for name, text in scripts.items():
        with open(f"{workdir}/www/{name}", "w") as f:
            f.write("<?php ini_set('html_errors', 0); ini_set('display_errors', 1); " + text)
        os.utime(f"{workdir}/www/{name}", (1e9, 1e9))  # OPcache takes no file that was just written
    server = tokiophp(pool="pm.max_children = 9\n" + ("" if "env[TZ]" in pool else "env[TZ] = UTC\n") + pool)

    def ask(name, **how):
        return fcgi_client.fetch(server.address, f"{workdir}/www/{name}", **how).body.decode("utf-8", "replace")
    return server, ask


def catalogue(folder, text, language="de_DE"):
    target = os.path.join(folder, language, "LC_MESSAGES")
    os.makedirs(target)
    with open(os.path.join(target, "x.po"), "w") as f:
        f.write('msgid ""\nmsgstr "Content-Type: text/plain; charset=ISO-8859-1\\n"\n\nmsgid "hello"\nmsgstr "%s"\n' % text)
    for domain in ("mine", "messages"):
        if subprocess.run(["msgfmt", "-o", f"{target}/{domain}.mo", f"{target}/x.po"], capture_output=True).returncode:
            pytest.skip("no msgfmt")


@pytest.mark.parametrize("what", [what for what, test in REQUEST.items() if test])
def test_of_the_request(tokiophp, workdir, locales, what):
    """Eight look while one changes, in every worker; then all look again."""
    change, look = REQUEST[what]
    if what in ("locale", "translations") and not locales:
        pytest.skip("localedef cannot make a locale here")
    if what == "translations":
        catalogue(f"{workdir}/www/one", "eins")
        catalogue(f"{workdir}/www/two", "zwei")
    _, ask = start(tokiophp, workdir, {"look.php": look, "change.php": f"{change} usleep(300000); {look}"},
                   (f"env[LOCPATH] = {locales}\n" if locales else "") + ("env[TZ] = JST-9\n" if "time zone" in what else ""))
    before = ask("look.php")
    assert "time zone" not in what or before.startswith(("09 ", "UTC")), before  # C's is the pool's, PHP's is php.ini's
    assert "Fatal" not in before and "undefined" not in before, before
    with ThreadPoolExecutor(9) as pool:
        for _ in range(3):
            changed = [pool.submit(ask, "change.php") for _ in range(4)]
            looked = [pool.submit(ask, "look.php") for _ in range(20)]
            assert {f.result() for f in looked} == {before}
            said = {f.result() for f in changed}
            assert len(said) == 1, said
            if what not in ("processor time", "system log", "handles", "random numbers"):
                assert said != {before}, "nothing was changed"
        assert set(pool.map(lambda _: ask("look.php"), range(20))) == {before}
    if what == "translations":
        assert said.pop().endswith("|einszwei")


def test_names_in_the_system_log(tokiophp, workdir):
    """Each request logs by its own name, whoever has opened the log since."""
    server, ask = start(tokiophp, workdir, {"log.php": "openlog('name' . $_GET['n'], LOG_PERROR, LOG_USER); usleep(100000); syslog(LOG_INFO, 'said by ' . $_GET['n']);"})
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: ask("log.php", query=f"n={n}"), range(24)))
    said = lambda: re.findall(r"name(\d+): said by (\d+)", server.messages())  # noqa: E731
    wait_for(lambda: len(said()) == 24, what="a line of each, in any order")
    assert sorted(said()) == sorted((str(n), str(n)) for n in range(24))


@pytest.mark.parametrize("what", [what for what, test in SHARED.items() if test])
def test_of_the_process(tokiophp, workdir, locales, what):
    """What is the pool's is that for every request, whatever one of them says."""
    change, look, said = SHARED[what]
    if what == "language of translations":
        if not locales:
            pytest.skip("localedef cannot make a locale here")
        catalogue(f"{workdir}/www/cat", "eins")
        catalogue(f"{workdir}/www/cat", "un", "fr")
    _, ask = start(tokiophp, workdir, {"look.php": look, "change.php": f"{change} usleep(200000); {look}",
                                       "pid.php": "file_put_contents(__DIR__ . '/../tmp/pid', getmypid());"},
                   "env[TZ] = JST-9\nenv[LANGUAGE] = de_DE\n" + (f"env[LOCPATH] = {locales}\n" if locales else ""))
    ask("pid.php")
    with ThreadPoolExecutor(9) as pool:
        changed = [pool.submit(ask, "change.php") for _ in range(4)]
        looked = [pool.submit(ask, "look.php") for _ in range(20)]
        assert {f.result() for f in looked} == {said}
        assert {f.result() for f in changed} == {said}
        assert set(pool.map(lambda _: ask("look.php"), range(20))) == {said}


MEETING = ("function signal($n) { touch(__DIR__ . \"/../tmp/$n\"); } function wait($n) { for ($i = 0; !file_exists(__DIR__ . \"/../tmp/$n\"); $i++) "
           "{ if ($i > 2000) exit('nobody came'); usleep(5000); clearstatcache(); } } ")


def meet(ask, first, second):
    """What both say. The one signals when it is ready, and waits for the other."""
    with ThreadPoolExecutor(2) as pool:
        return [f.result() for f in [pool.submit(ask, first), pool.submit(ask, second)]]


def test_memory_is_shared_on_purpose(tokiophp, workdir):
    """Segments, semaphores and queues of System V are between requests of one process what they are between processes."""
    _, ask = start(tokiophp, workdir, {
        "one.php": MEETING + "$k = ftok(__FILE__, 'a'); $m = shm_attach($k, 10000); shm_put_var($m, 1, 'said by one'); $s = sem_get($k); sem_acquire($s); $q = msg_get_queue($k);"
        "signal('one'); msg_receive($q, 5, $type, 1000, $got); echo $got, '|', shm_get_var($m, 1); wait('two'); sem_release($s); wait('three'); shm_remove($m); sem_remove($s); msg_remove_queue($q);",
        "two.php": MEETING + "wait('one'); $k = ftok(__DIR__ . '/one.php', 'a'); $m = shm_attach($k, 10000); echo shm_get_var($m, 1); shm_put_var($m, 1, 'said by two'); msg_send(msg_get_queue($k), 5, 'message');"
        "$s = sem_get($k); echo '|', json_encode(sem_acquire($s, true)); signal('two'); echo json_encode(sem_acquire($s)); sem_release($s); signal('three');"})
    said = meet(ask, "one.php", "two.php")
    if "undefined function" in said[0]:
        pytest.skip("no System V extensions")
    assert said == ["message|said by two", "said by one|falsetrue"]


def test_scripts_are_compiled_once(tokiophp, workdir):
    """OPcache: what one worker has compiled, another one finds."""
    _, ask = start(tokiophp, workdir, {"compile.php": "opcache_compile_file(__DIR__ . '/it.php'); echo opcache_is_script_cached(__DIR__ . '/it.php') ? 'yes' : 'no';",
                                       "look.php": "usleep(20000); echo opcache_is_script_cached(__DIR__ . '/it.php') ? 'yes' : 'no';", "it.php": "return 1;"})
    if "undefined function" in ask("look.php"):
        pytest.skip("no OPcache")
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: ask("look.php"), range(16))) == {"no"}
        assert ask("compile.php") == "yes"
        assert set(pool.map(lambda _: ask("look.php"), range(16))) == {"yes"}


def test_the_time_of_children_is_shared(tokiophp, workdir):
    """What a program of one request has used, every request finds in getrusage(1)."""
    used = "function used() { $r = getrusage(1); return $r['ru_utime.tv_sec'] * 1000 + $r['ru_utime.tv_usec'] / 1000 + $r['ru_stime.tv_sec'] * 1000 + $r['ru_stime.tv_usec'] / 1000; } "
    _, ask = start(tokiophp, workdir, {
        "one.php": MEETING + used + "wait('two'); $b = used(); exec('i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done'); echo used() > $b ? 'more' : 'as much'; signal('one');",
        "two.php": MEETING + used + "$b = used(); signal('two'); wait('one'); echo used() > $b ? 'more' : 'as much';"})
    assert meet(ask, "one.php", "two.php") == ["more", "more"]


def test_record_locks(tokiophp, workdir):
    """flock() keeps other requests out, and SQLite, whose locks are fcntl(2)'s, keeps count of its own within a process."""
    _, ask = start(tokiophp, workdir, {
        "one.php": MEETING + "$f = fopen(__DIR__ . '/../tmp/lock', 'c'); flock($f, LOCK_EX); $d = new SQLite3(__DIR__ . '/../tmp/db'); $d->exec('CREATE TABLE t(a); BEGIN EXCLUSIVE');"
        "signal('one'); wait('two'); $d->exec('COMMIT'); flock($f, LOCK_UN); signal('three'); echo 'done';",
        "two.php": MEETING + "wait('one'); $f = fopen(__DIR__ . '/../tmp/lock', 'c'); echo json_encode(flock($f, LOCK_EX | LOCK_NB, $would)), $would; $d = new SQLite3(__DIR__ . '/../tmp/db');"
        "echo json_encode(@$d->exec('INSERT INTO t VALUES (1)')), $d->lastErrorCode(); signal('two'); wait('three'); echo json_encode([flock($f, LOCK_EX | LOCK_NB), $d->exec('INSERT INTO t VALUES (1)')]);"})
    assert meet(ask, "one.php", "two.php") == ["done", "false1false5[true,true]"]


def test_record_locks_beside_readers(tokiophp, workdir):
    """The kernel takes a process's record locks when it closes any descriptor of the file: a request that reads a database as a file
    must not open another request's transaction to programs beside us. What was kept for it goes with the transaction."""
    db = f"{workdir}/tmp/db"
    other = sqlite3.connect(db, timeout=0, isolation_level=None)
    other.execute("CREATE TABLE t(a)")
    os.chmod(db, 0o666)
    os.chmod(f"{workdir}/tmp", 0o777)
    _, ask = start(tokiophp, workdir, {
        "one.php": MEETING + "$d = new SQLite3(__DIR__ . '/../tmp/db'); $d->exec('BEGIN IMMEDIATE; INSERT INTO t VALUES (1)'); signal('one'); wait('two'); echo json_encode($d->exec('COMMIT'));",
        "two.php": "$f = __DIR__ . '/../tmp/db'; file_get_contents($f); copy($f, $f . '.copy'); hash_file('md5', $f); new SplFileObject($f); for ($i = 0; $i < 150; $i++) fclose(fopen($f, 'r'));"
        "$h = fopen($f, 'r+'); flock($h, LOCK_EX); fclose($h); $h = fopen($f, 'r'); echo json_encode(flock($h, LOCK_EX | LOCK_NB)); $d = new SQLite3($f); $d->querySingle('SELECT 1 FROM t'); $d->close();",
        "open.php": "foreach (scandir('/proc/self/fd') as $fd) if (str_ends_with((string)@readlink(\"/proc/self/fd/$fd\"), '/tmp/db')) echo $fd, ' ';"})
    for _ in range(2):
        for name in ("one", "two"):
            if os.path.exists(f"{workdir}/tmp/{name}"):
                os.remove(f"{workdir}/tmp/{name}")
        with ThreadPoolExecutor(1) as pool:
            one = pool.submit(ask, "one.php")
            wait_for(lambda: os.path.exists(f"{workdir}/tmp/one") or one.done(), 10, "the transaction")
            for _ in range(2):
                assert ask("two.php") == "true"
                with pytest.raises(sqlite3.OperationalError, match="locked"):
                    other.execute("BEGIN IMMEDIATE")
            with open(f"{workdir}/tmp/two", "w"):
                assert one.result() == "true"
        other.execute("BEGIN IMMEDIATE")
        other.execute("COMMIT")
        assert ask("open.php") == ""
    assert ask("two.php") == "true" and ask("open.php") == ""


def test_settings_of_libraries(tokiophp, workdir):
    """What one request has set, the others find."""
    _, ask = start(tokiophp, workdir, {
        "set.php": "(new SQLite3(':memory:'))->exec(\"PRAGMA temp_store_directory='/tmp'\"); if (function_exists('readline_add_history')) readline_add_history('said'); echo 'set';",
        "look.php": "echo (new SQLite3(':memory:'))->querySingle('PRAGMA temp_store_directory'), '|', function_exists('readline_add_history') ? join(',', readline_list_history()) : 'said';"})
    assert ask("look.php") in ("|", "|said") and ask("set.php") == "set"
    with ThreadPoolExecutor(8) as pool:
        said = set(pool.map(lambda _: ask("look.php"), range(16)))
    if said == {"|said"}:
        pytest.skip("this SQLite has no such setting")
    assert said == {"/tmp|said"}


def test_named_memory_databases(tokiophp, workdir):
    """They are there for as long as somebody has them open."""
    db = "$d = new PDO('sqlite:file:named?mode=memory&cache=shared'); "
    _, ask = start(tokiophp, workdir, {
        "one.php": MEETING + db + "$d->exec('CREATE TABLE t(a); INSERT INTO t VALUES (7)'); signal('one'); wait('two'); echo 'done';",
        "two.php": MEETING + "wait('one'); " + db + "echo $d->query('SELECT a FROM t')->fetchColumn(); signal('two');",
        "three.php": db + "echo $d->query('SELECT count(*) FROM sqlite_master')->fetchColumn();"})
    assert meet(ask, "one.php", "two.php") == ["done", "7"]
    assert ask("three.php") == "0"


def test_fonts_of_the_process(tokiophp, workdir):
    """libgd's fonts are the process's, and the end of a request forgets them: who draws meanwhile draws the same."""
    font = os.path.join(ask_build("--print-source"), "ext/gd/tests/Rochester-Regular.otf")
    if not os.path.exists(font):
        pytest.skip("no font")
    shutil.copy(font, f"{workdir}/www/font.otf")
    _, ask = start(tokiophp, workdir, {"draw.php": "$i = imagecreatetruecolor(300, 60); for ($n = 0; $n < 20; $n++) imagettftext($i, 10 + $n, $n, 5, 40, 0xffffff, __DIR__ . '/font.otf', 'drawn'); ob_start(); imagepng($i); echo md5(ob_get_clean());"})
    drawn = ask("draw.php")
    if "undefined function" in drawn:
        pytest.skip("no GD with fonts")
    assert re.fullmatch("[0-9a-f]{32}", drawn)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: ask("draw.php"), range(80))) == {drawn}


def test_strings_of_certificates(tokiophp, workdir):
    """What kind of string OpenSSL makes is the process's; a file that does not say it leaves it as it is."""
    files = {"plain.cnf": "[req]\ndistinguished_name = dn\n[dn]\n", "mask.cnf": "[req]\ndistinguished_name = dn\nstring_mask = nombstr\n[dn]\n"}
    for name, text in files.items():
        with open(f"{workdir}/www/{name}", "w") as f:
            f.write(text)
    make = "$c = ['private_key_bits' => 1024, 'config' => __DIR__ . '/%s']; $k = openssl_pkey_new($c); openssl_csr_export(openssl_csr_new(['commonName' => 'x'], $k, $c), $t);" \
        "preg_match('/0603550403(..)/', bin2hex(base64_decode(preg_replace('/-----.*-----/', '', $t))), $m); echo $m[1];"
    _, ask = start(tokiophp, workdir, {"mask.php": make % "mask.cnf", "plain.php": make % "plain.cnf"})
    if "undefined function" in ask("plain.php"):
        pytest.skip("no OpenSSL")
    assert [ask(name) for name in ("plain.php", "mask.php")] == ["0c", "13"]
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: ask("plain.php"), range(8))) == {"13"}


def test_killed_from_outside_all_end(tokiophp, workdir):
    """A program that kills the process id that it was told ends every request of the process; the next ones are served."""
    server, ask = start(tokiophp, workdir, {"wait.php": MEETING + "signal('w' . $_GET['n']); sleep(20); echo 'went on';", "pid.php": "echo getmypid();",
                                            "kill.php": MEETING + "for ($n = 0; $n < 3; $n++) wait(\"w$n\"); exec('kill -9 ' . getmypid()); sleep(20); echo 'went on';"})
    pid = ask("pid.php")
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(ask, "wait.php", query=f"n={n}") for n in range(3)] + [pool.submit(ask, "kill.php")]
        for f in waiting:
            try:
                said = f.result()
            except (OSError, AssertionError):
                continue
            assert "went on" not in said
    assert ask("pid.php") not in ("", pid)


@pytest.mark.parametrize("what", REFUSED)
def test_refused(tokiophp, workdir, what):
    server, ask = start(tokiophp, workdir, {"calls.php": OTHER + f"foreach (explode(';', <<<'CALLS'\n{REFUSED[what]}\nCALLS) as $c) if (function_exists(strtok(ltrim($c, '@'), '('))) {{ $r = eval(\"return $c;\"); echo $c, ': ', json_encode($r), error_get_last()['message'] ?? '', PHP_EOL; error_clear_last(); }}",
                                            "pid.php": "echo getmypid();"})
    pid = ask("pid.php")
    lines = [line for line in ask("calls.php").splitlines() if re.match(r"@?\w+\(.*\): ", line)]
    assert lines, ask("calls.php")
    for line in lines:
        assert re.search(r": (false|-1)", line) and ("allow_process_calls" in line or "every request" in line), line
    assert ask("pid.php") == pid


FATAL = ("SIGTERM", "SIGKILL", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGABRT", "SIGSEGV", "SIGSTOP", "SIGTSTP")
HARMLESS = ("SIGCHLD", "SIGCONT", "SIGURG", "SIGWINCH", "SIGPIPE", "SIGQUIT")


def test_a_signal_to_its_own_process(tokiophp, workdir):
    """It ends the sender's request, at once and with nothing run behind it, and no other one."""
    server, ask = start(tokiophp, workdir, {
        "kill.php": "register_shutdown_function(fn() => file_put_contents(__DIR__ . '/../tmp/ran', 'x')); class D { function __destruct() { file_put_contents(__DIR__ . '/../tmp/ran', 'y'); } } $d = new D;"
                    "echo 'begun'; $to = ['pid' => getmypid(), 'group' => 0, 'all' => -1, 'pgrp' => -posix_getpgrp()][$_GET['to']]; posix_kill($to, constant($_GET['s'])); echo ' goes on';",
        "check.php": "echo json_encode([posix_kill(getmypid(), 0), posix_kill(0, 0)]);",
        "slow.php": "usleep(700000); echo 'whole';", "pid.php": "echo getmypid();"})
    pid = ask("pid.php")
    with ThreadPoolExecutor(4) as pool:
        slow = [pool.submit(ask, "slow.php") for _ in range(4)]
        for name in FATAL:
            for to in ("pid", "group", "all", "pgrp") if name == "SIGTERM" else ("pid",):
                answer = fcgi_client.fetch(server.address, f"{workdir}/www/kill.php", query=f"s={name}&to={to}")
                assert answer.status == 500 and b"goes on" not in answer.body and b"begun" not in answer.body, (name, to, answer.stdout)
                assert not os.path.exists(f"{workdir}/tmp/ran"), name
        answer = fcgi_client.fetch(server.address, f"{workdir}/www/kill.php", query="s=SIGPROF&to=pid")
        assert b"begun" in answer.body and b"goes on" not in answer.body and b"Maximum execution time" in answer.body + answer.stderr
        assert os.path.exists(f"{workdir}/tmp/ran")  # PHP's own end of a time limit
        for name in HARMLESS:
            assert ask("kill.php", query=f"s={name}&to=pid") == "begun goes on"
        assert ask("check.php") == "[true,true]"
        assert [f.result() for f in slow] == ["whole"] * 4
    assert ask("pid.php") == pid
    server.wait_message(r"exited on signal 15 \(SIGTERM\)")
