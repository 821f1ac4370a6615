"""Answers of other pools and of FastCGI servers on their way to the client: compressed as the listener's own pool would,
by helper threads, piece by piece; interim heads; slow readers, and ends of all kinds in the middle."""
import base64
import gzip
import os
import threading
import time
import zlib

import pytest
from gate import Gate
from http_raw import Raw
from test_http_clients import curl, need
from test_pools_by_url import END, Shop, far, read_request, record  # noqa: F401 (far is a fixture)

TEXT = "header('Content-Type: text/plain');"
SAME = {
    "page.php": "<?php header('Content-Type: text/html'); for ($i = 0; $i < 20000; $i++) echo 'line ', $i * 7919 % 10007, \"\\n\";",
    "small.php": f"<?php {TEXT} echo str_repeat('small ', 300);",
    "tiny.php": f"<?php {TEXT} echo str_repeat('t', 200);",
    "empty.php": f"<?php {TEXT}",
    "picture.php": "<?php header('Content-Type: image/png'); echo str_repeat('p', 5000);",
    "json.php": "<?php header('Content-Type: application/json'); echo json_encode(range(1, 3000));",
    "own.php": f"<?php {TEXT} header('Content-Encoding: x-own'); echo str_repeat('o', 5000);",
    "keep.php": f"<?php {TEXT} header('Cache-Control: private, no-transform'); echo str_repeat('k', 5000);",
    "etag.php": f"<?php {TEXT} header('ETag: \"one\"'); header('Vary: Cookie'); echo str_repeat('e', 5000);",
    "weak.php": f"<?php {TEXT} header('ETag: W/\"two\"'); header('Vary: Accept-Encoding'); echo str_repeat('w', 5000);",
    "length.php": f"<?php {TEXT} header('Content-Length: 5000'); echo str_repeat('l', 5000);",
    "gone.php": f"<?php {TEXT} http_response_code(404); echo str_repeat('g', 5000);",
    "none.php": f"<?php {TEXT} http_response_code(204);",
    "cached.php": f"<?php {TEXT} header('ETag: \"three\"'); http_response_code(304);",
    "part.php": f"<?php {TEXT} http_response_code(206); header('Content-Range: bytes 0-4999/9000'); echo str_repeat('r', 5000);",
    "sse.php": "<?php header('Content-Type: text/event-stream'); echo str_repeat(\"data: 1\\n\\n\", 500);",
}
LARGE = {"page.php", "json.php"} # more than a FastCGI server sends at once
OTHERS = {
    "heavy-flush.php": f"<?php GATE {TEXT} while (ob_get_level()) ob_end_flush();"
                       " for ($i = 0; $i < 5; $i++) { echo str_repeat(\"part $i \", 100); flush(); $gate($i); }",
    "heavy-hints.php": "<?php header('Link: </style.css>; rel=preload; as=style'); header('X-Not: in hints');"
                       " echo var_export(tokio_send_headers(103), true), ' ', var_export(isset($_SERVER['TOKIO_INTERIM']), true);"
                       " header('Content-Type: text/plain'); header_remove('Link');",
    "heavy-hints-many.php": "<?php for ($i = 0; $i < 1000; $i++) { header(\"Link: </$i>\"); tokio_send_headers(103); } echo 'end';",
}
# Text that compresses to three quarters of itself, so that a slow reader is felt behind the compressor.
NOISE = base64.b64encode(os.urandom(6 << 20))


@pytest.fixture
def shop(tokiophp, workdir):
    def start(first="", heavy="", **more):
        shop = Shop(tokiophp, workdir, first=first, heavy=heavy, **more)
        shop.gate = Gate(workdir)
        for name, text in [*SAME.items(), *(("heavy-" + n, t) for n, t in SAME.items()), *OTHERS.items()]:
            with open(os.path.join(shop.root, name), "w") as f:
                f.write(text.replace("GATE", shop.gate.php))
        return shop
    return start


