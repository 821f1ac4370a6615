"""What programs say on the stderr and stdout that they inherit: lines of the worker that has started them, whole and in order."""
import collections
import json
import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import fcgi_client
import process
import tokiophp as server_module
from both import PHP_FPM
from side_by_side import SideBySide

pytestmark = pytest.mark.skipif(server_module.is_stand_in(), reason="it is compared where php-fpm does it")
LINE = re.compile(r'\[pool www\] child (\d+) said into (stderr|stdout): "(.*?)"((?:, request \S+)|(?:, pipe is closed))?$', re.M)

# Writes lines of letters in pieces, as a program does whose output has no buffer.
TALK = """import os, sys
who, size, piece = sys.argv[1], int(sys.argv[2]), 700
for c in range(4):
    line = ('<%s:%d:' % (who, c) + chr(97 + int(who) % 26) * size + ':%d:%s>\\n' % (c, who)).encode()
    for at in range(0, len(line), piece):
        os.write(2, line[at:at + piece])
"""
WAYS = {
    "exec": "exec($command);",
    "proc_open": "proc_close(proc_open($command, [], $pipes));",
    "proc_open of an array": "proc_close(proc_open(['sh', '-c', $command], [], $pipes));",
    "popen": "pclose(popen($command, 'w'));",
    "passed": "proc_close(proc_open($command, [2 => fopen('php://stderr', 'w')], $pipes));",
    "passed under another number": "proc_close(proc_open(\"($command) 2>&5\", [5 => fopen('php://stderr', 'w'), 2 => ['file', '/dev/null', 'w']], $pipes));",
    "mail": "mail('a@example.org', $command, '');",
}


def said(program, stream="stderr"):
    return [(int(child), text) for child, of, text, _ in LINE.findall(program.messages()) if of == stream]


def page(workdir, name, text):
    with open(f"{workdir}/www/{name}", "w") as f:
        f.write(text)
    return f"{workdir}/www/{name}"


def program(workdir, name, text):
    page(workdir, name, text)
    os.chmod(f"{workdir}/www/{name}", 0o755)
    return f"{workdir}/www/{name}"


def run_in_parallel(program, script, queries):
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda q: fcgi_client.fetch(program.address, script, query=q, timeout=60).body, queries))


@pytest.mark.skipif(not PHP_FPM, reason="no php-fpm to compare with")
@pytest.mark.parametrize("way", WAYS)
def test_long_lines_of_programs_at_once(workdir, way):
    """Each is whole, unmixed, in order, and under one worker's number, however it was started; as in php-fpm."""
    talk = program(workdir, "talk.py", TALK)
    mailer = program(workdir, "mailer", "#!/bin/sh\nsh -c \"$(sed -n 's/^Subject: //p')\"\n")
    script = page(workdir, "start.php", f"<?php $command = \"/usr/bin/python3 {talk} {{$_GET['n']}} 9000\"; {WAYS[way]} echo 'done';")
    with SideBySide(workdir, pool=f"pm.max_children = 8\nphp_admin_value[sendmail_path] = {mailer}", settings="log_limit = 65535") as both:
        for one in both.programs:
            assert set(run_in_parallel(one, script, [f"n={n}" for n in range(16)])) == {b"done"}
            process.wait_for(lambda: len(said(one)) >= 64, 20, "all lines")  # noqa: B023
            found = {}
            for child, text in said(one):
                assert text[0] == "<", (one.command[0], len(text), text[:60], text[-60:])
                found.setdefault((child, re.match(r"<(\d+):", text)[1]), []).append(text)
            assert len(found) == 16, one.command
            for (_, n), lines in found.items():
                assert lines == [f"<{n}:{c}:{chr(97 + int(n) % 26) * 9000}:{c}:{n}>" for c in range(4)], one.command
            assert len({child for child, _ in found}) <= 8


