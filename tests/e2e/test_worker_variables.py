"""$_SERVER in a worker script: a request's is kept for the next one (vars_kept.c), which nobody must notice."""
import json
import urllib.parse

import pytest
from test_worker_mode import FRONTS, Worker

VOLATILE = ("TOKIO_REQUEST_ID", "TRACE_ID", "SPAN_ID", "REQUEST_TIME", "REQUEST_TIME_FLOAT", "REMOTE_PORT", "TOKIO_WORKER_ID", "UNIQUE_ID", "FRANKENPHP_WORKER")
LOOK = "return [array_values(array_diff(array_keys($_SERVER), ['FRANKENPHP_WORKER'])), array_diff_key($_SERVER, array_flip(%s)), key($_SERVER) === array_key_first($_SERVER)];" \
    % json.dumps(VOLATILE)
SPOIL = [
    "return 1;",
    "$_SERVER['HTTP_X_A'] = 'evil'; unset($_SERVER['REQUEST_URI']); $_SERVER['new'] = 1;",
    "Lives::$kept[] = $_SERVER; Lives::$kept[0]['PATH'] = 'evil';",
    "foreach ($_SERVER as &$v) { $v = 'evil'; }",
    "ksort($_SERVER); next($_SERVER); $r = &$_SERVER['PHP_SELF']; $r = 'evil';",
    "$_SERVER = ['x' => 1];",
    "$s = &$_SERVER; $s['QUERY_STRING'] = 'evil'; $GLOBALS['evil'] = &$_SERVER['SCRIPT_NAME']; $GLOBALS['evil'] .= 'evil';",
    "$s = $_SERVER['SCRIPT_NAME']; $s[0] = 'X'; $_SERVER['HTTP_X_A'] ??= ''; $_SERVER['HTTP_X_A'] .= 'evil';",
    "putenv('NEW=evil'); putenv('PATH=evil');",
    "filter_input_array(INPUT_SERVER); filter_input(INPUT_SERVER, 'PATH');",
    "array_walk($_SERVER, function (&$v) { $v = [$v]; });",
]
HEADERS = [
    {}, {"X_A": "1"}, {"X_A": "2"}, {"X_A": "22", "X_B": "1"}, {"X_B": "1"}, {"Cookie": "a=1"}, {"Cookie": "a=2; b=3"},
    {"Authorization": "Basic dXNlcjpwYXNz"}, {"Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    {"Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Tracestate": "a=b"}, {"Proxy": "evil"},
]


def asker(tokiophp, workdir, front, pool="env[OWN] = own\n"):
    """A worker, and a function that asks a script of its folder."""
    w = Worker(tokiophp, workdir, pool=pool)
    with open(w.folder + "/classic.php", "w") as f:
        f.write("<?php echo json_encode(['answer' => eval($_GET['code'])]);")
    index = w.script

    def ask(code, name="index.php", headers=()):
        fields = dict(headers)
        if front == "fcgi":
            fields = {"HTTP_" + field.upper(): value for field, value in fields.items()}
        w.script = f"{w.folder}/{name}"
        if front == "http":
            text = w.site.ask(f"/worker/{name}?code={urllib.parse.quote(code)}", **fields).text
        else:
            text = w.raw(front, code, **fields)[1]
        w.script = index
        return text
    return ask


@pytest.fixture(params=FRONTS)
def asked(tokiophp, workdir, request):
    return asker(tokiophp, workdir, request.param)


def answer(text):
    return json.loads(text.replace("classic.php", "index.php"))["answer"]


@pytest.mark.seconds(240)
def test_it_is_as_in_classic_mode(asked):
    wrong = []
    for round_number, spoil in enumerate(SPOIL):
        for n in range(len(HEADERS)):
            headers = HEADERS[(n * (1 + round_number % 3)) % len(HEADERS)]
            for _ in range(2):
                own, classic = answer(asked(LOOK, headers=headers)), answer(asked(LOOK, "classic.php", headers))
                if own != classic:
                    wrong.append((spoil, headers, own, classic))
            asked(spoil, headers=headers)
    assert not wrong


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("headers, others", [({"X_C": "secret"}, {}), ({"Authorization": "Basic dXNlcjpwYXNz"}, {"Authorization": "Bearer x"})])
def test_what_is_in_the_environment_too(tokiophp, workdir, front, headers, others):
    """Such a variable of one request is the environment's again in the next one that does not have it."""
    names = ("HTTP_X_C", "PHP_AUTH_USER", "PHP_AUTH_PW")
    ask = asker(tokiophp, workdir, front, "".join(f"env[{name}] = own\n" for name in names))
    look = f"return array_map(fn ($n) => $_SERVER[$n], {json.dumps(names)});"
    for _ in range(3):
        assert answer(ask(look, headers=headers)) == answer(ask(look, "classic.php", headers)) != ["own"] * 3
        assert answer(ask(look, headers=others)) == ["own"] * 3


def test_what_a_request_keeps_stays(asked):
    ids = []
    for n in range(6):
        kept = answer(asked("Lives::$kept[] = [$_SERVER, $_SERVER['TOKIO_REQUEST_ID'], $_SERVER['HTTP_X_A']];"
                            "return array_map(fn ($k) => [$k[0]['TOKIO_REQUEST_ID'], $k[1], $k[0]['HTTP_X_A'], $k[2]], Lives::$kept);", headers={"X_A": f"v{n}"}))
        ids.append(kept[-1][0])
        assert kept == [[ids[i], ids[i], f"v{i}", f"v{i}"] for i in range(n + 1)]
    assert len(set(ids)) == 6


def test_it_keeps_no_more_from_request_to_request(asked):
    sizes = [answer(asked("return memory_get_usage();", headers={"X_A": "x" * (1 + n % 3 * 500)})) for n in range(60)]
    assert max(sizes[30:]) <= max(sizes[:30])


def test_what_mysqli_makes_of_errors_is_undone(asked):
    """Who keeps a driver's object sets it without a call of a function."""
    assert answer(asked("return class_exists('mysqli_driver');")) is True
    asked("Lives::$kept = [new mysqli_driver]; return 1;")
    look = "return Lives::$kept[0]->report_mode;"
    before = answer(asked(look))
    for _ in range(2):
        assert answer(asked("Lives::$kept[0]->report_mode = MYSQLI_REPORT_OFF; " + look)) == 0
        assert answer(asked(look)) == before != 0
