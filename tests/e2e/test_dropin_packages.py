"""php-fpm's packaged configuration with nothing but the program exchanged: Debian's directory of php8.2-fpm as it is
installed, that of php8.4 from its source package, the systemd unit's commands, logrotate's script, forty pools.

Each test has a mount namespace of its own, where /run, /var/log and /etc/php are its own and php-fpm is tokiophp.
"""
import os
import re
import signal
import socket
import subprocess

import pytest

import fcgi_client
import tokiophp as server_module
from process import Program, wait_for
from runtime import ask_build

pytestmark = pytest.mark.skipif(not server_module.IS_ROOT or server_module.is_stand_in(), reason="needs root")

PREPARE = """
set -e
mount --make-rprivate /
cp -a /etc/php {dir}/etc-php 2>/dev/null || mkdir {dir}/etc-php
mount -t tmpfs none /run
mount -t tmpfs none /var/log
mkdir -p /run/php
mkdir -p /etc/php
mount --bind {dir}/etc-php /etc/php
{more}
exec "$@"
"""


def namespace(workdir, more, command, env=None):
    script = os.path.join(workdir, "prepare.sh")
    with open(script, "w") as f:
        f.write(PREPARE.replace("{dir}", workdir).replace("{more}", more))
    return Program(["unshare", "-m", "sh", script, *command], workdir, "service.log", env=env)


class Notified:
    """systemd's end of sd_notify."""

    def __init__(self, workdir):
        self.path = workdir + "/notify.sock"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        os.chmod(self.path, 0o777)
        self.socket.settimeout(20)

    def wait(self, line):
        while True:
            got = self.socket.recv(4096).decode()
            if line in got.split("\n"):
                return got


def unit_command(text, what):
    return next(line.split("=", 1)[1] for line in text.splitlines() if line.startswith(what + "="))


