"""Reload: a good configuration is taken without a lost request, a bad one or a bad program changes nothing and says so."""
import os
import shutil
import signal
import stat
import time

import pytest

import tokiophp as server_module
from certificate import make_cert
from fcgi_client import fetch
from process import accepts, free_port, session_of, wait_for
from test_signals import Asking, engines, hello, slow  # noqa: F401 (slow is a fixture)
from tokiophp import Tokiophp


@pytest.fixture
def server(tokiophp):
    s = tokiophp(settings="pid = {dir}/fpm.pid\ncontrol_socket = {dir}/ctl\n")
    s.wait_message("ready to handle connections")
    return s


def edit(server, old, new):
    text = open(server.config_path).read()
    assert old in text
    with open(server.config_path, "w") as f:
        f.write(text.replace(old, new))


def reload(server, count=2, number=signal.SIGUSR2):
    server.signal(number)
    wait_for(lambda: server.messages().count("ready to handle connections") >= count, 20, "the reload")


def settled(server):
    """The one process that is left when the one that a reload has replaced is gone."""
    wait_for(lambda: len(engines(server)) == 1, 20, "the replaced process's end")
    return engines(server)


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGHUP])
def test_new_settings_are_taken(server, workdir, number):
    before = engines(server)
    with open(f"{workdir}/www/ini.php", "w") as f:
        f.write("<?php echo ini_get('memory_limit'), ' ', getenv('COLOUR');")
    edit(server, "[www]", "[www]\nphp_admin_value[memory_limit] = 77M\nenv[COLOUR] = green")
    reload(server, number=number)
    assert fetch(server.address, f"{workdir}/www/ini.php").body == b"77M green"
    wait_for(lambda: not set(before) & set(engines(server)), 10, "the old generation's end")
    server.wait_message(r"\[pool www\] engine process \d+ \(generation 1\) is being replaced: a reload\n")
    assert int(open(f"{workdir}/fpm.pid").read()) == server.pid


def test_much_is_said_of_a_good_configuration(server, workdir):
    """Whose program it is that has tested it comes last, however much comes before."""
    before = engines(server)
    edit(server, "[global]", "[global]\n" + f"include = {workdir}/*.none\n" * 1000)
    reload(server)
    assert "not tokiophp any more" not in server.messages()
    server.wait_message(r"\[pool www\] engine process \d+ \(generation 1\) is being replaced: a reload\n")
    wait_for(lambda: not set(before) & set(engines(server)), 10, "the old generation's end")


def test_requests_of_the_old_generation_are_finished(server, slow):  # noqa: F811
    asking = slow(server, "long", 3000)
    reload(server)
    assert asking.result().body == b"finished long"


def test_a_very_long_drain_is_none_that_is_short(tokiophp, slow):  # noqa: F811
    """50 days are more milliseconds than a number of 32 bits holds."""
    server = tokiophp(settings="process_control_timeout = 4294968s\n")
    server.wait_message("ready to handle connections")
    asking = slow(server, "long", 4000)
    reload(server)
    assert asking.result().body == b"finished long"


def test_drain_outlives_further_reloads(tokiophp, slow):  # noqa: F811
    """The order to drain may be confirmed only to the next image: it must have its whole time all the same."""
    server = tokiophp(settings="process_control_timeout = 20s\n")
    server.wait_message("ready to handle connections")
    asking = slow(server, "long", 8000)
    for _ in range(3):
        server.signal(signal.SIGUSR2)
        time.sleep(0.3)
    assert asking.result().body == b"finished long"


BAD = {
    "unknown setting": ("pm.max_children = 4", "pm.max_childern = 4", r"pm\.max_childern"),
    "missing folder of a log": ("[www]", "[www]\naccess.log = {dir}/missing/a.log", r"missing/a\.log.*No such file"),
    "missing folder of the error log": ("error.log", "missing/error.log", r"missing/error\.log.*No such file"),
    "missing folder of a socket": ("[www]", "[two]\nlisten = {dir}/missing/s\nuser = nobody\ngroup = nogroup\npm = static\n"
                                   "pm.max_children = 1\n[www]", r"missing/s"),
    "taken port": ("[www]", "[two]\nlisten = 127.0.0.1:{port}\nuser = nobody\ngroup = nogroup\npm = static\n"
                   "pm.max_children = 1\n[www]", r"Address already in use"),
    "garbage": ("[www]", "\0\1\2[www]", "tokiophp.ini"),
}


