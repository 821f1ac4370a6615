"""The command line and configuration files, as a user meets them: exit codes, sentences, the shipped files."""
import os
import re
import subprocess

import pytest
from tokiophp import IS_ROOT, PROGRAM, ROOT, is_stand_in

pytestmark = pytest.mark.skipif(is_stand_in(), reason="tokiophp's own words")

POOL = "listen = 127.0.0.1:9000\npm = static\npm.max_children = 2\nuser = nobody\ngroup = nogroup\n"


def run(*args, program=PROGRAM, env=None, cwd=None):
    done = subprocess.run([program, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=30, env={**os.environ, **(env or {})}, cwd=cwd)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def check(tmp_path, text, *args, program=PROGRAM, env=None):
    path = tmp_path / "x.ini"
    path.write_text(text)
    return run("-t", "-y", str(path), *args, program=program, env=env)


@pytest.fixture
def as_php_fpm(tmp_path):
    link = tmp_path / "php-fpm8.4"
    link.symlink_to(os.path.abspath(PROGRAM))
    return str(link)


def test_shipped_configuration_is_valid():
    code, out, err = run("-t", "-y", os.path.join(ROOT, "tokiophp.ini"))
    assert (code, out) == (0, "")
    assert err.endswith("tokiophp.ini test is successful\n")


def test_printed_ini_is_a_valid_configuration(tmp_path):
    code, out, _ = run("--print-settings=ini")
    assert code == 0 and ";pm.max_children = 0" in out
    assert check(tmp_path, out + POOL)[0] == 0
    # and every default that it shows is one that may be written
    lines = [line[1:] for line in out.splitlines() if line.startswith(";") and not line.startswith("; ")]
    given = [line for line in lines if not line.endswith("= ")]
    start = next(i for i, line in enumerate(given) if line.startswith("process.dumpable"))
    text = "[global]\n" + "\n".join(given[:start - 1]) + "\n[www]\n" + "\n".join(given[start:]) + "\n" + POOL
    code, _, err = check(tmp_path, text)
    assert code == 0, err


def settings_table():
    """[(name, value, default, environment, whose, help)] of every setting"""
    code, out, _ = run("--print-settings=markdown")
    assert code == 0
    cells = [[c.strip().strip("`").replace("\\|", "|") for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in out.splitlines() if line.startswith("| `")]
    assert len(cells) > 100 and all(len(row) == 6 for row in cells)
    return cells


# php-fpm's own: what it accepts is accepted, and its own checks and sentences come after
OF_PHP_FPM = re.compile(r"(log_limit|emergency_restart_\w+|process_control_timeout|process\.\w+|systemd_interval|pm\.\w+|"
                        r"request_\w+|listen\.backlog|listen\.mode)$")


def test_every_setting_is_described():
    for name, value, default, _, _, text in settings_table():
        assert len(text) > 5, name
        assert value, name
        if re.match("a (number|size|time)", value) and not OF_PHP_FPM.match(name):
            assert re.search(r"from -?\d+ to \d+|of at least", value), f"{name} has no bounds"
            assert default, f"{name} has no default"


def test_bounds_hold(tmp_path):
    """One more than the most and one less than the least are refused, by name."""
    tried = 0
    for name, value, _, _, _, _ in settings_table():
        bounds = re.search(r"from (-?\d+) to (\d+)", value)
        if not bounds or name.startswith("process."):
            continue
        for number in (int(bounds[1]) - 1, int(bounds[2]) + 1):
            code, _, err = check(tmp_path, f"[www]\n{POOL}{name} = {number}\n")
            if "is not a pool setting" in err or "[global]" in err:
                code, _, err = check(tmp_path, f"[global]\n{name} = {number}\n[www]\n{POOL}")
            assert code == 78 and f"{name} = " in err, (name, number, err)
            tried += 1
    assert tried > 40


def test_every_form_names_every_setting():
    names = {row[0] for row in settings_table()}
    text, ini = run("--print-settings=text")[1], run("--print-settings=ini")[1]
    assert {line.split()[0] for line in text.splitlines() if line and line[0] not in " ["} == names
    assert {line[1:].split(" = ")[0] for line in ini.splitlines() if line.startswith(";") and line[1] != " "} == names
    man = run("--print-settings=man")[1].replace("\\-", "-")
    assert set(re.findall(r"^\.TP\n\\fB(\S+)\\fR = ", man, re.M)) == names


@pytest.mark.skipif(not os.path.exists("/etc/php"), reason="no php-fpm of the distribution")
def test_debian_configuration_is_accepted_unchanged():
    for version in sorted(os.listdir("/etc/php")):
        path = f"/etc/php/{version}/fpm/php-fpm.conf"
        if os.path.exists(path):
            code, _, err = run("-t", "-y", path)
            assert code == 0, err
            assert err.endswith(f"configuration file {path} test is successful\n")


def test_forty_pools_in_pool_d(tmp_path):
    (tmp_path / "pool.d").mkdir()
    for i in range(40):
        (tmp_path / "pool.d" / f"p{i:02}.conf").write_text(f"[p{i:02}]\n" + POOL.replace("9000", str(9100 + i)))
    code, _, err = check(tmp_path, f"[global]\ninclude = {tmp_path}/pool.d/*.conf\n", "-t")
    assert code == 0, err
    names = [line.split("NOTICE: ")[1] for line in err.splitlines() if "NOTICE: [" in line]
    assert names == ["[global]"] + [f"[p{i:02}]" for i in range(40)]


def test_mistakes_name_the_line_and_what_was_meant(tmp_path):
    code, out, err = check(tmp_path, "[www]\n" + POOL + "pm.max_childs = 3\npm.max_children = many\n")
    assert (code, out) == (78, "")
    path = tmp_path / "x.ini"
    assert f"{path}:7: pm.max_childs is not a setting; is pm.max_children meant?\n" in err
    assert f'{path}:8: pm.max_children = "many": expected a number from 1 to 65535, or auto\n' in err


def test_php_fpm_words_under_the_name_php_fpm(tmp_path, as_php_fpm):
    code, _, err = check(tmp_path, "[www]\n" + POOL + "x = 3\n", program=as_php_fpm, env={"LOG_LEVEL": "nonsense"})
    assert code == 78
    lines = [line.split("] ", 1)[1] for line in err.splitlines()]
    path = tmp_path / "x.ini"
    assert lines == [f"ERROR: [{path}:7] unknown entry 'x'", f"ERROR: failed to load configuration file '{path}'",
                     "ERROR: FPM initialization failed"]


def test_usage(as_php_fpm):
    code, out, err = run("--no-such-option", program=as_php_fpm)
    assert (code, err) == (64, "") and out.startswith("Usage:")
    code, out, err = run("--no-such-option")
    assert (code, out) == (64, "") and "unknown option '--no-such-option'" in err
    for program in (PROGRAM, as_php_fpm):
        code, out, err = run("-h", program=program)
        assert (code, err) == (0, "") and "--allow-to-run-as-root" in out


def test_missing_file_says_how_to_go_on(tmp_path):
    code, _, err = run("-p", str(tmp_path))
    assert code == 78
    assert err.count("\n") == 1 and "tokiophp serve DIR" in err and f"{tmp_path}/etc/tokiophp.ini" in err


@pytest.mark.skipif(not IS_ROOT, reason="only root must name a user")
def test_root_must_name_a_user(tmp_path):
    text = "[www]\nlisten = 127.0.0.1:9000\npm = static\npm.max_children = 2\n"
    code, _, err = check(tmp_path, text)
    assert code == 78 and "ALERT: [pool www] user has not been defined" in err
    assert check(tmp_path, text, "-R")[0] == 0