@pytest.mark.skipif(not PHP_FPM, reason="no php-fpm to compare with")
def test_script_and_programs_in_order(workdir):
    """Also where a line is begun by one and ended by the other, and where the request ends in the middle of one."""
    script = page(workdir, "order.php", """<?php $w = fopen('php://stderr', 'w');
        fwrite($w, "first\\n"); exec('echo second >&2'); fwrite($w, "third\\n"); proc_close(proc_open('printf "fourth, " >&2', [], $p));
        fwrite($w, "as begun\\n"); fwrite($w, "fifth, "); system('echo as begun >&2'); error_log('sixth');
        $p = popen('cat >&2', 'w'); fwrite($p, "seventh\\n"); pclose($p); fwrite($w, str_repeat('e', 9000) . "\\n"); exec('echo ninth >&2; printf tenth >&2');""")
    with SideBySide(workdir, settings="log_limit = 65535", php_ini="log_errors = 1\nerror_log = /dev/stderr\n") as both:
        told = []
        for one in both.programs:
            for _ in range(3):
                fcgi_client.fetch(one.address, script)
            process.wait_for(lambda: len(said(one)) >= 30, 20, "all lines")  # noqa: B023
            told.append([re.sub(r"^\[[^]]*\] ", "", text) for _, text in said(one)])
        assert told[0] == told[1]
        assert told[1][:7] == ["first", "second", "third", "fourth, as begun", "fifth, as begun", "NOTICE: PHP message: sixth", "seventh"]
        assert told[1][7:10] == ["e" * 9000, "ninth", "tenth"]


@pytest.mark.skipif(not PHP_FPM, reason="no php-fpm to compare with")
def test_stdout_that_is_inherited(workdir):
    script = page(workdir, "out.php", """<?php proc_close(proc_open('echo to stdout; echo to stderr >&2', [], $p));
        $p = popen('cat', 'w'); fwrite($p, "by cat\\n"); pclose($p); file_put_contents('php://stdout', "by the script\\n"); echo 'done';""")
    with SideBySide(workdir) as both:
        for one in both.programs:
            assert fcgi_client.fetch(one.address, script).body == b"done"
            process.wait_for(lambda: len(said(one, "stdout")) == 3, 20, "all lines")  # noqa: B023
            assert [text for _, text in said(one, "stdout")] == ["to stdout", "by cat", "by the script"]
            assert [text for _, text in said(one)] == ["to stderr"]
            assert len({child for child, _ in said(one) + said(one, "stdout")}) == 1


@pytest.mark.parametrize("decorate", ("yes", "no"))
def test_whose_request_it_is(tokiophp, workdir, decorate):
    """The request's that has started the program; what comes after its end is the worker's, and of no request."""
    script = page(workdir, "who.php", "<?php exec('echo before >&2; (sleep 0.7; echo after >&2) > /dev/null & '); file_put_contents('php://stderr', \"script\\n\"); echo 'x';")
    server = tokiophp(pool=f"pm.max_children = 2\ndecorate_workers_output = {decorate}\n")
    for n in range(4):
        fcgi_client.fetch(server.address, script, HTTP_X_REQUEST_ID=f"id-{n}")
    process.wait_for(lambda: server.messages().count("after") == 4, 20, "what comes later")
    if decorate == "no":
        assert sorted(re.findall(r"(?m)^(before|after|script)$", server.messages())) == ["after"] * 4 + ["before"] * 4 + ["script"] * 4
        return
    lines = LINE.findall(server.messages())
    workers = {end: int(child) for child, _, text, end in lines if text == "before"}
    assert sorted(workers) == [f", request id-{n}" for n in range(4)]
    assert [end for *_, text, end in lines if text == "script"] == [f", request id-{n}" for n in range(4)]
    assert {end for *_, text, end in lines if text == "after"} <= {"", *workers}
    assert {int(child) for child, *_ in lines} == set(workers.values())
    assert len(set(workers.values()) & set(server.engine_pids())) == 0


def test_nothing_is_caught(tokiophp, workdir):
    script = page(workdir, "none.php", "<?php exec('echo lost >&2; readlink /proc/self/fd/2', $l); echo $l[0];")
    server = tokiophp(pool="catch_workers_output = no\n")
    for _ in range(3):
        assert fcgi_client.fetch(server.address, script).body == b"/dev/null"
    assert "lost" not in server.messages()