def accept(coding):
    return f"Accept-Encoding: {coding}\r\n" if coding else ""


def alike(reply, large):
    """What two pools' answers have in common. Each has a date and an id of its own; a large one is cut by chance."""
    own = {"date", "x-request-id", "traceparent"} | ({"content-length", "transfer-encoding"} if large else set())
    unpack = {"gzip": gzip.decompress, None: bytes}.get(reply.get("Content-Encoding"), (lambda _: None) if large else bytes)
    return reply.status, sorted((n.lower(), v) for n, v in reply.fields if n.lower() not in own), unpack(reply.body)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("coding", ["", "gzip", "br", "zstd", "gzip;q=0.5, br;q=0", "gzip;q=0"])
def test_as_if_it_ran_here(shop, coding, method):
    s = shop()
    for name in SAME:
        here, there = (s.ask(f"/{prefix}{name}", method, accept(coding)) for prefix in ("", "heavy-"))
        assert alike(here, name in LARGE) == alike(there, name in LARGE), name


def test_what_is_compressed(shop):
    s = shop()
    codings = {name: s.ask(f"/heavy-{name}", fields=accept("gzip")).get("Content-Encoding") for name in SAME}
    assert {n for n, c in codings.items() if c == "gzip"} == {"page.php", "small.php", "json.php", "etag.php", "weak.php",
                                                              "length.php", "gone.php"}
    reply = s.ask("/heavy-etag.php", fields=accept("gzip"))
    assert gzip.decompress(reply.body) == b"e" * 5000
    assert (reply.get("ETag"), reply.get("Vary")) == ('"one-gzip"', "Cookie, Accept-Encoding")
    assert s.ask("/heavy-etag.php").get("ETag") == '"one"'


def test_error_page_of_the_administrator(shop, workdir):
    pages = os.path.join(workdir, "pages")
    os.mkdir(pages)
    with open(os.path.join(pages, "404.html"), "w") as f:
        f.write("<p>not here</p>" * 500)
    s = shop(first=f"http.error_pages_dir = {pages}\n")
    with open(os.path.join(s.root, "heavy-silent.php"), "w") as f:
        f.write("<?php http_response_code(404);")
    reply = s.ask("/heavy-silent.php", fields=accept("gzip"))
    assert reply.status == 404 and gzip.decompress(reply.body) == b"<p>not here</p>" * 500


def test_switched_off(shop):
    s = shop(first="http.compression = no\n")
    reply = s.ask("/heavy-page.php", fields=accept("gzip, br"))
    assert reply.get("Content-Encoding") is None and reply.get("Vary") is None


def test_flushed_parts_can_be_read_as_they_come(shop):
    s = shop()
    with Raw(s.address) as c:
        c.send("GET /heavy-flush.php HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")
        assert c.head()[0] == 200
        text, seen, reader = b"", [], zlib.decompressobj(31)
        while True:
            n = int(c.line(), 16)
            data = c.file.read(n + 2)
            if n == 0:
                break
            text += reader.decompress(data[:-2])
            if not seen or len(text) > seen[-1]:
                s.gate.open(len(seen))
                seen.append(len(text))
    assert text == b"".join(b"part %d " % i * 100 for i in range(5)) and reader.eof
    assert seen == [700, 1400, 2100, 2800, 3500]


def test_events_are_never_held_back(far):  # noqa: F811
    """Also when an administrator has event streams compressed."""
    go_on = threading.Event()

    def script(c, _number):
        read_request(c)
        c.sendall(record(6, b"Content-Type: text/event-stream\r\n\r\ndata: 1\n\n"))
        assert go_on.wait(20)
        c.sendall(record(6, b"data: 2\n\n") + END)
        c.close()
    s = far(script, "http.compress_types = text/event-stream\n")
    with Raw(s.address) as c:
        c.send("GET /far/x.php HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")
        fields = dict(c.head()[1])
        assert fields["Content-Encoding"] == "gzip"
        reader, text = zlib.decompressobj(31), b""
        while b"1\n\n" not in text:
            text += reader.decompress(c.file.read(int(c.line(), 16) + 2)[:-2])
        go_on.set()
        text += reader.decompress(c.chunks())
    assert text == b"data: 1\n\ndata: 2\n\n" and reader.eof


