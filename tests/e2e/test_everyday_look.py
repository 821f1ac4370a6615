"""Everyday tasks, looking: what is slow, what fails, what crashes, Prometheus, logs. Each is done as the documents say:
the commands and the configuration are read from the page (support/page.py), and looked at is what somebody wants to have at the end.
`steps` are commands and edited files. Each test says what php-fpm with nginx, FrankenPHP and `php -S` need for the same; more than the
best of them is a failure."""
import json
import os
import re
import shutil
import subprocess
import urllib.parse
import urllib.request

import faulty
import pytest
import yaml
from everyday import daemon, get, page, pool, serve  # noqa: F401 (a fixture)
from files import put
from page import steps
from process import Program, free_port, wait_for
from prometheus_client.parser import text_string_to_metric_families
from tokiophp import ROOT, is_stand_in

pytestmark = pytest.mark.skipif(is_stand_in(), reason="tokiophp's own documents")


# -- 9, 10, 14: what is slow, what fails, what crashes --

SLOW = """<?php
function reading_from_a_far_away_database() { usleep(200000); }
for ($i = 0; $i < 20; $i++) reading_from_a_far_away_database();
"""


def test_what_is_slow(page):
    """One command, and nothing is installed or configured. php-fpm: two lines, a reload, a look into the file (3). FrankenPHP and `php -S`:
    an extension, its settings, a restart, a viewer (4)."""
    one = page("debugging.md")
    todo = one.under("What is slow")
    assert steps(todo[:2]) == 2 and steps([todo[1]]) == 1
    put(one.folder, "srv/shop/public/slow.php", SLOW)
    pool(one, f"[shop]\nhttp.listen = 127.0.0.1:{one.port(80)}\nhttp.document_root = {one.folder}/srv/shop/public\n")
    daemon(one, 80)
    asking = subprocess.Popen(["curl", "-s", "-o", "/dev/null", f"http://127.0.0.1:{one.port(80)}/slow.php?n=[1-30]"])
    try:
        said = one.run(todo[1])
        stacks = {line.rpartition(" ")[0]: int(line.rpartition(" ")[2]) for line in said.splitlines() if re.search(r" \d+$", line)}
        worst = max(stacks, key=stacks.get)
        assert worst.startswith("wait;") and "/slow.php" in worst and "reading_from_a_far_away_database" in worst, said
        top = one.run(todo[0]._replace(text=todo[0].text.strip() + " --once"))
        assert "/slow.php" in top, top
    finally:
        asking.kill()
        asking.wait()


def test_slow_requests_are_written_down(page):
    """Two lines of the pool, which are php-fpm's, and a reload."""
    one = page("debugging.md")
    setting = one.under("What is slow")[2]
    put(one.folder, "srv/shop/public/slow.php", SLOW)
    pool(one, setting.text, f"http.listen = 127.0.0.1:{one.port(80)}", f"http.document_root = {one.folder}/srv/shop/public")
    daemon(one, 80)
    assert get(one.port(80), "/slow.php").status == 200
    path = f"{one.folder}/var/log/tokiophp/shop.slow.log"
    wait_for(lambda: os.path.exists(path) and "reading_from_a_far_away_database()" in open(path).read(), 30, "the slow log")


def test_errors(page):
    """In development the browser shows them and the terminal has them, as `php -S`: nothing is to be done. On a server one command, where
    php-fpm needs catch_workers_output or php.ini's error_log, a reload, and a look (3), and nginx's log is another one."""
    one = page("debugging.md")
    todo = one.under("Errors")
    assert [steps([b]) for b in todo] == [1, 1]
    put(one.folder, "srv/shop/public/index.php", "<?php\n\nthrow new LogicException('the cart is empty');\n")
    serve(one, todo[0]._replace(text=f"{todo[0].text.strip()} --listen {one.port(8080)}"), one.port(8080))
    seen = get(one.port(8080), "/", Accept="text/html")
    assert seen.status == 500 and "the cart is empty" in seen.text and "<mark>    3  throw new LogicException" in seen.text
    wait_for(lambda: "the cart is empty" in one.programs[-1].log(), 30, "its line")
    one.stop()
    pool(one, f"[shop]\nhttp.listen = 127.0.0.1:{one.port(80)}\nhttp.document_root = {one.folder}/srv/shop/public\nhttp.index = index.php\n")
    daemon(one, 80)
    seen = get(one.port(80), "/buy", Accept="text/html")
    assert seen.status == 500 and "cart" not in seen.text and seen.fields["X-Request-ID"] in seen.text
    said = wait_for(lambda: one.run(todo[1], good=False), 30, "its line")
    line, = said.strip().split("\n")
    assert "Uncaught LogicException: the cart is empty" in line and seen.fields["X-Request-ID"] in line and "[pool shop]" in line


def test_a_crash(page, fault_extension):
    """One command shows the report. php-fpm: rlimit_core, core_pattern, a reload, gdb with symbols (4), and nobody knows which page it was."""
    one = page("debugging.md")
    todo = one.under("A crash")
    assert steps([todo[0]]) == 1 and todo[1].language == "ini"
    put(one.folder, "srv/shop/public/buy.php", "<?php\nfunction pay() { fault_null(); }\n\npay();\n")
    put(one.folder, "srv/shop/public/fine.php", "<?php usleep(300000); echo 'fine';")
    reports = todo[1].text.strip().split("\n")[1]
    pool(one, f"[global]\nerror_log = {one.folder}/var/log/tokiophp/error.log\n{reports}\n[shop]\nhttp.listen = 127.0.0.1:{one.port(80)}\n"
         f"http.document_root = {one.folder}/srv/shop/public\nphp_admin_value[extension] = {fault_extension}\n")
    daemon(one, 80)
    assert get(one.port(80), "/buy.php?item=3").status == 500
    assert get(one.port(80), "/fine.php").text == "fine"
    said = wait_for(lambda: one.run(todo[0], good=False), 30, "the report")
    assert "SIGSEGV" in said and "/buy.php?item=3" in said and "pay()" in said and "buy.php:2" in said, said
    files = wait_for(lambda: [n for n in os.listdir(f"{one.folder}/var/log/tokiophp") if "crash" in n], 30, "its file")
    assert "zif_fault_null" in open(f"{one.folder}/var/log/tokiophp/{files[0]}").read()


