"""What an image runs as an orchestrator would: as process 1 of its own, with the image's user and variables, no capability, and a
root file system that cannot be written; /tmp and /run are in memory."""
import contextlib
import os
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from process import free_port  # noqa: E402
from steps import wait_for  # noqa: E402

# The image has this machine's network: others may listen there as well.
PORT, TLS_PORT, INTERNAL = free_port(), free_port(), free_port()

ENTER = """
set -eu
root=$1 directory=$2; shift 2
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -o remount,bind,ro "$root"
exec chroot "$root" setpriv --reuid=www-data --regid=www-data --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all \\
    --pdeathsig=KILL sh -c 'cd "$0" && exec "$@"' "$directory" "$@"
"""


def ask(path="/", port=PORT, **fields):
    """(status, fields, body); (0, {}, why) without an answer."""
    scheme = "https" if port == TLS_PORT else "http"
    wanted = urllib.request.Request(f"{scheme}://127.0.0.1:{port}{path}", headers={k.replace("_", "-"): v for k, v in fields.items()})
    context = ssl._create_unverified_context() if port == TLS_PORT else None
    try:
        with urllib.request.urlopen(wanted, timeout=20, context=context) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as e:
        with e:
            return e.code, e.headers, e.read()
    except OSError as e:
        return 0, {}, repr(e).encode()


class Server:
    """The image's command; outer is unshare, which ends with it."""

    def __init__(self, root, config, folder, variables, command=None):
        environment = dict(e.split("=", 1) for e in config["Env"])
        environment.update({"LISTEN_ADDR": f"127.0.0.1:{PORT}", "PHP_WORKERS": "2", **variables})
        words = [*config["Entrypoint"], *(command or config["Cmd"])]
        self.log_path, self.root, self.environment = os.path.join(folder, "server.log"), root, environment
        with open(self.log_path, "w") as log:
            self.outer = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, "sh", root, config["WorkingDir"], "env", "-i",
                 *(f"{k}={v}" for k, v in environment.items()), *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def pid(self):
        """Of process 1 of the image, as it is numbered here; None: there is none."""
        try:
            with open(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children") as f:
                children = f.read().split()
        except OSError:
            return None
        return int(children[0]) if children else None

    def inside(self, path):
        """Where a file of the image is seen from here."""
        return f"/proc/{self.pid()}/root" + path

    def run(self, *words):
        """As the orchestrator's exec."""
        return subprocess.run(["nsenter", f"--target={self.pid()}", "--mount", "--pid", "--root", "--setuid=33", "--setgid=33", "env", "-i",
                               *(f"{k}={v}" for k, v in self.environment.items()), *words], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)

    def end(self, number=signal.SIGTERM, seconds=60):
        """Its exit code."""
        pid = self.pid()
        if pid:
            os.kill(pid, number)
        try:
            return self.outer.wait(seconds)
        except subprocess.TimeoutExpired:
            return None


@contextlib.contextmanager
def serving(root, config, folder, path="/", port=PORT, command=None, **variables):
    """A server that answers."""
    server = Server(root, config, folder, variables, command)
    try:
        if not wait_for(lambda: ask(path, port)[0] or server.outer.poll() is not None):
            print(f"    no answer: {server.log()[-800:]}")
        yield server
    finally:
        if server.outer.poll() is None and server.end() is None:
            server.outer.kill()  # --pdeathsig (--kill-child does not outlive another user): the image's processes end with it
            server.outer.wait()
