"""The dashboard as somebody uses it who has a pointer: values below it, pools, the flame graph, the buttons that give orders."""
import json
import os
import re
import subprocess
import threading

import pytest

import chromium
import process
import tokiophp as program
from test_dashboard import asked
from web import Site

pytestmark = pytest.mark.skipif(not chromium.PROGRAM, reason="chromium is not installed")

BURN = "<?php class Oven { function heat($s) { $end = microtime(true) + $s; while (microtime(true) < $end) { hash('sha256', str_repeat('x', 5000)); } } }\n" \
    "function outer($s) { (new Oven)->heat($s); }\nfunction nap() { usleep(100000); }\nouter(0.2); nap(); echo 'burnt';"


@pytest.fixture
def shown(tokiophp, workdir):
    root = os.path.join(workdir, "site")
    os.mkdir(root)
    for name, text in (("burn.php", BURN), ("wrong.php", "<?php trigger_error('<b>bold</b> words', E_USER_WARNING); http_response_code(500);"),
                       ("slow.php", "<?php usleep(300000); echo 'slow';")):
        with open(os.path.join(root, name), "w") as f:
            f.write(text)
    port = process.free_port()
    shown = Site(tokiophp, root, f"http.internal_listen = 127.0.0.1:{port}\nhttp.internal_token = secret\n")
    shown.server.wait_accepting(("127.0.0.1", port))
    shown.inside = f"http://127.0.0.1:{port}/"
    return shown


@pytest.fixture
def load(shown):
    stop = threading.Event()

    def client(targets):
        while not stop.is_set():
            for target in targets:
                shown.ask(target)
    running = [threading.Thread(target=client, args=(t,)) for t in (["/burn.php"], ["/slow.php", "/wrong.php"],
                                                                    ["/burn.php?%3Cimg%20src=x%20onerror=document.title=1%3E"])]
    for t in running:
        t.start()
    yield
    stop.set()
    for t in running:
        t.join()


