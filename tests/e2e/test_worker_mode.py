"""worker.script: the application boots once on each of its threads, and what a request changed is undone after it."""
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import threading
import time
import urllib.parse
import zlib

import pytest

import process
from fcgi_client import Connection, fetch, request
from files import put
from h2_client import Client as Http2
from http_raw import Raw
from tokiophp import PROGRAM
from web import Site

FRONTS = ("http", "fcgi")


class Worker:
    """A pool with tests/e2e/www/worker/index.php as its worker script, reached over both front ends."""

    def __init__(self, start, directory, pool="", num=1, files=(), **how):
        self.www = os.path.join(directory, "www")
        self.folder = os.path.join(self.www, "worker")
        self.script = os.path.join(self.folder, "index.php")
        for name, text in dict(files).items():
            self.put(name, text)
        self.site = Site(start, self.www, pool=f"pm.max_children = 2\nworker.script = {self.script}\nworker.num = {num}\n{pool}",
                         **how)
        self.server = self.site.server

    def put(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path + ".new", "w") as f:
            f.write(text)
        os.rename(path + ".new", path)

    def raw(self, front, code, **how):
        """(status, text)"""
        query = "code=" + urllib.parse.quote(code)
        if front == "http":
            answer = self.site.ask("/worker/index.php?" + query, **how)
            return answer.status, answer.text
        answer = fetch(self.server.address, self.script, query=query, **how)
        return answer.status, answer.body.decode("utf-8", "replace")

    def all(self, front, code):
        status, text = self.raw(front, code)
        assert status == 200, (status, text, self.server.messages()[-2000:])
        try:
            return json.loads(text)
        except ValueError:
            raise AssertionError(f"{code}: {text}") from None

    def run(self, front, code):
        return self.all(front, code)["answer"]

    def boot(self, front="http"):
        return self.all(front, "return 1;")["boot"]


@pytest.fixture
def worker(tokiophp, workdir):
    def start(**how):
        return Worker(tokiophp, workdir, **how)
    return start


@pytest.fixture(params=FRONTS)
def front(request):
    return request.param


# -- the life of a script --

def test_it_boots_once(worker, front):
    w = worker()
    first, second = w.all(front, "return 1;"), w.all(front, "return 2;")
    assert first["boot"] == second["boot"] and second["request"] == first["request"] + 1
    assert w.run(front, "Lives::$kept[] = new ArrayObject([5]); return count(Lives::$kept);") == 1
    assert w.run(front, "return Lives::$kept[0][0];") == 5


def test_both_fronts_reach_the_same_script(worker):
    w = worker()
    assert w.boot("http") == w.boot("fcgi")


def test_other_scripts_run_as_ever(worker, front):
    w = worker()
    with open(w.www + "/plain.php", "w") as f:
        f.write("<?php try { tokio_handle_request(fn() => 1); } catch (Error $e) { echo $e->getMessage(); }"
                "echo isset($_SERVER['FRANKENPHP_WORKER']) ? ' worker' : ' classic';")
    for _ in range(4):
        w.boot(front)
        if front == "http":
            text = w.site.ask("/plain.php").text
        else:
            text = fetch(w.server.address, w.www + "/plain.php").body.decode()
        assert text == "tokio_handle_request() is for the pool's worker.script classic"


@pytest.mark.parametrize("way", ["named", "real"])
def test_a_link_that_moves_to_and_fro(tokiophp, workdir, way):
    """A deployment that is taken back at once: who comes with the place in between is the script's, too."""
    for release in "ab":
        put(f"{workdir}/{release}", "index.php", "<?php while (tokio_handle_request(function () { echo 'worker'; }));")
    os.symlink("a", workdir + "/current")
    site = Site(tokiophp, workdir + "/current", pool=f"pm.max_children = 1\nworker.num = 1\nworker.script = {workdir}/current/index.php\n"
                f"http.index = index.php\nhttp.follow_symlinks = yes\nhttp.symlink_root = {workdir}\n")

    def to(release):
        os.symlink(release, workdir + "/next")
        os.rename(workdir + "/next", workdir + "/current")

    def ask(release):
        """Over HTTP the server knows for a second where a link leads; nginx's $realpath_root says it itself."""
        if way == "named":
            answer = site.ask("/")
            return answer.status, answer.text
        answer = fetch(site.server.address, f"{workdir}/{release}/index.php")
        return answer.status, answer.body.decode()
    answers = []
    for _ in range(12):
        for release, after in (("b", "a"), ("a", "b")):
            to(release)
            answers.append(ask(release))
            to(after)
            answers.append(ask(release))
            time.sleep(0.1)
    assert set(answers) == {(200, "worker")}


