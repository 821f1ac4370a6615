"""The dashboard in a real browser: it fills itself, its numbers are those of /metrics, and nothing goes wrong in it.
Screenshots are kept below build/artefacts."""
import json
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

import process
from web import Site

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HERE = os.path.dirname(os.path.abspath(__file__))
ARTEFACTS = os.path.join(os.environ.get("BUILD", os.path.join(HERE, "../../build")), "artefacts")

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")


@pytest.fixture
def dashboard(tokiophp, workdir):
    root = os.path.join(workdir, "site")
    os.mkdir(root)
    for name, text in (("hello.php", "<?php echo 'hello';"), ("sleep.php", "<?php usleep(200000); http_response_code(500);"),
                       ("long.php", "<?php sleep(20);")):
        with open(os.path.join(root, name), "w") as f:
            f.write(text)
    port = process.free_port()
    site = Site(tokiophp, root, f"http.internal_listen = 127.0.0.1:{port}\nhttp.internal_token = secret\n")
    site.inside = f"http://127.0.0.1:{port}/"
    return site


def browse(workdir, url, *arguments, seconds=60):
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
               "--no-first-run", "--enable-logging=stderr", "--user-data-dir=" + os.path.join(workdir, "profile"),
               "--virtual-time-budget=8000", *arguments, url]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not console, console
    return done.stdout


def asked(site, name):
    request = urllib.request.Request(site.inside + name, headers={"Authorization": "Bearer secret"})
    return json.load(urllib.request.urlopen(request, timeout=10))


def live(site):
    return asked(site, "dashboard.json")


@pytest.fixture
def load(dashboard):
    stop = threading.Event()

    def client(target):
        while not stop.is_set():
            dashboard.ask(target)
    running = [threading.Thread(target=client, args=(t,)) for t in ("/hello.php", "/hello.php", "/sleep.php")]
    for t in running:
        t.start()
    process.wait_for(lambda: any(dict(zip(told["fields"], step))["requests"] for told in [asked(dashboard, "history.json")]
                                 for step in told["pools"][0]["steps"]), 30, "a step of the history with requests")
    yield
    stop.set()
    for t in running:
        t.join()


def text_of(dom, name):
    found = re.search(r'id="%s"[^>]*>(.*?)</(?:div|span|p)>' % name, dom, re.S)
    return re.sub(r"<[^>]+>", " ", found.group(1)).strip()


def test_numbers_change_and_are_true(dashboard, load, workdir):
    seen = []
    for _ in range(2):
        before = live(dashboard)["pools"][0]["requests"]
        dom = browse(workdir, dashboard.inside + "?token=secret", "--dump-dom")
        after = live(dashboard)["pools"][0]["requests"]
        shown = int(re.search(r'data-requests="(\d+)"', dom).group(1))
        assert before <= shown <= after
        assert text_of(dom, "rate") != ""  # between two answers it may be 0: the browser's time runs faster than ours
        assert float(re.search(r"at most ([\d.,]*\d)", dom).group(1).replace(",", "")) > 0
        assert text_of(dom, "health") in ("healthy", "busy")
        assert "/sleep.php" in dom or "/hello.php" in dom
        assert "<path" in dom
        seen.append(shown)
    assert seen[1] > seen[0]


def test_after_a_wrong_token_it_says_so(dashboard, workdir):
    html = urllib.request.urlopen(dashboard.inside + "?token=secret", timeout=10).read().decode()
    assert "http://" not in re.sub(r"http://www\.w3\.org/\S+", "", html) and "https://" not in html  # nothing from outside
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(dashboard.inside, timeout=10)


def test_for_readers_of_all_kinds(dashboard, workdir):
    dom = re.sub(r"<script>.*?</script>", "", browse(workdir, dashboard.inside + "?token=secret", "--dump-dom"), flags=re.S)
    assert '<html lang="en"' in dom and re.search(r"<title>[^<]*tokiophp[^<]*</title>", dom)
    for landmark in ("<header", "<main", "<footer", "<h1"):
        assert landmark in dom
    assert 'role="status"' in dom and 'role="alert"' in dom and 'aria-pressed="false"' in dom
    assert dom.count('role="img"') >= 3 and dom.count("<title id=") == 2  # charts and cells have names
    assert dom.count('role="meter"') >= 4 and 'scope="col"' in dom
    ids = re.findall(r'aria-labelledby="([^"]+)"', dom)
    assert ids and all(f'id="{i}"' in dom for i in ids)
    for section in re.findall(r"<section[^>]*>", dom):
        assert "aria-label" in section


@pytest.mark.parametrize("name, size, extra", [
    ("light", "1280,1250", []), ("dark", "1280,1250", ["--blink-settings=preferredColorScheme=0"]), ("phone", "500,1900", [])])
def test_screenshots(dashboard, load, workdir, name, size, extra):
    os.makedirs(ARTEFACTS, exist_ok=True)
    path = os.path.join(ARTEFACTS, f"dashboard-{name}.png")
    time.sleep(1)
    browse(workdir, dashboard.inside + "?token=secret", f"--window-size={size}", f"--screenshot={path}", *extra)
    with open(path, "rb") as f:
        assert f.read(8) == b"\x89PNG\r\n\x1a\n"
    assert os.path.getsize(path) > 40000  # not an empty page
