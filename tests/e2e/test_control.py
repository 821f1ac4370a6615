"""`tokiophp ctl`: every command with what it answers, and every way in which it can fail."""
import os
import re
import signal
import socket
import subprocess
import threading

import pytest

from fcgi_client import fetch
from process import connect, session_of, wait_for
from test_signals import engines, hello, slow  # noqa: F401
from tokiophp import IS_ROOT, PROGRAM, Tokiophp


@pytest.fixture
def server(tokiophp):
    s = tokiophp(settings="control_socket = {dir}/ctl\n", pool="access.log = {dir}/access.log\nenv[SECRET] = hush\n")
    s.wait_message("ready to handle connections")
    return s


def ctl(server, *words, path=None):
    """(exit code, stdout, stderr)"""
    done = subprocess.run([PROGRAM, "ctl", "-s", path or f"{server.directory}/ctl", *words], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=20)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_status(server, workdir):
    assert hello(server, workdir) == 200
    wait_for(lambda: "requests=1 " in ctl(server, "status")[1], what="the request, which is counted behind its answer")
    code, text, error = ctl(server, "status")
    assert code == 0 and not error
    lines = text.splitlines()
    assert re.fullmatch(rf'supervisor pid={server.pid} state="running" uptime=\d+', lines[0])
    assert re.fullmatch(r"pool www workers=4 active=\d idle=\d requests=1 crashes=0", lines[1])
    assert re.fullmatch(r"  seat 0 swaps=0", lines[2])
    assert re.fullmatch(rf"    process pid={engines(server)[0]} generation=1 state=ready age=\d+", lines[3])
    assert len(lines) == 4


def test_health(server, slow):  # noqa: F811
    assert ctl(server, "health") == (0, "healthy\n", "")
    asking = slow(server, "long", 1500)
    assert ctl(server, "drain")[0] == 0
    code, out, error = ctl(server, "health")
    assert (code, out, error) == (70, "", "error: the server is finishing\n")
    assert asking.result().body == b"finished long"


def test_restart_loses_nothing(server, workdir, slow):  # noqa: F811
    asking, before = slow(server, "long", 1500), engines(server)
    code, text, _ = ctl(server, "restart", "www")
    assert code == 0 and "www" in text
    wait_for(lambda: set(engines(server)) - set(before), 10, "a new generation")
    assert asking.result().body == b"finished long"
    wait_for(lambda: not set(engines(server)) & set(before), 10, "the old one's end")
    assert "swaps=1" in ctl(server, "status")[1]
    assert "generation=2" in ctl(server, "status")[1]


def test_restart_of_nothing(server):
    for words in (["restart"], ["restart", "nobody"]):
        code, out, error = ctl(server, *words)
        assert code == 70 and not out and error.startswith("error: there is no pool")


def test_reload(server, workdir):
    code, text, _ = ctl(server, "reload")
    assert code == 0 and "tested" in text
    wait_for(lambda: server.messages().count("ready to handle connections") == 2, 20, "the reload")
    assert ctl(server, "status")[0] == 0  # the socket is there again
    with open(server.config_path, "a") as f:
        f.write("nonsense\n")
    assert ctl(server, "reload")[0] == 0
    server.wait_message("reload refused")
    assert hello(server, workdir) == 200


def test_reopen(server, workdir):
    os.rename(f"{workdir}/access.log", f"{workdir}/access.log.1")
    assert ctl(server, "reopen")[0] == 0
    wait_for(lambda: os.path.exists(f"{workdir}/access.log"), 5, "the new file")


def test_config(server):
    code, text, _ = ctl(server, "config")
    assert code == 0
    assert text.startswith("[global]\n") and "\n[www]\n" in text
    assert re.search(r"^pm\.max_children = 4$", text, re.M)
    assert re.search(rf"^listen = {server.address}$", text, re.M)
    assert re.search(r"^env = SECRET=\*\*\*$", text, re.M) and "hush" not in text


def test_drain_ends_the_server(server, slow):  # noqa: F811
    asking = slow(server, "long", 1500)
    assert ctl(server, "drain")[0] == 0
    assert asking.result().body == b"finished long"
    assert server.wait(10) == 0
    assert not os.path.exists(f"{server.directory}/ctl")


