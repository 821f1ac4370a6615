"""preload = auto: what requests have in common is learned and preloaded, and a change of it is seen; no request is lost."""
import json
import os
import signal
import subprocess
import threading
import time

import pytest

import tokiophp as server_module
from fcgi_client import Connection, fetch
from files import replace
from process import wait_for

pytestmark = pytest.mark.skipif(server_module.is_stand_in(), reason="php-fpm has none of this")
LEARNED = "the files that its requests have in common are to be preloaded"
ON = "preload = auto\npm.max_children = 2\n"
USED = "echo json_encode(['pid' => getmypid(), 'said' => $said, 'preloaded' => $early]);"
FRONT = """<?php
$early = array_values(array_filter(get_declared_classes(), fn($name) => (new ReflectionClass($name))->isUserDefined()));
spl_autoload_register(function ($class) {
    $file = __DIR__ . '/../src/' . strtr($class, '\\\\', '/') . '.php';
    if (is_file($file)) { require $file; }
});
require __DIR__ . '/../src/polyfill.php';
require __DIR__ . '/../src/functions.php';
require_once __DIR__ . '/../src/App/Direct.php';
$said = [(new App\\C29)->say(), App\\Kind::One->name, Old::NAME, Two\\A::class, (new App\\Kept)->say(), class_exists('Two\\B'),
  (new App\\Child)->say(), helped(), App\\Direct::count(), App\\Direct::count(), defined('SIDE'), App\\Direct::class];
if (isset($_GET['more'])) { $said[] = (new App\\Seldom)->say(); }
"""


def make(folder, name="one"):
    """30 classes, each the child of the one before; an enum, a conditional class, and files that do more than declare."""
    replace(f"{folder}/src/App/C0.php", f"<?php namespace App; class C0 {{ function say() {{ return ['{name}']; }} }}")
    for i in range(1, 30):
        replace(f"{folder}/src/App/C{i}.php",
            f"<?php namespace App; class C{i} extends C{i - 1} {{ function say() {{ return [...parent::say(), {i}]; }} }}")
    replace(f"{folder}/src/App/Kind.php", "<?php namespace App; enum Kind { case One; }")
    replace(f"{folder}/src/App/Seldom.php", "<?php namespace App; class Seldom extends C0 {}")
    replace(f"{folder}/src/App/Kept.php", "<?php namespace App; define('KEPT', 1); class Kept { function say() { return KEPT; } }")
    replace(f"{folder}/src/polyfill.php", "<?php if (!class_exists('Old', false)) { class Old { const NAME = 'polyfill'; } }")
    replace(f"{folder}/src/App/Child.php", "<?php namespace App; class Child extends Kept {}")
    replace(f"{folder}/src/App/Direct.php", "<?php namespace App; final class Direct { private static int $n = 0; static function count() { return ++self::$n; } }")
    replace(f"{folder}/src/functions.php", "<?php function helped() { static $n = 0; return ++$n; }")
    replace(f"{folder}/src/Two/A.php", "<?php namespace Two; class A {} class B extends A {}")
    replace(f"{folder}/src/Two/B.php", "<?php require_once __DIR__ . '/A.php';")
    replace(f"{folder}/public/index.php", FRONT + USED)
    return f"{folder}/public/index.php"


class App:
    def __init__(self, start, workdir, pool=ON, front=None, **how):
        self.folder = workdir + "/app"
        self.front = front or make(self.folder)
        self.server = start(pool=pool, settings="control_socket = {dir}/ctl\n", **how)

    def ask(self, query=""):
        answer = fetch(self.server.address, self.front, QUERY_STRING=query)
        assert answer.status == 200, (answer.status, answer.body, self.server.messages()[-3000:])
        return json.loads(answer.body)

    def swaps(self, why=LEARNED):
        return self.server.messages().count("is being replaced: " + why)

    def learn(self):
        """Until a process answers that has preloaded."""
        with Connection(self.server.address, 30) as c:
            for _ in range(220):
                assert c.request(self.front, keep=True).status == 200
        wait_for(lambda: self.ask()["preloaded"], 60, "preloaded classes: " + self.server.messages()[-3000:])
        return self.ask()