@pytest.mark.parametrize("what", sorted(BAD))
def test_bad_configuration_changes_nothing(server, workdir, what):
    import socket
    old, new, message = BAD[what]
    before, files = engines(server), set(os.listdir(workdir))
    good = open(server.config_path).read()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        edit(server, old, new.replace("{dir}", workdir).replace("{port}", str(taken.getsockname()[1])))
        for n in range(2):
            server.signal(signal.SIGUSR2)
            wait_for(lambda: server.messages().count("; nothing was changed") == n + 1, 20, "the refusal")
            server.wait_message("reload refused: .*" + message)
            assert hello(server, workdir) == 200
    wait_for(lambda: engines(server) == before, 5, "the same processes as before")
    assert set(os.listdir(workdir)) == files
    with open(server.config_path, "w") as f:
        f.write(good)
    reload(server)
    assert hello(server, workdir) == 200


def test_what_was_good_once_is_no_excuse(server, workdir):
    """One that has taken over from another image refuses as that one did, and says why in the same words."""
    reload(server)
    edit(server, "[www]", "[www]\naccess.log = {dir}/missing/a.log".replace("{dir}", workdir))
    before = settled(server)
    for n in range(2):
        server.signal(signal.SIGUSR2)
        wait_for(lambda: server.messages().count("; nothing was changed") == n + 1, 20, "the refusal")
        server.wait_message(r"reload refused: (?!.*reload refused).*ERROR: .*missing/a\.log.*No such file")
        assert hello(server, workdir) == 200
    assert engines(server) == before
    edit(server, f"access.log = {workdir}/missing/a.log", f"access.log = {workdir}/a.log")
    reload(server, 3)
    assert hello(server, workdir) == 200


def test_the_test_speaks_as_a_program_that_has_just_started(tokiophp):
    """Its first lines are text, because nobody has said yet that they are to be another."""
    server = tokiophp(settings="log_format = json\n")
    server.wait_message("ready to handle connections")
    edit(server, "pm.max_children = 4", "pm.max_childern = 4")
    server.signal(signal.SIGUSR2)
    server.wait_message(r"reload refused: \[[^\]]*\] ERROR: .*pm\.max_childern")


def test_a_certificate_that_is_no_good_any_more(tokiophp, workdir):
    """The running server has kept the text of the one that was."""
    port = free_port()
    make_cert(workdir, "served")
    server = tokiophp(pool=f"http.tls_listen = 127.0.0.1:{port}\nhttp.tls_cert = {workdir}/served.pem\nhttp.tls_key = {workdir}/served.key\n"
                      f"http.document_root = {workdir}/www\n")
    server.wait_message("ready to handle connections")
    with open(f"{workdir}/served.pem", "w") as f:
        f.write("no certificate")
    server.signal(signal.SIGUSR2)
    server.wait_message(r"reload refused: .*served\.pem")
    assert accepts(("127.0.0.1", port)) and hello(server, workdir) == 200


def test_what_openssl_allows_is_read_again(tokiophp, workdir):
    """It reads that once in a process, and the running one has done so."""
    port, allowed = free_port(), f"{workdir}/openssl.cnf"

    def allow(what):
        with open(allowed, "w") as f:
            f.write(f"openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = default\n[default]\n{what}\n")
    allow("CipherString = DEFAULT")
    make_cert(workdir, "served")
    server = tokiophp(pool=f"http.tls_listen = 127.0.0.1:{port}\nhttp.tls_cert = {workdir}/served.pem\nhttp.tls_key = {workdir}/served.key\n"
                      f"http.document_root = {workdir}/www\n", env=dict(os.environ, OPENSSL_CONF=allowed))
    server.wait_message("ready to handle connections")
    reload(server)
    before = settled(server)
    allow("CipherString = DEFAULT:@SECLEVEL=5")
    server.signal(signal.SIGUSR2)
    server.wait_message(r"reload refused: .*served\.pem.* too small")
    assert engines(server) == before and accepts(("127.0.0.1", port)) and hello(server, workdir) == 200


