"""What MediaWiki's programming interfaces answer over HTTP is what they answer over FastCGI behind nginx, and with a
php-fpm where there is one of the same PHP: the same requests in the same order, each server with data of its own."""
import gzip
import http.client
import json
import os
import re
import shutil
import subprocess
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import both
import packages
import process
import pytest
import tokiophp as server_module
import webservers
from mediawiki import PASSWORD, unpack

HOST = "wiki.example"
SETTINGS = "$wgJobRunRate = 0; $wgRateLimits = []; $wgMainCacheType = CACHE_DB;\n"
EXTENSIONS = {"mbstring", "xml", "intl", "dom", "pdo_sqlite", "fileinfo", "iconv", "ctype", "session"}
FORM, JSON = "application/x-www-form-urlencoded", "application/json"


class Row:
    """status: what is right. form: fields of a body; content: text of a JSON body. keep: (name, pattern) of what is taken
    from the answer; {name} in later rows is that server's, and {TAG} the ETag that it gave last."""

    def __init__(self, status, target, method=None, form=None, content=None, keep=None, **fields):
        self.status, self.target, self.form, self.content, self.keep = status, target, form, content, keep
        self.method = method or ("POST" if form or content else "GET")
        self.fields = {name.replace("_", "-"): value for name, value in fields.items()}

    def __str__(self):
        return f"{self.method} {self.target}" + (f" {self.fields}" if self.fields else "")


def api(**words):
    return "/api.php?" + urllib.parse.urlencode(words)


def edited(title, text, **more):
    return Row(200, "/api.php", form={"action": "edit", "format": "json", "title": title, "text": text, "token": "+\\", **more})


def logged_in(password):
    return Row(200, "/api.php", form={"action": "clientlogin", "format": "json", "username": "Admin", "password": password,
                                      "loginreturnurl": f"http://{HOST}/", "logintoken": "{login}"})


def written(**words):
    return json.dumps({"comment": "", "token": "+\\", **words})


