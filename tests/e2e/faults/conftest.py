"""Fixtures of the fault tests.

    faulty     faulty(pool="...") starts one pool, reached through both front ends (tests/support/faulty.py)
    front      each test that takes it runs once for "http" and once for "fcgi" (through nginx)
"""
import os
import subprocess

import pytest

from faulty import FRONTS, HERE, Faulty, php_config


@pytest.fixture(scope="session")
def fault_ext(tmp_path_factory):
    config = php_config()
    if not config:
        pytest.skip("which PHP tokiophp was built with is not known (PHP_CONFIG)")
    folder = str(tmp_path_factory.mktemp("fault"))
    subprocess.run([os.path.join(HERE, "fault_ext/build"), config, folder], check=True)
    for f in (folder, os.path.dirname(folder), os.path.dirname(os.path.dirname(folder))):
        os.chmod(f, 0o755)
    return os.path.join(folder, "fault.so")


@pytest.fixture
def faulty(workdir, tokiophp, webserver, fault_ext):
    def start(pool="", settings="", fronts=FRONTS, php=(), **how):
        return Faulty(workdir, tokiophp, webserver, fault_ext, pool, settings, fronts, php, **how)
    return start


@pytest.fixture(params=FRONTS)
def front(request):
    return request.param
