"""What a site sees of requests, and its clients of answers: one table of cases (tests/support/web_cases.py), each with
the right answer, over every protocol, in the pool's own process and through another pool."""
import gzip
import json
import os
import re
from base64 import b64encode
from urllib.parse import quote, unquote

from web_cases import ABSENT, VARIABLES, Case, Site, fixture, parametrize

PACKED = gzip.compress(b"<svg/>")
TEXT = "header('Content-Type: text/plain');"
# What an application behind a script sees of the path.
WHERE = f"<?php {TEXT} echo $_SERVER['REQUEST_METHOD'], ' ', $_SERVER['PATH_INFO'] ?? '-', ' ', $_SERVER['REQUEST_URI'];"
SECRETS = {".env": "SECRET", "sub/.git/config": "SECRET", "file.txt": "a file\n", "style.css": "a {}\n"}


# A resource with a tag, as a CalDAV server or a REST interface has it.
TAGS = {
    "tag.php": f"<?php {TEXT} header('ETag: \"209a\"'); $is = fn($f) => in_array('\"209a\"', array_map('trim', explode(',', $_SERVER[$f] ?? '')));"
               " if (isset($_SERVER['HTTP_IF_MATCH']) && !$is('HTTP_IF_MATCH')) { http_response_code(412); exit('other'); }"
               " if ($is('HTTP_IF_NONE_MATCH')) { http_response_code(304); exit; }"
               " if ($_SERVER['REQUEST_METHOD'] == 'PUT') { header('ETag: \"209b\"'); http_response_code(204); exit; }"
               " echo str_repeat('t', (int)($_GET['n'] ?? 5000));",
    "weak.php": f"<?php {TEXT} header('ETag: W/\"209a\"'); echo str_repeat('t', 5000);",
    "seen.php": VARIABLES,
}


def make_files(folder):
    os.makedirs(folder + "/files/dir", mode=0o755)
    for name in ("plain.txt", "a b.txt", "100%.txt", "x+y.txt", "dir/q?.txt", "caf\u00e9.txt"):
        with open(f"{folder}/files/{name}", "w") as f:
            f.write(f"this is {name}")


SITES = {
    "plain": Site({
        **SECRETS, "index.php": WHERE, "app.php": WHERE, "dir/api.php": WHERE, "vars.php": VARIABLES,
        "status.php": "<?php header('Status: ' . $_GET['s']); echo 'said';",
        "code.php": "<?php header($_GET['l']); header('Status: 404 Not Found'); echo 'said';",
        "long.php": "<?php header('Content-Length: 5'); echo \"hello\\n<footer>\";",
        "long-flush.php": "<?php header('Content-Length: 5'); echo 'he'; flush(); echo \"llo\\n<footer>\";",
        "exact.php": "<?php header('Content-Length: 5'); echo 'hello';",
        "short.php": "<?php header('Content-Length: 500'); echo str_repeat('s', 200);",
        "short-text.php": f"<?php {TEXT} header('Content-Length: 5000'); echo str_repeat('s', 2000);",
        "short-flush.php": "<?php header('Content-Length: 500'); echo str_repeat('s', 200); flush(); echo 's';",
        "events.php": "<?php header('Content-Type: text/event-stream'); header('X-Accel-Buffering: no'); echo \"data: 1\\n\\n\";",
        "reset.php": "<?php http_response_code(205); echo 'content';",
        "many.php": "<?php for ($i = 0; $i < $_GET['n']; $i++) header(\"X-F$i: $i\"); echo 'many';",
        "large.php": "<?php header('X-Large: ' . str_repeat('l', (int)$_GET['n'])); echo 'large';",
        "field.php": "<?php header(base64_decode($_GET['f'])); echo 'with it';",
        "file.php": "<?php header($_GET['f'] . ': /etc/passwd'); echo 'instead';",
        "picture.svgz": PACKED, "cookies.php": f"<?php {TEXT} echo count($_COOKIE), ' ', $_SERVER['HTTP_COOKIE'];",
        "read.php": f"<?php {TEXT} echo strlen(file_get_contents('php://input'));",
    }),
    "tags": Site(TAGS), "no tags": Site(TAGS, pool="http.compression = no\n"),
    "sent": Site({"sent.php": "<?php header('Set-Cookie: a=1'); header('Set-Cookie: b=2', false); header('Link: <x>'); header('Link: <y>', false);"
                  " $root = $_GET['h'] == 'X-Sendfile' && $_GET['f'][0] == '/' ? dirname($_SERVER['DOCUMENT_ROOT']) . '/files' : '';"
                  " header(\"$_GET[h]: $root$_GET[f]\"); echo 'instead';"},
                 pool="http.sendfile_root = {folder}/files\nhttp.trusted_proxies = 127.0.0.0/8 10.0.0.0/8\n", prepare=make_files),
    "proxied": Site({"vars.php": VARIABLES}, pool="http.trusted_proxies = 127.0.0.0/8 10.0.0.0/8\n"),
    "front": Site({
        **SECRETS, "index.php": WHERE, "other.php": WHERE, "wiki/page.txt": "a page\n",
    }, pool="http.index = index.php\n", nginx="location / { try_files $uri /index.php$is_args$args; }"),
    "fallback": Site({**SECRETS, "index.php": WHERE, "app.php": WHERE}, pool="http.index = /index.php\n",
                     nginx="location / { try_files $uri /index.php$is_args$args; }"),
}
SITES["logged"] = SITES["plain"]
stages = fixture(SITES)
NGINX, BOTH = ("nginx",), ("nginx", "caddy")


