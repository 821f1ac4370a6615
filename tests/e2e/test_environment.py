"""A server without a file: the variables that containers set, tried with -t and for real."""
import os
import subprocess

import pytest

import process
from http_raw import Raw, insecure
from test_tls import make_cert
from tokiophp import PROGRAM, is_stand_in

pytestmark = pytest.mark.skipif(is_stand_in(), reason="tokiophp's own words")


def clean_environment(**more):
    return {"PATH": os.environ["PATH"], **more}


def try_out(folder, *args, **env):
    """(exit code, what it says) of a test of the configuration, begun in `folder`."""
    done = subprocess.run([PROGRAM, *args, "-t"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=30, env=clean_environment(**env), cwd=folder)
    return done.returncode, done.stdout.decode()


@pytest.mark.parametrize("env", [
    {"PHP_WORKERS": "8", "INDEX_FILE": "index.php"}, {"QUEUE_CAPACITY": "10"}, {"INTERNAL_ADDR": "0.0.0.0:9090"},
    {"ACCESS_LOG": "1"}, {"STATIC_CACHE_TTL": "1w"}, {"REQUEST_TIMEOUT": "off"}, {"DRAIN_TIMEOUT_SECS": "60"},
    {"RATE_LIMIT": "100", "RATE_WINDOW": "60"}, {"USE_STUB": "1"}, {"USE_EXT": "1"}], ids=lambda env: "+".join(env))
def test_any_variable_of_the_server_is_enough(tmp_path, env):
    code, text = try_out(tmp_path, **env)
    assert code == 0 and "configuration file (none) test is successful" in text, text
    assert ("USE_EXT has no effect" in text) == ("USE_EXT" in env)


@pytest.mark.parametrize("env", [{"LOG_LEVEL": "debug"}, {"PROFILE": "1"}, {"RUST_LOG": "info"}], ids=lambda env: "+".join(env))
def test_a_variable_of_many_programs_starts_no_server(tmp_path, env):
    code, text = try_out(tmp_path, "-p", str(tmp_path), **env)
    assert code == 78 and "tokiophp serve DIR" in text, text


@pytest.mark.parametrize("level", ["critical", "emergency", "crit", "emerg", "fatal", "info", "warn", "trace"])
def test_levels_of_other_loggers(tmp_path, level):
    code, text = try_out(tmp_path, PHP_WORKERS="2", LOG_LEVEL=level)
    assert code == 0 and "ignored" not in text, text


@pytest.mark.parametrize("name,value", [("LOG_LEVEL", "verbose"), ("PROFILE", "production"), ("RUST_LOG", "tokio_php=loud"),
                                        ("EXECUTOR", "7")])
def test_a_strange_value_of_a_shared_variable_is_a_warning(tmp_path, name, value):
    code, text = try_out(tmp_path, PHP_WORKERS="2", **{name: value})
    assert code == 0, text
    assert f'WARNING: environment variable {name} = "{value.rpartition("=")[2]}" is ignored' in text, text


def test_a_strange_value_of_an_own_variable_is_an_error(tmp_path):
    code, text = try_out(tmp_path, PHP_WORKERS="many")
    assert code == 78 and 'environment variable PHP_WORKERS = "many": expected a number' in text, text


@pytest.mark.parametrize("text,shown", [("tokio_php=debug", True), ("debug", True), ("hyper=debug", False),
                                        ("hyper=debug,tokio_php=warn", False), ("warn,tokio_php=debug", True)])
def test_rust_log_sets_the_level(tmp_path, text, shown):
    code, out = try_out(tmp_path, "-t", PHP_WORKERS="2", RUST_LOG=text)
    assert code == 0
    assert ("log_level = DEBUG" in out) == shown, out


@pytest.fixture
def root(workdir):
    with open(workdir + "/www/shop.php", "w") as f:
        f.write("<?php echo $_SERVER['HTTPS'] ?? 'plain', ' ', $_SERVER['REQUEST_URI'];")
    return workdir + "/www"


@pytest.mark.parametrize("how", ["environment", "serve"])
def test_a_certificate_and_one_address_speak_tls(workdir, root, how):
    """Passwords went over the wire in clear."""
    make_cert(workdir, "one")
    address = ("127.0.0.1", process.free_port())
    text, cert = f"127.0.0.1:{address[1]}", {"PROFILE": "1", "TLS_CERT": f"{workdir}/one.pem", "TLS_KEY": f"{workdir}/one.key"}
    if how == "environment":
        command, env = [PROGRAM], clean_environment(LISTEN_ADDR=text, DOCUMENT_ROOT=root, PHP_WORKERS="2", **cert)
    else:
        command, env = [PROGRAM, "serve", root, "--listen", text, "--workers", "2"], clean_environment(**cert)
    server = process.Program(command, workdir, "serve.log", env=env)
    try:
        server.wait_accepting(address)
        with Raw(address, tls=insecure()) as raw:
            reply = raw.send("GET /shop.php HTTP/1.1\r\nHost: localhost\r\nX-Profile: 1\r\n\r\n").reply()
        assert (reply.status, reply.body) == (200, b"on /shop.php")
        assert reply.get("X-Profile-TLS-Protocol") == "TLSv1_3"
        assert f"https://localhost:{address[1]}/" in server.log()
    finally:
        server.stop()


@pytest.mark.parametrize("listen", ["127.0.0.1:8080", "127.0.0.1:8080, 127.0.0.1:8081"])
def test_a_certificate_that_no_address_uses_is_an_error(workdir, listen):
    settings = make_cert(workdir, "one")
    path = f"{workdir}/x.ini"
    with open(path, "w") as f:
        f.write(f"[www]\nuser = nobody\nhttp.listen = {listen}\nhttp.document_root = {workdir}/www\n{settings}")
    code, text = try_out(workdir, "-y", path)
    assert code == 78 and "http.tls_cert" in text and "http.tls_listen" in text, text
    with open(path, "a") as f:
        f.write("http.tls_listen = 127.0.0.1:8443\n")
    assert try_out(workdir, "-y", path)[0] == 0


def test_a_certificate_for_a_name_on_anothers_tls_address(workdir):
    settings = make_cert(workdir, "one")
    path = f"{workdir}/x.ini"
    pool = f"user = nobody\nhttp.document_root = {workdir}/www\n{settings}"
    with open(path, "w") as f:
        f.write(f"[www]\nhttp.tls_listen = 127.0.0.1:8443\n{pool}[shop]\nhttp.server_name = shop.test\n{pool}")
    code, text = try_out(workdir, "-y", path)
    assert code == 0, text