def test_routes(worker, front):
    """Paths that belong to the worker script whatever they lead to, and no others."""
    w = worker(num=2, pool="worker.routes = /api/* /worker/index.php/shop/*\nhttp.index = /front.php\n")
    for name in ("front.php", "api.php"):
        with open(f"{w.www}/{name}", "w") as f:
            f.write("<?php echo 'classic ', basename(__FILE__);")
    os.mkdir(w.www + "/api")
    with open(w.www + "/api/file.php", "w") as f:
        f.write("<?php echo 'classic ', basename(__FILE__);")

    def ask(path, script):
        query = "code=" + urllib.parse.quote("return [$_SERVER['REQUEST_URI'] === $_GET['uri'], basename($_SERVER['SCRIPT_FILENAME'])];") + \
            "&uri=" + urllib.parse.quote(path)
        if front == "http":
            with Raw(w.site.address) as c:
                c.send(f"GET {path}?{query} HTTP/1.1\r\nHost: x\r\n\r\n")
                text = c.reply().body.decode()
        else:
            text = fetch(w.server.address, f"{w.www}/{script}", query=query, REQUEST_URI=f"{path}?{query}").body.decode()
        return json.loads(text)["answer"][1] if text.startswith("{") else text
    for path, script, answer in (("/api/users/5", "front.php", "front.php"), ("/api/file.php", "api/file.php", "file.php"),
                                 ("/%61pi/x", "front.php", "front.php"), ("/other/../api/x", "front.php", "front.php"),
                                 ("/worker/index.php/shop/1", "worker/index.php", "index.php")):
        if "/../" in path and front == "http":
            continue
        assert ask(path, script) == answer, path
    for path, script, answer in (("/apis", "front.php", "classic front.php"), ("/api.php", "api.php", "classic api.php"),
                                 ("/other?/api/", "front.php", "classic front.php"), ("/api/../x", "front.php", "classic front.php")):
        if "/../" in path and front == "http":
            continue
        assert ask(path, script) == answer, path


def test_routes_are_checked(tokiophp, workdir):
    w = Worker(tokiophp, workdir)
    with open(w.server.config_path) as f:
        text = f.read()
    with open(workdir + "/wrong.ini", "w") as f:
        f.write(text.replace("worker.num = 1", "worker.routes = api/*"))
    done = subprocess.run([PROGRAM, "-t", "-y", workdir + "/wrong.ini"], capture_output=True, text=True)
    assert done.returncode == 78 and "expected paths that begin with '/'" in done.stdout + done.stderr


def test_one_connection_for_both_kinds(worker):
    """A kept connection goes to the threads that its next request is for, and back."""
    w = worker(num=2)
    with open(w.www + "/plain.php", "w") as f:
        f.write("<?php echo 'plain ', $_SERVER['REQUEST_METHOD'], file_get_contents('php://input');")
    with Connection(w.server.address) as c:
        for n in range(6):
            body = b"x" * (40000 if n % 2 else 3)
            assert c.request(script=w.www + "/plain.php", keep=True, method="POST", body=body).body == b"plain POST" + body
            answer = c.request(script=w.script, keep=True, method="POST", query="code=" + urllib.parse.quote(
                "return strlen(file_get_contents('php://input'));"), body=body)
            assert json.loads(answer.body)["answer"] == len(body)


def test_as_many_may_wait_as_its_threads_are_worth(worker):
    """100 for each thread that holds the script, however few others the pool has."""
    w = worker(num=4, pool="pm.max_children = 1\n")
    clients = [Raw(w.site.address) for _ in range(300)]
    try:
        for c in clients:
            c.send("GET /worker/index.php?code=usleep(20000);return+7; HTTP/1.1\r\nHost: x\r\n\r\n")
        assert [c.reply().status for c in clients] == [200] * 300
    finally:
        for c in clients:
            c.close()


@pytest.mark.parametrize("late", [8, 3])
def test_an_answer_that_overtakes_its_request(worker, late):
    """The last bytes of a request come when its answer has left: the connection is kept all the same. Who is too slow to send
    them, on a busy machine, tries again."""
    w = worker(files={"index.php": "<?php while (tokio_handle_request(function () { echo $_SERVER['QUERY_STRING']; }));"})

    def answer(s):
        data = b""
        while not re.search(rb"\x01\x03\x00\x01.{12}$", data, re.S):
            piece = s.recv(65536)
            if not piece:
                return None
            data += piece
        return data

    def is_kept():
        with process.connect(w.server.address) as s:
            asked = [request(w.script, keep=True, query=f"n{n}") for n in range(2)]
            s.sendall(asked[0][:-late])
            assert b"n0" in answer(s)
            try:
                s.sendall(asked[0][-late:] + asked[1])
                return b"n1" in (answer(s) or b"")
            except OSError:
                return False
    assert any(is_kept() for _ in range(30))


def test_it_ends_after_max_requests(worker, front):
    w = worker(pool="worker.max_requests = 3\n", files={"after.php": "<?php error_log('the end of ' . $boot);"})
    boots = [w.all(front, "return getenv('MAX_REQUESTS');") for _ in range(7)]
    assert [b["request"] for b in boots] == [1, 2, 3, 1, 2, 3, 1] and boots[0]["answer"] == "3"
    assert len({b["boot"] for b in boots}) == 3
    w.server.wait_message("the end of " + boots[0]["boot"])


def test_a_script_that_does_not_hear_that_it_is_to_end(worker, front):
    """It would ask again and again, and no request would ever be answered."""
    w = worker(pool="worker.max_requests = 2\n", files={"index.php": "<?php $boot = bin2hex(random_bytes(8)); $n = 0; while (true) {"
               "tokio_handle_request(function () use ($boot, &$n) { echo json_encode(['boot' => $boot, 'answer' => ++$n]); }); }"})
    answers = [w.all(front, "") for _ in range(5)]
    assert [a["answer"] for a in answers] == [1, 2, 1, 2, 1] and len({a["boot"] for a in answers}) == 3
    w.server.wait_message("WARNING: .*index.php has been told that it is to end, and goes on")
    began = time.monotonic()
    w.server.stop(number=signal.SIGQUIT)
    assert time.monotonic() - began < 15


