"""Step debugging of a page that `tokiophp serve` answers: Xdebug connects to the debugger, here a small client of its protocol."""
import concurrent.futures
import os
import time
import urllib.request

import pytest

import process
from dbgp import Debugger
from extension_modules import module
from tokiophp import PROGRAM, is_stand_in

pytestmark = [pytest.mark.skipif(is_stand_in(), reason="tokiophp's own words"), pytest.mark.seconds(600)]

PAGE = """<?php
$n = (int) $_GET['n'];
$sum = 0;
for ($i = 1; $i <= 3; $i++) {
    $sum += $i * $n;
}
function twice($x) {
    return $x * 2;
}
echo twice($sum);
$sum = 0;
"""
IN_LOOP, IN_FUNCTION, AT_ECHO, AT_END = 5, 8, 10, 11


class Page:
    """One page on `tokiophp serve`, and the debugger that its requests connect to."""

    def __init__(self, workdir, debugger, *more):
        self.file = os.path.join(workdir, "site/index.php")
        os.mkdir(os.path.dirname(self.file))
        with open(self.file, "w") as f:
            f.write(PAGE)
        self.port, self.debugger = process.free_port(), debugger
        settings = [f"zend_extension={module('xdebug')}", "xdebug.mode=debug", "xdebug.start_with_request=yes",
                    "xdebug.client_host=127.0.0.1", f"xdebug.client_port={debugger.port}", "xdebug.log_level=0", *more]
        command = [PROGRAM, "serve", os.path.dirname(self.file), "--listen", str(self.port), "--workers", "4"]
        self.server = process.Program(command + [word for line in settings for word in ("-d", line)], workdir, "serve.log",
                                      env={"PATH": os.environ["PATH"]})
        self.browsers = concurrent.futures.ThreadPoolExecutor()
        self.server.wait_accepting(("127.0.0.1", self.port))

    def ask(self, n):
        """A browser that waits for this page."""
        url = f"http://127.0.0.1:{self.port}/?n={n}"
        return self.browsers.submit(lambda: urllib.request.urlopen(url, timeout=100).read().decode())

    def break_at(self, session, line):
        return session.ask("breakpoint_set", f"-t line -f file://{self.file} -n {line}").get("id")

    def end(self):
        self.browsers.shutdown(wait=False)
        self.server.stop()


@pytest.fixture
def page(workdir):
    started = []

    def start(debugger, *more):
        started.append(Page(workdir, debugger, *more))
        return started[-1]
    yield start
    for one in started:
        one.end()


def test_break_step_look_and_go_on(page):
    with Debugger() as debugger:
        site = page(debugger)
        answer = site.ask(7)
        session = debugger.accept()
        assert session.init.get("fileuri") == f"file://{site.file}" and session.init.get("language") == "PHP"
        in_loop = site.break_at(session, IN_LOOP)
        assert session.go("run") == "break" and session.line() == IN_LOOP
        assert (session.value("$n"), session.value("$i"), session.value("$sum")) == ("7", "1", "0")
        assert session.go("run") == "break"
        assert (session.value("$i"), session.value("$sum")) == ("2", "7")
        session.ask("property_set", "-n $sum", data="1000")
        session.ask("breakpoint_remove", f"-d {in_loop}")
        site.break_at(session, AT_ECHO)
        assert session.go("run") == "break" and session.line() == AT_ECHO
        assert session.go("step_into") == "break" and session.line() == IN_FUNCTION
        assert session.value("$x") == str(1000 + 14 + 21)
        assert session.go("step_out") == "break" and session.line() == AT_END
        assert not answer.done(), "it waits for its debugger"
        assert session.go("run") == "stopping"
        session.go("stop")
        assert answer.result(30) == str(2 * (1000 + 14 + 21))


def test_several_requests_at_once(page):
    with Debugger() as debugger:
        site = page(debugger)
        answers = {n: site.ask(n) for n in (1, 2, 3)}
        sessions = [debugger.accept() for _ in answers]
        for session in sessions:
            site.break_at(session, AT_ECHO)
        assert [session.go("run") for session in sessions] == ["break"] * 3
        numbers = [int(session.value("$n")) for session in sessions]
        assert sorted(numbers) == [1, 2, 3], "each is another request"
        for n, session in reversed(list(zip(numbers, sessions))):
            assert session.value("$sum") == str(6 * n)
            assert session.go("run") == "stopping"
            session.go("stop")
            assert answers[n].result(30) == str(12 * n)
            assert all(answers[other].done() == (other in numbers[numbers.index(n):]) for other in numbers)


def test_nobody_is_hurried_and_nobody_has_to_listen(page):
    with Debugger() as debugger:
        site = page(debugger, "max_execution_time=1")
        answer = site.ask(2)
        session = debugger.accept()
        site.break_at(session, IN_LOOP)
        assert session.go("run") == "break"
        time.sleep(3)
        assert session.value("$n") == "2", "who looks at a variable may take longer than a script may run"
        session.ask("detach")
        assert answer.result(30) == "24"
        answer = site.ask(3)
        session = debugger.accept()
        session.close()  # the editor is closed
        assert answer.result(30) == "36"
    assert site.ask(4).result(30) == "48", "without a debugger a page is a page"
