"""What a test needs beyond what every build has; without it the test is skipped, and says why.

    @needs_php("8.4", "request_parse_body()")
"""
import functools

import pytest

from runtime import release
from tokiophp import PROGRAM


def number(version):
    return tuple(int(part) for part in version.split(".")[:2])


@functools.lru_cache(None)
def php_version():
    """Of the PHP in the program under test: (8, 4)."""
    return number(release(PROGRAM) or "0.0")


def needs_php(version, why):
    return pytest.mark.skipif(php_version() < number(version), reason=f"needs PHP {version}: {why}")
