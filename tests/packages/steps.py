"""How tests of packages run programs, wait, and say what they found. SIGTERM ends them as an error would: what they started and
mounted is gone then, whoever ends them."""
import signal
import subprocess
import sys
import time

failed = False
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def verdict(good, what, lines=()):
    global failed
    for line in [] if good else lines:
        print(f"    {line}")
    print(f"{'ok' if good else 'not ok'} {what}", flush=True)
    failed = failed or not good
    return good


def end():
    sys.exit(1 if failed else 0)


def run(*command, **more):
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)


def must(*command, **more):
    done = run(*command, **more)
    if done.returncode != 0:
        print("\n".join(done.stdout.splitlines()[-30:]))
        sys.exit(f"not ok {' '.join(command)[:150]}: exit {done.returncode}")
    return done.stdout


def wait_for(what, seconds=30):
    """Its first true value; None: it did not come."""
    end_of_it = time.monotonic() + seconds
    while time.monotonic() < end_of_it:
        value = what()
        if value:
            return value
        time.sleep(0.1)
    return None