def test_the_thread_ends_with_its_script(worker):
    """False comes at the end of the process, and what the script does then is done."""
    w = worker(files={"boot.php": "<?php register_shutdown_function(fn() => error_log('boot function'));",
                      "after.php": "<?php error_log('after the loop');"})
    assert w.run("http", "register_shutdown_function(fn() => error_log('request function')); return 1;") == 1
    w.server.wait_message("request function")
    assert "boot function" not in w.server.messages() and "after the loop" not in w.server.messages()
    w.server.stop(number=3)
    assert "after the loop" in w.server.messages() and "boot function" in w.server.messages()


def test_environment(worker, front):
    w = worker(pool="worker.env[APP_ENV] = prod\nenv[OTHER] = other\n",
               files={"boot.php": "<?php $_ENV['FROM_BOOT'] = 'boot'; Lives::$kept = [$_SERVER['APP_ENV'], getenv('APP_ENV'), "
                                  "$_SERVER['SCRIPT_FILENAME'], $_SERVER['REQUEST_METHOD'] ?? null, $_SERVER['FRANKENPHP_WORKER']];"})
    assert w.run(front, "return Lives::$kept;") == ["prod", "prod", w.script, None, "1"]
    code = "return [$_SERVER['APP_ENV'], getenv('APP_ENV'), getenv('OTHER'), $_ENV['FROM_BOOT'] ?? null, $_SERVER['FRANKENPHP_WORKER'], $_SERVER['REQUEST_METHOD']];"
    for _ in range(2):
        assert w.run(front, code) == ["prod", "prod", "other", "boot", "1", "GET"]
        assert w.run(front, "$_ENV['FROM_BOOT'] = 'request'; return 1;") == 1


# -- a request --

MIRROR = r"""
    $server = array_diff_key($_SERVER, array_flip(['REQUEST_TIME', 'REQUEST_TIME_FLOAT', 'TOKIO_REQUEST_ID', 'REMOTE_PORT', 'FRANKENPHP_WORKER',
        'TRACE_ID', 'SPAN_ID', 'PARENT_SPAN_ID', 'TOKIO_WORKER_ID', 'HTTP_USER_AGENT', 'UNIQUE_ID']));
    ksort($server);
    foreach ($_FILES as &$file) { $file['text'] = file_get_contents($file['tmp_name']); $file['tmp_name'] = dirname($file['tmp_name']); }
    return ['get' => $_GET, 'post' => $_POST, 'cookie' => $_COOKIE, 'request' => $_REQUEST, 'files' => $_FILES, 'server' => $server,
        'input' => md5(file_get_contents('php://input')), 'headers' => array_change_key_case(getallheaders()), 'sent' => headers_sent(),
        'user' => $_SERVER['PHP_AUTH_USER'] ?? null, 'password' => $_SERVER['PHP_AUTH_PW'] ?? null,
        'late' => abs($_SERVER['REQUEST_TIME'] - time()) < 30, 'filter' => filter_input(INPUT_GET, 'g'), 'error' => error_get_last()];
"""
FORM = "application/x-www-form-urlencoded"
MULTIPART = ("--b\r\nContent-Disposition: form-data; name=p\r\n\r\nv\r\n--b\r\nContent-Disposition: form-data; name=f; filename=a.txt\r\n"
             "Content-Type: text/plain\r\n\r\nhello file\r\n--b--\r\n").encode()


def without_names(answer, *names):
    text = json.dumps(answer)
    for name in names:
        text = text.replace(json.dumps(name)[1:-1], "SCRIPT")
    return json.loads(text)


@pytest.mark.parametrize("method,kind,body", [("GET", None, None), ("POST", FORM, b"a=1&b[]=2&b[]=3"), ("POST", "multipart/form-data; boundary=b", MULTIPART),
                                              ("PUT", "application/json", b'{"x":1}'), ("DELETE", None, None)])
def test_a_request_is_as_in_classic_mode(worker, method, kind, body):
    w = worker()
    with open(w.folder + "/classic.php", "w") as f:
        f.write("<?php echo json_encode((function () { " + MIRROR + "})());")
    w.put("mirror.inc", "<?php " + MIRROR)
    fields = {"Cookie": "c=1; d=two", "Authorization": "Basic dXNlcjpwYXNz", "X_Own": "some"}
    if kind:
        fields["Content_Type"] = kind

    def ask(name):
        return w.site.ask(f"/worker/{name}?g=x&code=return+require+__DIR__.'/mirror.inc';", method=method, body=body, **fields).text
    classic = json.loads(ask("classic.php"))
    for _ in range(3):
        own = json.loads(ask("index.php"))["answer"]
        assert without_names(own, "index.php") == without_names(classic, "classic.php")
        w.run("http", "$_GET = $_POST = $_COOKIE = $_SERVER = $_REQUEST = $_FILES = ['x' => 'changed']; return 1;")


def test_headers_are_the_requests_own(worker, front):
    w = worker()
    code = "header('X-One: 1'); http_response_code(201); setcookie('a', 'b'); header('Content-Type: text/x-own'); return 1;"
    assert w.raw(front, code)[0] == 201
    status, text = w.raw(front, "return headers_list();")
    assert status == 200 and not any("X-One" in h or "Cookie" in h or "x-own" in h for h in json.loads(text)["answer"])


