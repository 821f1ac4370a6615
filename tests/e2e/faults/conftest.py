"""Fixtures of the fault tests.

    faulty     faulty(pool="...") starts one pool, reached through both front ends (tests/support/faulty.py)
    front      each test that takes it runs once for "http" and once for "fcgi" (through nginx)
"""
import os
import shutil
import subprocess
import tempfile

import pytest

from faulty import FRONTS, HERE, Faulty, php_config


# Faults that a sanitizer reports, or that its memory does not leave room for.
UNFIT_FOR_SANITIZERS = ("test_crashes.py", "test_resources.py", "test_scripts.py", "test_task_crashes.py", "test_crashes_while_looked_at", "test_faults_cost_their_own_request")


def pytest_collection_modifyitems(items):
    for item in items if os.environ.get("SANITIZER") else []:
        if {os.path.basename(item.fspath), item.originalname} & set(UNFIT_FOR_SANITIZERS):
            item.add_marker(pytest.mark.skip(reason="these faults and a sanitizer do not go together"))


@pytest.fixture(scope="session")
def fault_ext():
    config = php_config()
    if not config:
        pytest.skip("which PHP tokiophp was built with is not known (PHP_CONFIG)")
    folder = tempfile.mkdtemp(prefix="tkext", dir="/tmp")  # not pytest's own, which later sessions tidy up
    os.chmod(folder, 0o755)
    subprocess.run([os.path.join(HERE, "fault_ext/build"), config, folder], check=True)
    yield os.path.join(folder, "fault.so")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def faulty(workdir, tokiophp, webserver, fault_ext):
    def start(pool="", settings="", fronts=FRONTS, php=(), **how):
        return Faulty(workdir, tokiophp, webserver, fault_ext, pool, settings, fronts, php, **how)
    return start


@pytest.fixture(params=FRONTS)
def front(request):
    return request.param