def pipes(pid):
    """Inodes of the pipes that it has open, with how often."""
    return collections.Counter(link for link in process.descriptors(pid).values() if link.startswith("pipe:"))


def test_no_descriptor_stays(tokiophp, workdir):
    """Not in the supervisor, not in the engine process, when workers crash, are written off, and when the process is replaced."""
    script = page(workdir, "say.php", "<?php proc_close(proc_open('echo out; echo said >&2', [], $p)); usleep(20000); echo 'done';")
    crash = page(workdir, "crash.php", "<?php exec('echo dying >&2'); posix_kill(getmypid(), SIGSEGV); sleep(1);")
    server = tokiophp(pool="pm.max_children = 8\nkeep_profile = no\n")  # that has a pipe of its own, now and then
    server.wait_message("ready to handle connections")
    before = len(pipes(server.pid))
    assert before >= 2
    for turn in range(3):
        assert set(run_in_parallel(server, script, ["x"] * 32)) == {b"done"}
        engine = server.engine_pids()[0]
        assert before < len(pipes(server.pid)) <= before + 16
        if turn == 1:
            for _ in range(4):
                fcgi_client.fetch(server.address, crash)
        server.signal(signal.SIGUSR2)
        process.wait_for(lambda: engine not in server.family(), 30, "the old process's end")  # noqa: B023
        process.wait_for(lambda: len(pipes(server.pid)) == before, 20, "as many pipes as at first")
    assert server.messages().count('"said"') == 96


def test_a_program_that_keeps_it(tokiophp, workdir):
    """It lives on in the background beyond a reload of the server, and its last request's worker; what it says arrives while its process lives."""
    script = page(workdir, "keep.php", "<?php $n = uniqid(__DIR__ . '/../tmp/'); exec(\"(for i in 1 2 3 4 5 6 7 8; do echo still \\$i >&2; sleep 0.25; done; echo > $n) > /dev/null &\");"
                                        "for ($i = 0; $i < 1000 && !file_exists($n); $i++) usleep(20000); echo 'done';")
    server = tokiophp(pool="pm.max_children = 4\n")
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(fcgi_client.fetch, server.address, script, timeout=30) for _ in range(4)]
        process.wait_for(lambda: server.messages().count("still 2") >= 4, 20, "programs that talk")
        server.signal(signal.SIGUSR2)
        assert [r.result().body for r in running] == [b"done"] * 4
    for i in range(1, 9):
        process.wait_for(lambda: server.messages().count(f'"still {i}"') == 4, what=f"line {i} of each")  # noqa: B023
    assert "could not" not in server.messages() and "not understood" not in server.messages()


def test_a_reload_in_the_middle_of_a_line(tokiophp, workdir):
    """What was said of it is not lost, and the new image knows whose the rest is."""
    half = program(workdir, "half", f"#!/bin/sh\nprintf 'first\\nhalf-'\nuntil [ -e {workdir}/go ]; do sleep 0.1; done\necho line\n")
    script = page(workdir, "half.php", f"<?php exec('{half} >&2'); echo 'done';")
    server = tokiophp(pool="pm.max_children = 1\n")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(fcgi_client.fetch, server.address, script, timeout=30)
        process.wait_for(lambda: '"first"' in server.messages(), 20, "the program")
        server.signal(signal.SIGUSR2)
        process.wait_for(lambda: server.messages().count("ready to handle connections") == 2, 30, "a reload")
        open(f"{workdir}/go", "w").close()
        assert running.result().body == b"done"
    process.wait_for(lambda: '"line"' in server.messages(), 20, "the rest of the line")
    found = re.findall(r'said into stderr: "(first|half-|line)", request (\S+)', server.messages())
    assert [text for text, _ in found] == ["first", "half-", "line"] and len({request for _, request in found}) == 1


