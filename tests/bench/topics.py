"""The topics of the benchmark: each is a function of the bench, its first line what is printed above its figures."""
import statistics

import instructions
import load
import memory
import moments
import scaling
from cost import cost
from peers import OWN
from sampling import sampling
from site_files import SCRIPTS, STATIC, static_name
from worker import worker

PROTOCOLS = {"h1": "HTTP/1.1", "tls": "HTTP/1.1 + TLS", "h2": "HTTP/2 + TLS"}
CLIENTS = 32


def compare(bench, title, fronts, protocol, path, clients=CLIENTS):
    """The first front is ours."""
    contestants = {front.name: front for front in fronts if front.h2 or protocol != "h2"}
    load.report(bench.record, title, load.rounds(contestants, bench.rounds, lambda front: load.run(
        front, protocol, path, clients, bench.seconds)))


def stop(fronts):
    for front in fronts:
        if front:
            front.stop()


def small(bench):
    return {name: path for name, path in bench.scripts.items() if name in SCRIPTS}


def both(bench, workers, keep):
    """tokiophp and php-fpm behind one nginx each, which is told the same."""
    fronts = []
    try:
        for name, program in (("tokiophp", OWN), ("php-fpm", bench.fpm)):
            fronts.append(bench.beside(name, program, workers, workers if keep else 0))
    except BaseException:
        stop(fronts)
        raise
    return fronts


def fcgi(bench):
    """tokiophp and php-fpm over FastCGI behind the same nginx"""
    for workers in (bench.workers,) if bench.quick else sorted({1, bench.workers, 8}):
        for keep in (True, False):
            # With kept connections there are as many clients as workers, see Bench.beside.
            fronts = both(bench, workers, keep)
            try:
                for script, path in small(bench).items():
                    if script == "hello" or (workers == bench.workers and not bench.quick):
                        compare(bench, f"{script}, {workers} workers, {'kept' if keep else 'closed'}", fronts, "h1", path,
                                workers if keep else CLIENTS)
            finally:
                stop(fronts)


def applications(bench):
    """Pages of applications over FastCGI, kept connections, behind the same nginx"""
    fronts = both(bench, bench.workers, True)
    try:
        for script, path in bench.scripts.items():
            if script not in SCRIPTS:
                compare(bench, script, fronts, "h1", path, bench.workers)
    finally:
        stop(fronts)


def http(bench):
    """tokiophp alone beside whole web servers; of one peer's variants the better one counts"""
    fronts, others = [], []
    try:
        fronts.append(bench.http())
        fronts += bench.php_fpm_peers()
        if not bench.quick:
            others += [front for front in (bench.caddy(), bench.apache_event(), bench.mod_php()) if front]
        for protocol, text in PROTOCOLS.items():
            for script, path in small(bench).items():
                if script == "hello" or (not bench.quick and protocol == "h1"):  # hello beside all, the others beside nginx
                    compare(bench, f"{script}, {text}", fronts + (others if script == "hello" else []), protocol, path)
    finally:
        stop(fronts + others)


def static(bench):
    """Files: tokiophp beside nginx alone, as Debian ships it and as its manual tunes it"""
    fronts = []
    try:
        fronts.append(bench.http())
        fronts.append(bench.nginx("nginx, tuned", None))
        fronts.append(bench.nginx("nginx, untuned", None, tuned=False))
        for protocol, text in PROTOCOLS.items():
            for size in STATIC:
                compare(bench, f"{size}, {text}", fronts, protocol, "/" + static_name(size), 8 if size == "10 MiB" else CLIENTS)
    finally:
        stop(fronts)


def latency(bench):
    """p50 and p99 of every request at 50 % and 80 % of what the slowest manages"""
    fronts = []
    try:
        fronts.append(bench.http())
        fronts += bench.php_fpm_peers()
        for script, path in small(bench).items():
            if script == "page":
                continue
            for f in fronts:
                load.run(f, "h1", path, CLIENTS, 1)  # the first run is slower
            most = min(load.run(f, "h1", path, CLIENTS, bench.seconds).rate for f in fronts)
            for share in (0.5, 0.8):
                at_rate(bench, f"{script} at {share * 100:.0f} %", fronts, path, most * share)
    finally:
        stop(fronts)


