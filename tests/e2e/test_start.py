"""Starting and refusing to start: exit codes, clear messages, daemonizing, what is left behind afterwards."""
import concurrent.futures
import os
import re
import signal
import socket
import subprocess
import time

import pytest

from fcgi_client import fetch
from process import Failure, Program, accepts, session_of, wait_for
from process import descriptors as open_files
from tokiophp import IS_ROOT, PROGRAM, Tokiophp

IDENTITY = "user = nobody\ngroup = nogroup\n" if IS_ROOT else ""


def write_config(folder, pool="", settings=""):
    path = os.path.join(folder, "tokiophp.ini")
    with open(path, "w") as f:
        f.write(f"[global]\n{settings}[www]\npm = static\npm.max_children = 2\n"
                + ("" if "user" in pool else IDENTITY) + ("" if "listen =" in pool else f"listen = {folder}/fcgi.sock\n") + pool)
    return path


def run(folder, *args, config=None, seconds=30):
    """(exit code, everything it said) of a start that is going to fail."""
    command = [PROGRAM, *(["-F", "-O", "-y", config] if config else []), *args]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=seconds, cwd=folder)
    text = done.stdout.decode(errors="replace")
    if os.path.exists(os.path.join(folder, "error.log")):
        text += open(os.path.join(folder, "error.log"), errors="replace").read()
    return done.returncode, text


def test_exit_codes(workdir):
    assert run(workdir, "--no-such-option")[0] == 64
    code, text = run(workdir, config=os.path.join(workdir, "missing.ini"))
    assert code == 78 and "missing.ini" in text
    code, text = run(workdir, config=write_config(workdir, "pm.max_childern = 3\n"))
    assert code == 78 and "pm.max_childern" in text and "tokiophp.ini:" in text
    code, text = run(workdir, config=workdir)
    assert code == 78 and workdir in text
    code, text = run(workdir, config=write_config(workdir, "chdir = /no/such/folder\n"))
    assert code == 78 and "/no/such/folder" in text
    assert run(workdir, "-t", config=write_config(workdir))[0] == 0


REFUSALS = [
    ("user = no-such-user\n", "", r"cannot get uid for user 'no-such-user'"),
    ("", "error_log = {dir}/missing/error.log\n", r"failed to open error_log \({dir}/missing/error.log\): No such file"),
    ("access.log = {dir}/missing/access.log\n", "", r"failed to open access log \({dir}/missing/access.log\): No such file"),
    ("slowlog = {dir}/missing/slow.log\nrequest_slowlog_timeout = 5\n", "", r"{dir}/missing/slow.log"),
    ("", "pid = {dir}/missing/fpm.pid\n", r"Unable to create the PID file \({dir}/missing/fpm.pid\).: No such file"),
    ("", "control_socket = {dir}/missing/ctl\n", r"control_socket: {dir}/missing/ctl cannot be opened: No such file"),
    ("listen = {dir}/missing/fcgi.sock\n", "", r"{dir}/missing/fcgi.sock"),
    ("listen = 127.0.0.1:{port}\n", "", r"127.0.0.1:{port}.*Address already in use"),
    ("listen = 192.0.2.1:9000\n", "", r"192.0.2.1:9000.*Cannot assign requested address"),
]


@pytest.mark.parametrize("pool, settings, message", REFUSALS, ids=[r[2][-30:] for r in REFUSALS])
def test_refuses_clearly_and_leaves_nothing(workdir, pool, settings, message):
    if "no-such-user" in pool and not IS_ROOT:
        pytest.skip("only root looks users up")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        names = {"dir": workdir, "port": taken.getsockname()[1]}
        code, text = run(workdir, config=write_config(workdir, pool.format(**names), settings.format(**names)))
    assert code == 78, text
    assert re.search(message.format(**names), text), text
    left = set(os.listdir(workdir)) - {"tokiophp.ini", "www", "tmp", "error.log"}
    assert not left


def test_no_pool_at_all_is_an_error(workdir):
    """The process ends; it does not sit there with sockets that nobody serves."""
    config = write_config(workdir, "php_admin_value[disable_functions] = x\nengine = php\n"
                          "rlimit_files = 6\n")
    code, text = run(workdir, config=config, seconds=60)
    assert code == 70, text
    assert "no pool could be started" in text
    assert not os.path.exists(os.path.join(workdir, "fcgi.sock"))


