"""What scripts see of being profiled: nothing. No sleep is cut short, no wait ends early, no call of an extension fails."""
import os
import re
import subprocess
import threading
import time

import pytest

import process
import tokiophp as program
from inside import Inside
from mariadb import MariaDB
from test_profile import ctl, pipes

pytestmark = pytest.mark.skipif(program.is_stand_in(), reason="tokiophp's own words")

# Each wait begins just after work on the processor: that is when a signal for a busy thread would meet it.
NAPS = """<?php
$end = microtime(true) + (float)$_GET['s'];
$bad = [];
$say = function ($what, $good) use (&$bad) { if (!$good) { $bad[$what] = ($bad[$what] ?? 0) + 1; } };
set_error_handler(function ($n, $text) use (&$bad) { $bad[$text] = ($bad[$text] ?? 0) + 1; return true; });
$pair = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
stream_set_timeout($pair[0], 0, 2000);
$lock = fopen(__DIR__ . '/lock', 'r');
for ($rounds = 0; microtime(true) < $end || $rounds <= 3; $rounds++) {
    hash('sha256', str_repeat('x', 20000));
    $t = hrtime(true);
    usleep(1000);
    $say('usleep', hrtime(true) - $t >= 1000000);
    for ($i = 0; $i < 50; $i++) { $t = hrtime(true); usleep(30); $say('usleep', hrtime(true) - $t >= 30000); }
    $say('time_nanosleep', time_nanosleep(0, 500000) === true);
    hash('sha256', str_repeat('x', 20000));
    $r = [$pair[0]]; $w = $e = null;
    $t = hrtime(true);
    $say('stream_select', stream_select($r, $w, $e, 0, 1000) === 0 && hrtime(true) - $t >= 1000000);
    $t = hrtime(true);
    $text = fread($pair[0], 10);
    $say('fread', !$text && stream_get_meta_data($pair[0])['timed_out'] && hrtime(true) - $t >= 2000000);
    fwrite($pair[1], 'word');
    $say('word', fread($pair[0], 10) === 'word');
    $say('flock', flock($lock, LOCK_EX));
    usleep(200);
    flock($lock, LOCK_UN);
}
$say('sleep', sleep(1) === 0);
echo json_encode($bad);"""
FETCH = """<?php
$bad = [];
for ($i = 0; $i < 20; $i++) {
    $c = curl_init($_GET['url']);
    curl_setopt_array($c, [CURLOPT_RETURNTRANSFER => true, CURLOPT_TIMEOUT_MS => 20000]);
    if (curl_exec($c) !== 'answer') { $bad[] = 'curl: ' . curl_error($c); }
    if (file_get_contents($_GET['url']) !== 'answer') { $bad[] = error_get_last(); }
}
$s = socket_create_listen(0);
for ($i = 0; $i < 50; $i++) {
    $r = [$s]; $w = $e = null;
    hash('sha256', str_repeat('x', 20000));
    if (socket_select($r, $w, $e, 0, 1000) !== 0) { $bad[] = 'socket_select'; }
}
echo json_encode($bad);"""
ASK = """<?php
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
$db = new mysqli('localhost', 'root', '', '', 0, $_GET['socket']);
$bad = 0;
for ($i = 0; $i < 60; $i++) {
    hash('sha256', str_repeat('x', 20000));
    $row = $db->query('SELECT SLEEP(0.005), ' . $i . ', REPEAT(\\'y\\', 30000)')->fetch_row();
    $bad += $row[0] != 0 || $row[1] != $i || strlen($row[2]) != 30000;
}
$m = new PDO('mysql:unix_socket=' . $_GET['socket'], 'root', '');
for ($i = 0; $i < 60; $i++) {
    $bad += $m->query("SELECT $i + SLEEP(0.002)")->fetchColumn() != $i;
}
echo "bad $bad";"""


@pytest.fixture
def server(tokiophp, workdir):
    os.mkdir(workdir + "/site")
    for name, text in (("naps.php", NAPS), ("fetch.php", FETCH), ("ask.php", ASK), ("lock", ""),
                       ("answer.php", "<?php usleep(3000); echo 'answer';")):
        with open(f"{workdir}/site/{name}", "w") as f:
            f.write(text)
    os.chmod(workdir + "/site/lock", 0o666)
    return Inside(tokiophp, workdir + "/site", "http.internal_token = secret\n", settings="control_socket = {dir}/ctl.sock\n")


class Profiled:
    """As often as can be asked for, as long as something runs."""

    def __init__(self, workdir, hz):
        self.running = subprocess.Popen([program.PROGRAM, "ctl", "-s", workdir + "/ctl.sock", "profile", "--seconds", "60", "--hz", str(hz),
                                         "-o", workdir + "/stacks"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        assert self.running.poll() is None, "it was over before what it was to meet"
        self.running.kill()
        self.running.wait()


@pytest.mark.parametrize("hz", [99, 1000])
def test_no_wait_is_cut_short(server, workdir, hz):
    answers = []
    ask = lambda: answers.append(server.site.ask("/naps.php?s=2").text)  # noqa: E731
    with Profiled(workdir, hz):
        clients = [threading.Thread(target=ask) for _ in range(2)]
        for t in clients:
            t.start()
        for t in clients:
            t.join()
    assert answers == ["[]"] * 2


def test_no_transfer_fails(server, workdir):
    url = "http://127.0.0.1:%d/answer.php" % server.site.address[1]
    with Profiled(workdir, 1000):
        answer = server.site.ask("/fetch.php?url=" + url)
    assert answer.text == "[]", answer.text


@pytest.mark.skipif(not any(os.path.exists(p) for p in ("/usr/sbin/mariadbd", "/usr/bin/mariadbd")), reason="mariadb-server is not installed")
def test_no_answer_of_a_database_is_lost(server, workdir):
    os.mkdir(workdir + "/data")
    database = MariaDB(workdir + "/data")
    try:
        with Profiled(workdir, 1000):
            answer = server.site.ask("/ask.php?socket=" + database.socket)
        assert answer.text == "bad 0", answer.text
    finally:
        database.kill_family()


@pytest.mark.parametrize("keep", ["no", "yes"])
def test_the_kept_one_is_off_where_it_is_not_wanted(tokiophp, workdir, keep):
    """Nothing reads what a script does: the process never has the pipe for it. Where it is wanted it has."""
    os.mkdir(workdir + "/site")
    with open(workdir + "/site/busy.php", "w") as f:
        f.write("<?php $end = microtime(true) + 8; while (microtime(true) < $end) { hash('sha256', 'x'); } echo 'done';")
    server = Inside(tokiophp, workdir + "/site", f"keep_profile = {keep}\n", settings="control_socket = {dir}/ctl.sock\n")
    pid = re.search(r"process pid=(\d+)", ctl(workdir, "status").stdout.decode()).group(1)
    seen, client = {tuple(sorted(pipes(pid)))}, threading.Thread(target=server.site.ask, args=("/busy.php",))
    client.start()
    end = time.monotonic() + 13  # until it rests again: at the latest then a pipe would be closed
    while client.is_alive() or time.monotonic() < end:
        seen.add(tuple(sorted(pipes(pid))))
        time.sleep(0.1)
    client.join()
    if keep == "yes":
        process.wait_for(lambda: seen.add(tuple(sorted(pipes(pid)))) or len(seen) > 1, what="a pipe that comes or goes")
    assert (len(seen) > 1) == (keep == "yes"), seen
