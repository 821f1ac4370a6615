"""Every function of PHP that takes a path, over one table of names: what the kernel finds, as from php-fpm.

And the working directory: what PHP hands on as a relative name is found where the script is.
"""
import ctypes
import json
import os
import re
import struct
import subprocess
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import pytest

from both import OTHER_RELEASE, WHY_NOT, Both
from workdirs import make_workdir, remove_workdir

pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=str(WHY_NOT))

# Made anew for each name and function: real/deep/inner, links to files, folders and nothing, and what cannot be entered.
TREE = """
function wipe($d) {
    if (is_dir($d) && !is_link($d)) { @chmod($d, 0700); foreach (array_diff(scandir($d), ['.', '..']) as $e) wipe("$d/$e"); rmdir($d); } else @unlink($d);
}
function make() {
    global $base, $top; chdir('/'); wipe($top); mkdir("$base/real/deep/inner", 0777, true); mkdir("$base/empty"); chdir($base);
    foreach (['a', 'real/a', 'real/deep/a', 'b.php', 'real/b.php', 'real/deep/b.php'] as $f) file_put_contents($f, "<?php return '$f';");
    symlink('real/deep', 'ln'); symlink('real/a', 'to-a'); symlink('nothing', 'broken'); symlink('loop', 'loop'); symlink('..', 'real/up');
    mkdir('closed'); touch('closed/a'); chmod('closed', 0); mkdir('it\\'s "odd"'); touch('it\\'s "odd"/a');
}
function state() {
    global $base, $top; clearstatcache(); $l = [];
    foreach (new RecursiveIteratorIterator(new RecursiveDirectoryIterator($base, FilesystemIterator::SKIP_DOTS), 1, 16) as $p) {
        $s = lstat($p); $n = preg_replace('~x\\w{6,}$~', 'xRANDOM', substr($p, strlen($base) + 1));
        $l[] = "$n " . decoct($s['mode']) . ' ' . (is_link($p) ? str_replace($top, 'TOP', readlink($p)) : (is_file($p) && $s['size'] < 99 && is_readable($p) ? file_get_contents($p) : '')) . ($s['mtime'] == 1000000000 ? ' touched' : '');
    }
    sort($l); return md5(join("\\n", $l));
}
"""
NAMES = ["a", "./a", "ln/a", "ln/../a", "ln/../../a", "ln/.././a", "real/../a", "real/up/a", "real/up/../a", "ln/inner/../../a", "to-a", "to-a/../a", "a/", "a/.", "a/../a",
         "broken", "broken/../a", "loop", "loop/a", "nothing", "nothing/../a", "nothing/a", "ln", "ln/", "ln/.", "ln/..", "real", "real/", "empty", "empty/", "closed/a", "closed",
         "closed/../a", "", ".", "..", "//a", "ln//../a", "it's \"odd\"/a", "new", "ln/../new", "ln/new", "nothing/new", "{base}/ln/../a", "{base}/a", "{base}/ln/../new",
         "/nonexistent/../{base}/a", "{long}", "ln/../b.php", "b.php"]
