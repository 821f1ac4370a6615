"""What the documents show is tried: each fenced block of a configuration is tested by the program that it is for, each of commands
is run in a sandbox (support/sandbox.py), or stands in UNTRIED with the reason."""
import json
import os
import re
import shutil
import urllib.request

import documents
import pytest
import webservers
import yaml
from page_site import PageSite
from process import free_port, wait_for
from runtime import ask_build
from sandbox import Sandbox
from tokiophp import PROGRAM, is_stand_in

pytestmark = pytest.mark.skipif(is_stand_in(), reason="tokiophp's documents")

PACKAGES = "installs packages and builds PHP; every run of the CI begins with it"
BUILDS = "builds PHP; packaging/quickstart and tests/check-find-source do it"
# (page, how its first line begins): why it is not run.
UNTRIED = {
    ("README.md", "packaging/quickstart"): PACKAGES,
    ("README.md", "packaging/php-zts/build"): BUILDS,
    ("docs/getting-started.md", "packaging/quickstart"): PACKAGES,
    ("docs/extensions.md", "packaging/php-zts/ext"): "builds extensions; tests/e2e/test_extensions.py does it",
    ("docs/extensions.md", "PHP="): "builds an extension; tests/e2e/test_extensions.py does it",
    ("docs/runtime.md", "packaging/php-zts/build"): BUILDS,
    ("docs/runtime.md", "dnf install"): "for another distribution",
    ("docs/runtime.md", "packaging/php-zts/find-source"): "fetches PHP's source; packaging/quickstart does it",
    ("docs/runtime.md", "mkdir -p /srv/source"): BUILDS,
    ("docs/tls.md", "certbot"): "needs an authority that can reach this machine",
    ("CONTRIBUTING.md", "packaging/php-zts/build"): "the whole of the tests",
    ("packaging/README.md", "packaging/build-deb"): "installs packages; make check-packages does it",
}
# Blocks that are no input of a program.
PLAIN = {"text", "php-signature"}

BLOCKS = [b for page in documents.pages() if not page.startswith("docs/benchmarks/") for b in documents.blocks(page)]
BLOCKS += [documents.Block(name, 1, language, documents.read(name)) for name, language in
           (("etc/nginx.conf.sample", "nginx"), ("etc/Caddyfile.sample", "caddy"), ("etc/apache.conf.sample", "apache"),
            ("docs/monitoring/alerts.yaml", "yaml"), ("docs/monitoring/grafana.json", "json"))]


def php_program():
    return ask_build("--print-prefix") + "/bin/php"


def of(*languages):
    chosen = [b for b in BLOCKS if b.language in languages]
    return pytest.mark.parametrize("block", chosen, ids=[f"{b.page}:{b.line}" for b in chosen])


def reason(block):
    return next((why for (page, start), why in UNTRIED.items()
                 if block.page == page and block.text.startswith(start)), None)


@pytest.fixture
def sandbox(workdir):
    return Sandbox(workdir)


def test_every_block_is_of_a_known_language():
    known = PLAIN | {"sh", "ini", "php", "nginx", "caddy", "apache", "haproxy", "yaml", "json", "systemd"}
    assert [f"{b.page}:{b.line}: {b.language}" for b in BLOCKS if b.language not in known] == []
    assert [key for key in UNTRIED if not any(b.page == key[0] and b.text.startswith(key[1]) for b in BLOCKS)] == []


# -- configurations --

def check_php_ini(sandbox, block):
    path = sandbox.file("php.ini", sandbox.text(block.text))
    names = re.findall(r"^([\w.]+) *=", block.text, re.M)
    asked = "foreach (%s as $name) { if (ini_get($name) === false) { echo $name, \"\\n\"; } }" % json.dumps(names)
    done = sandbox.run(php_program(), "-c", path, "-r", asked)
    assert done.returncode == 0 and done.stdout == "", done.stdout


def check_configuration(sandbox, text):
    path = sandbox.file("page.ini", sandbox.whole(sandbox.text(text)))
    done = sandbox.run(PROGRAM, "-t", "-y", path)
    assert done.returncode == 0 and "test is successful" in done.stdout, done.stdout
    assert not re.search(r"WARNING|ERROR|ALERT", done.stdout), done.stdout
    return path


@of("ini")
def test_configurations(sandbox, block):
    if block.text.startswith("; php.ini"):
        check_php_ini(sandbox, block)
    else:
        check_configuration(sandbox, block.text)


