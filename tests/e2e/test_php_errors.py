"""PHP's errors are seen: one record each in the server's log, a page with the request's id, and under `serve` the error itself."""
import json
import re

import pytest

import process
from files import put
from test_serve import serve  # noqa: F401 (a fixture)
from tokiophp import is_stand_in
from web import Site

pytestmark = pytest.mark.skipif(is_stand_in(), reason="as php-fpm, messages are php-fpm's")

SITE = {
    "thrown.php": "<?php\nfunction deep($n) { if ($n) return deep($n - 1);\n    throw new RuntimeException(\"one\\ntwo\"); }\ndeep(3);\n",
    "parse.php": "<?php\necho 1;\nif (;\n", "warn.php": "<?php\necho 'seen', $nothing;\n", "says.php": "<?php\n\nerror_log('from error_log');\necho 'said';\n",
    "late.php": "<?php echo 'before'; nothing();",
    "own.php": "<?php register_shutdown_function(function () { echo 'my own page'; }); nothing();\n",
    "empty500.php": "<?php http_response_code(500);", "body500.php": "<?php http_response_code(500); echo 'mine';",
}
LOUD = "php_admin_value[display_errors] = 0\nphp_admin_value[log_errors] = 1\nphp_admin_value[error_reporting] = 32767\n"


@pytest.fixture
def root(workdir):
    for name, text in SITE.items():
        put(workdir + "/site", name, text)
    return workdir + "/site"


def quiet(tokiophp, root, settings="", lines=""):
    return Site(tokiophp, root, "catch_workers_output = no\n" + LOUD + lines, settings=settings)


def records(site, pattern):
    return process.wait_for(lambda: [line for line in site.server.messages().splitlines() if re.search(pattern, line)], 15, pattern)


@pytest.mark.parametrize("script, level, text, line", [
    ("thrown.php", "error", r"PHP Fatal error:  Uncaught RuntimeException: one\ntwo in .*thrown\.php:3\nStack trace:\n#0 .*deep\(0?\)\n", 3),
    ("parse.php", "error", r"PHP Parse error:  syntax error, unexpected token \";\"", 3),
    ("warn.php", "warn", r"PHP Warning:  Undefined variable \$nothing in .*warn\.php on line 2$", 2),
    ("says.php", "info", "^from error_log$", 3),
])
def test_one_record_each(tokiophp, root, script, level, text, line):
    site = quiet(tokiophp, root, "log_format = json\n")
    answer = site.ask("/" + script)
    found = [json.loads(row) for row in records(site, '"type":"php"')]
    assert len(found) == 1, found
    record, said = found[0], found[0]["ctx"]
    assert record["level"] == level and re.search(text, record["msg"]), record
    assert said["pool"] == "www" and said["script"] == f"{root}/{script}" and said["file"] == f"{root}/{script}" and said["line"] == line
    assert said["request_id"] == answer.get("X-Request-ID")


def test_as_text(tokiophp, root):
    site = quiet(tokiophp, root)
    answer = site.ask("/thrown.php")
    line, = records(site, "Uncaught RuntimeException")
    assert re.search(rf"^\[[^]]+\] ERROR: \[pool www\] PHP Fatal error:  Uncaught RuntimeException: one\|two in .*"
                     rf", request {answer.get('X-Request-ID')}, script {root}/thrown\.php$", line), line


def test_workers_output_is_another_matter(tokiophp, root):
    site = Site(tokiophp, root, LOUD)
    site.ask("/warn.php")
    assert "said into" not in records(site, "Undefined variable")[0]


@pytest.mark.parametrize("kind, shape", [("text/html", r"<h1>500</h1>[\s\S]*Request {}<"), ("text/plain", "^500 Internal Server Error\nRequest {}\n$"),
                                         ("application/json", "^$")])
def test_the_page_of_an_error(tokiophp, root, kind, shape):
    site = quiet(tokiophp, root, lines=f"php_admin_value[default_mimetype] = {kind}\n")
    for path in ("/thrown.php", "/empty500.php"):
        answer = site.ask(path)
        assert answer.status == 500 and answer.get("Content-Type").startswith(kind), (answer.status, answer.fields)
        assert re.search(shape.format(answer.get("X-Request-ID")), answer.text), answer.text
    answer = site.ask("/body500.php")
    assert answer.status == 500 and answer.text == "mine"


def test_no_id_where_none_is_to_be_shown(tokiophp, root):
    site = Site(tokiophp, root, LOUD + "http.request_id_headers = no\n")
    answer = site.ask("/thrown.php")
    assert answer.get("X-Request-ID") is None and "<h1>500</h1>" in answer.text and "Request" not in answer.text


# -- serve --

HTML = {"Accept": "text/html,*/*"}


@pytest.mark.parametrize("script, parts", [
    ("thrown.php", ["Uncaught exception", "RuntimeException: one", "thrown.php:3", "<mark>    3      throw new RuntimeException", "#0 ", "deep("]),
    ("parse.php", ["Parse error", "unexpected token &quot;;&quot;", "<mark>    3  if (;</mark>"]),
])
def test_a_page_for_whoever_works_on_it(workdir, serve, root, script, parts):  # noqa: F811
    served = serve(root, "--index", "")
    reply = served.get("/" + script, **HTML)
    page = reply.body.decode()
    assert reply.status == 500 and reply.get("Content-Type") == "text/html; charset=utf-8" and page.startswith("<!doctype html>")
    assert all(part in page for part in parts), page
    assert page.count("Uncaught RuntimeException") <= 1 and "<b>Fatal error</b>" not in page
    plain = served.get("/" + script).body.decode()
    assert not plain.startswith("<!doctype") and re.search("(Fatal|Parse) error", plain), plain
    assert served.get("/warn.php", **HTML).body.decode().count("Undefined variable") == 1, "errors are shown again afterwards"


def test_behind_what_has_left_already(workdir, serve, root):  # noqa: F811
    served = serve(root, "--index", "")
    reply = served.get("/late.php", **HTML)
    page = reply.body.decode()
    assert page.startswith("before<!doctype html>") and "undefined function nothing()" in page


def test_an_application_shows_its_own(workdir, serve, root):  # noqa: F811
    served = serve(root, "--index", "")
    reply = served.get("/own.php", **HTML)
    assert (reply.status, reply.body) == (500, b"my own page")


def test_errors_can_be_hidden(workdir, serve, root):  # noqa: F811
    served = serve(root, "--index", "", "-d", "display_errors=0")
    reply = served.get("/thrown.php", **HTML)
    assert reply.status == 500 and b"RuntimeException" not in reply.body and b"<h1>500</h1>" in reply.body
