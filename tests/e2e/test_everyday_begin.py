"""Everyday tasks, the beginning: install, a first page, an application, an extension, a value of php.ini, TLS. Each is done as the documents say:
the commands and the configuration are read from the page (support/page.py), and looked at is what somebody wants to have at the end.
`steps` are commands and edited files. Each test says what php-fpm with nginx, FrankenPHP and `php -S` need for the same; more than the
best of them is a failure."""
import os
import re
import socket
import ssl
import subprocess

import packages
import pytest
import wordpress
from browser import Browser
from certificate import make_cert
from everyday import daemon, get, page, pool, serve  # noqa: F401 (a fixture)
from files import put
from mariadb import MariaDB
from page import fenced, steps
from process import Program, wait_for
from test_extensions import CONFIG_M4, SOURCE, runtime  # noqa: F401 (a fixture)
from tokiophp import ROOT, is_stand_in

pytestmark = pytest.mark.skipif(is_stand_in(), reason="tokiophp's own documents")


# -- 1: install --

@pytest.mark.seconds(1500)
def test_install(page, workdir):
    """One command from the source to a site that is served. php-fpm and nginx: `apt install`, a site file, a reload (3). FrankenPHP: its
    installer and `frankenphp php-server` (2). `php -S`: `apt install`, `php -S` (2)."""
    todo = page("getting-started.md").under("From the source, on Debian 12")
    assert steps(todo) == 1
    source = f"{workdir}/src"
    subprocess.run(["cp", "-R", ROOT, source], check=True)
    subprocess.run(["rm", "-rf", f"{source}/build", f"{source}/Makefile", f"{source}/.git"], check=True)
    one = page("getting-started.md")
    one.programs.append(Program(["sh", "-c", f"cd {source} && exec {todo[0].text}"], workdir, "install.log", env={**os.environ, "JOBS": "2"}))
    installing = one.programs[-1]
    url = wait_for(lambda: re.search(r"the demo site: http://127.0.0.1:(\d+)/", installing.log()) or not installing.running(), 1400, "the site")
    assert url is not True, installing.log()[-3000:]
    installing.wait_accepting(("127.0.0.1", int(url[1])))
    assert "tokiophp" in get(int(url[1])).text


# -- 2: the first page --

def test_first_page(page):
    """`php -S localhost:8000` in a folder is one command, as are `frankenphp php-server` and this, beside making the page itself."""
    one = page("getting-started.md")
    todo = one.under("The first page")
    make, start = todo[0].text.strip().rsplit("\n", 1)
    one.run(todo[0]._replace(text=make))
    assert steps([todo[0]._replace(text=start)]) == 1
    program = serve(one, todo[0]._replace(text=f"{start} --listen {one.port(8080)}"), one.port(8080))
    assert get(one.port(8080), "/?name=<b>").text == "<h1>Hello, &lt;b&gt;</h1>\n"
    wait_for(lambda: f"at http://localhost:{one.port(8080)}/" in program.log(), 30, "the address")
    # the other commands of the page
    for command, port, scheme in zip(todo[1].text.strip().split("\n"), (3000, 8080, 8443, 8080), ("http", "http", "https", "http")):
        program.stop()
        command = command.split("#")[0].strip()
        command += "" if "--listen" in command else f" --listen {one.port(port)}"
        program = serve(one, todo[1]._replace(text=command), one.port(port))
        assert get(one.port(port), scheme=scheme).text == "<h1>Hello, world</h1>\n", command


# -- 3, 4: Laravel and WordPress --

def test_laravel(page, workdir):
    """One command in the project, as `php artisan serve`, which is php -S; FrankenPHP's needs Octane (2)."""
    import laravel
    try:
        laravel.unpack(f"{workdir}/shop/public", workdir)
    except packages.Missing as why:
        pytest.skip(str(why))
    one = page("laravel.md")
    todo = one.under("On a laptop")
    assert steps(todo) == 1
    put(workdir, "shop/storage/photo.txt", "a photo")
    os.symlink("../storage", f"{workdir}/shop/public/storage")
    os.symlink(f"{workdir}/shop", f"{workdir}/home-shop")
    serve(one, todo[0]._replace(text=f"{todo[0].text.strip()} --listen {one.port(8080)}\n"), one.port(8080))
    page_ = get(one.port(8080), "/fruit")
    assert page_.status == 200 and "<title>Fruit &amp; more</title>" in page_.text and page_.text.count("<tr ") == 20, page_.text[:2000]
    assert get(one.port(8080), "/storage/photo.txt").text == "a photo"


@pytest.mark.seconds(300)
def test_wordpress(page, workdir):
    """One command in its folder; `php -S` is one, too, and has no permalinks. nginx and php-fpm: the site's file and a reload (2)."""
    try:
        database = MariaDB(workdir)
        wordpress.unpack(f"{workdir}/wordpress", database)
    except packages.Missing as why:
        pytest.skip(str(why))
    try:
        one = page("wordpress.md")
        todo = one.under("On a laptop")
        assert steps(todo) == 1
        serve(one, todo[0]._replace(text=f"{todo[0].text.strip()} --listen {one.port(8080)}\n"), one.port(8080))
        browser = Browser(f"http://127.0.0.1:{one.port(8080)}")
        wordpress.install(browser)
        wordpress.log_in(browser)
        assert "A test site" in Browser(f"http://127.0.0.1:{one.port(8080)}").page("/")
        found = get(one.port(8080), "/hello-world/")
        assert found.fields.get("X-Redirect-By") == "WordPress" or "A test site" in found.text, (found.status, found.fields, found.text[:500])
        one.stop()
    finally:
        database.stop()