@of("nginx")
def test_nginx(sandbox, block):
    if not shutil.which("nginx"):
        pytest.skip("nginx is not installed")
    text = re.sub(r"listen (80|443)\b", "listen 127.0.0.1:%d" % sandbox.ports["http"], sandbox.text(block.text))
    shutil.copy("/etc/nginx/fastcgi_params", sandbox.dir)
    if not re.search(r"^(server|upstream) ", text, re.M):  # lines of a location, of servers that another block names
        others = [b.text for b in BLOCKS if b.page == block.page and b.language == "nginx" and b.text.startswith("upstream ")]
        text = sandbox.text("".join(others)) + "server {\n" + (text if text.startswith("location ") else "location / {\n" + text + "}\n") + "}\n"
    conf = sandbox.file("nginx.conf", "pid {0}/nginx.pid; error_log {0}/nginx.log; events {{}}\nhttp {{ access_log off;\n{1}}}\n".format(sandbox.dir, text))
    done = sandbox.run("nginx", "-t", "-e", f"{sandbox.dir}/nginx.log", "-p", sandbox.dir, "-c", conf)
    assert done.returncode == 0 and "[warn]" not in done.stdout, done.stdout


@of("caddy")
def test_caddy(sandbox, block):
    if not shutil.which("caddy"):
        pytest.skip("caddy is not installed")
    conf = sandbox.file("Caddyfile", sandbox.text(block.text))
    env = dict(os.environ, HOME=sandbox.dir, XDG_DATA_HOME=sandbox.dir, XDG_CONFIG_HOME=sandbox.dir)
    done = sandbox.run("caddy", "validate", "--adapter", "caddyfile", "--config", conf, env=env)
    assert done.returncode == 0 and "Valid configuration" in done.stdout, done.stdout


@of("apache")
def test_apache(sandbox, block):
    program = shutil.which("apache2") or shutil.which("httpd")
    if not program or webservers.missing("apache"):
        pytest.skip("apache is not installed")
    modules = "".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n" for name in
                      ("mpm_event", "authz_core", "dir", "mime", "proxy", "proxy_fcgi", "rewrite", "setenvif", "headers"))
    conf = sandbox.file("apache.conf", f"ServerRoot {sandbox.dir}\nServerName localhost\nErrorLog {sandbox.dir}/apache.log\n"
                        f"PidFile {sandbox.dir}/apache.pid\n{modules}{sandbox.text(block.text)}")
    done = sandbox.run(program, "-t", "-f", conf)
    assert done.returncode == 0 and "Syntax OK" in done.stdout, done.stdout


@of("haproxy")
def test_haproxy(sandbox, block):
    if not shutil.which("haproxy"):
        pytest.skip("haproxy is not installed")
    done = sandbox.run("haproxy", "-c", "-f", sandbox.file("haproxy.cfg", sandbox.text(block.text)))
    assert done.returncode == 0 and "Configuration file is valid" in done.stdout and "WARNING" not in done.stdout, done.stdout


@of("php")
def test_php(sandbox, block):
    text = block.text if block.text.startswith("<?php") else "<?php\n" + block.text
    done = sandbox.run(php_program(), "-n", "-l", sandbox.file("page.php", text))
    assert done.returncode == 0, done.stdout


@of("yaml", "json")
def test_data(block):
    assert list(yaml.safe_load_all(block.text)) if block.language == "yaml" else json.loads(block.text)


@of("systemd")
def test_systemd(sandbox, block):
    assert re.fullmatch(r"(\[(Unit|Service|Install|Socket|Timer)\]\n|[A-Z]\w+=.*\n|#.*\n|\n)+", block.text), block.text
    for command in re.findall(r"^Exec\w+=(?:/usr/sbin/)?tokiophp (.*)$", block.text, re.M):
        done = sandbox.run(PROGRAM, *sandbox.text(command).split(), "-t")
        assert done.returncode == 0, done.stdout


# -- commands --

@of("sh")
def test_commands(sandbox, block):
    assert sandbox.run("bash", "-n", "-c", block.text).returncode == 0
    why = reason(block)
    if why:
        pytest.skip(why)
    sandbox.prepare()
    token = re.search(r"Bearer ([\w-]+)", block.text)
    server = sandbox.serve(token[1] if token else "a-long-random-text") if re.search(r"\b(ctl|top|curl)\b", block.text) else None
    try:
        done = sandbox.shell(block.text)
        assert done.returncode == 0, done.stdout
    finally:
        if server:
            server.stop()


# -- applications --

WHICH = "<?php echo $_SERVER['REQUEST_METHOD'], ' ', $_SERVER['SCRIPT_NAME'], ' ', $_SERVER['PATH_INFO'] ?? '-';"