def inside(program, command):
    return subprocess.run(["nsenter", "-m", "-t", str(program.pid), "sh", "-c", command], timeout=30,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def path_of(program, path):
    return f"/proc/{program.pid}/root{path}"


def read(program, path):
    with open(path_of(program, path)) as f:
        return f.read()


def check_service(workdir, program, notified, unit, socket_path, log, reopen):
    ready = notified.wait("READY=1")
    assert "STATUS=Ready to handle connections" in ready and f"MAINPID={program.pid}" in ready
    address = path_of(program, socket_path)
    script = workdir + "/www/hello.php"
    assert fcgi_client.fetch(address, script).body == b"hello"
    # ExecReload=/bin/kill -USR2 $MAINPID
    reload = unit_command(unit, "ExecReload").replace("$MAINPID", str(program.pid))
    subprocess.run(reload.split(), check=True)
    notified.wait("READY=1")
    assert "reloading: execvp(" in read(program, log) and program.running()
    assert fcgi_client.fetch(address, script).body == b"hello"
    # logrotate: the file is moved away, then the package's script asks for a new one
    inside(program, f"mv {log} {log}.1 && {reopen}")
    wait_for(lambda: "error log file re-opened" in (read(program, log) if os.path.exists(path_of(program, log)) else ""), 10,
             "the new log")
    assert fcgi_client.fetch(address, script).body == b"hello"
    return address


@pytest.mark.skipif(not os.path.exists("/etc/php/8.2/fpm/pool.d/www.conf"), reason="php8.2-fpm is not installed")
def test_debian_8_2_as_installed(workdir):
    unit = open("/lib/systemd/system/php8.2-fpm.service").read()
    notified = Notified(workdir)
    binary = unit_command(unit, "ExecStart").split()[0]
    more = f"mount --bind {os.path.abspath(server_module.PROGRAM)} {binary}"
    program = namespace(workdir, more, unit_command(unit, "ExecStart").split(), env=dict(os.environ, NOTIFY_SOCKET=notified.path))
    try:
        address = check_service(workdir, program, notified, unit, "/run/php/php8.2-fpm.sock", "/var/log/php8.2-fpm.log",
                                "/usr/lib/php/php8.2-fpm-reopenlogs")
        info = os.stat(address)
        import pwd
        www = pwd.getpwnam("www-data")
        assert (info.st_uid, info.st_gid, info.st_mode & 0o777) == (www.pw_uid, www.pw_gid, 0o660)
        with open(workdir + "/www/owner.php", "w") as f:
            f.write("<?php echo fileowner('/proc/self');")
        assert fcgi_client.fetch(address, workdir + "/www/owner.php").body == str(www.pw_uid).encode()
        assert read(program, "/run/php/php8.2-fpm.pid") == str(program.pid)
        assert program.stop(signal.SIGTERM) == 0
    finally:
        program.kill_family()


def substitute(text):
    values = {"EXPANDED_LOCALSTATEDIR": "/var", "PHP_MAJOR_VERSION": "8", "PHP_MINOR_VERSION": "4", "php_fpm_sysconfdir": "/etc/php/8.4/fpm",
              "php_fpm_user": "www-data", "php_fpm_group": "www-data", "PHP_VERSION": "8.4", "PHP_MAJOR": "8", "PHP_MINOR": "4",
              "php_fpm_prefix": "/usr", "prefix": "/usr", "EXPANDED_DATADIR": "/usr/share/php/8.4"}
    return re.sub(r"@(\w+)@", lambda m: values[m.group(1)], text)


def test_debian_8_4_from_its_source_package(workdir):
    source = ask_build("--print-source")
    if not os.path.exists(source + "/debian/php-fpm.service"):
        pytest.skip("the PHP source has no debian/ folder")
    files = {"sapi/fpm/php-fpm.conf.in": "/etc/php/8.4/fpm/php-fpm.conf", "sapi/fpm/www.conf.in": "/etc/php/8.4/fpm/pool.d/www.conf",
             "debian/php-fpm-reopenlogs": "/usr/lib/php/php8.4-fpm-reopenlogs"}
    unit = substitute(open(source + "/debian/php-fpm.service").read())
    more = "mkdir -p /etc/php/8.4/fpm/pool.d\n"
    for name, target in files.items():
        made = os.path.join(workdir, os.path.basename(target))
        with open(made, "w") as f:
            f.write(substitute(open(os.path.join(source, name)).read()))
        os.chmod(made, 0o755)
        if target.startswith("/etc"):
            more += f"cp {made} {target}\n"
    # debian/rules puts the pool's socket where the others are
    more += "sed -i 's,^listen = .*,listen = /run/php/php8.4-fpm.sock,' /etc/php/8.4/fpm/pool.d/www.conf\n"
    binary = os.path.join(workdir, "php-fpm8.4")
    os.symlink(os.path.abspath(server_module.PROGRAM), binary)
    command = unit_command(unit, "ExecStart").split()
    assert command[0] == "/usr/sbin/php-fpm8.4"
    notified = Notified(workdir)
    program = namespace(workdir, more, [binary] + command[1:], env=dict(os.environ, NOTIFY_SOCKET=notified.path))
    try:
        check_service(workdir, program, notified, unit, "/run/php/php8.4-fpm.sock", "/var/log/php8.4-fpm.log",
                      workdir + "/php8.4-fpm-reopenlogs")
        assert program.stop(signal.SIGQUIT) == 0
    finally:
        program.kill_family()


@pytest.mark.seconds(600)
def test_forty_pools_with_forty_users(workdir, tokiophp):
    """Every pool its own user (by number: no account is made), and each serves as that user."""
    with open(workdir + "/www/who.php", "w") as f:
        f.write("<?php echo posix_getuid(), ' ', posix_getgid(), ' ', implode(',', posix_getgroups()), ' ', ini_get('memory_limit');")
    config = "[global]\nerror_log = {dir}/error.log\ndaemonize = no\ninclude = {dir}/pool.d/*.conf\n"
    os.mkdir(workdir + "/pool.d")
    kinds = ["pm = ondemand", "pm = static", "pm = dynamic\npm.start_servers = 1\npm.min_spare_servers = 1\npm.max_spare_servers = 2"]
    for i in range(40):
        with open(f"{workdir}/pool.d/p{i:02}.conf", "w") as f:
            f.write(f"[p{i:02}]\nuser = {20000 + i}\ngroup = {30000 + i}\nlisten = {workdir}/$pool.sock\nlisten.mode = 0660\n"
                    f"listen.owner = {20000 + i}\nlisten.group = {30000 + i}\n{kinds[i % 3]}\npm.max_children = 2\n"
                    f"php_admin_value[memory_limit] = {64 + i}M\naccess.log = {workdir}/$pool.access.log\n")
    server = tokiophp(config=config, address=workdir + "/p39.sock")
    server.wait_message("ready to handle connections", 240)  # it starts PHP 26 times
    for i in range(40):
        address = f"{workdir}/p{i:02}.sock"
        assert fcgi_client.fetch(address, workdir + "/www/who.php").body.decode() == \
            f"{20000 + i} {30000 + i} {30000 + i} {64 + i}M"
        info = os.stat(address)
        assert (info.st_uid, info.st_gid, info.st_mode & 0o777) == (20000 + i, 30000 + i, 0o660)
    server.signal(signal.SIGUSR2)
    server.wait_message(r"(?s)reloading.*ready to handle connections", 240)
    for i in range(40):
        assert fcgi_client.fetch(f"{workdir}/p{i:02}.sock", workdir + "/www/who.php").body.decode().startswith(f"{20000 + i} ")
        wait_for(lambda: open(f"{workdir}/p{i:02}.access.log").read().count("/who.php") == 2, 5, "both lines of the access log")
    assert server.stop(signal.SIGQUIT, 240) == 0
