"""Modules that are not of PHP's own source: packaging/build-extensions builds them, once, for the PHP of the program under test."""
import functools
import os
import subprocess

import pytest

from runtime import ask_build
from tokiophp import ROOT

BUILD = os.path.abspath(os.environ.get("BUILD", os.path.join(ROOT, "build")))


@functools.lru_cache(None)
def built(name):
    """(file, None), or (None, why not)."""
    php_config = os.path.join(ask_build("--print-prefix"), "bin/php-config")
    if not os.path.exists(os.path.join(os.path.dirname(php_config), "phpize")):
        return None, "no runtime of packaging/php-zts/build"
    folder = os.path.join(BUILD, "extensions")
    command = [os.path.join(ROOT, "packaging/build-extensions"), "--php-config", php_config, "--output", folder, name]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=500)
    path = os.path.join(folder, f"{name}.so")
    return (path, None) if os.path.exists(path) else (None, done.stdout.strip().replace("\n", "; "))


def module(name):
    path, why = built(name)
    if path is None:
        pytest.skip(why)
    return path


def settings(name):
    """What its ini file says beside loading it, as arguments of the program."""
    with open(module(name)[:-3] + ".ini") as f:
        lines = [line.strip() for line in f if "extension=" not in line]
    return [word for line in lines if line for word in ("-d", line)]
