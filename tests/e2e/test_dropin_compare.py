"""The same requests, byte for byte, to a php-fpm and to tokiophp with the same configuration: the same answer.

The php-fpm is the runtime's own release without threads where packaging/php-zts/build has made one, else the
distribution's. What may differ is listed in WANTED_DIFFERENCES with its reason, and nothing else.
"""
import json
import os
import re

import pytest

import fcgi_client
import tokiophp as server_module
from both import OTHER_RELEASE, PHP_FPM, THEIRS
from process import Failure, Program, wait_for
from runtime import ask_build
from workdirs import make_workdir, remove_workdir

ROOT = server_module.ROOT
pytestmark = pytest.mark.skipif(not PHP_FPM or server_module.is_stand_in(), reason="no php-fpm to compare with")

CONFIG = """
[global]
error_log = {dir}/{name}-error.log
daemonize = no
process_control_timeout = 5
[www]
{user}
listen = {dir}/{name}.sock
listen.mode = 0666
pm = static
pm.max_children = {children}
ping.path = /ping
pm.status_path = /status
clear_env = {clear_env}
access.log = {dir}/{name}-access.log
access.format = {format}
catch_workers_output = yes
env[FROM_POOL] = a value
env[COPIED] = $OUTSIDE
env[TMP] = /somewhere
php_value[precision] = 9
php_value[date.timezone] = Europe/Vienna
php_admin_value[memory_limit] = 77M
php_admin_flag[allow_url_include] = off
php_flag[short_open_tag] = on
php_value[user_ini.cache_ttl] = 0
php_value[html_errors] = 0
{more}
"""
FORMAT = ("'%m|%r|%Q%q|%s|%f|%l|%n|%R|%u|%{CONTENT_TYPE}e|%{NOT_THERE}e|%{X-Mine}o|%{Nothing}o|%%|"
          "%{%Y}t|%{%Y}T'")

