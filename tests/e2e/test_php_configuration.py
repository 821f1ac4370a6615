"""When and as whom PHP reads its configuration: as php-fpm's master does, before a pool has its environment, its root
and its user. Each input goes to both."""
import os
import stat

import pytest

import tokiophp as server_module
from both import PHP_FPM
from fcgi_client import fetch
from files import write
from side_by_side import USER, SideBySide

pytestmark = pytest.mark.skipif(not PHP_FPM or server_module.is_stand_in(), reason="no php-fpm to compare with")
needs_root = pytest.mark.skipif(not server_module.IS_ROOT, reason="needs root")

TELL = """<?php $x = get_loaded_extensions(); sort($x); echo json_encode([ini_get('memory_limit'), php_ini_loaded_file() !== false,
  function_exists('exec'), getenv('MEM'), getenv('LEFT'), ini_get('highlight.string'), ini_get('highlight.comment')]);"""


def same(answers):
    assert answers[0] == answers[1]
    return answers[1]


def test_environment_in_php_ini(workdir):
    """${NAME} in php.ini is the server's, although the pool's workers see nothing of it."""
    path = write(workdir + "/www/tell.php", TELL)
    with SideBySide(workdir, php_ini="memory_limit = ${MEM}\nhighlight.string = ${NOT_THERE}x\n", env={"MEM": "77M", "LEFT": "over"}) as both:
        status, body = same(both.ask(path))
    assert status == 200 and body.startswith('["77M",true,true,false,false,')


def test_environment_of_the_pool_is_not_php_inis(workdir):
    path = write(workdir + "/www/tell.php", TELL)
    with SideBySide(workdir, pool="env[MEM] = 55M\nenv[LEFT] = $MEM", php_ini="memory_limit = ${MEM}\n", env={"MEM": "77M"}) as both:
        assert same(both.ask(path))[1].startswith('["77M",true,true,"55M","77M",')


def test_phprc_and_scan_directories(workdir):
    path = write(workdir + "/www/tell.php", TELL)
    write(workdir + "/rc/php.ini", "memory_limit = 44M\n")
    write(workdir + "/scan/a.ini", "highlight.string = scanned\n")
    write(workdir + "/scan2/b.ini", "highlight.comment = too\n")
    env = {"PHPRC": workdir + "/rc", "PHP_INI_SCAN_DIR": f"{workdir}/scan:{workdir}/scan2"}
    with SideBySide(workdir, php_ini=None, env=env) as both:
        assert same(both.ask(path))[1] == '["44M",true,true,false,false,"scanned","too"]'


def test_php_ini_in_a_working_directory_is_nobodys(workdir):
    """Neither where the pool's user may write nor where the server was started."""
    path = write(workdir + "/www/tell.php", TELL)
    write(workdir + "/place/php.ini", "memory_limit = 33M\n")
    write(workdir + "/php.ini", "memory_limit = 22M\n")
    with SideBySide(workdir, pool="chdir = {dir}/place", php_ini=None) as both:
        assert same(both.ask(path))[1].startswith('["128M",')


@needs_root
def test_php_ini_that_only_root_can_read(workdir):
    path = write(workdir + "/www/tell.php", TELL)
    write(workdir + "/rc/php.ini", "memory_limit = 44M\ndisable_functions = exec\n", 0o600)
    os.chmod(workdir + "/rc", 0o700)
    with SideBySide(workdir, php_ini=None, env={"PHPRC": workdir + "/rc"}) as both:
        assert same(both.ask(path))[1].startswith('["44M",true,false,')


@needs_root
def test_browscap_that_only_root_can_read(workdir):
    path = write(workdir + "/www/browser.php", "<?php echo json_encode(get_browser('Some/1.0', true));")
    write(workdir + "/rc/browscap.ini", "[GJK_Browscap_Version]\nVersion=1\n[*]\nbrowser=unknown\n[Some/1.*]\nbrowser=some\nparent=*\n", 0o600)
    with SideBySide(workdir, php_ini="browscap = {dir}/rc/browscap.ini\n") as both:
        assert '"browser":"some"' in same(both.ask(path))[1]


@needs_root
def test_root_directory_of_the_pool(workdir):
    """php.ini, its extensions and what it forbids are those of the system, not of the jail."""
    write(workdir + "/jail/tell.php", TELL.replace("echo ", "if (isset($_GET['all'])) { echo json_encode($x); exit; } echo "))
    write(workdir + "/jail/php.ini", "memory_limit = 33M\n")
    with SideBySide(workdir, pool="chroot = {dir}/jail", php_ini="memory_limit = ${MEM}\ndisable_functions = exec\n", env={"MEM": "77M"}) as both:
        assert same(both.ask("/tell.php"))[1].startswith('["77M",true,false,')
        outside = fetch(both.ours.address, "/tell.php", query="all=1").body
    with SideBySide(workdir, php_ini="") as both:
        assert fetch(both.ours.address, workdir + "/jail/tell.php", query="all=1").body == outside


