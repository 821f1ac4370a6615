"""Certificates that are renewed while the server runs: who does so only writes the files."""
import os
import shutil
import signal
import socket
import ssl

import pytest

from certificate import make_cert
from http_raw import Raw, insecure
from process import free_port, wait_for
from web_cases import pool_section


class Served:
    """Two pools with TLS, and a host of a third one on both addresses."""

    def __init__(self, workdir, tokiophp, other=None):
        """other: that pool's lines in place of a certificate of its own."""
        self.dir = workdir
        os.mkdir(f"{workdir}/certs")
        os.mkdir(f"{workdir}/site")
        with open(f"{workdir}/site/x.php", "w") as f:
            f.write("<?php echo getmypid();")
        self.ports = free_port(), free_port()
        self.make("old")
        self.make("host", "host.example")
        self.make("other")
        for link in ("cert", "key"):
            os.symlink(f"old.{'pem' if link == 'cert' else 'key'}", f"{workdir}/certs/{link}")
        root = f"http.document_root = {workdir}/site\n"
        self.server = tokiophp(address=("127.0.0.1", self.ports[0]), config=(
            f"[global]\nerror_log = {workdir}/error.log\ndaemonize = no\n" +
            pool_section("one", f"http.tls_listen = 127.0.0.1:{self.ports[0]}\n{root}http.tls_cert = {workdir}/certs/cert\n"
                                f"http.tls_key = {workdir}/certs/key\n") +
            pool_section("host", f"http.server_name = host.example\n{root}{self.names('host')}") +
            pool_section("other", f"http.tls_listen = 127.0.0.1:{self.ports[1]}\n{root}{other or self.names('other')}")))
        self.server.wait_message("ready to handle connections", 60)

    def names(self, name):
        return f"http.tls_cert = {self.dir}/certs/{name}.pem\nhttp.tls_key = {self.dir}/certs/{name}.key\n"

    def make(self, name, san="localhost"):
        make_cert(f"{self.dir}/certs", name, san)

    def shown(self, port=0, sni="localhost"):
        """The certificate that a client meets."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", self.ports[port]), timeout=20) as plain, context.wrap_socket(plain, server_hostname=sni) as s:
            return s.getpeercert(True)

    def engine(self, port=0):
        with Raw(("127.0.0.1", self.ports[port]), tls=insecure()) as raw:
            return raw.send("GET /x.php HTTP/1.1\r\nHost: localhost\r\n\r\n").reply().body

    def of(self, name):
        with open(f"{self.dir}/certs/{name}.pem", encoding="ascii") as f:
            return ssl.PEM_cert_to_DER_cert(f.read())

    def becomes(self, name, **who):
        wait_for(lambda: self.shown(**who) == self.of(name), 60, f"{name}'s certificate")


@pytest.fixture
def served(workdir, tokiophp):
    return Served(workdir, tokiophp)


def link(served, name, target):
    """As certbot does: the new files stand beside the old ones, and the link is made anew."""
    os.symlink(target, f"{served.dir}/certs/{name}.new")
    os.rename(f"{served.dir}/certs/{name}.new", f"{served.dir}/certs/{name}")


def test_links_that_lead_elsewhere(served):
    other = served.engine(1)
    with Raw(("127.0.0.1", served.ports[0]), tls=insecure()) as kept:
        ask = "GET /x.php HTTP/1.1\r\nHost: localhost\r\n\r\n"
        before = kept.send(ask).reply().body
        served.make("new")
        link(served, "cert", "new.pem")
        link(served, "key", "new.key")
        served.becomes("new")
        assert served.engine() != before
    assert served.shown(1) == served.of("other") and served.engine(1) == other, "a neighbour has nothing to do with it"


def test_files_that_are_written_anew(served):
    before = served.shown(sni="host.example")
    served.make("host", "host.example") # the key first, then the certificate, both in place
    served.becomes("host", sni="host.example")
    assert served.shown(sni="host.example") != before and served.shown() == served.of("old")


def test_a_mounted_secret(served):
    """A folder behind a link behind a link, which is what changes."""
    folder = f"{served.dir}/certs"
    for version in ("1", "2"):
        os.mkdir(f"{folder}/..{version}")
        make_cert(f"{folder}/..{version}", "tls")
    link(served, "..data", "..1")
    link(served, "cert", "..data/tls.pem")
    link(served, "key", "..data/tls.key")
    served.becomes("..1/tls")
    for version in ("2", "1"):
        link(served, "..data", f"..{version}")
        served.becomes(f"..{version}/tls")


def test_what_is_no_good_changes_nothing(served):
    before, process = served.shown(1), served.engine(1)
    shutil.copy(f"{served.dir}/certs/host.key", f"{served.dir}/certs/other.key")
    served.server.wait_message(r"pool other\] cannot use the private key .*other\.key", 60)
    served.server.wait_message(r"pool other\] its certificates have changed, but cannot be used", 60)
    with open(f"{served.dir}/certs/other.pem", "w", encoding="ascii") as f:
        f.write("nonsense")
    served.server.wait_message(r"cannot use the certificate .*other\.pem", 60)
    assert (served.shown(1), served.engine(1)) == (before, process)
    served.make("host", "host.example") # which is good in the same turn
    served.becomes("host", sni="host.example")
    served.becomes("host", port=1, sni="host.example") # a name of each address
    assert served.shown(1) == before
    served.make("other")
    served.becomes("other", port=1)


def write_passwords(folder, hash_):
    with open(f"{folder}/passwords", "w", encoding="ascii") as f:
        f.write(f"ann:{hash_}\n")


def test_what_pools_share(workdir, tokiophp):
    """One certificate of two pools on addresses of their own: both show the new one, and one that has something else that is no good
    does not keep it from the other, or from itself."""
    certs = workdir + "/certs"
    write_passwords(workdir, "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=")
    make_cert(workdir, "further", "further.example")
    served = Served(workdir, tokiophp, other=f"http.tls_cert = {certs}/cert\nhttp.tls_key = {certs}/key\n"
                    f"http.tls_certs = {workdir}/further.pem:{workdir}/further.key\nhttp.basic_auth[/secret] = {workdir}/passwords\n")

    def renew(name):
        served.make(name)
        link(served, "cert", name + ".pem")
        link(served, "key", name + ".key")
        served.becomes(name)
        served.becomes(name, port=1)

    renew("new")
    write_passwords(workdir, "nonsense")
    served.server.wait_message(r"pool other\] its passwords have changed, but cannot be used", 60)
    renew("newer")
    further = served.shown(1, sni="further.example")
    with open(f"{workdir}/further.key", "w", encoding="ascii") as f:
        f.write("nonsense")
    served.server.wait_message(r"pool other\] its certificates have changed, but cannot be used", 60)
    renew("newest")
    assert served.shown(1, sni="further.example") == further


def test_what_stands_beside_them_is_nobodys_business(served):
    process = served.engine()
    for name in ("notes.txt", "other.pem.bak"):
        with open(f"{served.dir}/certs/{name}", "w", encoding="ascii") as f:
            f.write("x")
    served.make("other")
    served.becomes("other", port=1)
    assert served.engine() == process


def test_what_changes_during_a_reload(served):
    """Whichever image has read it last, and beside background tasks, whose pools have no certificates."""
    with open(f"{served.dir}/site/task.php", "w", encoding="utf-8") as f:
        f.write("<?php while (!tokio_task_should_stop()) { sleep(1); }")
    for path, _, names in os.walk(served.dir):
        for name in names:
            if name.endswith(".ini"):
                with open(os.path.join(path, name), "a", encoding="utf-8") as f:
                    f.write(f"task.script[one] = {served.dir}/site/task.php\n")
    served.server.signal(signal.SIGUSR2)
    wait_for(lambda: "Reloading in progress" in served.server.messages() or served.server.messages().count("fpm is running") > 1, 60, "the reload")
    served.make("other")
    served.becomes("other", port=1)