def test_wrong_use(server):
    code, out, error = ctl(server, "dance")
    assert code == 70 and not out and error.startswith('error: "dance" is none of: status')
    for arguments in (["ctl"], ["ctl", "-x"], ["ctl", "-s"]):
        done = subprocess.run([PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20)
        assert done.returncode == 64 and b"Usage: tokiophp ctl" in done.stderr
    done = subprocess.run([PROGRAM, "ctl", "-h"], stdout=subprocess.PIPE, timeout=20)
    assert done.returncode == 0 and b"restart POOL" in done.stdout


def test_nobody_answers(server, workdir):
    code, out, error = ctl(server, "status", path=f"{workdir}/nobody")
    assert code == 70 and not out and f"no server answers at {workdir}/nobody (No such file" in error
    left = socket.socket(socket.AF_UNIX)
    left.bind(f"{workdir}/left")
    left.close()
    code, _, error = ctl(server, "status", path=f"{workdir}/left")
    assert code == 70 and "Connection refused" in error
    assert ctl(server, "status", path="/" + "x" * 200)[0] == 70


@pytest.fixture
def strangers(workdir):
    """Sockets of a program that is none of ours: {what it does with a connection: path}."""
    paths = {what: f"{workdir}/{what}" for what in ("silent", "full", "closes")}
    sockets = {what: socket.socket(socket.AF_UNIX) for what in paths}
    waiting = socket.socket(socket.AF_UNIX)
    for what, s in sockets.items():
        s.bind(paths[what])
        s.listen(0 if what == "full" else 8)
    waiting.connect(paths["full"])

    def close_all():
        try:
            while True:
                sockets["closes"].accept()[0].close()
        except OSError:
            pass
    thread = threading.Thread(target=close_all)
    thread.start()
    yield paths
    sockets["closes"].shutdown(socket.SHUT_RDWR)
    thread.join()
    for s in (*sockets.values(), waiting):
        s.close()


def test_somebody_else_answers(strangers):
    """A program that takes a connection, or does not even, and says nothing holds nobody for good; who hangs up is told of."""
    asked = {(what, words): subprocess.Popen([PROGRAM, *words, "-s", path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                             text=True)
             for what, path in strangers.items() for words in (("ctl", "status"), ("ctl", "profile"), ("top", "--once"))}
    said = {(what, " ".join(words)): (p.communicate(timeout=60), p.returncode) for (what, words), p in asked.items()}
    for (what, words), ((out, error), code) in said.items():
        assert code == 70 and not out, (what, words, out, error)
        why = "the server does not answer" if words == "top --once" else \
            "the connection ended without an answer" if what == "closes" else "nobody answers in time"
        assert why in error and strangers[what] in error, (what, words, error)


def test_finds_the_socket_in_the_configuration(server, workdir):
    done = subprocess.run([PROGRAM, "ctl", "-y", server.config_path, "status"], stdout=subprocess.PIPE, timeout=20)
    assert done.returncode == 0 and b"pool www" in done.stdout
    other = f"{workdir}/other.ini"
    with open(other, "w") as f:
        f.write("[global]\ncontrol_socket =\n[www]\nlisten = /tmp/x\npm = static\npm.max_children = 1\n")
    done = subprocess.run([PROGRAM, "ctl", "-y", other, "status"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20)
    assert done.returncode == 78 and b"no control socket is known" in done.stderr


def usual(words, **variables):
    """ctl without -s and -y, in an environment of these variables."""
    done = subprocess.run([PROGRAM, "ctl", *words], capture_output=True, text=True, timeout=20,
                          env={"PATH": os.environ["PATH"], **variables})
    return done.returncode, done.stdout, done.stderr


def test_usual_place(tokiophp, workdir):
    """Nobody said where: ctl and the server agree all the same, before and after a reload."""
    server = tokiophp()
    place = {"RUNTIME_DIRECTORY": f"{workdir}/run:/nonexistent"}
    for _ in range(2):
        code, text, error = usual(["status"], **place)
        assert code == 0 and f"pid={server.pid}" in text, error
        assert os.stat(f"{workdir}/run/control.sock").st_mode & 0o777 == 0o600
        assert usual(["reload"], **place)[0] == 0
        wait_for(lambda: 'state="running"' in usual(["status"], **place)[1], what="the reload's end")
    assert usual(["help"], **place)[0] == 0
    os.kill(server.pid, signal.SIGQUIT)
    assert server.wait() == 0 and not os.path.exists(f"{workdir}/run/control.sock")
    code, text, error = usual(["status"], **place)
    assert code == 70 and not text and f"no server answers at {workdir}/run/control.sock" in error


def test_usual_place_is_taken(tokiophp, workdir):
    """A second server of the same user starts without one, says so, and leaves the first one's alone."""
    first = tokiophp()
    os.mkdir(workdir + "/second")
    os.chmod(workdir + "/second", 0o755)
    second = Tokiophp(workdir + "/second", env={**os.environ, "RUNTIME_DIRECTORY": workdir + "/run"},
                      php="", settings="error_log = {dir}/error.log\n")
    try:
        second.wait_message("another server answers at")
        assert f"pid={first.pid}" in usual(["status"], RUNTIME_DIRECTORY=workdir + "/run")[1]
    finally:
        second.stop()
    assert f"pid={first.pid}" in usual(["status"], RUNTIME_DIRECTORY=workdir + "/run")[1]


@pytest.mark.skipif(not IS_ROOT, reason="needs two users")
def test_usual_place_belongs_to_somebody_else(tokiophp, workdir):
    """A folder that another user could have put there is not used."""
    os.mkdir(workdir + "/run")
    os.chmod(workdir + "/run", 0o777)
    server = tokiophp()
    server.wait_message("control_socket: there is none")
    assert not os.listdir(workdir + "/run")
    assert hello(server, workdir) == 200


@pytest.mark.skipif(not IS_ROOT, reason="needs two users")
def test_others_may_not(server, workdir):
    done = subprocess.run(["su", "nobody", "-s", "/bin/sh", "-c", f"{PROGRAM} ctl -s {workdir}/ctl status"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20)
    assert done.returncode == 70 and b"Permission denied" in done.stderr
    with open(f"{workdir}/www/control.php", "w") as f:  # nor may a script
        f.write(f"<?php $s = @fsockopen('unix://{workdir}/ctl'); echo $s ? 'in' : 'out';")
    assert fetch(server.address, f"{workdir}/www/control.php").body == b"out"


def test_silent_and_endless_clients(server, workdir):
    """They hold neither the supervisor nor the socket."""
    silent = []
    for _ in range(40):
        try:
            silent.append(connect(f"{workdir}/ctl"))
            silent[-1].sendall(b"x" * (len(silent) % 2 * 10000))
        except OSError:
            pass  # refused: there are too many
    os.kill(engines(server)[0], signal.SIGKILL)
    wait_for(lambda: any(session_of(pid) for pid in engines(server)), 5, "the supervisor works")
    assert hello(server, workdir) == 200
    for s in silent:
        s.close()
    wait_for(lambda: ctl(server, "status")[0] == 0, 10, "the control socket works")


def test_command_without_newline_and_in_pieces(server, workdir):
    with connect(f"{workdir}/ctl") as s:
        for c in b"status\n":
            s.send(bytes([c]))
        assert s.recv(65536).startswith(b"supervisor pid=")
    with connect(f"{workdir}/ctl") as s:
        s.send(b"status")
        s.shutdown(socket.SHUT_WR)
        assert s.recv(65536).startswith(b"supervisor pid=")
    with connect(f"{workdir}/ctl") as s:
        s.send(b"\n")
        assert s.recv(65536) == b"error: no command\n"


@pytest.mark.parametrize("said", ["", "control_socket = {dir}/new/control.sock\n"])
def test_the_usual_folder_is_made(tokiophp, workdir, said):
    """Without systemd nobody has made it: a pool may listen there, and a control socket be said to be there."""
    server = tokiophp(address=workdir + "/new/www.sock", settings=said.format(dir=workdir), env={**os.environ, "RUNTIME_DIRECTORY": workdir + "/new"})
    wait_for(lambda: sorted(os.listdir(workdir + "/new")) == ["control.sock", "www.sock"], 20, "both sockets")
    assert os.stat(workdir + "/new").st_mode & 0o777 == (0o755 if os.geteuid() == 0 else 0o700)
    server.stop()