def field(line):
    """field.php that sends this line"""
    return "/field.php?f=" + quote(b64encode(line if isinstance(line, bytes) else line.encode()).decode(), safe="")


def refused(reply):
    assert reply.status in (400, 403) and b"SECRET" not in reply.body, reply


def no_variable(reply):
    assert not re.search(r"HTTP_X[^_A-Z]|HTTP_X_Y", reply.body.decode()), reply


def own_host(reply):
    assert re.match(r"(?i)t\.example(:\d+)?$", json.loads(reply.body)["HTTP_HOST"]) or "nginx" in str(reply.fields), reply


def no_path(reply):
    assert b"passwd" not in reply.body and "passwd" not in str(reply.fields), reply


FILES = [
    Case("a file", "/file.txt", peers=NGINX, status=200, body="a file\n", has={"Content-Length": "7"}),
    Case("no file", "/missing.txt", fields=[("Accept", "text/html")], peers=NGINX, status=404,
         has={"Content-Type": re.compile("^text/html")}),
    Case("a hidden file", "/.env", status=403, has={"ETag": ABSENT}),
    Case("a hidden folder", "/sub/.git/config", status=403),
    Case("a hidden file behind dots", "/sub/../.env", status=400),
    Case("a hidden file, encoded", "/%2e%65nv", status=403),
]

# A dot becomes an underscore when PHP fills $_SERVER: X.Real.Ip is HTTP_X_REAL_IP. What is not letters, digits and "-"
# has no variable, and of two names that fall together none wins by coming last.
REAL = {"HTTP_X_REAL_IP": "9.9.9.9", "HTTP_REMOTE_USER": ABSENT}
FIELD_NAMES = [
    *(Case(f"{name} does not overwrite X-Real-Ip", "/vars.php", peers=NGINX, fields=fields, server=REAL)
      for name in ("X.Real.Ip", "X_Real_Ip", "X.Real_Ip", "X-Real.Ip", "x.real-ip")
      for fields in [[("X-Real-Ip", "9.9.9.9"), (name, "6.6.6.6"), ("Remote.User", "admin")]]),
    Case("a dotted name that comes first", "/vars.php", peers=NGINX,
         fields=[("X.Real.Ip", "6.6.6.6"), ("Remote_User", "admin"), ("X-Real-Ip", "9.9.9.9")], server=REAL),
    *(Case(f"no variable of {name}", "/vars.php", fields=[(name, "SUCCESS"), ("X-Plain", "1")], peers=NGINX,
           server={"HTTP_SSL_CLIENT_VERIFY": ABSENT, "HTTP_X_PLAIN": "1"})
      for name in ("Ssl.Client.Verify", "Ssl_Client_Verify", "Ssl-Client.Verify")),
    *(Case(f"no variable of {name}", "/vars.php", fields=[(name, "x")], check=no_variable)
      for name in ("X!Y", "X~Y", "X'Y", "X+Y", "X|Y", "X^Y")),
    Case("letters of both cases are one name", "/vars.php", fields=[("X-a", "1"), ("x-A", "2")], server={"HTTP_X_A": "1, 2"}),
]

