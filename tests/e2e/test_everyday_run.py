"""Everyday tasks, running it: deploy, reload, limits, cron, a container, systemd. Each is done as the documents say:
the commands and the configuration are read from the page (support/page.py), and looked at is what somebody wants to have at the end.
`steps` are commands and edited files. Each test says what php-fpm with nginx, FrankenPHP and `php -S` need for the same; more than the
best of them is a failure."""
import json
import os
import re
import shutil
import signal
import subprocess

import pytest
import yaml
from certificate import make_cert
from everyday import daemon, get, is_healthy, log, page, pool  # noqa: F401 (a fixture)
from files import put
from page import fenced, file_of, is_command, steps
from process import Program, accepts, free_port, wait_for
from test_systemd import Systemd
from tokiophp import GROUP, IS_ROOT, ROOT, USER, is_stand_in

pytestmark = pytest.mark.skipif(is_stand_in(), reason="tokiophp's own documents")


# -- 11, 12: deploy and roll back --

def releases(one):
    for number in (41, 42):
        put(one.folder, f"srv/shop/releases/{number}/public/index.php", f"<?php require __DIR__ . '/../src.php'; echo ' of {number}';")
        put(one.folder, f"srv/shop/releases/{number}/src.php", f"<?php echo 'source {number}';")
        put(one.folder, f"srv/shop/releases/{number}/public/app.css", f"/* {number} */")
    os.symlink("releases/41", f"{one.folder}/srv/shop/current")


def test_deploy_and_roll_back(page):
    """One command each. nginx with $realpath_root and php-fpm: one; with $document_root a reload besides. FrankenPHP: a restart of its
    workers besides (2)."""
    one = page("deploy.md")
    releases(one)
    pool(one, one.under("Deploy and roll back")[1].text)
    daemon(one, 80)
    for heading, release in (("Deploy", 42), ("Roll back", 41), ("Deploy", 42)):
        before = get(one.port(80), "/any/path").text
        assert before == f"source {83 - release} of {83 - release}"
        todo = one.under(heading)
        assert steps(todo[:1]) == 1
        one.run(todo[0])
        seen = set()
        wait_for(lambda: seen.add(get(one.port(80), "/any/path").text) or f"source {release} of {release}" in seen, 30, "the new release")
        assert seen <= {before, f"source {release} of {release}"}, "no request saw parts of both"
        assert all(get(one.port(80), "/any/path").text == f"source {release} of {release}" for _ in range(20)), "it stays"
        assert get(one.port(80), "/app.css").text == f"/* {release} */"


def test_deploy_of_a_worker_script(page):
    """The same one command: FrankenPHP and Octane need a restart (2)."""
    one = page("deploy.md")
    releases(one)
    for number in (41, 42):
        put(one.folder, f"srv/shop/releases/{number}/public/index.php",
            f"<?php $n = 0; while (frankenphp_handle_request(function () use (&$n) {{ $n++; echo 'booted {number}'; }}));")
    setting = one.under("With a worker script")[0].text
    pool(one, one.under("Deploy and roll back")[1].text + setting)
    daemon(one, 80)
    one.run(one.under("Deploy")[0])
    seen = []
    wait_for(lambda: seen.append(get(one.port(80), "/any").text) or seen[-1] == "booted 42", 60, "the new release")
    assert set(seen) <= {"booted 41", "booted 42"}, seen
    put(one.folder, "srv/shop/releases/41/public/index.php", "<?php throw new Exception('no database');")
    one.run(one.under("Roll back")[0])
    wait_for(lambda: get(one.port(80), "/any").text == "booted 42" and "no database" in log(one), 60, "why it does not boot")
    assert get(one.port(80), "/any").text == "booted 42", "what does not boot does not serve"
    assert is_healthy(one)


# -- 13: reload --

