"""Fixtures of the end-to-end tests.

    workdir      a short-named folder that the pool's user can read; www/ in it is a copy of tests/e2e/www,
                 tmp/ is writable for everyone
    tokiophp     tokiophp(pool="...", settings="...", config=None, ...) starts a server (see support/tokiophp.py).
                 At the end it must exit with 0 and leave no process; its log is shown if the test failed
    webserver    webserver("nginx", root, address) starts a web server, stopped at the end
"""
import os
import signal
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../support"))
os.environ["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"

import process  # noqa: E402
import tokiophp as tokiophp_module  # noqa: E402
import webservers  # noqa: E402
from mariadb import MariaDB  # noqa: E402
from workdirs import make_workdir, remove_workdir  # noqa: E402

TEST_SECONDS = int(os.environ.get("TEST_SECONDS", "120"))


class TookTooLong(BaseException):
    """Of no kind that somebody who waits, or who ends what was started, catches for other reasons."""


def pytest_configure(config):
    config.addinivalue_line("markers", "seconds(n): the test may take n seconds instead of %d" % TEST_SECONDS)


def pytest_collection_modifyitems(items):
    if not os.path.exists(tokiophp_module.PROGRAM):
        raise pytest.UsageError(f"{tokiophp_module.PROGRAM} does not exist: make first, or set TOKIOPHP")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    setattr(item, "report_" + report.when, report)
    log_folders = getattr(item, "log_folders", [])
    if report.failed:
        for folder in log_folders:
            for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
                if name.endswith(".log"):
                    with open(os.path.join(folder, name), errors="replace") as f:
                        report.sections.append((f"{name}", f.read()[-6000:]))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """No test runs for ever: the alarm ends its Python, and fixtures then end what it started."""
    marker = item.get_closest_marker("seconds")
    seconds = marker.args[0] if marker else TEST_SECONDS

    def expired(_signal, _frame):
        raise TookTooLong(f"{item.nodeid} took more than {seconds} s")
    previous = signal.signal(signal.SIGALRM, expired)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


@pytest.fixture
def workdir(request):
    folder = make_workdir()
    request.node.log_folders = getattr(request.node, "log_folders", []) + [folder]
    yield folder
    remove_workdir(folder)


class Started:
    """What a fixture started, and ends."""

    def __init__(self):
        self.programs = []

    def add(self, program):
        self.programs.append(program)
        return program

    def stop(self):
        process.stop_all(self.programs)


@pytest.fixture
def tokiophp(workdir):
    started = Started()

    def start(**how):
        return started.add(tokiophp_module.Tokiophp(how.pop("directory", workdir), **how))
    yield start
    started.stop()


@pytest.fixture
def webserver(workdir):
    started = Started()

    def start(kind, root, address, **how):
        return started.add(webservers.KINDS[kind](workdir, root, address, **how))
    yield start
    started.stop()


class Site:
    """One web server in front of one tokiophp, both in `directory`; `root` holds the scripts."""

    def __init__(self, kind, directory, front, server):
        self.kind, self.directory, self.front, self.server = kind, directory, front, server
        self.root, self.port, self.url = os.path.join(directory, "www"), front.port, front.url


@pytest.fixture(scope="module", params=sorted(webservers.KINDS))
def site(request):
    """The same site behind each web server, started once for all tests of a file."""
    why = webservers.missing(request.param)
    if why:
        pytest.skip(why)
    folder = make_workdir()
    started = Started()
    try:
        server = started.add(tokiophp_module.Tokiophp(folder, pool=getattr(request.module, "POOL", "")))
        front = started.add(webservers.KINDS[request.param](folder, os.path.join(folder, "www"), server.address))
        yield Site(request.param, folder, front, server)
        started.stop()
    finally:
        for program in started.programs:
            program.kill_family()
        remove_workdir(folder)


@pytest.fixture(autouse=True)
def _site_logs(request):
    if "site" in request.fixturenames:
        request.node.log_folders = [request.getfixturevalue("site").directory]
    yield


@pytest.fixture
def database(workdir):
    server = MariaDB(workdir)
    yield server
    server.stop()