# Behind a script names are the application's; only what is looked up as a file is judged.
BEHIND = [
    ("/.file", "/.file"), ("/dav/files/u/.obsidian/app.json", "/dav/files/u/.obsidian/app.json"),
    ("/dav/...and%20more", "/dav/...and more"), ("/Ns%5CClass/7", "/Ns\\Class/7"), ("/Ns\\Class", "/Ns\\Class"),
    ("/v1/page/A%2FB_sub", "/v1/page/A/B_sub"), ("/a/../b", "/b"), ("/a/./b", "/a/b"), ("/a//b", "/a/b"),
    ("/a%2F..%2Fb", "/b"), ("/a%2f%2fb", "/a/b"), ("/.git/config", "/.git/config"), ("/x.php/y.php", "/x.php/y.php"),
    ("/100%25", "/100%"), ("/", "/"), ("/%C3%A9", "/\u00e9"),
]


def peers_of(path, info):
    """Caddy hands paths over as they are; those that are clean it sees as nginx does."""
    return BOTH if unquote(path) == info and "\\" not in path else NGINX


PATHS = [
    *(Case(f"behind a script {path}", "/app.php" + path, peers=peers_of(path, info), status=200, body=f"GET {info} /app.php{path}")
      for path, info in BEHIND),
    *(Case(f"behind the front controller {path}", "/index.php" + path, site="front", peers=peers_of(path, info), status=200,
           body=f"GET {info} /index.php{path}") for path, info in BEHIND),
    *(Case(f"{method} behind a script", "/dir/api.php/uploads/u/42/.file", method, status=200, peers=NGINX,
           content=None if method == "MOVE" else b"x", body=f"{method} /uploads/u/42/.file /dir/api.php/uploads/u/42/.file")
      for method in ("PUT", "MOVE", "PROPFIND", "POST")),
    *(Case(f"to the front controller {path}", path, site=site, peers=NGINX, status=200, body=re.compile(f"^GET -? {re.escape(path)}$"))
      for site, path in [("front", p) for p in ("/wiki/AC%2FDC", "/Ns%5CClass", "/.NET_Framework", "/a/.hidden/b")] +
      [("fallback", p) for p in ("/wiki/%2FDC", "/Ns%5CTrait", "/.NET")]),
    *(Case(f"{site} keeps hidden {path}", path, site=site, check=refused)
      for site in ("plain", "front", "fallback") for path in ("/.env/", "/sub/.git/config?q", "/sub/../sub/.git/config", "/%2Eenv",
                                                              "/%2e%2e/site/.env", "/index.php/../.env", "/index.php/..%2f.env",
                                                              "/index.php/a/../../.env")
      if path != "/.env/" or site == "plain"),
    Case("beyond the script", "/app.php/..", status=400),
    Case("beyond the script, encoded", "/app.php/a%2f..%2f..%2ffile.txt", status=400),
    Case("a zero byte behind a script", "/app.php/a%00b", status=400, peers=NGINX),
    Case("half an escape behind a script", "/app.php/a%2", status=400, peers=NGINX),
    Case("a file is no script", "/file.txt/.x", status=403),
]

