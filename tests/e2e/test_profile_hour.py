"""The profile of the last hour, kept at a low rate: by pool, over a reload, over the control socket and the internal listener."""
import http.client
import json
import os
import re
import threading

import pytest

import process
import tokiophp as program
from inside import Inside
from test_profile import BURN, ctl, stacks

pytestmark = pytest.mark.skipif(program.is_stand_in(), reason="tokiophp's own words")

@pytest.fixture
def server(tokiophp, workdir):
    os.mkdir(workdir + "/site")
    with open(workdir + "/site/burn.php", "w") as f:
        f.write(BURN)
    return Inside(tokiophp, workdir + "/site", "http.internal_token = secret\n", settings="control_socket = {dir}/ctl.sock\n")


def kept(workdir, *words):
    done = ctl(workdir, "profile", "--last", *words)
    assert done.returncode == 0, done
    return stacks(done.stdout.decode())


def burnt(found, root):
    return sum(n for s, n in found.items() if s[:5] == ("cpu", "GET_/burn.php", root + "/burn.php", "outer", "Oven::heat"))


def test_what_ran_is_kept(server, workdir):
    """Nobody asks for it while it runs. A process that comes to rest says at once what it knows."""
    root = workdir + "/site"
    clients = [threading.Thread(target=server.site.ask, args=("/burn.php?s=8",)) for _ in range(2)]
    for t in clients:
        t.start()
    for t in clients:
        t.join()
    process.wait_for(server.server.still, 60, "rest")
    process.wait_for(lambda: burnt(kept(workdir), root) >= 9, what="samples")
    found = kept(workdir)
    assert burnt(found, root) <= 2 * 8 * 9 + 20, "nine a second"
    answer = server.get("/profile?last=600&format=folded", Authorization="Bearer secret")
    assert answer.status == 200 and burnt(stacks(answer.text), root) == burnt(found, root)
    assert burnt(stacks(server.get("/profile?last", Authorization="Bearer secret").text), root) == burnt(found, root)
    assert server.get("/profile?last").status == 401
    assert server.get("/profile?last&pool=nothing", Authorization="Bearer secret").status == 409
    scope = json.loads(ctl(workdir, "profile", "www", "--last=900", "--format", "speedscope").stdout)
    assert scope["profiles"][0]["endValue"] >= 900, "each sample stands for a ninth of a second"
    assert ctl(workdir, "profile", "nothing", "--last").returncode == 70
    # and after a reload, twice: what one image has from another it hands on
    for _ in range(2):
        before = supervisor_and_process(workdir)
        assert ctl(workdir, "reload").returncode == 0
        process.wait_for(lambda: supervisor_and_process(workdir)[1] not in (None, before[1]), what="a new process")  # noqa: B023
        assert burnt(kept(workdir), root) == burnt(found, root)
    assert server.site.ask("/burn.php?s=0").text == "burnt"


def supervisor_and_process(workdir):
    text = ctl(workdir, "status").stdout.decode()
    pid = re.search(r"process pid=(\d+) generation=\d+ state=ready", text)
    return re.search(r"supervisor pid=(\d+)", text), pid and pid.group(1)


def test_by_pool(tokiophp, workdir):
    root = workdir + "/site"
    os.mkdir(root)
    for name in ("burn.php", "other.php"):
        with open(f"{root}/{name}", "w") as f:
            f.write(BURN)
    identity = f"user = {program.USER}\ngroup = {program.GROUP}\n" if program.IS_ROOT else ""
    address = process.free_port()
    config = f"""[global]
error_log = {{dir}}/error.log
daemonize = no
control_socket = {{dir}}/ctl.sock
[www]
{identity}listen = {{dir}}/fcgi.sock
pm = static
pm.max_children = 2
http.listen = 127.0.0.1:{address}
http.document_root = {root}
[other]
{identity}listen = {{dir}}/other.sock
pm = static
pm.max_children = 2
http.server_name = other
http.document_root = {root}
"""
    server = tokiophp(config=config)

    def ask(host, target):
        c = http.client.HTTPConnection("127.0.0.1", address, timeout=60)
        c.request("GET", target, headers={"Host": host})
        assert c.getresponse().read() == b"burnt"
        c.close()
    ask("www", "/burn.php?s=7")
    ask("other", "/other.php?s=7")
    process.wait_for(lambda: kept(workdir, "www") and kept(workdir, "other"), what="samples of both pools")
    assert {s[1] for s in kept(workdir, "www")} == {"GET_/burn.php"}
    assert {s[1] for s in kept(workdir, "other")} == {"GET_/other.php"}
    assert {s[1] for s in kept(workdir)} == {"GET_/burn.php", "GET_/other.php"}
    assert server.process.poll() is None