def at_rate(bench, case, fronts, path, rate):
    results = load.rounds({f.name: f for f in fronts}, bench.rounds, lambda f: load.paced(f.url("h1", path), rate, CLIENTS, bench.seconds, bench.folder))
    own = results[fronts[0].name]
    for name, runs in results.items():
        p50, p99 = (statistics.median(column) for column in zip(*runs))
        ratio = {} if runs is own else {"p50_ratio": load.ratio(own, runs, 0), "p99_ratio": load.ratio(own, runs, 1)}
        print(f"  {case:16} = {rate:6.0f} requests/s   {name:24} p50 {p50:7.2f} ms   p99 {p99:7.2f} ms   ({bench.rounds} rounds)", flush=True)
        bench.record.add(case, name, load=rate, p50=p50, p99=p99, **ratio)


def counts(bench):
    """What a request costs the kernel: a number that grows with the workers is a lock to find"""
    import kernel
    for why in kernel.lacks():
        bench.without("futex calls, system calls", why)
    for workers in sorted({1, bench.workers}):
        for name, make in (("http", lambda n: bench.http(n)),
                           ("fcgi tokiophp", lambda n: bench.beside("tokiophp", OWN, n, n)),
                           ("fcgi php-fpm", lambda n: bench.beside("php-fpm", bench.fpm, n, n))):
            front = make(workers)
            try:
                for script, path in bench.scripts.items():
                    # What waits when the load ends is run, and not counted as a request: nothing of a page, of which there are few.
                    clients = max(workers, CLIENTS) if name == "http" and script in SCRIPTS else workers
                    if script == "hello" or not bench.quick:
                        count_one(bench, name, f"{script}, {workers} workers", front, path, clients)
            finally:
                front.stop()
    # an idle kept connection takes one of php-fpm's children, so there are never more of them than children
    for clients in sorted({1, 2 * bench.workers}) if "hello" in bench.scripts else ():
        front = bench.beside("tokiophp", OWN, bench.workers, 2 * bench.workers)
        try:
            count_one(bench, "fcgi tokiophp", f"hello, {bench.workers} workers, {clients} connections", front, bench.scripts["hello"], clients)
        finally:
            front.stop()


def count_one(bench, name, case, front, path, clients):
    import kernel
    pids = front.programs[-1].family()  # the pool, not the web server
    load.wrk(front.url("h1", path), clients, 1)
    kernel.settle(pids)
    rows = kernel.count(pids, lambda: load.wrk(front.url("h1", path), clients, 1)[1])
    print(f"  {name:14} {case:36} " + "   ".join(f"{label} {value:.3f}" for label, value in rows.items()), flush=True)
    bench.record.add(case, name, **{label.replace(" ", "_"): value for label, value in rows.items()})


def worker_memory(bench):
    """Memory of pools after load (proportional share of all their processes)"""
    memory.workers(bench)


def idle(bench):
    """Memory of idle connections, and what they do to those who work"""
    memory.idle(bench)


def of_instructions(bench):
    """Instructions of a request outside of the kernel, PHP's own included, over FastCGI (valgrind counts the whole pool)"""
    instructions.compare(bench)


def start(bench):
    """From the start, and from a reload, to the first answer of the new process"""
    moments.compare(bench)


def of_scaling(bench):
    """Instructions and atomic changes of memory of a request over FastCGI, as the workers and their connections grow"""
    scaling.scaling(bench)


ALL = {"fcgi": fcgi, "applications": applications, "http": http, "static": static, "latency": latency, "counts": counts,
       "memory": worker_memory, "idle": idle, "start": start, "instructions": of_instructions, "cost": cost, "sampling": sampling,
       "worker": worker, "scaling": of_scaling}
# Those that ask for pages of applications, and those that a server without HTTP has no part in.
WITH_PAGES = {"applications", "counts", "instructions", "sampling"}
WITH_HTTP = {"applications", "http", "static", "latency", "counts", "idle", "cost", "sampling", "worker"}