PROBE = """<?php
header('X-Mine: yes');
$server = $_SERVER; $env = getenv(); $superenv = $_ENV;
foreach (['REQUEST_TIME', 'REQUEST_TIME_FLOAT'] as $k) { $server[$k] = gettype($server[$k]); }
ksort($server); ksort($env); ksort($superenv);
echo json_encode(['server' => $server, 'order' => array_keys($_SERVER), 'getenv' => $env, 'env' => $superenv,
  'home' => [getenv('HOME'), getenv('USER'), getenv('FROM_POOL'), getenv('COPIED'), getenv('QUERY_STRING'), getenv('NOPE'),
             getenv('PATH', true), getenv('HTTP_PROXY')],
  'cwd' => getcwd(), 'self' => __FILE__, 'included' => get_included_files(), 'stdin' => file_get_contents('php://stdin'),
  'input' => bin2hex(file_get_contents('php://input')), 'get' => $_GET, 'post' => $_POST, 'cookie' => $_COOKIE, 'files' => array_map(
    fn($f) => [$f['name'], $f['type'], $f['error'], $f['size']], $_FILES), 'request' => $_REQUEST,
  'sapi' => [PHP_SAPI, php_sapi_name()], 'headers' => getallheaders(), 'sent' => headers_sent(),
  'auth' => [$_SERVER['PHP_AUTH_USER'] ?? null, $_SERVER['PHP_AUTH_PW'] ?? null, $_SERVER['PHP_AUTH_DIGEST'] ?? null],
  'ini' => array_map('ini_get', array_combine($k = ['precision', 'date.timezone', 'memory_limit', 'allow_url_include', 'short_open_tag',
     'highlight.string', 'highlight.comment', 'serialize_precision', 'default_charset', 'doc_root', 'include_path',
     'upload_max_filesize', 'post_max_size', 'display_errors', 'html_errors', 'error_reporting', 'cgi.fix_pathinfo', 'output_buffering',
     'max_execution_time', 'implicit_flush', 'register_argc_argv', 'variables_order', 'auto_prepend_file', 'ignore_user_abort'], $k)),
  'set' => [ini_set('memory_limit', '99M'), ini_set('precision', '5'), ini_get('memory_limit'), ini_get('precision')],
  'access' => [ini_get_all(null, true)['memory_limit']['access'], ini_get_all(null, true)['precision']['access']],
  'argv' => $_SERVER['argv'] ?? null, 'putenv' => [putenv('MINE=1'), getenv('MINE')], 'umask' => umask(),
  'status' => connection_status(), 'level' => ob_get_level(), 'mods' => function_exists('fastcgi_finish_request'),
  'locale' => setlocale(LC_ALL, 0), 'tz' => date_default_timezone_get()], JSON_INVALID_UTF8_SUBSTITUTE | JSON_PARTIAL_OUTPUT_ON_ERROR);
"""
SCRIPTS = {
    "probe.php": PROBE,
    "sub/probe.php": PROBE,
    "sub/deep/probe.php": PROBE,
    "a b+c.php": PROBE,
    "relative.php": "<?php echo getcwd(), file_get_contents('data.txt'); include 'inc.php';",
    "inc.php": "<?php echo basename(__DIR__);",
    "fatal.php": "<?php echo 'before'; undefined_function();",
    "fatal_hidden.php": "<?php ini_set('display_errors', '0'); undefined_function();",
    "parse.php": "<?php echo 'x' +;",
    "warning.php": "<?php echo $undefined; error_log('said'); error_log(\"two\\nlines\"); trigger_error('mine', E_USER_WARNING);",
    "exit.php": "<?php register_shutdown_function(function () { echo 'shutdown'; }); exit(3);",
    "exitstring.php": "<?php exit('bye');",
    "status.php": "<?php header('HTTP/1.1 418 I am a teapot'); echo 'tea';",
    "status2.php": "<?php header('Status: 404 Nope'); echo 'x';",
    "status3.php": "<?php http_response_code(299); echo 'x';",
    "status4.php": "<?php http_response_code((int) $_GET['n']); echo 'x';",
    "location.php": "<?php header('Location: /elsewhere');",
    "headers.php": "<?php header('A: 1'); header('B: 2'); header('A: 3', false); header_remove('B'); header('Content-Type: text/plain');"
                   "header('Set-Cookie: a=b'); setcookie('c', 'd e', 0, '/'); header_remove('X-Powered-By'); echo 'x';",
    "type.php": "<?php header('Content-Type: image/png'); echo 'x';",
    "notype.php": "<?php ini_set('default_mimetype', ''); echo 'x';",
    "charset.php": "<?php ini_set('default_charset', 'iso-8859-1'); header('Content-type: text/html'); echo 'x';",
    "empty.php": "",
    "nooutput.php": "<?php ;",
    "html.php": "<html>plain</html>\n",
    "shebang.php": "#!/usr/bin/php\n<?php echo 'sh';",
    "flush.php": "<?php echo 'a'; flush(); header('X-Late: 1'); echo 'b'; var_dump(headers_sent());",
    "large.php": "<?php echo str_repeat('0123456789', 30000);",
    "nul.php": "<?php echo \"a\\0b\\r\\n\\r\\nc\\xff\";",
    "finish.php": "<?php echo 'a'; header('X-F: 1'); var_dump(fastcgi_finish_request()); echo 'never';",
    "buffer.php": "<?php ob_start(); echo 'x'; ob_start(fn($b) => strtoupper($b)); echo 'upper'; echo 'more';",
    "exception.php": "<?php throw new RuntimeException('lost');",
    "headerlate.php": "<?php echo str_repeat('x', 10000); flush(); header('X: 1');",
    "session.php": "<?php ini_set('session.gc_probability', 0); session_id('abcdefghij0123456789abcdef'); session_start(); echo session_status(), session_name();",
    "notmodified.php": "<?php header('HTTP/1.1 304 Not Modified'); header('ETag: \"x\"');",
    "nocontent.php": "<?php http_response_code(204);",
    "auth.php": "<?php header('WWW-Authenticate: Basic realm=\"x\"'); echo 'y';",
    "stdout.php": "<?php fwrite(fopen('php://output', 'w'), 'o'); fwrite(fopen('php://stderr', 'w'), \"to stderr\\n\"); echo 'x';",
    "time.php": "<?php set_time_limit(1); $t = microtime(true); while (microtime(true) - $t < 4) { } echo 'not reached';",
    "memory.php": "<?php $x = str_repeat('x', 200 << 20);",
    "deep.php": "<?php function f($n) { return $n ? f($n - 1) : 0; } echo f(20000);",
    "functions.php": "<?php $x = get_defined_functions()['internal']; sort($x); echo json_encode(array_values(array_filter($x,"
                     "fn($f) => preg_match('/^(fastcgi|apache|fpm|getallheaders|cli_|dl$|header|http_)/', $f))));",
    "extension.php": "<?php echo json_encode([extension_loaded('cgi-fcgi'), ini_get('fpm.config') !== false, "
                     "array_keys(ini_get_all('cgi-fcgi') ?: [])]);",
    "status_fn.php": "<?php $s = fpm_get_status(); echo json_encode([array_keys($s), array_keys($s['procs'][0]), $s['pool'], "
                     "$s['process-manager'], count($s['procs']) > 0]);",
    "noext": "<?php echo 'denied';",
    "x.txt": "<?php echo 'denied';",
    "x.phar": "<?php echo 'phar';",
    "unreadable.php": "<?php echo 'secret';",
}
USER_INI = {"sub/.user.ini": "highlight.string = red\nprecision = 3\nmemory_limit = 1M\n",
            "sub/deep/.user.ini": "highlight.comment = blue\nserialize_precision = 4\n"}
