"""What ext/filter knows of a request's server variables: it is told when a script asks, whoever has looked at $_SERVER before."""
import json
import os
import urllib.parse

import pytest
from fcgi_client import fetch
from test_worker_mode import Worker

LOOK = "[filter_input(INPUT_SERVER, 'HTTP_X_OWN'), filter_has_var(INPUT_SERVER, 'HTTP_X_OWN'), filter_has_var(INPUT_SERVER, 'HTTP_X_NONE'), " \
       "filter_input(INPUT_SERVER, 'HTTP_X_OWN', FILTER_SANITIZE_SPECIAL_CHARS), filter_input(INPUT_SERVER, 'REQUEST_METHOD'), " \
       "array_key_exists('HTTP_X_OWN', filter_input_array(INPUT_SERVER)), filter_input(INPUT_SERVER, 'PHP_SELF') !== null]"
SEEN = ["<me>", True, False, "&#60;me&#62;", "GET", True, True]
SCRIPTS = {
    "nobody looked": f"return {LOOK};",
    "looked at": f"$x = $_SERVER['HTTP_X_OWN']; return {LOOK};",
    "changed": f"$_SERVER['HTTP_X_OWN'] = 'other'; unset($_SERVER['REQUEST_METHOD']); $seen = {LOOK}; "
               "if ($_SERVER['HTTP_X_OWN'] !== 'other' || isset($_SERVER['REQUEST_METHOD'])) return 'changed back'; return $seen;",
    "twice": f"$first = {LOOK}; $second = {LOOK}; return $first === $second && $_SERVER['HTTP_X_OWN'] === '<me>' ? $first : [$first, $second];",
    "by name and text": f"$n = filter_input(var_name: 'HTTP_X_OWN', type: INPUT_SERVER); $t = filter_input('5', 'HTTP_X_OWN'); return $n === '<me>' && $t === $n ? {LOOK} : [$n, $t];",
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_server_variables(tokiophp, workdir, script):
    w = Worker(tokiophp, workdir)
    with open(w.www + "/classic.php", "w") as f:
        f.write(f"<?php echo json_encode((function () {{ {SCRIPTS[script]} }})());")
    query = "code=" + urllib.parse.quote(SCRIPTS[script])
    for _ in range(2):
        assert json.loads(w.site.ask("/classic.php", X_Own="<me>").text) == SEEN
        assert json.loads(fetch(w.server.address, w.www + "/classic.php", HTTP_X_OWN="<me>").body) == SEEN
        assert json.loads(w.site.ask("/worker/index.php?" + query, X_Own="<me>").text)["answer"] == SEEN
    other = json.loads(w.site.ask("/worker/index.php?" + query).text)["answer"]
    assert other != SEEN, "it is a request's own"


def test_a_filter_that_changes_them(tokiophp, workdir):
    """filter.default, of a pool or of a request."""
    w = Worker(tokiophp, workdir)
    with open(os.path.join(w.www, "classic.php"), "w") as f:
        f.write("<?php echo json_encode([$_SERVER['HTTP_X_OWN'], filter_input(INPUT_SERVER, 'HTTP_X_OWN', FILTER_UNSAFE_RAW)]);")
    for _ in range(2):
        plain = json.loads(fetch(w.server.address, w.www + "/classic.php", HTTP_X_OWN="<me>").body)
        assert plain == ["<me>", "<me>"]
        text = fetch(w.server.address, w.www + "/classic.php", HTTP_X_OWN="<me>",
                     PHP_VALUE="filter.default=special_chars\nerror_reporting=0").body.decode()
        assert json.loads(text[text.index("["):]) == ["&#60;me&#62;", "<me>"]