def test_uploads_and_bodies_go(worker):
    w = worker()
    names = json.loads(w.site.ask("/worker/index.php?code=" + urllib.parse.quote(
        "Lives::$kept = [fopen('php://input', 'r')]; return [$_FILES['f']['tmp_name'], is_file($_FILES['f']['tmp_name'])];"),
        method="POST", body=MULTIPART, Content_Type="multipart/form-data; boundary=b").text)["answer"]
    assert names[1] and w.run("http", f"return is_file('{names[0]}');") is False
    assert w.run("http", "try { return fread(Lives::$kept[0], 10); } catch (TypeError $e) { return 'closed'; }") == "closed"


def test_streaming_and_early_end(worker, front):
    w = worker()
    status, text = w.raw(front, "echo 'one'; flush(); echo 'two'; return null;")
    assert (status, text) == (200, "onetwo")
    mark = w.folder + "/../../tmp/mark"
    status, text = w.raw(front, f"echo 'early'; fastcgi_finish_request(); echo 'late'; file_put_contents('{mark}', 'x'); return null;")
    assert (status, text) == (200, "early")
    process.wait_for(lambda: os.path.exists(mark), 10, "what comes after the answer")
    assert w.run(front, "return ob_get_level();") == (1 if w.run(front, "return ini_get('output_buffering');") != "0" else 0)


# -- what ends it --

def test_a_deadline_counts_behind_the_answer(worker, front):
    """The client has gone and nobody comes: the process has no reason to wake but the script itself."""
    w = worker(pool="request_terminate_timeout = 2s\nrequest_terminate_timeout_track_finished = yes\n")
    w.raw(front, "echo 'x'; tokio_finish_request(); while (true) {} return 1;")
    w.server.wait_message("execution timed out", 60)


@pytest.mark.parametrize("code,status,goes_on", [
    ("echo 'x'; exit;", 200, False),
    ("http_response_code(503); exit('y');", 503, False),
    ("throw new RuntimeException('uncaught');", 500, True),
    ("ini_set('display_errors', '1'); throw new RuntimeException('uncaught');", 500, True),
    ("trigger_error('fatal', E_USER_ERROR);", 500, False),
    ("undefined_function();", 500, True),
    ("$a = []; while (true) $a[] = str_repeat('x', 100000);", 500, False),
    ("function f() { return f() + 1; } f();", 500, False),
    ("set_exception_handler(function ($e) { http_response_code(418); echo $e->getMessage(); }); throw new Exception('own');", 418, True),
    ("register_shutdown_function(function () { http_response_code(202); exit; }); return 1;", 202, None),
])
def test_ends(worker, front, code, status, goes_on):
    w = worker(pool="php_admin_value[memory_limit] = 32M\nphp_admin_value[display_errors] = 0\n")
    before = w.boot(front)
    assert w.raw(front, code)[0] == status, w.server.messages()[-2000:]
    after = w.boot(front)
    assert goes_on is None or (before == after) == goes_on
    assert w.run(front, "return http_response_code();") == 200


def test_shutdown_functions_and_destructors(worker, front):
    w = worker()
    status, text = w.raw(front, "register_shutdown_function(function () { echo ' function'; }); echo 'body';"
                                "$o = new class { function __destruct() { echo ' destructor'; } }; return null;")
    assert (status, text) == (200, "body destructor function")
    assert w.raw(front, "echo 'body'; return null;") == (200, "body")


def test_what_outlives_its_request(worker, front):
    """Generators, fibers and objects that live on belong to whoever goes on with them; their output too."""
    w = worker()
    w.run(front, "Lives::$kept = [(function () { try { yield 1; yield 2; } finally { echo 'finally'; } })(), new Fiber(function () { Fiber::suspend(1); echo 'fiber'; }),"
                 "new class { function __destruct() { echo 'destructor'; } }]; Lives::$kept[0]->current(); Lives::$kept[1]->start(); return 1;")
    assert w.run(front, "Lives::$kept[0]->next(); return Lives::$kept[0]->current();") == 2
    status, text = w.raw(front, "Lives::$kept[1]->resume(); Lives::$kept = []; return null;")
    assert (status, text) == (200, "fiberdestructorfinally") or (status, text) == (200, "fiberfinallydestructor")
    assert w.raw(front, "echo 'clean'; return null;") == (200, "clean")


# -- what a request changes is undone --