def test_reload(page):
    """One command, as `systemctl reload`, and no request is lost; a file with an error changes nothing. FrankenPHP's is one, php-fpm's
    cuts what runs."""
    one = page("operations.md")
    todo = one.under("Reload")[0]
    assert steps([todo]) == 1
    put(one.folder, "srv/shop/public/index.php", "<?php usleep(1000 * (int) ($_GET['ms'] ?? 0)); echo getenv('SHOP');")
    lines = f"[shop]\nhttp.listen = 127.0.0.1:{one.port(80)}\nhttp.document_root = {one.folder}/srv/shop/public\nenv[SHOP] = "
    pool(one, lines + "one\n")
    daemon(one, 80)
    pool(one, f"[global]\nerror_log = {one.folder}/var/log/tokiophp/error.log\n" + lines + "two\n")
    slow = subprocess.Popen(["curl", "-s", f"http://127.0.0.1:{one.port(80)}/?ms=3000"], stdout=subprocess.PIPE, text=True)
    one.run(todo)
    seen = []
    wait_for(lambda: seen.append(get(one.port(80)).text) or seen[-1] == "two", 60, "the new configuration")
    assert set(seen) <= {"one", "two"}
    assert slow.communicate(timeout=60)[0] in ("one", "two"), "what ran has ended in order"
    with open(f"{one.folder}/etc/tokiophp.ini", "a") as f:
        f.write("nonsense = 1\n")
    one.run(todo)
    wait_for(lambda: "reload refused" in log(one), 30, "why not")
    assert get(one.port(80)).text == "two"


# -- 15: limit a pool --

def test_limit_a_pool(page):
    """One file and a reload (2), as with php-fpm, which needs nginx's file and its reload besides (4)."""
    one = page("pools.md")
    todo = one.under("Several pools behind one HTTP listener")[0]
    assert todo.language == "ini" and steps([todo]) == 1
    make_certs(one, "www", "shop")
    put(one.folder, "srv/www/index.php", "<?php echo 'www ', ini_get('memory_limit');")
    put(one.folder, "srv/shop/index.php", "<?php echo 'shop';")
    put(one.folder, "srv/www/heavy-report.php", "<?php echo 'heavy ', ini_get('memory_limit');")
    text = re.sub(r"(?m)^\[(\w+)\]", lambda m: f"[{m[1]}]\npm = static\npm.max_children = 2\n" + (f"user = {USER}\ngroup = {GROUP}\n" if IS_ROOT else ""), todo.text)
    with open(one.here("/etc/tokiophp.ini"), "w") as f:
        f.write(text)
    daemon(one, 80)
    assert get(one.port(80), "/heavy-report.php").text == "heavy 2G"
    assert get(one.port(80), "/index.php").text.startswith("www ") and "2G" not in get(one.port(80), "/index.php").text
    assert get(one.port(80), "/index.php", Host="shop.example.org").text == "shop"


def make_certs(one, *names):
    os.makedirs(f"{one.folder}/etc/ssl", exist_ok=True)
    for name in names:
        make_cert(f"{one.folder}/etc/ssl", name)


# -- 16: cron and the command line --

def test_cron(page):
    """A line of the pool and a reload (2); with the others a crontab (1) that knows the path of the right PHP, its php.ini and the pool's
    environment (3 lines)."""
    one = page("cron.md")
    todo = one.under("By the clock")
    assert [steps([b]) for b in todo[:2]] == [1, 1]
    put(one.folder, "srv/shop/bin/console", "#!/bin/sh\necho \"reports: $1 $SHOP\"\n")
    put(one.folder, "srv/shop/bin/clean.php", "<?php echo 'cleaned by ', PHP_SAPI, ' ', getenv('SHOP'), \"\\n\";")
    os.chmod(f"{one.folder}/srv/shop/bin/console", 0o755)
    put(one.folder, "srv/shop/index.php", "<?php echo 'shop';")
    usual = f"http.listen = 127.0.0.1:{one.port(80)}\nhttp.document_root = {one.folder}/srv/shop\nenv[SHOP] = fruit\nenv[PATH] = {one.environment['PATH']}\n"
    pool(one, "[shop]\n" + usual)
    daemon(one, 80)
    every = re.sub(r'"(\*/5 \* \* \* \*|@daily)', '"* * * * *', todo[0].text)  # once a minute, or the test waits for a day
    assert every.count("* * * * *") == 2
    pool(one, f"[global]\nerror_log = {one.folder}/var/log/tokiophp/error.log\n" + every + usual)
    one.run(todo[1])
    wait_for(lambda: "reports: app:reports fruit" in log(one) and "cleaned by cli fruit" in log(one), 100, "the first run")


