"""The same scripts run by a php-fpm and by tokiophp, with the same configuration.

The php-fpm is the runtime's own release without threads where packaging/php-zts/build has made one, else the
distribution's.
"""
import glob
import os

import fcgi_client
import tokiophp as server_module
from process import Program, stop_all
from runtime import ask_build, release

OURS = release(server_module.PROGRAM)


def find_php_fpm():
    own = ask_build("--print-prefix", "--nts") + "/sbin/php-fpm"
    candidates = [own, f"/usr/sbin/php-fpm{OURS}", *sorted(glob.glob("/usr/sbin/php-fpm8*"), reverse=True)]
    return next((c for c in candidates if os.path.exists(c)), None)


PHP_FPM = find_php_fpm()
THEIRS = release(PHP_FPM) if PHP_FPM else None
# Why what changed between releases of PHP cannot be compared; None: it can.
OTHER_RELEASE = None if THEIRS == OURS else f"the php-fpm to compare with is {THEIRS}, this is PHP {OURS}: packaging/php-zts/build " \
    "--with-nts-fpm makes one of the same release"
WHY_NOT = "the program under test is a php-fpm" if server_module.is_stand_in() else None if PHP_FPM else "no php-fpm to compare with"
CONFIG = """
[global]
error_log = {dir}/{name}-error.log
daemonize = no
[www]
{user}
listen = {dir}/{name}.sock
listen.mode = 0666
pm = static
pm.max_children = {children}
catch_workers_output = yes
php_value[display_errors] = 1
php_value[html_errors] = 0
{temp}
php_admin_value[upload_tmp_dir] = {dir}/tmp
{more}
"""


class Both:
    """names: "theirs", "ours". Each runs its scripts in a folder of its own, www-NAME, in which it may write."""

    def __init__(self, directory, pool="", children=8, env=None, temp=True):
        self.directory, self.programs = directory, {}
        for name, program in (("theirs", PHP_FPM), ("ours", server_module.PROGRAM)):
            root = self.root(name)
            os.mkdir(root)
            os.chmod(root, 0o777)
            path = os.path.join(directory, f"{name}.conf")
            user = f"user = {server_module.USER}\ngroup = {server_module.GROUP}" if server_module.IS_ROOT else ""
            with open(path, "w") as f:
                f.write(CONFIG.format(dir=directory, name=name, user=user, children=children,
                                      temp="php_admin_value[sys_temp_dir] = {}/tmp".format(directory) if temp else "",
                                      more=pool.replace("{root}", root)))
            self.programs[name] = Program([program, "-F", "-y", path], directory, f"{name}.log", env=env)
        for name, program in self.programs.items():
            program.wait_accepting(self.address(name))

    def root(self, name):
        return os.path.join(self.directory, f"www-{name}")

    def address(self, name):
        return os.path.join(self.directory, f"{name}.sock")

    def write(self, script, text, mode=0o644):
        for name in self.programs:
            path = os.path.join(self.root(name), script)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as f:
                f.write(text)
            os.chmod(path, mode)

    def ask(self, name, script, timeout=30, **how):
        with fcgi_client.Connection(self.address(name), timeout) as c:
            return c.request(os.path.join(self.root(name), script), **how)

    def say(self, name, script, **how):
        """The answer's text, with what is the server's own name taken out."""
        text = self.ask(name, script, **how).body.decode("utf-8", "replace")
        return text.replace(self.root(name), "ROOT")

    def version(self, name):
        self.write("version.php", "<?php echo PHP_VERSION;")
        return self.say(name, "version.php")

    def directory_is_real(self):
        """Whether libphp leaves its path functions to tokiophp, so that a script's directory is the kernel's, too."""
        self.write("directory.php", "<?php chdir('/usr'); echo readlink('/proc/thread-self/cwd');")
        return self.say("ours", "directory.php") == "/usr"

    def error_log(self, name):
        with open(os.path.join(self.directory, f"{name}-error.log"), errors="replace") as f:
            return f.read()

    def stop(self):
        stop_all(list(self.programs.values()))
