"""What one request does to its process is not seen by another one that runs at the same time."""
import json
import time

import pytest

import process
from faulty import Several, tell

CHANGES = {
    "environment": ("putenv('LEAK=' . $_GET['n']); usleep(%d); echo getenv('LEAK');", "echo json_encode(getenv('LEAK'));", "false"),
    "locale": ("setlocale(LC_ALL, 'C.UTF-8'); usleep(%d); echo setlocale(LC_NUMERIC, 0) === 'C.UTF-8' ? $_GET['n'] : setlocale(LC_ALL, 0);",
               "echo json_encode(setlocale(LC_ALL, 0));", None),
    "umask": ("umask(octdec('01' . $_GET['n'])); usleep(%d); echo umask() === octdec('01' . $_GET['n']) ? $_GET['n'] : decoct(umask());",
              "echo json_encode(decoct(umask()));", '"22"'),
    "directory": ("$d = sys_get_temp_dir() . '/d' . $_GET['n']; @mkdir($d); chdir($d); usleep(%d); echo getcwd() === $d ? $_GET['n'] : getcwd();",
                  "echo json_encode(getcwd() === __DIR__);", "true"),
    "signals": ("pcntl_sigprocmask(SIG_BLOCK, [SIGHUP, 10 + $_GET['n']]); usleep(%d); echo $_GET['n'];",
                "pcntl_sigprocmask(SIG_UNBLOCK, [SIGURG], $old); sort($old); echo json_encode($old);", None),
    "ini": ("ini_set('precision', 3 + $_GET['n']); usleep(%d); echo ini_get('precision') == 3 + $_GET['n'] ? $_GET['n'] : ini_get('precision');",
            "echo json_encode(ini_get('precision'));", '"14"'),
    "zone": ("date_default_timezone_set($_GET['n'] % 2 ? 'Asia/Tokyo' : 'America/New_York'); usleep(%d);"
             "echo date_default_timezone_get() === ($_GET['n'] % 2 ? 'Asia/Tokyo' : 'America/New_York') ? $_GET['n'] : 'other';",
             "echo json_encode(date_default_timezone_get());", '"UTC"'),
    "encoding": ("mb_internal_encoding($_GET['n'] % 2 ? 'EUC-JP' : 'UTF-8'); usleep(%d); echo mb_internal_encoding() === ($_GET['n'] % 2 ? 'EUC-JP' : 'UTF-8') ? $_GET['n'] : 'other';",
                 "echo json_encode(mb_internal_encoding());", '"UTF-8"'),
}


@pytest.mark.parametrize("what", CHANGES)
def test_changes_stay_in_the_request(faulty, front, what):
    server = faulty(fronts=(front,), pool="pm.max_children = 8\n")
    change, look, expected = CHANGES[what]
    server.script("change.php", "<?php " + change.replace("%d", "60000"))
    server.script("look.php", "<?php " + look)
    first = server.ask(front, "/look.php")
    assert first.status == 200 and (expected is None or first.text == expected), first.text
    for _ in range(3):
        calls = [lambda n=n: server.ask(front, f"/change.php?n={n}").text for n in range(1, 7)]
        calls += [lambda: server.ask(front, "/look.php").text] * 6
        results = Several(calls).results()
        assert results[:6] == [str(n) for n in range(1, 7)]
        assert results[6:] == [first.text] * 6


@pytest.mark.parametrize("way", ("popen", "system", "posix_spawn", "posix_spawnp", "fork", "vfork"))
def test_programs_that_libraries_start(faulty, way):
    """Whatever an extension's library calls, its program has nothing of this process but what it was given."""
    server = faulty(fronts=("http",), pool="env[FROM_POOL] = pool\nenv[GONE] = there\n")
    out = f"{server.directory}/tmp/{way}"
    look = (f"(grep -E 'Sig(Blk|Ign)' /proc/self/status; pwd; echo $MINE $FROM_POOL $GONE; echo fds $(ls /proc/self/fd)) > {out}; cat {out}")
    server.script("library.php", f"""<?php putenv('MINE=mine'); putenv('GONE'); $f = fopen(__FILE__, 'r'); $s = stream_socket_server('tcp://127.0.0.1:0');
        header('Content-Type: text/plain'); @unlink('{out}'); fault_program('{way}', {json.dumps(look).replace('$', chr(92) + '$')}); readfile('{out}');""")
    answer = server.ask("http", "/library.php").text
    assert process.without_own_signals(answer) == f"SigBlk:\t{'0' * 16}\nSigIgn:\t{'0' * 16}\n{server.www}\nmine pool\nfds 0 1 2 3\n"


