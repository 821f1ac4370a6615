"""Programs that scripts start: as from php-fpm, and with nothing of the requests that run beside theirs."""
import contextlib
import json
import os
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from both import WHY_NOT, Both
from process import wait_for, without_own_signals
from workdirs import make_workdir, remove_workdir

pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=str(WHY_NOT))

# What a program sees. ls itself has descriptor 3.
LOOK = ("grep -E 'Sig(Blk|Ign)' /proc/self/status; pwd; echo mine=$MINE pool=$FROM_POOL gone=$GONE;"
        "readlink /proc/$PPID/exe >/dev/null; echo fds $(ls /proc/self/fd)")
SAID = "putenv('MINE=said by putenv'); putenv('GONE'); "
WAYS = {
    "exec": "exec(LOOK, $l); echo join(\"\\n\", $l);",
    "shell_exec": "echo shell_exec(LOOK);",
    "backtick": "$look = LOOK; echo `$look`;",
    "system": "system(LOOK);",
    "passthru": "passthru(LOOK);",
    "popen": "$p = popen(LOOK, 'r'); echo stream_get_contents($p); pclose($p);",
    "popen to": "$p = popen('sh > ' . __DIR__ . '/popen.out', 'w'); fwrite($p, LOOK); pclose($p); readfile(__DIR__ . '/popen.out');",
    "proc_open string": "$p = proc_open(LOOK, [1 => ['pipe', 'w']], $pipes); echo stream_get_contents($pipes[1]); proc_close($p);",
    "proc_open array": "$p = proc_open(['sh', '-c', LOOK], [1 => ['pipe', 'w']], $pipes); echo stream_get_contents($pipes[1]); proc_close($p);",
    "mail": "mail('a@example.org', 'subject', 'body'); readfile(__DIR__ . '/mail.out');",
}
# Holds a locked file, a listening socket, a connection, both ends of a pair and a program's pipes until it is let go.
NEIGHBOUR = """<?php
$f = fopen(__DIR__ . '/held-' . $_GET['n'], 'c'); flock($f, LOCK_EX);
$s = stream_socket_server('tcp://127.0.0.1:0'); $c = stream_socket_client('tcp://' . stream_socket_get_name($s, false));
$pair = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0); $d = opendir('.'); $t = tmpfile();
$p = proc_open('exec sleep 100', [['pipe', 'r'], ['pipe', 'w']], $pipes); $q = popen('echo $$; exec sleep 100', 'r'); $pid = (int) fgets($q);
touch(__DIR__ . '/holds-' . $_GET['n']);
for ($i = 0; $i < 4000 && !file_exists(__DIR__ . '/go-' . $_GET['n']); $i++) usleep(20000);
proc_terminate($p); posix_kill($pid, SIGTERM); echo 'held';
"""


@pytest.fixture(scope="module")
def both():
    folder = make_workdir()
    catch = os.path.join(folder, "catch")
    with open(catch, "w") as f:
        f.write(f"#!/bin/sh\ncat > /dev/null\n({LOOK}) > $1/mail.out\n")
    os.chmod(catch, 0o755)
    servers = Both(folder, f"php_admin_value[sendmail_path] = {catch} {{root}}\nenv[FROM_POOL] = of the pool\nenv[GONE] = there\n"
                           "env[PATH] = /usr/local/bin:/usr/bin:/bin\n", children=16)
    for name, code in WAYS.items():
        servers.write(name.replace(" ", "-") + ".php", f"<?php const LOOK = {json.dumps(LOOK).replace('$', chr(92) + '$')}; {SAID}{code}")
    servers.write("neighbour.php", NEIGHBOUR)
    yield servers
    servers.stop()
    remove_workdir(folder)


def seen(text):
    """What LOOK says, without the descriptors, and these."""
    head, _, fds = text.partition("fds ")
    return head.replace("ROOT/", "ROOT"), sorted(int(n) for n in fds.split())


def comparable(head):
    """php-fpm's programs inherit an ignored SIGPIPE, and what its master ignores; ours ignore nothing."""
    return re.sub(r"SigIgn:\s*\w+", "SigIgn", head)