def test_what_requests_have_in_common(tokiophp, workdir):
    """The same bytes. What is included in any case, does more than declare one class, or is seldom, is left to the script."""
    app = App(tokiophp, workdir)
    before, more = app.ask(), app.ask("more=1")
    assert before["preloaded"] == [] and before["said"][2:5] == ["polyfill", "Two\\A", 1]
    after = app.learn()
    assert after["said"] == before["said"] and app.ask("more=1")["said"] == more["said"]
    assert {*after["preloaded"]} == {f"App\\C{i}" for i in range(30)} | {"App\\Kind"}
    assert app.swaps() == 1


@pytest.mark.seconds(240)
def test_more_than_is_handed_on(tokiophp, workdir):
    """Names so long that all of them would be too much: some are preloaded, and the rest is not learned again and again."""
    names = os.path.join(workdir, "app/src", *["x" * 250] * 15)
    os.makedirs(names)
    here = os.open(names, os.O_RDONLY)
    for i in range(1150):
        with open(os.open(f"C{i}.php", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=here), "w") as f:
            f.write(f"<?php class C{i} {{}}")
        os.utime(f"C{i}.php", (time.time() - 100,) * 2, dir_fd=here)
    os.close(here)
    replace(workdir + "/app/index.php", "<?php $early = array_values(array_filter(get_declared_classes(), fn($name) => (new ReflectionClass($name))->isUserDefined()));"
        "spl_autoload_register(function ($class) { require __DIR__ . '/src/" + "/".join(["x" * 250] * 15) + "/' . $class . '.php'; });"
        "for ($i = 0; $i < 1150; $i++) { class_exists(\"C$i\"); } $said = 1;" + USED)
    app = App(tokiophp, workdir, front=workdir + "/app/index.php")
    assert 100 < len(app.learn()["preloaded"]) < 1150
    for _ in range(250):
        assert app.ask()["preloaded"]
    assert app.swaps() == 1


def test_a_request_that_is_out_of_memory(tokiophp, workdir):
    """Nothing that it could be ended in keeps others from including files."""
    replace(workdir + "/app/long.php", "<?php function beside() {} class " + "A" * 3000000 + " {}")
    replace(workdir + "/app/index.php", "<?php if (isset($_GET['full'])) { ini_set('memory_limit', memory_get_usage(true) + (1 << 20)); } require __DIR__ . '/long.php'; echo 'done';")
    app = App(tokiophp, workdir, front=workdir + "/app/index.php")
    for query, status in (("", 200), ("full=1", 500), ("", 200), ("", 200)):
        assert fetch(app.server.address, app.front, QUERY_STRING=query).status == status
    app.server.wait_message("Allowed memory size", 30)


def test_off_unless_asked_for(tokiophp, workdir):
    app = App(tokiophp, workdir, pool="pm.max_children = 1\n")
    for _ in range(250):
        assert app.ask()["preloaded"] == []
    assert app.swaps() == 0


def test_a_reload_keeps_it(tokiophp, workdir):
    app = App(tokiophp, workdir)
    app.learn()
    old = app.ask()["pid"]
    app.server.signal(signal.SIGUSR2)
    wait_for(lambda: app.ask()["pid"] != old, 30, "the reload")
    assert len(app.ask()["preloaded"]) >= 31 and app.swaps() == 1


