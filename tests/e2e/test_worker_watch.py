"""worker.watch: a change of a file begins the pool's process anew, once, and loses no request; browsers hear of it."""
import os
import re
import shutil
import subprocess
import threading
import time

import pytest

import process
from tokiophp import PROGRAM
from web import Site

CHANGED = "a file of worker.watch has changed"
PAUSE, LONGEST = 0.2, 2  # FILES_QUIET_US and FILES_WAIT_US: without a pause of that, or for so long, changes are one


class Project:
    """A folder with a composer.json, public/index.php as the worker script, src/ and .env."""

    def __init__(self, start, directory, watch, pool="", script=True, name="project"):
        self.folder = os.path.join(directory, name)
        for name, text in (("composer.json", "{}"), ("src/App.php", "<?php return 'one';"), ("src/Deep/er/More.php", "<?php"),
                           (".env", "A=1"), ("var/cache/x.php", "<?php"), ("public/page.php", "<?php echo '<p>page</p>';")):
            self.put(name, text)
        self.put("public/index.php", "<?php $boot = bin2hex(random_bytes(6)); $app = require __DIR__ . '/../src/App.php';"
                                     "while (tokio_handle_request(function () use ($boot, $app) { echo \"$boot $app\"; }));")
        held = f"worker.script = {self.folder}/public/index.php\nworker.num = 1\nworker.max_consecutive_failures = 0\n" if script else ""
        self.site = Site(start, self.folder + "/public", pool=f"pm.max_children = 2\n{held}worker.watch = \"{watch}\"\n{pool}")
        self.server = self.site.server

    def put(self, name, text):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(text)

    def ask(self):
        answer = self.site.ask("/index.php")
        assert answer.status == 200, (answer.status, self.server.messages()[-2000:])
        return answer.text.split()

    def swaps(self):
        return self.server.messages().count("is being replaced: " + CHANGED)

    def wait_new(self, before):
        process.wait_for(lambda: self.ask()[0] != before, 30, "a new boot")


@pytest.fixture
def project(tokiophp, workdir):
    def start(watch="src/**/*.php .env !var/**", **how):
        return Project(tokiophp, workdir, watch.replace("{dir}", workdir), **how)
    return start


def test_a_change_boots_it_anew(project):
    p = project()
    before = p.ask()
    p.put("src/App.php", "<?php return 'two';")
    p.wait_new(before[0])
    assert p.ask()[1] == "two"
    p.server.wait_message(r"changed: .*/src/App\.php")


@pytest.mark.parametrize("name", ["src/Deep/er/More.php", "src/New.php", "src/New/Folder/New.php", ".env"])
def test_what_counts(project, name):
    p = project()
    before = p.ask()[0]
    p.put(name, "<?php // new")
    p.wait_new(before)


def test_more_that_counts(project):
    p = project()
    changes = (lambda: os.unlink(p.folder + "/src/Deep/er/More.php"), lambda: os.rename(p.folder + "/src/App.php", p.folder + "/src/Gone.php") or
               shutil.copy(p.folder + "/src/Gone.php", p.folder + "/src/App.php"),
               lambda: os.symlink("App.php", p.folder + "/src/Link.php"),
               lambda: os.rename(p.folder + "/src/Deep", p.folder + "/src/Deeper"))
    for change in changes:
        before = p.ask()[0]
        change()
        p.wait_new(before)


def test_what_does_not(project):
    """Nothing begins anew for files that do not fit: what comes after them is the first change."""
    p = project()
    before = p.ask()[0]
    for name in ("var/cache/y.php", "src/notes.txt", "src/.git/x.php", "public/page.php", "src/App.php.swp", ".environment"):
        p.put(name, "x")
    p.put("src/Last.php", "<?php")
    p.wait_new(before)
    changed = re.findall("changed: (.*)", p.server.messages())
    assert changed and {os.path.basename(c) for c in changed} == {"Last.php"}


def test_folders_that_come_back(project):
    """Also those where patterns begin, as when another branch is checked out; and ones that were not there yet."""
    p = project("src/**/*.php later/er/*.php {dir}/project/lib/*.php")
    p.put("src/App.php", "<?php return 'before';")
    process.wait_for(lambda: p.ask()[1] == "before", 30, "the first change")
    shutil.rmtree(p.folder + "/src")
    p.server.wait_message("did not boot: ")
    assert p.ask()[1] == "before"
    p.put("src/App.php", "<?php return 'back';")
    process.wait_for(lambda: p.ask()[1] == "back", 30, "the folder that came back")
    for name in ("later/er/New.php", "lib/New.php", "src/Deep/er/More.php", "later/er/New.php"):
        before = p.ask()[0]
        p.put(name, "<?php")
        p.wait_new(before)


def test_a_folder_that_was_moved_away(project, workdir):
    """It is nobody's business any more."""
    p = project()
    before = p.ask()
    os.rename(p.folder + "/src", workdir + "/elsewhere")
    p.server.wait_message("did not boot: ")
    told = p.server.messages().count("changed: ")
    for name in ("App.php", "Deep/er/More.php"):
        with open(f"{workdir}/elsewhere/{name}", "w") as f:
            f.write("<?php return 'old';")
    time.sleep(1)
    assert p.server.messages().count("changed: ") == told and p.ask() == before
    os.rename(workdir + "/elsewhere", p.folder + "/src")
    process.wait_for(lambda: p.ask()[1] == "old", 30, "the folder that came back")