@contextlib.contextmanager
def neighbours(both, pool, numbers):
    """Requests that hold everything, while the `with` lasts."""
    root = both.root("ours")
    held = [pool.submit(both.say, "ours", "neighbour.php", query=f"n={n}") for n in numbers]
    try:
        wait_for(lambda: all(os.path.exists(f"{root}/holds-{n}") for n in numbers), what="the neighbours")
        yield
    finally:
        for n in numbers:
            open(f"{root}/go-{n}", "w").close()
    assert [f.result() for f in held] == ["held"] * len(held)


def test_ways_to_start_a_program(both):
    """Every way, beside eight requests that hold everything that a request can hold."""
    with ThreadPoolExecutor(8) as pool, neighbours(both, pool, range(8)):
        for way in WAYS:
            script = way.replace(" ", "-") + ".php"
            theirs, ours = both.say("theirs", script), both.say("ours", script)
            head, fds = seen(ours)
            assert comparable(head) == comparable(seen(theirs)[0]), way
            assert "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n" in without_own_signals(head), way
            assert fds == [0, 1, 2, 3], f"{way}: descriptors {fds}"


STARTED = {
    "wait": "exec('sleep 0.5 & wait; echo done', $l); echo join($l);",
    "wait by shell_exec": "echo shell_exec('sleep 0.5 & wait; echo done');",
    "wait by system": "system('sleep 0.5 & wait; echo done');",
    "wait by popen": "$p = popen('sleep 0.5 & wait; echo done', 'r'); echo stream_get_contents($p), pclose($p);",
    "wait by proc_open": "$p = proc_open('sleep 0.5 & wait; echo done', [1 => ['pipe', 'w']], $q); echo stream_get_contents($q[1]), proc_close($p);",
    "wait by array": "$p = proc_open(['bash', '-c', 'sleep 0.5 & wait; echo done'], [1 => ['pipe', 'w']], $q); echo stream_get_contents($q[1]), proc_close($p);",
    "terminate": "$p = proc_open(['sleep', '700'], [], $q); proc_terminate($p); for ($i = 0; $i < 500; $i++) { usleep(20000); $s = proc_get_status($p); if (!$s['running']) break; }"
                 "echo json_encode([$s['running'], $s['termsig']]);",
    "terminate a shell": "$p = proc_open('sleep 0.1; sleep 700', [], $q); proc_terminate($p); for ($i = 0; $i < 500 && ($r = proc_get_status($p)['running']); $i++) usleep(20000); echo json_encode($r);",
    "kill": "exec('sleep 700 >/dev/null 2>&1 & echo $!', $l); posix_kill((int) $l[0], 15); for ($i = 0; $i < 500 && ($r = posix_kill((int) $l[0], 0)); $i++) usleep(20000); echo json_encode($r);",
    "timeout": "$p = proc_open(['timeout', '1', 'sleep', '5'], [], $q); echo proc_close($p);",
    "alarm": "echo shell_exec('perl -e \\'$SIG{ALRM} = sub { print \"rang\"; exit }; alarm 1; sleep 700\\'');",
    "trap": "echo shell_exec('bash -c \\'trap \"echo trapped; exit\" TERM; kill -TERM $$; sleep 700\\'');",
    "broken pipe": "exec('yes 2>/dev/null | head -n 1', $l); echo join($l);",
    "exit code": "exec('exit 7', $l, $c); echo $c; system('kill -9 $$', $c); echo ',', $c; $p = popen('exit 3', 'r'); echo ',', pclose($p);",
    "command": "$p = proc_open(['sleep', '0.1'], [], $q); echo proc_get_status($p)['command']; $p = proc_open('sleep 0.1', [], $q); echo proc_get_status($p)['command'];",
    "no such program": "var_dump(@proc_open(['/nonexistent', 'x'], [], $q), @proc_open(['nonexistent-too'], [], $q)); echo error_get_last()['message'];",
    "not executable": "var_dump(@proc_open([__FILE__], [], $q)); echo error_get_last()['message'];",
    "no such directory": "var_dump(@proc_open(['true'], [], $q, '/nonexistent')); echo error_get_last()['message'];",
    "own directory": "$p = proc_open('pwd', [1 => ['pipe', 'w']], $q, '/usr'); echo stream_get_contents($q[1]);",
    "changed directory": "chdir('/usr'); echo shell_exec('pwd'); $p = proc_open(['pwd'], [1 => ['pipe', 'w']], $q); echo stream_get_contents($q[1]), getcwd();",
    "from its directory": "copy('/bin/true', 'prog'); chmod('prog', 0755); $p = proc_open(['./prog'], [], $q); echo json_encode([is_resource($p), proc_close($p)]);",
    "search": "putenv('PATH=' . __DIR__ . '/bin:/bin'); @mkdir('bin'); file_put_contents('bin/mine', \"#!/bin/sh\\necho mine\"); chmod('bin/mine', 0755);"
              "$p = proc_open(['mine'], [1 => ['pipe', 'w']], $q); echo stream_get_contents($q[1]), shell_exec('mine');",
    "given environment": "putenv('MINE=x'); $p = proc_open(['/usr/bin/env'], [1 => ['pipe', 'w']], $q, null, ['A' => 'b c', 'N' => 5]); echo stream_get_contents($q[1]);",
    "strange environment": "putenv('a.b=1'); putenv('x=' . str_repeat('y', 100000)); putenv(\"nl=1\\n2\"); putenv('empty='); putenv('HOME=/changed');"
                           "$l = explode(\"\\0\", file_get_contents('/proc/self/environ')); echo md5(shell_exec('env | grep -E \"^(a.b|x|nl|2|empty|HOME)\" | sort'));",
    "descriptors": "$p = proc_open('echo three >&3; echo nine >&9; cat <&5', [1 => ['pipe', 'w'], 3 => ['pipe', 'w'], 9 => ['file', __DIR__ . '/nine', 'w'],"
                   "5 => ['pipe', 'r']], $q); fwrite($q[5], 'five'); fclose($q[5]); echo stream_get_contents($q[1]), stream_get_contents($q[3]); proc_close($p); readfile(__DIR__ . '/nine');",
    "its own number": "for ($i = 3; $i < 90; $i++) $spec[$i] = ['pipe', 'w']; $p = proc_open('for i in 3 9 5; do eval \"echo $i >&$i\"; done; bash -c \"echo 77 >&77; echo 40 >&40\"', $spec, $q);"
                      "foreach ([3, 9, 5, 77, 40] as $i) echo fgets($q[$i]);",
    "redirect": "$p = proc_open('echo out; echo err >&2', [1 => ['pipe', 'w'], 2 => ['redirect', 1]], $q); echo stream_get_contents($q[1]);",
    "socket": "$p = proc_open('cat', [0 => ['socket'], 1 => ['socket']], $q); fwrite($q[0], 'over a socket'); stream_socket_shutdown($q[0], STREAM_SHUT_WR); echo stream_get_contents($q[1]);",
    "stream passed": "$t = tmpfile(); $p = proc_open('echo into', [1 => $t], $q); proc_close($p); rewind($t); echo stream_get_contents($t);",
    "null": "$p = proc_open('echo x; echo y >&2', [1 => ['null'], 2 => ['pipe', 'w']], $q); echo stream_get_contents($q[2]);",
    "too large": "putenv('X=' . str_repeat('x', 200000)); var_dump(@shell_exec('echo hello'), @proc_open(['true'], [], $q));",
    "quotes in the directory": "$d = __DIR__ . \"/it's; \\\"here\\\"\"; @mkdir($d); chdir($d); echo basename(trim(shell_exec('pwd')));",
    "argument list": "echo shell_exec('tr \"\\\\0\" \" \" < /proc/$$/cmdline');",
}