def test_new_and_removed_pools_and_addresses(server, workdir):
    first, second = ("127.0.0.1", free_port()), ("127.0.0.1", free_port())
    good = open(server.config_path).read()
    pool = "\n[two]\nlisten = %s:%d\npm = static\npm.max_children = 1\nuser = nobody\ngroup = nogroup\n"
    with open(server.config_path, "a") as f:
        f.write(pool % first)
    reload(server, 2)
    assert fetch(first, f"{workdir}/www/hello.php").status == 200
    with open(server.config_path, "w") as f:
        f.write(good + pool % second)
    reload(server, 3)
    assert fetch(second, f"{workdir}/www/hello.php").status == 200
    wait_for(lambda: not accepts(first), 10, "the old address is closed")
    with open(server.config_path, "w") as f:
        f.write(good)
    reload(server, 4)
    wait_for(lambda: not accepts(second), 10, "the removed pool's address is closed")
    wait_for(lambda: len(engines(server)) == 1, 10, "the removed pool's end")
    assert hello(server, workdir) == 200


@pytest.fixture
def own_program(workdir):
    """A server started through a file that the test may exchange."""
    program = os.path.join(workdir, "tokiophp-copy")
    shutil.copy(server_module.PROGRAM, program)
    real, server_module.PROGRAM = server_module.PROGRAM, program
    try:
        s = Tokiophp(workdir)
    finally:
        server_module.PROGRAM = real
    s.wait_message("ready to handle connections")
    yield s, program, real
    s.stop()


def exchange(program, text):
    os.unlink(program)
    with open(program, "w") as f:
        f.write(text)
    os.chmod(program, 0o755)


def test_a_program_that_has_been_the_same_for_long_is_exchanged(workdir):
    """It is known by then, and no reload of it has executed it for a test; one that is no good is refused all the same."""
    program = os.path.join(workdir, "tokiophp-copy")
    shutil.copy(server_module.PROGRAM, program)
    time.sleep(2.5)  # what has changed just when it was started is never taken for known
    real, server_module.PROGRAM = server_module.PROGRAM, program
    try:
        server = Tokiophp(workdir)
    finally:
        server_module.PROGRAM = real
    try:
        server.wait_message("ready to handle connections")
        reload(server)
        before = settled(server)
        exchange(program, "#!/bin/sh\necho from the new one\nexit 1\n")
        server.signal(signal.SIGUSR2)
        server.wait_message("reload refused: from the new one")
        assert engines(server) == before and hello(server, workdir) == 200
        os.unlink(program)
        shutil.copy(real, program)
        reload(server, 3)
        assert os.stat(f"/proc/{server.pid}/exe").st_ino == os.stat(program).st_ino
        assert hello(server, workdir) == 200
    finally:
        server.stop()


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 1\n", "no program at all", "#!/no/such/interpreter\n",
                                  "#!/bin/sh\nkill -9 $$\n"])
def test_bad_program_changes_nothing(own_program, workdir, text):
    server, program, _ = own_program
    before = engines(server)
    exchange(program, text)
    server.signal(signal.SIGUSR2)
    server.wait_message("reload refused: the test of the new configuration ended")
    wait_for(lambda: engines(server) == before, 5, "the same processes as before")
    assert hello(server, workdir) == 200


def test_missing_program_changes_nothing(own_program, workdir):
    server, program, real = own_program
    os.unlink(program)
    server.signal(signal.SIGUSR2)
    server.wait_message("reload refused: .*tokiophp-copy: No such file")
    assert hello(server, workdir) == 200
    shutil.copy(real, program)
    reload(server)
    assert hello(server, workdir) == 200


def test_new_program_is_taken(own_program, workdir):
    server, program, real = own_program
    shutil.copy(real, program + ".new")
    os.rename(program + ".new", program)
    old = os.stat(f"/proc/{server.pid}/exe").st_ino
    reload(server)
    assert os.stat(f"/proc/{server.pid}/exe").st_ino != old
    assert hello(server, workdir) == 200


def test_file_turns_bad_after_its_test(own_program, workdir):
    """The program that stands in for ours breaks the file between the test and the execution."""
    server, program, real = own_program
    good = open(server.config_path).read()
    exchange(program, f"""#!/bin/sh
case "$*" in *" -t") ;; *) echo garbage >> {server.config_path};; esac
exec {real} "$@"
""")
    server.signal(signal.SIGUSR2)
    server.wait_message("is not now: what serves goes on")
    for _ in range(10):
        assert hello(server, workdir) == 200
        time.sleep(0.1)
    with open(server.config_path, "w") as f:
        f.write(good)
    wait_for(lambda: server.messages().count("ready to handle connections") >= 2, 20, "the server that goes on")
    assert hello(server, workdir) == 200