PHP_INI = """
highlight.string = "black"
[PATH={root}/sub/deep]
include_path = "/from/path/section"
[HOST=special.example]
upload_max_filesize = 3M
default_charset = "iso-8859-15"
"""


def multipart():
    b = "BOUND"
    return (f"--{b}\r\nContent-Disposition: form-data; name=\"t[a]\"\r\n\r\nvalue\r\n--{b}\r\nContent-Disposition: form-data; "
            f"name=\"f\"; filename=\"n ä.txt\"\r\nContent-Type: text/x-y\r\n\r\ncontent\r\n--{b}--\r\n").encode(), \
        {"CONTENT_TYPE": f"multipart/form-data; boundary={b}"}


def requests(root):
    """(name, how) for fcgi_client.request; `how` has the script's full path."""
    r = []

    def add(name, script, **how):
        r.append((name, dict(script=root + "/" + script, DOCUMENT_ROOT=how.pop("DOCUMENT_ROOT", root), **how)))
    for name in SCRIPTS:
        if name not in ("time.php",):
            add(name, name, uri="/" + name)
    add("query", "probe.php", query="a=1&b[]=2&b[]=3&c.d=4&e%5B=5&+f=6&a+b=%41&g")
    add("argv", "probe.php", query="one+two=2+three")
    add("cookies", "probe.php", HTTP_COOKIE="a=1; b=%20x; a=2; c[d]=3;e")
    add("headers", "probe.php", HTTP_X_ONE="1", HTTP_ACCEPT="*/*", HTTP_PROXY="evil", HTTP_CONTENT_TYPE="no", HTTP_X_ONE_TWO_3="3")
    add("basic auth", "probe.php", HTTP_AUTHORIZATION="Basic dXNlcjpwYTpzcw==", REMOTE_USER="web", AUTH_TYPE="Basic")
    add("digest auth", "probe.php", HTTP_AUTHORIZATION='Digest username="x", realm="y"')
    add("broken auth", "probe.php", HTTP_AUTHORIZATION="Basic !!!!")
    add("bearer auth", "probe.php", HTTP_AUTHORIZATION="Bearer abc")
    add("basic without colon", "probe.php", HTTP_AUTHORIZATION="Basic dXNlcg==")
    add("form", "probe.php", method="POST", body=b"a=1&b[x]=2&c=%C3%BC&d+e=f", CONTENT_TYPE="application/x-www-form-urlencoded")
    add("form with charset", "probe.php", method="POST", body=b"a=1", CONTENT_TYPE="application/x-www-form-urlencoded; charset=UTF-8")
    add("raw", "probe.php", method="PUT", body=bytes(range(256)), CONTENT_TYPE="x/y")
    body, more = multipart()
    add("upload", "probe.php", method="POST", body=body, **more)
    add("broken upload", "probe.php", method="POST", body=body[:-30], CONTENT_TYPE="multipart/form-data; boundary=BOUND")
    add("no boundary", "probe.php", method="POST", body=body, CONTENT_TYPE="multipart/form-data")
    add("POST without type", "probe.php", method="POST", body=b"a=1", CONTENT_TYPE=None)
    add("empty POST", "probe.php", method="POST", body=b"", CONTENT_TYPE="application/x-www-form-urlencoded")
    add("body longer than announced", "probe.php", method="POST", body=b"a=12345", CONTENT_LENGTH="3",
        CONTENT_TYPE="application/x-www-form-urlencoded")
    add("invalid length", "probe.php", method="POST", body=b"a=1", CONTENT_LENGTH="x", CONTENT_TYPE="application/x-www-form-urlencoded")
    for method in ("HEAD", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "get", "TRACE"):
        add("method " + method, "probe.php", method=method)
    add("HEAD large", "large.php", method="HEAD")
    add("user.ini", "sub/probe.php", uri="/sub/probe.php")
    add("user.ini deep", "sub/deep/probe.php", uri="/sub/deep/probe.php")
    add("user.ini other root", "sub/deep/probe.php", uri="/deep/probe.php", DOCUMENT_ROOT=root + "/sub")
    add("user.ini no root", "sub/deep/probe.php", uri="/sub/deep/probe.php", DOCUMENT_ROOT="")
    add("host section", "probe.php", SERVER_NAME="special.example")
    add("host section upper case", "probe.php", SERVER_NAME="SPECIAL.example")
    add("PHP_VALUE", "probe.php", PHP_VALUE="precision=12\nserialize_precision=11\nallow_url_include=1", PHP_ADMIN_VALUE="memory_limit=66M\ninclude_path=/x")
    add("PHP_VALUE unknown", "probe.php", PHP_VALUE="no.such = 1")
    add("path info", "probe.php/a/b", uri="/probe.php/a/b")
    add("path info given", "probe.php", uri="/probe.php", PATH_INFO="/a/b")
    add("path info and translated", "probe.php/p", uri="/probe.php/p", PATH_INFO="/p", PATH_TRANSLATED=root + "/p")
    add("encoded", "a b+c.php", uri="/a%20b+c.php")
    add("slash slash", "sub//probe.php", uri="//sub//probe.php")
    add("dot segment", "sub/./probe.php", uri="/sub/./probe.php")
    add("dot dot", "sub/../probe.php", uri="/sub/../probe.php")
    add("missing", "missing.php")
    add("missing folder", "no/such/missing.php")
    add("directory", "sub", uri="/sub")
    add("directory slash", "sub/", uri="/sub/")
    add("missing with path info", "missing.php/x/y", uri="/missing.php/x/y")
    add("file as folder", "x.txt/probe.php", uri="/x.txt/probe.php")
    add("no filename", "probe.php", SCRIPT_FILENAME=None)
    add("no filename, translated", "probe.php", SCRIPT_FILENAME=None, PATH_TRANSLATED=root + "/probe.php")
    add("empty filename", "probe.php", SCRIPT_FILENAME="")
    add("relative filename", "probe.php", SCRIPT_FILENAME="probe.php")
    add("proxy fcgi", "probe.php", SCRIPT_FILENAME="proxy:fcgi://127.0.0.1:9000" + root + "/probe.php")
    add("proxy fcgi query", "probe.php", SCRIPT_FILENAME="proxy:fcgi://127.0.0.1:9000" + root + "/probe.php?a=b", query="a=b")
    add("proxy balancer", "probe.php", SCRIPT_FILENAME="proxy:balancer://x" + root + "/probe.php/info")
    add("redirect url", "probe.php", REDIRECT_URL="/nice", PATH_TRANSLATED=root + "/sub/probe.php", REDIRECT_STATUS="200")
    add("iis", "probe.php", SERVER_SOFTWARE="Microsoft-IIS/10.0", PATH_INFO="/probe.php")
    add("few parameters", "probe.php", DOCUMENT_URI=None, REQUEST_URI=None, SERVER_NAME=None, HTTP_HOST=None, GATEWAY_INTERFACE=None)
    add("no method", "probe.php", REQUEST_METHOD=None)
    add("empty values", "probe.php", HTTP_X_EMPTY="", PATH_INFO="", QUERY_STRING="")
    add("strange names", "probe.php", **{"a.b": "1", "x-y": "2", "sp ace": "3", "lower": "4"})
    add("https", "probe.php", HTTPS="on", REQUEST_SCHEME="https", SERVER_PROTOCOL="HTTP/2.0")
    add("authorizer", "probe.php", role=fcgi_client.AUTHORIZER)
    add("filter", "probe.php", role=fcgi_client.FILTER)
    add("unknown status", "status4.php", query="n=799")
    add("status 100", "status4.php", query="n=404")
    add("ping", "ping", uri="/ping")
    add("ping HEAD", "ping", uri="/ping", method="HEAD")
    add("server address", "probe.php", SERVER_ADDR="::1", REMOTE_ADDR="fe80::1", REMOTE_PORT="")
    add("long parameter", "probe.php", HTTP_X_LONG="v" * 30000)
    add("many parameters", "probe.php", **{f"HTTP_N{i}": str(i) for i in range(300)})
    add("utf-8", "probe.php", HTTP_X_UTF="ü€", query="ü=€")
    add("duplicates", "probe.php", REQUEST_URI="/probe.php?x#y")
    return [one for one in r if one[0] not in LEAKING] + [one for name in LEAKING for one in r if one[0] == name]