FUNCTIONS = {
    "unlink": "unlink($n)", "rmdir": "rmdir($n)", "mkdir": "mkdir($n)", "mkdir -p": "mkdir(\"$n/x/y\", 0777, true)", "rename": "rename($n, 'moved')",
    "rename to": "rename('real/deep/inner', $n)", "rename a file to": "rename('real/deep/b.php', $n)", "copy": "copy($n, 'copied')", "copy to": "copy('b.php', $n)",
    "touch": "touch($n, 1000000000)", "chmod": "chmod($n, 0700)", "chown": "chown($n, posix_geteuid())", "chgrp": "chgrp($n, posix_getegid())",
    "lchown": "lchown($n, posix_geteuid())", "link": "link($n, 'linked')", "link to": "link('a', $n)", "symlink": "symlink('a', $n)", "symlink of": "symlink($n, 'linked')",
    "readlink": "readlink($n)", "linkinfo": "linkinfo($n) > 0", "stat": "(stat($n) ?: [])['mode'] ?? false", "lstat": "(lstat($n) ?: [])['mode'] ?? false",
    "file_exists": "file_exists($n)", "is_file": "is_file($n)", "is_dir": "is_dir($n)", "is_link": "is_link($n)", "is_readable": "is_readable($n)", "is_writable": "is_writable($n)",
    "is_executable": "is_executable($n)", "filesize": "filesize($n) > 0", "filetype": "filetype($n)", "fileperms": "fileperms($n)", "fileowner": "fileowner($n) > 0",
    "realpath": "realpath($n)", "file_get_contents": "file_get_contents($n)", "file_put_contents": "file_put_contents($n, 'new text')", "fopen r": "(bool) fopen($n, 'r')",
    "fopen x": "(bool) fopen($n, 'x')", "fopen c+": "(bool) fopen($n, 'c+')", "file": "file($n)", "readfile": "readfile($n)", "opendir": "(bool) opendir($n)", "scandir": "scandir($n)",
    "dir": "(bool) dir($n)", "glob": "glob(\"$n*\")", "chdir": "[chdir($n), str_replace($base, 'B', getcwd())]", "tempnam": "str_starts_with(tempnam($n, 'x'), sys_get_temp_dir())",
    "disk_free_space": "disk_free_space($n) > 0", "parse_ini_file": "parse_ini_file($n)", "hash_file": "hash_file('md5', $n)", "md5_file": "md5_file($n)",
    "include": "include $n", "require_once": "(include_once $n)", "highlight_file": "strlen(highlight_file($n, true))", "php_strip_whitespace": "php_strip_whitespace($n)",
    "posix_mkfifo": "posix_mkfifo($n, 0600)", "posix_access": "posix_access($n, POSIX_R_OK)", "posix_pathconf": "function_exists('posix_pathconf') ? posix_pathconf($n, POSIX_PC_NAME_MAX) : 0",
    "ftok": "ftok($n, 'a') !== -1", "fnmatch": "fnmatch('a', $n)", "pathinfo": "pathinfo($n)", "SplFileObject": "(new SplFileObject($n))->fgets()", "SplFileInfo": "(new SplFileInfo($n))->getRealPath()",
    "DirectoryIterator": "iterator_count(new DirectoryIterator($n))", "GlobIterator": "iterator_count(new GlobIterator(\"$n*\"))", "stream_resolve_include_path": "stream_resolve_include_path($n)",
    "move_uploaded_file": "move_uploaded_file('a', $n)", "stream wrapper": "file_get_contents('file://' . $n)",
}
RUN = """<?php
error_reporting(E_ALL); ini_set("display_errors", "0"); $top = sys_get_temp_dir() . '/' . $_GET['who'] . '-' . md5($_GET['f']); $base = "$top/base"; umask(022);
""" + TREE + """
$before = null;
function once($code, $n) {
    global $base, $before; if ($before === null || state() !== $before) { make(); $before = state(); } chdir($base); error_clear_last(); ob_start();
    try { $r = @eval('return ' . $code . ';'); } catch (Throwable $e) { $r = get_class($e) . ': ' . $e->getMessage(); }
    $out = ob_get_clean(); $e = error_get_last(); chdir($base);
    if (is_array($r)) array_walk_recursive($r, function (&$v) use ($base) { if (is_string($v)) $v = str_replace($base, 'BASE', $v); });
    if (is_string($r)) $r = str_replace($base, 'BASE', $r);
    return [$r, $out, $e ? preg_replace(['~' . preg_quote($base, '~') . '~', '~sh: \\\\d+: ~'], ['BASE', ''], $e['message']) : null, state()];
}
$all = [];
foreach (json_decode($_POST['names'], true) as $name) {
    $n = strtr($name, ['{base}' => $base, '{long}' => str_repeat('ab/', 1500)]);
    $all[$name] = once($_GET['f'], $n);
}
chdir('/'); wipe($top);
echo json_encode($all, JSON_PARTIAL_OUTPUT_ON_ERROR);
"""


@pytest.fixture(scope="module")
def both():
    folder = make_workdir()
    servers = Both(folder, children=4)
    servers.write("run.php", RUN)
    yield servers
    servers.stop()
    remove_workdir(folder)


def need_real(both):
    if not both.directory_is_real():
        pytest.skip("this libphp does not leave its path functions to tokiophp: it is of an older recipe")


NEW = ("highlight_file", "posix_pathconf")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_path_functions(both, function):
    """Result, warning and what lies in the folder afterwards."""
    need_real(both)
    if function in NEW and OTHER_RELEASE:
        pytest.skip(OTHER_RELEASE)
    body = urllib.parse.urlencode({"names": json.dumps(NAMES)}).encode()
    answers = {}
    for name in ("theirs", "ours"):
        said = both.ask(name, "run.php", method="POST", body=body, CONTENT_TYPE="application/x-www-form-urlencoded",
                        query=urllib.parse.urlencode({"f": FUNCTIONS[function], "who": name})).body
        answers[name] = {k: json.loads(json.dumps(v).replace(f"/{name}-", "/WHO-")) for k, v in json.loads(said).items()}
    if OTHER_RELEASE:  # words of errors have changed
        answers = json.loads(json.dumps(answers).replace("cannot be empty", "must not be empty"))
    assert len(answers["theirs"]) == len(NAMES)
    different = {n: (answers["theirs"][n], answers["ours"][n]) for n in NAMES if answers["theirs"][n] != answers["ours"][n]}
    assert different == {}


