"""Requests of a worker script that end, or leave something, in ways that no application means. Each costs itself at most."""
import process
import pytest
from faulty import tell
from test_worker_script import TARGET, code, held  # noqa: F401

ODD = {
    "exit in shutdown": "register_shutdown_function(function () { echo 'late'; exit(3); }); echo 'x';",
    "throw in shutdown": "register_shutdown_function(function () { throw new Exception('s'); }); echo 'x';",
    "fatal in shutdown": "register_shutdown_function(function () { nofunc(); }); echo 'x';",
    "exit in ob handler": "ob_start(function ($b) { exit; }); echo 'x';",
    "throw in ob handler": "ob_start(function ($b) { throw new Exception('o'); }); echo 'x';",
    "ob_start in handler": "ob_start(function ($b) { ob_start(); return $b; }); echo 'x';",
    "fiber left": "static $f; $f = new Fiber(function () { try { Fiber::suspend(1); } finally { echo 'fin'; } }); $f->start(); echo 'x';",
    "fiber dropped": "(function () { $f = new Fiber(function () { try { Fiber::suspend(1); } finally { throw new Exception('fin'); } }); $f->start(); })(); echo 'x';",
    "handle in fiber": "$f = new Fiber(fn () => tokio_handle_request(fn () => 1)); $f->start();",
    "nested handle": "tokio_handle_request(fn () => 1);",
    "exit in fiber": "$f = new Fiber(function () { exit('x'); }); $f->start();",
    "bail in fiber": "$f = new Fiber(function () { trigger_error('f', E_USER_ERROR); }); $f->start();",
    "generator left": "static $g; $g = (function () { try { yield 1; yield 2; } finally { echo 'g'; } })(); $g->current(); echo 'x';",
    "destructor exits": "class D1x { function __destruct() { exit; } } new D1x; echo 'x';",
    "destructor later": "if (!class_exists('D2x')) { eval('class D2x { public $o; function __destruct() { throw new Exception(\"d\"); } }'); } $a = new D2x; $a->o = $a; echo 'x';",
    "handler throws": "set_exception_handler(function ($e) { throw $e; }); throw new Exception('h');",
    "handler exits": "set_exception_handler(function ($e) { exit('h'); }); throw new Exception('h');",
    "error handler exits": "set_error_handler(function () { exit('e'); }); echo $undefined;",
    "finish twice": "echo 'x'; fastcgi_finish_request(); fastcgi_finish_request(); echo 'y'; usleep(1000);",
    "finish and throw": "echo 'x'; fastcgi_finish_request(); throw new Exception('after');",
    "finish and exit": "echo 'x'; fastcgi_finish_request(); exit;",
    "session left": "session_id('abcdefabcdef'); session_start(); $_SESSION['o'] = new class { function __serialize(): array { throw new Exception('ser'); } }; echo 'x';",
    "session exit in handler": "session_set_save_handler(new class implements SessionHandlerInterface { function open($a,$b):bool{return true;} function close():bool{return true;} function read($i):string{return '';} function write($i,$d):bool{exit;} function destroy($i):bool{return true;} function gc($m):int|false{return 0;} }); session_start(); $_SESSION['a'] = 1; echo 'x';",
    "close std": "fclose(STDERR ?? fopen('php://stderr', 'w'));",
    "unset globals": "foreach (array_keys($GLOBALS) as $k) { if ($k[0] === '_') unset($GLOBALS[$k]); } echo 'x';",
    "replace superglobals": "$_SERVER = 5; $_GET = null; $_SESSION = 'x'; $_FILES = new stdClass; $_ENV = 7; $_COOKIE = 1.5; echo 'x';",
    "reference to superglobal": "static $r; $r = &$_SERVER; $GLOBALS['q'] = &$_GET; $r['X'] = 'y'; echo 'x';",
    "gc in request": "for ($i = 0; $i < 20000; $i++) { $a = new stdClass; $a->a = $a; } echo 'x';",
    "wrapper file": "stream_wrapper_unregister('file'); echo 'x';",
    "huge output": "echo str_repeat('x', 5000000);",
    "deep": "$a = []; for ($i = 0; $i < 200000; $i++) { $a = [$a]; } echo 'x';",
    "headers late": "echo 'x'; flush(); header('A: b'); http_response_code(500);",
    "kill thread time": "set_time_limit(1); $t = microtime(true); while (microtime(true) - $t < 3);",
    "alarm": "pcntl_alarm(1); echo 'x';",
    "chdir gone": "$d = sys_get_temp_dir() . '/gone' . uniqid(); mkdir($d); chdir($d); rmdir($d); echo 'x';",
    "memory_limit low": "ini_set('memory_limit', '2M'); echo 'x';",
    "disable zend": "ini_set('zend.enable_gc', '0'); ini_set('output_buffering', '5'); echo 'x';",
}


@pytest.mark.seconds(240)
def test_odd_ends(held, front):  # noqa: F811
    statuses = {}
    with held.load(front, TARGET, connections=3) as load:
        for name, text in ODD.items():
            statuses[name] = [held.ask(front, code(text), timeout=60).status for _ in range(2)]
    tell(f"odd ends in a worker script, {front}: {load.summary()}")
    assert load.result["failed"] == 0, load.result["failures"]
    assert {n: s for n, s in statuses.items() if set(s) - {200, 500, 504}} == {}
    assert statuses["throw in shutdown"] == statuses["handler throws"] == [500, 500]
    assert not held.count("exited on signal|could not end a request")
    process.wait_for(lambda: held.ask(front, TARGET).text == "hello", 20, "service")
