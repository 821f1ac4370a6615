"""What the tests of everyday tasks (tests/e2e/test_everyday_*.py) have in common: pages that are followed, a server as a system's unit
starts it, one look at what a client gets."""
import os
import re
import ssl
import subprocess
import urllib.error
import urllib.request

import pytest

from page import Page
from process import Program, wait_for
from tokiophp import GROUP, IS_ROOT, PROGRAM, USER


@pytest.fixture
def page(workdir, monkeypatch):
    """page(NAME): its places are below the test's folder; what was started is ended."""
    monkeypatch.setattr(Page, "ports", {})
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{workdir}/run")
    opened = []

    def open_page(name, **words):
        opened.append(Page(name, workdir, words))
        opened[-1].program("sudo", '[ "$1" != -u ] || shift 2\nexec "$@"')
        return opened[-1]
    yield open_page
    for one in opened:
        one.stop()


class Answer:
    def __init__(self, status, fields, body):
        self.status, self.fields, self.text = status, fields, body.decode(errors="replace")


def get(port, path="/", scheme="http", **fields):
    """One request, no redirect followed."""
    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    opener = urllib.request.build_opener(Stay, urllib.request.HTTPSHandler(context=context))
    request = urllib.request.Request(f"{scheme}://127.0.0.1:{port}{path}", headers={k.replace("_", "-"): v for k, v in fields.items()})
    try:
        with opener.open(request, timeout=30) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as e:
        return Answer(e.code, e.headers, e.read())


def serve(one, block, port, **environment):
    """The block's command, which serves; its program."""
    program = one.start(block, **environment)
    program.wait_accepting(("127.0.0.1", port))
    return program


def daemon(one, port, path="/etc/tokiophp.ini", more=()):
    """What a system's unit starts; its commands are looked at in test_systemd."""
    with open(one.here(path)) as f:
        text = f.read()
    if "[global]" not in text:
        with open(one.here(path), "w") as f:
            f.write(f"[global]\nerror_log = {one.folder}/var/log/tokiophp/error.log\n" + text)
    os.makedirs(f"{one.folder}/var/log/tokiophp", exist_ok=True)
    os.makedirs(f"{one.folder}/run/tokiophp", exist_ok=True)
    one.programs.append(Program([PROGRAM, "-F", "-y", one.here(path), *more], one.folder, "daemon.log", env=one.environment))
    one.programs[-1].wait_accepting(("127.0.0.1", one.port(port)))
    wait_for(lambda: is_healthy(one), 60, "its processes serve")
    return one.programs[-1]


def is_healthy(one):
    return subprocess.run([f"{one.folder}/bin/tokiophp", "ctl", "health"], env=one.environment, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, check=False).returncode == 0


def log(one):
    path = f"{one.folder}/var/log/tokiophp/error.log"
    return open(path, errors="replace").read() if os.path.exists(path) else ""


def pool(one, text, *more):
    """A whole configuration of a page's part of one."""
    lines = "" if re.search(r"^pm\s*=", text, re.M) else "pm = static\npm.max_children = 2\n"
    who = f"user = {USER}\ngroup = {GROUP}\n" if IS_ROOT and not re.search(r"^user\s*=", text, re.M) else ""
    path = one.here("/etc/tokiophp.ini")
    with open(path, "w") as f:
        f.write(text + who + lines + "".join(line + "\n" for line in more))
    return path