POSIX_SPAWN = ("no such program", "not executable", "no such directory", "too large")  # known before there is a process


@pytest.mark.parametrize("what", STARTED)
def test_started_as_usual(both, what):
    """The same words, and no wait that php-fpm does not have: what is ended would take ten minutes by itself."""
    script = f"started-{what.replace(' ', '-')}.php"
    both.write(script, "<?php " + STARTED[what])
    theirs = both.say("theirs", script)
    if what in POSIX_SPAWN and both.version("theirs") < "8.3":
        pytest.skip("this php-fpm starts programs by fork()")
    if what == "argument list" and not both.directory_is_real():
        pytest.skip("this libphp puts \"cd DIRECTORY ;\" before each command: it is of an older recipe")
    assert both.say("ours", script) == theirs


def test_characters_that_broke_off(both):
    """What one text ends in the middle of does not count for the next, of the same request or of the worker's next one."""
    broken = "setlocale(LC_CTYPE, 'C.UTF-8'); escapeshellcmd(\"a;\\xc3\");"
    asked = "setlocale(LC_CTYPE, 'C.UTF-8'); foreach ([\"\\xc3\\xa4\", \"a'b\", \"\\xa4x\", \"\\xac;\", \"\\xe2\\x82\\xac\"] as $t) echo bin2hex(escapeshellarg($t) . " \
            "escapeshellcmd($t) . basename(\"/$t\")), ' ', fputcsv(fopen('php://memory', 'w'), [$t]), ' ';"
    both.write("broken.php", "<?php " + broken)
    both.write("asked.php", "<?php " + asked)
    both.write("broken-asked.php", "<?php " + broken + asked)
    expected = both.say("theirs", "asked.php")
    assert both.say("theirs", "broken-asked.php") == expected
    for _ in range(20):
        both.say("ours", "broken.php")
        assert both.say("ours", "asked.php") == expected
        assert both.say("ours", "broken-asked.php") == expected