CHANGES = {
    "changed": (lambda app: replace(app.folder + "/src/App/C0.php", "<?php namespace App; class C0 { function say() { return ['two']; } }", 50),
                lambda answer: json.loads(answer.body)["said"][0][0] == "two"),
    "removed": (lambda app: os.unlink(app.folder + "/src/App/C7.php"), lambda answer: b'Class "App\\C7" not found' in answer.body),
    "broken": (lambda app: replace(app.folder + "/src/App/C7.php", "<?php namespace App; class C7 extends {", 50),
               lambda answer: b"syntax error" in answer.body and b"C7.php" in answer.body),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_file_that_changes(tokiophp, workdir, what):
    """It is seen, and no request is lost on the way."""
    change, is_new = CHANGES[what]
    app = App(tokiophp, workdir, php="php_admin_value[display_errors] = 1\nphp_admin_value[html_errors] = 0\n")
    app.learn()
    old = app.ask()["said"]
    ends, stop = [], threading.Event()

    def client():
        while not stop.is_set():
            answer = fetch(app.server.address, app.front)
            ends.append((answer.end, b'"said"' in answer.body or is_new(answer)))
    thread = threading.Thread(target=client)
    thread.start()
    try:
        change(app)
        wait_for(lambda: is_new(fetch(app.server.address, app.front)), 30, "the new file: " + what)
    finally:
        stop.set()
        thread.join()
    assert {*ends} <= {((0, 0), True), ((255, 0), True)}
    assert app.swaps("a preloaded file has changed") == 1
    if what == "changed":
        assert app.ask()["said"][1:] == old[1:]


def test_it_is_learned_again(tokiophp, workdir):
    """After a change, once the supervisor lets a process be replaced again."""
    app = App(tokiophp, workdir)
    app.learn()
    CHANGES["changed"][0](app)
    wait_for(lambda: app.ask()["preloaded"] == [], 30, "a process without the old files")
    assert app.learn()["said"][0][0] == "two"


def test_a_link_that_moves(tokiophp, workdir):
    """A deployment by a link: files of the old place do not change."""
    make(workdir + "/releases/1", "first")
    make(workdir + "/releases/2", "second")
    os.symlink("releases/1", workdir + "/current")
    app = App(tokiophp, workdir, front=workdir + "/current/public/index.php")
    assert app.learn()["said"][0][0] == "first"
    os.symlink("releases/2", workdir + "/next")
    os.rename(workdir + "/next", workdir + "/current")
    wait_for(lambda: app.ask()["said"][0][0] == "second", 30, "the second release")


def test_a_script_of_another_folder(tokiophp, workdir):
    """A deployment whose web server names the new folder itself: the first request that comes with it ends the preloading."""
    make(workdir + "/releases/1", "first")
    make(workdir + "/releases/2", "second")
    app = App(tokiophp, workdir, front=workdir + "/releases/1/public/index.php")
    app.learn()
    assert fetch(app.server.address, workdir + "/releases/nowhere/index.php").status == 404  # whoever asks for anything
    app.front = workdir + "/releases/2/public/index.php"
    app.ask()
    wait_for(lambda: app.ask()["said"][0][0] == "second", 30, "the second release")
    assert "nowhere/index.php is in none" not in app.server.messages()


def test_timestamps_that_are_not_looked_at(tokiophp, workdir):
    """As with OPcache's own: a reload brings what is new, and nothing of the old list."""
    app = App(tokiophp, workdir, php="php_admin_value[opcache.validate_timestamps] = 0\n")
    app.learn()
    CHANGES["changed"][0](app)
    time.sleep(2.5)
    assert app.ask()["said"][0][0] == "one"
    assert app.swaps("a preloaded file has changed") == 0
    app.server.signal(signal.SIGUSR2)
    wait_for(lambda: app.ask()["said"][0][0] == "two", 30, "the new file")


@pytest.mark.skipif(not server_module.IS_ROOT, reason="only root's processes have somebody to preload as")
def test_a_start_that_fails(tokiophp, workdir):
    """Nothing of the user's is compiled as root: the old process goes on, and the next neither preloads nor learns."""
    app = App(tokiophp, workdir, php="php_admin_value[opcache.preload_user] = root\n")
    with Connection(app.server.address, 30) as c:
        for _ in range(220):
            assert c.request(app.front, keep=True).status == 200
    app.server.wait_message("opcache.preload_user is root", 30)
    app.server.wait_message("this one neither preloads nor learns", 30)
    for _ in range(250):
        assert app.ask()["preloaded"] == []
    assert app.swaps() == 1


@pytest.mark.parametrize("lines, why", [("worker.script = {dir}/www/hello.php\n", "worker.script is set"), ("chroot = {dir}\n", "chroot is set"),
                                        ("php_admin_value[opcache.preload] = {dir}/p.php\n", "opcache.preload is set")])
def test_where_it_does_nothing(workdir, lines, why):
    with open(workdir + "/t.ini", "w") as f:
        f.write(f"[global]\nerror_log = /dev/stderr\n[www]\nuser = nobody\nlisten = {workdir}/t.sock\npm = static\npm.max_children = 1\npreload = auto\n"
                + lines.replace("{dir}", workdir))
    done = subprocess.run([server_module.PROGRAM, "-t", "-y", workdir + "/t.ini"], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    assert f"preload = auto does nothing: {why}" in done.stdout, done.stdout