class Page(chromium.Chromium):
    def __init__(self, workdir, url):
        super().__init__(os.path.join(workdir, "profile"))
        self.ask("Log.enable")
        self.open(url)

    def until(self, script, what, seconds=60):
        return process.wait_for(lambda: self.run(f"!!({script})"), seconds, what)

    def place(self, selector, x=0.5, y=0.5):
        """Of a point in an element, scrolled to."""
        self.run(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center'}})")
        box = self.run(f"(() => {{ const b = document.querySelector({selector!r}).getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; }})()")
        return box[0] + box[2] * x, box[1] + box[3] * y

    def point(self, selector, x=0.5, y=0.5):
        at = self.place(selector, x, y)
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=at[0], y=at[1])
        return at

    def click(self, selector):
        x, y = self.point(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def send(self, method, **params):
        """Without waiting for the answer: a dialog holds it back."""
        self.number += 1
        os.write(self.out, json.dumps({"id": self.number, "method": method, "params": params, "sessionId": self.session}).encode() + b"\0")

    def dialog(self, accept):
        text = self.wait_event("Page.javascriptDialogOpening")["message"]
        self.ask("Page.handleJavaScriptDialog", accept=accept)
        return text

    def complaints(self):
        return [e for e in self.events if e.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded")
                or (e.get("method") == "Runtime.consoleAPICalled" and e["params"]["type"] in ("error", "warning"))]


@pytest.fixture
def page(shown, workdir):
    opened = Page(workdir, shown.inside + "?token=secret")
    yield opened
    try:
        assert not opened.complaints()
    finally:
        opened.stop()


def text(page, selector):
    return page.run(f"document.querySelector({selector!r}).innerText")


def test_values_under_the_pointer(shown, load, page):
    page.until("document.querySelectorAll('#chart path').length > 0", "a chart with something in it")
    for chart, words in (("chart", ("/s", "2xx", "5xx")), ("latchart", ("50 %", "99 %"))):
        tip = f"#{chart} ~ .tip"
        shown = lambda: page.run(f"getComputedStyle(document.querySelector('{tip}')).display")  # noqa: B023,E731
        page.point("#" + chart, 0.99)
        process.wait_for(lambda: shown() == "block", what="the value")  # noqa: B023
        said = text(page, tip)
        assert all(word in said for word in words) and re.search(r"\d+:\d\d:\d\d", said), said
        inside = page.run(f"(() => {{ const a = document.querySelector('{tip}').getBoundingClientRect(); return a.left >= 0 && a.right <= innerWidth; }})()")
        assert inside
        page.point("header", 0.5)
        process.wait_for(lambda: shown() == "none", what="nothing")  # noqa: B023
    ticks = page.run("[...document.querySelectorAll('#chart-ticks span')].map(s => s.textContent)")
    axis = page.run("[...document.querySelectorAll('#chart-axis span')].map(s => s.textContent)")
    assert len(ticks) == 5 and axis[-1] == "now" and "min" in axis[0], (ticks, axis)
    page.click("#ranges button:last-child")
    page.until("document.querySelector('#chart-axis span').textContent.includes('60 min')", "an hour")


def test_slow_scripts_and_errors(shown, load, page):
    page.until("document.querySelector('#slow').innerText.includes('slow.php')", "the slow script")
    page.until("document.querySelector('#errors').innerText.includes('words')", "the error")
    assert "<b>bold</b> words" in text(page, "#errors"), "as text"
    assert page.run("document.querySelectorAll('#errors b').length") == 0


def test_the_flame_graph(shown, load, page):
    """Of what the server has kept by itself, and of the next seconds."""
    page.until("[...document.querySelectorAll('#flame span')].some(s => s.textContent === 'Oven::heat')", "the last minutes", 90)
    assert "The last 15 minutes" in text(page, "#profile-note")
    rows = text(page, "#functions")
    assert "hash" in rows and "usleep" in rows and "%" in rows
    page.point("#flame span[data-i='0']")
    page.until("getComputedStyle(document.querySelector('#flame .tip')).display === 'block'", "the value")
    assert re.search(r"all\s+[\d.]+ (ms|s).*100\.0 %", text(page, "#flame .tip"), re.S)
    number = page.run("[...document.querySelectorAll('#flame span')].findIndex(s => s.textContent === 'outer')")
    page.click(f"#flame span[data-i='{number}']")
    page.until("[...document.querySelectorAll('#flame span')].some(s => s.textContent === 'outer' && s.style.width === '100%' && !s.classList.contains('above'))",
               "the function alone")
    assert page.run("document.querySelectorAll('#flame span.above').length") >= 3
    page.click("#flame span.above")
    page.until("document.querySelectorAll('#flame span.above').length === 0", "all of it")
    page.click("#profile")
    page.until("document.querySelector('#profile-note').innerText.startsWith('Ten seconds: ')", "ten seconds")
    assert page.run("[...document.querySelectorAll('#flame span')].some(s => s.textContent === 'usleep' && s.classList.contains('wait'))")
    page.click("#spans button")
    page.until("document.querySelector('#profile-note').innerText.startsWith('The last 5 minutes')", "what is kept")
    assert page.run("document.title") != "1" and page.run("document.querySelectorAll('#flame img').length") == 0


def generation(shown):
    return [p["generation"] for p in asked(shown, "dashboard.json")["pools"][0]["processes"]]


def test_orders(shown, page):
    page.until("document.querySelector('[data-restart]')", "the buttons")
    assert page.run("!document.querySelector('#reload').hidden")
    before = generation(shown)
    page.click("[data-restart='www']")
    assert "www" in page.dialog(False)
    assert shown.ask("/burn.php").text == "burnt" and generation(shown) == before, "whoever says no is not obeyed"
    page.click("[data-restart='www']")
    page.dialog(True)
    process.wait_for(lambda: generation(shown)[-1] > before[-1], what="a new generation")
    after = generation(shown)[-1]
    page.click("#reload")
    page.dialog(True)
    process.wait_for(lambda: generation(shown) and generation(shown)[-1] > after, what="a reload")
    assert text(page, "#notice") == ""


def test_no_orders_without_a_token(tokiophp, workdir):
    os.mkdir(workdir + "/site")
    port = process.free_port()
    shown = Site(tokiophp, workdir + "/site", f"http.internal_listen = 127.0.0.1:{port}\n")
    shown.server.wait_accepting(("127.0.0.1", port))
    page = Page(workdir, f"http://127.0.0.1:{port}/")
    try:
        page.until("document.querySelector('#pools section')", "the pool")
        assert page.run("document.querySelector('#reload').hidden && !document.querySelector('[data-restart]')")
        assert shown.server.process.poll() is None and not page.complaints()
    finally:
        page.stop()


def test_one_pool_of_two(tokiophp, workdir):
    os.mkdir(workdir + "/site")
    with open(workdir + "/site/hello.php", "w") as f:
        f.write("<?php echo 'hello';")
    http, port = process.free_port(), process.free_port()
    identity = f"user = {program.USER}\ngroup = {program.GROUP}\n" if program.IS_ROOT else ""
    common = f"{identity}pm = static\npm.max_children = 2\n"
    server = tokiophp(config=f"""[global]
error_log = {{dir}}/error.log
daemonize = no
[first]
{common}listen = {{dir}}/fcgi.sock
http.listen = 127.0.0.1:{http}
http.document_root = {workdir}/site
http.internal_listen = 127.0.0.1:{port}
[second]
{common}listen = {{dir}}/second.sock
http.server_name = second
http.document_root = {workdir}/site
""")
    server.wait_accepting(("127.0.0.1", http))
    server.wait_accepting(("127.0.0.1", port))
    for _ in range(7):
        done = subprocess.run(["curl", "-s", "-H", "Host: second", f"http://127.0.0.1:{http}/hello.php"], capture_output=True, timeout=30, check=True)
        assert done.stdout == b"hello"
    page = Page(workdir, f"http://127.0.0.1:{port}/")
    try:
        page.until("document.querySelectorAll('#chosen button').length === 3", "a choice")
        page.until("document.querySelectorAll('#pools section').length === 2", "both")
        page.click("#chosen button[data-value='second']")
        page.until("document.querySelectorAll('#pools section').length === 1 && document.querySelector('#total').innerText.startsWith('7 ')", "its own numbers")
        assert text(page, "#pools h2") == "Pool second"
        page.click("#chosen button[data-value='first']")
        page.until("document.querySelector('#total').innerText.startsWith('0 ')", "the other's")
        page.click("#chosen button[data-value='']")
        page.until("document.querySelectorAll('#pools section').length === 2", "both again")
        assert not page.complaints()
    finally:
        page.stop()