def start(workdir, name, program, args, **values):
    root = workdir + "/site"
    user = f"user = {server_module.USER}\ngroup = {server_module.GROUP}" if server_module.IS_ROOT else ""
    settings = {"dir": workdir, "name": name, "user": user, "clear_env": "yes", "format": FORMAT, "children": 1, "more": ""}
    settings.update(values)
    config = os.path.join(workdir, name + ".conf")
    text = CONFIG
    for key, value in settings.items():
        text = text.replace("{%s}" % key, str(value))
    with open(config, "w") as f:
        f.write(text)
    with open(workdir + "/php.ini", "w") as f:
        f.write(PHP_INI.replace("{root}", root))
    env = {"PATH": "/usr/bin:/bin", "OUTSIDE": "from outside", "LC_ALL": "C.UTF-8", "PHP_INI_SCAN_DIR": "", "LEFT": "over"}
    p = Program([program, *args, "-F", "-y", config, "-c", workdir + "/php.ini"], workdir, name + ".log", env=env)
    p.wait_accepting(f"{workdir}/{name}.sock")
    p.address = f"{workdir}/{name}.sock"
    return p


def make_site(workdir):
    root = workdir + "/site"
    for path, text in {**SCRIPTS, **USER_INI, "data.txt": "data\n"}.items():
        os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
        with open(os.path.join(root, path), "w") as f:
            f.write(text)
    os.chmod(root + "/unreadable.php", 0)
    return root


