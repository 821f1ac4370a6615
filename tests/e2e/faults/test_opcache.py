"""OPcache is emptied by a new process, never under running scripts."""
import json
import os
import threading
import time

import process
from faulty import many, tell

RESET = "<?php opcache_reset(); echo 'any';"


def test_reset_storm(faulty, front):
    """opcache_reset() every 50 ms with 16 workers."""
    server = faulty(fronts=(front,), pool="pm.max_children = 16\n")
    server.script("reset.php", RESET)
    stop = threading.Event()
    answers = []

    def storm():
        while not stop.wait(0.05):
            answers.append(server.ask(front, "/reset.php").status)
    thread = threading.Thread(target=storm)
    with server.load(front, "/hello.php", "/functions.php", connections=16) as load:
        thread.start()
        try:
            time.sleep(many(5, 60))
            process.wait_for(lambda: server.count("is being replaced") >= 2, 60, "two new processes")
        finally:
            stop.set()
            thread.join()
    tell(f"opcache_reset() {len(answers)} times, {front}: {load.summary()}")
    assert load.result["failed"] == 0, load.result["failures"]
    assert set(answers) == {200}
    assert server.count(r"exited on signal|crash:") == 0


def test_invalidate_storm(faulty, front):
    server = faulty(fronts=(front,), pool="pm.max_children = 16\n")
    server.script("drop.php", "<?php foreach (['hello', 'functions'] as $f) opcache_invalidate(__DIR__ . \"/$f.php\", true);"
                              "opcache_compile_file(__DIR__ . '/functions.php'); echo 'any';")
    with server.load(front, "/hello.php", "/drop.php?any", "/functions.php", connections=16) as load:
        time.sleep(many(3, 60))
    tell(f"opcache_invalidate(), {front}: {load.summary()}")
    assert load.result["failed"] == 0, load.result["failures"]
    assert server.count(r"exited on signal|crash:") == 0


def test_small_cache_many_scripts(faulty, front):
    """16 MB for 300 scripts of which each is written anew again and again."""
    server = faulty(fronts=(front,), pool="pm.max_children = 8\n",
                    php=("opcache.memory_consumption=16", "opcache.interned_strings_buffer=4",
                         "opcache.revalidate_freq=0", "opcache.file_update_protection=0"))
    os.mkdir(f"{server.www}/many")
    os.chmod(f"{server.www}/many", 0o777)
    server.script("churn.php", r"""<?php
        $i = mt_rand(0, 299);
        $file = __DIR__ . "/many/s$i.php";
        if (!is_file($file) || mt_rand(0, 3) == 0) {
            $text = "<?php\n";
            for ($f = 0; $f < 20; $f++) {
                $text .= "function f{$i}_$f(\$a) { return ['k" . mt_rand() . "' => [\$a, " . str_repeat("$f, ", 100) . "]]; }\n";
            }
            file_put_contents("$file." . tokio_worker_id() . getmypid(), $text);
            rename("$file." . tokio_worker_id() . getmypid(), $file);
            opcache_invalidate($file, true);
        }
        include $file;
        echo 'any ', count(("f{$i}_3")(1));""")
    with server.load(front, "/churn.php?any", "/hello.php", connections=8) as load:
        time.sleep(many(6, 60))
        process.wait_for(lambda: server.count("is being replaced: OPcache"), 60, "a new process")
    tell(f"16 MB of OPcache, 300 scripts, {front}: {load.summary()}; {server.count('is being replaced')} swaps")
    assert load.result["failed"] == 0, load.result["failures"]
    assert set(load.result["statuses"]) == {"200"}
    assert server.count(r"exited on signal|crash:") == 0


def test_reset_takes_effect(faulty):
    """The cache is empty afterwards, in a new process."""
    server = faulty(fronts=("http",))
    server.script("reset.php", RESET)
    server.script("status.php", "<?php $s = opcache_get_status(true); echo json_encode([getmypid(), array_keys($s['scripts'])]);")
    os.utime(f"{server.www}/functions.php", (1, 1))
    server.ask("http", "/functions.php")
    pid, scripts = json.loads(server.ask("http", "/status.php").text)
    assert [s for s in scripts if s.endswith("functions.php")]
    assert server.ask("http", "/reset.php").status == 200
    process.wait_for(lambda: int(server.ask("http", "/pid.php").text) != pid, 60, "the new process")
