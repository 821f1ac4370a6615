"""The php-fpm of both.py and tokiophp with any configuration, php.ini and environment, asked the same for the same files.

    with SideBySide(workdir, pool="clear_env = no", php_ini="memory_limit = ${MEM}", env={"MEM": "77M"}) as pair:
        theirs, ours = pair.ask("www/t.php", PHP_VALUE="precision=3")

{dir} in texts is the folder, {name} the program's ("theirs", "ours").
"""
import os

import fcgi_client
import tokiophp as server_module
from both import PHP_FPM
from process import PATIENCE, Program

CONFIG = {"listen": "{dir}/{name}.sock", "listen.mode": "0666", "pm": "static", "pm.max_children": "1",
          "catch_workers_output": "yes"}
USER = {"user": server_module.USER, "group": server_module.GROUP}


class One(Program):
    def __init__(self, workdir, name, pool, php_ini, env, args, settings):
        self.address = f"{workdir}/{name}.sock"
        self.error_log = f"{workdir}/{name}-error.log"
        program, first = {"theirs": (PHP_FPM, []), "ours": (server_module.PROGRAM, ["fpm"])}[name]
        lines = {**CONFIG, **(USER if server_module.IS_ROOT else {})}
        text = "[global]\nerror_log = {dir}/{name}-error.log\ndaemonize = no\n" + settings + "\n[www]\n" + \
            server_module.Tokiophp.merge(lines, pool)
        config = os.path.join(workdir, name + ".conf")
        with open(config, "w") as f:
            f.write(text.replace("{dir}", workdir).replace("{name}", name))
        options = ["-F", "-y", config]
        if php_ini is not None:
            with open(f"{workdir}/{name}.php.ini", "w") as f:
                f.write(php_ini.replace("{dir}", workdir).replace("{name}", name))
            options += ["-c", f"{workdir}/{name}.php.ini"]
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "PHP_INI_SCAN_DIR": "", **(env or {})}
        super().__init__([program, *first, *options, *args], workdir, name + ".log", env=environment, cwd=workdir)

    def messages(self):
        text = self.log()
        if os.path.exists(self.error_log):
            with open(self.error_log, errors="replace") as f:
                text += f.read()
        return text


class SideBySide:
    def __init__(self, workdir, pool="", php_ini="", env=None, args=(), settings="", wait=True, theirs="", ours=""):
        """theirs, ours: more lines for one of them."""
        self.workdir, self.programs = workdir, []
        try:
            for name in ("theirs", "ours"):
                self.programs.append(One(workdir, name, pool + "\n" + {"theirs": theirs, "ours": ours}[name], php_ini, env, args,
                                         settings))
            for program in self.programs if wait else ():
                program.wait_accepting(program.address)
        except BaseException:
            self.__exit__()
            raise
        self.theirs, self.ours = self.programs

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for program in self.programs:
            program.kill_family()

    def script(self, name, text):
        path = os.path.join(self.workdir, "www", name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def ask(self, path, **how):
        return [self.one(p, path, how) for p in self.programs]

    @staticmethod
    def one(program, path, how):
        """(status, body), or (None, "") where the connection ends without an answer. Who says nothing at all has failed,
        and has longer than a limit of processor time may take on a busy machine."""
        try:
            with fcgi_client.Connection(program.address, 3 * PATIENCE) as c:
                got = c.request(script=path, **how)
            return got.status, got.body.decode(errors="replace")
        except TimeoutError:
            raise
        except (OSError, AssertionError):
            return None, ""