ANSWERS = [
    Case("a status field", "/status.php?s=404+Not+Found", status=404, body="said", peers=NGINX, has={"Status": ABSENT}),
    Case("a status field without a reason", "/status.php?s=418", status=418, body="said", peers=NGINX),
    Case("a status line wins", "/code.php?l=HTTP/1.1+410+Gone", status=410, body="said", peers=NGINX),
    Case("a status line of 200 does not", "/code.php?l=HTTP/1.1+200+OK", status=404, body="said", peers=NGINX),
    Case("a status field that is none", "/status.php?s=nonsense", status=500),
    Case("a length that is too small", "/long.php", status=200, body="hello", has={"Content-Length": "5"}, peers=NGINX),
    Case("a length that is too small, flushed", "/long-flush.php", status=200, body="hello", has={"Content-Length": "5"}, peers=NGINX),
    Case("a length that is right", "/exact.php", status=200, body="hello", has={"Content-Length": "5"}, peers=NGINX),
    Case("a length that is too large", "/short.php", ended="cut", peers=NGINX),
    Case("a length that is too large, flushed", "/short-flush.php", ended="cut", peers=NGINX),
    *(Case(f"a length that is too large, {coding}", "/short-text.php", fields=[("Accept-Encoding", coding)], ended="cut")
      for coding in ("gzip", "br", "zstd")),
    Case("a length that is too small, gzip", "/long.php", fields=[("Accept-Encoding", "gzip")], body="hello"),
    Case("events are not buffered in front either", "/events.php", has={"X-Accel-Buffering": "no"}, body="data: 1\n\n"),
    Case("205 has no content", "/reset.php", status=205, body=b"", has={"Content-Length": "0", "Transfer-Encoding": ABSENT}),
    Case("300 fields", "/many.php?n=300", status=200, body="many", peers=NGINX, has={"X-F0": "0", "X-F255": "255", "X-F299": "299"}),
    Case("990 fields", "/many.php?n=990", status=200, has={"X-F989": "989"}),
    Case("too many fields", "/many.php?n=1010", status=500, has={"X-F0": ABSENT}),
    Case("a head of 60 KB", "/large.php?n=60000", status=200, peers=NGINX, body="large"),
    Case("a head that is too large", "/large.php?n=66000", status=500),
    *(Case(f"a control character in a field: {c}", field(f"X-A: a{chr(c)}b"), status=500, has={"X-A": ABSENT}) for c in (1, 8, 11, 27, 127)),
    *(Case(f"no field: {line}", field(line), status=500)
      for line in ("NoColon", ": x", "X Bad: v", "X\u00e9: v", "(x): v")),
    Case("a tabulator in a field", field("X-A: a\tb"), status=200, has={"X-A": "a\tb"}, peers=NGINX),
    Case("bytes above 127 in a field", field(b"X-A: caf\xe9"), status=200, has={"X-A": "caf\xe9"}, peers=NGINX),
    *(Case(f"{name} without a root, {method}", f"/file.php?f={name}", method, status=500,
           has={name: ABSENT}, check=no_path)
      for name in ("X-Accel-Redirect", "X-Sendfile", "x-accel-redirect") for method in ("GET", "POST")),
]


# A path that a script names: a URL, as nginx takes it, for X-Accel-Redirect; a file's path, or a URL, for X-Sendfile.
SENT = [Case(f"{header} {path}, {method}", f"/sent.php?h={header}&f={quote(path)}", method, site="sent", status=200,
             content=b"x" if method in ("POST", "PUT") else None, body=b"" if method == "HEAD" else f"this is {name}",
             has={"Set-Cookie": ["a=1", "b=2"], "Link": ["<x>", "<y>"], "X-Sendfile": ABSENT, "X-Accel-Redirect": ABSENT})
        for header in ("X-Accel-Redirect", "X-Sendfile")
        for path, name, methods in [
            ("/plain.txt", "plain.txt", ("GET", "HEAD", "POST", "PUT", "DELETE")), ("plain.txt", "plain.txt", ("GET",)),
            ("/a%20b.txt", "a b.txt", ("GET", "POST")), ("/a b.txt", "a b.txt", ("GET",)), ("/100%25.txt", "100%.txt", ("GET",)),
            ("/100%.txt", "100%.txt", ("GET",)), ("/x+y.txt", "x+y.txt", ("GET",)), ("/caf%C3%A9.txt", "caf\u00e9.txt", ("GET",)),
            ("/plain.txt?q=1", "plain.txt", ("GET",)), ("/dir/q%3F.txt?v=2", "dir/q?.txt", ("GET",)), ("/dir/../plain.txt", "plain.txt", ("GET",))]
        for method in methods]
SENT += [Case(f"no file {path}", f"/sent.php?h=X-Accel-Redirect&f={quote(path)}", site="sent", status=404, check=no_path)
         for path in ("/../files.txt", "/%2e%2e/%2e%2e/etc/passwd", "/etc/passwd", "/none", "/dir", "%00")]

