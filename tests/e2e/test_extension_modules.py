"""Extensions that are not of PHP's own source, used by all workers of a process at once: what they count is exact, what they
exchange is whole, nobody sees another one's, and nothing crashes. Each test builds its extension if it is not built yet, and
is skipped with the reason where its source cannot be had."""
import os
import re
import shutil
import subprocess
import threading
import time

import pytest

import process
from extension_modules import module, settings
from fcgi_client import fetch
from runtime import ask_build
from tokiophp import ROOT

pytestmark = pytest.mark.seconds(600)  # the first one of a kind compiles
THREADS, EACH = 8, 40


@pytest.fixture
def server(workdir, tokiophp):
    def start(name, script, *more, pool=""):
        with open(os.path.join(workdir, "www/use.php"), "w") as f:
            f.write("<?php\n" + script)
        lines = [word for line in more for word in ("-d", line)]
        running = tokiophp(pool=f"pm.max_children = {THREADS}\n{pool}", args=["-d", f"extension={module(name)}", *settings(name), *lines])
        running.script = os.path.join(workdir, "www/use.php")
        return running
    return start


def ask(server, query=""):
    reply = fetch(server.address, server.script, query=query)
    return reply.body.decode("latin-1") if reply.status == 200 else f"{reply.status} {reply.body[:300]!r} {reply.stderr[:300]!r}"


