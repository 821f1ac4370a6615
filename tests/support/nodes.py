"""Three machines for a test: network namespaces on one bridge, or, where those are not to be had, three loopback addresses.

    with Machines() as machines:
        machines.hosts          ["10.77.3.2", ...]; machines.here is the address of the test's own side
        machines.inside(0)      what a command line begins with to run on machine 0
        machines.why            None, or why these are no namespaces
"""
import os
import random
import shutil
import subprocess

COUNT = 3


def _run(*words):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(words)}: {done.stdout.strip()}")


class Machines:
    def __init__(self):
        self.name = f"tk{os.getpid()}"
        self.net = f"10.{random.randrange(64, 128)}.{random.randrange(1, 255)}"
        self.hosts, self.why = [], None

    def __enter__(self):
        try:
            if os.geteuid() != 0 or not shutil.which("ip"):
                raise OSError("only root has network namespaces")
            self._make()
        except OSError as e:
            self.why = str(e)
            self._remove()
            self.here, self.hosts = "127.0.0.1", [f"127.0.0.{i + 2}" for i in range(COUNT)]
            print(f"three loopback addresses instead of namespaces: {self.why}")
        return self

    def __exit__(self, *_):
        self._remove()

    def _make(self):
        self.here, bridge = f"{self.net}.1", f"{self.name}b"
        _run("ip", "link", "add", bridge, "type", "bridge")
        _run("ip", "address", "add", f"{self.here}/24", "dev", bridge)
        _run("ip", "link", "set", bridge, "up")
        for i in range(COUNT):
            name, host = f"{self.name}n{i}", f"{self.net}.{i + 2}"
            _run("ip", "netns", "add", name)
            _run("ip", "link", "add", f"{name}h", "type", "veth", "peer", "name", "eth0", "netns", name)
            _run("ip", "link", "set", f"{name}h", "master", bridge, "up")
            _run("ip", "-n", name, "address", "add", f"{host}/24", "dev", "eth0")
            _run("ip", "-n", name, "link", "set", "eth0", "up")
            _run("ip", "-n", name, "link", "set", "lo", "up")
            self.hosts.append(host)

    def _remove(self):
        """The namespaces' ends of the links go with the ends on this side."""
        for words in [("ip", "link", "delete", f"{self.name}n{i}h") for i in range(COUNT)] + \
                [("ip", "netns", "delete", f"{self.name}n{i}") for i in range(COUNT)] + [("ip", "link", "delete", f"{self.name}b")]:
            try:
                _run(*words)
            except OSError:
                pass

    def inside(self, number):
        return [] if self.why else ["nsenter", f"--net=/run/netns/{self.name}n{number}"]

    def cut(self, number):
        """Nothing is heard of it any more, as if it had lost its power."""
        _run("ip", "link", "set", f"{self.name}n{number}h", "down")
