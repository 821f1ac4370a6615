"""Scripts that want everything get an error of their own."""
import time

import process
import pytest
from faulty import Several, many, tell

GREEDY = {
    "recursion": "function f($n) { return 1 + f($n + 1); } f(0);",
    "deep_c_recursion": "$a = []; for ($i = 0; $i < 3000000; $i++) { $a = [$a]; } var_dump(serialize($a) === '');",
    "memory": "$s = str_repeat('x', 2 << 30); echo strlen($s);",
    "memory_slowly": "$a = []; while (true) { $a[] = str_repeat('x', 100000); }",
    "destructors": "class N { public $next; function __destruct() { strlen('x'); } } $n = null;"
                   "for ($i = 0; $i < 300000; $i++) { $m = new N; $m->next = $n; $n = $m; } $n = null; echo 'any';",
    "regex": "preg_match('/^(a+)+$/', str_repeat('a', 5000) . 'b'); preg_match('/(?:\\D+|<\\d+>)*[!?]/', str_repeat('foobar ', 20000)); echo 'any';",
    "regex_without_jit": "ini_set('pcre.jit', '0'); ini_set('pcre.backtrack_limit', '100000000'); ini_set('pcre.recursion_limit', '100000000');"
                         "preg_match('/(.|\\n)*x/', str_repeat('a', 2000000)); echo 'any';",
    "json": "json_decode(str_repeat('[', 2000000), true, 2147483647); echo 'any';",
    "unserialize": "unserialize(str_repeat('a:1:{i:0;', 100000)); echo 'any';",
    "exit_in_destructor": "class E { function __destruct() { exit(1); } } $a = [new E, new E]; throw new Exception('x');",
    "throwing_handlers": "set_error_handler(function () { throw new Exception('e'); }); ob_start(function ($b) { throw new Exception('o'); }); echo $undefined;",
    "fork_bomb": "for ($i = 0; $i < 40; $i++) { exec('sleep 0.1; : | : | :', $o, $r); } echo 'any';",
    "spawn_and_leave": "for ($i = 0; $i < 30; $i++) { $p[] = proc_open('sleep 0.2', [], $pipes); } exit;",
    "gc_bomb": "gc_disable(); for ($i = 0; $i < 200000; $i++) { $a = new stdClass; $a->self = $a; } gc_enable(); gc_collect_cycles(); echo 'any';",
}


@pytest.mark.seconds(200)
def test_greedy_scripts_cost_their_own_request(faulty, front):
    server = faulty(fronts=(front,), pool="pm.max_children = 6\nrequest_terminate_timeout = 4s\nrlimit_core = 0\n"
                    "php_admin_value[memory_limit] = 128M\n", settings="process_control_timeout = 6s\n")
    answers = {}
    with server.load(front, connections=4) as load:
        for name, code in GREEDY.items():
            server.script(f"{name}.php", f"<?php {code}")
            begin = time.monotonic()
            answers[name] = (server.ask(front, f"/{name}.php", timeout=60).status, round(time.monotonic() - begin, 1))
        four = Several([lambda: server.ask(front, "/fork_bomb.php", timeout=60).status] * 4).results()
    tell(f"greedy scripts, {front}: {answers}; four fork bombs {four}; {load.summary()}")
    assert load.result["failed"] == 0, load.result["failures"]
    assert all(status in (200, 500, 502, 504) for status, _ in answers.values()), answers
    assert answers["recursion"][0] == answers["memory"][0] == answers["memory_slowly"][0] == 500
    process.wait_for(lambda: server.ask(front, "/hello.php").status == 200, 5, "service")
    process.wait_for(lambda: not [p for p in server.server.family() if "sleep" in comm(p)], 15, "the end of what they started")


def comm(pid):
    try:
        with open(f"/proc/{pid}/comm") as f:
            return f.read()
    except OSError:
        return ""


LEAK = {
    "static": "class S { public static array $all = []; } for ($i = 0; $i < 100; $i++) S::$all[] = str_repeat('x', 1000); echo 'any';",
    "c": "fault_leak(5000); echo 'any';",
    "fast": "fault_leak(100000); echo 'any';",
}


@pytest.mark.parametrize("kind", LEAK)
@pytest.mark.seconds(200)
def test_a_leak_stays_below_the_ceiling(faulty, front, kind):
    """10,000 requests and more that leak 5 kB each, or 100 kB of PHP's own memory; and some that leak faster than any
    successor can start, and so must wait for it."""
    server = faulty(fronts=(front,), pool="pm.max_memory = 150M\npm.max_children = 4\n")
    server.script("leak.php", f"<?php {LEAK[kind]}")
    most = 0
    with server.load(front, "/leak.php?any", connections=8) as load:
        end = time.monotonic() + many(5, 40)
        while time.monotonic() < end or kind == "fast" and not server.count("pm.max_memory is reached"):
            most = max([most] + [process.status_field(p, "VmRSS") for p in server.engines()])
            time.sleep(0.05)
    tell(f"leak ({kind}), {front}: at most {most // 1024} MB in a process, {server.count('pm.max_memory is reached')} swaps; {load.summary()}")
    assert load.result["failed"] == 0, load.result["failures"]
    assert set(load.result["statuses"]) == {"200"}
    if kind == "c" and load.result["good"] > 25000:
        assert server.count("pm.max_memory is reached") >= 1
    assert most < 150 * 1024


@pytest.mark.seconds(200)
def test_ten_thousand_requests_leave_nothing(faulty, front):
    """Memory, descriptors, threads and the realpath cache after 10,000 requests are what they were after 2,000."""
    server = faulty(fronts=("http", front))
    server.script("work.php", "<?php $d = new PDO('sqlite::memory:'); $d->exec('create table t (a)'); $x = simplexml_load_string('<a><b/></a>');"
                              "setlocale(LC_ALL, 'C.UTF-8'); putenv('A=' . $_GET['n']); $t = tmpfile(); fwrite($t, 'x'); session_id('s' . mt_rand(0, 50));"
                              "session_start(); $_SESSION['a'] = 1; file_get_contents(__FILE__); realpath(__DIR__ . '/x' . mt_rand(0, 100));"
                              "preg_match('/' . mt_rand(0, 3000) . 'a/', 'b'); mb_strtoupper('ä'); date('c'); echo 'any';")
    server.script("inside.php", "<?php echo json_encode([getmypid(), realpath_cache_size(), count(scandir('/proc/self/fd')), count(scandir('/proc/self/task'))]);")

    def run(n):
        with server.load(front, "/work.php?n=any", connections=8) as load:
            while load.process.poll() is None and server.ask("http", "/pid.php") and time.monotonic() < stop[0]:
                time.sleep(0.2)
        assert load.result["failed"] == 0, load.result["failures"]
        assert set(load.result["statuses"]) == {"200"}, load.result["statuses"]
        return load.result["good"]

    def look():
        import json
        pid, realpath, fds, tasks = json.loads(server.ask("http", "/inside.php").text)
        return {"pid": pid, "realpath": realpath, "descriptors": fds, "threads": tasks, "rss": process.status_field(pid, "VmRSS")}
    stop = [time.monotonic() + 3]
    first_count = run(2000)
    before = look()
    stop[0] = time.monotonic() + many(8, 60)
    more = run(10000)
    after = look()
    tell(f"{first_count} and then {more} requests, {front}: {before} -> {after}")
    assert after["pid"] == before["pid"]
    assert after["descriptors"] <= before["descriptors"] + 4
    assert after["threads"] == before["threads"]
    assert after["realpath"] < 4 << 20
    assert after["rss"] < before["rss"] * 1.25 + 8192
