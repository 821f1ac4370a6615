"""tokiophp top: one frame, a terminal, and what it says without a server. The stub file names what exists."""
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

import pytest

import process
import tokiophp as program
from web import Site

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")


@pytest.fixture
def served(tokiophp, workdir):
    root = os.path.join(workdir, "site")
    os.mkdir(root)
    with open(os.path.join(root, "hello.php"), "w") as f:
        f.write("<?php echo 'hello';")
    with open(os.path.join(root, "functions.php"), "w") as f:
        f.write("<?php echo implode(' ', array_filter($_GET['f'], 'function_exists'));")
    return Site(tokiophp, root, settings="control_socket = {dir}/ctl.sock\n")


def test_one_frame(served, workdir):
    for _ in range(7):
        served.ask("/hello.php?a=\x1b%1b[2J".replace("\x1b", ""))

    def frame():
        done = subprocess.run([program.PROGRAM, "top", "-s", os.path.join(workdir, "ctl.sock"), "--once"], capture_output=True, text=True,
                              timeout=20)
        assert done.returncode == 0, done.stderr
        return done.stdout
    process.wait_for(lambda: re.search(r"pool www: ok .* 7 in all", shown := frame()) and shown.count("Idle") == 4, what="seven, and who has had them idle")
    shown = frame()
    assert "\x1b" not in shown and "GET /hello.php" in shown, shown


def test_in_a_terminal(served, workdir):
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(program.PROGRAM, ["tokiophp", "top", "-s", os.path.join(workdir, "ctl.sock")])
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 40, 0, 0))
    out, end = b"", time.monotonic() + process.PATIENCE
    while out.count(b"\x1b[H") < 3 and time.monotonic() < end:
        if select.select([fd], [], [], 0.2)[0]:
            out += os.read(fd, 65536)
    os.write(fd, b"q")
    while time.monotonic() < end:
        try:
            piece = os.read(fd, 65536)
        except OSError:
            break
        if not piece:
            break
        out += piece
    _, status = os.waitpid(pid, 0)
    os.close(fd)
    assert os.waitstatus_to_exitcode(status) == 0
    assert out.startswith(b"\x1b[?1049h") and out.rstrip().endswith(b"\x1b[?1049l")
    frame = out.split(b"\x1b[H")[-1]
    shown = [re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]|\r", b"", line) for line in frame.split(b"\r\n")]
    assert len(shown) <= 10 and all(len(line) <= 40 for line in shown), shown


def test_without_a_server(workdir):
    done = subprocess.run([program.PROGRAM, "top", "-s", os.path.join(workdir, "none"), "--once"], capture_output=True, text=True, timeout=20)
    assert done.returncode != 0 and "does not answer" in done.stderr


def test_the_stub_file_names_what_exists(served):
    with open(os.path.join(ROOT, "etc/tokiophp-stubs.php")) as f:
        names = re.findall(r"^function (\w+)\(", f.read(), re.M)
    assert len(names) == 13
    answer = served.ask("/functions.php?" + "&".join(f"f[]={n}" for n in names))
    assert answer.text.split() == names