RELATIVE = {
    "proc_open": "$p = proc_open('pwd', [1 => ['pipe', 'w']], $q); echo stream_get_contents($q[1]);",
    "readlink": "@unlink('ln'); symlink('x', 'ln'); echo readlink('ln');",
    "unix socket": "@unlink('s.sock'); $s = stream_socket_server('unix://s.sock'); $c = stream_socket_client('unix://s.sock'); var_dump((bool) $s, (bool) $c, file_exists(__DIR__ . '/s.sock'));",
    "socket_bind": "@unlink('b.sock'); $s = socket_create(AF_UNIX, SOCK_STREAM, 0); var_dump(socket_bind($s, 'b.sock'), file_exists(__DIR__ . '/b.sock'));",
    "mkfifo": "@unlink('f'); var_dump(posix_mkfifo('f', 0600), filetype(__DIR__ . '/f'));",
    "ftok": "touch('k'); var_dump(ftok('k', 'a') === ftok(__DIR__ . '/k', 'a'));",
    "cookie jar": "@unlink('jar'); $c = curl_init('file://' . __FILE__); curl_setopt_array($c, [CURLOPT_RETURNTRANSFER => true, CURLOPT_COOKIEJAR => 'jar', CURLOPT_COOKIELIST => "
                  "'Set-Cookie: a=b; domain=example.org; path=/; expires=Fri, 01-Jan-2038 00:00:00 GMT']); curl_exec($c); unset($c); var_dump(file_exists(__DIR__ . '/jar'));",
    "SQLite ATTACH": "@unlink('at.db'); $d = new SQLite3(':memory:'); $d->exec(\"ATTACH 'at.db' AS x; CREATE TABLE x.t (a)\"); var_dump(file_exists(__DIR__ . '/at.db'));",
    "PDO ATTACH": "@unlink('pat.db'); $d = new PDO('sqlite::memory:'); $d->exec(\"ATTACH 'pat.db' AS x\"); $d->exec('CREATE TABLE x.t (a)'); var_dump(file_exists(__DIR__ . '/pat.db'));",
    "xml": "file_put_contents('d.xml', '<a>&e;</a>'); $d = new DOMDocument; var_dump($d->load('d.xml')); file_put_contents('i.xml', '<x xmlns:i=\"http://www.w3.org/2001/XInclude\"><i:include href=\"d2.xml\"/></x>');"
           "file_put_contents('d2.xml', '<b/>'); $d->load('i.xml'); echo $d->xinclude(), $d->saveXML();",
    "zip": "@unlink('z.zip'); $z = new ZipArchive; $z->open('z.zip', 1); $z->addFromString('a', 'b'); $z->addFile('k'); touch('k'); $z->close(); var_dump(file_exists(__DIR__ . '/z.zip'));",
    "image": "$i = imagecreatetruecolor(2, 2); imagepng($i, 'i.png'); var_dump(file_exists(__DIR__ . '/i.png'), (bool) imagecreatefrompng('i.png'));",
    "openssl": "$k = openssl_pkey_new(['private_key_bits' => 2048]); openssl_pkey_export_to_file($k, 'key.pem'); var_dump(file_exists(__DIR__ . '/key.pem'), (bool) openssl_pkey_get_private('file://' . __DIR__ . '/key.pem'));",
    "changed": "@mkdir('deeper'); chdir('deeper'); @unlink('s2.sock'); $s = stream_socket_server('unix://s2.sock'); var_dump(file_exists(__DIR__ . '/deeper/s2.sock'), basename(getcwd()), trim(shell_exec('basename $PWD')));"
               "file_put_contents('here', 'x'); echo file_exists(__DIR__ . '/deeper/here') ? 'y' : 'n'; rename(__DIR__ . '/deeper', __DIR__ . '/renamed'); echo basename(getcwd()); chdir('..'); rename('renamed', 'deeper'); echo basename(getcwd());",
    "removed": "@mkdir('gone'); chdir('gone'); rmdir(__DIR__ . '/gone'); var_dump(getcwd(), @file_put_contents('x', 'x'), file_exists('.'));",
    "shutdown": "register_shutdown_function(function () { echo 'shutdown in ', getcwd(), readlink('/proc/self/cwd') === getcwd() || true; }); echo 'script in ', getcwd();",
    "destructor": "class D { function __destruct() { echo 'destructor in ', getcwd(); } } $d = new D; $GLOBALS['keep'] = $d; echo 'script';",
    "buffer": "ob_start(fn($b) => $b . ' flushed in ' . getcwd()); echo 'script';",
    "include": "file_put_contents('inc1.php', '<?php echo \"included \", basename(__DIR__);'); include 'inc1.php'; include './inc1.php'; @mkdir('sub'); chdir('sub'); file_put_contents('inc2.php', '<?php echo \"two\";'); include './inc2.php'; var_dump(@include 'inc2.php');",
    "link on the way": "@mkdir('v1'); @mkdir('v2'); file_put_contents('v1/n', '1'); file_put_contents('v2/n', '2'); @unlink('cur'); symlink('v1', 'cur'); echo file_get_contents('cur/n'); unlink('cur'); symlink('v2', 'cur'); echo file_get_contents('cur/n'), file_get_contents('cur/../v1/n');",
}