def test_a_link_on_the_way(project, workdir):
    """A release that a link leads to, in a pool without a worker script."""
    for n in "12":
        os.makedirs(f"{workdir}/release{n}")
        with open(f"{workdir}/release{n}/x.php", "w") as f:
            f.write("<?php")
    os.symlink("release1", workdir + "/current")
    p = project(f"{workdir}/current/**/*.php", script=False)
    p.server.wait_message("ready to handle connections")
    os.symlink("release2", workdir + "/next")
    os.rename(workdir + "/next", workdir + "/current")
    process.wait_for(lambda: p.swaps() == 1, 30, "the release")

    def change():
        with open(workdir + "/release2/x.php", "w") as f:
            f.write("<?php // new")
        time.sleep(0.5)
        return p.swaps() >= 2
    process.wait_for(change, 30, "a change of it")


def test_a_folder_whose_name_has_blanks(project):
    p = project(name="my * project")
    before = p.ask()[0]
    p.put("src/New.php", "<?php")
    p.wait_new(before)


def test_together_is_once(project):
    p = project()

    def written(turn):
        """How many swaps there are to be, if they were written without a pause that somebody could take for the end."""
        before, swaps = p.ask()[0], p.swaps()
        times = [time.monotonic()]
        for n in range(200):
            p.put(f"src/N{n}-{turn}.php", "<?php")
            time.sleep(0.03 if n % 10 == 0 else 0)
            times.append(time.monotonic())
        together = max(b - a for a, b in zip(times, times[1:])) < PAUSE and times[-1] - times[0] < LONGEST
        p.wait_new(before)
        time.sleep(2)  # one more would come now
        assert p.swaps() == swaps + 1 or not together
        return swaps + 1 if together else 0
    swaps = next(filter(None, map(written, range(20))), 0)
    assert swaps, "this machine does not write 200 files without a pause"
    settled = p.ask()[0]
    p.put("src/App.php", "<?php return 'later';")
    p.wait_new(settled)
    assert p.swaps() == swaps + 1


@pytest.mark.seconds(180)
def test_no_request_is_lost(project):
    p, wrong, stop = project(), [], threading.Event()

    def ask():
        while not stop.is_set():
            answer = p.site.ask("/index.php")
            if answer.status != 200 or len(answer.text.split()) != 2:
                wrong.append((answer.status, answer.text))
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for t in threads:
        t.start()
    try:
        for n in range(3):
            before = p.ask()[0]
            p.put("src/App.php", f"<?php return 'n{n}';")
            p.wait_new(before)
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert not wrong, wrong[:5]


def test_what_does_not_boot_is_not_taken(project):
    p = project()
    before = p.ask()
    p.put("src/App.php", "<?php throw new Exception('half written');")
    p.server.wait_message("did not boot: .*half written")
    assert p.ask() == before
    p.put("src/App.php", "<?php return 'whole';")
    process.wait_for(lambda: p.ask()[1] == "whole", 60, "the next boot")


def test_without_a_script(project):
    p = project("public/**", script=False)
    assert p.site.ask("/page.php").text == "<p>page</p>"
    before = p.server.family()[1:]
    p.put("public/page.php", "<?php echo 'changed';")
    process.wait_for(lambda: p.site.ask("/page.php").text == "changed", 30, "the new page")
    process.wait_for(lambda: not set(before) & set(p.server.family()[1:]), 30, "a new process")


# -- the browser --

def events(site):
    answer = site.ask("/.tokiophp/reload")
    assert (answer.status, answer.get("Content-Type"), answer.get("Cache-Control")) == (200, "text/event-stream", "no-store")
    return re.fullmatch(r"retry: \d+\ndata: (\d+)\n\n", answer.text).group(1)


def test_pages_hear_of_it(project):
    p = project("src/**", pool="http.live_reload = /.tokiophp/reload\n")
    p.put("public/length.php", "<?php header('Content-Length: 3'); echo 'abc';")
    p.put("public/json.php", "<?php header('Content-Type: application/json'); echo '1';")
    p.put("public/early.php", "<?php echo 'early'; fastcgi_finish_request();")
    p.put("public/streams.php", "<?php echo 'a'; flush(); echo 'b';")
    line = '\n<script src="/.tokiophp/reload.js" async></script>\n'
    for name, text in (("page", "<p>page</p>" + line), ("length", "abc"), ("json", "1"), ("early", "early" + line), ("streams", "ab" + line)):
        assert p.site.ask(f"/{name}.php").text == text
    assert p.site.ask("/page.php", method="HEAD").text == ""
    assert "EventSource(\"/.tokiophp/reload\")" in p.site.ask("/.tokiophp/reload.js").text
    assert p.site.ask("/.tokiophp/reload.php").status in (403, 404)
    first = events(p.site)
    assert events(p.site) == first
    p.put("src/App.php", "<?php return 'two';")
    process.wait_for(lambda: events(p.site) != first, 30, "another process")


@pytest.mark.parametrize("lines, why", [("http.live_reload = reload", "http.live_reload: expected a path"),
                                        ("http.live_reload = /r\npm.processes = 2", "http.live_reload needs pm.processes = 1")])
def test_live_reload_that_cannot_be(workdir, lines, why):
    with open(f"{workdir}/t.ini", "w", encoding="utf-8") as f:
        f.write(f"[www]\nlisten = {workdir}/s\npm = static\npm.max_children = 1\nuser = nobody\n{lines}\n")
    done = subprocess.run([PROGRAM, "-t", "-y", f"{workdir}/t.ini"], capture_output=True, text=True, check=False)
    assert done.returncode == 78 and why in done.stdout + done.stderr
