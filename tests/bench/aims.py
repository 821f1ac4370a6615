"""What tokiophp aims at beside its peers, and what of it the results have reached."""
import re

# workload, topic, what its cases match, what their contestants match, measure, is it a lower bound, aim
AIMS = [
    ("FastCGI hello, kept connections", "fcgi", r"hello, 4 workers, kept", "php-fpm", "ratio", True, 1.3),
    ("FastCGI hello, kept: the pool's CPU", "fcgi", r"hello, 4 workers, kept", "php-fpm", "pool_ratio", False, 0.6),
    ("FastCGI JSON 50 rows, kept", "fcgi", r"json, 4 workers, kept", "php-fpm", "ratio", True, 1.2),
    ("FastCGI, one connection a request", "fcgi", r"hello, 4 workers, closed", "php-fpm", "ratio", True, 1.5),
    ("HTTP/1.1 hello", "http", r"hello, HTTP/1.1$", r"nginx \+ php-fpm", "ratio", True, 2.5),
    ("HTTP/1.1 JSON", "http", r"json, HTTP/1.1$", r"nginx \+ php-fpm", "ratio", True, 1.7),
    ("HTTP/1.1 hello", "http", r"hello, HTTP/1.1$", "Apache", "ratio", True, 2.5),
    ("TLS hello", "http", r"hello, HTTP/1.1 \+ TLS", r"nginx \+ php-fpm", "ratio", True, 2.5),
    ("HTTP/2 hello", "http", r"hello, HTTP/2", r"nginx \+ php-fpm", "ratio", True, 3.0),
    *((f"{name}: the pool's CPU", "applications", name, "php-fpm", "pool_ratio", False, 0.95)
      for name in ("dokuwiki", "syntax", "mediawiki", "wordpress", "symfony", "laravel")),
    *((f"{name}: instructions", "instructions", name, "php-fpm", "instructions_ratio", False, 0.95)
      for name in ("dokuwiki", "syntax", "mediawiki", "wordpress", "symfony", "laravel")),
    *((f"static {size}, {protocol}", "static", rf"{size}, {re.escape(protocol)}$", "nginx", "ratio", True, 1.2)
      for size in ("1 KiB", "100 KiB", "10 MiB") for protocol in ("HTTP/1.1", "HTTP/1.1 + TLS", "HTTP/2 + TLS")),
    ("memory of a further worker", "memory", "each further worker", "tokiophp", "kb", False, 614.4),
    ("idle connection", "idle", "plain", "tokiophp", "kb", False, 2.0),
    ("idle TLS connection", "idle", "TLS", "tokiophp", "kb", False, 20.0),
    *((f"{measure} at {share} of the load", "latency", f"at {share}", r"nginx \+ php-fpm", f"{measure}_ratio", False, 0.5)
      for share in ("50 %", "80 %") for measure in ("p50", "p99")),
    ("start to first answer", "start", "start", "php-fpm", "start_ratio", False, 1.0),
    ("reload", "start", "reload", "php-fpm", "reload_ratio", False, 1.0),
]


# Where limits.md tells why an aim is missed: its section, for a topic, or one workload of it.
SECTIONS = {
    "fcgi": "FastCGI", "HTTP/1.1 JSON": "HTTP/1.1, JSON", "http": "TLS and HTTP/2, hello", "applications": "Applications",
    "instructions": "Applications", "static": "Static files", "memory": "Memory", "idle": "Memory", "latency": "Latency", "start": "Start and reload",
}


def section(aim):
    return SECTIONS.get(aim[0]) or SECTIONS[aim[1]]


def worst(topics, aim):
    """Of the cases and peers that an aim is about, the one that is nearest to missing it; None if none was measured.
    Of the variants of one peer, the better one counts by that."""
    _, topic, case, contestant, measure, lower, _ = aim
    rows = [row for row in topics.get(topic, {}).get("rows", [])
            if re.search(case, row["case"]) and re.search(contestant, row["contestant"]) and measure in row]
    return (min if lower else max)(rows, key=lambda row: row[measure]) if rows else None


def verdict(topics, aim):
    row, measure, lower, bound = worst(topics, aim), *aim[4:]
    if not row:
        return "not measured"
    return "reached" if (row[measure] >= bound if lower else row[measure] <= bound) else "missed"


def table(topics, told):
    """told: limits.md tells why."""
    lines = ["| workload | beside | aim | measured | |", "|---|---|---|---:|---|"]
    for aim in AIMS:
        what, _, _, contestant, measure, lower, bound = aim
        row, said = worst(topics, aim), verdict(topics, aim)
        value = f"{row[measure]:.2f}" if row else "-"
        beside = row["contestant"] if row else contestant.replace("\\", "")
        if said == "missed" and told:
            said = f"[missed](limits.md#{re.sub(r'[^a-z0-9_ -]', '', section(aim).lower()).replace(' ', '-')})"
        lines.append(f"| {what} | {beside} | {'>=' if lower else '<='} {bound:g} | {value} | {said} |")
    return "\n".join(lines)