UNDONE = {
    # name: (change, look)
    "ini": ("ini_set('precision', '3'); ini_set('memory_limit', '99M'); set_time_limit(77); ini_set('default_charset', 'x-y');",
            "[ini_get('precision'), ini_get('memory_limit'), ini_get('max_execution_time'), ini_get('default_charset'), 1 / 3]"),
    "error_reporting": ("error_reporting(3);", "error_reporting()"),
    "error_handler": ("set_error_handler(fn() => true); restore_error_handler(); restore_error_handler(); set_error_handler(fn() => true, E_NOTICE);",
                      "(function () { $h = set_error_handler(null); restore_error_handler(); return is_array($h) ? $h : gettype($h); })()"),
    "exception_handler": ("set_exception_handler(fn() => true);",
                          "(function () { $h = set_exception_handler(null); restore_exception_handler(); return is_array($h) ? $h : gettype($h); })()"),
    "last_error": ("restore_error_handler(); @trigger_error('mine');", "error_get_last()"),
    "buffers": ("ob_start(); ob_start(fn($b) => $b);", "ob_get_level()"),
    "environment": ("putenv('OWN=mine'); putenv('BOOTED=changed'); putenv('PATH=/nowhere');",
                    "[getenv('OWN'), getenv('BOOTED'), getenv('PATH'), $_SERVER['OWN'] ?? null, exec('echo $OWN')]"),
    "locale": ("setlocale(LC_ALL, 'C.UTF-8', 'de_DE.UTF-8');", "[setlocale(LC_ALL, 0), strtoupper('x')]"),
    "directory": ("chdir('/');", "getcwd()"),
    "umask": ("umask(0177);", "umask()"),
    "time_zone": ("date_default_timezone_set('Asia/Tokyo');", "[date_default_timezone_get(), date('H', 0)]"),
    "time_zone_setting": ("ini_set('date.timezone', 'Asia/Tokyo');", "[date_default_timezone_get(), ini_get('date.timezone')]"),
    "encodings": ("mb_internal_encoding('ISO-8859-1'); mb_language('ja'); mb_substitute_character(0x3f3f); mb_detect_order('ASCII');",
                  "[mb_internal_encoding(), mb_language(), mb_substitute_character(), mb_detect_order()]"),
    "illegal": ("mb_convert_encoding(chr(255), 'UTF-16', 'UTF-8');", "mb_get_info('illegal_chars')"),
    "http_output": ("ini_set('default_charset', 'ISO-8859-1');", "[mb_http_output(), mb_internal_encoding()]"),
    "by_its_value": ("call_user_func('mb_internal_encoding', 'ISO-8859-1'); (mb_language(...))('ja'); array_map('ini_set', ['precision'], ['5']);",
                     "[mb_internal_encoding(), mb_language(), ini_get('precision')]"),
    "wrappers": ("class W{} stream_wrapper_register('mine', 'W'); stream_wrapper_unregister('http');", "array_intersect(['mine', 'http'], stream_get_wrappers())"),
    "filters": ("class F extends php_user_filter{} stream_filter_register('mine.f', 'F');", "in_array('mine.f', stream_get_filters())"),
    "stream_context": ("stream_context_set_default(['http' => ['user_agent' => 'mine']]);", "stream_context_get_options(stream_context_get_default())"),
    "libxml": ("libxml_use_internal_errors(!libxml_use_internal_errors());", "libxml_use_internal_errors()"),
    "xml_errors": ("libxml_use_internal_errors(true); @simplexml_load_string('<secret>');",
                   "[count(libxml_get_errors()), libxml_get_last_error() ? libxml_get_last_error()->message : null]"),
    "entities": ("(function () { @libxml_disable_entity_loader(!@libxml_disable_entity_loader(false)); })();",
                 "(function () { $was = @libxml_disable_entity_loader(false); @libxml_disable_entity_loader($was); return $was; })()"),
    "session": ("session_id('abcdefabcdefabcdefabcdefab'); session_name('OWN'); session_start(); $_SESSION['x'] = 'mine';",
                "[session_id(), session_status(), session_name(), isset($_SESSION), $_SESSION['x'] ?? null]"),
    "session_handler": ("session_set_save_handler(new class extends SessionHandler {}, false);", "[ini_get('session.save_handler'), session_module_name()]"),
    "tokens": ("strtok('a b c', ' ');", "@strtok(' ')"),
    "ticks": ("register_tick_function(function () { echo 'tick'; });", "1"),
    "syslog": ("openlog('own', LOG_PID, LOG_USER);", "1"),
    "gettext": ("textdomain('own');", "function_exists('textdomain') ? textdomain(null) : 0"),
    "collector": ("gc_disable();", "gc_enabled()"),
    "abort": ("ignore_user_abort(true);", "ini_get('ignore_user_abort')"),
    "random": ("mt_srand(5);", "(mt_rand() === 476726705) ? 'seeded' : 'own'"),
    "wait": ("ini_set('default_socket_timeout', '1');", "ini_get('default_socket_timeout')"),
    "searched": ("mb_ereg_search_init('secret words', 's(e)cret');",
                 "(function () { try { return mb_ereg_search_regs(); } catch (Error $e) { return get_class($e); } })()"),
    "expression": ("@preg_match('/(?:\\D+|<\\d+>)*[!?]/', 'foobar foobar foobar');", "preg_last_error()"),
    "intl": ("numfmt_create('de', 99999);", "intl_get_error_code()"),
    "json": ("json_decode('{');", "json_last_error()"),
    "mysqli": ("mysqli_report(MYSQLI_REPORT_OFF);", "(new mysqli_driver)->report_mode"),
    "signals": ("pcntl_async_signals(true);", "pcntl_async_signals()"),
    "autoloading": ("spl_autoload_extensions('.own');", "spl_autoload_extensions()"),
}
SILENT = {"ticks", "syslog", "gettext"}  # nothing tells; a second time they would show, or crash
BOOT = """<?php
ini_set('precision', '7'); set_error_handler(['Lives', 'onError']); set_exception_handler(['Lives', 'onException']); putenv('BOOTED=yes');
chdir(sys_get_temp_dir()); umask(027); date_default_timezone_set('Europe/Berlin'); mb_internal_encoding('UTF-16LE'); mb_substitute_character(0x2a);
stream_context_set_default(['http' => ['user_agent' => 'boot']]); setlocale(LC_CTYPE, 'C.UTF-8'); ob_start(); echo 'of the boot';
error_reporting(E_ALL & ~E_NOTICE); libxml_use_internal_errors(true); @libxml_disable_entity_loader(true);
class BootWrapper {} stream_wrapper_register('booted', 'BootWrapper'); class BootFilter extends php_user_filter {} stream_filter_register('boot.f', 'BootFilter');
session_name('BOOTED'); if (function_exists('textdomain')) textdomain('booted');
"""


