"""Applications from the distribution's packages with the configurations that the documents have for them, line by line."""
import os

import laravel_app
import mediawiki
import packages
import pytest
import symfony
import wordpress
from browser import Browser
from mariadb import MariaDB
from page_site import PageSite
from sandbox import Sandbox
from tokiophp import is_stand_in

pytestmark = pytest.mark.skipif(is_stand_in(), reason="tokiophp's documents")


@pytest.fixture
def sandbox(workdir):
    os.makedirs(workdir + "/srv")
    return Sandbox(workdir)


def had(unpack, *how):
    try:
        return unpack(*how)
    except packages.Missing as why:
        return pytest.skip(str(why))


def number_of(worker):
    return 1 if worker else 0


@pytest.mark.parametrize("worker", [False, True], ids=["classic", "worker"])
def test_laravel(sandbox, tokiophp, worker):
    os.rename(had(laravel_app.unpack, sandbox.dir), sandbox.dir + "/srv/shop")
    with open(sandbox.dir + "/srv/shop/public/index.php") as f:
        files = {"public/frankenphp-worker.php": f.read()} if worker else {}
    site = PageSite(sandbox, tokiophp, "docs/laravel.md", "/srv/shop", files, number=number_of(worker))
    for _ in range(3):
        assert site.ask("/hello/World")[2] == "Hello World by GET"
        assert "FRUIT 19" in site.ask("/fruit")[2]


@pytest.mark.parametrize("worker", [False, True], ids=["classic", "worker"])
def test_symfony(sandbox, tokiophp, worker):
    symfony.make(sandbox.dir + "/srv/shop", had(packages.application, "php-symfony-runtime", sandbox.dir + "/symfony"))
    lines = "env[APP_ENV] = prod\nenv[APP_DEBUG] = 0\n" if worker else "env[APP_DEBUG] = 0\n"
    site = PageSite(sandbox, tokiophp, "docs/symfony.md", "/srv/shop", number=2 if worker else 0, more=lines)
    for _ in range(3):
        assert site.ask("/hello/World")[2] == "Hello World by GET"
        assert "FRUIT 19" in site.ask("/fruit")[2]


@pytest.mark.seconds(240)
def test_mediawiki(sandbox, tokiophp):
    settings = "$wgScriptPath = ''; $wgArticlePath = '/wiki/$1'; $wgUsePathInfo = true; $wgJobRunRate = 0;\n"
    had(mediawiki.unpack, sandbox.dir + "/srv/mediawiki", sandbox.dir, f"http://127.0.0.1:{sandbox.ports['http']}", settings)
    site = PageSite(sandbox, tokiophp, "docs/mediawiki.md", "/srv/mediawiki", more=f"php_admin_value[sys_temp_dir] = {sandbox.dir}/tmp\n")
    browser = Browser(site.base)
    page = browser.page("/wiki/Main_Page")
    assert "Test wiki" in page and "/wiki/Special:" in page
    assert browser.page("/load.php?modules=startup&only=scripts") and "Test wiki" in browser.page("/api.php?action=query&meta=siteinfo&format=json")
    assert browser.open("/LocalSettings.php")[0] == 404 and browser.open("/maintenance/run.php")[0] == 403


@pytest.mark.seconds(240)
def test_wordpress(sandbox, tokiophp, workdir):
    database = MariaDB(workdir)
    try:
        had(wordpress.unpack, sandbox.dir + "/srv/wordpress", database)
        site = PageSite(sandbox, tokiophp, "docs/wordpress.md", "/srv/wordpress")
        browser = Browser(site.base)
        wordpress.install(browser)
        wordpress.log_in(browser)
        assert "A test site" in Browser(site.base).page("/") and "Hello" in Browser(site.base).page("/?p=1")
        assert browser.open("/wp-config.php")[0] == 404 and browser.open("/xmlrpc.php")[0] == 403
    finally:
        database.stop()