# ---- slow readers, and ends in the middle

def noise(sent):
    def script(c, _number):
        read_request(c)
        c.sendall(record(6, b"Content-Type: text/plain\r\n\r\n"))
        for at in range(0, len(NOISE), 32768):
            c.sendall(record(6, NOISE[at:at + 32768]))
            sent.append(at)
        c.sendall(END)
        c.close()
    return script


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_slow_reader_holds_the_server_back(far, coding):  # noqa: F811
    sent = []
    s = far(noise(sent))
    with Raw(s.address) as c:
        c.send(f"GET /far/x.php HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {coding}\r\n\r\n")
        before = 0
        while not sent or len(sent) != before: # until nothing moves any more
            before = len(sent)
            time.sleep(1)
        assert sent[-1] < len(NOISE) - (1 << 20), "the whole answer waits in memory"
        assert s.ask("/index.php").status == 200
        reply = c.reply()
    assert reply.get("Content-Encoding") == coding and len(sent) == len(range(0, len(NOISE), 32768))
    if coding == "gzip":
        assert gzip.decompress(reply.body) == NOISE


def test_client_that_leaves_in_the_middle(far):  # noqa: F811
    over = threading.Event()

    def script(c, _number):
        read_request(c)
        c.sendall(record(6, b"Content-Type: text/plain\r\n\r\n"))
        try:
            while True:
                c.sendall(record(6, NOISE[:32768]))
        except OSError:
            over.set()
    s = far(script)
    with Raw(s.address) as c:
        c.send("GET /far/x.php HTTP/1.1\r\nHost: x\r\nAccept-Encoding: br\r\n\r\n")
        assert c.head()[0] == 200
        c.file.read(100000)
    assert over.wait(20)
    assert s.ask("/index.php").status == 200


@pytest.mark.parametrize("before, status", [(0, 502), (1000, None), (300000, None)])
def test_server_that_dies_in_the_middle(far, before, status):  # noqa: F811
    """Nothing was shown yet: an error. Else the client can tell that something is missing."""
    shown = threading.Event()

    def script(c, _number):
        read_request(c)
        head = b"Content-Type: text/plain\r\n\r\n"
        c.sendall(record(6, head) if before else b"")
        for at in range(0, before, 10000):
            c.sendall(record(6, NOISE[at:at + min(10000, before)]))
        assert not before or shown.wait(30)
        c.close()
    s = far(script)
    with Raw(s.address) as c:
        c.send("GET /far/x.php HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")
        head = c.head()
        shown.set()
        if status:
            assert head[0] == status
            return
        rest = c.file.read()
        assert head[0] == 200 and len(rest) > before // 2 and not rest.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("ways", [["--http1.1"], ["--http2-prior-knowledge"]], ids=["h1", "h2"])
def test_many_at_once(shop, ways):
    """Every answer whole, whatever else the helpers have to do; files among them."""
    need("curl")
    s = shop(heavy="pm.max_children = 4\n")
    with open(os.path.join(s.root, "big.txt"), "w") as f:
        f.write("a line of a file\n" * 60000)
    plain = s.ask("/page.php").body
    wrong = []

    def client(number):
        for turn in range(15):
            target = "big.txt" if (number + turn) % 5 == 0 else "heavy-page.php"
            out = curl(*ways, "--compressed", "-H", "Accept-Encoding: " + ("br", "gzip")[turn % 2],
                       f"http://127.0.0.1:{s.port}/{target}")
            if out.stdout != (plain if target != "big.txt" else b"a line of a file\n" * 60000):
                wrong.append((target, out.returncode, len(out.stdout), out.stderr))
    clients = [threading.Thread(target=client, args=(i,)) for i in range(8)]
    for t in clients:
        t.start()
    for t in clients:
        t.join()
    assert not wrong