@pytest.fixture(params=["plain", "changed by its boot"])
def boot_files(request):
    return {} if request.param == "plain" else {"boot.php": BOOT.replace("['Lives', ", "['BootLives', ") +
                                                "final class BootLives { static function onError() { return true; } static function onException($e) {} }"}


@pytest.mark.seconds(240)
def test_what_a_request_changes_is_undone(worker, front, boot_files):
    w = worker(files=boot_files)
    wrong = {}
    for name, (change, look) in UNDONE.items():
        before = w.run(front, f"return [{look}];")
        during = w.run(front, f"{change} return [{look}];")
        w.boot(front)
        after = w.run(front, f"return [{look}];")
        if before != after or (during == before and name not in SILENT):
            wrong[name] = (before, during, after)
    assert not wrong
    assert w.all(front, "return 1;")["request"] > 3 * len(UNDONE), "it was booted again: nothing had to be undone"


def test_the_last_error_of_json_goes_with_its_request(worker, front):
    """The answer of other requests is made by json_encode()."""
    w = worker()
    assert w.raw(front, "json_decode('{'); echo json_last_error(); return null;") == (200, "4")
    assert w.raw(front, "echo json_last_error(); return null;") == (200, "0")


R_X86_64_RELATIVE = 8


def keep_to_itself(library, target, function):
    """A copy of a shared library that calls this function of its own, whoever else has one: as if linked with -Bsymbolic."""
    with open(library, "rb") as f:
        data = bytearray(f.read())
    start, size, count = *struct.unpack_from("<Q", data, 0x28), *struct.unpack_from("<HH", data, 0x3a)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, start + size * n) for n in range(count)]
    symbols = next(s for s in sections if s[1] == 11)
    for _, _, _, _, at, n, *_ in (s for s in sections if s[1] == 4):
        for place in range(at, at + n, 24):
            symbol = symbols[4] + struct.unpack_from("<I", data, place + 12)[0] * 24
            name, _, _, section, value = struct.unpack_from("<IBBHQ", data, symbol)
            if section and data.startswith(function + b"\0", sections[symbols[6]][4] + name):
                struct.pack_into("<QQ", data, place + 8, R_X86_64_RELATIVE, value)
    with open(target, "wb") as f:
        f.write(data)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="keep_to_itself() knows no other relocations")
def test_the_directory_where_libphp_keeps_it_to_itself(worker, workdir, front):
    libphp = re.search(r"(libphp\S*) => (\S+)", subprocess.run(["ldd", PROGRAM], capture_output=True, text=True).stdout)
    if not libphp:
        pytest.skip("libphp is part of the program")
    folder = workdir + "/lib"
    os.mkdir(folder)
    keep_to_itself(libphp[2], f"{folder}/{libphp[1]}", b"virtual_chdir")
    w = worker(env={**os.environ, "LD_LIBRARY_PATH": folder})
    w.server.wait_message("does not leave its path functions")
    before = w.run(front, "return getcwd();")
    for _ in range(3):
        assert w.run(front, "chdir('/'); return getcwd();") == "/" != before
        assert w.run(front, "return getcwd();") == before


@pytest.mark.parametrize("boot_files", ["changed by its boot"], indirect=True)
def test_state_of_the_boot_is_there(worker, front, boot_files):
    w = worker(files=boot_files)
    for _ in range(2):
        assert w.run(front, "return [ini_get('precision'), getenv('BOOTED'), decoct(umask()), date_default_timezone_get(), mb_internal_encoding(),"
                            "in_array('booted', stream_get_wrappers()), session_name(), ob_get_level() > 1];") == \
            ["7", "yes", "27", "Europe/Berlin", "UTF-16LE", True, "BOOTED", False]


def test_settings_of_a_request(worker):
    w = worker()
    with Connection(w.server.address) as c:
        def look(**more):
            answer = c.request(script=w.script, keep=True, query="code=" + urllib.parse.quote("return [ini_get('precision'), ini_set('precision', '4'), ini_get('precision')];"), **more)
            return json.loads(answer.body)["answer"]
        plain = look()
        assert look(PHP_VALUE="precision=9")[0] == "9"
        assert look(PHP_ADMIN_VALUE="precision=8") == ["8", False, "8"]
        assert look() == plain


@pytest.mark.parametrize("code", ["nothing(;", "$a = str_repeat('x', 300000000);", "trigger_error('it ends', E_USER_ERROR);"], ids=["parse", "memory", "user"])
def test_a_fatal_error_behind_settings_of_a_request(worker, code):
    """It ends the request and the script, as without them, and nobody else."""
    w = worker(num=2)
    before = w.run("fcgi", "return getmypid();")
    with Connection(w.server.address) as c:
        answer = c.request(script=w.script, keep=True, query="code=" + urllib.parse.quote(code), PHP_VALUE="precision=9")
        assert answer.status == 500, (answer.status, answer.body, w.server.messages()[-2000:])
    assert w.run("fcgi", "return getmypid();") == before
    assert "exited" not in w.server.messages()


