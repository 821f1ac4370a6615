"""tokiophp under test: started with a configuration that the test gives, in a folder of its own.

The environment variable TOKIOPHP names the program (default: build/tokiophp of this tree). A php-fpm works too:
the configuration is php-fpm's dialect, and the tests that speak FastCGI only then compare the two.
"""
import os
import re
import signal as signals

from process import PATIENCE, Failure, Program, wait_for

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
PROGRAM = os.environ.get("TOKIOPHP", os.path.join(ROOT, "build/tokiophp"))
IS_ROOT = os.geteuid() == 0
USER, GROUP = "nobody", "nogroup"


def is_stand_in():
    """The program under test is a php-fpm."""
    return "fpm" in os.path.basename(PROGRAM)


class Tokiophp(Program):
    """
    pool, settings: lines for the section [www] and for [global]; a line given here replaces the default of its key.
    config: the whole text instead; {dir} stands for the folder.
    address: where it listens; a path (default), or (host, port).
    """

    def __init__(self, directory, pool="", settings="", config=None, address=None, args=(), php="", env=None, wait=True,
                 log="tokiophp.log"):
        self.error_log = os.path.join(directory, "error.log")
        self.address = address or os.path.join(directory, "fcgi.sock")
        self.config_path = os.path.join(directory, "tokiophp.ini")
        if config is None:
            config = self.default_config(pool, settings, php)
        with open(self.config_path, "w") as f:
            f.write(config.replace("{dir}", directory))
        super().__init__([PROGRAM, "-F", "-y", self.config_path, *args], directory, log, env=env)
        if wait:
            try:
                self.wait_accepting(self.address)
            except BaseException:
                self.kill_family()
                raise

    def default_config(self, pool, settings, php):
        listen = self.address if isinstance(self.address, str) else \
            ("[%s]:%d" if ":" in self.address[0] else "%s:%d") % tuple(self.address[:2])
        lines = {"listen": listen, "pm": "static", "pm.max_children": "4", "catch_workers_output": "yes"}
        if isinstance(self.address, str):
            lines["listen.mode"] = "0666"
        if IS_ROOT:
            lines.update({"user": USER, "group": GROUP})
        return "[global]\n" + self.merge({"error_log": "{dir}/error.log", "daemonize": "no"}, settings) + \
            "[www]\n" + self.merge(lines, pool) + "php_admin_value[upload_tmp_dir] = {dir}/tmp\n" \
            "php_admin_value[session.save_path] = {dir}/tmp\nphp_admin_value[sys_temp_dir] = {dir}/tmp\n" + php

    @staticmethod
    def merge(defaults, text):
        given = {line.split("=")[0].strip() for line in text.splitlines() if "=" in line}
        kept = "".join(f"{k} = {v}\n" for k, v in defaults.items() if k not in given)
        return kept + "".join(line.strip() + "\n" for line in text.splitlines())

    def messages(self):
        """Everything that it logged: error_log and its own output."""
        text = self.log()
        if os.path.exists(self.error_log):
            with open(self.error_log, errors="replace") as f:
                text += f.read()
        return text

    def wait_message(self, pattern, seconds=PATIENCE):
        return wait_for(lambda: re.search(pattern, self.messages()), seconds, f"a log line like {pattern!r}")

    def engine_pids(self):
        return self.family()[1:]

    def stop(self, number=signals.SIGTERM, seconds=PATIENCE):
        first = not self.stopped
        code = super().stop(number, seconds)
        if first and code != 0:
            raise Failure(f"tokiophp ended with {code}:\n{self.messages()[-4000:]}")
        if first and re.search(r"(Address|Thread|Leak)Sanitizer|runtime error:", self.messages()):
            raise Failure(f"a sanitizer reported:\n{self.messages()[-8000:]}")
        return code
