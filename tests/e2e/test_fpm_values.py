"""Values of a configuration, as php-fpm takes and refuses them: the same exit code, and its sentence as the reason."""
import os
import re
import subprocess

import pytest

import tokiophp as server_module
from both import PHP_FPM
from side_by_side import USER, SideBySide

pytestmark = pytest.mark.skipif(not PHP_FPM or server_module.is_stand_in(), reason="no php-fpm to compare with")
CONFIG = """[global]
error_log = {dir}/{name}.log
%s
[www]
{user}
listen = {dir}/{name}.sock
pm = static
pm.max_children = 2
%s
"""
TIMES = ["1.5s", "3 s", "-1", "5ms", "3y", "3w", "3Y", "3S", "3M", "10", "s", "abc", "1h", "2d", "0x10", "1e3", "+5", "5 m", "m", "-5m", "yes", "${NOPE}",
         '"7s"', "", "off", "no", "OFF"]
NUMBERS = ["-1", "+1", "1.5", "abc", "", "1 ", "0x1", "1k", "yes", "on", "off", "E_ALL", "--1", "1-", "2|4", "~1", "!0"]
YES_NO = ["1", "0", "yes", "no", "maybe", "2", "", '"on"', "TRUE", "null", "none", "-1"]
TEXTS = ["a=b", "mysql://u:p@h/d?x=1&y=2", "x(y)", "a!b", '"unclosed', "'unclosed", "{x", "x}", "a & b", "1|2", "(3)", "[a]", "a;b", "$HOME", "PHP_VERSION"]
POOL = [f"request_terminate_timeout = {v}" for v in TIMES] + [f"pm.max_requests = {v}" for v in NUMBERS] + \
    [f"catch_workers_output = {v}" for v in YES_NO] + [f"env[A] = {v}" for v in TEXTS] + \
    ["listen.backlog = x", "rlimit_files = -1", "rlimit_core = -1", "rlimit_core = x", "rlimit_core = unlimited", "pm = static2", "pm = ", "pm = Static",
     *[f"listen.mode = {v}" for v in ("garbage", "0668", "0660 x", "660 # c", "o660", "-1", '"0660"', "", "rw-rw----")],
     "access.format = %Z",  # of no log
     *[f"access.log = {{dir}}/a.log\naccess.format = {v}" for v in ("%", "%R %", "%{x}", "%{x", "%{mega}M", "%Q", "%o", "%t%T")],
     "request_slowlog_trace_depth = 0", "request_slowlog_trace_depth = x",
     "env[A]", "pm.max_children", "php_flag[a] = maybe", "=5", "[x",
     "[other]\nlisten = {dir}/{name}.sock\npm = static\npm.max_children = 1\n{user}"]
GLOBAL = ["log_level = loud", "log_level = ", "log_level = Notice", "log_level = 1", "syslog.facility = nosuch", "log_limit = x", "daemonize = maybe",
          "emergency_restart_interval = 5x"]


def test_configuration(workdir, program, first, name, line, section):
    text = CONFIG % ((line, "") if section == "global" else ("", line))
    user = f"user = {USER['user']}\ngroup = {USER['group']}" if server_module.IS_ROOT else ""
    path = os.path.join(workdir, name + ".conf")
    with open(path, "w") as f:
        f.write(text.replace("{user}", user).replace("{dir}", workdir).replace("{name}", name))
    done = subprocess.run([program, *first, "-t", "-y", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
                          timeout=30, env={"PATH": "/usr/bin:/bin", "HOME": "/root", "PHP_INI_SCAN_DIR": ""})
    return done.returncode, done.stdout


test_configuration.__test__ = False


def reason(output):
    """The sentence: behind "value for entry 'x': " or "[file:line]", or PHP's own "syntax error, ..."."""
    found = re.search(r"syntax error, .*?(?= in Unknown on line \d+$|$)", output, re.M) or \
        re.search(r"(?:unable to parse|error while parsing) .*?'.*?'\s*: .*", output) or \
        re.search(r"\[pool \w+\] .*|value is NULL.*|(?<=: ).*access.format.*", output)
    return found.group(0).strip() if found else ""


@pytest.mark.parametrize("section,line", [("pool", line) for line in POOL] + [("global", line) for line in GLOBAL])
def test_same_verdict(workdir, section, line):
    theirs = test_configuration(workdir, PHP_FPM, [], "theirs", line, section)
    ours = test_configuration(workdir, server_module.PROGRAM, ["fpm"], "ours", line, section)
    assert ours[0] == theirs[0], (theirs, ours)
    if theirs[0]:
        assert reason(theirs[1]) and reason(ours[1]) == reason(theirs[1]), (theirs, ours)


@pytest.mark.parametrize("mode", ["garbage", "0668", "660 x", "0600"])
def test_mode_of_the_socket(workdir, mode):
    """As much of it as is an octal number; said, where that is not all of it."""
    with SideBySide(workdir, pool=f"listen.mode = {mode}") as pair:
        assert len({os.stat(p.address).st_mode for p in pair.programs}) == 1
        assert ("is no octal number" in pair.ours.messages()) == (mode != "0600")


def test_values_of_the_environment(workdir):
    """What scripts see of env[]: constants of PHP, quotes, words, and names with dots."""
    lines = "\n".join(["env[A] = PHP_VERSION", "env[B] = yes", "env[D] = E_WARNING | E_NOTICE", "env[E] = \"x\"y", "env[F] = a b", "env[G] = {x}",
                       "env[H] = PHP_OS", "env[I] = DIRECTORY_SEPARATOR", "env[a.b] = 1", "env[c d] = 2", "env[K] = $HOME", "env[L] = 'E_ALL'", "env[M] = PHP_INT_MAX",
                       "env[N] = 007", "env[O] = a,b:c"])
    text = """<?php $g = []; foreach (array_merge(range('A', 'O'), ['a.b', 'c d', 'a_b', 'c_d']) as $n) { $g[$n] = [getenv($n), getenv($n, true),
    $_SERVER[$n] ?? null, $_ENV[$n] ?? null]; } echo json_encode($g);"""
    with SideBySide(workdir, pool=lines, php_ini="variables_order = EGPCS\n") as pair:
        theirs, ours = pair.ask(pair.script("env.php", text))
        version = pair.ask(pair.script("version.php", "<?php echo PHP_VERSION;"))
    assert ours[0] == 200
    assert ours[1].replace(version[1][1], "VERSION") == theirs[1].replace(version[0][1], "VERSION")