def test_second_instance_is_refused_and_harms_nothing(tokiophp, workdir):
    server = tokiophp(settings="pid = {dir}/fpm.pid\ncontrol_socket = {dir}/ctl\n")
    before = open(os.path.join(workdir, "fpm.pid")).read()
    script = os.path.join(workdir, "www/hello.php")
    code, text = run(workdir, config=server.config_path)
    assert code == 78 and "already listen" in text, text
    assert fetch(server.address, script).status == 200
    assert open(os.path.join(workdir, "fpm.pid")).read() == before
    assert subprocess.run([PROGRAM, "ctl", "-s", f"{workdir}/ctl", "status"], stdout=subprocess.DEVNULL).returncode == 0
    # another address, but the same control socket: that one belongs to the first instance
    other = os.path.join(workdir, "other")
    os.mkdir(other)
    code, text = run(workdir, config=write_config(other, "", f"control_socket = {workdir}/ctl\n"))
    assert code == 78 and f"{workdir}/ctl" in text, text
    assert subprocess.run([PROGRAM, "ctl", "-s", f"{workdir}/ctl", "status"], stdout=subprocess.DEVNULL).returncode == 0


def test_sockets_and_pid_file_are_gone_afterwards(tokiophp, workdir):
    server = tokiophp(settings="pid = {dir}/fpm.pid\ncontrol_socket = {dir}/ctl\n")
    assert int(open(os.path.join(workdir, "fpm.pid")).read()) == server.pid
    assert oct(os.stat(os.path.join(workdir, "ctl")).st_mode & 0o777) == "0o600"
    server.stop()
    left = {"fpm.pid", "ctl", "fcgi.sock"} & set(os.listdir(workdir))
    assert not left


def test_stale_files_of_a_killed_instance_do_not_matter(tokiophp, workdir):
    settings = "pid = {dir}/fpm.pid\ncontrol_socket = {dir}/ctl\n"
    first = tokiophp(settings=settings)
    first.stopped = True
    family = first.family()
    first.kill_family()
    wait_for(lambda: all(session_of(p) is None for p in family), 10, "the end of the whole family")
    wait_for(lambda: not accepts(first.address), 10, "the end of their last threads")
    assert {"fpm.pid", "ctl", "fcgi.sock"} <= set(os.listdir(workdir))
    second = tokiophp(settings=settings)
    assert fetch(second.address, os.path.join(workdir, "www/hello.php")).status == 200


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams(workdir, closed):
    """What is closed for it does not become one of its files or sockets, which would then get what is meant for a terminal."""
    config = write_config(workdir, settings=f"daemonize = no\nerror_log = {workdir}/error.log\n")
    server = Program(["/bin/sh", "-c", f"exec {PROGRAM} -F -y {config} {closed}"], workdir, "closed.log")
    try:
        server.wait_accepting(workdir + "/fcgi.sock")
        with open(workdir + "/www/hello.php", "w") as f:
            f.write("<?php echo 'hello';")
        assert fetch(workdir + "/fcgi.sock", workdir + "/www/hello.php").body == b"hello"
        files = open_files(server.pid)
        wrong = {n: files.get(n) for n in range(3) if files.get(n) not in ("/dev/null", workdir + "/closed.log", workdir + "/error.log")}
        assert not wrong, files
    finally:
        server.stop()
    with open(workdir + "/error.log") as f:
        assert "bye-bye" in f.read()


def parent_of(pid):
    try:
        return int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_daemonize(workdir):
    config = write_config(workdir, "catch_workers_output = yes\n",
                          f"pid = {workdir}/fpm.pid\nerror_log = {workdir}/error.log\ndaemonize = yes\n")
    done = subprocess.run([PROGRAM, "-y", config], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=30)
    pid = int(open(os.path.join(workdir, "fpm.pid")).read())
    try:
        assert done.returncode == 0, done.stdout
        # "started" means: it answers
        assert fetch(f"{workdir}/fcgi.sock", os.path.join(workdir, "www/hello.php")).status == 200
        assert session_of(pid) == pid
        assert os.getsid(0) != pid
        links = {fd: os.readlink(f"/proc/{pid}/fd/{fd}") for fd in "012"}
        assert links["0"] == links["1"] == "/dev/null"
        assert links["2"] == f"{workdir}/error.log"
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: session_of(pid) is None, 10, "the daemon's end")
        assert not {"fpm.pid", "fcgi.sock"} & set(os.listdir(workdir))
    finally:
        if session_of(pid) is not None:
            os.kill(pid, signal.SIGKILL)


def test_daemonize_tells_of_failure(workdir):
    config = write_config(workdir, f"listen = {workdir}/missing/fcgi.sock\n", f"error_log = {workdir}/error.log\n")
    done = subprocess.run([PROGRAM, "-D", "-y", config], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=30)
    assert done.returncode == 70
    assert b"missing/fcgi.sock" in done.stdout + open(os.path.join(workdir, "error.log"), "rb").read()


