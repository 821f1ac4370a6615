"""What a test needs beyond what every build has; without it the test is skipped, and says why.

    @needs_php("8.4", "request_parse_body()")
"""
import functools
import re
import subprocess

import pytest

from tokiophp import PROGRAM


def number(version):
    return tuple(int(part) for part in version.split(".")[:2])


@functools.lru_cache(None)
def php_version():
    """Of the PHP in the program under test: (8, 4)."""
    said = subprocess.run([PROGRAM, "-v"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
    found = re.search(r"^PHP (\d+\.\d+)", said, re.M)
    return number(found.group(1)) if found else (0, 0)


def needs_php(version, why):
    return pytest.mark.skipif(php_version() < number(version), reason=f"needs PHP {version}: {why}")