def test_one_that_never_ends_its_line(tokiophp, workdir):
    """Memory stays as it is, and everybody else is served and heard."""
    flood = page(workdir, "flood.php", "<?php exec(\"head -c 8000000 /dev/zero | tr '\\\\0' x >&2\"); echo 'done';")
    script = page(workdir, "say.php", "<?php exec('echo heard ' . $_GET['n'] . ' >&2'); echo 'done';")
    server = tokiophp(pool="pm.max_children = 4\n", settings="log_limit = 2048\n")
    fcgi_client.fetch(server.address, script, query="n=first")
    before = process.status_field(server.pid, "VmRSS")
    with ThreadPoolExecutor(2) as pool:
        floods = [pool.submit(fcgi_client.fetch, server.address, flood, timeout=60) for _ in range(2)]
        process.wait_for(lambda: os.path.getsize(server.error_log) > 1 << 20, 20, "a flood")
        for n in range(20):
            assert fcgi_client.fetch(server.address, script, query=f"n={n}").body == b"done"
        assert [f.result().body for f in floods] == [b"done"] * 2
    process.wait_for(lambda: '"heard 19"' in server.messages(), 30, "the last line")
    assert process.status_field(server.pid, "VmRSS") < before + 8192
    messages = server.messages()
    for n in range(20):
        assert f'"heard {n}"' in messages
    process.wait_for(lambda: sum(len(text) for _, text in said(server) if set(text) == {"x"}) == 16000000, what="all of the floods")


def test_a_pipe_that_a_program_will_not_wait_for(tokiophp, workdir):
    """node makes its pipes non-blocking, for everybody who has them: nothing of the script is lost."""
    set_flag = program(workdir, "set.py", "import fcntl, os\nfcntl.fcntl(2, fcntl.F_SETFL, fcntl.fcntl(2, fcntl.F_GETFL) | os.O_NONBLOCK)\n")
    script = page(workdir, "much.php", f"<?php exec('/usr/bin/python3 {set_flag}'); for ($i = 0; $i < 500; $i++) file_put_contents('php://stderr', str_repeat('y', 3000) . \" $i\\n\");")
    server = tokiophp(pool="pm.max_children = 1\n", settings="log_limit = 4096\n")
    fcgi_client.fetch(server.address, script)
    process.wait_for(lambda: ' 499"' in server.messages(), 30, "the last line")
    assert [int(text.split()[-1]) for _, text in said(server)] == list(range(500))


def test_a_fork_has_its_worker_s_alone(tokiophp, workdir):
    script = page(workdir, "say.php", "<?php proc_close(proc_open('echo out; echo said >&2', [], $p)); usleep(100000); echo 'done';")
    fork = page(workdir, "fork.php", """<?php exec('echo parent >&2'); $pid = pcntl_fork();
        if ($pid == 0) { exec('echo grandchild >&2'); fwrite(fopen('php://stderr', 'w'), "child\\n");
            foreach (scandir('/proc/self/fd') as $fd) { $l[] = @readlink("/proc/self/fd/$fd"); }
            file_put_contents(__DIR__ . '/../tmp/links', join("\\n", $l)); exec('kill -9 $PPID'); }
        pcntl_waitpid($pid, $status); echo 'done';""")
    server = tokiophp(pool="pm.max_children = 4\nsecurity.allow_process_calls = pcntl_fork\n")
    server.wait_message("ready to handle connections")
    of_all = set(pipes(server.pid))
    assert set(run_in_parallel(server, script, ["x"] * 16)) == {b"done"}
    assert fcgi_client.fetch(server.address, fork).body == b"done"
    process.wait_for(lambda: '"child"' in server.messages(), 20, "what the child says")
    of = {text: child for child, text in said(server)}
    assert of["parent"] == of["child"] == of["grandchild"] not in server.engine_pids()
    own = set(pipes(server.pid)) - of_all
    with open(f"{workdir}/tmp/links") as f:
        its = own & set(f.read().split())
    assert len(own) > len(its) == 2


@pytest.mark.parametrize("end,status", [("posix_kill(posix_getpid(), 9);", [False, 9]), ("posix_kill(getmypid(), SIGTERM);", [False, 15]),
                                        ("exit(3);", [True, 3]), ("throw new Exception('its own');", [True, 255]), ("", [True, 0])])
