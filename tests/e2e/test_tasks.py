"""task.script and cron: what runs beside a pool's requests, in a process of its own."""
import os
import re
import signal
import subprocess
import time

import pytest

import process
from fcgi_client import fetch
from tokiophp import GROUP, IS_ROOT, PROGRAM, USER

LOOP = """<?php
$id = bin2hex(random_bytes(4));
file_put_contents('{dir}/tmp/runs', "begin $id {$_SERVER['TOKIO_TASK']} " . getenv('OWN') . ' ' . getmypid() . "\\n", FILE_APPEND | LOCK_EX);
echo "first line\\nsecond ";
echo "line\\n";
while (!tokio_task_should_stop()) { usleep(20000); }
file_put_contents('{dir}/tmp/runs', "end $id\\n", FILE_APPEND | LOCK_EX);
"""


class Tasks:
    def __init__(self, start, directory, pool, scripts, settings="", **how):
        self.directory = directory
        os.makedirs(directory + "/www", exist_ok=True)
        os.makedirs(directory + "/tmp", exist_ok=True)
        os.chmod(directory + "/tmp", 0o777)
        for name, text in scripts.items():
            self.put(name, text)
        self.server = start(settings="control_socket = {dir}/ctl\nprocess_control_timeout = 8s\n" + settings,
                            pool="pm.max_children = 1\nenv[OWN] = own\n" + pool.replace("DIR", directory), **how)

    def put(self, name, text):
        with open(f"{self.directory}/www/{name}", "w") as f:
            f.write(text.replace("{dir}", self.directory))

    def runs(self):
        try:
            with open(self.directory + "/tmp/runs") as f:
                return [line.split() for line in f.read().splitlines()]
        except FileNotFoundError:
            return []

    def begun(self):
        return [run for run in self.runs() if run[0] == "begin"]

    def ctl(self, *words):
        return subprocess.run([PROGRAM, "ctl", "-s", self.directory + "/ctl", *words], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def tasks(tokiophp, workdir):
    def start(pool="task.script[loop] = DIR/www/loop.php\n", scripts=None, **how):
        return Tasks(tokiophp, workdir, pool, {"loop.php": LOOP, "hello.php": "<?php echo 'hello ', getmypid();"} if scripts is None else scripts, **how)
    return start


def test_a_script_runs(tasks):
    t = tasks()
    process.wait_for(lambda: len(t.begun()) == 1, what="a run")
    _, _, name, own, pid = t.begun()[0]
    assert (name, own) == ("loop", "own")
    answer = fetch(t.server.address, t.directory + "/www/hello.php").body.decode()
    assert answer.startswith("hello ") and answer != "hello " + pid, "it has a process of its own"
    t.server.wait_message(r"\[pool www:tasks\] task loop: second line")
    assert "task loop: first line" in t.server.messages()
    status = t.ctl("status")
    assert re.search(r"^pool www:tasks workers=1 active=1 idle=0", status, re.M), status
    assert "[www:tasks]" not in t.ctl("config")


def test_as_many_as_asked_for(tasks):
    t = tasks("task.script[loop] = DIR/www/loop.php\ntask.script[two] = DIR/www/loop.php\ntask.num = 2\n")
    process.wait_for(lambda: len(t.begun()) == 4, what="four runs")
    assert sorted(run[2] for run in t.begun()) == ["loop", "loop", "two", "two"]


def test_it_is_told_to_stop(tasks):
    t = tasks()
    process.wait_for(lambda: t.begun(), what="a run")
    first = t.begun()[0][1]
    t.ctl("restart", "www:tasks")
    process.wait_for(lambda: ["end", first] in t.runs(), 30, "the first one's end")
    process.wait_for(lambda: len(t.begun()) == 2, 30, "a second run")
    second = t.begun()[1][1]
    t.server.signal(signal.SIGUSR2)
    process.wait_for(lambda: ["end", second] in t.runs(), 30, "the second one's end")
    process.wait_for(lambda: len(t.begun()) == 3, 30, "a third run")
    t.server.stop(number=signal.SIGQUIT)
    assert ["end", t.begun()[2][1]] in t.runs()


def test_one_that_ends_is_started_again(tasks):
    t = tasks("task.script[short] = DIR/www/short.php\n",
              {"short.php": "<?php file_put_contents('{dir}/tmp/runs', 'begin x ' . hrtime(true) . \"\\n\", FILE_APPEND); if (count(file('{dir}/tmp/runs')) == 2) throw new Exception('mine');"})
    process.wait_for(lambda: len(t.begun()) >= 5, 30, "five runs")
    t.server.wait_message(r"WARNING: .*task short has failed after \d\.\d+ seconds, and is started again")
    t.server.wait_message(r"NOTICE: .*task short has ended")
    times = [int(run[2]) for run in t.begun()]
    gaps = [b - a for a, b in zip(times, times[1:])]
    assert gaps[3] > gaps[0] and all(gap > 90e6 * 2 ** n for n, gap in enumerate(gaps[:4])), gaps


def test_one_that_does_not_stop_is_interrupted(tasks):
    t = tasks("task.script[deaf] = DIR/www/deaf.php\n",
              {"deaf.php": "<?php file_put_contents('{dir}/tmp/runs', \"begin x\\n\", FILE_APPEND); register_shutdown_function(fn() => "
                           "file_put_contents('{dir}/tmp/runs', \"end x\\n\", FILE_APPEND)); while (true) usleep(10000);"},
              settings="process_control_timeout = 4s\n")
    process.wait_for(lambda: t.begun(), what="a run")
    t.server.stop(number=signal.SIGQUIT)
    assert t.runs() == [["begin", "x"], ["end", "x"]]


def test_their_process_dies(tasks):
    """It costs no request, and they run again."""
    t = tasks()
    process.wait_for(lambda: t.begun(), what="a run")
    ask = lambda: fetch(t.server.address, t.directory + "/www/hello.php").body  # noqa: E731
    before = ask()
    os.kill(int(t.begun()[0][4]), signal.SIGKILL)
    process.wait_for(lambda: len(t.begun()) == 2, 30, "the next run")
    assert t.begun()[1][4] != t.begun()[0][4] and ask() == before


@pytest.mark.seconds(240)
def test_cron(tasks):
    """Due each minute; a run that is not over when it is due again has the next one missed. What another pool takes of the
    server's environment under a name that this pool gives is none of its secrets."""
    users = f"user = {USER}\ngroup = {GROUP}\n" if IS_ROOT else ""
    t = tasks('cron[quick] = "* * * * * echo quick $OWN; exit 3"\ncron[slow] = "* * * * * echo >>DIR/tmp/slow; sleep 75"\n', {},
              php=f"[other]\n{users}listen = {{dir}}/other.sock\npm = static\npm.max_children = 1\nenv[X] = $OWN\n")
    t.server.wait_message(r"cron quick: started", 90)
    t.server.wait_message(r"quick own", 10)
    t.server.wait_message(r"WARNING: .*cron quick: ended with code 3", 10)
    t.server.wait_message(r"cron slow: still running, the run of \d\d:\d\d is missed", 90)
    with open(t.directory + "/tmp/slow") as f:
        assert f.read() == "\n"
    began = time.monotonic()
    t.server.stop(number=signal.SIGQUIT)
    assert "cron slow: ended with" in t.server.messages() or time.monotonic() - began < 60


@pytest.mark.seconds(120)
def test_a_command_has_nothing_that_tasks_have_open(tasks):
    t = tasks('cron[look] = "* * * * * ls -l /proc/self/fd >DIR/tmp/look.new; mv DIR/tmp/look.new DIR/tmp/look"\ntask.script[holds] = DIR/www/holds.php\n',
              {"holds.php": "<?php $f = fopen('{dir}/tmp/held', 'w'); flock($f, LOCK_EX); $s = stream_socket_server('tcp://127.0.0.1:0');"
                            " while (!tokio_task_should_stop()) { usleep(20000); }"})
    process.wait_for(lambda: os.path.exists(t.directory + "/tmp/look"), 90, "a run of the command")
    with open(t.directory + "/tmp/look") as f:
        seen = f.read()
    assert " 1 -> " in seen and "/held" not in seen and "socket:" not in seen, seen


@pytest.mark.seconds(500)
def test_a_command_does_not_overlap_across_processes(tasks):
    """One that an earlier process has begun: the next process, and the next image of the supervisor, miss its runs."""
    t = tasks('cron[long] = "* * * * * echo $$ >>DIR/tmp/long; exec sleep 300"\ncron[quick] = "* * * * * date +%s >>DIR/tmp/quick"\n'
              "task.script[loop] = DIR/www/loop.php\n", settings="process_control_timeout = 400s\n")

    def lines(name):
        with open(f"{t.directory}/tmp/{name}") as f:
            return f.read().split()

    def count(text):
        return t.server.messages().count(text)
    t.server.wait_message(r"cron long: started", 90)
    for n, swap in enumerate((lambda: t.ctl("restart", "www:tasks"), lambda: t.server.signal(signal.SIGUSR2))):
        swap()
        process.wait_for(lambda: len(t.begun()) == n + 2, 30, "the next process")
        process.wait_for(lambda: count("cron long: still running, begun by an earlier process") > n, 90, "the next minute")
    process.wait_for(lambda: len(lines("quick")) in (3, 4), 10, "the quick one of that minute")
    assert len(lines("long")) == 1
    os.kill(int(lines("long")[0]), signal.SIGTERM)
    process.wait_for(lambda: count("cron long: started") == 2, 90, "its next run")
    os.kill(int(lines("long")[1]), signal.SIGTERM)
    minutes = [int(second) // 60 for second in lines("quick")]
    assert all(b == a + 1 for a, b in zip(minutes, minutes[1:])), minutes


CLOCK = r"""
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

time_t time(time_t *out)
{
    char text[32] = "";
    struct timespec now;
    int fd = open(OFFSET, O_RDONLY | O_CLOEXEC);

    clock_gettime(CLOCK_REALTIME, &now);
    if (fd >= 0) {
        now.tv_sec += read(fd, text, sizeof text - 1) > 0 ? atoll(text) : 0;
        close(fd);
    }
    if (out) {
        *out = now.tv_sec;
    }
    return now.tv_sec;
}
"""


@pytest.mark.seconds(300)
@pytest.mark.skipif("SANITIZER" in os.environ, reason="a sanitizer wants to be the first library")
def test_a_clock_that_is_set_back(tasks, workdir):
    """What was due goes by the new time, instead of waiting for a day until the clock has caught up."""
    def put(name, text):
        with open(f"{workdir}/{name}.new", "w") as f:
            f.write(text)
        os.rename(f"{workdir}/{name}.new", f"{workdir}/{name}")
    put("clock.c", CLOCK)
    subprocess.run(["gcc", "-shared", "-fPIC", f'-DOFFSET="{workdir}/offset"', "-o", f"{workdir}/clock.so", f"{workdir}/clock.c"], check=True)
    ahead = 45 - int(time.time()) % 60
    put("offset", str(ahead))
    t = tasks('cron[each] = "* * * * * echo run"\n', {}, env={**os.environ, "LD_PRELOAD": f"{workdir}/clock.so"})

    def started():
        return t.server.messages().count("cron each: started")
    process.wait_for(started, 90, "the first run")
    before = started()
    put("offset", str(ahead - 86400))
    process.wait_for(lambda: started() > before, 180, "a run by the new time")
    assert "is missed" not in t.server.messages() and "was missed" not in t.server.messages()


def test_arguments(tasks):
    t = tasks("task.script[words] = \"DIR/www/words.php first  --second=2\"\n",
              {"words.php": "<?php file_put_contents('{dir}/tmp/runs', json_encode([$argc, $argv, $_SERVER['argv'] === $argv, $_SERVER['argc']]) . \"\\n\", FILE_APPEND);"
                            "function f() { global $argv; return count($argv); } sleep(f() === 3 ? 100 : 0);"})
    process.wait_for(lambda: t.runs(), what="a run")
    assert t.runs()[0] == [f'[3,["{t.directory}/www/words.php","first","--second=2"],true,3]'.replace("/", "\\/")]


@pytest.mark.parametrize("line,message", [
    ("task.script[x] = DIR/www/none.php", r"task\.script\[x\] '.*none\.php' is not the full path of a file"),
    ('cron[x] = "61 * * * * true"', r'cron\[x\] = "61 \* \* \* \* true": expected five fields'),
    ('cron[x] = "* * * * *"', r"expected five fields of crontab\(5\), or @daily and the like, and a command"),
])
def test_what_is_refused(workdir, line, message):
    path = workdir + "/t.ini"
    with open(path, "w") as f:
        f.write(f"[www]\nlisten = {workdir}/s\npm = static\npm.max_children = 1\nuser = nobody\n{line.replace('DIR', workdir)}\n")
    done = subprocess.run([PROGRAM, "-t", "-y", path], capture_output=True, text=True)
    assert done.returncode == 78 and re.search(message, done.stdout + done.stderr), done.stdout + done.stderr