# -- 5: an extension --

@pytest.mark.seconds(600)
def test_extension(page, runtime, workdir):  # noqa: F811
    """One command, which a running server hears of. php-fpm: `apt install php-apcu` (1). FrankenPHP: install-php-extensions and a restart (2);
    `php -S`: the package, and a restart (2)."""
    one = page("extensions.md")
    command, = [line for line in one.under("Extensions")[0].text.split("\n") if "config.m4" in line]
    command = command.split("#")[0].strip()
    todo = fenced(f"```sh\n{command}\n```\n")[0]
    assert steps([todo]) == 1
    put(workdir, "src/my-extension/config.m4", CONFIG_M4)
    put(workdir, "src/my-extension/pips.c", SOURCE)
    put(workdir, "srv/shop/index.php", "<?php echo function_exists('pips') ? pips() : 'none';")
    pool(one, f"[shop]\nhttp.listen = 127.0.0.1:{one.port(80)}\nhttp.document_root = {workdir}/srv/shop\n")
    # The server under test has the runtime itself; it takes modules and php.ini's folder from the copy that the test may write to.
    modules = subprocess.run([f"{runtime}/bin/php-config", "--extension-dir"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    one.environment["PHP_INI_SCAN_DIR"] = f"{runtime}/etc/conf.d"
    daemon(one, 80, more=("-d", f"extension_dir={modules}"))
    assert get(one.port(80)).text == "none"
    one.environment["HOME"] = workdir
    one.run(todo._replace(text=f"{ROOT}/{command} --php-config {runtime}/bin/php-config"))
    wait_for(lambda: get(one.port(80)).text == "7", 60, "the function of the extension")


# -- 6: a value of php.ini --

def test_ini_value(page):
    """One word of the command, as with `php -S -d`; on a server one line and a reload, as everywhere."""
    one = page("php-ini.md")
    put(one.folder, "hello/index.php", "<?php echo ini_get('memory_limit'), ' ', ini_get('date.timezone');")
    line, = [text for text in page("getting-started.md").under("The first page")[1].text.split("\n") if " -d " in text]
    command = fenced(f"```sh\n{line.split('#')[0].strip()} --listen {one.port(8080)}\n```\n")[0]
    assert steps([command]) == 1
    serve(one, command, one.port(8080))
    assert get(one.port(8080)).text.startswith("512M")
    one.stop()
    todo = one.under("For one pool")
    assert steps(todo) == 1
    pool(one, "[www]\n" + f"http.listen = 127.0.0.1:{one.port(8081)}\nhttp.document_root = {one.folder}/hello\n")
    server = daemon(one, 8081)
    assert get(one.port(8081)).text.split()[0] != "256M"
    pool(one, todo[0].text, f"http.listen = 127.0.0.1:{one.port(8081)}", f"http.document_root = {one.folder}/hello", "pm = static", "pm.max_children = 2")
    one.run(page("operations.md").under("Reload")[0])
    wait_for(lambda: get(one.port(8081)).text == "256M Europe/Berlin", 60, "the new value")
    assert server.running()


# -- 7, 8: TLS and the way to it --

def test_tls(page):
    """On a laptop one option, and FrankenPHP's Caddy does it with one command, too; on a server one file and a reload (2), as with
    nginx and with FrankenPHP with certificates of one's own."""
    one = page("tls.md")
    put(one.folder, "hello/index.php", "<?php echo $_SERVER['HTTPS'], ' ', $_SERVER['SERVER_PROTOCOL'];")
    todo = one.under("On a laptop")
    assert steps(todo) == 1
    serve(one, todo[0]._replace(text=f"{todo[0].text.strip()} --listen {one.port(8443)}"), one.port(8443))
    certificate = f"{one.folder}/.local/share/tokiophp/localhost.pem"
    with socket.create_connection(("127.0.0.1", one.port(8443)), 30) as plain, \
            ssl.create_default_context(cafile=certificate).wrap_socket(plain, server_hostname="localhost") as secure:
        secure.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert secure.makefile("rb").read().endswith(b"on HTTP/1.1")


def test_redirect_to_https(page):
    """One line beside those of TLS, in the same file. nginx needs a second server block; FrankenPHP does it by itself."""
    one = page("tls.md")
    todo = one.under("On a server")
    assert steps(todo) == 1 and "http.redirect_https" in todo[0].text
    os.makedirs(f"{one.folder}/etc/ssl")
    make_cert(f"{one.folder}/etc/ssl", "www", san="www.example.org")
    put(one.folder, "srv/www/index.php", "<?php echo 'secure ', $_SERVER['HTTPS'];")
    pool(one, todo[0].text)
    daemon(one, 80)
    one.names_are_here("www.example.org", certificate=f"{one.folder}/etc/ssl/www.pem")
    look = one.under("Is it right?")[0]
    said = one.run(look)
    assert re.search(r"^HTTP/1.1 308[\s\S]*^Location: https://www.example.org/\r?$", said, re.M | re.I), said
    assert re.search(r"^HTTP/2 200", said, re.M) and re.search(r"strict-transport-security: max-age=31536000", said, re.I), said
    assert "notAfter=" in said
