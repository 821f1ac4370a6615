#!/usr/bin/python3
"""What a run of the benchmark leaves behind: results.json, and what is made of it alone, README.md and pictures.

    tests/bench/record.py [FOLDER]     makes README.md and the pictures of FOLDER/results.json again

The folder is build/benchmarks, or the one that BENCH_RESULTS names. Topics are kept one by one: a run of some of them
leaves the others as they were, so each says of which commit it is. No name of a folder of this machine is in it.
"""
import datetime
import json
import os
import platform
import re
import subprocess
import sys

import aims

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
# measure -> its title, and how many digits behind the point
MEASURES = {
    "rate": ("requests/s", 0), "p50": ("p50, ms", 2), "p99": ("p99, ms", 2), "cpu_us": ("CPU a request, us", 1),
    "pool_us": ("of it the pool, us", 1), "ratio": ("tokiophp's requests/s to these", 2), "least": ("least round", 2),
    "most": ("greatest round", 2), "cpu_ratio": ("tokiophp's CPU to this", 2), "pool_ratio": ("tokiophp's pool's CPU to this pool's", 2),
    "instructions": ("instructions a request", 0), "locks": ("of them atomic changes", 1), "instructions_ratio": ("tokiophp's to these", 3), "kb": ("KiB each", 2), "mb": ("MiB", 1),
    "start_ms": ("start to first answer, ms", 0), "reload_ms": ("reload to first answer of the new, ms", 0), "failed": ("failed meanwhile", 0),
    "load": ("requests/s that are asked for", 0), "start_ratio": ("tokiophp's to this", 2),
    "reload_ratio": ("tokiophp's to this", 2), "futex_calls": ("futex calls", 3), "system_calls": ("system calls", 2), "looking": ("looking, % of CPU", 2), "looking_ms": ("looking, ms a second", 2),
    "context_switches": ("context switches", 3), "page_faults": ("page faults", 3), "p50_ratio": ("tokiophp's p50 to this", 2), "p99_ratio": ("tokiophp's p99 to this", 2),
}
# What an older topic or row does not say.
UNKNOWN = {"title": "", "commit": "unknown", "day": "unknown", "missing": {}, "rounds": 0, "seconds": 0, "workers": 0,
           "machine": {"processors": 0, "processor": "unknown", "memory": "unknown", "kernel": "unknown"}}
NOBODY = {"case": "", "contestant": ""}
PROGRAMS = {"nginx": ["nginx", "-v"], "Apache": ["apache2", "-v"], "Caddy": ["caddy", "version"], "wrk": ["wrk", "-v"],
            "h2load": ["h2load", "--version"], "MariaDB": ["mariadbd", "--version"], "valgrind": ["valgrind", "--version"]}


def said(command):
    """The first line with a version of what a program says of itself."""
    try:
        text = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return next((line.strip() for line in text.split("\n") if re.search(r"\d+\.\d+", line)), None)


