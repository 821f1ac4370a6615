"""A real browser over HTTP/2 and TLS: the demo site's page, form, upload and stream of events."""
import hashlib
import os
import shutil

import pytest
from certificate import make_cert
from chromium import PROGRAM, Chromium
from process import free_port, wait_for
from tokiophp import ROOT


@pytest.fixture
def chromium(workdir):
    if not PROGRAM:
        pytest.skip("chromium is not installed")
    browser = Chromium(workdir + "/profile")
    yield browser
    browser.stop()


@pytest.mark.seconds(180)
def test_demo_site(tokiophp, workdir, chromium):
    shutil.copytree(os.path.join(ROOT, "etc/demo"), workdir + "/demo")
    os.chmod(workdir + "/demo", 0o755)
    port = free_port()
    server = tokiophp(pool=f"http.tls_listen = 127.0.0.1:{port}\nhttp.document_root = {workdir}/demo\n" + make_cert(workdir, "one"))
    server.wait_accepting(("127.0.0.1", port))
    chromium.open(f"https://127.0.0.1:{port}/")
    protocols = {e["params"]["response"]["url"].rsplit("/", 1)[1]: e["params"]["response"]["protocol"] for e in chromium.events
                 if e.get("method") == "Network.responseReceived"}
    assert set(protocols) >= {"", "style.css", "demo.js"} and set(protocols.values()) == {"h2"}
    assert chromium.run("document.title") == "tokiophp is running"
    assert "HTTP/2.0 over TLSv1.3" in chromium.run("document.body.innerText")
    assert chromium.run("getComputedStyle(document.querySelector('main')).display") == "grid", "the style sheet is not there"
    assert chromium.run("document.querySelector('header img').naturalWidth") > 0, "the picture is not there"
    wait_for(lambda: int(chromium.run("document.getElementById('count').textContent")) >= 2, 20, "two events")

    chromium.run("document.getElementById('name').value = 'Größe <b>'")
    chromium.submit("#form")
    assert chromium.run("document.querySelector('#form .result').textContent") == "Hello, Größe <b>."

    content = os.urandom(1 << 20)
    with open(workdir + "/picture.bin", "wb") as f:
        f.write(content)
    chromium.choose_file("#file", workdir + "/picture.bin")
    chromium.submit("#upload")
    result = chromium.run("document.querySelector('#upload .result').textContent")
    assert "picture.bin" in result and hashlib.sha256(content).hexdigest() in result
    wait_for(lambda: int(chromium.run("document.getElementById('count').textContent")) >= 1, 20, "an event on the new page")
    if os.environ.get("SCREENSHOT"):
        chromium.screenshot(os.environ["SCREENSHOT"])