FORM = "application/x-www-form-urlencoded"
THROWS = "<?php set_error_handler(function ($level, $message) { throw new ErrorException($message, 0, $level); });"


def test_a_body_that_is_too_long_meets_no_handler_of_the_boot(worker, front):
    """PHP warns of it before a script begins, where no handler can be; so the callback runs, with an empty $_POST."""
    w = worker(pool="php_admin_value[post_max_size] = 1K\n", files={"boot.php": THROWS})
    for _ in range(2):
        how = {"Content_Type": FORM} if front == "http" else {"CONTENT_TYPE": FORM}
        status, text = w.raw(front, "return [count($_POST), $_SERVER['CONTENT_LENGTH']];", method="POST", body=b"a=" + b"x" * 4000, **how)
        assert status == 200 and json.loads(text)["answer"] == [0, "4002"], (text, w.server.messages()[-2000:])
    w.server.wait_message("POST Content-Length of 4002 bytes exceeds the limit of 1024 bytes")
    assert w.run(front, "try { echo $nothing; } catch (ErrorException $e) { return $e->getMessage(); }") == "Undefined variable $nothing"


def test_documents_are_fetched_with_the_requests_own_context(worker, front):
    w = worker()
    with open(w.www + "/agent.php", "w") as f:
        f.write("<?php header('Content-Type: text/xml'); echo '<a>', $_SERVER['HTTP_USER_AGENT'] ?? 'none', '</a>';")
    look = f"$d = new DOMDocument; $d->load('http://127.0.0.1:{w.site.address[1]}/agent.php'); return $d->textContent;"
    change = "libxml_set_streams_context(stream_context_create(['http' => ['user_agent' => '%s']]));"
    for _ in range(2):
        assert w.run(front, look) == "none"
        assert w.run(front, change % "mine" + look) == "mine"
    w.put("boot.php", "<?php " + change % "boot")
    w.raw(front, "exit;")
    for _ in range(2):
        assert w.run(front, look) == "boot"
        assert w.run(front, change % "mine" + look) == "mine"


@pytest.mark.parametrize("way", ["handler", "setting"])
def test_each_client_has_the_encoding_that_it_understands(worker, way):
    w = worker(pool="php_admin_value[zlib.output_compression] = 1\n" if way == "setting" else "")
    target = "/worker/index.php?code=" + urllib.parse.quote("ob_start('ob_gzhandler'); return 1;" if way == "handler" else "return 1;")
    for accepted, encoding in ((None, None), ("gzip", "gzip"), (None, None), ("deflate", "deflate"), ("gzip", "gzip"), ("identity", None)):
        answer = w.site.ask(target, **({"Accept_Encoding": accepted} if accepted else {}))
        assert answer.get("Content-Encoding") == encoding, accepted
        text = zlib.decompress(answer.body, 47) if encoding else answer.body
        assert json.loads(text)["answer"] == 1


UNCAUGHT = {
    # name: (code, what is in the log)
    "handler": ("set_exception_handler(function ($e) { throw new DomainException('again'); }); throw new Exception('mine');", "DomainException: again"),
    "shutdown": ("register_shutdown_function(function () { throw new DomainException('late'); }); echo 'x'; return null;", "DomainException: late"),
    "no function": ("register_shutdown_function(function () { nothing_like_that(); }); echo 'x'; return null;", "undefined function nothing_like_that"),
}


@pytest.mark.parametrize("name", UNCAUGHT)
def test_what_nobody_catches(worker, front, name):
    """Behind the callback as well it is an error, in the answer and in the log, as in classic mode; and the script goes on."""
    code, said = UNCAUGHT[name]
    w = worker(pool="php_admin_flag[log_errors] = on\nphp_admin_flag[display_errors] = off\n")
    with open(w.www + "/classic.php", "w") as f:
        f.write(f"<?php (function () {{ {code} }})();")
    classic = w.site.ask("/classic.php").status
    before = w.boot(front)
    assert w.raw(front, code)[0] == classic == 500
    process.wait_for(lambda: w.server.messages().count(said) >= 2, 10, "both in the log")
    assert w.boot(front) == before


def test_a_destructor_that_throws_between_requests(worker, front):
    w = worker()
    before = w.boot(front)
    w.run(front, "if (!class_exists('Throws')) { eval('class Throws { public $o; function __destruct() { throw new DomainException(\"mine\"); } }'); }"
                 "for ($i = 0; $i < 5000; $i++) { $a = new Throws; $a->o = $a; if ($i < 4000) { $a->o = null; $b = new stdClass; $b->b = $b; } "
                 "try { unset($a); } catch (DomainException) { } } return 1;")
    for _ in range(3):
        assert w.boot(front) == before


# -- at once --