def test_nextcloud(sandbox, tokiophp):
    scripts = ("index.php", "remote.php", "public.php", "status.php", "ocs/v2.php", "cron.php", "config/config.php", "lib/base.php", "occ",
               "console.php", "3rdparty/autoload.php")
    site = PageSite(sandbox, tokiophp, "docs/nextcloud.md", "/srv/nextcloud", {
        **{name: WHICH for name in scripts}, "core/img/logo.svg": "<svg/>", "apps/files/js/main.js": "main", ".htaccess": "secret", "data/owncloud.db": "secret"})
    site.answers({
        "/": "GET /index.php -", "/apps/dashboard/": "GET /index.php -", "/index.php/login": "GET /index.php /login", "/s/AbC": "GET /index.php -",
        "PROPFIND /remote.php/dav/files/ann": "PROPFIND /remote.php /dav/files/ann", "MKCOL /remote.php/dav/files/ann/x": "MKCOL /remote.php /dav/files/ann/x",
        "/ocs/v2.php/cloud/user": "GET /ocs/v2.php /cloud/user", "/status.php": "GET /status.php -",
        "/.well-known/carddav": "/remote.php/dav/", "/.well-known/caldav": "/remote.php/dav/", "/.well-known/webfinger": "GET /index.php -",
        "/core/img/logo.svg": "<svg/>", "/apps/files/js/main.js": "main",
        "/config/config.php": 404, "/data/owncloud.db": 404, "/lib/base.php": 404, "/3rdparty/autoload.php": 404, "/occ": 404, "/console.php": 404,
        "/.htaccess": 403})
    _, headers, _ = site.ask("/status.php")
    assert headers["X-Robots-Tag"] == "noindex, nofollow" and headers["Referrer-Policy"] == "no-referrer"
    assert site.ask("/core/img/logo.svg")[1]["Cache-Control"] == "public, max-age=15552000"


def test_wordpress(sandbox, tokiophp):
    site = PageSite(sandbox, tokiophp, "docs/wordpress.md", "/srv/wordpress", {
        **{name: WHICH for name in ("index.php", "wp-login.php", "wp-admin/index.php", "wp-admin/post.php", "wp-config.php", "xmlrpc.php",
                                    "wp-content/uploads/2026/x.php")},
        "wp-content/uploads/2026/x.png": "picture", "wp-includes/a.js": "script"})
    site.answers({
        "/": "GET /index.php -", "/2026/11/hello-world/": "GET /index.php -", "/wp-json/wp/v2/posts": "GET /index.php -", "/wp-login.php": "GET /wp-login.php -",
        "/wp-admin/": "GET /wp-admin/index.php -", "/wp-admin/post.php?post=1": "GET /wp-admin/post.php -", "/wp-content/uploads/2026/x.png": "picture",
        "/wp-includes/a.js": "script", "/wp-config.php": 404, "/xmlrpc.php": 403, "/wp-content/uploads/2026/x.php": 403,
        "/wp-content/uploads/2026/x.php/y": 403, "/wp-content/uploads/2026/%78.php": 403})


def test_mediawiki(sandbox, tokiophp):
    site = PageSite(sandbox, tokiophp, "docs/mediawiki.md", "/srv/mediawiki", {
        **{name: WHICH for name in ("index.php", "api.php", "load.php", "rest.php", "LocalSettings.php", "images/x.php", "maintenance/run.php", "includes/Setup.php")},
        "images/a/b.png": "picture", "images/deleted/c.png": "gone", "cache/l10n.cdb": "cache", "resources/a.js": "script"})
    site.answers({
        "/": "GET /index.php -", "/wiki/Main_Page": "GET /index.php -", "/wiki/A.php": "GET /index.php -", "/api.php?action=query": "GET /api.php -",
        "/rest.php/v1/page/X": "GET /rest.php /v1/page/X", "/images/a/b.png": "picture", "/resources/a.js": "script", "/images/x.php": 403, "/images/deleted/c.png": 403,
        "/cache/l10n.cdb": 403, "/maintenance/run.php": 403, "/includes/Setup.php": 403, "/LocalSettings.php": 404})


