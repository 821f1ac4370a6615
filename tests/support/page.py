"""A page of the documents, followed by a test as a newcomer would follow it.

    page = Page("deploy.md", folder)
    todo = page.under("Deploy")            the fenced blocks below that heading, in their order
    page.run(todo[0])                      commands, by sh -e; its output
    page.start(todo[0], "server.log")      commands that stay in the foreground
    page.write(todo[1], "/etc/tokiophp.ini")
    steps(todo)                            commands and files, which is what tests count

What a page says is taken as it stands, but for this, which is all of the substitution:
  * places. What lies below /etc, /run, /srv, /var/log, /var/www and /usr/share/tokiophp lies below the test's folder instead
  * ports. `:PORT` behind an address or a name, and `--listen PORT`, become a free port, the same one wherever the page says PORT
  * programs. `tokiophp`, `build/tokiophp` and `tokiophp-php` are those under test; `curl` finds example.org and its like here
  * users. www-data is nobody where there is none; a server that root does not start has no user to become
  * words that a page leaves to its reader (TOKEN), which the test gives: words={"TOKEN": "..."}
"""
import collections
import grp
import os
import pwd
import re
import stat
import subprocess

import process
from tokiophp import GROUP, IS_ROOT, PROGRAM, ROOT, USER

PLACES = ("etc", "run", "srv", "var/log", "var/www", "usr/share/tokiophp")
Block = collections.namedtuple("Block", "language text")


def file_of(page):
    return os.path.join(ROOT, page if "/" in page or page == "README.md" else f"docs/{page}")


def section(text, heading):
    """What stands below a heading, down to the next one that is not below it."""
    inside, depth, fenced, lines = False, 0, False, []
    for line in text.split("\n"):
        fenced ^= line.startswith("```")
        found = None if fenced else re.match(r"(#+) (.*)$", line)
        if found and inside and len(found[1]) <= depth:
            break
        if found and found[2].strip() == heading:
            inside, depth = True, len(found[1])
        elif inside:
            lines.append(line)
    assert inside, f"there is no heading {heading!r}"
    return "\n".join(lines)


def fenced(text):
    return [Block(language, body) for language, body in re.findall(r"^```(\S*)\n(.*?)^```$", text, re.M | re.S)]


def is_command(line):
    return line.strip() and not line.lstrip().startswith("#")


def steps(blocks):
    """Commands that are typed, and files that are edited. Lines that go on count once."""
    commands = [line for b in blocks if b.language == "sh" for line in b.text.replace("\\\n", " ").split("\n") if is_command(line)]
    return len(commands) + len([b for b in blocks if b.language not in ("sh", "text")])


def exists(find, name):
    try:
        return bool(find(name))
    except KeyError:
        return False


class Page:
    ports = {}  # of this test; a fixture empties it

    def __init__(self, name, folder, words=None):
        self.name, self.folder, self.words, self.programs = name, folder, words or {}, []
        with open(file_of(name)) as f:
            self.text = f.read()
        for place in PLACES:
            os.makedirs(f"{folder}/{place}", exist_ok=True)
        self.environment = {"PATH": f"{folder}/bin:{os.environ['PATH']}", "HOME": folder, "LANG": "C.UTF-8", "RUNTIME_DIRECTORY": f"{folder}/run",
                            "CURL_HOME": folder, "BUILD": os.environ.get("BUILD", os.path.join(ROOT, "build"))}
        self.make_programs()

    # -- the substitution --

    def port(self, number):
        number = int(number)
        if number not in self.ports:
            self.ports[number] = process.free_port()
        return self.ports[number]

    def here(self, text):
        text = re.sub(r"(?<![\w./-])/(?=(?:%s)(?:/|\b))" % "|".join(PLACES), f"{self.folder}/", text)
        text = re.sub(r"(?<=[\w\].]:)(\d{2,5})\b(?!:)", lambda m: str(self.port(m[1])), text)
        text = re.sub(r"(?<=--listen )(\d{2,5})\b", lambda m: str(self.port(m[1])), text)
        text = re.sub(r"(?<![\w/.-])build/tokiophp\b", "tokiophp", text)
        if not exists(pwd.getpwnam, "www-data") or not exists(grp.getgrnam, "www-data"):
            text = re.sub(r"(?m)^(\w+\s*=\s*)www-data$", lambda m: m[1] + (GROUP if m[1].startswith("group") else USER), text)
        if not IS_ROOT:
            text = re.sub(r"(?m)^(user|group)\s*=.*\n", "", text)
        for word, value in self.words.items():
            text = re.sub(rf"\b{word}\b", value, text)
        return text

    def make_programs(self):
        os.makedirs(f"{self.folder}/bin", exist_ok=True)
        self.program("tokiophp", f'exec "{os.path.abspath(PROGRAM)}" "$@"')
        self.program("tokiophp-php", f'exec "{os.path.abspath(PROGRAM)}" php "$@"')

    def program(self, name, commands):
        path = f"{self.folder}/bin/{name}"
        with open(path, "w") as f:
            f.write(f"#!/bin/sh\n{commands}\n")
        os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)

    def names_are_here(self, *names, certificate=None):
        """For curl: these hosts, at the ports that a URL means, are those of the server under test."""
        with open(f"{self.folder}/.curlrc", "w") as f:
            for name in names:
                for number in (80, 443):
                    f.write(f'connect-to = "{name}:{number}:127.0.0.1:{self.port(number)}"\n')
            if certificate:
                f.write(f'cacert = "{certificate}"\n')

    # -- what stands there --

    def under(self, heading):
        found = [Block(b.language, self.here(b.text)) for b in fenced(section(self.text, heading))]
        assert found, f"{self.name}, {heading}: there is nothing to do"
        return found

    # -- doing it --

    def run(self, block, good=True):
        assert block.language == "sh", block
        done = subprocess.run(["sh", "-e", "-c", block.text], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600, check=False)
        assert not good or done.returncode == 0, f"{block.text}\n{done.returncode}: {done.stdout[-3000:]}"
        return done.stdout

    def start(self, block, log="page.log", **environment):
        """The one command of the block, which goes on."""
        command, = [line for line in block.text.replace("\\\n", " ").split("\n") if is_command(line)]
        self.programs.append(process.Program(["sh", "-c", f"exec {command}"], self.folder, log, cwd=self.folder, env={**self.environment, **environment}))
        return self.programs[-1]

    def write(self, block, path, append=False):
        """The block is what a reader puts into that file."""
        path = self.here(path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "a" if append else "w") as f:
            f.write(block.text)
        return path

    def stop(self):
        for program in reversed(self.programs):
            program.stop()