def git(*words):
    try:
        return subprocess.run(["git", "-C", ROOT, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.strip()
    except OSError:
        return ""


def commit():
    """The commit that is measured, and whether something of the server differs from it."""
    changed = git("status", "--porcelain", "--", "engine", "fcgi", "http", "configure", "Makefile.in")
    return (git("rev-parse", "--short=10", "HEAD") or "unknown") + (" and changes to it" if changed else "")


def machine():
    with open("/proc/cpuinfo") as f:
        model = re.search(r"^model name\s*: (.*)$", f.read(), re.M)
    with open("/proc/meminfo") as f:
        memory = int(re.search(r"^MemTotal:\s+(\d+)", f.read()).group(1))
    return {"processors": os.cpu_count(), "processor": model.group(1) if model else platform.machine(),
            "memory": f"{memory / 1048576:.1f} GiB", "kernel": platform.release().split("-")[0]}


class Record:
    """What is measured, as it comes; write() puts it beside what the folder has already."""

    def __init__(self, bench_folder, own, fpm, how):
        self.folder = bench_folder
        self.topic, self.topics, self.configurations = None, {}, {}
        programs = {"tokiophp": [own, "-v"], "php-fpm": [fpm, "-v"], **PROGRAMS}
        self.programs = {name: text for name, text in ((n, said(c)) for n, c in programs.items()) if text}
        self.about = {"commit": commit(), "day": datetime.date.today().isoformat(), "machine": machine(), **how}

    def begin(self, topic, title, missing):
        self.topic = self.topics[topic] = {"title": title, **self.about, "missing": {name: self.without_folder(why) for name, why in missing.items()},
                                           "rows": []}

    def add(self, case, contestant, **measures):
        self.topic["rows"].append({"case": case, "contestant": contestant,
                                   **{name: float(f"{value:.6g}") for name, value in measures.items()}})

    def without(self, name, why):
        self.topic["missing"][name] = self.without_folder(why)

    def without_folder(self, text):
        """Without what is another one in each run."""
        text = re.sub(r"(127\.0\.0\.1|localhost):\d+", r"\1:PORT", text.replace(self.folder, "FOLDER"))
        return re.sub(r"FOLDER/([a-z]+)\d+", r"FOLDER/\1", text)

    def configuration(self, name, path, options=()):
        """The text of a contestant's configuration, and what its command line adds."""
        with open(path) as f:
            text = self.without_folder(f.read()) + (f"; {' '.join(options)}\n" if options else "")
        texts = self.configurations.setdefault(self.topic["title"] if self.topic else "", {}).setdefault(name, [])
        if text not in texts:
            texts.append(text)

    def write(self, folder):
        kept = read(folder)
        kept["programs"] = {**kept.get("programs", {}), **self.programs}
        kept["topics"] = {**kept.get("topics", {}), **self.measured(kept.get("topics", {}))}
        kept["configurations"] = {**kept.get("configurations", {}), **self.configurations}
        replace(folder + "/results.json", json.dumps(kept, indent=1, sort_keys=True) + "\n")
        show(folder, self.topics)

    def measured(self, before):
        """Topics with rows; one without only says why, where there was nothing before."""
        return {name: topic for name, topic in self.topics.items() if topic["rows"] or name not in before}


def replace(path, text):
    """In one go, so that nobody finds half of it, who ends this run, or has one of his own."""
    with open(f"{path}.{os.getpid()}", "w") as f:
        f.write(text)
    os.rename(f.name, path)


def prepare(folder):
    """What write() could not do later is said before anything is measured."""
    try:
        os.makedirs(folder, exist_ok=True)
        replace(folder + "/.writable", "")
        os.unlink(folder + "/.writable")
    except OSError as why:
        sys.exit(f"results cannot be written: {why}")
    read(folder)


def read(folder):
    """What the folder has; older results may lack what newer ones have."""
    path = folder + "/results.json"
    try:
        with open(path) as f:
            kept = json.load(f)
        return {**kept, "topics": {name: {**UNKNOWN, **topic, "rows": [{**NOBODY, **row} for row in topic["rows"]]}
                                   for name, topic in kept.get("topics", {}).items()}}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as why:
        sys.exit(f"{path} is not what a run has left behind ({why!r}): mend it, or remove it")


def cell(row, measure):
    return f"{row[measure]:,.{MEASURES[measure][1]}f}" if measure in row else ""


def table(rows):
    """Markdown: a line for each contestant of each case, a column for each measure that any of them has."""
    if not rows:
        return "Not measured."
    columns = [m for m in MEASURES if any(m in row for row in rows)]
    lines = ["| | | " + " | ".join(MEASURES[m][0] for m in columns) + " |", "|---|---|" + "---:|" * len(columns)]
    before = None
    for row in rows:
        case = "" if row["case"] == before else row["case"]
        before = row["case"]
        lines.append(f"| {case} | {row['contestant']} | " + " | ".join(cell(row, m) for m in columns) + " |")
    return "\n".join(lines)


def how(topic):
    """How often and how long, where a topic has rounds. wrk takes whole seconds: what older results call 1.5 was 2."""
    measures = {measure for row in topic["rows"] for measure in row}
    if "start_ms" in measures:
        return f", {2 * topic['rounds'] + 1} starts each"
    if measures.isdisjoint({"least", "p99_ratio", "looking"}):
        return ""
    return f", {topic['rounds']} rounds of {max(1, round(topic['seconds']))} s"


def of_topic(name, topic, pictures):
    about = f"Commit {topic['commit']}, {topic['day']}; {topic['machine']['processor']}; " \
        f"{topic['workers']} workers{how(topic)}."
    text = f"## {name}\n{topic['title']}\n\n{about}\n"
    if any("HTTP/2" in row["case"] and "p99" in row for row in topic["rows"]):
        text += "\nOver HTTP/2 the load generator gives no percentiles: there the mean stands for p50, the slowest request for p99.\n"
    for script, why in sorted(topic["missing"].items()):
        text += f"\nWithout {script}: {why}\n"
    return text + "".join(f"\n![{name}]({picture})\n" for picture in pictures) + "\n" + table(topic["rows"]) + "\n"


def page(kept, pictures):
    topics = kept["topics"]
    machines = sorted({json.dumps(topic["machine"], sort_keys=True) for topic in topics.values()})
    text = "# Benchmarks\n\nMade by `make bench` (`tests/bench/run`); `results.json` has the same numbers. A ratio above 1 of " \
        "requests means that tokiophp answers more, one below 1 of CPU, instructions, time or memory that it needs less.\n\n"
    text += "".join(f"- {m['processors']} processors ({m['processor']}), {m['memory']}, Linux {m['kernel']}\n" for m in map(json.loads, machines))
    text += "".join(f"- {name}: {said}\n" for name, said in sorted(kept.get("programs", {}).items()))
    text += "\n## Aims\n" + aims.table(topics, "limits" in kept) + "\n"
    if "limits" in kept:
        text += kept["limits"]
    for name in sorted(topics):
        text += "\n" + of_topic(name, topics[name], pictures.get(name, []))
    text += "\n## Configurations\nFOLDER is the folder of a run, PORT a free port.\n"
    for name, texts in sorted(by_contestant(kept.get("configurations", {})).items()):
        text += f"\n### {name}\n" + "".join(f"```\n{t.strip()}\n```\n" for t in texts)
    return text


def by_contestant(of_topics):
    """{name: its configurations, each once}"""
    found = {}
    for names in of_topics.values():
        for name, texts in names.items():
            found.setdefault(name, []).extend(t for t in texts if t not in found.get(name, []))
    return found


def show(folder, new=()):
    """README.md and the pictures, of results.json. Without matplotlib pictures of topics that are not new stay."""
    kept = read(folder)
    if not kept.get("topics"):
        sys.exit(f"{folder} has no results: make bench")
    if os.path.exists(folder + "/limits.md"):
        kept["limits"] = "\nWhy the others are missed: [limits.md](limits.md). What was tried: [experiments.md](experiments.md).\n"
    try:
        import charts
        pictures = charts.draw(folder, kept["topics"])
    except ImportError:
        print("no pictures: packaging/install-packages python3-matplotlib")
        pictures = {name: sorted(f for f in os.listdir(folder) if f == f"{name}.svg") for name in kept["topics"] if name not in new}
    replace(folder + "/README.md", page(kept, pictures))


if __name__ == "__main__":
    show(sys.argv[1] if len(sys.argv) > 1 else ROOT + "/build/benchmarks")