def test_a_fork_that_is_allowed(faulty):
    """The child runs PHP as php-fpm's would, and what it executes has nothing of the other requests."""
    server = faulty(fronts=("http",), pool="security.allow_process_calls = pcntl_fork pcntl_exec\n")
    out = f"{server.directory}/tmp/out"
    server.script("fork.php", f"""<?php $f = fopen(__FILE__, 'r'); $s = stream_socket_server('tcp://127.0.0.1:0'); putenv('MINE=mine'); chdir('/usr'); $p = pcntl_fork();
        if ($p === 0) pcntl_exec('/bin/sh', ['-c', '(grep SigBlk /proc/self/status; pwd; echo $MINE; echo fds $(ls /proc/self/fd)) > {out}; exit 3']);
        pcntl_waitpid($p, $status); header('Content-Type: text/plain'); echo pcntl_wexitstatus($status), ' ', file_get_contents('{out}');""")
    pid = server.serving_pid()
    assert server.ask("http", "/fork.php").text == f"3 SigBlk:\t{'0' * 16}\n/usr\nmine\nfds 0 1 2 3\n"
    assert server.serving_pid() == pid


REFUSED = {
    "posix_setuid": "var_dump(posix_setuid(12345));",
    "posix_setgid": "var_dump(posix_setgid(12345));",
    "posix_setsid": "var_dump(posix_setsid());",
    "posix_setrlimit": "var_dump(posix_setrlimit(POSIX_RLIMIT_NOFILE, 10, 10));",
    "pcntl_fork": "$p = pcntl_fork(); if ($p == 0) { exit; } var_dump($p);",
    "pcntl_exec": "var_dump(pcntl_exec('/bin/true'));",
    "pcntl_alarm": "var_dump(pcntl_alarm(1));",
    "pcntl_signal": "var_dump(pcntl_signal(SIGTERM, SIG_IGN));",
    "proc_nice": "var_dump(proc_nice(5));",
    "pcntl_setpriority": "var_dump(pcntl_setpriority(5));",
    "pcntl_sigwaitinfo": "var_dump(pcntl_sigwaitinfo([SIGTERM]));",
    "pcntl_sigtimedwait": "var_dump(pcntl_sigtimedwait([SIGTERM], $i, 1));",
}


def test_calls_that_would_hit_everybody(faulty, front):
    server = faulty(fronts=(front,), php=("display_errors=1", "html_errors=0"))
    pid = server.serving_pid(front)
    server.script("missing.php", "<?php echo json_encode(array_values(array_filter(explode(',', $_GET['f']), fn($f) => !function_exists($f))));")
    missing = json.loads(server.ask(front, "/missing.php?f=" + ",".join(REFUSED)).text)
    with server.load(front, connections=4) as load:
        for name, code in REFUSED.items():
            if name in missing:
                continue
            server.script(f"{name}.php", f"<?php {code}")
            text = server.ask(front, f"/{name}.php").text
            assert f"allow_process_calls = {name}" in text, text
            assert "bool(false)" in text or "int(-1)" in text, text
        time.sleep(1.2)
    tell(f"refused calls, {front}: {len(REFUSED) - len(missing)} refused; {load.summary()}")
    assert load.result["failed"] == 0, load.result["failures"]
    assert server.serving_pid(front) == pid


def test_a_killing_script(faulty, front):
    """A script may kill its own process: that is what it asked for, and the pool is back at once."""
    server = faulty(fronts=("http", front))
    server.script("kill.php", "<?php posix_kill(getmypid(), SIGKILL); sleep(1);")
    try:
        assert server.ask(front, "/kill.php").status in (500, 502)
    except OSError:
        pass
    end = time.monotonic() + process.PATIENCE
    while True:
        try:
            assert server.ask(front, "/hello.php").status == 200
            break
        except OSError:
            assert time.monotonic() < end
