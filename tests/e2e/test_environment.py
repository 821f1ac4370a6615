"""putenv() is seen by PHP's own readers of the environment and by C libraries, of that request only, as in php-fpm."""
import glob
import re
import socket
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
    "a program's": "putenv('TZ=Asia/Tokyo'); echo shell_exec('date +%Z');",
}


@pytest.mark.parametrize("reader", READERS)
def test_readers_of_the_environment(both, proxy, reader):
    script = f"env-{re.sub(r'[^a-z]+', '-', reader)}.php"
    both.write(script, "<?php " + READERS[reader].replace("PORT", str(proxy.port)))
    theirs = both.say("theirs", script)
    if re.search("Call to undefined function|could not find driver", theirs):
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
