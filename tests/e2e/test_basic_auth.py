"""http.basic_auth: who is let in, who is not, and what guessing costs everybody else."""
import base64
import os
import re
import select
import subprocess
import time

import pytest

from http_raw import Raw
from process import PATIENCE, free_port, wait_for
from web_cases import ABSENT, VARIABLES, Case, Site, dry_run, fixture, parametrize, pool_section

FILES = {"vars.php": VARIABLES, "open.txt": "open", "admin/page.txt": "page", "admin/vars.php": VARIABLES, "admin/public/free.txt": "free",
         "admin/gone/x.txt": "x", "old/x.txt": "x", "echo.php": "<?php echo strlen(file_get_contents('php://input'));"}


def htpasswd(kind, user, password):
    return subprocess.run(["htpasswd", "-nb" + kind, user, password], capture_output=True, text=True, check=True).stdout.strip() + "\n"


def said(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def write_passwords(folder):
    with open(os.path.join(folder, "passwords"), "w") as f:
        f.write("# who may enter\n" + htpasswd("B", "ann", "secret") + htpasswd("m", "bob", "with:colon") + htpasswd("B", "zoë", "schön"))
    os.chmod(os.path.join(folder, "passwords"), 0o600)  # the pool's user may not read it


RULES = """http.basic_auth[/admin/public/*] = no
http.basic_auth[/admin/*] = {folder}/passwords
http.basic_auth[/echo.php] = {folder}/passwords
http.basic_auth[/old/*] = {folder}/passwords
http.basic_auth_realm = The office
http.redirect[/old/*] = /new/*
http.deny[/admin/gone/*] = 410
"""
stages = fixture({"asked": Site(FILES, pool=RULES, prepare=write_passwords)})
ANN, BOB = said("ann", "secret"), said("bob", "with:colon")
ASKS = {"WWW-Authenticate": 'Basic realm="The office", charset="UTF-8"', "Cache-Control": "no-store"}


def row(name, target, status, who=None, **want):
    how = {key: want.pop(key) for key in ("method", "content", "places") if key in want}
    fields = [("Authorization", who)] if who else []
    if status == 401:
        want["has"] = ASKS
    return Case(name, target, site="asked", fields=fields, status=status, **how, **want)


CASES = [
    row("nobody is asked", "/open.txt", 200, body="open", places=("own",)),
    row("a file", "/admin/page.txt", 401), row("a script", "/admin/vars.php", 401), row("nothing there", "/admin/nothing", 401),
    row("slashes", "//admin//page.txt", 401), row("encoded", "/%61dmin/page.txt", 401), row("a way around", "/open/../admin/page.txt", 401),
    row("too long to be compared", "/admin/vars.php/" + "a" * 3060, 414),
    row("too long, and short for the script", "/admin/vars.php/" + "a" * 3060 + "/../b", 414),
    row("let in to a file", "/admin/page.txt", 200, ANN, body="page", places=("own",)),
    row("let in to a script", "/admin/vars.php", 200, ANN, server={"REMOTE_USER": "ann", "AUTH_TYPE": "Basic", "PHP_AUTH_USER": "ann", "PHP_AUTH_PW": "secret"}),
    row("a colon in the password", "/admin/vars.php", 200, BOB, server={"REMOTE_USER": "bob"}),
    row("not of ASCII", "/admin/vars.php", 200, said("zoë", "schön"), server={"REMOTE_USER": "zoë"}),
    row("no user where nobody is asked", "/vars.php", 200, ANN, server={"REMOTE_USER": ABSENT, "AUTH_TYPE": ABSENT}),
    row("a wrong password", "/admin/page.txt", 401, said("ann", "Secret")), row("no password", "/admin/page.txt", 401, said("ann", "")),
    row("another's password", "/admin/page.txt", 401, said("ann", "with:colon")), row("an unknown user", "/admin/page.txt", 401, said("eve", "secret")),
    row("no user", "/admin/page.txt", 401, said("", "secret")), row("another scheme", "/admin/page.txt", 401, "Bearer YW5uOnNlY3JldA=="),
    row("no base64", "/admin/page.txt", 401, "Basic %%%"), row("no colon", "/admin/page.txt", 401, "Basic YW5u"),
    row("a NUL", "/admin/page.txt", 401, "Basic " + base64.b64encode(b"ann:secret\0x").decode()),
    row("too long", "/admin/page.txt", 401, said("ann", "x" * 2000)),
    row("an exception", "/admin/public/free.txt", 200, body="free", places=("own",)),
    row("what is refused anyway", "/admin/gone/x.txt", 410), row("what leads elsewhere is not told", "/old/x.txt", 401),
    Case("what leads elsewhere", "/old/x.txt", site="asked", fields=[("Authorization", ANN)], status=302, has={"Location": "/new/x.txt"}),
    row("a body", "/echo.php", 200, BOB, method="POST", content=b"x" * 200000, body="200000"),
    row("a body that is not wanted", "/echo.php", 401, said("bob", "x"), method="POST", content=b"x" * 200000),
]


@parametrize(CASES)
def test_who_is_let_in(stages, case, way, place):
    stages.check(case, way, place)


# -- one server --

class Served:
    def __init__(self, workdir, tokiophp, rules, passwords):
        self.dir, self.port = workdir, free_port()
        os.mkdir(f"{workdir}/site")
        for name, text in (("x.php", "<?php echo getmypid();"), ("size.php", "<?php echo strlen(file_get_contents('php://input'));")):
            with open(f"{workdir}/site/{name}", "w") as f:
                f.write(text)
        self.write(passwords)
        self.server = tokiophp(address=("127.0.0.1", self.port), config=f"[global]\nerror_log = {workdir}/error.log\ndaemonize = no\n" + pool_section(
            "www", f"http.listen = 127.0.0.1:{self.port}\nhttp.document_root = {workdir}/site\n{rules}"))
        self.server.wait_message("ready to handle connections", 60)

    def write(self, text):
        with open(f"{self.dir}/passwords", "w") as f:
            f.write(text)

    def connect(self):
        return Raw(("127.0.0.1", self.port))

    def ask(self, who=None, path="/x.php", raw=None):
        with self.connect() as raw_:
            return raw_.send(raw or request(path, who)).reply()


def request(path, who=None, more=""):
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n" + (f"Authorization: {who}\r\n" if who else "") + more + "\r\n"


@pytest.fixture
def served(workdir, tokiophp):
    return Served(workdir, tokiophp, "http.basic_auth[*] = {dir}/passwords\n".replace("{dir}", workdir), htpasswd("B", "ann", "secret"))


def test_a_pipeline(served):
    """Requests behind one that waits for its verdict come in their order."""
    with served.connect() as raw:
        raw.send(request("/x.php", ANN) + request("/x.php") + request("/x.php", said("ann", "no")) + request("/x.php", ANN))
        assert [raw.reply().status for _ in range(4)] == [200, 401, 401, 200]


def test_leave_to_send_a_body(served):
    head = "POST /size.php HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\nAuthorization: %s\r\n\r\n"
    with served.connect() as raw:
        assert raw.send(head % ANN).head()[0] == 100
        assert raw.send("12345").reply().body == b"5"
    with served.connect() as raw:
        assert raw.send(head % said("ann", "no")).reply().status == 401


def test_clients_that_leave(served):
    for i in range(40):
        raw = served.connect()
        raw.send(request("/x.php", said("ann", f"wrong {i}")))
        raw.close()
    assert served.ask(ANN).status in (200, 429)
    assert served.ask().status == 401


def test_the_file_changes(served):
    first = served.ask(ANN)
    assert first.status == 200
    served.write(htpasswd("B", "ann", "other"))
    wait_for(lambda: served.ask(ANN).status == 401, 60, "the earlier password is refused")
    assert served.ask(said("ann", "other")).status == 200
    served.write("ann:nonsense\n")
    served.server.wait_message(r"http\.basic_auth\[\*\] = .*line 1: no hash of a password", 60)
    served.server.wait_message(r"pool www\] its passwords have changed, but cannot be used", 60)
    assert served.ask(said("ann", "other")).status == 200


def test_a_pipe_takes_the_place_of_a_file(workdir, tokiophp):
    """Who may write in its folder keeps nobody up: nothing is read that would have to be waited for."""
    others = workdir + "/others"
    with open(others, "w") as f:
        f.write(htpasswd("B", "ann", "secret"))
    served = Served(workdir, tokiophp, f"http.basic_auth[/x.php] = {others}\nhttp.basic_auth[/size.php] = {workdir}/passwords\n", htpasswd("B", "bob", "secret"))
    assert served.ask(ANN).status == 200
    os.remove(f"{workdir}/passwords")
    os.mkfifo(f"{workdir}/passwords")
    with open(others, "w") as f:
        f.write(htpasswd("B", "ann", "other"))
    wait_for(lambda: served.ask(ANN).status == 401, 60, "the other file's earlier password is refused")
    assert served.ask(said("ann", "other")).status == 200
    assert served.ask(said("bob", "secret"), "/size.php").status == 200, "what was in the file stays"


def test_who_guesses_gets_no_further(served):
    statuses = []
    while 429 not in statuses and len(statuses) < 200:  # one more is let through each second
        statuses.append(served.ask(said("ann", f"guess {len(statuses)}")).status)
    assert set(statuses[:60]) == {401} and statuses[-1] == 429, statuses
    assert served.ask().status == 401, "a browser's first request costs nothing"


@pytest.mark.parametrize("password, status", [("secret", 200), ("wrong", 401)])
def test_requests_at_once_cost_one_hash(workdir, tokiophp, password, status):
    """As after a reload, when nothing is remembered: a page's, or a program's with many connections."""
    made = subprocess.run(["htpasswd", "-nbBC", "12", "ann", "secret"], capture_output=True, text=True, check=True).stdout.strip()
    served = Served(workdir, tokiophp, f"http.basic_auth[/x.php] = {workdir}/passwords\n", made + "\n")
    raws = [served.connect() for _ in range(100)]
    for raw in raws:
        raw.send(request("/x.php", said("ann", password)))
    raws[0].close()  # who asks first does not wait
    assert [raw.reply().status for raw in raws[1:]] == [status] * 99
    assert served.ask(said("ann", password)).status == status
    for raw in raws[1:]:
        raw.close()


SLOW = "$2y$14$"  # about a second


def somebody_is_refused(guesses):
    """Several loops take them in, so nobody knows who that is; the others have their verdicts one after the other."""
    waiting, end = {raw.sock: raw for raw in guesses}, time.monotonic() + PATIENCE
    while waiting and time.monotonic() < end:
        for sock in select.select(list(waiting), [], [], 1)[0]:
            if waiting.pop(sock).reply().status == 503:
                return True
    return False


def test_guesses_keep_nobody_up(workdir, tokiophp):
    """More clients guess at a slow hash than may wait: they are refused, and pages of others come as before."""
    made = subprocess.run(["htpasswd", "-nbBC", "14", "ann", "secret"], capture_output=True, text=True, check=True).stdout.strip()
    assert SLOW in made
    served = Served(workdir, tokiophp, f"http.basic_auth[/x.php] = {workdir}/passwords\nhttp.trusted_proxies = 127.0.0.1\n", made + "\n")
    guesses = [served.connect() for _ in range(100)]
    for i, raw in enumerate(guesses):
        raw.send(request("/x.php", said("ann", f"guess {i}"), f"X-Forwarded-For: 203.0.113.{i}\r\n"))
    assert somebody_is_refused(guesses), "nobody waits without a bound"
    for _ in range(20):
        assert served.ask(path="/size.php").status == 200
    for raw in guesses:
        raw.close()


@pytest.mark.parametrize("line, text, why", [
    ("http.basic_auth[/a] = {dir}/nothing", "", r"http\.basic_auth\[/a\] = .*/nothing: No such file"),
    ("http.basic_auth[/a] = passwords", "", "expected the path of a file"), ("http.basic_auth[a] = {dir}/passwords", "ann:x", "begins with /"),
    ("http.basic_auth[/a] = {dir}/passwords", "ann:secret\n", "line 1: no hash of a password that is known here; htpasswd -B makes one"),
    ("http.basic_auth[/a] = {dir}/passwords", "# nobody\n", "no user is in it"),
    ('http.basic_auth_realm = "a\\"b"', "", "a quote or a backslash"),
])
def test_refused(workdir, line, text, why):
    with open(workdir + "/passwords", "w") as f:
        f.write(text)
    done = dry_run(workdir, line)
    assert done.returncode == 78 and re.search(why, done.stdout + done.stderr), done.stdout + done.stderr