CRUMBS = [("cookie", f"c{i}={i}") for i in range(300)]
ALL = "; ".join(v for _, v in CRUMBS)
REQUESTS = [
    Case("300 crumbs", "/cookies.php", fields=CRUMBS, ways=("h2", "h2c"), status=200, body=f"300 {ALL}"),
    Case("crumbs beyond the limit", "/cookies.php", fields=[("cookie", f"c{i}=" + "x" * 100) for i in range(400)], ways=("h2", "h2c"), status=431),
    Case("cookies in two fields", "/cookies.php", fields=[("Cookie", "a=1"), ("Cookie", "b=2")], status=200, body="2 a=1; b=2"),
    *(Case(f"absolute form {form}", raw=f"GET {form} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", peers=NGINX, status=200,
           server={"REQUEST_URI": uri}, check=own_host)
      for form, host, uri in [
          ("http://t.example/vars.php", "other.example", "/vars.php"), ("http://t.example:80/vars.php?a", "t.example", "/vars.php?a"),
          ("HTTP://T.example/vars.php", "t.example:{port}", "/vars.php"), ("https://t.example/vars.php", "t.example", "/vars.php")]),
    Case("absolute form without a path", raw="GET http://t.example?x=1 HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n", status=200,
         body="GET - /?x=1"),
    Case("absolute form without a host", raw="GET http:///vars.php HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n", status=400, peers=NGINX),
    Case("absolute form without Host", raw="GET http://t.example/vars.php HTTP/1.1\r\nConnection: close\r\n\r\n", status=400, peers=NGINX),
    Case("packed pictures", "/picture.svgz", status=200, body=PACKED, fields=[("Accept-Encoding", "gzip, br")],
         has={"Content-Type": re.compile("^image/svg\\+xml"), "Content-Encoding": "gzip"}),
]

CODINGS = ("gzip", "br", "zstd")


def tagged(name, path="/tag.php", coding=None, method="GET", fields=(), content=None, site="tags", **want):
    return Case(name, path, method, fields=[*fields, *([("Accept-Encoding", coding)] if coding else [])], content=content, site=site, **want)


ETAGS = [
    tagged("plain", status=200, has={"ETag": '"209a"', "Content-Encoding": ABSENT, "Content-Length": "5000"}),
    tagged("HEAD, plain", method="HEAD", status=200, has={"ETag": '"209a"', "Content-Encoding": ABSENT, "Content-Length": "5000"}),
    tagged("HEAD of a small one", "/tag.php?n=100", "gzip", "HEAD", status=200,
           has={"ETag": '"209a"', "Content-Encoding": ABSENT, "Content-Length": "100"}),
    tagged("HEAD of nothing", "/tag.php?n=0", None, "HEAD", status=200, has={"Content-Length": "0"}),
    tagged("HEAD of a large one", "/tag.php?n=100000", None, "HEAD", status=200, has={"Content-Length": ABSENT}),
    tagged("a small one", "/tag.php?n=100", "gzip", status=200, has={"ETag": '"209a"', "Content-Encoding": ABSENT}),
    tagged("a weak one stays", "/weak.php", "gzip", status=200, has={"ETag": 'W/"209a"', "Content-Encoding": "gzip"}),
    tagged("no compression, no mark", site="no tags", coding="gzip", status=200, has={"ETag": '"209a"'}),
    tagged("no compression, none is taken off", "/seen.php", site="no tags", fields=[("If-None-Match", '"209a-gzip"')],
           server={"HTTP_IF_NONE_MATCH": '"209a-gzip"'}),
    tagged("no mark that the client has", coding="gzip", fields=[("If-None-Match", '"209a"')], status=304, has={"ETag": '"209a"'}),
    tagged("another tag", coding="gzip", fields=[("If-None-Match", '"209b-gzip"')], status=200, has={"ETag": '"209a-gzip"'}),
    tagged("a list", "/seen.php", fields=[("If-Match", '"x", "209a-br","y-gzip" , W/"z-zstd"'), ("If-None-Match", "*")],
           server={"HTTP_IF_MATCH": '"x", "209a","y" , W/"z"', "HTTP_IF_NONE_MATCH": "*"}),
    tagged("what is no list", "/seen.php", fields=[("If-Match", '"a-gzip'), ("If-None-Match", "a-gzip")],
           server={"HTTP_IF_MATCH": '"a-gzip', "HTTP_IF_NONE_MATCH": "a-gzip"}),
    *(case for coding in CODINGS for case in (
        tagged(f"{coding}", coding=coding, status=200, has={"ETag": f'"209a-{coding}"', "Content-Encoding": coding}),
        tagged(f"HEAD, {coding}", coding=coding, method="HEAD", status=200,
               has={"ETag": f'"209a-{coding}"', "Content-Encoding": coding, "Content-Length": ABSENT}),
        tagged(f"the client has {coding}", coding=coding, fields=[("If-None-Match", f'"209a-{coding}"')], status=304,
               has={"ETag": f'"209a-{coding}"'}),
        tagged(f"the client has {coding} and takes none", fields=[("If-None-Match", f'"209a-{coding}"')], status=304,
               has={"ETag": f'"209a-{coding}"'}),
        tagged(f"optimistic locking, {coding}", coding=coding, method="PUT", fields=[("If-Match", f'"209a-{coding}"')], content=b"new", status=204,
               has={"ETag": '"209b"'}),
        tagged(f"another one was faster, {coding}", coding=coding, method="PUT", fields=[("If-Match", f'"2099-{coding}"')], content=b"new", status=412))),
]