def test_command_line(page):
    """One command, as `php` and `frankenphp php-cli`."""
    one = page("cron.md")
    todo = one.under("On the command line")
    assert steps([todo[0]]) == 1
    put(one.folder, "srv/shop/bin/report.php", "<?php echo PHP_SAPI, ' ', PHP_ZTS, ' ', $argv[1];")
    assert one.run(todo[0]) == "cli 1 --month=may"
    version, ini = [line for line in todo[1].text.split("\n") if " -r " in line or "--ini" in line]
    assert re.match(r"\d+\.\d+", one.run(todo[1]._replace(text=version)))
    assert "Loaded Configuration File" in one.run(todo[1]._replace(text=ini))


# -- 17: a container --

def image_says(name):
    """ENV of the image, or the words of CMD and ENTRYPOINT."""
    with open(file_of("packaging/container/Containerfile")) as f:
        value = re.search(rf"^{name} (.*)$", f.read(), re.M)[1]
    return dict(pair.split("=", 1) for pair in value.split()) if name == "ENV" else json.loads(value)


def test_container(page):
    """With the image one command, as FrankenPHP's. Its command runs here, with its variables and at its places; the image itself is built,
    and run, by `make check-container` (buildah's chroot isolation: no engine here can start a container)."""
    one = page("packaging/README.md")
    build, run = [line for b in one.under("Container, Compose, Kubernetes") for line in b.text.strip().split("\n") if is_command(line)][:2]
    assert "packaging/container/Containerfile" in build and build.endswith(" -t tokiophp .") and run.endswith(" tokiophp")
    _, place = re.search(r"-v (\S+):(\S+)", run).groups()
    put(place.strip('"'), "index.php", "<?php echo 'contained ', tokio_server_info()['workers'];")
    published = int(re.search(r"-p \S+:(\d+)", run)[1])
    variables = {name: one.here(value).replace("0.0.0.0:", "127.0.0.1:") for name, value in image_says("ENV").items()}
    given = dict(re.findall(r"-e (\w+)=(\S+)", run))
    command = fenced("```sh\n%s\n```\n" % " ".join(image_says("ENTRYPOINT") + image_says("CMD")))[0]
    program = one.start(command, **variables, **given)
    program.wait_accepting(("127.0.0.1", published))
    assert get(published).text == "contained " + given["PHP_WORKERS"]
    wait_for(lambda: is_healthy(one), 30, "its health")
    assert program.stop(signal.SIGQUIT) == 0


def test_compose(page):
    """`docker compose up`, without an engine: its command, variables, health and stop signal."""
    one = page("packaging/compose/compose.yaml")
    service = yaml.safe_load(one.text)["services"]["tokiophp"]
    put(one.folder, "var/www/html/index.php", "<?php echo 'contained ', tokio_server_info()['workers'];")
    variables = {name: one.here(value).replace("0.0.0.0:", "127.0.0.1:") for name, value in service["environment"].items()}
    program = one.start(fenced(f"```sh\ntokiophp {' '.join(service['command'])}\n```\n")[0], **variables)
    program.wait_accepting(("127.0.0.1", one.port(8080)))
    assert get(one.port(8080)).text == "contained " + variables["PHP_WORKERS"]
    assert "ok" in get(one.port(9090), "/health").text
    check = service["healthcheck"]["test"]
    assert check[0] == "CMD"
    wait_for(lambda: subprocess.run([f"{one.folder}/bin/{check[1]}", *check[2:]], env=one.environment, stdout=subprocess.DEVNULL, check=False).returncode == 0, 30,
             "its health")
    assert program.stop(getattr(signal, service["stop_signal"])) == 0


