"""putenv() is seen by PHP's own readers of the environment and by C libraries, of that request only, as in php-fpm."""
import glob
import re
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from both import WHY_NOT, Both
from workdirs import make_workdir, remove_workdir

pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=str(WHY_NOT))


@pytest.fixture(scope="module")
def both():
    folder = make_workdir()
    servers = Both(folder, "env[FROM_POOL] = of the pool\n", children=8, temp=False)
    yield servers
    servers.stop()
    remove_workdir(folder)


class Proxy:
    """Answers one line for whatever it is asked, and keeps the first line of each request."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port, self.heard = self.socket.getsockname()[1], []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                c, _ = self.socket.accept()
            except OSError:
                return
            with c:
                c.settimeout(5)
                head = c.recv(4096)
                self.heard.append(head.split(b"\r\n")[0].decode())
                c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nproxy")


@pytest.fixture(scope="module")
def proxy():
    p = Proxy()
    yield p
    p.socket.close()


FONTS = next((f.rsplit("/", 1) for f in sorted(glob.glob("/usr/share/fonts/truetype/**/*.ttf", recursive=True))), None)
READERS = {
    "sys_get_temp_dir": "putenv('TMPDIR=/usr/'); echo sys_get_temp_dir();",
    "temp again": "echo sys_get_temp_dir(); putenv('TMPDIR=/usr'); echo sys_get_temp_dir();",
    "tempnam": "putenv('TMPDIR=' . __DIR__); echo dirname($f = tempnam('/nonexistent-folder', 'x')); unlink($f);",
    "tmpfile": "putenv('TMPDIR=' . __DIR__); echo dirname(stream_get_meta_data(tmpfile())['uri']);",
    "curl proxy": "putenv('http_proxy=http://127.0.0.1:PORT'); putenv('no_proxy'); $c = curl_init('http://never.example/x'); curl_setopt_array($c, [CURLOPT_RETURNTRANSFER => true, CURLOPT_TIMEOUT => 5]); echo curl_exec($c), curl_error($c);",
    "curl without proxy": "putenv('http_proxy=http://127.0.0.1:PORT'); putenv('no_proxy=127.0.0.1'); $c = curl_init('http://127.0.0.1:1/x'); curl_setopt_array($c, [CURLOPT_RETURNTRANSFER => true, CURLOPT_TIMEOUT => 5]); echo json_encode(curl_exec($c)), curl_errno($c);",
    "curl all_proxy": "putenv('ALL_PROXY=http://127.0.0.1:PORT'); $c = curl_init('http://never.example/y'); curl_setopt_array($c, [CURLOPT_RETURNTRANSFER => true, CURLOPT_TIMEOUT => 5]); echo curl_exec($c), curl_error($c);",
    "libpq": "putenv('PGHOST=' . __DIR__); putenv('PGPORT=7777'); putenv('PGCONNECT_TIMEOUT=2'); echo @pg_connect('dbname=x') ? 'connected' : error_get_last()['message'];",
    "PDO and libpq": "putenv('PGHOST=' . __DIR__); putenv('PGPORT=7778'); try { new PDO('pgsql:dbname=x', 'u', 'p'); } catch (PDOException $e) { echo $e->getMessage(); }",
    "fonts of GD": f"putenv('GDFONTPATH={FONTS[0] if FONTS else ''}'); $i = imagecreatetruecolor(99, 99); echo json_encode(@imagettftext($i, 10, 0, 5, 50, 1, '{FONTS[1][:-4] if FONTS else 'none'}', 'x') !== false);",
    "set, changed, taken away": "putenv('A=1'); echo getenv('A'); putenv('A=2'); echo getenv('A'), shell_exec('echo $A'); putenv('A'); var_dump(getenv('A')); echo shell_exec('echo [$A]'); putenv('FROM_POOL'); var_dump(getenv('FROM_POOL')); echo shell_exec('echo [$FROM_POOL]');",
    "all of it": "putenv('A=1'); putenv('FROM_POOL=mine'); $e = getenv(); echo $e['A'], $e['FROM_POOL'];",
    "locale": "putenv('LC_ALL=C.UTF-8'); echo setlocale(LC_CTYPE, ''); putenv('LC_ALL=xx_XX'); var_dump(setlocale(LC_CTYPE, ''));",
    "locale put back": "setlocale(LC_CTYPE, 'C.UTF-8'); $old = setlocale(LC_ALL, 0); setlocale(LC_ALL, 'POSIX'); echo setlocale(LC_ALL, 0), setlocale(LC_ALL, $old), setlocale(LC_CTYPE, 0); "
                       "var_dump(setlocale(LC_ALL, 'LC_CTYPE=C;LC_TIME=C'), setlocale(LC_TIME, $old));",
    "time zone of C": "$d = new SQLite3(':memory:'); foreach (['EST5EDT', 'Asia/Tokyo', '', ':Europe/Berlin', 'XXX-3:30', 'No/Such', '<+0330>-3:30', null] as $z) { putenv($z === null ? 'TZ' : \"TZ=$z\"); "
                      "echo $z, ' ', $d->querySingle(\"SELECT datetime(1720000000, 'unixepoch', 'localtime') || datetime('2024-07-03 12:00', 'utc')\"), function_exists('easter_date') ? easter_date(2024) . unixtojd(1720000000) : '', \"\\n\"; }",
    "time zone of C, as it was": "echo (new SQLite3(':memory:'))->querySingle(\"SELECT datetime(1720000000, 'unixepoch', 'localtime')\");",
    "a program's": "putenv('TZ=Asia/Tokyo'); echo shell_exec('date +%Z');",
}


@pytest.mark.parametrize("reader", READERS)
def test_readers_of_the_environment(both, proxy, reader):
    script = f"env-{re.sub(r'[^a-z]+', '-', reader)}.php"
    both.write(script, "<?php " + READERS[reader].replace("PORT", str(proxy.port)))
    theirs = both.say("theirs", script)
    if re.search("Call to undefined function|could not find driver|Class \"SQLite3\" not found", theirs):
        pytest.skip("this php-fpm has not the extension")
    assert both.say("ours", script) == theirs
    if reader in ("curl proxy", "curl all_proxy"):
        assert theirs == "proxy"


def test_of_that_request_only(both, proxy):
    """Eight requests at once, each with another value; then one that has set nothing."""
    both.write("each.php", "<?php $n = $_GET['n']; $d = __DIR__ . \"/t$n\"; @mkdir($d); putenv(\"TMPDIR=$d\"); putenv(\"PGHOST=$d\"); usleep(50000);"
                           "$f = @tempnam('/nonexistent-folder', 'x'); $ok = dirname($f) === $d; unlink($f); @pg_connect('dbname=x connect_timeout=1');"
                           "echo $ok && str_contains(error_get_last()['message'], \"t$n/\") && sys_get_temp_dir() === $d ? $n : error_get_last()['message'];")
    both.write("none.php", "<?php echo sys_get_temp_dir(), json_encode([getenv('TMPDIR'), getenv('PGHOST')]);")
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(lambda n: both.say("ours", "each.php", query=f"n={n}"), range(16))) == [str(n) for n in range(16)]
    assert {both.say("ours", "none.php") for _ in range(8)} == {"/tmp[false,false]"}


ASKED_ONCE = """<?php function all() { $dtd = '<!DOCTYPE r SYSTEM "file:///nowhere/a.dtd"><r>&e;</r>'; $d = new DOMDocument; @$d->loadXML($dtd, LIBXML_DTDLOAD | LIBXML_NOENT);
  $s = new SQLite3(''); $s->exec('PRAGMA cache_size=2; PRAGMA temp_store=1; CREATE TABLE t(a)'); for ($i = 0; $i < 100; $i++) $s->exec('INSERT INTO t VALUES (randomblob(20000))');
  $files = array_unique(array_map('dirname', array_filter(array_map(fn($n) => @readlink("/proc/self/fd/$n"), scandir('/proc/self/fd')), fn($f) => str_contains($f, 'etilqs'))));
  return json_encode([$d->textContent, array_values($files), IntlTimeZone::createDefault()->getID(), Locale::getDefault()]); }