def test_secrets_are_not_in_the_argument_list(both):
    both.write("secret.php", "<?php putenv('MYSQL_PWD=s3cret'); $p = proc_open('sleep 5; true', [], $q); $r = proc_open(['sleep', '5'], [], $q); usleep(50000);"
                             "foreach ([$p, $r] as $x) echo str_replace(\"\\0\", ' ', file_get_contents('/proc/' . proc_get_status($x)['pid'] . '/cmdline')), '|';"
                             "exec('ps axww -o args', $l); echo (int)(bool)preg_grep('/s3cret/', $l);")
    assert both.say("ours", "secret.php") == "sh -c sleep 5; true |sleep 5 |0"


def zombies(server):
    """Of the engine process."""
    found, family = [], set(server.family())
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as f:
                state, parent = f.read().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        found += [int(pid)] if state == "Z" and int(parent) in family else []
    return found


def test_nothing_is_left_of_programs(both):
    """A handle that ends without proc_close() does not wait; php-fpm keeps what is left until the worker ends."""
    both.write("left.php", "<?php $GLOBALS['p'] = proc_open('exec sleep 0.1', [], $q); $r = proc_open(['sleep', '0.1'], [], $q); unset($r); echo 'left';")
    both.write("own.php", "<?php $p = proc_open('exec sleep 0.1', [], $q); $pid = proc_get_status($p)['pid']; unset($p); usleep(500000);"
                          "echo json_encode(pcntl_waitpid($pid, $status) === $pid && pcntl_wexitstatus($status) === 0);")
    for _ in range(20):
        assert both.say("ours", "left.php") == "left"
    assert both.say("ours", "own.php") == "true"
    time.sleep(0.5)
    assert both.say("ours", "own.php") == "true"  # and ends a request
    wait_for(lambda: both.say("ours", "own.php") == "true" and not zombies(both.programs["ours"]), 10, "that nothing is left")


def test_a_background_program_holds_nothing(both):
    """A lock, a connection and a pipe of one request are free as soon as it ends, whatever others have started."""
    for n in range(3):
        both.write("background.php", "<?php exec('sleep 90 >/dev/null 2>&1 & echo $!', $l); echo $l[0];")
        with ThreadPoolExecutor(16) as pool, neighbours(both, pool, range(10 * n + 10, 10 * n + 12)):
            pids = [int(f.result()) for f in [pool.submit(both.say, "ours", "background.php") for _ in range(8)]]
        both.write("free.php", f"<?php $f = fopen(__DIR__ . '/held-{10 * n + 10}', 'c'); echo json_encode(flock($f, LOCK_EX | LOCK_NB));")
        alive = [p for p in pids if os.path.exists(f"/proc/{p}")]
        wait_for(lambda: both.say("ours", "free.php") == "true", what="a lock that is free")
        assert alive, "the background programs ended too early to prove anything"
        for pid in pids:
            links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")] if os.path.exists(f"/proc/{pid}") else []
            assert [link for link in links if "socket" in link or "held" in link] == []
        subprocess.run(["kill", *map(str, alive)], check=False)
