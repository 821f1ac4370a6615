"""What the server remembers: the last hour, slow scripts and those with errors; and the orders that its pages take."""
import json
import os
import subprocess

import pytest

import process
import tokiophp as program
from inside import Inside

pytestmark = pytest.mark.skipif(program.is_stand_in(), reason="tokiophp's own pages")
SLOW = "<?php usleep((int)($_GET['ms'] * 1000)); echo getmypid();"
BAD = "<?php trigger_error('oh ' . $_GET['n'], E_USER_WARNING); echo 'bad';"


@pytest.fixture
def root(workdir):
    os.mkdir(workdir + "/site")
    for name, text in (("slow.php", SLOW), ("bad.php", BAD), ("fast.php", "<?php echo 'fast';")):
        with open(f"{workdir}/site/{name}", "w") as f:
            f.write(text)
    return workdir + "/site"


def inside(tokiophp, root, **how):
    return Inside(tokiophp, root, "http.internal_token = secret\nphp_admin_value[log_errors] = 1\nphp_admin_value[display_errors] = 0\n", **how)


def told(server, path):
    answer = server.get(path, Authorization="Bearer secret")
    assert answer.status == 200, (answer.status, answer.text)
    return json.loads(answer.text)["pools"]


def scripts(server):
    return {os.path.basename(row["script"]): row for row in told(server, "/scripts.json")[0]["scripts"]}


def steps(server):
    answer = json.loads(server.get("/history.json", Authorization="Bearer secret").text)
    return [dict(zip(answer["fields"], step)) for step in answer["pools"][0]["steps"]]


def test_slow_scripts_and_errors(tokiophp, root):
    server = inside(tokiophp, root)
    for target in ("/slow.php?ms=30", "/slow.php?ms=800", "/fast.php", "/bad.php?n=1", "/bad.php?n=2"):
        assert server.site.ask(target).status == 200
    def counted():
        rows = scripts(server)
        return rows if rows.get("slow.php", {}).get("requests") == 2 and rows.get("bad.php", {}).get("errors") == 2 else None
    found = process.wait_for(counted, 15, "rows")
    slow, bad = found["slow.php"], found["bad.php"]
    assert 800000 <= slow["max_us"] < 5000000 and slow["total_us"] >= 830000 and slow["uri"] == "/slow.php" and slow["errors"] == 0
    assert bad["errors"] == 2 and "oh 2" in bad["message"]
    assert told(server, "/scripts.json")[0]["scripts"][0]["script"].endswith("slow.php"), "the slowest stands first"


def test_only_so_many(tokiophp, root):
    for i in range(90):
        with open(f"{root}/{i}.php", "w") as f:
            f.write("<?php usleep(2000 + 1000 * (int)%d); echo 1;" % (i // 30))
    server = inside(tokiophp, root)
    for i in range(90):
        assert server.site.ask(f"/{i}.php").status == 200
    assert 40 <= len(scripts(server)) <= 64


def test_the_last_hour_survives_a_reload(tokiophp, root):
    server = inside(tokiophp, root)
    for _ in range(20):
        server.site.ask("/slow.php?ms=20")
    process.wait_for(lambda: sum(s["requests"] for s in steps(server)) >= 20, 20, "a step with the requests")
    told_steps = steps(server)
    worst = max(told_steps, key=lambda s: s["requests"])
    # a step may begin between the two counts of a request
    assert abs(worst["2xx"] - worst["requests"]) <= 1 and worst["p50_us"] >= 20000 and worst["memory_mb"] > 0 and worst["workers"] == 4
    assert sum(s["2xx"] for s in told_steps) >= 19
    before = scripts(server)["slow.php"]["requests"]
    first = server.site.ask("/slow.php?ms=1").text
    server.server.signal(12)
    process.wait_for(lambda: server.site.ask("/slow.php?ms=1").text != first, 60, "the next generation")
    process.wait_for(lambda: server.get("/health/ready").status == 200, 30, "ready")
    assert sum(s["requests"] for s in steps(server)) >= 20, "what was remembered"
    process.wait_for(lambda: scripts(server)["slow.php"]["requests"] >= before, 20, "rows of the process that is gone")


def test_who_may_ask(tokiophp, root):
    server = inside(tokiophp, root)
    for path in ("/history.json", "/scripts.json"):
        assert server.get(path).status == 401


def post(server, path, token="secret"):
    return server.get(path, method="POST", **({"Authorization": "Bearer " + token} if token else {}))


def test_orders(tokiophp, root):
    server = inside(tokiophp, root)
    pid = server.site.ask("/slow.php?ms=1").text
    assert post(server, "/restart?pool=www", None).status == 401 and post(server, "/restart?pool=www", "wrong").status == 401
    assert server.get("/restart?pool=www", Authorization="Bearer secret").status == 405
    assert post(server, "/restart?pool=nothing").status == 409
    assert server.site.ask("/slow.php?ms=1").text == pid
    assert post(server, "/restart?pool=www").status == 202
    server.server.wait_message("asked for on the dashboard", 30)
    process.wait_for(lambda: server.site.ask("/slow.php?ms=1").text != pid, 60, "a process anew")
    assert post(server, "/reload").status == 202
    server.server.wait_message("Reloading in progress", 30)


def test_no_orders_without_a_token(tokiophp, root):
    server = Inside(tokiophp, root)
    assert post(server, "/reload", None).status == 403


def test_top_shows_them(tokiophp, root, workdir):
    server = inside(tokiophp, root, settings="control_socket = {dir}/ctl.sock\n")
    server.site.ask("/slow.php?ms=40")
    server.site.ask("/bad.php?n=7")

    def shown():
        """What a request did is there a moment after its answer."""
        text = subprocess.run([program.PROGRAM, "top", "-s", workdir + "/ctl.sock", "--once"], capture_output=True, text=True, timeout=20, check=True).stdout
        slow, errors = text.partition("SLOWEST")[2].partition("ERRORS")[::2]
        return "slow.php" in slow and "bad.php" in errors and "oh 7" in errors
    process.wait_for(shown, what="both scripts")
