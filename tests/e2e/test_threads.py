"""docs/threads.md, row by row: what a request changes, while others look, and after it."""
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

import fcgi_client
import tokiophp as server_module

ROOT = server_module.ROOT
pytestmark = pytest.mark.skipif(server_module.is_stand_in(), reason="php-fpm has a process for each request")

# A change, and what shows it. The change waits in the middle; every other request says what the first one said.
REQUEST = {
    "working directory": ("chdir('/usr');", "echo getcwd();"),
    "file mode mask": ("umask(0177);", "echo umask();"),
    "environment": ("putenv('A=b'); putenv('PATH=/nowhere');", "var_dump(getenv('A'), getenv('PATH'), shell_exec('echo $A')); "),
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
    "children of others": "pcntl_wait($s);pcntl_waitpid(-1, $s);pcntl_waitpid(0, $s, WNOHANG);pcntl_waitid();pcntl_waitid(P_ALL, null, $i, WEXITED | WNOHANG)",
    "a signal to another worker": "posix_kill(other(), SIGTERM)",
}


OTHER = ("function other() { do { usleep(10000); $l = array_filter(fpm_get_status()['procs'], fn($p) => $p['state'] === 'Idle'); } while (!$l);"
         "return end($l)['pid']; } ")


def rows():
    with open(os.path.join(ROOT, "docs/threads.md")) as f:
        return re.findall(r"^\| ([^|]+?) \| (.*) \| (request|refused|shared) \|$", f.read(), re.M)


def test_every_row_is_tested():
    assert {what for what, _, whose in rows() if whose == "request"} == set(REQUEST)
    assert {what for what, _, whose in rows() if whose == "refused"} == set(REFUSED)
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
    server = tokiophp(pool="pm.max_children = 9\nenv[TZ] = UTC\n" + pool)

    def ask(name, **how):
        return fcgi_client.fetch(server.address, f"{workdir}/www/{name}", **how).body.decode("utf-8", "replace")
    return server, ask


def catalogue(folder, text):
    target = os.path.join(folder, "de_DE/LC_MESSAGES")
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
                   f"env[LOCPATH] = {locales}\n" if locales else "")
    before = ask("look.php")
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
    server.wait_message("said by 23")
    said = re.findall(r"name(\d+): said by (\d+)", server.messages())
    assert len(said) == 24 and all(a == b for a, b in said)


@pytest.mark.parametrize("what", REFUSED)
def test_refused(tokiophp, workdir, what):
    server, ask = start(tokiophp, workdir, {"calls.php": OTHER + f"foreach (explode(';', <<<'CALLS'\n{REFUSED[what]}\nCALLS) as $c) if (function_exists(strtok($c, '('))) {{ $r = eval(\"return $c;\"); echo $c, ': ', json_encode($r), error_get_last()['message'] ?? '', PHP_EOL; error_clear_last(); }}",
                                            "pid.php": "echo getmypid();"})
    pid = ask("pid.php")
    lines = [line for line in ask("calls.php").splitlines() if re.match(r"\w+\(.*\): ", line)]
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
        for name in HARMLESS:
            assert ask("kill.php", query=f"s={name}&to=pid") == "begun goes on"
        assert ask("check.php") == "[true,true]"
        assert [f.result() for f in slow] == ["whole"] * 4
    assert ask("pid.php") == pid
    server.wait_message(r"exited on signal 15 \(SIGTERM\)")