PAGES = "/rest.php/v1/page"
SITE = {"action": "query", "meta": "siteinfo", "siprop": "general|namespaces|extensions"}
PARSE = {"action": "parse", "text": "== A ==\n''b'' [[Main Page]] <ref>", "contentmodel": "wikitext"}
ROWS = [
    *(Row(200, api(format=kind, **SITE)) for kind in ("json", "xml", "php", "jsonfm")),
    Row(200, api(format="json", formatversion="2", **PARSE)),
    Row(200, "/api.php", form={"format": "json", **PARSE}),
    edited("AC/DC", "A band with a ''slash''."),
    edited("A/B sub", "Below A, as text of some length, that compression is worth it. " * 20),
    edited("Größe", "Text über alles."),
    edited("AC/DC", "never", createonly="1"),
    edited("AC/DC", "never", token="wrong"),
    Row(200, api(action="query", list="allpages", format="json")),
    Row(200, api(action="opensearch", search="a", format="json")),
    Row(200, api(action="query", titles="AC/DC|Größe|None", prop="info|revisions", rvprop="content|ids", rvslots="main", format="json")),
    Row(200, api(action="purge", titles="AC/DC", format="json"), form={"x": "1"}),
    Row(200, api(action="purge", titles="AC/DC", format="json")),
    Row(200, api(action="query", meta="tokens", type="login", format="json"), keep=("login", r'"logintoken":("[^"]+")')),
    logged_in("wrong"),
    Row(200, api(action="nothing", format="json")),
    Row(200, api(action="query", list="nothing", format="xml", errorformat="plaintext")),
    Row(200, api(action="query", meta="siteinfo", maxlag="-1", format="json")),
    Row(200, api(action="query", meta="siteinfo", format="none")),
    Row(200, api(action="query", meta="siteinfo", format="json", origin="*", maxage="60", smaxage="60"), Origin="http://a.example"),
    Row(200, api(action="query", meta="siteinfo", format="json"), "HEAD"),
    Row(200, "/api.php"),
    Row(200, "/api.php", "OPTIONS", Origin="http://a.example", Access_Control_Request_Method="POST"),
    *(row for page in ("AC%2FDC", "A%2FB_sub", "Gr%C3%B6%C3%9Fe") for row in (
        Row(200, f"{PAGES}/{page}"),
        Row(304, f"{PAGES}/{page}", If_None_Match="{TAG}"),
        Row(200, f"{PAGES}/{page}", If_None_Match='"other"'),
        Row(200, f"{PAGES}/{page}", If_Match="{TAG}"),
        Row(412, f"{PAGES}/{page}", If_Match='"other"'))),
    Row(200, f"{PAGES}/A%2FB_sub", "HEAD"),
    Row(304, f"{PAGES}/A%2FB_sub", "HEAD", If_None_Match="{TAG}"),
    Row(200, f"{PAGES}/A%2FB_sub/bare"),
    Row(200, f"{PAGES}/A%2FB_sub/html"),
    Row(304, f"{PAGES}/A%2FB_sub/html", If_None_Match="{TAG}"),
    Row(200, f"{PAGES}/A%2FB_sub/history"),
    Row(404, f"{PAGES}/None"),
    Row(404, f"{PAGES}/AC/DC"),
    Row(404, "/rest.php/v1/nothing"),
    Row(308, "/rest.php"),
    Row(405, f"{PAGES}/None", "DELETE"),
    Row(200, "/rest.php/v1/search/page?q=band&limit=5"),
    Row(400, "/rest.php/v1/search/page"),
    Row(201, PAGES, content=written(source="Made", title="Made/by rest")),
    Row(409, PAGES, content=written(source="Made", title="Made/by rest")),
    Row(400, PAGES, content="{"),
    Row(415, PAGES, content="a", Content_Type="text/plain"),
    Row(200, f"{PAGES}/Made%2Fby_rest", keep=("id", r'"latest":\{"id":(\d+)')),
    Row(200, f"{PAGES}/Made%2Fby_rest", "PUT", content='{"comment":"","token":"+\\\\","source":"Again","latest":{"id":{id}}}'),
    Row(412, f"{PAGES}/Made%2Fby_rest", "PUT", content=written(source="Once more"), If_Match="{TAG}"),
    Row(201, f"{PAGES}/Put%2Fnew", "PUT", content=written(source="By PUT")),
    Row(200, "/index.php/AC%2FDC"),
    Row(200, "/index.php/AC/DC"),
    Row(404, "/index.php/.NET_Framework"),
    Row(404, "/index.php/AC%5CDC"),
    *(Row(404, f"/index.php/{name}") for name in ("a/../b", "a%2F..%2Fb", "100%25", "Who%3F", "A+B;c", "x%0Ay", "x%FFy")),
    *(Row(301, f"/index.php/{name}") for name in ("a//b", "x.php/y", "a%20b", "%C3%A4%2F%2e.htaccess", "a%5C..%5Cb")),
    Row(301, "/"),
    Row(200, "/index.php?title=A/B_sub&action=raw"),
    Row(404, "/index.php?title=None&action=raw"),
    Row(301, "/index.php?title=ac/DC"),
    Row(200, "/load.php?modules=startup&only=scripts&raw=1&skin=vector"),
    Row(304, "/load.php?modules=startup&only=scripts&raw=1&skin=vector", If_None_Match="{TAG}"),
    Row(200, "/load.php?modules=mediawiki.util&skin=vector", "HEAD"),
    Row(200, "/load.php?modules=skins.vector.styles.legacy&only=styles&skin=vector"),
    Row(200, api(action="query", meta="tokens", type="login", format="json"), keep=("login", r'"logintoken":("[^"]+")')),
    logged_in(PASSWORD),
    Row(200, api(action="query", meta="tokens|userinfo", format="json"), keep=("csrf", r'"csrftoken":("[^"]+")')),
    edited("Mine", "By a user.", token="{csrf}"),
    Row(200, "/api.php", content="\r\n".join((
        *(f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}' for name, value in (
            ("action", "edit"), ("format", "json"), ("title", "Mine"), ("appendtext", "In parts."), ("token", "{csrf}"))), "--b--", "")),
        Content_Type="multipart/form-data; boundary=b"),
    Row(200, "/index.php?title=Mine&action=raw"),
    Row(200, "/api.php", form={"action": "logout", "format": "json", "token": "{csrf}"}),
]


