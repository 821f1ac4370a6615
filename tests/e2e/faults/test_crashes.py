"""A crash in PHP or an extension costs the request that crashed; one outside of the workers, or one that takes a lock
with it, at worst the requests in flight in that engine process."""
import ctypes
import glob
import os
import random
import signal
import statistics
import time

import process
import pytest
from certificate import make_cert
from faulty import Several, many, tell
from http_raw import Raw, insecure
from tokiophp import GROUP, IS_ROOT, USER

KINDS = ("null", "overflow", "abort", "fpe", "bus")
SYS_TGKILL = {"x86_64": 234, "aarch64": 131}.get(os.uname().machine)


def kill_thread(pid, tid, number):
    if ctypes.CDLL(None, use_errno=True).syscall(SYS_TGKILL, pid, int(tid), int(number)) != 0:
        raise OSError(ctypes.get_errno(), "tgkill")


def back_after(server, front, seconds=60):
    """Milliseconds until a new request is answered with 200."""
    begin = time.monotonic()
    while True:
        try:
            if server.ask(front, "/hello.php", timeout=2).status == 200:
                return (time.monotonic() - begin) * 1000
        except OSError:
            pass
        assert time.monotonic() - begin < seconds, "not back"
        time.sleep(0.005)


def test_twenty_crashes_under_load(faulty, front, workdir):
    os.mkdir(f"{workdir}/crashes")
    os.chmod(f"{workdir}/crashes", 0o777)
    server = faulty(settings=f"crash_dir = {workdir}/crashes\n", fronts=(front,))
    statuses = []
    with server.load(front, connections=16) as load:
        time.sleep(0.3)
        for i in range(20):
            statuses.append(server.fault(front, KINDS[i % len(KINDS)]).status)
            time.sleep(0.05)
        time.sleep(0.5)
    tell(f"20 crashes, {front}: answered {sorted(set(statuses))}; {load.summary()}")
    assert load.result["failed"] == 0, load.result["failures"]
    assert load.result["good"] > 0
    assert [s for s in statuses if s not in (500, 502)] == []
    process.wait_for(lambda: len(glob.glob(f"{workdir}/crashes/*")) == 20, 10, "a file for each crash")
    process.wait_for(lambda: server.count(r"crash: SIG[A-Z]+ \(signal") == 20, 10, "a report for each crash")


def test_while_other_workers_are_made(faulty, front):
    """A process serves as soon as its first workers stand; what crashes then takes none of those along that are just being made."""
    server = faulty(pool="pm.max_children = 48\n", fronts=(front,))
    statuses = []
    with server.load(front, connections=16) as load:
        for i in range(many(6, 60)):
            server.server.signal(signal.SIGUSR2)
            for _ in range(8):
                statuses.append(server.fault(front, KINDS[i % len(KINDS)]).status)
        time.sleep(0.5)
    tell(f"crashes in new processes, {front}: answered {sorted(set(statuses))}; {load.summary()}")
    assert load.result["failed"] == 0, load.result["failures"]
    assert [s for s in statuses if s not in (500, 502)] == []
    server.wait_settled(60)
    process.wait_for(lambda: all(len(os.listdir(f"/proc/{pid}/task")) > 48 for pid in server.engines()), 20, "all workers")


def test_over_tls(faulty, workdir):
    """The worker has its client's TLS in hand, too: the answer is whole, or cut where its head has left; who reads slowly gets
    the rest of an answer from the loop, whatever the thread that made it has done to its memory since."""
    port = process.free_port()
    server = faulty(pool=f"http.tls_listen = 127.0.0.1:{port}\n{make_cert(workdir, 'one')}http.compression = no\n", fronts=("http",))
    server.script("late.php", "<?php while (ob_get_level()) ob_end_flush(); echo str_repeat('x', 70000); flush(); fault_null();")
    server.script("big.php", "<?php echo str_repeat('0123456789abcdef', 1 << 19); fastcgi_finish_request(); fault_heap();")

    def connect():
        return Raw(("127.0.0.1", port), tls=insecure())

    def get(c, path):
        return c.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
    for _ in range(3):
        with connect() as c:
            assert [get(c, "/hello.php").reply().status, get(c, "/fault.php?do=null").reply().status] == [200, 500]
        with connect() as c, pytest.raises((AssertionError, OSError, ValueError)):
            get(c, "/late.php").reply()
    with connect() as c:
        get(c, "/big.php")
        process.wait_for(lambda: server.count(r"crash: SIG[A-Z]+ \(signal") == 7, 20, "a report for each crash")
        reply = c.reply()
        assert reply.status == 200 and reply.body == b"0123456789abcdef" * (1 << 19)
    process.wait_for(lambda: server.ask("http", "/hello.php").status == 200, 30, "an answer")


