"""Pictures of results: bars of requests or of processor time, one picture a topic. The same results make the same bytes."""
import os

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.hashsalt": "benchmarks", "svg.fonttype": "none", "font.size": 8, "font.family": "sans-serif"})
from matplotlib import pyplot  # noqa: E402

# topic -> the measure that is drawn, and what is said of it. Of contestants whose ratio is known, the ratio.
DRAWN = {
    "fcgi": ("pool_ratio", "CPU a request of tokiophp's pool, php-fpm = 1 (shorter is better)"),
    "applications": ("pool_ratio", "CPU a request of tokiophp's pool, php-fpm = 1 (shorter is better)"),
    "http": ("ratio", "requests/s of tokiophp, the other one = 1 (longer is better)"),
    "static": ("ratio", "requests/s of tokiophp, nginx = 1 (longer is better)"),
    "instructions": ("instructions_ratio", "instructions a request of tokiophp, php-fpm = 1 (shorter is better)"),
    "latency": ("p99_ratio", "p99 of tokiophp, the other one = 1 (shorter is better)"),
}
COLOURS = ["#3b6ea5", "#c8782d", "#5b8c5a", "#8a5a83", "#777777", "#b04a4a"]


def bars(path, rows, measure, title):
    rows = [row for row in rows if measure in row]
    others = sorted({row["contestant"] for row in rows})
    figure, axes = pyplot.subplots(figsize=(7.5, 0.9 + 0.2 * len(rows)))
    for at, row in enumerate(rows):
        axes.barh(at, row[measure], color=COLOURS[others.index(row["contestant"]) % len(COLOURS)], height=0.7)
        axes.text(row[measure], at, f" {row[measure]:.2f}", va="center")
    axes.set_yticks(range(len(rows)), [f"{row['case']} / {row['contestant']}" for row in rows])
    axes.invert_yaxis()
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlim(0, 1.12 * max(1, *(row[measure] for row in rows)))
    axes.set_title(title, loc="left")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    with open(path) as f:
        text = "\n".join(line.rstrip() for line in f.read().split("\n"))
    with open(path, "w") as f:
        f.write(text)


def draw(folder, topics):
    """{topic: [file name, ...]}"""
    drawn = {}
    for name, (measure, title) in DRAWN.items():
        if any(measure in row for row in topics.get(name, {}).get("rows", [])):
            bars(os.path.join(folder, name + ".svg"), topics[name]["rows"], measure, title)
            drawn[name] = [name + ".svg"]
    return drawn
