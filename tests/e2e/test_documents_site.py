"""The site of the documents in a browser: no page is wider than a phone or asks for anything elsewhere, menu and search work."""
import os
import shutil
import subprocess

import chromium
import documents
import pytest
from tokiophp import ROOT, is_stand_in
from workdirs import make_workdir, remove_workdir

pytestmark = [
    pytest.mark.skipif(is_stand_in(), reason="tokiophp's documents"),
    pytest.mark.skipif(not chromium.PROGRAM, reason="there is no Chromium"),
    pytest.mark.skipif(not shutil.which("mkdocs"), reason="mkdocs is not installed"),
]


@pytest.fixture(scope="module")
def built():
    folder = make_workdir()
    place = folder + "/site"
    subprocess.run(["mkdocs", "build", "--quiet", "--config-file", f"{ROOT}/mkdocs.yml", "--site-dir", place], check=True,
                   env=dict(os.environ, PYTHONDONTWRITEBYTECODE="1"))
    yield place
    remove_workdir(folder)


@pytest.fixture
def browser(workdir):
    browser = chromium.Chromium(workdir + "/profile")
    yield browser
    browser.stop()


def narrow(browser, width):
    browser.ask("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600)


def test_on_a_phone(built, browser):
    narrow(browser, 390)
    for page in sorted(name for name in os.listdir(built) if name.endswith(".html")):
        browser.open(f"file://{built}/{page}")
        assert browser.run("document.documentElement.scrollWidth") == 390, page
        assert browser.run("performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith('file:') && !n.startsWith('data:')).join()") == "", page
        assert browser.run("document.querySelectorAll('h1').length") == 1, page
    browser.open(f"file://{built}/settings.html")
    shown = "getComputedStyle(document.getElementById('nav')).display"
    assert browser.run(shown) == "none"
    browser.run("document.getElementById('menu').click()")
    assert browser.run(shown) == "block" and browser.run("document.getElementById('menu').getAttribute('aria-expanded')") == "true"


def test_search(built, browser):
    narrow(browser, 1200)
    browser.open(f"file://{built}/benchmarks/limits.html")

    def found(words):
        browser.run(f"query.value = '{words}'; query.dispatchEvent(new Event('input'))")
        return browser.run("[...document.querySelectorAll('#found a')].map(a => a.href).join(' ')").split()
    assert any(link.endswith("/settings.html#pools") for link in found("http.queue_timeout"))
    assert any(link.endswith("/troubleshooting.html#503") for link in found("crash loop"))
    assert found("no such words anywhere") == []
    for words in ("certificate", "worker script", "opcache"):
        for link in found(words):
            path, _, anchor = link[len("file://"):].partition("#")
            with open(path, encoding="utf-8") as f:
                assert not anchor or f'id="{anchor}"' in f.read(), link


def test_dark_is_dark(built, browser):
    colours = {}
    for scheme in ("light", "dark"):
        browser.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        browser.open(f"file://{built}/index.html")
        colours[scheme] = browser.run("getComputedStyle(document.body).backgroundColor")
    assert colours == {"light": "rgb(255, 255, 255)", "dark": "rgb(15, 17, 26)"}


def test_every_page_is_in_the_navigation(built):
    with open(built + "/index.html", encoding="utf-8") as f:
        text = f.read()
    missing = [page for page in documents.pages() if page.startswith("docs/") and page.count("/") == 1
               and f'href="{page[5:-3]}.html"' not in text.replace('href="./', 'href="')]
    assert missing == []
