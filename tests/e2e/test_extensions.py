"""An extension is built with the runtime's own phpize and php-config, by packaging/php-zts/ext, in a copy of the runtime."""
import os
import re
import shutil
import subprocess
import tempfile

import pytest

from tokiophp import ROOT

TOOLS = os.path.join(ROOT, "packaging/php-zts")
CONFIG_M4 = r"""PHP_ARG_ENABLE([pips], [whether to enable pips], [AS_HELP_STRING([--enable-pips], [Enable pips])], [no])
if test "$PHP_PIPS" != "no"; then
  PIPS_CFLAGS="-DPIPS=7"
  PHP_SUBST([PIPS_CFLAGS])
  PHP_NEW_EXTENSION(pips, pips.c, $ext_shared,, \\$(PIPS_CFLAGS))
fi
"""
SOURCE = r"""
#include "php.h"
#include <ext/standard/php_rand.h>
static zend_uintptr_t pips_count = PIPS; /* as before PHP 8.4 */
ZEND_BEGIN_ARG_INFO(arginfo_pips, 0)
ZEND_END_ARG_INFO()
PHP_FUNCTION(pips) { RETURN_LONG((zend_long) pips_count + (php_mt_rand_range(0, 0))); }
static const zend_function_entry pips_functions[] = {PHP_FE(pips, arginfo_pips) PHP_FE_END};
zend_module_entry pips_module_entry = {STANDARD_MODULE_HEADER, "pips", pips_functions, NULL, NULL, NULL, NULL, NULL, "1.5", STANDARD_MODULE_PROPERTIES};
ZEND_GET_MODULE(pips)
"""


def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    return done.returncode, done.stdout


@pytest.fixture
def runtime():
    """A copy of the runtime at a place of its own, which can be written."""
    code, prefix = run(f"{TOOLS}/build", "--print-prefix")
    original = prefix.split()[-1]
    if not os.path.exists(f"{original}/bin/phpize"):
        pytest.skip("no runtime of packaging/php-zts/build")
    parent = tempfile.mkdtemp(prefix="x", dir="/tmp")  # a short name: a path cannot grow
    copy = os.path.join(parent, os.path.basename(original).partition("-")[2])
    code, said = run(f"{TOOLS}/relocate", original, copy, copy)
    assert code == 0, said
    yield copy
    shutil.rmtree(parent)


@pytest.mark.seconds(400)  # it compiles, configure and all, as often as somebody who tries does
def test_an_extension_is_built_and_loaded(runtime, workdir):
    source = os.path.join(workdir, "pips")
    os.mkdir(source)
    for name, text in (("config.m4", CONFIG_M4), ("pips.c", SOURCE)):
        with open(os.path.join(source, name), "w") as f:
            f.write(text)
    code, said = run(f"{TOOLS}/ext", "--php-config", f"{runtime}/bin/php-config", source)
    assert code == 0 and "pips 1.5 is installed and loaded" in said, said
    assert run(f"{runtime}/bin/php", "-r", "echo pips();") == (0, "7")
    assert open(f"{runtime}/etc/conf.d/40-pips.ini").read() == "extension=pips\n"
    with open(f"{source}/pips.c", "a") as f:
        f.write("#error broken\n")
    code, said = run(f"{TOOLS}/ext", "--php-config", f"{runtime}/bin/php-config", source)
    assert code != 0 and "#error broken" in said and "does not build with PHP" in said
    assert run(f"{runtime}/bin/php", "-r", "echo pips();") == (0, "7"), "the one that works stays"


def test_what_a_copied_runtime_says_of_itself(runtime):
    code, said = run(f"{runtime}/bin/php-config", "--prefix")
    assert code == 0 and os.path.realpath(said.strip()) == os.path.realpath(runtime)
    assert set(run(f"{runtime}/bin/php-config", "--php-sapis")[1].split()) == {"cli", "embed"}
    said = run(f"{runtime}/bin/php", "-r", "echo php_ini_loaded_file(), '\n', ini_get('extension_dir'), '\n', extension_loaded('mbstring');")[1]
    ini, folder, loaded = said.split("\n")
    assert os.path.realpath(ini) == f"{runtime}/etc/php.ini" and os.path.realpath(folder).startswith(f"{runtime}/lib/php/extensions/")
    assert loaded == "1"


@pytest.mark.parametrize("place,why", [("/tmp/8.4-other", "must be the same"), ("8.4-zts", "expected an absolute path"),
                                       ("/tmp/" + "long/" * 40 + "8.4-zts", "is longer than")])
def test_a_runtime_does_not_fit_everywhere(runtime, workdir, place, why):
    end = re.search(r"[\d.]+-zts", runtime)[0]
    code, said = run(f"{TOOLS}/relocate", runtime, f"{workdir}/copy", place.replace("8.4-zts", end))
    assert code != 0 and why in said and not os.path.exists(f"{workdir}/copy")