def test_behind_early_hints_in_another_pool(faulty):
    """An interim head is not an answer: the client still gets a whole one."""
    usual = "pm = static\npm.max_children = 2\n" + (f"user = {USER}\ngroup = {GROUP}\n" if IS_ROOT else "")
    server = faulty(pool=f"[other]\n{usual}http.routes = /hinted.php\n[www]\n{usual}", fronts=("http",))
    server.script("hinted.php", "<?php header('Link: </a>'); tokio_send_headers(103); fault_null();")
    with Raw(("127.0.0.1", server.http_port)) as c:
        for _ in range(3):
            c.send("GET /hinted.php HTTP/1.1\r\nHost: x\r\n\r\n")
            assert [c.reply().status, c.reply().status] == [103, 500]
    process.wait_for(lambda: server.count(r"crash: SIG[A-Z]+ \(signal") == 3, 10, "a report for each crash")


def test_the_report(faulty, workdir):
    os.mkdir(f"{workdir}/crashes")
    os.chmod(f"{workdir}/crashes", 0o777)
    server = faulty(settings=f"crash_dir = {workdir}/crashes\n", fronts=("http",))
    server.script("deep.php", "<?php function inner() { fault_null(); }\nfunction outer() { inner(); }\nouter();\n")
    assert server.ask("http", "/deep.php?a=b").status == 500
    process.wait_for(lambda: glob.glob(f"{workdir}/crashes/*"), 10, "the report")
    with open(glob.glob(f"{workdir}/crashes/*")[0]) as f:
        text = f.read()
    for part in ("crash: SIGSEGV (signal 11, code 1) at address 0x10", "time: 20", "pool: www", "worker ", "thread ",
                 "GET /deep.php?a=b", f"script: {server.www}/deep.php", "fault_null()", "inner()", "outer()",
                 "deep.php:1", "deep.php:3", "fault.so(zif_fault_null"):
        assert part in text, text
    assert "fault_null() " in server.server.wait_message(r".*fault_null\(\) .*").group(0)


@pytest.mark.parametrize("name", ["heap", "free", "lock"])
def test_what_a_crash_takes_with_it(faulty, front, name):
    """A damaged heap, a lock that nobody will ever release: at worst this process's requests, and soon back."""
    server = faulty(fronts=(front,), settings="process_control_timeout = 3s\n")
    times = []
    with server.load(front, "/hello.php", "/fault.php?do=lock", connections=8) as load:
        time.sleep(0.3)
        for _ in range(many(2, 10)):
            try:
                server.fault(front, name, True, timeout=20)
            except OSError:
                pass
            times.append(back_after(server, front))
            time.sleep(1.2)
        time.sleep(4)
    tell(f"crash in {name}, {front}: next request after {[round(t) for t in times]} ms; {load.summary()}")
    with server.load(front, connections=8) as after:
        time.sleep(0.5)
    assert after.result["failed"] == 0, after.result["failures"]
    assert load.result["kinds"].keys() <= {"lost", "status 500", "status 502"} and load.result["failed"] <= 60, load.result["failures"]
    assert server.server.running()


def test_who_waits_for_a_lock_of_the_dead_holds_nothing_up(faulty, front):
    """They are answered, and their process goes, long before its drain would have to end."""
    server = faulty(fronts=(front,), settings="process_control_timeout = 300s\n")
    here = f"{server.www}/marks"
    os.mkdir(here)
    os.chmod(here, 0o777)
    server.script("holds.php", f"<?php fault_take(); touch('{here}/held');"
                               f"while (!file_exists('{here}/go')) {{ usleep(10000); clearstatcache(); }} fault_null();")
    server.script("waits.php", f"<?php touch('{here}/' . $_GET['n']); fault_lock(); echo 'got it';")
    server.script("other.php", f"<?php touch('{here}/other'); sleep(5); echo 'done';")
    old = server.engines()
    holds = Several([lambda: server.ask(front, "/holds.php").status])
    process.wait_for(lambda: os.path.exists(f"{here}/held"), 20, "the lock")
    waits = Several([lambda n=n: server.ask(front, f"/waits.php?n={n}", timeout=50).status for n in range(2)])
    other = Several([lambda: server.ask(front, "/other.php", timeout=50).text])
    process.wait_for(lambda: len(os.listdir(here)) == 4, 20, "who waits, and another one")
    open(f"{here}/go", "w").close()
    assert holds.results()[0] in (500, 502)
    assert set(waits.results()) <= {500, 502}
    assert other.results() == ["done"]
    process.wait_for(lambda: not set(old) & set(server.engines()), 60, "the end of their process")
    process.wait_for(lambda: server.count("waits for a lock that a crash has taken along") == 2, what="what held them up")
    assert server.count("is killed") == 0
    back_after(server, front)