@pytest.fixture
def fault_extension(workdir):
    config = faulty.php_config()
    if not config:
        pytest.skip("which PHP tokiophp was built with is not known (PHP_CONFIG)")
    subprocess.run([f"{faulty.HERE}/fault_ext/build", config, f"{workdir}/tmp"], check=True)
    return f"{workdir}/tmp/fault.so"


# -- 19: Prometheus --

def test_prometheus(page, workdir):
    """A line of the pool, a reload, and Prometheus's own file (3), as with FrankenPHP; php-fpm needs an exporter besides, with a unit of its own
    (6). Without a Prometheus the test asks what the file says, and reads the answer with the library of its clients."""
    one = page("monitoring.md", **{"a-long-random-text": "geheim"})
    setting, look = one.under("Monitoring")[:2]
    scrape, = one.under("Prometheus")
    assert steps([setting]) + 1 + steps([scrape]) == 3
    put(workdir, "srv/shop/index.php", "<?php echo 'shop';")
    pool(one, setting.text, f"http.listen = 127.0.0.1:{one.port(80)}", f"http.document_root = {workdir}/srv/shop")
    daemon(one, 80)
    get(one.port(80), "/index.php")
    said = one.run(look)
    assert '"status":"ok"' in said and "tokio_php_requests_total" in said and "healthy" in said
    shutil.copytree(f"{ROOT}/docs/monitoring", f"{workdir}/etc/prometheus")
    os.rename(f"{workdir}/etc/prometheus/alerts.yaml", f"{workdir}/etc/prometheus/tokiophp-alerts.yaml")
    path = one.write(scrape, "/etc/prometheus/prometheus.yml")
    with open(path, "a") as f:
        f.write("global:\n  scrape_interval: 1s\n")  # where the file has a minute, and the test would wait for it
    if shutil.which("promtool"):
        done = subprocess.run(["promtool", "check", "config", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout
    if not shutil.which("prometheus"):
        job, = yaml.safe_load(scrape.text)["scrape_configs"]
        target, = job["static_configs"][0]["targets"]
        with urllib.request.urlopen(f"http://{target}{job.get('metrics_path', '/metrics')}", timeout=30) as answer:
            families = {family.name: family for family in text_string_to_metric_families(answer.read().decode())}
        assert sum(sample.value for sample in families["tokio_php_requests"].samples) >= 1
        return
    own = free_port()
    one.programs.append(Program(["prometheus", f"--config.file={path}", f"--storage.tsdb.path={workdir}/tsdb", f"--web.listen-address=127.0.0.1:{own}"],
                                workdir, "prometheus.log"))
    one.programs[-1].wait_accepting(("127.0.0.1", own))

    def up():
        found = json.loads(get(own, "/api/v1/query?query=" + urllib.parse.quote('up{job="tokiophp"}')).text)["data"]["result"]
        return found and found[0]["value"][1] == "1"
    wait_for(up, 90, "Prometheus has scraped it")


# -- 20: log rotation --

def test_log_rotation(page, workdir):
    """Nothing is to be done: the file is installed with the program, as nginx's and php-fpm's are. FrankenPHP has none (`roll_size` in its
    Caddyfile)."""
    if not shutil.which("logrotate"):
        pytest.skip("logrotate is not installed")
    one = page("logs.md")
    with open(f"{ROOT}/etc/tokiophp.logrotate") as f:
        rules = one.here(f.read()).replace("/usr/sbin/tokiophp", f"{workdir}/bin/tokiophp")
    for end in ("control.sock", "tokiophp-*/control.sock"):
        rules = rules.replace(f"{workdir}/run/tokiophp/{end}", f"{workdir}/run/{end}")
    with open(f"{workdir}/logrotate.conf", "w") as f:
        f.write(rules)
    os.chmod(f"{workdir}/logrotate.conf", 0o644)
    for number in "12":
        put(workdir, f"srv/shop/{number}.php", f"<?php error_log('said {number}'); echo 'ok';")
    pool(one, one.here("[shop]\naccess.log = /var/log/tokiophp/$pool.access.log\nhttp.listen = 127.0.0.1:80\nhttp.document_root = /srv/shop\n"))
    daemon(one, 80)
    folder = f"{workdir}/var/log/tokiophp"

    def text(name):
        return open(f"{folder}/{name}").read() if os.path.exists(f"{folder}/{name}") else ""
    get(one.port(80), "/1.php")
    wait_for(lambda: "/1.php" in text("shop.access.log") and "said 1" in text("error.log"), 30, "both lines")
    done = subprocess.run(["logrotate", "-f", "-s", f"{workdir}/state", f"{workdir}/logrotate.conf"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    get(one.port(80), "/2.php")
    wait_for(lambda: "/2.php" in text("shop.access.log") and "said 2" in text("error.log"), 30, "both lines in new files")
    assert "/1.php" in text("shop.access.log.1") and "/2.php" not in text("shop.access.log.1") and "said 1" in text("error.log.1")