@needs_root
def test_opcache_in_a_root_directory(workdir, tokiophp):
    """Its lock is found although the jail has no /proc: a reset ends nobody's process."""
    write(workdir + "/jail/a.php", "<?php echo json_encode([opcache_get_status(false)['opcache_enabled'] ?? null, opcache_is_script_cached(__FILE__)]);")
    write(workdir + "/jail/reset.php", "<?php var_dump(opcache_reset());")
    os.utime(workdir + "/jail/a.php", (1, 1))
    server = tokiophp(pool="chroot = {dir}/jail", php="php_admin_value[opcache.enable] = 1\n")
    for _ in range(3):
        answer = fetch(server.address, "/a.php").body
    assert answer == b"[true,true]"
    assert fetch(server.address, "/reset.php").body == b"bool(true)\n"
    for _ in range(20):
        assert fetch(server.address, "/a.php").status == 200


PRELOAD = """<?php file_put_contents('{dir}/tmp/who', json_encode([posix_geteuid(), posix_getegid(), posix_getgroups(),
  is_readable('{dir}/secret'), getenv('MEM')]));
function preloaded() { return 'preloaded'; }"""


@needs_root
@pytest.mark.parametrize("preload_user", ["", "daemon"])
def test_preload_runs_as_a_user(workdir, tokiophp, preload_user):
    """As opcache.preload_user says, else as the pool's: never as root, which has read the configuration."""
    import grp
    import json
    import pwd
    write(workdir + "/preload.php", PRELOAD.replace("{dir}", workdir))
    write(workdir + "/secret", "x", 0o600)
    write(workdir + "/www/call.php", "<?php echo preloaded(), posix_geteuid();")
    lines = "php_admin_value[opcache.preload] = {dir}/preload.php\n"
    server = tokiophp(php=lines + (f"php_admin_value[opcache.preload_user] = {preload_user}\n" if preload_user else ""),
                      env={**os.environ, "MEM": "77M"})
    assert fetch(server.address, workdir + "/www/call.php").body.decode() == f"preloaded{pwd.getpwnam(USER['user']).pw_uid}"
    uid, gid, groups, readable, variable = json.load(open(workdir + "/tmp/who"))
    entry = pwd.getpwnam(preload_user or USER["user"])
    assert (uid, gid, readable, variable) == (entry.pw_uid, entry.pw_gid, False, "77M")
    assert 0 not in groups or grp.getgrgid(0).gr_name in os.getgrouplist(entry.pw_name, entry.pw_gid)
    assert os.stat(workdir + "/tmp/who").st_uid == entry.pw_uid


def test_preload_that_fails_is_shown(workdir):
    """On php-fpm's console; in the server's log here. Also when errors are not logged."""
    write(workdir + "/preload.php", "<?php undefined_in_preload();")
    ini = "log_errors = 0\ndisplay_errors = 1\nhtml_errors = 0\nopcache.preload = {dir}/preload.php\n" + \
        (f"opcache.preload_user = {USER['user']}\n" if server_module.IS_ROOT else "")
    if "opcache" not in os.popen(f"{PHP_FPM} -n -m").read().lower():
        ini += "zend_extension = opcache\n"
    from process import wait_for
    with SideBySide(workdir, php_ini=ini, wait=False) as both:
        for program in both.programs:
            wait_for(lambda: "undefined_in_preload" in program.messages(), 20, "the error of the preload")


@needs_root
def test_messages_of_the_start_follow_no_link(workdir, tokiophp):
    """error_log lies where the user may write, and the user can make PHP start again: root writes to no file of theirs."""
    write(workdir + "/rc/php.ini", "extension = not_there\nerror_log = {dir}/tmp/php.log\n".replace("{dir}", workdir))
    target = workdir + "/made-by-root"
    os.symlink(target, workdir + "/tmp/php.log")
    server = tokiophp(args=["-c", workdir + "/rc/php.ini"])
    server.wait_message("Unable to load dynamic library 'not_there'")
    assert fetch(server.address, workdir + "/www/hello.php").body == b"hello"
    assert not os.path.exists(target)


@needs_root
def test_what_is_open_and_who_may(workdir, tokiophp):
    """After a start as root the process is the user's throughout: no descriptor, group or capability is left of it."""
    path = write(workdir + "/www/left.php", """<?php $fds = []; foreach (scandir('/proc/self/fd') as $n) { $l = @readlink("/proc/self/fd/$n");
      if ($l && $l[0] == '/') { $fds[] = $l; } } echo json_encode([$fds, file_get_contents('/proc/self/status'), getmypid()]);""")
    import json
    server = tokiophp(php="php_admin_value[error_log] = {dir}/tmp/php.log\n")
    fds, text, pid = json.loads(fetch(server.address, path).body)
    for name in fds:
        if os.path.exists(name) and not stat.S_ISCHR(os.stat(name).st_mode):
            assert os.path.dirname(name) in (workdir, workdir + "/www", "/proc/" + str(pid), f"/proc/{pid}/fd"), fds
    status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    assert set(status["Uid"].split()) == {str(os.stat(path).st_uid)} or "0" not in status["Uid"].split()
    assert "0" not in status["Groups"].split() and int(status["CapEff"], 16) == 0
    tasks = os.listdir(f"/proc/{pid}/task")
    for task in tasks:
        lines = open(f"/proc/{pid}/task/{task}/status").read()
        assert "Uid:\t0" not in lines and "Gid:\t0" not in lines