class Pair:
    def __init__(self, workdir, **values):
        self.workdir = workdir
        self.root = make_site(workdir)
        self.programs = []
        try:
            self.theirs = start(workdir, "theirs", PHP_FPM, [], **values)
            self.programs.append(self.theirs)
            self.ours = start(workdir, "ours", server_module.PROGRAM, ["fpm"], **values)
            self.programs.append(self.ours)
        except BaseException:
            self.kill()
            raise

    def kill(self):
        for p in self.programs:
            p.kill_family()

    def ask(self, how):
        return [self.one(p, dict(how)) for p in (self.theirs, self.ours)]

    @staticmethod
    def one(program, how):
        with fcgi_client.Connection(program.address, 20) as c:
            try:
                got = c.request(**how)
            except (OSError, AssertionError) as e:
                return {"broken": repr(e)}
        return {"head": got.head.split("\r\n"), "body": got.body, "stderr": got.stderr.decode(errors="replace"), "end": got.end}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = make_workdir()
    pair = Pair(folder)
    yield pair
    pair.kill()
    remove_workdir(folder)


# What tokiophp adds to $_SERVER, and what it does better. name of the request -> keys that may differ
ADDED = re.compile(r"^(TOKIO_|TRACE_ID$|SPAN_ID$|PARENT_SPAN_ID$|HTTP_TRACEPARENT$)")
WANTED_DIFFERENCES = {
    # php-fpm adds no function that an application could miss; apache_response_headers() is there for Apache's sake
    "functions.php": [r"^/body: "],
    # the Proxy header is an attack: php-fpm hides it from $_SERVER and getenv('HTTP_PROXY') only
    "headers": [r"^/body/getenv/HTTP_PROXY", r"^/body/headers/Proxy"],
    # a length that is no number: php-fpm sees no body; here the body is what comes, as without a length
    "invalid length": [r"^/body/(input|post|request)"],
    # getenv() of php-fpm 8.4 shows the memory behind the name that it has shortened
    "proxy fcgi": [r"^/body/getenv/SCRIPT_FILENAME"],
    "proxy fcgi query": [r"^/body/getenv/SCRIPT_FILENAME"],
}
# php-fpm keeps what PHP_VALUE set: nothing is compared behind these on the same worker
LEAKING = ("PHP_VALUE unknown", "PHP_VALUE")