@pytest.mark.parametrize("name", ["laravel", "symfony"])
def test_front_controllers(sandbox, tokiophp, name):
    files = {"public/index.php": WHICH, "public/other.php": WHICH, "public/build/app.css": "style", ".env": "secret", "public/.env": "secret",
             "storage/app/public/a.txt": "a file"}
    for folder in ("storage", "bootstrap/cache", "var"):
        os.makedirs(f"{sandbox.dir}/srv/shop/{folder}", exist_ok=True)
    os.makedirs(f"{sandbox.dir}/srv/shop/public")
    os.symlink("../storage/app/public", f"{sandbox.dir}/srv/shop/public/storage")
    site = PageSite(sandbox, tokiophp, f"docs/{name}.md", "/srv/shop", files)
    site.answers({"/": "GET /index.php -", "/login": "GET /index.php -", "/a/b.html": "GET /index.php -", "/other.php": "GET /index.php -",
                  "/build/app.css": "style", "/.env": 403, "/../.env": 400, "/storage/a.txt": "a file" if name == "laravel" else "GET /index.php -"})
    assert site.ask("/build/app.css")[1]["Cache-Control"] == "public, max-age=31536000"


# -- what is made of the sources --

def test_the_metrics_are_those_of_the_page(tokiophp, workdir):
    """docs/metrics.md, which is made of the source of the page, against the page of a server that has all of them."""
    text = documents.read("docs/metrics.md")
    written = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in
               re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \|", text, re.M)}
    ports = free_port(), free_port()
    with open(workdir + "/www/held.php", "w") as f:
        f.write("<?php while (tokio_handle_request(function () { echo 'held'; })) { }")
    server = tokiophp(pool=f"http.internal_listen = 127.0.0.1:{ports[0]}\nhttp.listen = 127.0.0.1:{ports[1]}\nhttp.document_root = {{dir}}/www\n"
                      "worker.script = {dir}/www/held.php\nworker.num = 1\n")
    server.wait_accepting(("127.0.0.1", ports[0]))
    server.wait_accepting(("127.0.0.1", ports[1]))
    for path in ("hello.php", "held.php"):
        urllib.request.urlopen(f"http://127.0.0.1:{ports[1]}/{path}", timeout=30).close()

    def shown():
        with urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/metrics", timeout=30) as answer:
            page = answer.read().decode()
        kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", page, re.M))
        labels = {name: set() for name in kinds}
        for name, words in re.findall(r"^(\w+)(?:\{(.*)\})? \S+$", page, re.M):
            family = name if name in kinds else re.sub("_(bucket|sum|count)$", "", name)
            labels[family] |= set(re.findall(r'(\w+)="', words))
        return {name: (kind, labels[name]) for name, kind in kinds.items()}
    wait_for(lambda: shown().get("tokio_php_responses_total", ("", set()))[1], what="a counted response")
    assert shown() == written


# -- tables of what becomes what --

LINE = re.compile(r"`([a-z][a-z_.]*(?:\[[^]`]*\])? = [^`]+)`")
ROWS = [(page, number, LINE.findall(line)) for page in ("docs/coming-from.md", "docs/nginx-php-fpm.md", "docs/many-machines.md")
        for number, line in enumerate(documents.read(page).split("\n"), 1) if line.startswith("|") and LINE.search(line)]
# What a pool has where the row does not say otherwise.
USUAL = {"http.listen": "127.0.0.1:8080, tls:127.0.0.1:8443", "http.tls_cert": "/etc/ssl/own.pem", "http.tls_key": "/etc/ssl/own.key",
         "http.document_root": "/srv/shop", "worker.script": "/srv/shop/worker.php"}


@pytest.mark.parametrize("page", sorted({page for page, _, _ in ROWS}))
def test_lines_of_tables(sandbox, page):
    """A row's lines together are a pool that is valid."""
    wrong = []
    for number, lines in ((number, lines) for at, number, lines in ROWS if at == page):
        names = {line.split(" = ")[0] for line in lines}
        in_global = [line for line in lines if line.startswith(("log_level", "error_log"))]
        usual = {name: value for name, value in USUAL.items() if name not in names}
        if "tls:" not in usual.get("http.listen", "") + "".join(lines):
            usual = {name: value for name, value in usual.items() if "tls" not in name}
        text = "[global]\n" + "".join(line + "\n" for line in in_global) + "[shop]\n" + "".join(f"{n} = {v}\n" for n, v in usual.items()) + \
            "".join(line + "\n" for line in lines if line not in in_global)
        text = re.sub(r"^(http\.basic_auth.* = )FILE$", r"\1/etc/tokiophp/some.passwords", text, flags=re.M)
        text = re.sub(r" = FILE$", " = /var/log/some.log", text, flags=re.M)
        try:
            check_configuration(sandbox, text)
        except AssertionError as e:
            wrong.append(f"{page}:{number}: {lines}: {str(e).splitlines()[0]}")
    assert not wrong, "\n".join(wrong)
