"""`tokiophp serve DIR`: what it finds out about a folder, what it says, and what a developer's browser gets."""
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time

import pytest

import process
from files import put
from http_raw import Raw
from terminal import Terminal
from tokiophp import PROGRAM, is_stand_in

pytestmark = pytest.mark.skipif(is_stand_in(), reason="tokiophp's own words")


SHOW = "<?php echo __FILE__, ' ', $_SERVER['REQUEST_URI'], ' ', $_SERVER['SCRIPT_NAME'];"


class Served:
    def __init__(self, workdir, folder, *args, **env):
        self.address = ("127.0.0.1", process.free_port())
        command = [PROGRAM, "serve", folder, "--listen", str(self.address[1]), "--workers", "2", *args]
        self.server = process.Program(command, workdir, "serve.log", env={"PATH": os.environ["PATH"], **env})
        try:
            self.server.wait_accepting(self.address)
        except BaseException:
            self.server.kill_family()
            raise

    def get(self, path, **fields):
        lines = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in fields.items())
        with Raw(self.address) as raw:
            return raw.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{lines}Connection: close\r\n\r\n").reply()

    def text(self, path):
        reply = self.get(path)
        return reply.body.decode() if reply.status == 200 else reply.status


@pytest.fixture
def serve(workdir):
    started = []

    def start(folder, *args, **how):
        started.append(Served(workdir, folder, *args, **how))
        return started[-1]
    yield start
    for served in started:
        served.server.stop()


@pytest.fixture
def project(workdir):
    """As frameworks lay it out: the site is a folder of the project, and links into a folder beside it."""
    folder = os.path.join(workdir, "project")
    put(folder, "public/index.php", SHOW)
    put(folder, "public/app.css", "a {}")
    put(folder, "storage/photo.txt", "a photo")
    put(folder, "public/.env", "SECRET=1")
    put(workdir, "elsewhere.txt", "outside")
    os.symlink("../storage", os.path.join(folder, "public/storage"))
    os.symlink("../../elsewhere.txt", os.path.join(folder, "public/elsewhere.txt"))
    return folder


def test_the_public_folder_of_a_project(serve, project):
    served = serve(project)
    index = os.path.join(project, "public/index.php")
    assert served.text("/login?next=1") == f"{index} /login?next=1 /index.php"
    assert served.text("/") == f"{index} / /index.php"
    assert served.text("/storage/photo.txt") == "a photo"
    assert served.get("/elsewhere.txt").status == 403
    assert served.text("/.env") == 403
    log = process.wait_for(lambda: "http.follow_symlinks" in served.server.log() and served.server.log())
    assert "elsewhere.txt" in log
    assert f"serving {project}/public at http://localhost:{served.address[1]}/ (paths without a file run" in log


def test_the_public_folder_itself(serve, project):
    """As one types it who knows frankenphp php-server -r public/: links lead as far as from the project."""
    put(project, "composer.json", "{}")
    served = serve(os.path.join(project, "public"))
    assert served.text("/storage/photo.txt") == "a photo"
    assert served.get("/elsewhere.txt").status == 403


def test_a_site_with_scripts_in_its_root(serve, workdir):
    folder = os.path.join(workdir, "blog")
    for name in ("index.php", "wp-login.php", "sub/index.php", "public/index.php"):
        put(folder, name, SHOW)
    served = serve(folder)
    for path, script in (("/hello-world/", "index.php"), ("/wp-login.php", "wp-login.php"), ("/sub/x/y", "sub/index.php"),
                         ("/public/", "public/index.php")):
        assert served.text(path) == f"{folder}/{script} {path} /{script}"


def test_a_folder_without_an_index(serve, workdir):
    folder = os.path.join(workdir, "plain")
    put(folder, "page.html", "<p>page")
    served = serve(folder)
    assert served.text("/page.html") == "<p>page"
    assert served.text("/none") == 404


def test_index_says_otherwise(serve, project):
    served = serve(project, "--index", "index.html")
    assert served.text("/login") == 404


def test_files_are_asked_for_each_time(serve, project):
    served = serve(project)
    reply = served.get("/app.css")
    assert (reply.get("Cache-Control"), reply.get("Expires")) == ("no-cache", None)
    assert served.get("/app.css", If_None_Match=reply.get("ETag")).status == 304
    served = serve(project, STATIC_CACHE_TTL="1h")
    assert served.get("/app.css").get("Cache-Control") == "public, max-age=3600"


