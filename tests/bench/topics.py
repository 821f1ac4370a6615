"""The topics of the benchmark: each is a function of the bench, its first line what is printed above its figures."""
import load
import memory
from cost import cost
from peers import OWN
from site_files import STATIC, static_name
from worker import worker

PROTOCOLS = {"h1": "HTTP/1.1", "tls": "HTTP/1.1 + TLS", "h2": "HTTP/2 + TLS"}
CLIENTS = 32


def compare(bench, title, fronts, protocol, path, clients=CLIENTS):
    """The first front is ours."""
    contestants = {front.name: front for front in fronts if front.h2 or protocol != "h2"}
    results = load.rounds(contestants, bench.rounds, lambda front: load.run(
        front.url(protocol, path), front.programs, clients, bench.seconds, protocol == "h2"))
    load.report(title, results)


def stop(fronts):
    for front in fronts:
        front.stop()


def fcgi(bench):
    """tokiophp and php-fpm over FastCGI behind the same nginx"""
    for workers in (bench.workers,) if bench.quick else (1, bench.workers):
        for keep in (True, False):
            # An idle kept-alive connection holds a php-fpm child, so nginx must never have more of them than there are
            # children: with keep-alive there are as many clients as workers.
            clients = workers if keep else CLIENTS
            fronts = []
            try:
                for name, program in (("tokiophp", OWN), ("php-fpm", bench.fpm)):
                    fronts.append(bench.nginx(name, bench.pool("pool", program, workers), workers if keep else 0))
                for script, path in bench.scripts.items():
                    if script in ("hello", "dokuwiki") or (workers == bench.workers and not bench.quick):
                        compare(bench, f"{script}, {workers} workers, {'kept' if keep else 'closed'}", fronts, "h1", path, clients)
            finally:
                stop(fronts)


def http(bench):
    """tokiophp alone beside whole web servers"""
    fronts = []
    try:
        fronts.append(bench.http())
        fronts.append(bench.nginx("nginx + php-fpm", bench.pool("pool", bench.fpm)))
        if not bench.quick:
            fronts.append(bench.caddy("Caddy + php-fpm", bench.pool("pool", bench.fpm)))
            fronts.append(bench.apache())
        fronts = [front for front in fronts if front]
        for protocol, text in PROTOCOLS.items():
            for script, path in bench.scripts.items():
                if script == "hello" or not bench.quick:  # hello beside all, the others beside nginx
                    compare(bench, f"{script}, {text}", fronts if script == "hello" else fronts[:2], protocol, path)
    finally:
        stop([front for front in fronts if front])


def static(bench):
    """Files: tokiophp beside nginx alone (sendfile, its cache of open files on, as many processes as processors)"""
    fronts = []
    try:
        fronts.append(bench.http())
        fronts.append(bench.nginx("nginx", None))
        for protocol, text in PROTOCOLS.items():
            for size in STATIC:
                compare(bench, f"{size}, {text}", fronts, protocol, "/" + static_name(size), 8 if size == "10 MiB" else CLIENTS)
    finally:
        stop(fronts)


def latency(bench):
    """p50 and p99 of every request at half of what the slower one manages"""
    fronts = []
    try:
        fronts.append(bench.http())
        fronts.append(bench.nginx("nginx + tokiophp", bench.pool("pool", OWN)))
        fronts.append(bench.nginx("nginx + php-fpm", bench.pool("pool", bench.fpm)))
        for script, path in bench.scripts.items():
            most = min(load.run(f.url("h1", path), f.programs, CLIENTS, bench.seconds).rate for f in fronts)
            results = load.rounds({f.name: f for f in fronts}, bench.rounds, lambda f, path=path, most=most: load.paced(
                f.url("h1", path), most / 2, CLIENTS, 2, bench.folder))
            for name, runs in results.items():
                p50, p99 = (sorted(column)[len(runs) // 2] for column in zip(*runs))
                print(f"  {script:10} at {most / 2:6.0f} requests/s   {name:18} p50 {p50:7.2f} ms   p99 {p99:7.2f} ms"
                      f"   ({len(runs)} rounds)", flush=True)
    finally:
        stop(fronts)


def counts(bench):
    """What a request costs the kernel: a number that grows with the workers is a lock to find"""
    import kernel
    for workers in (1, bench.workers):
        for name, make in (("http", lambda n: bench.http(n)),
                           ("fcgi tokiophp", lambda n: bench.nginx("tokiophp", bench.pool("pool", OWN, n), n)),
                           ("fcgi php-fpm", lambda n: bench.nginx("php-fpm", bench.pool("pool", bench.fpm, n), n))):
            front = make(workers)
            try:
                for script, path in bench.scripts.items():
                    if bench.quick and script != "hello":
                        continue
                    pids = front.programs[-1].family()  # the pool, not the web server
                    clients = max(workers, CLIENTS) if name == "http" else workers
                    load.wrk(front.url("h1", path), clients, 1)
                    rows = kernel.count(pids, lambda path=path, clients=clients: load.wrk(front.url("h1", path), clients, 1)[1])
                    print(f"  {name:14} {script:9} {workers} workers   " +
                          "   ".join(f"{label} {value:.3f}" for label, value in rows.items()), flush=True)
            finally:
                front.stop()


def worker_memory(bench):
    """Memory of pools after load (proportional share of all their processes)"""
    memory.workers(bench)


def idle(bench):
    """Memory of idle connections, and what they do to those who work"""
    memory.idle(bench)


ALL = {"fcgi": fcgi, "http": http, "static": static, "latency": latency, "counts": counts, "memory": worker_memory, "idle": idle,
       "cost": cost, "worker": worker}