def test_a_fork_ends(tokiophp, workdir, end, status):
    """It is a process of the script's: it serves nobody, and outlives nobody."""
    fork = page(workdir, "fork.php", f"""<?php $pid = pcntl_fork(); if ($pid == 0) {{ echo 'child'; {end} return; }}
        pcntl_waitpid($pid, $status); $exited = pcntl_wifexited($status);
        echo json_encode([$exited, $exited ? pcntl_wexitstatus($status) : pcntl_wtermsig($status)]);""")
    server = tokiophp(pool="pm.max_children = 2\nsecurity.allow_process_calls = pcntl_fork\n")
    for _ in range(3):
        assert json.loads(fcgi_client.fetch(server.address, fork).body) == status


@pytest.mark.parametrize("end,status", [("exit(3);", [True, 3]), ("", [True, 0])])
def test_a_worker_script_s_fork_ends(tokiophp, workdir, end, status):
    """Its request has ended, and it asks for no other one."""
    fork = page(workdir, "fork.php", f"""<?php while (tokio_handle_request(function () {{
        $pid = pcntl_fork(); if ($pid == 0) {{ echo 'child'; {end} return; }}
        pcntl_waitpid($pid, $status); $exited = pcntl_wifexited($status);
        echo json_encode([$exited, $exited ? pcntl_wexitstatus($status) : pcntl_wtermsig($status)]); }}));""")
    server = tokiophp(pool=f"pm.max_children = 2\nsecurity.allow_process_calls = pcntl_fork\nworker.script = {fork}\nworker.num = 1\n")
    for _ in range(3):
        assert json.loads(fcgi_client.fetch(server.address, fork).body) == status


def test_more_than_there_are_pipes_for(tokiophp, workdir):
    """The rest of the programs have the process's pipe, and nothing else is amiss."""
    script = page(workdir, "many.php", "<?php for ($i = 0; $i < 3; $i++) exec('echo said >&2'); usleep(50000); echo 'done';")
    server = tokiophp(pool="pm.max_children = 40\n", settings="rlimit_files = 128\n")
    assert set(run_in_parallel(server, script, ["x"] * 300)) == {b"done"}
    process.wait_for(lambda: server.messages().count('"said"') == 900, 30, "all lines")
    engine = server.engine_pids()[0]
    server.signal(signal.SIGUSR2)
    process.wait_for(lambda: engine not in server.family(), 30, "the old process's end")
    assert fcgi_client.fetch(server.address, script).body == b"done"
    time.sleep(0.1)
    assert "Too many open files" not in server.messages()


@pytest.mark.skipif(not server_module.IS_ROOT or not PHP_FPM, reason="only who has made the pipe may open it by a name")
def test_a_log_that_is_stderr(workdir):
    """error_log = /dev/stderr: lines of any length, whole, under their worker's number."""
    script = page(workdir, "files.php", """<?php $n = $_GET['n']; exec('echo by a program >&2');
        for ($c = 0; $c < 6; $c++) { error_log("<$n:$c:" . str_repeat(chr(97 + $n), 9000) . ":$c:$n>"); usleep(1000); } echo 'done';""")
    with SideBySide(workdir, pool="user = root\ngroup = root\npm.max_children = 8", args=["-R"], settings="log_limit = 65535",
                    php_ini="log_errors = 1\nerror_log = /proc/self/fd/2\n") as both:
        for one in both.programs:
            assert set(run_in_parallel(one, script, [f"n={n}" for n in range(16)])) == {b"done"}
            process.wait_for(lambda: len(said(one)) >= 16 * 7, 20, "all lines")  # noqa: B023
            by_worker = {}
            for child, text in said(one):
                by_worker.setdefault(child, []).append(re.sub(r"^\[[^]]*\] ", "", text))
            assert len(by_worker) <= 8 and sum(map(len, by_worker.values())) == 16 * 7
            for lines in by_worker.values():
                for at in range(0, len(lines), 7):
                    n = int(re.match(r"<(\d+):", lines[at + 1])[1])
                    assert lines[at:at + 7] == ["by a program"] + [f"<{n}:{c}:{chr(97 + n) * 9000}:{c}:{n}>" for c in range(6)], one.command
