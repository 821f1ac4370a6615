"""A fresh Debian below a folder, made by debootstrap, for the tests of packages.

Nothing in it is started by its packages. What is mounted in it is gone before it is removed.
"""
import glob
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
SRC = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, f"{SRC}/tests/support")
from fcgi_client import fetch  # noqa: E402
from steps import must, run, verdict, wait_for  # noqa: E402

BASE = f"{SRC}/build/base-system.tar"
BASE_SECONDS = 24 * 3600
SOCKET = "/run/tokiophp/www.sock"


def mounts(root):
    """What is mounted below a folder, the last one first. (os.path.ismount() does not see a folder of the same file system.)"""
    with open("/proc/self/mountinfo") as f:
        return [line.split()[4] for line in f if line.split()[4].startswith(root + "/")][::-1]


def make_base():
    """debootstrap's work, kept for a day."""
    if os.path.exists(BASE) and time.time() - os.path.getmtime(BASE) < BASE_SECONDS:
        return
    mirror = f". {SRC}/packaging/mirror.sh; mirror_open {tempfile.gettempdir()}/tokiophp-mirror >&2 && echo $(mirror_uri \"$m_main\") $mirror_codename"
    address, codename = must("sh", "-c", mirror).split()[-2:]
    folder = tempfile.mkdtemp(prefix="tokiophp-base.")
    try:
        must("debootstrap", "--variant=minbase", codename, folder, address)
        os.makedirs(os.path.dirname(BASE), exist_ok=True)
        must("tar", "-C", folder, "--one-file-system", "-cf", BASE + ".new", ".")
        os.rename(BASE + ".new", BASE)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class System:
    """start(), said() and ask() are about the server that was installed into it."""

    def __init__(self):
        self.root = tempfile.mkdtemp(prefix="tokiophp-system.")
        self.server, self.others, self.unit = None, [], "/lib/systemd/system/tokiophp.service"

    def path(self, path):
        return self.root + path

    def chroot(self, *command, check=True):
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        return (must if check else run)("chroot", self.root, *command, env=environment)

    def apt(self, *words, check=True):
        return self.chroot("apt-get", "-q", "-y", "-o", "Dpkg::Use-Pty=0", "--no-install-recommends", *words, check=check)

    def write(self, path, text, mode=0o644):
        os.makedirs(os.path.dirname(self.path(path)), exist_ok=True)
        with open(self.path(path), "w") as f:
            f.write(text)
        os.chmod(self.path(path), mode)

    def make(self):
        make_base()
        must("tar", "-C", self.root, "-xpf", BASE)
        os.chmod(self.root, 0o755)
        for name in ("etc/resolv.conf", "etc/hosts"):
            if os.path.exists("/" + name):
                shutil.copy("/" + name, f"{self.root}/{name}")
        self.write("/etc/apt/apt.conf.d/99mirror", 'Acquire::Check-Valid-Until "false";\nAcquire::Retries "3";\n')
        self.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
        must("mount", "-t", "proc", "proc", self.path("/proc"))
        must("mount", "--bind", "/dev", self.path("/dev"))
        self.write("/var/www/html/index.php", "<?php echo json_encode(['modules' => get_loaded_extensions(), 'sapi' => PHP_SAPI]); usleep(5000);")
        os.makedirs(self.path("/packages"))
        self.apt("update")

    def bring(self, folder, revision):
        """Packages, to /packages/REVISION."""
        brought = glob.glob(f"{folder}/*.deb") + glob.glob(f"{folder}/*.rpm")
        if not brought:
            sys.exit(f"not ok there are no packages in {os.path.relpath(folder, SRC)}: make check-packages makes them")
        os.makedirs(self.path(f"/packages/{revision}"))
        for path in brought:
            shutil.copy(path, self.path(f"/packages/{revision}"))

    def packages(self, revision):
        found = sorted(p[len(self.root):] for p in glob.glob(self.path(f"/packages/{revision}/*")))
        return [p for p in found if "-dev_" not in p]

    def files(self, books):
        """All files but those of these paths, a regular expression."""
        found = set()
        for at, folders, names in os.walk(self.root):
            inner = at[len(self.root):]
            folders[:] = [f for f in folders if not books.search(f"{inner}/{f}")]
            found |= {path for path in (f"{inner}/{name}" for name in names + folders) if not books.search(path)}
        return found

    def start(self):
        """As the unit would."""
        log = open(self.path("/packages/server.log"), "a")
        ready = self.said().count("ready to handle")
        self.server = subprocess.Popen([f"{HERE}/as-unit", self.path(self.unit), self.root], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(lambda: self.server.poll() is not None or self.said().count("ready to handle") > ready)
        return self.server.poll() is None

    def beside(self, *command):
        """Another daemon in it, until the end."""
        log = open(self.path("/packages/others.log"), "a")
        self.others.append(subprocess.Popen(["chroot", self.root, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def said(self):
        return open(self.path("/packages/server.log"), errors="replace").read()

    def ask(self, script="/var/www/html/index.php"):
        return fetch(self.path(SOCKET), script)

    def reload(self):
        ready = self.said().count("ready to handle")
        self.chroot("tokiophp", "ctl", "reload")
        return wait_for(lambda: self.said().count("ready to handle") > ready)

    def end(self):
        for process in [self.server] * bool(self.server) + self.others[::-1]:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
        for path in mounts(self.root):
            run("umount", path)
        left = mounts(self.root)
        if verdict(not left, "nothing stays mounted", left) and not os.environ.get("KEEP"):
            shutil.rmtree(self.root, ignore_errors=True)


class Load(threading.Thread):
    """Asks until it is told to stop, and keeps what went wrong. ask() returns a complaint, or None."""

    def __init__(self, ask):
        super().__init__(daemon=True)
        self.ask, self.count, self.wrong, self.ends = ask, 0, [], False
        self.start()

    def run(self):
        while not self.ends:
            try:
                complaint = self.ask()
            except OSError as e:
                complaint = repr(e)
            if complaint:
                self.wrong.append(complaint)
            self.count += 1
            time.sleep(0.01)


def stop(loads):
    """(requests, complaints)"""
    for load in loads:
        load.ends = True
    for load in loads:
        load.join(60)
    return sum(load.count for load in loads), [w for load in loads for w in load.wrong]


def asks_fcgi(system):
    def ask():
        answer = system.ask()
        return None if answer.status == 200 and b"modules" in answer.body else f"status {answer.status}: {answer.body[:80]}"
    return ask


def asks_http(url, word):
    def ask():
        with urllib.request.urlopen(url, timeout=60) as answer:
            body = answer.read()
        return None if answer.status == 200 and word in body else f"status {answer.status}: {body[:80]}"
    return ask


def check_upgrade(system, upgrade, loads, least=50):
    """upgrade() under load: no request fails, and the server runs the new program in the same process."""
    ready = system.said().count("ready to handle")
    upgrade()
    replaced = wait_for(lambda: system.said().count("ready to handle") > ready)
    time.sleep(2)
    count, wrong = stop(loads)
    verdict(replaced and count > least and not wrong, f"an upgrade under load: {count} requests, {len(wrong)} failed", wrong[:5])
    program = os.stat(f"/proc/{system.server.pid}/exe").st_ino
    verdict(program == os.stat(system.path("/usr/sbin/tokiophp")).st_ino, "the server runs the new program, in the same process")