HOPS = [("X-Forwarded-For", "203.0.113.7, 10.0.0.2")]
PROXIES = [
    Case(f"behind proxies: {name}", "/vars.php", fields=fields, site="proxied", server=server) for name, fields, server in [
        ("two that add to every list", [*HOPS, ("X-Forwarded-Host", "shop.example, inner:8080"), ("X-Forwarded-Proto", "https, http"),
                                        ("X-Forwarded-Port", "443, 8080")],
         {"REMOTE_ADDR": "203.0.113.7", "SERVER_NAME": "shop.example", "SERVER_PORT": "443", "HTTPS": "on", "REQUEST_SCHEME": "https"}),
        ("a forged list", [("X-Forwarded-For", "6.6.6.6, 203.0.113.7, 10.0.0.2"), ("X-Forwarded-Host", "evil, shop.example, inner")],
         {"REMOTE_ADDR": "203.0.113.7", "SERVER_NAME": "shop.example"}),
        ("a port beside https", [("X-Forwarded-Proto", "https"), ("X-Forwarded-Port", "8443")], {"SERVER_PORT": "8443", "HTTPS": "on"}),
        ("https alone", [("X-Forwarded-Proto", "https")], {"SERVER_PORT": "443", "HTTPS": "on"}),
        ("http alone", [("X-Forwarded-Proto", "http")], {"SERVER_PORT": "80", "HTTPS": ABSENT}),
        ("a port in the host", [("X-Forwarded-Host", "shop.example:8444"), ("X-Forwarded-Proto", "https")], {"SERVER_PORT": "8444"}),
        ("Forwarded", [("Forwarded", "for=203.0.113.7;proto=https;host=shop.example")],
         {"REMOTE_ADDR": "203.0.113.7", "SERVER_NAME": "shop.example", "SERVER_PORT": "443", "HTTPS": "on"}),
    ]]

# The log is told of few of a kind: these have a server of their own.
LOGGED = [Case(name, target, site="logged", ways=("h1",), logged=logged, **want) for name, target, logged, want in [
    ("a status that is none", "/status.php?s=nonsense", "its field Status is no status", {"status": 500}),
    ("too many fields", "/many.php?n=1010", "its head is too large", {"status": 500}),
    ("a control character", field("X-A: \x01"), "a field of its head holds a control character", {"status": 500}),
    ("no field", field("NoColon"), "a line of its head is no field", {"status": 500}),
    ("a file without a root", "/file.php?f=X-Sendfile", "http.sendfile_root is not set", {"status": 500}),
    ("a length that is too large", "/short.php", "it announced 500 bytes and gave fewer", {"ended": "cut"}),
]]


@parametrize(FILES)
def test_files(stages, case, way, place):
    stages.check(case, way, place)


@parametrize(FIELD_NAMES)
def test_field_names(stages, case, way, place):
    stages.check(case, way, place)


@parametrize(PATHS)
def test_paths(stages, case, way, place):
    stages.check(case, way, place)


@parametrize(ANSWERS)
def test_answers(stages, case, way, place):
    stages.check(case, way, place)


@parametrize(LOGGED)
def test_logged(stages, case, way, place):
    stages.check(case, way, place)


@parametrize(SENT)
def test_sent_files(stages, case, way, place):
    stages.check(case, way, place)


@parametrize(REQUESTS)
def test_requests(stages, case, way, place):
    stages.check(case, way, place)


@parametrize(PROXIES)
def test_proxies(stages, case, way, place):
    stages.check(case, way, place)


@parametrize(ETAGS)
def test_tags(stages, case, way, place):
    stages.check(case, way, place)
