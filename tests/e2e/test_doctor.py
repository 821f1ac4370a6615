"""tokiophp doctor: what will hurt is said before it does, one line each, with what to do."""
import os
import resource
import subprocess

import pytest

from process import free_port
from tokiophp import IS_ROOT, PROGRAM
from web_cases import pool_section


class Place:
    def __init__(self, workdir):
        self.dir, self.root = workdir, f"{workdir}/shop/public"
        os.makedirs(self.root)
        self.write("public/index.php", "<?php echo 1;")
        os.chmod(f"{workdir}/shop", 0o755)
        os.chmod(self.root, 0o755)

    def write(self, name, text):
        os.makedirs(os.path.dirname(f"{self.dir}/shop/{name}"), exist_ok=True)
        with open(f"{self.dir}/shop/{name}", "w") as f:
            f.write(text)

    def ask(self, lines="", php_ini="", args=(), files=65536):
        with open(f"{self.dir}/t.ini", "w") as f:
            f.write(f"[global]\nerror_log = {self.dir}/error.log\n" + pool_section(
                "www", f"http.listen = 127.0.0.1:{free_port()}\nhttp.document_root = {self.root}\n{lines}\n"))
        with open(f"{self.dir}/php.ini", "w") as f:
            f.write("memory_limit = 128M\n" + php_ini)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        return subprocess.run([PROGRAM, "doctor", *(args or [f"{self.dir}/t.ini"]), "-c", f"{self.dir}/php.ini"],
                              capture_output=True, text=True, check=False,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, hard), hard)))

    def finds(self, *words, **how):
        done = self.ask(**how)
        lines = [line for line in done.stdout.splitlines() if all(word in line for word in words)]
        assert done.returncode == 1 and len(lines) == 1, (words, done)
        return lines[0]

    def finds_not(self, word, **how):
        done = self.ask(**how)
        assert word not in done.stdout, done


@pytest.fixture
def place(workdir):
    return Place(workdir)


def test_descriptors(place):
    assert place.finds("open files", files=500).startswith("[pool www] 500 open files are too few")
    place.finds_not("open files", files=500, lines="rlimit_files = 5000")
    place.finds("open files", "needed: LimitNOFILE", lines="rlimit_files = 3000\nhttp.max_connections = 5000")


def test_extensions_that_the_application_asks_for(place):
    place.write("composer.json", '{"require": {"php": ">=8.2", "ext-json": "*", "ext-nowhere": "*"}, "require-dev": {"ext-alsonot": "*"}}')
    place.write("composer.lock", '{"packages": [{"name": "a/b", "require": {"ext-elsewhere": "*", "ext-nowhere": "*"}}],'
                                 ' "packages-dev": [{"require": {"ext-never": "*"}}]}')
    done = place.ask()
    said = [line for line in done.stdout.splitlines() if "extension" in line]
    assert done.returncode == 1 and len(said) == 2, done
    assert "composer.json asks for the extension nowhere" in said[0] and "composer.lock asks for the extension elsewhere" in said[1]
    place.write("composer.json", '{"require": {')
    place.finds("composer.json is no JSON")


def test_opcache(place):
    for i in range(300):
        place.write(f"src/{i % 7}/{i}.php", "<?php // " + "x" * 30000)
    place.write("composer.json", "{}")
    place.finds("301 scripts below", "opcache.max_accelerated_files = 200", php_ini="opcache.max_accelerated_files = 200\n")
    place.finds("opcache.memory_consumption is 8", php_ini="opcache.memory_consumption = 8\nopcache.interned_strings_buffer = 2\n")
    place.finds("OPcache is off", php_ini="opcache.enable = 0\n")


def test_memory(place):
    place.finds("[machine] 4000 workers may take", "memory_limit", "pm.max_children", lines="pm = static\npm.max_children = 4000\nrlimit_files = 65536",
                php_ini="memory_limit = 4G\n")
    place.finds("memory_limit = -1", lines="php_admin_value[memory_limit] = -1")


@pytest.mark.skipif(not IS_ROOT, reason="needs root")
def test_the_way_to_the_scripts(place):
    place.finds_not("may not")
    os.chmod(f"{place.dir}/shop", 0o700)
    line = place.finds("may not enter", f"{place.dir}/shop (mode 0700)")
    assert f"setfacl -m u:nobody:x {place.dir}/shop" in line
    os.chmod(f"{place.dir}/shop", 0o711)
    os.chmod(place.root, 0o711)
    place.finds("may not read", place.root)


def test_what_php_says(place):
    place.finds("PHP says at its start", "nowhere.so", php_ini="extension = /nowhere.so\n")


def test_a_folder_and_a_file_that_is_no_good(place):
    place.write("composer.json", '{"require": {"ext-nowhere": "*"}}')
    place.finds("the extension nowhere", args=[f"{place.dir}/shop"])
    done = place.ask(lines="pm.max_childen = 3")
    assert done.returncode == 78 and "is pm.max_children meant?" in done.stdout + done.stderr
    done = place.ask(args=[f"{place.dir}/nothing.ini"])
    assert done.returncode == 78