@pytest.mark.parametrize("level", ["error", "debug"])
def test_urls_that_a_browser_takes(project, level):
    port = process.free_port()
    server = process.Program([PROGRAM, "serve", project, "--listen", f"0.0.0.0:{port}", "--workers", "1"],
                             os.path.dirname(project), "any.log", env={"PATH": os.environ["PATH"], "LOG_LEVEL": level})
    try:
        server.wait_accepting(("127.0.0.1", port))
        urls = process.wait_for(lambda: re.findall(r"at (http://\S+)", server.log()), what="its line")
        assert f"http://localhost:{port}/" in urls and "0.0.0.0" not in " ".join(urls)
    finally:
        server.stop()


def test_a_folder_that_is_gone(workdir):
    """Nothing else is served in its place, and certainly not all of the machine's files."""
    folder = os.path.join(workdir, "gone")
    os.mkdir(folder)
    done = subprocess.run(["/bin/sh", "-c", f"rmdir {folder}; exec {PROGRAM} serve -t"], cwd=folder, capture_output=True, text=True, timeout=20,
                          check=False)
    assert done.returncode == 78 and "the current folder cannot be found" in done.stdout + done.stderr
    done = subprocess.run(["/bin/sh", "-c", f"exec {PROGRAM} serve -t"], cwd=workdir, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr


def test_an_address_that_is_not_to_be_had(project, workdir):
    def said(listen, *before):
        done = subprocess.run([*before, PROGRAM, "serve", project, "--listen", listen, "--workers", "1"], cwd=workdir, capture_output=True, text=True,
                              timeout=30, check=False)
        assert done.returncode == 78, done.stderr
        return done.stdout + done.stderr
    with socket.create_server(("127.0.0.1", 0)) as s:
        assert "another address with --listen PORT" in said(str(s.getsockname()[1]))
    if os.geteuid() == 0:
        assert "ports below 1024" in said("81", "setpriv", "--reuid", "65534", "--clear-groups", "--bounding-set", "-all")


def test_a_key_without_its_certificate(project):
    """Whoever names one does not want plain text."""
    for words, env in ((["--tls-key", "x.key"], {}), ([], {"TLS_KEY": "x.key"})):
        done = subprocess.run([PROGRAM, "serve", project, "-t", *words], env={**os.environ, **env}, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 78 and "http.tls_key without http.tls_cert" in done.stdout + done.stderr


def test_a_public_folder_that_leads_nowhere(project):
    shutil.rmtree(project + "/public")
    os.symlink("old/public", project + "/public")
    done = subprocess.run([PROGRAM, "serve", project, "-t"], capture_output=True, text=True, timeout=30, check=False)
    assert f"{project}/public is a link that leads nowhere: all of {project} is served instead" in done.stdout + done.stderr


def test_several_addresses(project, workdir):
    """A list is as private as each of its ports alone."""
    ports = [process.free_port() for _ in range(3)]
    server = process.Program([PROGRAM, "serve", project, "--listen", f"{ports[0]},:{ports[1]},tls:{ports[2]}", "--workers", "1"], workdir, "several.log",
                             env={"PATH": os.environ["PATH"], "XDG_DATA_HOME": f"{workdir}/data"})
    try:
        process.wait_for(lambda: server.log().count("serving ") == 3, 60, "three URLs")
        urls = re.findall(r" at (\S+)", server.log())
        assert sorted(urls) == sorted([f"http://localhost:{ports[0]}/", f"http://localhost:{ports[1]}/", f"https://localhost:{ports[2]}/"])
    finally:
        server.stop()


def test_help_is_its_own():
    done = subprocess.run([PROGRAM, "serve", "--help"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and "--listen ADDRESS" in done.stdout and "php-fpm" not in done.stdout


def test_a_certificate_of_its_own(serve, project, workdir):
    """Made once, and kept: a browser remembers what its user has let pass."""
    shown = []
    for _ in range(2):
        served = serve(project, "--tls", XDG_DATA_HOME=f"{workdir}/data")
        context = ssl.create_default_context(cafile=f"{workdir}/data/tokiophp/localhost.pem")
        with Raw(served.address, tls=context) as raw:
            assert raw.send("GET /app.css HTTP/1.1\r\nHost: localhost\r\n\r\n").reply().body == b"a {}"
            shown.append(raw.sock.getpeercert(True))
        process.wait_for(lambda s=served: "https://localhost:" in s.server.log(), 20, "its line")
        served.server.stop()
        assert "WARNING" not in served.server.log()
    assert shown[0] == shown[1]
    assert os.stat(f"{workdir}/data/tokiophp/localhost.key").st_mode & 0o777 == 0o600


@pytest.mark.parametrize("more", [[], ["--tls"]])
def test_an_address_that_says_tls(project, workdir, more):
    port = process.free_port()
    server = process.Program([PROGRAM, "serve", project, "--listen", f"tls:{port}", "--workers", "1", *more], workdir, "tls.log",
                             env={"PATH": os.environ["PATH"], "XDG_DATA_HOME": f"{workdir}/data"})
    try:
        server.wait_accepting(("127.0.0.1", port))
        context = ssl.create_default_context(cafile=f"{workdir}/data/tokiophp/localhost.pem")
        with Raw(("127.0.0.1", port), tls=context) as raw:
            assert raw.send("GET /app.css HTTP/1.1\r\nHost: localhost\r\n\r\n").reply().body == b"a {}"
        process.wait_for(lambda: f"at https://localhost:{port}/" in server.log(), 20, "its line")
    finally:
        server.stop()


def test_no_place_for_a_certificate(project):
    done = subprocess.run([PROGRAM, "serve", project, "--tls", "-t"], capture_output=True, text=True, timeout=20,
                          env={"PATH": os.environ["PATH"], "XDG_DATA_HOME": "/proc/none"})
    assert done.returncode == 78 and "no place for a certificate: /proc/none/tokiophp" in done.stdout + done.stderr


def test_the_browser_is_opened(serve, project, workdir):
    put(workdir, "browser", f"#!/bin/sh\necho \"$@\" >> {workdir}/opened\n")
    os.chmod(f"{workdir}/browser", 0o755)
    served = serve(project, "--open", BROWSER=f"{workdir}/browser")
    process.wait_for(lambda: os.path.exists(f"{workdir}/opened"), 30, "the browser")
    served.server.signal(signal.SIGUSR2)
    process.wait_for(lambda: served.server.log().count("serving ") == 2, 60, "the reload")
    with open(f"{workdir}/opened", encoding="utf-8") as f:
        assert f.read() == f"http://localhost:{served.address[1]}/\n"


def test_phps_command_line(workdir):
    def php(*arguments, **how):
        return subprocess.run([PROGRAM, "php", *arguments], capture_output=True, text=True, timeout=60, check=False, **how)
    served = subprocess.run([PROGRAM, "-v"], capture_output=True, text=True, timeout=60, check=True).stdout
    done = php("-r", "echo PHP_SAPI, ' ', PHP_VERSION, ' ', PHP_ZTS, ' ', implode(',', array_slice($argv, 1)); exit(3);", "--", "-a", "b c")
    assert done.returncode == 3 and done.stdout.startswith("cli ") and done.stdout.endswith(" 1 -a,b c")
    assert done.stdout.split()[1] in served
    assert php(input="<?php echo 6 * 7;").stdout == "42"


# -- --watch --

def test_watch(serve, project):
    """A change below the project, not only below its public files, begins it anew; and pages hear of it."""
    put(project, "src/App.php", "<?php return 'one';")
    put(project, "public/index.php", "<?php $boot = bin2hex(random_bytes(4)); $app = require __DIR__ . '/../src/App.php';"
                                     "while (frankenphp_handle_request(function () use ($boot, $app) { echo \"$boot $app\"; }));")
    served = serve(project, "--worker", project + "/public/index.php,2", "--watch")
    boot, app, *line = served.text("/").split(maxsplit=2)
    assert app == "one" and line == ['<script src="/.tokiophp/reload.js" async></script>\n']
    process_id = served.text("/.tokiophp/reload")
    put(project, "var/log/x.php", "<?php")
    put(project, "src/App.php", "<?php return 'two';")
    process.wait_for(lambda: served.text("/").split()[1] == "two", 30, "the new boot")
    assert served.text("/.tokiophp/reload") != process_id


@pytest.mark.parametrize("name", ["../project", "../my site/", "."])
def test_watch_of_a_folder_by_any_name(project, workdir, name):
    os.rename(project, workdir + "/my site")
    os.symlink("my site", project)
    port, folder = process.free_port(), workdir + ("/my site" if name == "." else "/release")
    os.makedirs(folder, exist_ok=True)
    server = process.Program([PROGRAM, "serve", name, "--listen", str(port), "--workers", "1", "--watch"], workdir, "named.log", cwd=folder,
                             env={"PATH": os.environ["PATH"]})

    def ask():
        with Raw(("127.0.0.1", port)) as raw:
            return raw.send("GET /.tokiophp/reload HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").reply().body
    try:
        server.wait_accepting(("127.0.0.1", port))
        before = ask()
        put(workdir + "/my site", "src/App.php", "<?php")
        process.wait_for(lambda: ask() != before, 30, "another process")
    finally:
        server.stop()


def test_watch_with_patterns(serve, project):
    put(project, "conf/a.yaml", "a: 1")
    served = serve(project, "--watch=conf/*.yaml")
    before = served.text("/.tokiophp/reload")
    put(project, "conf/a.yaml", "a: 2")
    process.wait_for(lambda: served.text("/.tokiophp/reload") != before, 30, "another process")


# -- the terminal --

@pytest.fixture
def terminal():
    started = []

    def start(command):
        started.append(Terminal(["/bin/sh", "-c", command], 24, 200))
        return started[-1]
    yield start
    for one in started:
        one.stop()


def shell_command(project, port, before="", after="; echo and then $?"):
    """As a script, make or npm start it: without a process group of its own."""
    return f"{before} {PROGRAM} serve {project} --listen {port} --workers 1{after}"


def supervisor_of(port):
    """Who listens there is asked who its parent is."""
    with Raw(("127.0.0.1", port)) as raw:
        reply = raw.send("GET /pid.php HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").reply()
    return int(reply.body)


def test_control_c_in_a_script(terminal, project):
    port = process.free_port()
    t = terminal("trap 'echo heard' INT; " + shell_command(project, port))
    process.wait_for(lambda: process.accepts(("127.0.0.1", port)), 30, "the server")
    t.type("\x03")
    t.until(lambda s: any("and then 0" in line for line in s.lines()), "the end of the server")
    assert not process.accepts(("127.0.0.1", port))
    assert t.wait() == 0


def test_scripts_have_no_terminal(terminal, project):
    """Its user is not the pool's."""
    put(project, "public/tty.php", "<?php echo json_encode([(bool)@fopen('/dev/tty', 'r+'), posix_ctermid(), trim(shell_exec('(: </dev/tty) 2>/dev/null && echo has') ?? '')]);")
    port = process.free_port()
    t = terminal("trap : INT; (: </dev/tty) && echo a terminal; " + shell_command(project, port))
    process.wait_for(lambda: process.accepts(("127.0.0.1", port)), 30, "the server")
    t.until(lambda s: any("a terminal" in line for line in s.lines()), "a terminal of the server's own")
    with Raw(("127.0.0.1", port)) as raw:
        reply = raw.send("GET /tty.php HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").reply()
    assert reply.body == b'[false,"\\/dev\\/tty",""]'
    t.type("\x03")
    t.until(lambda s: any("and then 0" in line for line in s.lines()), "the end of the server")


# What a script begins with, and whether the server outlives the terminal then: its shell has died, has told it so, or it has nothing to do with it.
CLOSED = [("", False), ("trap '' HUP;", True), ("set -m; trap 'kill -HUP $!; exit' HUP;", False), ("set -m;", True)]


@pytest.mark.parametrize("before, stays", CLOSED, ids=["plain", "nohup", "told", "disowned"])
def test_the_terminal_is_closed(terminal, project, before, stays):
    """It ends with its terminal, unless its user has seen to it that it does not: then HUP means what it means elsewhere."""
    port = process.free_port()
    put(project, "public/pid.php", "<?php echo posix_getppid();")
    t = terminal(before + shell_command(project, port, "", " >/dev/null 2>&1 &") + " wait")
    process.wait_for(lambda: process.accepts(("127.0.0.1", port)), 30, "the server")
    server = supervisor_of(port)
    try:
        os.close(t.fd)
        if stays:
            time.sleep(0.5)
            os.kill(server, signal.SIGHUP)
            time.sleep(2)
            assert supervisor_of(port) == server
        else:
            process.wait_for(lambda: process.session_of(server) is None, 30, "its end")
            assert not process.accepts(("127.0.0.1", port))
    finally:
        t.fd = os.open("/dev/null", os.O_RDWR)
        if process.session_of(server) is not None:
            os.kill(server, signal.SIGTERM)
            process.wait_for(lambda: process.session_of(server) is None, 30, "the end of the server")


def test_control_c_is_for_what_is_in_front(terminal, project):
    """As a script does it that goes on to show a log."""
    port = process.free_port()
    put(project, "public/pid.php", "<?php echo posix_getppid();")
    t = terminal(shell_command(project, port, "nohup", " >/dev/null 2>&1 & sleep 1000"))
    process.wait_for(lambda: process.accepts(("127.0.0.1", port)), 30, "the server")
    server = supervisor_of(port)
    t.type("\x03")
    t.wait()
    time.sleep(0.5)
    assert supervisor_of(port) == server
    os.kill(server, signal.SIGINT)
    process.wait_for(lambda: process.session_of(server) is None, 30, "its end")
