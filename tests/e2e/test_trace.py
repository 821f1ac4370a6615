"""Request ids and W3C Trace Context over HTTP: one id everywhere, the recommendation's rules to the letter."""
import json
import os
import re

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded

import fcgi_client
from process import connect
from web import Site

SHOW = """<?php header('Content-Type: application/json');
if (isset($_GET['own'])) { header('X-Request-ID: mine'); }
echo json_encode(['function' => tokio_request_id(), 'server' => array_intersect_key($_SERVER, array_flip(['TOKIO_REQUEST_ID',
'TRACE_ID', 'SPAN_ID', 'PARENT_SPAN_ID', 'HTTP_TRACEPARENT', 'HTTP_TRACESTATE', 'TRACE_STATE', 'TOKIO_WORKER_ID', 'TOKIO_SERVER_BUILD_VERSION']))]);"""
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
    return Site(tokiophp, root, "access.log = {dir}/access.log\nhttp.access_log_format = json\nfastcgi.request_id_headers = yes\n")


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


# -- the same rules over every protocol --

class OverH1:
    def __init__(self, server, http_address, script):
        self.address = http_address

    def ask(self, fields):
        """fields: a list of (name, value); the script's answer and the fields of the response"""
        with connect(self.address) as s:
            s.sendall(b"GET /show.php HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + b"".join(f"{n}: {v}\r\n".encode() for n, v in fields) + b"\r\n")
            data = b""
            while piece := s.recv(65536):
                data += piece
        head, _, body = data.decode().partition("\r\n\r\n")
        return json.loads(body), {n.lower(): v for n, v in (line.split(": ", 1) for line in head.split("\r\n")[1:])}


class OverH2(OverH1):
    def ask(self, fields):
        connection = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        connection.initiate_connection()
        connection.send_headers(1, [(":method", "GET"), (":path", "/show.php"), (":scheme", "http"), (":authority", "a"),
                                    *((n.lower(), v) for n, v in fields)], end_stream=True)
        body, found, ended = b"", {}, False
        with connect(self.address) as s:
            s.sendall(connection.data_to_send())
            while not ended:
                data = s.recv(65536)
                assert data, "closed"
                for event in connection.receive_data(data):
                    if isinstance(event, ResponseReceived):
                        found = dict(event.headers)
                    elif isinstance(event, DataReceived):
                        body += event.data
                    ended = ended or isinstance(event, StreamEnded)
                s.sendall(connection.data_to_send())
        return json.loads(body), found


class OverFastCgi:
    """Web servers join fields of one name before they pass them on."""

    def __init__(self, server, http_address, script):
        self.address, self.script = server.address, script

    def ask(self, fields):
        joined = {}
        for name, value in fields:
            name = "HTTP_" + name.upper().replace("-", "_")
            joined[name] = joined[name] + ", " + value if name in joined else value
        with fcgi_client.Connection(self.address) as c:
            response = c.request(self.script, **joined)
        return json.loads(response.body), {n.lower(): v for n, v in response.headers}


@pytest.fixture(params=[OverH1, OverH2, OverFastCgi])
def way(request, traced, workdir):
    return request.param(traced.server, traced.address, os.path.join(workdir, "site/show.php"))


def test_every_way_continues(way):
    for given, flags in TRACEPARENT_IS_CONTINUED:
        seen, fields = way.ask([("traceparent", given)])
        trace, span = TRACEPARENT.match(fields["traceparent"]).groups()
        assert trace == TRACE == seen["server"]["TRACE_ID"] and span == seen["server"]["SPAN_ID"] != PARENT
        assert fields["traceparent"].endswith("-" + flags) and seen["server"]["PARENT_SPAN_ID"] == PARENT


def test_every_way_refuses(way):
    for given in [t for t in TRACEPARENT_IS_REFUSED if len(t) < 1000]:
        seen, fields = way.ask([("traceparent", given), ("tracestate", "a=1")])
        trace, _ = TRACEPARENT.match(fields["traceparent"]).groups()
        assert trace != TRACE and trace == seen["server"]["TRACE_ID"] and "PARENT_SPAN_ID" not in seen["server"], given
        assert "TRACE_STATE" not in seen["server"], given


def test_every_way_takes_two_traceparents_for_none(way):
    seen, _ = way.ask([("traceparent", GOOD), ("traceparent", f"00-{'1' * 32}-{PARENT}-01")])
    assert seen["server"]["TRACE_ID"] not in (TRACE, "1" * 32)


def members(first, count):
    return ",".join(f"k{i}=v" for i in range(first, first + count))


# the fields, and what the script sees without blanks; None: an invalid tracestate is as good as none, the trace goes on
TRACESTATES = [
    (["foo=1"], "foo=1"), (["foo=1,bar=2"], "foo=1,bar=2"), (["foo=1", "bar=2"], "foo=1,bar=2"), (["foo=1", "bar=2", "rojo=3,congo=4"], "foo=1,bar=2,rojo=3,congo=4"),
    (["foo=1 , bar=2"], "foo=1,bar=2"), (["foo=1", ""], "foo=1"), (["", "foo=1"], "foo=1"), (["fw529a3039@dt=FfAAAABI"], "fw529a3039@dt=FfAAAABI"),
    ([members(0, 32)], members(0, 32)), ([members(0, 20), members(20, 12)], members(0, 32)), (["k" * 256 + "=1"], "k" * 256 + "=1"),
    (["a=" + "v" * 256], "a=" + "v" * 256), (["t" * 241 + "@" + "v" * 14 + "=1"], "t" * 241 + "@" + "v" * 14 + "=1"),
    ([members(0, 33)], None), ([members(0, 20), members(20, 13)], None), (["foo=1,foo=2"], None), (["foo=1", "foo=2"], None), (["foo"], None),
    (["=1"], None), (["FOO=1"], None), (["foo=a=b"], None), (["foo =1"], None), (["foo@=1,bar=2"], None), (["@foo=1"], None), (["foo@@bar=1"], None),
    (["k" * 257 + "=1"], None), (["t" * 242 + "@v=1"], None), (["t@" + "v" * 15 + "=1"], None), (["a=" + "v" * 257], None)]


def test_tracestate_every_way(way):
    for given, expected in TRACESTATES:
        seen, fields = way.ask([("traceparent", GOOD), *(("tracestate", v) for v in given)])
        assert seen["server"]["TRACE_ID"] == TRACE, given
        state = seen["server"].get("TRACE_STATE")
        if expected is None:
            assert state is None, given
        else:
            assert ",".join(m for m in state.replace(" ", "").split(",") if m) == expected, given