def descriptors(pid):
    """What a process has open, by kind."""
    kind = r":\[\d+\]|(?<=/\.ZendSem)\.\w+"  # OPcache's lock, where it is no memfd: before PHP 8.4
    return {fd: re.sub(kind, "", target) for fd, target in open_files(pid).items()}


def kinds_of(pid):
    return sorted(descriptors(pid).values())


def assert_becomes(now, wanted, seconds=5):
    try:
        wait_for(lambda: now() == wanted, seconds)
    except Failure:
        assert now() == wanted


def test_descriptors_stay_where_they_belong(tokiophp, workdir):
    secret = os.open(os.path.join(workdir, "www/plain.txt"), os.O_RDONLY)
    os.set_inheritable(secret, True)
    server = Tokiophp(workdir, settings="control_socket = {dir}/ctl\npid = {dir}/fpm.pid\n",
                      pool="access.log = {dir}/access.log\n")
    try:
        os.close(secret)
        def engine():
            return next((p for p in server.engine_pids() if parent_of(p) == server.pid), None)
        server.wait_message("ready to handle connections")
        of_supervisor, of_engine = descriptors(server.pid), descriptors(engine())
        kinds = list(of_engine.values())
        assert not any("plain.txt" in t or t == "anon_inode:[signalfd]" or t.endswith("/ctl") for t in kinds), of_engine
        # its channel, its lookout, its listener, its two pipes, and nothing of any other process
        assert kinds.count("socket") == 3, of_engine
        # the boards of its processes; what was handed from image to image does not stay
        left = [t for t in of_supervisor.values() if t.startswith("/memfd") and not t.startswith("/memfd:board")]
        assert not left, of_supervisor
        for _ in range(3):
            old = engine()
            server.signal(signal.SIGUSR2)
            wait_for(lambda: session_of(old) is None and engine(), 20, "the new generation")
        assert_becomes(lambda: kinds_of(server.pid), sorted(of_supervisor.values()))
        assert_becomes(lambda: kinds_of(engine()), sorted(of_engine.values()))
        wait_for(lambda: not [p for p in os.listdir("/proc") if p.isdigit() and is_zombie_of(p, server.pid)], what="no zombies")
    finally:
        server.stop()


def is_zombie_of(pid, parent):
    try:
        fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] == "Z" and int(fields[1]) == parent


@pytest.mark.skipif(not IS_ROOT, reason="only root can become somebody else")
def test_identity_of_the_engine_process(tokiophp, workdir):
    server = tokiophp(pool="process.priority = 5\nrlimit_core = 4096\n")
    response = fetch(server.address, os.path.join(workdir, "www/environment.php"))
    assert response.status == 200
    pid = wait_for(lambda: next((p for p in server.engine_pids() if parent_of(p) == server.pid), None), 10, "engine")
    status = dict(line.split(":\t", 1) for line in open(f"/proc/{pid}/status").read().splitlines() if ":\t" in line)
    nobody = subprocess.run(["id", "-u", "nobody"], stdout=subprocess.PIPE).stdout.decode().strip()
    assert status["Uid"].split() == [nobody] * 4
    assert "0" not in status["Groups"].split()
    assert int(status["CapEff"], 16) == 0
    assert os.getpriority(os.PRIO_PROCESS, pid) == 5


@pytest.mark.skipif(not IS_ROOT, reason="only root can change the root directory")
def test_all_workers_follow_the_first(tokiophp, workdir):
    """It answers as soon as it stands, and 47 others are being made: who comes meanwhile is refused nothing, and finds them."""
    server = tokiophp(pool="pm.max_children = 48\n", wait=False)
    with open(f"{workdir}/www/nap.php", "w") as f:
        f.write("<?php sleep(2); echo 'rested';")
    wait_for(lambda: accepts(server.address), 20, "its socket")
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(48) as pool:
        answers = list(pool.map(lambda _: fetch(server.address, f"{workdir}/www/nap.php").body, range(48)))
    assert answers == [b"rested"] * 48
    assert time.monotonic() - began < 3.9, "there were fewer workers"


def test_chroot(tokiophp, workdir):
    server = tokiophp(pool="chroot = {dir}\nchdir = /www\n")
    response = fetch(server.address, "/www/hello.php", DOCUMENT_ROOT="/www")
    assert response.status == 200, server.messages()
    assert fetch(server.address, os.path.join(workdir, "www/hello.php")).status == 404
