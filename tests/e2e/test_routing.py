"""Which path leads where, in each mode of http.index; and that no path leads out of the document root."""
import os

import pytest

from files import put
from web import Site

SHOW = """<?php echo basename(__FILE__), ' ', $_SERVER['SCRIPT_NAME'], ' ', $_SERVER['PATH_INFO'] ?? '-', ' ',
    $_SERVER['PHP_SELF'], ' ', $_SERVER['QUERY_STRING'];"""


@pytest.fixture
def root(workdir):
    folder = os.path.join(workdir, "site")
    for name in ("index.php", "about.php", "admin/index.php", "inner/x.php", "upper.PHP", "old.php~", "old.php.bak",
                 "old.phtml"):
        put(folder, name, SHOW)
    for name in ("app.html", "style.css", ".env", ".git/config", ".well-known/token", "docs/index.html"):
        put(folder, name, "static " + name)
    put(workdir, "secret.txt", "secret")
    os.symlink("../secret.txt", os.path.join(folder, "out.txt"))
    os.symlink("style.css", os.path.join(folder, "inside.css"))
    os.symlink("/etc", os.path.join(folder, "etc"))
    return folder


def check(site, rows):
    for target, expected in rows:
        answer = site.ask(target)
        got = answer.status
        if isinstance(expected, str):
            got = answer.text
        elif isinstance(expected, tuple):
            got = (answer.status, answer.get("Location"))
        assert got == expected, f"{target}: {answer.status} {answer.text[:200]!r}"


def test_traditional(tokiophp, root):
    check(Site(tokiophp, root), [
        ("/", "index.php /index.php - /index.php "),
        ("/?a=1", "index.php /index.php - /index.php a=1"),
        ("/about.php", "about.php /about.php - /about.php "),
        ("/about.php/a/b?q", "about.php /about.php /a/b /about.php/a/b q"),
        ("/about", 404),
        ("/admin", (301, "/admin/")),
        ("/admin?x=1", (301, "/admin/?x=1")),
        ("//admin", (301, "/admin/")),
        ("/admin/", "index.php /admin/index.php - /admin/index.php "),
        ("/docs/", "static docs/index.html"),
        ("/style.css", "static style.css"),
        ("/inside.css", "static style.css"),
        ("/style.css/x.php", 404),
        ("/inner/", 403),
        ("/none.php", 404),
    ])


def test_front_controller(tokiophp, root):
    index = "index.php /index.php - /index.php "
    check(Site(tokiophp, root, "http.index = index.php\n"), [
        ("/", index), ("/any/where", index), ("/about.php", index), ("/admin/", index), ("/old.php~", index),
        ("/index.php/a", "index.php /index.php /a /index.php/a "),
        ("/style.css", "static style.css"),
        ("/.env", 403),
    ])


def test_single_page_application(tokiophp, root):
    check(Site(tokiophp, root, "http.index = app.html\n"), [
        ("/", "static app.html"), ("/any/where", "static app.html"), ("/style.css", "static style.css"),
        ("/about.php", "about.php /about.php - /about.php "),
        ("/old.php~", 403),
    ])


def test_clean_urls(tokiophp, root):
    check(Site(tokiophp, root, "http.clean_urls = yes\n"), [
        ("/about", "about.php /about.php - /about.php "),
        ("/admin", "index.php /admin/index.php - /admin/index.php "),
        ("/none", 404),
    ])


def test_nothing_leads_out(tokiophp, root):
    site = Site(tokiophp, root, php=False)
    for target in ("/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/..%5csecret.txt", "/docs/../../secret.txt",
                   "/%c0%ae%c0%ae/secret.txt", "/..\\secret.txt", "/%00", "/index.php%00.txt", "/%zz", "/docs%2findex.html"):
        assert site.ask(target).status == 400, target
    for target in ("/out.txt", "/etc/passwd", "/.env", "/.git/config", "/%2eenv", "/....//secret.txt"):
        assert site.ask(target).status == 403, target
    assert site.ask("/.well-known/token").text == "static .well-known/token"


def test_sources_never_leave(tokiophp, root):
    site = Site(tokiophp, root, php=False)
    for target in ("/upper.PHP", "/old.php~", "/old.php.bak", "/old.phtml"):
        answer = site.ask(target)
        assert answer.status == 403 and b"<?php" not in answer.body, target


def test_symlinks_followed_if_asked(tokiophp, root):
    site = Site(tokiophp, root, "http.follow_symlinks = yes\n", php=False)
    assert site.ask("/out.txt").text == "secret"