class Asked:
    """One of the servers, and what was kept of its answers."""

    def __init__(self, url):
        self.port = urllib.parse.urlsplit(url).port
        self.kept, self.cookies, self.packed = {}, {}, set()

    def ask(self, row):
        body, kind = None, None
        target, fields = row.target, {name: self.fill(value) for name, value in row.fields.items()}
        if row.form:
            body, kind = urllib.parse.urlencode({name: self.fill(value) for name, value in row.form.items()}), FORM
        elif row.content:
            body, kind = self.fill(row.content), JSON
        fields = {"Host": HOST, "Accept-Encoding": "gzip", "Connection": "close", **({"Content-Type": kind} if kind else {}), **fields}
        if self.cookies:
            fields["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(row.method, target, body, fields)
            response = connection.getresponse()
            return self.keep(row, response, response.read())
        finally:
            connection.close()

    def fill(self, text):
        for name, value in self.kept.items():
            text = text.replace("{%s}" % name, value)
        return text

    def keep(self, row, response, body):
        for line in response.headers.get_all("Set-Cookie", []):
            name, _, value = line.split(";")[0].partition("=")
            self.cookies[name] = value
        if body and response.headers["Content-Encoding"] == "gzip":
            assert "accept-encoding" in words(field(response, "Vary")), f"{row}: packed, and Vary does not say so"
            body = gzip.decompress(body)
            self.packed.add(row.target)
        if response.headers["ETag"]:
            self.kept["TAG"] = response.headers["ETag"]
        if row.keep:
            name, pattern = row.keep
            found = re.search(pattern, body.decode())
            assert found, f"{row}: no {pattern} in {body}"
            self.kept[name] = json.loads(found.group(1)) if found.group(1)[0] == '"' else found.group(1)
        return seen(response, body.decode())


def field(response, name):
    lines = response.headers.get_all(name)
    return ", ".join(lines) if lines else None


def words(text):
    return {word.strip().lower() for word in (text or "").split(",")} - {""}


# What differs from one answer to the next of the same server.
CHANGING = [re.compile(pattern) for pattern in (
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\dZ?", r"\b20\d{12}\b", r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} [\d:]{8} GMT",
    r"\d\d:\d\d, \d+ [A-Z][a-z]+ 20\d\d", r"\d+ [A-Z][a-z]+ 20\d\d, at \d\d:\d\d", r"\d+\.\d+% +[\d.]+",
    r"[0-9a-f]{40}(?=\+(?:\\|%5C))", r"[\d.]+(?= seconds)", r"[\d.]+(?= ms)",
    r'(?<="wgBackendResponseTime":)\d+', r'(?<=time":)"[\d.]+"', r"(?<=triggered because: )[\w-]+")]
# The web server's own fields, and those that say how the body travels.
OWN = {"server", "date", "connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding", "set-cookie",
       "traceparent"}


def same(text):
    for pattern in CHANGING:
        text = pattern.sub("*", text)
    return text


def seen(response, body):
    """What is compared. The id that the answer's head has is the one that its page has."""
    fields = {name.title(): same(field(response, name)) for name in map(str.lower, response.headers.keys()) if name not in OWN}
    fields["Vary"] = sorted(words(field(response, "Vary")) - {"accept-encoding"})
    fields["Cookies"] = sorted(line.partition("=")[0] for line in response.headers.get_all("Set-Cookie", []))
    tag, request = response.headers["ETag"], fields.pop("X-Request-Id", None)
    fields["Etag"] = tag and ("weak" if tag.startswith("W/") else "strong")
    return {"status": response.status, **fields, "body": same(body.replace(request, "ID") if request else body)}


def comparable(program):
    """It is the PHP of the program under test, with what MediaWiki wants."""
    def says(one, option):
        return subprocess.run([one, option], stdout=subprocess.PIPE, text=True).stdout.lower()
    releases = {re.search(r"php [\d.]+|$", says(one, "-v")).group() for one in (program, server_module.PROGRAM)}
    return len(releases) == 1 and EXTENSIONS <= set(says(program, "-m").split())


def difference(right, got):
    for name in sorted(right.keys() | got.keys()):
        one, other = right.get(name), got.get(name)
        if one != other and name == "body":
            at = max(len(os.path.commonprefix([one, other])) - 60, 0)
            one, other = one[at:at + 260], other[at:at + 260]
        if one != other:
            yield f"  {name}: {one!r}, over HTTP {other!r}"


def php_fpm(folder, root):
    """php-fpm with its data below `folder`, and nginx in front of it: (both, URL)."""
    config = folder + "/php-fpm.conf"
    with open(config, "w") as f:
        user = f"user = {server_module.USER}\ngroup = {server_module.GROUP}" if server_module.IS_ROOT else ""
        f.write(both.CONFIG.format(dir=folder, name="php-fpm", user=user, children=4, temp="", more=f"env[WIKI] = {folder}"))
    program = process.Program([both.PHP_FPM, "-F", "-y", config], folder, "php-fpm.log")
    try:
        program.wait_accepting(folder + "/php-fpm.sock")
        front = webservers.nginx(folder, root, folder + "/php-fpm.sock", keepalive=False)
    except BaseException:
        program.kill_family()
        raise
    return [program, front], front.url


@pytest.fixture
def servers(workdir, tokiophp, webserver):
    root = workdir + "/wiki"
    try:
        unpack(root, workdir + "/new", f"http://{HOST}", SETTINGS)
    except packages.Missing as why:
        pytest.skip(str(why))

    def folder(name):
        os.mkdir(f"{workdir}/{name}")
        os.mkdir(f"{workdir}/{name}/tmp")
        shutil.copytree(workdir + "/new/data", f"{workdir}/{name}/data")
        subprocess.run(["chmod", "-R", "a+rwX", f"{workdir}/{name}"], check=True)
        return f"{workdir}/{name}"
    alone, behind, port = folder("http"), folder("fastcgi"), process.free_port()
    server = tokiophp(directory=alone, pool=f"http.listen = 127.0.0.1:{port}\nhttp.document_root = {root}\nenv[WIKI] = {alone}\n")
    server.wait_accepting(("127.0.0.1", port))
    address = tokiophp(directory=behind, pool=f"env[WIKI] = {behind}\n").address
    urls = {"http": f"http://127.0.0.1:{port}", "fastcgi": webserver("nginx", root, address).url}
    theirs = []
    if both.PHP_FPM and comparable(both.PHP_FPM):
        theirs, urls["php-fpm"] = php_fpm(folder("php-fpm"), root)
    try:
        yield {name: Asked(url) for name, url in urls.items()}
    finally:
        for program in reversed(theirs):
            program.stop()


@pytest.mark.seconds(900)  # it copies and removes some ten thousand files
def test_interfaces(servers):
    wrong = []
    for row in ROWS:
        with ThreadPoolExecutor() as at_once:
            answers = dict(zip(servers, at_once.map(lambda server: server.ask(row), servers.values())))
        over_http = answers.pop("http")
        if over_http["status"] != row.status:
            wrong.append(f"{row}: {over_http['status']}: {over_http['body'][:300]}")
        for name, right in answers.items():
            differences = list(difference(right, over_http))
            if differences:
                wrong.append(f"{row}, {name}:\n" + "\n".join(differences))
    assert not wrong, "\n".join(wrong)
    assert f"{PAGES}/A%2FB_sub" in servers["http"].packed
