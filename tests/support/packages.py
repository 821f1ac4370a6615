"""PHP applications from the distribution's packages, fetched once and kept beside the PHP source. Nothing is installed."""
import os
import re
import shutil
import subprocess

from runtime import ask_build

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
# The oldest versions that know the PHP that they run on; and what else is wanted.
WANTED = {"wordpress": ("6.7",), "dokuwiki": ("2024",), "mediawiki": ("1:1.43",), "phpmyadmin": ("4:5.2.2",),
          "php-laravel-framework": ("10",), "php-symfony-framework-bundle": ("6", "php-symfony-yaml"),
          "php-symfony-runtime": ("6", "php-symfony-framework-bundle", "php-symfony-yaml", "php-symfony-twig-bundle",
                                  "php-symfony-form", "php-symfony-validator", "php-symfony-twig-bridge")}
failures = {}


class Missing(Exception):
    """The application is not to be had here; the text says why."""


def cache():
    """Where applications are kept: beside the PHP source if we may write there, else in a folder of our own."""
    base = os.path.dirname(os.path.dirname(ask_build("--print-source")))
    if not os.access(base if os.path.exists(base) else os.path.dirname(base), os.W_OK):
        base = os.path.expanduser("~/.local/share/tokiophp")
    return os.path.join(base, "applications")


def at_least(version, minimum):
    return subprocess.run(["dpkg", "--compare-versions", version, "ge", minimum]).returncode == 0


def fetch(name):
    """The folder that stands for / with the application's files in it, and its libraries'."""
    minimum, *more = WANTED[name]
    folder = os.path.join(cache(), name)
    fetched = os.path.join(folder, ".fetched")
    if os.path.exists(fetched) and at_least(open(fetched).read().strip(), minimum):
        return folder
    if name not in failures:
        command = [os.path.join(ROOT, "packaging/fetch-application"), os.path.dirname(folder), name, minimum, *more]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  timeout=150)
            failures[name] = done.stdout.strip().split("\n")[-1] if done.returncode else None
        except subprocess.TimeoutExpired:
            failures[name] = f"fetching {name} took too long"
    if failures[name]:
        raise Missing(failures[name])
    return folder


def application(name, target):
    """Copies the application to the folder `target` and its libraries to TARGET.packages, which everybody may write and
    which takes the place of / in what names it by its full path: links and PHP. Returns that second folder."""
    tree = target + ".packages"
    shutil.copytree(fetch(name), tree, symlinks=True)
    own = f"/usr/share/{name}"
    if os.path.isdir(tree + own):
        os.rename(tree + own, target)
    places = Places(tree, own, target)
    for top in filter(os.path.isdir, (target, tree)):
        for folder, folders, files in os.walk(top):
            for entry in folders + files:
                path = os.path.join(folder, entry)
                if os.path.islink(path):
                    places.move_link(path)
                elif entry in files and entry.endswith(".php"):
                    places.move_names(path)
        subprocess.run(["chmod", "-R", "a+rwX", top], check=True)
    return tree


class Places:
    """Where the files of packages are now."""

    NAMES = re.compile(rb"(?<=['\"])/(?:usr/share|etc|var/lib)/[\w.+-]+(?:/[\w.+-]+)*/?")

    def __init__(self, tree, own, target):
        self.tree, self.own, self.target = tree, own, target

    def now(self, path):
        """The place of what was installed as `path`, or None."""
        if (path + "/").startswith(self.own + "/"):
            return self.target + path[len(self.own):]
        return self.tree + path if os.path.lexists(self.tree + path.rstrip("/")) else None

    def was(self, path):
        if (path + "/").startswith(self.target + "/"):
            return self.own + path[len(self.target):]
        return path[len(self.tree):]

    def move_link(self, path):
        installed = os.path.normpath(os.path.join(os.path.dirname(self.was(path)), os.readlink(path)))
        place = self.now(installed)
        if place:
            os.unlink(path)
            os.symlink(os.path.relpath(place, os.path.dirname(path)), path)

    def move_names(self, path):
        def place(match):
            name = match.group().decode()
            return (self.now(name) or name).encode()
        text = open(path, "rb").read()
        moved = self.NAMES.sub(place, text)
        if moved != text:
            with open(path, "wb") as f:
                f.write(moved)