@pytest.mark.skipif(not os.environ.get("TOKIOPHP_IMAGE"), reason="no container can be started where the tests run; make check-container builds the "
                    "image and runs its command. TOKIOPHP_IMAGE=NAME runs an image by docker or podman")
def test_container_engine(page):
    engine = next(name for name in ("docker", "podman") if shutil.which(name))
    page("packaging/README.md")
    port = free_port()
    named = f"tokiophp-test-{port}"
    subprocess.run([engine, "run", "-d", "--rm", "--name", named, "-p", f"127.0.0.1:{port}:8080", os.environ["TOKIOPHP_IMAGE"]], check=True)
    try:
        wait_for(lambda: accepts(("127.0.0.1", port)), 60, "the container")
        assert get(port).status == 200
    finally:
        subprocess.run([engine, "stop", named], check=True)


# -- 18: systemd --

def unit_lines(text, name):
    return [line.split("=", 1)[1] for line in text.splitlines() if line.startswith(name + "=")]


def test_systemd(page, workdir):
    """One command, as with the packages of nginx and php-fpm (`systemctl enable --now`); FrankenPHP's is the same. No systemd is process 1 where
    the tests run: its own program checks the unit, whose commands are run as it would run them, and answers for what they say to it."""
    one = page("getting-started.md")
    config, commands = one.under("A server that stays")[:2]
    start, = [line for line in commands.text.split("\n") if "systemctl" in line]
    assert "enable --now tokiophp" in start
    with open(f"{ROOT}/etc/tokiophp.service") as f:
        unit = one.here(f.read()).replace("/usr/sbin/tokiophp", f"{workdir}/bin/tokiophp")
    with open(f"{workdir}/tokiophp.service", "w") as f:
        f.write(unit)
    if shutil.which("systemd-analyze"):
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", f"{workdir}/tokiophp.service"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=60, check=False)
        said = [line for line in done.stdout.splitlines() if "tokiophp.service" in line]
        assert done.returncode == 0 and not said, done.stdout
    put(workdir, "srv/shop/public/index.php", "<?php echo 'stays';")
    one.write(config, "/etc/tokiophp.ini")
    os.makedirs(f"{workdir}/var/log/tokiophp")
    systemd = Systemd(f"{workdir}/notify")
    environment = {**one.environment, "NOTIFY_SOCKET": f"{workdir}/notify"}
    for command in unit_lines(unit, "ExecStartPre"):
        subprocess.run(command.split(), env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    one.programs.append(Program(unit_lines(unit, "ExecStart")[0].split(), workdir, "unit.log", env=environment))
    server = one.programs[-1]
    ready = systemd.wait_line("READY=1", seconds=60)
    assert get(one.port(80), "/any").text == "stays"
    assert "www" not in one.run(commands._replace(text="tokiophp ctl status\n")) and "shop" in one.run(commands._replace(text="tokiophp ctl status\n"))
    subprocess.run(unit_lines(unit, "ExecReload")[0].replace("$MAINPID", str(server.pid)).split(), check=True)
    again = systemd.wait_line("READY=1", systemd.wait_line("RELOADING=1", ready, 60), 60)
    assert get(one.port(80), "/any").text == "stays"
    assert server.stop(getattr(signal, unit_lines(unit, "KillSignal")[0])) == 0
    systemd.wait_line("STOPPING=1", again)
    systemd.socket.close()
