"""`tokiophp serve --worker`: whoever works on a worker script sees its errors in the browser, whether it boots or not."""
import os
import re

import pytest

import process
from files import put
from test_serve import serve  # noqa: F401 (a fixture)
from tokiophp import is_stand_in

pytestmark = pytest.mark.skipif(is_stand_in(), reason="tokiophp's own words")

HTML = {"Accept": "text/html,*/*"}
GOOD = "<?php\n$served = 0;\nwhile (frankenphp_handle_request(function () use (&$served) {\n    require __DIR__ . '/page.php';\n}));\n"
PAGES = {
    "throws": ("throw new RuntimeException(\"one\\ntwo\");", ["Uncaught exception", "RuntimeException: one", "<mark>    2  throw new"]),
    "does not parse": ("if (;", ["Parse error", "unexpected token &quot;;&quot;", "<mark>    2  if (;</mark>"]),
    "dies": ("nothing();", ["Uncaught exception", "undefined function nothing()"]),
    "runs out of memory": ("ini_set('memory_limit', '4M'); $a = str_repeat('x', 8000000);", ["Fatal error", "Allowed memory size"]),
    "throws at its end": ("register_shutdown_function(function () { throw new LogicException('late'); });", ["Uncaught exception", "LogicException: late"]),
}


@pytest.fixture
def project(workdir):
    folder = os.path.join(workdir, "project")
    put(folder, "public/index.php", GOOD)
    put(folder, "public/page.php", "<?php\n$served++; echo \"page $served\";\n")
    return folder


def start(serve, project, *more):  # noqa: F811
    return serve(project, "--worker", f"{project}/public/index.php,2", *more)


def rewrite(path, text):
    """A file that an editor saves: never half of it."""
    with open(path + ".new", "w") as f:
        f.write(text)
    os.rename(path + ".new", path)


@pytest.mark.parametrize("what", PAGES)
def test_an_error_in_a_request(serve, project, what):  # noqa: F811
    code, parts = PAGES[what]
    served = start(serve, project)
    assert served.text("/a").startswith("page ")
    rewrite(f"{project}/public/page.php", f"<?php\n{code}\n")
    for _ in range(3):
        reply = served.get("/a", **HTML)
        page = reply.body.decode()
        assert reply.status == 500 and reply.get("Content-Type") == "text/html; charset=utf-8" and page.startswith("<!doctype html>"), page
        assert all(part in page for part in parts), page
        assert "<b>Fatal error</b>" not in page
    plain = served.get("/a").body.decode()
    assert not plain.startswith("<!doctype") and re.search("(Fatal|Parse) error", plain), plain
    rewrite(f"{project}/public/page.php", "<?php echo 'seen', $nothing;")
    warned = served.get("/a", **HTML)
    assert warned.status == 200 and warned.body.decode().count("Undefined variable") == 1, "errors are shown again afterwards"


BOOTS = {
    "throws": ("<?php\n\nthrow new RuntimeException('no database');\n", ["Uncaught exception", "RuntimeException: no database", "<mark>    3  throw new"]),
    "does not parse": ("<?php\necho 1;\nif (;\n", ["Parse error", "unexpected token &quot;;&quot;", "<mark>    3  if (;</mark>"]),
    "includes one that does not": ("<?php\nrequire __DIR__ . '/broken.php';\n", ["Parse error", "broken.php:2", "<mark>    2  if (;</mark>"]),
    "ends": ("<?php\necho 'no <database>';\n", ["The worker script did not boot", "ended without a call of tokio_handle_request()", "no &lt;database&gt;"]),
}


@pytest.mark.parametrize("what", BOOTS)
def test_a_script_that_does_not_boot(serve, project, what):  # noqa: F811
    """It is shown at once, and the request after the repair has the page."""
    text, parts = BOOTS[what]
    put(project, "public/broken.php", "<?php\nif (;\n")
    put(project, "public/index.php", text)
    served = start(serve, project)
    for _ in range(2):
        reply = served.get("/a", **HTML)
        page = reply.body.decode()
        assert reply.status == 500 and all(part in page for part in parts), page
    plain = served.get("/a")
    assert plain.status == 500 and plain.get("Content-Type").startswith("text/plain") and "<" not in plain.body.decode().replace("<database>", "")
    rewrite(f"{project}/public/index.php", GOOD)
    assert served.get("/a", **HTML).body.decode().startswith("page 1"), "the first request after the repair"
    assert "boots it again" in served.server.log()


def test_its_own_page(serve, project):  # noqa: F811
    """Frameworks catch what happens while they boot, and print a page of theirs."""
    put(project, "public/index.php", "<?php set_exception_handler(function ($e) { echo '<!DOCTYPE html><html><h1>Oops: ', $e->getMessage(), '</h1></html>'; }); throw new Exception('mine');")
    served = start(serve, project)
    assert served.get("/", **HTML).body == b"<!DOCTYPE html><html><h1>Oops: mine</h1></html>"


def test_one_that_stops_booting(serve, project):  # noqa: F811
    served = start(serve, project)
    assert served.text("/").startswith("page ")
    rewrite(f"{project}/public/index.php", "<?php throw new Exception('broken now');")
    rewrite(f"{project}/public/page.php", "<?php exit('last words');")
    assert served.text("/") == "last words", "its script ends"
    process.wait_for(lambda: "broken now" in served.get("/", **HTML).body.decode(), 30, "the page")
    rewrite(f"{project}/public/index.php", GOOD)
    rewrite(f"{project}/public/page.php", "<?php echo 'whole';")
    process.wait_for(lambda: served.text("/") == "whole", 30, "the script")


def test_while_files_are_watched(serve, project):  # noqa: F811
    """Saved with an error, the browser loads the error; saved without, it loads the page."""
    served = start(serve, project, "--watch")
    assert served.get("/", **HTML).status == 200
    first = served.text("/.tokiophp/reload")
    rewrite(f"{project}/public/index.php", "<?php\nif (;\n")
    process.wait_for(lambda: served.text("/.tokiophp/reload") != first, 60, "the new process")
    reply = served.get("/", **HTML)
    page = reply.body.decode()
    assert reply.status == 500 and "Parse error" in page and '<script src="/.tokiophp/reload.js"' in page, page
    second = served.text("/.tokiophp/reload")
    rewrite(f"{project}/public/index.php", GOOD)
    process.wait_for(lambda: served.text("/.tokiophp/reload") != second, 60, "the next process")
    assert served.text("/").startswith("page ")


def test_errors_can_be_hidden(serve, project):  # noqa: F811
    served = start(serve, project, "-d", "display_errors=0")
    rewrite(f"{project}/public/page.php", "<?php throw new Exception('secret');")
    reply = served.get("/", **HTML)
    assert reply.status == 500 and b"secret" not in reply.body and b"<h1>500</h1>" in reply.body


def test_an_application_shows_its_own(serve, project):  # noqa: F811
    served = start(serve, project)
    rewrite(f"{project}/public/page.php", "<?php register_shutdown_function(function () { echo 'my own page'; }); nothing();")
    reply = served.get("/", **HTML)
    assert reply.status == 500 and b"my own page" in reply.body, reply.body


def test_files_that_change_count_at_once(serve, project):  # noqa: F811
    """As with php -S: OPcache looks at each request."""
    put(project, "public/count.php", "<?php echo 1;")
    os.utime(f"{project}/public/count.php", (1, 1))
    served = serve(project)
    assert served.text("/count.php") == "1"
    for number in range(2, 6):
        put(project, "public/count.php", f"<?php echo {number};")
        os.utime(f"{project}/public/count.php", (number, number))
        assert served.text("/count.php") == str(number)
