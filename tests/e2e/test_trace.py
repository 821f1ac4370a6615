"""Request ids and W3C Trace Context over HTTP: one id everywhere, the recommendation's rules to the letter."""
import json
import os
import re

import pytest

from process import connect
from web import Site

SHOW = """<?php header('Content-Type: application/json');
if (isset($_GET['own'])) { header('X-Request-ID: mine'); }
echo json_encode(['function' => tokio_request_id(), 'server' => array_intersect_key($_SERVER, array_flip(['TOKIO_REQUEST_ID',
'TRACE_ID', 'SPAN_ID', 'PARENT_SPAN_ID', 'HTTP_TRACEPARENT', 'HTTP_TRACESTATE', 'TOKIO_WORKER_ID', 'TOKIO_SERVER_BUILD_VERSION']))]);"""
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{PARENT}-01"
TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-0[01]$")




@pytest.fixture
def traced(tokiophp, workdir):
    root = os.path.join(workdir, "site")
    os.mkdir(root)
    for name, text in (("show.php", SHOW), ("page.html", "<p>page")):
        with open(os.path.join(root, name), "w") as f:
            f.write(text)
    return Site(tokiophp, root, "access.log = {dir}/access.log\nhttp.access_log_format = json\n")


def show(traced, **fields):
    answer = traced.ask("/show.php", **fields)
    return answer, json.loads(answer.body)


def test_one_id_everywhere(traced, workdir):
    answer, seen = show(traced)
    request_id = answer.get("X-Request-ID")
    assert re.match(r"[0-9a-f]{32}$", request_id)
    assert seen["function"] == request_id == seen["server"]["TOKIO_REQUEST_ID"]
    trace, span = TRACEPARENT.match(answer.get("traceparent")).groups()
    assert (seen["server"]["TRACE_ID"], seen["server"]["SPAN_ID"]) == (trace, span)
    assert "PARENT_SPAN_ID" not in seen["server"] and "HTTP_TRACEPARENT" not in seen["server"]
    assert 0 <= int(seen["server"]["TOKIO_WORKER_ID"]) < 4 and seen["server"]["TOKIO_SERVER_BUILD_VERSION"]
    traced.server.stop()
    with open(os.path.join(workdir, "access.log")) as f:
        line = json.loads(f.readline())
    assert line["ctx"]["request_id"] == request_id and line["ctx"]["trace_id"] == trace and line["ctx"]["span_id"] == span


def test_ids_differ(traced):
    answers = [traced.ask(t) for t in ("/show.php", "/page.html") for _ in range(20)]
    assert len({a.get("X-Request-ID") for a in answers}) == 40
    assert len({a.get("traceparent") for a in answers}) == 40


REQUEST_ID_IS_KEPT = ["abc-123", "A.b_c~d:e+f/g=h@i-j", "x" * 64]


def test_request_id_is_kept(traced):
    for given in REQUEST_ID_IS_KEPT:
        answer, seen = show(traced, X_Request_ID=given)
        assert answer.get("X-Request-ID") == given == seen["function"]
        assert traced.ask("/page.html", X_Request_ID=given).get("X-Request-ID") == given
        assert traced.ask("/none", X_Request_ID=given).get("X-Request-ID") == given


REQUEST_ID_IS_REFUSED = ["", "a b", "x" * 65, "<script>", "a;b", "a,b", '"']


def test_request_id_is_refused(traced):
    for given in REQUEST_ID_IS_REFUSED:
        answer, seen = show(traced, X_Request_ID=given)
        assert re.match(r"[0-9a-f]{32}$", answer.get("X-Request-ID")) and seen["function"] == answer.get("X-Request-ID")


TRACEPARENT_IS_CONTINUED = [
    (GOOD, "01"), (GOOD[:-2] + "00", "00"), (GOOD[:-2] + "ff", "01"), (GOOD[:-2] + "02", "00"),
    ("01" + GOOD[2:], "01"), ("01" + GOOD[2:] + "-what-comes-later", "01"), ("fe" + GOOD[2:], "01"), ("cc" + GOOD[2:] + "-", "01")]


def test_traceparent_is_continued(traced):
    for given, flags in TRACEPARENT_IS_CONTINUED:
        answer, seen = show(traced, traceparent=given)
        trace, span = TRACEPARENT.match(answer.get("traceparent")).groups()
        assert trace == TRACE == seen["server"]["TRACE_ID"]
        assert span not in (PARENT, "0" * 16) and span == seen["server"]["SPAN_ID"]
        assert answer.get("traceparent").endswith("-" + flags)
        assert seen["server"]["PARENT_SPAN_ID"] == PARENT
        assert seen["server"]["HTTP_TRACEPARENT"] == given
        assert traced.ask("/page.html", traceparent=given).get("traceparent")[3:35] == TRACE


TRACEPARENT_IS_REFUSED = [
    "", "00", GOOD[:-1], GOOD + "-extra", GOOD + "0", "ff" + GOOD[2:], "0" + GOOD[2:], GOOD.upper(), GOOD.replace("-", "_"),
    f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE[:-1]}-{PARENT}-01", f"00-{TRACE}x-{PARENT}-01",
    f"00-{TRACE}-{PARENT[:-1]}g-01", f"00-{TRACE}-{PARENT}-0g", f"01-{TRACE}-{PARENT}-01extra", f"xx-{TRACE}-{PARENT}-01", "a" * 5000]


def test_traceparent_is_refused(traced):
    for given in TRACEPARENT_IS_REFUSED:
        answer, seen = show(traced, traceparent=given)
        trace, _ = TRACEPARENT.match(answer.get("traceparent")).groups()
        assert trace != TRACE and trace == seen["server"]["TRACE_ID"] and trace != "0" * 32
        assert "PARENT_SPAN_ID" not in seen["server"]


def raw(traced, fields):
    with connect(traced.address) as s:
        s.sendall(b"GET /show.php HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + fields + b"\r\n")
        data = b""
        while piece := s.recv(65536):
            data += piece
    return data.decode()


def test_two_traceparents_are_none(traced):
    other = f"00-{'1' * 32}-{PARENT}-01"
    text = raw(traced, f"traceparent: {GOOD}\r\ntraceparent: {other}\r\n".encode())
    trace = re.search(r"traceparent: 00-([0-9a-f]{32})", text).group(1)
    assert trace not in (TRACE, "1" * 32)


def test_tracestate_reaches_the_script(traced):
    _, seen = show(traced, traceparent=GOOD, tracestate="congo=t61rcWkgMzE,rojo=00f067aa0ba902b7")
    assert seen["server"]["HTTP_TRACESTATE"] == "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"
    text = raw(traced, f"traceparent: {GOOD}\r\ntracestate: a=1\r\ntracestate: b=2\r\n".encode())
    assert json.loads(text.split("\r\n\r\n", 1)[1])["server"]["HTTP_TRACESTATE"].replace(" ", "") == "a=1,b=2"


def test_a_script_may_name_its_own(traced):
    answer = traced.ask("/show.php?own=1")
    assert answer.get("X-Request-ID") == "mine"


def test_headers_can_be_left_out(tokiophp, workdir):
    root = os.path.join(workdir, "quiet")
    os.mkdir(root)
    with open(os.path.join(root, "show.php"), "w") as f:
        f.write(SHOW)
    traced = Site(tokiophp, root, "http.request_id_headers = no\n")
    answer, seen = show(traced, traceparent=GOOD)
    assert answer.get("X-Request-ID") is None and answer.get("traceparent") is None
    assert seen["server"]["TRACE_ID"] == TRACE and seen["function"]