@pytest.mark.seconds(240)
@pytest.mark.parametrize("rounds", [40])
def test_neighbours_never_mix(worker, rounds):
    """Users at the same time, each with a session, an environment, a locale and a directory of its own."""
    w = worker(num=4)
    code = ("session_start(); $_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1; $_SESSION['who'] ??= $_GET['who']; putenv('WHO=' . $_GET['who']); chdir('/proc/self');"
            "date_default_timezone_set($_GET['zone']); define_once($_GET['who']); usleep(mt_rand(0, 3000));"
            "return [$_SESSION['who'], $_SESSION['n'], getenv('WHO'), exec('echo $WHO'), date_default_timezone_get(), getcwd() === realpath('/proc/self'), $_GET['who']];")
    code = code.replace("define_once($_GET['who']);", "")
    wrong = []

    def user(n):
        zone, cookie = ("Asia/Tokyo", "Europe/Rome", "America/Lima", "UTC")[n % 4], f"PHPSESSID=user{n:022d}"
        for i in range(rounds):
            query = f"/worker/index.php?who=u{n}&zone={zone}&code=" + urllib.parse.quote(code)
            if n % 2:
                got = w.site.ask(query, Cookie=cookie).text
            else:
                got = fetch(w.server.address, w.script, query=query.split("?")[1], HTTP_COOKIE=cookie).body.decode()
            try:
                answer = json.loads(got)["answer"]
            except ValueError:
                answer = got
            if answer != [f"u{n}", i + 1, f"u{n}", f"u{n}", zone, True, f"u{n}"]:
                wrong.append((n, i, answer))
    threads = [threading.Thread(target=user, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong, wrong[:5]


def test_http2(worker):
    w = worker(num=2)
    with Http2(w.site.address) as c:
        for n in range(5):
            _, body = c.get("/worker/index.php?code=" + urllib.parse.quote(f"return [$_SERVER['SERVER_PROTOCOL'], {n}];"))
            assert json.loads(body)["answer"] == ["HTTP/2.0", n]


@pytest.mark.skipif(not shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin"), reason="no nginx")
def test_behind_nginx(worker, webserver):
    import http.client
    w = worker(num=2)
    port = webserver("nginx", w.www, w.server.address).port
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    for n in range(5):
        c.request("POST", "/worker/index.php?code=" + urllib.parse.quote("return [$_POST['n'], $_SERVER['FRANKENPHP_WORKER']];"),
                  body=f"n={n}", headers={"Content-Type": FORM})
        assert json.loads(c.getresponse().read())["answer"] == [str(n), "1"]
        c.request("GET", "/hello.php")
        assert c.getresponse().read()
    c.close()


# -- a script that does not boot --

def test_a_script_that_does_not_boot_refuses_a_reload(worker, front):
    w = worker(pool="worker.max_consecutive_failures = 1\n")
    before = w.boot(front)
    w.put("boot.php", "<?php throw new Exception('no database');")
    w.server.signal(12)
    w.server.wait_message(r"worker script .* did not boot: .*no database")
    assert w.boot(front) == before, "the old generation serves"
    os.unlink(w.folder + "/boot.php")
    process.wait_for(lambda: w.boot(front) != before, 30, "the new generation")


def test_a_script_that_stops_booting(worker, front):
    """Requests are refused, with the reason in the log, until it boots again."""
    w = worker(pool="worker.max_consecutive_failures = 0\n")
    before = w.boot(front)
    w.put("boot.php", "<?php return null + undefined();")
    w.raw(front, "exit;")
    assert w.raw(front, "return 1;")[0] == 503
    w.server.wait_message(r"did not boot: .*undefined\(\).*answered with 503")
    os.unlink(w.folder + "/boot.php")
    process.wait_for(lambda: w.raw(front, "return 1;")[0] == 200, 30, "the next boot")
    assert w.boot(front) != before


def test_the_configuration_is_checked(tokiophp, workdir):
    path = workdir + "/t.ini"
    with open(path, "w") as f:
        f.write(f"[www]\nlisten = {workdir}/s\npm = static\npm.max_children = 1\nuser = nobody\nworker.script = {workdir}/no.php\n")
    done = subprocess.run([PROGRAM, "-t", "-y", path], capture_output=True, text=True)
    assert done.returncode == 78 and "no.php' does not exist or is not a file" in done.stdout + done.stderr


# -- names that other servers have --

@pytest.mark.parametrize("held", [True, False])
def test_functions_by_other_names(worker, held):
    w = worker()
    code = ("header('X-Own: 1'); frankenphp_log('a line', 4, ['a' => 1]); $n = headers_send(404); echo json_encode([$n, headers_sent(), http_response_code(),"
            "frankenphp_request_headers()['X-Ask'] ?? null, frankenphp_response_headers()['X-Own']]); frankenphp_finish_request(); echo 'late'; return null;")
    with open(w.folder + "/classic.php", "w") as f:
        f.write(f"<?php (function () {{ {code} }})();")
    answer = w.site.ask("/worker/index.php?code=" + urllib.parse.quote(code) if held else "/worker/classic.php", X_Ask="this")
    assert (answer.status, answer.get("X-Own")) == (404, "1")
    assert json.loads(answer.text) == [0, True, 404, "this", "1"]
    w.server.wait_message(r'WARNING: .*a line \{"a":1\}')


def test_early_hints_by_another_name(worker):
    w = worker()
    with Raw(w.site.address) as c:
        for _ in range(2):
            c.send("GET /worker/index.php?code=" + urllib.parse.quote("header('Link: </a>'); $n = headers_send(103); header_remove(); echo $n; return null;") +
                   " HTTP/1.1\r\nHost: x\r\n\r\n")
            first, last = c.reply(), c.reply()
            assert (first.status, last.status, last.body) == (103, 200, b"1")
