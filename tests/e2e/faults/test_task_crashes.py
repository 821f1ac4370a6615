"""A background task that crashes PHP."""

import process
import pytest

CRASH = "<?php file_put_contents('{dir}/tmp/crashes', hrtime(true) . \"\\n\", FILE_APPEND); usleep(300000); fault_null();"
SLEEP = """<?php function say($what) { file_put_contents('{dir}/tmp/runs', "$what\\n", FILE_APPEND | LOCK_EX); }
say('begin'); for ($left = 3; $left > 0; ) { $left = sleep($left); } say('slept');
while (!tokio_task_should_stop()) { usleep(20000); } say('end');"""


@pytest.mark.seconds(240)
def test_one_that_crashes(faulty, workdir):
    """It is held back more and more, over processes; others end when they are told to, and requests do not notice."""
    def lines(name):
        try:
            with open(f"{workdir}/tmp/{name}") as f:
                return f.read().splitlines()
        except FileNotFoundError:
            return []
    for name, text in (("crash.php", CRASH), ("sleep.php", SLEEP)):
        with open(f"{workdir}/www/{name}", "w") as f:
            f.write(text.replace("{dir}", workdir))
    server = faulty(pool=f"pm.max_children = 2\ntask.script[crash] = {workdir}/www/crash.php\ntask.script[sleep] = {workdir}/www/sleep.php\nrlimit_core = 0\n",
                    settings="process_control_timeout = 20s\n", fronts=("http",))
    pid = server.ask("http", "/pid.php").text
    with server.load("http", "/hello.php", connections=2) as load:
        process.wait_for(lambda: len(lines("crashes")) >= 6, 120, "six crashes")
        process.wait_for(lambda: lines("runs").count("end") >= 2, 60, "ends of the others")
    assert load.result["failed"] == 0, load.result["failures"]
    assert server.ask("http", "/pid.php").text == pid
    times = [int(n) / 1e9 for n in lines("crashes")]
    gaps = [b - a for a, b in zip(times, times[1:])]
    # 0.3 until it crashes, and 0.1, 0.2, 0.4, 0.8, 1.6; once the process it crashed in and the next one may both start it
    assert max(gaps[3:]) > 0.3 + 0.7 and times[5] - times[0] > 2, gaps
    assert server.count(r"task crash has crashed after \d\.\d+ seconds, and is started again") >= 5
    slept = [(a, b) for a, b in zip(lines("runs"), lines("runs")[1:]) if a == "begin"]
    assert lines("runs").count("slept") >= lines("runs").count("end") >= 2, slept
    assert not server.count("written off") and not server.count("interrupted"), "one that sleeps is not one that is stuck"