"""


@pytest.mark.parametrize("pool", ["", "env[TZ] = America/Lima\nenv[LANG] = de_DE.UTF-8\nenv[SQLITE_TMPDIR] = {root}/theirs\nenv[XML_CATALOG_FILES] = {root}/catalog.xml\n"])
def test_libraries_that_ask_once(pool):
    """The first request that uses a library has set what that library asks for once: the others have the pool's, as in the other
    workers of php-fpm; SQLite has kept no pointer into the first one's memory."""
    folder = make_workdir()
    both = Both(folder, pool, children=8)
    try:
        for name in ("own", "theirs"):
            both.write(f"{name}/x", "")
        for name in both.programs:
            subprocess.run(["chmod", "-R", "a+rwX", both.root(name)], check=True)
        both.write("look.php", ASKED_ONCE + "echo all();")
        both.write("catalog.xml", '<?xml version="1.0"?><catalog xmlns="urn:oasis:names:tc:entity:xmlns:xml:catalog"><system systemId="file:///nowhere/a.dtd" uri="a.dtd"/></catalog>')
        both.write("a.dtd", '<!ENTITY e "found">')
        both.write("set.php", ASKED_ONCE + "foreach (['TZ=Asia/Tokyo', 'LC_ALL=ja_JP.UTF-8', 'LANG=ja_JP.UTF-8', 'SQLITE_TMPDIR=' . __DIR__ . '/own', 'XML_CATALOG_FILES=' . __DIR__ . '/catalog.xml', "
                              "'ICU_DATA=/nowhere', 'ICU_TIMEZONE_FILES_DIR=/nowhere'] as $e) putenv($e); echo all();")
        wanted = both.say("theirs", "look.php")
        if "Class " in wanted:
            pytest.skip("this php-fpm has not the extensions")
        assert '"found"' in wanted if pool else '""' in wanted
        both.say("ours", "set.php")
        with ThreadPoolExecutor(8) as many:
            assert {said.replace("www-ours", "www-theirs") for said in many.map(lambda _: both.say("ours", "look.php"), range(24))} == {wanted}
    finally:
        both.stop()
        remove_workdir(folder)