@pytest.mark.parametrize("which", ["loop", "control"])
def test_a_crash_outside_of_the_workers(faulty, front, which):
    server = faulty(fronts=("http", front))
    times = []
    with server.load(front, connections=8) as load:
        for _ in range(many(3, 20)):
            time.sleep(0.3)
            pid = server.serving_pid()
            tids = sorted(int(t) for t in os.listdir(f"/proc/{pid}/task"))
            if which == "loop":
                names = {t: open(f"/proc/{pid}/task/{t}/comm").read() for t in tids}
                tids = [t for t in tids if "loop" in names[t]]
                assert tids, names
            kill_thread(pid, tids[0], signal.SIGSEGV)
            times.append(back_after(server, front))
    tell(f"crash in a {which} thread, {front}: next request after {[round(t) for t in times]} ms; {load.summary()}")
    assert load.result["failed"] <= 8 * len(times), load.result["failures"]
    process.wait_for(lambda: server.count("outside of the workers") == len(times), what="a report for each crash")


def test_kill_engine_process(faulty, front):
    server = faulty(fronts=("http", front))
    times, rounds = [], 20
    with server.load(front, connections=4) as load:
        for _ in range(rounds):
            time.sleep(0.25)
            pid = server.kill_engine()
            times.append(back_after(server, front))
            process.wait_for(lambda p=pid: process.session_of(p) is None, 5, "the end of it")
    tell(f"kill -9, 20 times, {front}: next request served after {statistics.median(times):.0f} ms (median), "
         f"{max(times):.0f} ms (max); {load.summary()}")
    assert load.result["failed"] <= 4 * rounds, load.result["failures"]
    with server.load(front, connections=4) as after:
        time.sleep(0.3)
    assert after.result["failed"] == 0


def test_crashes_at_random_moments(faulty, front):
    """SIGSEGV at any instruction: inside of the compiler, OPcache's locked sections, the allocator, the front end."""
    server = faulty(fronts=("http", front), settings="process_control_timeout = 3s\n",
                    php=("opcache.revalidate_freq=0",))
    server.script("churn.php", "<?php $i = mt_rand(0, 50); $f = __DIR__ . \"/tmp/c$i.php\";"
                               "file_put_contents($f, '<?php function f' . mt_rand() . '() { return [' ."
                               "str_repeat('1,', 2000) . ']; }'); opcache_invalidate($f, true); include $f; echo 'any';")
    os.mkdir(f"{server.www}/tmp")
    os.chmod(f"{server.www}/tmp", 0o777)
    rounds = many(8, 100)
    random.seed(1)
    worst = 0
    with server.load(front, "/churn.php?any", "/hello.php", connections=8) as load:
        for _ in range(rounds):
            time.sleep(0.3)
            # a look at all processes that takes long misses the one that goes and the one that comes
            pid = process.wait_for(server.engines, 20, "an engine process")[-1]
            try:
                tids = [t for t in os.listdir(f"/proc/{pid}/task")
                        if int(t) != pid and "loop" not in open(f"/proc/{pid}/task/{t}/comm").read()]
                if tids:
                    kill_thread(pid, random.choice(tids), signal.SIGSEGV)
            except OSError:
                continue
            worst = max(worst, back_after(server, front))
        time.sleep(4)
    tell(f"{rounds} crashes at random moments, {front}: next request after at most {worst:.0f} ms; {load.summary()}")
    assert "hung" not in load.result["kinds"], load.result["failures"]
    with server.load(front, connections=8) as after:
        time.sleep(0.5)
    assert after.result["failed"] == 0, after.result["failures"]


def test_a_crash_loop_is_no_fork_storm(faulty, workdir):
    """PHP cannot start any more: what serves goes on; when that dies, the pool says so and tries at intervals."""
    server = faulty(php=(f"fault.start_file={workdir}/broken",))
    first = server.serving_pid()
    open(f"{workdir}/broken", "w").close()
    with server.load("http", connections=2) as load:
        server.server.signal(signal.SIGUSR2)
        server.server.wait_message("the old one goes on serving")
        assert server.serving_pid() == first
        time.sleep(1)
    assert load.result["failed"] == 0, load.result["failures"]
    os.kill(first, signal.SIGKILL)
    server.server.wait_message("crash loop:", 20)
    answers = [server.ask("http", "/hello.php", timeout=5), server.ask("fcgi", "/hello.php", timeout=5)]
    tell(f"crash loop: http {answers[0]}, fcgi {answers[1].status}")
    assert answers[0].status == 503 and "Retry-After" in answers[0].headers
    assert answers[1].status in (502, 503)
    before, begun = server.count(r"child \d+ started"), time.monotonic()
    time.sleep(5)
    assert server.count(r"child \d+ started") - before < 2 * (time.monotonic() - begun)
    os.unlink(f"{workdir}/broken")
    process.wait_for(lambda: server.ask("http", "/hello.php", timeout=5).status == 200, 20, "service")
    process.wait_for(lambda: server.ask("fcgi", "/hello.php", timeout=5).status == 200, 20, "service")
    server.server.wait_message("serves again")


def test_all_workers_crash_at_once(faulty, front):
    server = faulty(fronts=(front,), pool="pm.max_children = 8\n")
    answers = Several([lambda k=k: server.fault(front, k).status for k in KINDS * 4]).results()
    tell(f"20 crashes at once, {front}: {answers}")
    assert [a for a in answers if a not in (500, 502)] == []
    back_after(server, front)
