"""Runs tests/load/load, the client that asks as fast as it is answered and counts every request, beside a server that is
changed meanwhile."""
import json
import os
import subprocess

import pytest

from tokiophp import PROGRAM

LOAD = os.path.join(os.path.dirname(PROGRAM), "tests/load/load")


def start(protocol, address, connections, seconds, *options, prefix=()):
    """address: a port of 127.0.0.1, or a unix socket's path."""
    if not os.path.exists(LOAD):
        pytest.skip("there is no build/tests/load/load: make unit-programs")
    return subprocess.Popen([*prefix, LOAD, protocol, str(address), str(connections), str(seconds), *options],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result(process, seconds=60):
    """What it counted; every request has its answer, and the right one."""
    out, err = process.communicate(timeout=seconds)
    assert out, err
    count = json.loads(out)
    assert process.returncode == 0, f"{count}\n{err}"
    return count