def test_more_answers_than_compressors(far):  # noqa: F811
    """Beyond the limit answers leave as they are, and say that they could have been compressed."""
    go_on = threading.Event()

    def script(c, _number):
        read_request(c)
        c.sendall(record(6, b"Content-Type: text/plain\r\n\r\n" + b"first " * 100))
        assert go_on.wait(60)
        c.sendall(record(6, b"last") + END)
        c.close()
    s = far(script)
    clients, heads = [], []
    for _ in range(140):
        c = Raw(s.address)
        clients.append(c)
        c.send("GET /far/x.php HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")
        heads.append(dict(c.head()[1]))
    go_on.set()
    for c, head in zip(clients, heads):
        body = c.chunks()
        assert (gzip.decompress(body) if "Content-Encoding" in head else body) == b"first " * 100 + b"last"
        assert head["Vary"] == "Accept-Encoding"
        c.close()
    assert sum("Content-Encoding" in head for head in heads) == 128
    with Raw(s.address) as c: # and there is room again
        c.send("GET /far/x.php HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")
        assert c.reply().get("Content-Encoding") == "gzip"


# ---- early hints

@pytest.mark.parametrize("coding", ["", "gzip"])
def test_early_hints_of_another_pool(shop, coding):
    s = shop()
    with Raw(s.address) as c:
        for _ in range(2): # the second time on a kept connection between the pools
            hints, answer = c.send(f"GET /heavy-hints.php HTTP/1.1\r\nHost: x\r\n{accept(coding)}\r\n").reply(), c.reply()
            assert (hints.status, hints.fields) == (103, [("Link", "</style.css>; rel=preload; as=style")])
            assert (answer.status, answer.body, answer.get("Link"), answer.get("X-Not")) == (200, b"true false", None, "in hints")


def test_early_hints_over_http2(shop):
    need("curl")
    s = shop()
    out = curl("--http2-prior-knowledge", "-i", f"http://127.0.0.1:{s.port}/heavy-hints.php").stdout
    assert out.startswith(b"HTTP/2 103") and b"\r\nHTTP/2 200" in out and out.endswith(b"true false")


def test_no_early_hints_for_http_1_0(shop):
    s = shop()
    with Raw(s.address) as c:
        reply = c.send("GET /heavy-hints.php HTTP/1.0\r\nHost: x\r\n\r\n").reply()
        assert (reply.status, reply.body) == (200, b"true false")


def test_a_client_cannot_ask_for_them(shop):
    s = shop()
    with Raw(s.address) as c:
        c.send("GET /heavy-hints.php HTTP/1.0\r\nHost: x\r\nTokio-Interim: 1\r\nTOKIO_INTERIM: 1\r\n\r\n")
        assert c.reply().status == 200


def test_endless_hints_end(shop):
    s = shop()
    with Raw(s.address) as c:
        c.send("GET /heavy-hints-many.php HTTP/1.1\r\nHost: x\r\n\r\n")
        statuses = []
        while not statuses or statuses[-1] == 103:
            reply = c.reply()
            statuses.append(reply.status)
        assert reply.body == b"end" and statuses == [103] * 16 + [200]


@pytest.mark.parametrize("first", [b"Status: 103 Early Hints\r\nLink: </a>\r\n\r\n", b"Status: 100 Continue\r\n\r\n"])
def test_other_servers_have_no_interim_heads(far, first):  # noqa: F811
    def script(c, _number):
        read_request(c)
        c.sendall(record(6, first + b"Content-Type: text/plain\r\n\r\nx") + END)
        c.close()
    assert far(script).ask("/far/x.php").status == 502
