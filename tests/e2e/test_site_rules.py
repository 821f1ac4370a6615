"""What a site's settings answer by themselves: redirects, refusals, fields and lifetimes by path."""
import re
import subprocess

import pytest
from tokiophp import PROGRAM
from web_cases import VARIABLES, Case, Site, dry_run, fixture, parametrize

FILES = {
    "vars.php": VARIABLES, "index.php": "<?php echo 'index';", "secret/page.php": "<?php echo 'secret';", "secret/file.txt": "secret",
    "gone/file.txt": "gone", "build/app.js": "1;", "build/never.js": "2;", "style.css": "a{}",
    "says.php": "<?php header('X-Robots-Tag: all'); header('Cache-Control: private'); echo 'says';",
    "old/there.txt": "still there", ".well-known/acme-challenge/token": "token",
}
RULES = """http.deny[/secret/*] = yes
http.deny[/hidden*] = 404
http.deny[/gone/*] = 410
http.redirect[/old/*] = /new/*
http.redirect[/moved] = "301 https://other.example/here?x=1"
http.redirect[*.asp] = 308 /*.php
http.add_header[X-Robots-Tag] = noindex
http.add_header[Cross-Origin-Opener-Policy] = same-origin
http.cache[/build/never*] = no-cache
http.cache[/build/*] = 1y
http.static_cache_ttl = 1h
"""
SECURE = "http.redirect_https = yes\nhttp.trusted_proxies = 127.0.0.0/8\n"
SITES = {"rules": Site(FILES, pool=RULES), "secure": Site(FILES, pool=SECURE, listener="")}
# as many as may be added, beside those of http.security_headers: every answer has room for them
SITES["full"] = Site(FILES, pool="http.security_headers = yes\n" + "".join(f"http.add_header[X-{i}] = {i}\n" for i in range(10)))
stages = fixture(SITES)
OWN, PLAIN = ("own",), ("h1", "h2c")


def denied(name, target, status=403):
    return Case(name, target, site="rules", status=status, has={"X-Robots-Tag": "noindex"})


def sent(name, target, status, location, **how):
    return Case(name, target, site="rules", status=status, has={"Location": location}, **how)


def kept(name, target, cache):
    return Case(name, target, site="rules", places=OWN, status=200, has={"Cache-Control": cache, "X-Robots-Tag": "noindex"})


CASES = [
    denied("a refused file", "/secret/file.txt"), denied("a refused script", "/secret/page.php"), denied("nothing there either", "/secret/nothing"),
    denied("slashes", "//secret//file.txt"), denied("encoded", "/%73ecret/page.php"), denied("a dot", "/./secret/./page.php"),
    denied("a way around", "/build/../secret/page.php"), denied("behind a script", "/secret/page.php/more"),
    denied("an encoded slash", "/secret%2Fpage.php"), denied("not found", "/hidden/x", 404), denied("gone", "/gone/file.txt", 410),
    Case("what only begins so", "/secretly", site="rules", places=OWN, status=404),
    sent("moved", "/old/a/b.html", 302, "/new/a/b.html"), sent("before a file", "/old/there.txt", 302, "/new/there.txt"),
    sent("with its query", "/old/a?b=c&d", 302, "/new/a?b=c&d"), sent("nothing behind it", "/old/", 302, "/new/"),
    sent("no line break", "/old/a%0d%0aX-Evil:%201", 302, "/new/a%0D%0AX-Evil:%201"), sent("no other host", "/old//evil.example", 302, "/new/evil.example"),
    sent("another host", "/moved", 301, "https://other.example/here?x=1"), sent("its own query stays", "/moved?y=2", 301, "https://other.example/here?x=1"),
    sent("a star in front", "/shop/item.asp", 308, "/shop/item.php"), sent("a form", "/old/form", 302, "/new/form", method="POST", content=b"a=b"),
    Case("fields of a script", "/vars.php", site="rules", status=200, has={"X-Robots-Tag": "noindex", "Cross-Origin-Opener-Policy": "same-origin"}),
    Case("all that may be added", "/build/app.js", site="full", places=OWN, status=200, has={f"X-{i}": str(i) for i in range(10)}),
    Case("and to a redirect", "/build", site="full", places=OWN, has={f"X-{i}": str(i) for i in range(10)}),
    Case("the script's own", "/says.php", site="rules", status=200, has={"X-Robots-Tag": ["all"], "Cache-Control": ["private"]}),
    Case("fields of an error", "/nothing.txt", site="rules", places=OWN, status=404, has={"X-Robots-Tag": "noindex"}),
    kept("for a year", "/build/app.js", "public, max-age=31536000"), kept("the first rule counts", "/build/never.js", "no-cache"),
    kept("the site's", "/style.css", "public, max-age=3600"),
    Case("secured", "/vars.php?a=b", site="secure", ways=PLAIN, status=308, has={"Location": "https://test.example/vars.php?a=b"}),
    Case("secured with its port left out", "/%41//b", host="test.example:8080", site="secure", ways=PLAIN, status=308, has={"Location": "https://test.example/%41//b"}),
    Case("secured already", "/vars.php", site="secure", ways=("h2",), status=200, server={"HTTPS": "on"}),
    Case("secured by the proxy", "/vars.php", site="secure", fields=[("X-Forwarded-Proto", "https")], ways=PLAIN, status=200),
    Case("a certificate's proof", "/.well-known/acme-challenge/token", site="secure", places=OWN, status=200, body="token"),
]


@parametrize(CASES)
def test_rules(stages, case, way, place):
    stages.check(case, way, place)


@pytest.mark.parametrize("line, why", [
    ("http.redirect[/a] = 200 /b", "none of 301"), ("http.redirect[/a] = b", "expected a path or a URL"), ("http.redirect[/a] = 301", "expected a path or a URL"),
    ("http.redirect[/a] = /b/*", "each has one"), ("http.redirect[/*/*] = /b/*", "each has one"), ("http.redirect[a] = /b", "begins with /"),
    ("http.redirect[/a*] = https://b*", "part of the host"), ("http.redirect[/a] = /b c", "characters that no URL has"), ("http.deny[/a] = 200", "expected yes, 403"), ("http.deny[a] = yes", "begins with /"),
    ("http.cache[/a] = soon", "http.cache[/a] = soon: "), ("http.add_header[Bad Name] = x", "no field of a response"),
    ("http.add_header[Content-Length] = 3", "belongs to the server"),
    ("\n".join(f"http.add_header[X-{i}] = {i}" for i in range(11)), "too many"),
])
def test_refused(workdir, line, why):
    done = dry_run(workdir, line)
    assert done.returncode == 78 and why in done.stdout + done.stderr, done.stdout + done.stderr


@pytest.mark.parametrize("line", ["http.redirect[/a*] = \"/b*?from=http://here\"", "http.redirect[/a*] = https://b/*"])
def test_taken(workdir, line):
    done = dry_run(workdir, line)
    assert done.returncode == 0, done.stdout + done.stderr


def test_documented():
    text = subprocess.run([PROGRAM, "--print-settings=markdown"], capture_output=True, text=True, check=True).stdout
    for row in ("deny", "redirect", "add_header", "cache"):
        assert re.search(rf"^\| `http\.{row}\[NAME\]` ", text, re.M)
