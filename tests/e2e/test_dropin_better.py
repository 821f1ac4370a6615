"""Where tokiophp is deliberately better than php-fpm (docs/differences-from-php-fpm.md). Each of these fails with a php-fpm."""
import http.client
import os
import signal
import threading

import pytest

import fcgi_client
import tokiophp as server_module
from process import wait_for

pytestmark = pytest.mark.skipif(server_module.is_stand_in(), reason="php-fpm does it worse")


def script(workdir, name, text):
    path = os.path.join(workdir, "www", name)
    with open(path, "w") as f:
        f.write(text)
    return path


def test_php_value_does_not_leak(workdir, tokiophp):
    """What a request's PHP_VALUE and PHP_ADMIN_VALUE set is gone at the next request of the same worker, and ini_set()
    may change again what PHP_ADMIN_VALUE had locked."""
    # by a variable: OPcache writes what PHP_ADMIN_VALUE has locked into the code that it compiles just then, in php-fpm too
    path = script(workdir, "ini.php", "<?php $name = $_GET['none'] ?? 'memory_limit'; echo ini_get('precision'), ' ', ini_get($name), ' ', "
                  "var_export(ini_set('memory_limit', '50M') !== false, true), ' ', ini_get('display_errors');")
    server = tokiophp(pool="pm.max_children = 1\nphp_value[precision] = 7\nphp_value[memory_limit] = 40M\nphp_flag[display_errors] = off")
    with fcgi_client.Connection(server.address) as c:
        for _ in range(3):
            got = c.request(path, keep=True, PHP_VALUE="precision=3\ndisplay_errors=1", PHP_ADMIN_VALUE="memory_limit=30M")
            assert got.body == b"3 30M false 1"
            assert c.request(path, keep=True).body in (b"7 40M true ", b"7 40M true 0")


def test_a_head_callback_that_prints(workdir, tokiophp):
    """Its words are the first of the page, and the head is sent once; php-fpm sends it again, in the page."""
    path = script(workdir, "callback.php", "<?php header_register_callback(function () { header('X-Called: yes'); http_response_code(202); echo 'first '; }); echo 'page';")
    got = fcgi_client.fetch(tokiophp().address, path)
    assert (got.status, got.header("X-Called"), got.body) == (202, "yes", b"first page")


def test_parameters_above_64_kilobytes(workdir, tokiophp):
    path = script(workdir, "long.php", "<?php echo strlen($_SERVER['HTTP_LONG']), ' ', md5($_SERVER['HTTP_LONG']), ' ', $_SERVER['HTTP_AFTER'];")
    server = tokiophp()
    import hashlib
    for n in (65535, 65536, 100000, 200000):
        value = "".join(chr(97 + i % 26) for i in range(n))
        got = fcgi_client.fetch(server.address, path, HTTP_LONG=value, HTTP_AFTER="yes")
        assert got.body.decode() == f"{n} {hashlib.md5(value.encode()).hexdigest()} yes"


def test_short_body_does_not_hold_the_worker(workdir, tokiophp):
    """A body that ends before CONTENT_LENGTH: php-fpm waits for ever. One worker, and it serves on."""
    path = script(workdir, "body.php", "<?php echo strlen(file_get_contents('php://input'));")
    server = tokiophp(pool="pm.max_children = 1")
    for _ in range(3):
        with fcgi_client.Connection(server.address, 30) as c:
            c.request(path, method="POST", body=b"abc", CONTENT_LENGTH="1000")
    assert fcgi_client.fetch(server.address, path, method="POST", body=b"abc").body == b"3"


def test_idle_connections_hold_no_worker(workdir, tokiophp):
    server = tokiophp(pool="pm.max_children = 2\npm.status_path = /status")
    hello = workdir + "/www/hello.php"
    idle = [fcgi_client.Connection(server.address) for _ in range(50)]
    for c in idle:
        assert c.request(hello, keep=True).body == b"hello"
    for _ in range(20):
        assert fcgi_client.fetch(server.address, hello).body == b"hello"
    wait_for(lambda: b'"active processes":1' in fcgi_client.fetch(server.address, "/status", uri="/status", query="json").body,
             10, "a page whose own worker is the only active one")
    for c in idle:
        c.close()


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGHUP])
def test_reload_fails_no_request(workdir, tokiophp, webserver, number):
    """With process_control_timeout = 0, php-fpm's default, which cuts running requests there."""
    path = script(workdir, "work.php", "<?php usleep(random_int(0, 200000)); echo 'done';")
    server = tokiophp(settings="process_control_timeout = 0")
    front = webserver("nginx", workdir + "/www", server.address)
    ended, failed, count = threading.Event(), [], [0]

    def run():
        while not ended.is_set():
            c = http.client.HTTPConnection("127.0.0.1", front.port, timeout=30)
            try:
                c.request("GET", "/" + os.path.basename(path))
                r = c.getresponse()
                got = (r.status, r.read())
            except (OSError, http.client.HTTPException) as e:
                got = (0, repr(e))
            finally:
                c.close()
            count[0] += 1
            if got != (200, b"done"):
                failed.append(got)
    threads = [threading.Thread(target=run, daemon=True) for _ in range(6)]
    for t in threads:
        t.start()
    for i in range(5):
        server.signal(number)
        wait_for(lambda: server.messages().count("ready to handle connections") >= i + 2, 30, "the reload")
        seen = count[0]
        wait_for(lambda: count[0] > seen + 8, 30, "answers after the reload")
    ended.set()
    for t in threads:
        t.join(40)
    assert failed == []


def test_a_broken_configuration_does_not_end_the_server(workdir, tokiophp):
    server = tokiophp()
    hello = workdir + "/www/hello.php"
    with open(server.config_path) as f:
        good = f.read()
    with open(server.config_path, "w") as f:
        f.write(good + "\nno.such.key = 1\n")
    server.signal(signal.SIGUSR2)
    server.wait_message("reload refused: .*unknown entry|reload refused:.*no.such.key")
    assert server.running() and fcgi_client.fetch(server.address, hello).body == b"hello"
