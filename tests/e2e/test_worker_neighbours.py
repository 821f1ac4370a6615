"""State of one request while others run on the threads beside it: nobody sees it, neither then nor on its own thread afterwards."""
import json
import os
import urllib.parse

import process
import pytest
from faulty import Several
from test_worker_mode import FORM, FRONTS, MULTIPART, UNDONE, Worker

# Beside what is undone: what is made for each request. The change is what the request brings along.
BROUGHT = {
    # name: (look, how the request is made)
    "get": ("[$_GET['own'] ?? null, $_REQUEST['own'] ?? null, filter_input(INPUT_GET, 'own')]", {"query": "&own=mine"}),
    "post": ("[$_POST, $_REQUEST['a'] ?? null, file_get_contents('php://input')]",
             {"method": "POST", "body": b"a=mine", "Content_Type": FORM}),
    "cookie": ("[$_COOKIE, $_REQUEST['own'] ?? null]", {"Cookie": "own=mine"}),
    "files": ("[array_column($_FILES, 'name'), array_map('is_uploaded_file', array_column($_FILES, 'tmp_name'))]",
              {"method": "POST", "body": MULTIPART, "Content_Type": "multipart/form-data; boundary=b"}),
    "authorization": ("[$_SERVER['PHP_AUTH_USER'] ?? null, $_SERVER['PHP_AUTH_PW'] ?? null]", {"Authorization": "Basic dXNlcjpwYXNz"}),
    "header": ("[$_SERVER['HTTP_X_OWN'] ?? null, getenv('HTTP_X_OWN'), apache_request_headers()['X-Own'] ?? null]", {"X_Own": "mine"}),
}
MADE = {
    # name: (change, look)
    "superglobals": ("$_GET['x'] = $_SERVER['x'] = $_ENV['x'] = $_REQUEST['x'] = 'mine';",
                     "[$_GET['x'] ?? 0, $_SERVER['x'] ?? 0, $_ENV['x'] ?? 0, $_REQUEST['x'] ?? 0]"),
    "response": ("http_response_code(418); header('X-Own: mine');", "[http_response_code(), preg_grep('/X-Own/', headers_list())]"),
    "shutdown": ("register_shutdown_function(function () { header('X-Late: mine'); });", "preg_grep('/X-Late/', headers_list())"),
    "memory_limit": ("ini_set('memory_limit', '77M');", "ini_get('memory_limit')"),
    "peak": ("$x = str_repeat('x', 30000000); unset($x);", "memory_get_peak_usage() > 30000000"),
    "headers_callback": ("header_register_callback(function () { header('X-Called: mine'); });", "preg_grep('/X-Called/', headers_list())"),
    "temporary": ("$GLOBALS['t'] = tmpfile();", "1"),
}
# What a look cannot tell twice, or what other threads share by its nature.
SILENT = {"ticks", "syslog", "gettext", "temporary", "tokens", "shutdown", "headers_callback"}
THREADS = 3


@pytest.fixture(params=FRONTS)
def worker(tokiophp, workdir, request):
    w = Worker(tokiophp, workdir, num=THREADS)
    w.front = request.param
    return w


class Round:
    """One request on each thread: each says that it is there and goes on when it is told."""

    def __init__(self, w, name):
        self.w, self.folder, self.name = w, os.path.join(w.folder, "gates"), name
        os.makedirs(self.folder, exist_ok=True)
        os.chmod(self.folder, 0o777)
        self.count = 0

    def ask(self, code, **how):
        self.count += 1
        mine = f"{self.folder}/{self.name}.{self.count}"
        wait = f"touch('{mine}.there'); while (!file_exists('{mine}.go')) {{ usleep(500); clearstatcache(); }}"
        code = "$before = (function () { CHANGE return 1; })(); WAIT return [tokio_worker_id(), (function () { return LOOK; })()];" \
            .replace("CHANGE", code[0]).replace("WAIT", wait).replace("LOOK", code[1])
        query = "code=" + urllib.parse.quote(code) + how.pop("query", "")
        if self.w.front == "http":
            call = lambda: self.w.site.ask("/worker/index.php?" + query, **how).text  # noqa: E731
        else:
            call = lambda: fcgi(self.w, query, **how)  # noqa: E731
        return mine, Several([call])

    @staticmethod
    def there(mine):
        process.wait_for(lambda: os.path.exists(mine + ".there"), 20, f"{mine}: a request on a thread of its own")

    @staticmethod
    def end(request):
        mine, several = request
        with open(mine + ".go", "w"):
            pass
        text = several.results()[0]
        try:
            return json.loads(text)["answer"]
        except (ValueError, TypeError):
            raise AssertionError(text) from None


def fcgi(w, query, method="GET", body=b"", **fields):
    from fcgi_client import fetch
    params = {("" if n == "Content_Type" else "HTTP_") + n.upper(): v for n, v in fields.items()}
    return fetch(w.server.address, w.script, query=query, method=method, body=body, **params).body.decode()


def all_threads(w, name, look):
    """{thread: what it sees}, of every thread."""
    r = Round(w, name)
    asked = [r.ask(("", look)) for _ in range(THREADS)]
    for mine, _ in asked:
        r.there(mine)
    return dict(r.end(request) for request in asked)


@pytest.mark.seconds(300)
def test_neighbours_do_not_see_it(worker):
    kinds = {name: (change, look, {}) for name, (change, look) in {**UNDONE, **MADE}.items()}
    kinds.update({name: ("", look, how) for name, (look, how) in BROUGHT.items()})
    wrong = {}
    for name, (change, look, how) in kinds.items():
        clean = all_threads(worker, name + ".before", look)
        r = Round(worker, name)
        changer = r.ask((change, look), **how)
        r.there(changer[0])
        others = [r.ask(("", look)) for _ in range(THREADS - 1)]
        for mine, _ in others:
            r.there(mine)
        seen = dict(r.end(request) for request in others)
        thread, own = r.end(changer)
        after = all_threads(worker, name + ".after", look)
        if set(clean) != set(range(THREADS)) and len(clean) != THREADS:
            wrong[name] = ("not one request for each thread", clean)
        elif any(seen[t] != clean[t] for t in seen) or after != clean or (own == clean[thread] and name not in SILENT):
            wrong[name] = {"clean": clean, "neighbours": seen, "own": own, "after": after}
    assert not wrong, wrong