def hammer(server, query="n={n}", each=EACH):
    """Everybody at once; a set of what came."""
    found, gate = [], threading.Barrier(THREADS)

    def one(number):
        gate.wait()
        for i in range(each):
            found.append(ask(server, query.format(n=number * each + i)))
    threads = [threading.Thread(target=one, args=(n,)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not re.search(r"crash|SIGSEGV|signal 11|heap corrupted", server.messages()), server.messages()[-3000:]
    return set(found), len(found)


APCU = """
if (isset($_GET['sum'])) { echo apcu_fetch('count'), ' ', apcu_fetch('cas'), ' ', apcu_fetch('made'); exit; }
$n = (int) $_GET['n'];
for ($i = 0; $i < 20; $i++) {
    apcu_inc('count');
    do { $old = apcu_fetch('cas'); } while (!apcu_cas('cas', $old, $old + 1));
    $key = 'v' . $i % 5;
    $text = str_repeat(chr(97 + ($n + $i) % 26), random_int(1, 3000));
    apcu_store($key, ['text' => $text, 'sum' => crc32($text), 'deep' => [(object) ['n' => $n]]]);
    $got = apcu_fetch($key);
    if ($got !== false && crc32($got['text']) !== $got['sum']) exit('torn');
    if ($i % 6 == 0) apcu_delete($key);
    apcu_entry("once$i", function () { apcu_inc('made'); usleep(1000); return 1; });
}
foreach (new APCUIterator('/^v/') as $entry) if (crc32($entry['value']['text']) !== $entry['value']['sum']) exit('torn');
echo 'whole';
"""


def test_apcu(server):
    running = server("apcu", "apcu_add('count', 0); apcu_add('cas', 0); apcu_add('made', 0);" + APCU)
    said, requests = hammer(running)
    assert said == {"whole"}
    assert ask(running, "sum").split() == [str(requests * 20), str(requests * 20), "20"]


def test_apcu_that_is_full(server):
    running = server("apcu", """
for ($i = 0; $i < 30; $i++) {
    $text = str_repeat((string) random_int(0, 9), random_int(1, 40000));
    @apcu_store('k' . random_int(0, 99), [$text, crc32($text)], random_int(0, 1));
    $got = apcu_fetch('k' . random_int(0, 99));
    if ($got !== false && crc32($got[0]) !== $got[1]) exit('torn');
}
echo 'whole';""", "apc.shm_size=1M")
    assert hammer(running)[0] == {"whole"}


ROUND_TRIP = """
class Point { public $x; protected $y; private ?Point $next; function __construct($x, $y, $next) { [$this->x, $this->y, $this->next] = func_get_args(); } }
mt_srand((int) $_GET['n']);
function any($depth) {
    return match ($depth <= 0 ? mt_rand(0, 4) : mt_rand(0, 7)) {
        0 => mt_rand() * (mt_rand(0, 1) ? 1 : -1), 1 => mt_rand() / 7, 2 => null, 3 => (bool) mt_rand(0, 1), 4 => str_repeat(chr(mt_rand(0, 255)), mt_rand(0, 400)),
        5 => array_map(fn() => any($depth - 1), range(0, mt_rand(0, 6))), 6 => ['a' => any($depth - 1), 'b' . mt_rand(0, 9) => any($depth - 1)],
        7 => new Point(any($depth - 1), any($depth - 1), mt_rand(0, 1) ? new Point(1, 'two', null) : null) };
}
for ($i = 0; $i < 40; $i++) {
    $value = any(4);
    if (unserialize(serialize($value)) != PACKED) exit('another: ' . print_r($value, true));
}
"""


@pytest.mark.parametrize("name,packed", [("igbinary", "igbinary_unserialize(igbinary_serialize($value))"),
                                         ("msgpack", "msgpack_unpack(msgpack_pack($value))")])
def test_serializers(server, name, packed):
    session = "session_id('s' . $_GET['n'] % 4); session_start(); $_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1; echo session_encode() === false ? 'no' : 'whole';"
    running = server(name, ROUND_TRIP.replace("PACKED", packed) + session, f"session.serialize_handler={name}")
    assert hammer(running)[0] == {"whole"}


class Daemon(process.Program):
    """A server beside it, on a socket in the test's folder."""

    def __init__(self, workdir, *command):
        if not shutil.which(command[0]):
            pytest.skip(f"no {command[0]} here")
        self.path = os.path.join(workdir, "tmp", "d.sock")
        super().__init__([word.replace("{socket}", self.path) for word in command], workdir, f"{os.path.basename(command[0])}.log")
        try:
            self.wait_accepting(self.path)
            os.chmod(self.path, 0o777)
        except BaseException:
            self.kill_family()
            raise


@pytest.fixture
def redis(workdir):
    daemon = Daemon(workdir, "redis-server", "--port", "0", "--unixsocket", "{socket}", "--save", "", "--appendonly", "no", "--dir", workdir)
    yield daemon
    daemon.stop()


@pytest.fixture
def memcached(workdir):
    daemon = Daemon(workdir, "memcached", "-s", "{socket}", "-a", "0777", "-u", "nobody")
    yield daemon
    daemon.stop()


REDIS = """
$n = (int) $_GET['n'];
$redis = new Redis;
if ($n % 2) $redis->pconnect('SOCKET'); else $redis->connect('SOCKET');
if (isset($_GET['sum'])) exit(implode(' ', $redis->mget(['count', 'piped', 'multi'])));
$mine = "own$n";
$redis->setOption(Redis::OPT_SERIALIZER, Redis::SERIALIZER_PHP);
for ($i = 0; $i < 10; $i++) {
    $value = [$n, $i, str_repeat(chr(97 + $n % 26), random_int(1, 20000))];
    $redis->set($mine, $value);
    if ($redis->get($mine) !== $value) exit("another one's");
    $redis->incr('count');
    $answers = $redis->pipeline()->incr('piped')->echo("$n $i")->get($mine)->exec();
    if ($answers[1] !== "$n $i" || $answers[2] !== $value) exit("another one's in a pipeline");
    $answers = $redis->multi()->incr('multi')->get($mine)->exec();
    if ($answers[1] !== $value) exit("another one's in a transaction");
}
$redis->del($mine);
session_id('shared' . $n % 2);
session_start();
$_SESSION['visits'] = ($_SESSION['visits'] ?? 0) + 1;
session_write_close();
echo 'whole';
"""


def test_redis(server, redis):
    running = server("redis", REDIS.replace("SOCKET", redis.path), "session.save_handler=redis",
                     "redis.session.locking_enabled=1", "redis.session.lock_retries=-1", "redis.session.lock_wait_time=2000",
                     pool=f"php_admin_value[session.save_path] = unix://{redis.path}")
    said, requests = hammer(running)
    assert said == {"whole"}
    assert ask(running, "sum&n=0").split() == [str(requests * 10)] * 3
    running.script = running.script.replace("use.php", "visits.php")
    with open(running.script, "w") as f:
        f.write("<?php session_id('shared' . $_GET['n']); session_start(); echo $_SESSION['visits'];")
    assert [ask(running, f"n={n}") for n in (0, 1)] == [str(requests // 2)] * 2, "a session is one request's at a time"


def test_memcached(server, memcached):
    running = server("memcached", """
$n = (int) $_GET['n'];
$cache = new Memcached($n % 2 ? 'kept' : '');
if (!$cache->getServerList()) $cache->addServer('SOCKET', 0);
if (isset($_GET['sum'])) exit((string) $cache->get('count'));
$cache->add('count', 0);
for ($i = 0; $i < 20; $i++) {
    $value = [$n, $i, str_repeat(chr(97 + $n % 26), random_int(1, 20000))];
    if (!$cache->set("own$n", $value) || $cache->get("own$n") !== $value) exit("another one's: " . $cache->getResultMessage());
    $cache->increment('count');
}
echo 'whole';""".replace("SOCKET", memcached.path))
    said, requests = hammer(running)
    assert said == {"whole"}
    assert ask(running, "sum&n=0") == str(requests * 20)


IMAGICK = """
$n = (int) $_GET['n'] % 4;
$picture = new Imagick;
$picture->newPseudoImage(300, 200, "gradient:rgb(" . $n * 60 . ",10,200)-rgb(250,250," . $n * 50 . ")");
$draw = new ImagickDraw;
$draw->setFillColor('red');
$draw->circle(150, 100, 150, 20 + 10 * $n);
$picture->drawImage($draw);
$picture->gaussianBlurImage(3, 2);
$picture->resizeImage(123, 77, Imagick::FILTER_LANCZOS, 1);
$picture->rotateImage('white', 15);
$picture->setImageFormat('png');
$again = new Imagick;
$again->readImageBlob($picture->getImageBlob());
echo $n, ' ', $again->getImageSignature(), ' ', Imagick::getResourceLimit(Imagick::RESOURCETYPE_THREAD);
"""


def threads_of(server):
    return sum(len(os.listdir(f"/proc/{pid}/task")) for pid in server.engine_pids())


def test_imagick(server):
    running = server("imagick", IMAGICK)
    alone = {ask(running, f"n={n}") for n in range(4)}
    assert len(alone) == 4 and all(re.fullmatch(r"\d [0-9a-f]{64} 1", line) for line in alone), alone
    before = threads_of(running)
    assert hammer(running, each=EACH // 2)[0] == alone
    assert threads_of(running) == before, "ImageMagick has started threads of its own"
    running.signal(12)  # SIGUSR2: a module that is unloaded while its library has threads would crash the old process
    time.sleep(0.2)
    assert hammer(running, each=3)[0] == alone


REFUSES = """PHP_ARG_ENABLE([pips], [whether to enable pips], [AS_HELP_STRING([--enable-pips], [Enable pips])], [yes])
echo asked >> ASKED
AC_MSG_ERROR([not supported. Need a PHP version >= NEEDED])
"""


def test_a_source_that_refuses_this_php_is_asked_once(workdir):
    php_config = os.path.join(ask_build("--print-prefix"), "bin/php-config")
    if not os.path.exists(os.path.join(os.path.dirname(php_config), "phpize")):
        pytest.skip("no runtime of packaging/php-zts/build")
    asked, source = os.path.join(workdir, "asked"), os.path.join(workdir, "pips")
    os.mkdir(source)

    def build(output, needed):
        with open(os.path.join(source, "config.m4"), "w") as f:
            f.write(REFUSES.replace("ASKED", asked).replace("NEEDED", needed))
        environment = dict(os.environ, XDG_CACHE_HOME=os.path.join(workdir, "cache"), TOKIOPHP_EXTENSION_SOURCES=workdir)
        subprocess.run([os.path.join(ROOT, "packaging/build-extensions"), "--php-config", php_config, "--output", os.path.join(workdir, output), "pips"],
                       check=True, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300)
        with open(os.path.join(workdir, output, "pips.why")) as why, open(asked) as times:
            return why.read().strip(), times.read().count("asked")
    assert build("first", "9.0") == ("error: not supported. Need a PHP version >= 9.0", 1)
    assert build("second", "9.0") == ("error: not supported. Need a PHP version >= 9.0", 1), "another folder, and nothing is compiled"
    assert build("second", "9.1") == ("error: not supported. Need a PHP version >= 9.1", 2), "another source"