@pytest.mark.parametrize("what", RELATIVE)
def test_relative_names(both, what):
    need_real(both)
    script = f"sub-{what.replace(' ', '-')}/script.php"
    both.write(script, "<?php " + RELATIVE[what])
    for name in ("theirs", "ours"):
        os.chmod(os.path.dirname(os.path.join(both.root(name), script)), 0o777)
    theirs = both.say("theirs", script)
    if re.search("Call to undefined function|Class .* not found|could not find driver", theirs):
        pytest.skip("this php-fpm has not the extension")
    assert both.say("ours", script) == theirs


def test_a_link_that_is_switched(both):
    """A script whose folder's name leads elsewhere at the next request runs there, and so do its programs."""
    need_real(both)
    for name in ("theirs", "ours"):
        root = both.root(name)
        for version in ("v1", "v2"):
            os.makedirs(f"{root}/releases/{version}", exist_ok=True)
            with open(f"{root}/releases/{version}/where.php", "w") as f:
                f.write("<?php echo getcwd(), ' ', trim(shell_exec('pwd -P')), ' ', file_get_contents('version');")
            with open(f"{root}/releases/{version}/version", "w") as f:
                f.write(version)
        said = []
        for version in ("v1", "v2", "v1", "v2"):
            if os.path.islink(f"{root}/current"):
                os.unlink(f"{root}/current")
            os.symlink(f"releases/{version}", f"{root}/current")
            said.append(both.say(name, "current/where.php"))
        assert said == [f"ROOT/releases/{v} ROOT/releases/{v} {v}" for v in ("v1", "v2", "v1", "v2")]


def test_directories_of_concurrent_requests(both):
    """Each request is where it went, for the kernel, too, while others go elsewhere."""
    need_real(both)
    both.write("walk.php", "<?php $d = __DIR__ . '/walk' . $_GET['n']; @mkdir($d); chdir($d); for ($i = 0; $i < 200; $i++) { $ok = getcwd() === $d && readlink('/proc/thread-self/cwd') === $d;"
                           "file_put_contents('f', $_GET['n']); if (!$ok || file_get_contents(\"$d/f\") !== $_GET['n']) exit('lost'); usleep(500); } echo trim(shell_exec('cat f'));")
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda n: both.say("ours", "walk.php", query=f"n={n}"), range(12))) == [str(n) for n in range(12)]


# -- where a container forbids unshare(2) --


def forbid_unshare():
    """In the child that becomes the server: unshare() is not permitted, as by the default profile of a container's engine."""
    libc = ctypes.CDLL(None, use_errno=True)
    number = {"x86_64": 272, "aarch64": 97}[os.uname().machine]
    program = b"".join(struct.pack("HBBI", *row) for row in (
        (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7fff0000)))
    buffer = ctypes.create_string_buffer(program)
    filter_ = struct.pack("HxxxxxxP", 4, ctypes.addressof(buffer))
    libc.prctl(38, 1, 0, 0, 0)
    if libc.prctl(22, 2, ctypes.c_char_p(filter_), 0, 0) != 0:
        raise OSError("no seccomp here")


def test_without_unshare(workdir, monkeypatch):
    """Paths, programs and directories of scripts are right all the same; only C libraries look in "/"."""
    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: start(*a, preexec_fn=forbid_unshare, **k))
    servers = Both(workdir, children=4)
    try:
        servers.write("run.php", RUN)
        servers.write("where.php", "<?php @mkdir('in'); chdir('in'); touch('f'); echo getcwd(), json_encode([file_exists('f'), file_exists(__DIR__ . '/in/f')]), shell_exec('pwd');"
                                   "$p = proc_open(['pwd'], [1 => ['pipe', 'w']], $q); echo stream_get_contents($q[1]); unlink('../in/f'); echo json_encode(file_exists('f'));")
        servers.write("real.php", "<?php chdir('/usr'); echo readlink('/proc/thread-self/cwd');")
        assert servers.say("ours", "real.php") != "/usr", "unshare() was permitted"
        assert servers.say("ours", "where.php") == servers.say("theirs", "where.php") != ""
    finally:
        servers.stop()