def test_terminated_while_the_file_is_bad(own_program, workdir):
    server, program, real = own_program
    exchange(program, f"""#!/bin/sh
case "$*" in *" -t") ;; *) echo garbage >> {server.config_path};; esac
exec {real} "$@"
""")
    children = server.engine_pids()
    server.signal(signal.SIGUSR2)
    server.wait_message("is not now: what serves goes on")
    server.signal(signal.SIGTERM)
    assert server.wait(10) == 78
    wait_for(lambda: all(session_of(p) is None for p in children), 15, "the engine processes' end")
    server.stopped = True


def test_a_stranger_gets_the_sockets_when_nobody_looks_there(tokiophp, workdir):
    """They block then, for all who have them: a worker that has just answered would wait for the stranger's next connection.
    Here the order to drain comes late, and the answers before it."""
    program, real = os.path.join(workdir, "tokiophp-copy"), server_module.PROGRAM
    shutil.copy(real, program)
    server_module.PROGRAM = program
    try:
        server = tokiophp(pool="pm.max_children = 16\n", settings="process_control_timeout = 60s\n")
    finally:
        server_module.PROGRAM = real
    server.wait_message("ready to handle connections")
    with open(f"{workdir}/www/nap.php", "w") as f:
        f.write(f"<?php touch('{workdir}/tmp/' . $_GET['n']); usleep(1000000); echo 'rested';")
    napping = [Asking(server, f"{workdir}/www/nap.php", query=f"n=nap{n}") for n in range(16)]
    wait_for(lambda: sum(name.startswith("nap") for name in os.listdir(f"{workdir}/tmp")) == 16, 10, "the requests run")
    engine, = engines(server)
    os.sched_setscheduler(engine, os.SCHED_IDLE, os.sched_param(0))  # its control thread
    os.kill(engine, signal.SIGSTOP)
    exchange(program, '#!/bin/sh\ncase "$*" in *" -t") exit 0;; esac\nexec sleep 120\n')
    server.signal(signal.SIGUSR2)
    server.wait_message("not tokiophp any more: it gets the sockets")
    time.sleep(1)
    os.kill(engine, signal.SIGCONT)
    assert all(asking.result().body == b"rested" for asking in napping)
    wait_for(lambda: session_of(engine) is None, 15, "the engine process's end")
    server.kill_family()
    server.stopped = True


def test_scripts_are_warm_after_a_reload(tokiophp, workdir):
    server = tokiophp(php="php_admin_value[opcache.enable] = 1\n")
    server.wait_message("ready to handle connections")
    with open(f"{workdir}/www/cached.php", "w") as f:
        f.write("<?php $s = opcache_get_status(true); echo isset($s['scripts'][$_GET['file']]) ? 'hit' : 'miss', ' ', getmypid();")
    for name in ("hello.php", "echo.php"):
        fetch(server.address, f"{workdir}/www/{name}")

    def cached(name):
        answer, pid = fetch(server.address, f"{workdir}/www/cached.php", query=f"file={workdir}/www/{name}").body.split()
        return answer, pid
    hit, old = cached("hello.php")
    if hit != b"hit":
        pytest.skip("no OPcache in this build")
    assert cached("flush.php")[0] == b"miss"
    reload(server)
    answers = [cached(name) for name in ("hello.php", "echo.php", "flush.php")]
    assert all(pid != old for _, pid in answers)
    assert [a for a, _ in answers] == [b"hit", b"hit", b"miss"]


def test_reload_asked_for_during_a_reload_is_not_lost(own_program, workdir):
    """The second configuration is written while the first one is being tested."""
    server, program, real = own_program
    with open(f"{workdir}/www/ini.php", "w") as f:
        f.write("<?php echo ini_get('memory_limit');")
    exchange(program, f"""#!/bin/sh
case "$*" in *" -t") touch {workdir}/tmp/testing; sleep 1;; esac
exec {real} "$@"
""")
    edit(server, "[www]", "[www]\nphp_admin_value[memory_limit] = 71M")
    server.signal(signal.SIGUSR2)
    wait_for(lambda: os.path.exists(f"{workdir}/tmp/testing"), 10, "the test of the first one")
    edit(server, "71M", "72M")
    server.signal(signal.SIGUSR2)
    wait_for(lambda: fetch(server.address, f"{workdir}/www/ini.php").body == b"72M", 20, "the second one")


def test_modes_stay(server, workdir):
    reload(server)
    assert stat.S_IMODE(os.stat(f"{workdir}/ctl").st_mode) == 0o600
    assert stat.S_IMODE(os.stat(server.address).st_mode) == 0o666
