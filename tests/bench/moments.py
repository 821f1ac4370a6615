"""How long nobody is answered: at the start of a pool, and until a reload has happened."""
import signal
import statistics
import time

import fcgi_client
import load
from peers import OWN

SCRIPT = "<?php echo getmypid();"
PATIENCE = 60


def answer(address, script):
    """The process that answered, or None."""
    try:
        reply = fcgi_client.fetch(address, script)
        return int(reply.body) if reply.status == 200 else None
    except (OSError, ValueError, AssertionError):
        return None


def until(address, script, old):
    """Seconds until a process answers that is not one of `old`, and how many requests failed meanwhile."""
    began, failed = time.monotonic(), 0
    while time.monotonic() < began + PATIENCE:
        pid = answer(address, script)
        if pid and pid not in old:
            return time.monotonic() - began, failed
        failed += pid is None
        time.sleep(0.0005)
    raise SystemExit(f"{address}: no answer of a new process")


def once(bench, name, program, script):
    began = time.monotonic()
    pool = bench.pool(name, program, wait=False)
    try:
        until(pool.address, script, ())
        start = time.monotonic() - began
        time.sleep(0.1)  # php-fpm answers while it still makes children, and such a one would be taken for a new one's
        old = set(pool.family())
        pool.signal(signal.SIGUSR2)
        return start, *until(pool.address, script, old)
    finally:
        pool.kill_family()


def compare(bench):
    script = bench.root + "/pid.php"
    with open(script, "w") as f:
        f.write(SCRIPT)
    results = load.rounds({"tokiophp": OWN, "php-fpm": bench.fpm}, 2 * bench.rounds + 1, lambda program: once(
        bench, "tokiophp" if program == OWN else "php-fpm", program, script))
    own = results["tokiophp"]
    for name, runs in results.items():
        start, reload, failed = (statistics.median(column) for column in zip(*runs))
        print(f"  {name:10} start {start * 1000:6.0f} ms   reload {reload * 1000:6.0f} ms, {failed:.0f} requests refused   ({len(runs)} rounds)", flush=True)
        beside = name == "php-fpm"
        bench.record.add("start", name, start_ms=start * 1000, **({"start_ratio": load.ratio(own, runs, 0)} if beside else {}))
        bench.record.add("reload", name, reload_ms=reload * 1000, failed=failed, **({"reload_ratio": load.ratio(own, runs, 1)} if beside else {}))