def normal(answer):
    """An answer without what differs between any two processes."""
    answer = dict(answer)
    answer["stderr"] = re.sub(r"\b(theirs|ours)\b", "X", answer.get("stderr", ""))
    answer["head"] = [re.sub(r"^(X-Powered-By: PHP)/[\d.]+.*", r"\1", line) for line in answer.get("head", [])]
    body = answer.get("body", b"")
    try:
        data = json.loads(body[max(body.find(b"{"), 0):])
    except ValueError:
        return answer
    answer["before"] = body[:max(body.find(b"{"), 0)]
    if isinstance(data, dict):
        data["added"] = sorted(k for k in data.get("server", {}) if ADDED.match(k))
        for place in ("server", "getenv", "env"):
            if isinstance(data.get(place), dict):
                data[place] = {k: v for k, v in data[place].items() if not ADDED.match(k)}
        # php-fpm: the newest first; here as they came
        data["order"] = sorted(k for k in data.get("order", []) if not ADDED.match(k))
        data.pop("added")
        for key in ("REQUEST_TIME", "REQUEST_TIME_FLOAT"):
            if isinstance(data.get("env"), dict) and key in data["env"]:
                data["env"][key] = "a time"
    answer["body"] = data
    return answer


def difference(a, b, path=""):
    if isinstance(a, dict) and isinstance(b, dict):
        out = []
        for k in sorted(set(a) | set(b), key=str):
            out += difference(a.get(k, "<none>"), b.get(k, "<none>"), f"{path}/{k}")
        return out
    return [] if a == b else [f"{path}: php-fpm {str(a)[:600]!r}, tokiophp {str(b)[:600]!r}"]


# What PHP itself says differently from one release to the next.
RELEASES_DIFFER = {"memory.php", "status_fn.php", "no boundary"}
SINCE_8_4 = {"status_fn.php": "php-fpm's own numbers have one more since PHP 8.4, which tokiophp has with each"}


@pytest.mark.parametrize("name", [name for name, _ in requests("/x")])
def test_same_answer(pair, name):
    if OTHER_RELEASE and name in RELEASES_DIFFER:
        pytest.skip(OTHER_RELEASE)
    if name in SINCE_8_4 and THEIRS < "8.4":
        pytest.skip(SINCE_8_4[name])
    if name == "memory.php" and not PHP_FPM.startswith(ask_build("--print-prefix", "--nts")):
        pytest.skip("how many bytes PHP asks for is different in another build of it")
    how = dict(requests(pair.root))[name]
    theirs, ours = (normal(a) for a in pair.ask(how))
    found = [d for d in difference(theirs, ours) if not any(re.search(w, d) for w in WANTED_DIFFERENCES.get(name, []))]
    assert found == []


def test_same_access_log(pair):
    """The access logs of the same requests have the same lines, token by token."""
    def lines(name):
        with open(f"{pair.workdir}/{name}-access.log") as f:
            return f.read().splitlines()
    if len(lines("theirs")) < 100:
        pytest.skip("needs the tests before it")
    try:
        wait_for(lambda: lines("theirs") == lines("ours"), 10, "the last line, which is written behind the answer")
    except Failure:
        assert lines("theirs") == lines("ours")
