"""HTTP/2 with PHP behind it, and clients that misuse it: only their own connection suffers."""
import os
import socket
import time

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded

from gate import Gate
from h2_client import ENHANCE_YOUR_CALM, FRAME_SIZE_ERROR, PROTOCOL_ERROR, REFUSED, STREAM_CLOSED, Client, frame
from files import put_all
from http_raw import Raw
from process import PATIENCE, descriptors, wait_for
from web import Site

SCRIPTS = {
    "hello.php": "<?php echo 'hello';",
    "echo.php": "<?php echo file_get_contents('php://input');",
    "proto.php": "<?php echo $_SERVER['SERVER_PROTOCOL'], ' ', $_SERVER['HTTP_HOST'], ' ', $_SERVER['HTTP_COOKIE'] ?? '';",
    "big.php": "<?php for ($i = 0; $i < 64; $i++) echo str_repeat(chr(65 + $i % 26), 65536);",
    "sleep.php": "<?php usleep(400000); echo 'slept';",
    "long.php": "<?php usleep(3500000); echo 'slept long';",  # longer than http.header_timeout
    "gate.php": "<?php GATE $gate(1); echo 'let through';",
    "stream.php": "<?php for ($i = 0; $i < 3; $i++) { echo $i; flush(); usleep(50000); }",
    "none.php": "<?php http_response_code(204); header('Connection: close'); header('Transfer-Encoding: chunked');",
}


@pytest.fixture
def address(tokiophp, workdir):
    root = workdir + "/site"
    os.mkdir(root)
    put_all(root, {name: text.replace("GATE", Gate(workdir).php) for name, text in SCRIPTS.items()})
    with open(root + "/file.bin", "wb") as f:
        f.write(bytes(range(256)) * 2000)
    return Site(tokiophp, root, pool="http.max_body_size = 5M\nhttp.header_timeout = 2s\n").address


def others_are_served(address):
    with Client(address) as client:
        assert client.get() == (200, b"hello")


def test_requests(address):
    with Client(address) as client:
        assert client.get() == (200, b"hello")
        assert client.get("/proto.php", fields=[("cookie", "a=1"), ("cookie", "b=2")]) == \
            (200, b"HTTP/2.0 test.example a=1; b=2")
        assert client.get("/nothing.txt")[0] == 404
        assert client.get("/file.bin") == (200, bytes(range(256)) * 2000)
        assert client.get("/stream.php") == (200, b"012")
        assert client.get(method="HEAD") == (200, b"")
        assert client.get("/none.php") == (204, b"")


def test_multiplexing(address, workdir):
    with Client(address) as client:
        slow = client.request("/gate.php")
        fast = client.request("/hello.php")
        client.finish(fast)
        assert slow not in client.ended
        Gate(workdir).open(1)
        client.finish(slow)
        assert client.body[slow] == b"let through"
        streams = [client.request("/big.php") for _ in range(6)]
        client.finish(*streams)
        assert [len(client.body[s]) for s in streams] == [64 * 65536] * 6


def test_bodies(address):
    body = os.urandom(1 << 20)
    with Client(address) as client:
        for length in (True, False):
            stream = client.request("/echo.php", "POST", end=False,
                                    fields=[("content-length", str(len(body)))] if length else [])
            at = 0
            while at < len(body):
                room = min(client.h2.local_flow_control_window(stream), client.h2.max_outbound_frame_size)
                if room == 0:
                    assert client.step()
                    continue
                client.h2.send_data(stream, body[at:at + room])
                at += room
                client.flush()
            client.h2.end_stream(stream)
            client.flush()
            client.finish(stream)
            assert client.body[stream] == body
        stream = client.request("/echo.php", "POST", end=False, fields=[("content-length", str(6 << 20))])
        client.finish(stream)
        assert client.status[stream] == 413
        assert client.get() == (200, b"hello")


def test_content_length_mismatch(address):
    with Client(address) as client:
        stream = client.request("/echo.php", "POST", end=False, fields=[("content-length", "5")])
        client.h2.send_data(stream, b"abc", end_stream=True)
        client.flush()
        client.finish(stream)
        assert client.reset.get(stream) == PROTOCOL_ERROR
        assert client.get() == (200, b"hello")


@pytest.mark.parametrize("fields", [
    [("connection", "close")], [("transfer-encoding", "chunked")], [("upgrade", "x")], [("Upper", "x")],
    [("te", "gzip")], [("a", "b\r\nc: d")], [("a b", "c")], [(":path", "/x")], [(":unknown", "x")],
    [("host", "other.example")], [("content-length", "1"), ("content-length", "2")]], ids=str)
def test_malformed_heads(address, fields):
    with Client(address, lax=True) as client:
        stream = client.request(fields=fields)
        client.finish(stream)
        assert stream in client.reset or client.status[stream] == 400
    others_are_served(address)


@pytest.mark.parametrize("malformed", ["a head", "trailers"])
def test_only_the_malformed_stream_ends(address, malformed):
    """Its header block is over, and nobody waits for the rest of it: the other streams are served to their ends."""
    with Client(address, lax=True) as client:
        long = client.request("/long.php")
        if malformed == "a head":
            stream = client.request(fields=[("Upper", "x")])
        else:
            stream = client.request("/echo.php", "POST", end=False)
            client.raw.send(frame(1, 5, stream, b"\x82"))
        client.finish(stream, long)
        assert stream in client.reset
        assert (client.status.get(long), client.body.get(long)) == (200, b"slept long")


@pytest.mark.parametrize("authority", ["a b", "u@h", "a/b", ""])
def test_bad_authority(address, authority):
    with Client(address, lax=True) as client:
        stream = client.request(authority=authority)
        client.finish(stream)
        assert stream in client.reset or client.status[stream] == 400


def test_head_limits(address):
    with Client(address) as client:
        assert client.get(fields=[(f"x{i}", "y") for i in range(101)])[0] == 431
        assert client.get(fields=[(f"x{i}", "y" * 4000) for i in range(9)])[0] == 431
        assert client.get() == (200, b"hello")


def flood(client, data, times):
    """Sends until the server has had enough."""
    try:
        for _ in range(times):
            client.raw.send(data)
    except (BrokenPipeError, ConnectionResetError):
        pass
    return client.to_the_end()


@pytest.mark.parametrize("name,data", [
    ("PING", frame(6, 0, 0, b"12345678") * 100),
    ("SETTINGS", frame(4, 0, 0) * 100),
    ("PRIORITY", frame(2, 0, 3, b"\0\0\0\0\1") * 100),
    ("WINDOW_UPDATE", frame(8, 0, 0, b"\0\0\0\1") * 100),
], ids=lambda v: v if isinstance(v, str) else "")
def test_cheap_frames(address, name, data):
    with Client(address) as client:
        assert flood(client, data, 100) in (ENHANCE_YOUR_CALM, None)
    others_are_served(address)


def test_empty_data(address):
    with Client(address) as client:
        stream = client.request("/echo.php", "POST", end=False)
        assert flood(client, frame(0, 0, stream) * 100, 100) in (ENHANCE_YOUR_CALM, None)
    others_are_served(address)


def test_rapid_reset(address):
    with Client(address) as client:
        try:
            for _ in range(2000):
                stream = client.h2.get_next_available_stream_id()
                client.h2.send_headers(stream, [(":method", "GET"), (":path", "/sleep.php"), (":scheme", "http"),
                                                (":authority", "a")], end_stream=True)
                client.h2.reset_stream(stream)
                client.flush()
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert client.to_the_end() in (ENHANCE_YOUR_CALM, None)
    others_are_served(address)


def test_made_you_reset(address):
    """Each stream is opened properly and then broken, so that the server resets it."""
    with Client(address) as client:
        try:
            for _ in range(1000):
                stream = client.request("/sleep.php")
                client.raw.send(frame(8, 0, stream, b"\0\0\0\0"))  # WINDOW_UPDATE of 0
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert client.to_the_end() in (ENHANCE_YOUR_CALM, PROTOCOL_ERROR, REFUSED, None)
    others_are_served(address)


def test_continuation_flood(address):
    with Client(address) as client:
        head = client.h2.encoder.encode([(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "a")])
        client.raw.send(frame(1, 1, 1, head))
        flood(client, frame(9, 0, 1, b"\x00\x01a\x01b" * 100), 1000)
    others_are_served(address)


def test_header_bomb(address):
    """One entry of 4 KB in the table, named 12,000 times: megabytes of header list from a small block."""
    with Client(address) as client:
        head = b"\x82\x84\x86\x41\x01a" + b"\x40\x01x\x7f\xa1\x1e" + b"y" * 4000
        block = head + b"\xbe" * 12000
        client.raw.send(frame(1, 1, 1, block[:16000]) + frame(9, 4, 1, block[16000:]))
        assert client.to_the_end() in (ENHANCE_YOUR_CALM, None)
    others_are_served(address)


def test_unfinished_head_ends(address):
    with Client(address) as client:
        client.step()  # its SETTINGS are acknowledged: nothing may come inside a header block
        client.raw.send(frame(1, 1, 1, b"\x82\x84"))
        assert client.to_the_end() is None
    others_are_served(address)


@pytest.mark.parametrize("data", [
    frame(0, 0, 0, b"x"), frame(1, 4, 0, b"\x82"), frame(1, 4, 2, b"\x82\x84\x86\x41\x01a"), frame(4, 0, 1),
    frame(4, 0, 0, b"\0\2\0\0\0\2"), frame(4, 1, 0, b"\0\0\0\0\0\0"), frame(4, 0, 0, b"123"), frame(6, 0, 1, b"12345678"),
    frame(6, 0, 0, b"123"), frame(7, 0, 1, b"\0" * 8), frame(8, 0, 0, b"\0\0\0\0"), frame(8, 0, 0, b"\x7f\xff\xff\xff") * 2,
    frame(3, 0, 0, b"\0\0\0\0"), frame(3, 0, 99, b"\0\0\0\0"), frame(9, 4, 1, b"\x82"), frame(5, 4, 1, b"\0\0\0\2\x82"),
    b"\xff" * 400, frame(1, 4, 1, b"\xff\xff\xff\xff\xff\xff\xff"), frame(0, 8, 1, b"\xff"),
    frame(4, 0, 0, b"\0\4\xff\xff\xff\xff"), frame(4, 0, 0, b"\0\5\0\0\0\1"),
], ids=lambda d: d[:16].hex())
def test_connection_errors(address, data):
    """RFC 9113, sections 5 and 6: each of these ends the connection."""
    with Client(address) as client:
        client.raw.send(data)
        assert client.to_the_end() != 0
    others_are_served(address)


HEAD = b"\x82\x84\x86\x41\x01a"  # GET / of host a
POST = b"\x83" + HEAD[1:]


@pytest.mark.parametrize("code, steps", [
    (STREAM_CLOSED, [frame(1, 5, 1, HEAD) + frame(0, 0, 1, b"x")]),
    (STREAM_CLOSED, [frame(1, 5, 1, HEAD) + frame(1, 5, 1, HEAD)]),
    (STREAM_CLOSED, [frame(1, 5, 1, HEAD), frame(0, 1, 1, b"x")]),
    (STREAM_CLOSED, [frame(1, 5, 1, HEAD), frame(1, 5, 1, HEAD)]),
    (STREAM_CLOSED, [frame(1, 4, 1, POST) + frame(3, 0, 1, b"\0\0\0\x08") + frame(0, 1, 1, b"x")]),
    (STREAM_CLOSED, [frame(1, 4, 1, POST) + frame(3, 0, 1, b"\0\0\0\x08") + frame(1, 5, 1, HEAD)]),
    (PROTOCOL_ERROR, [frame(1, 5, 5, HEAD) + frame(1, 5, 3, HEAD)]),
    (PROTOCOL_ERROR, [frame(1, 5, 3, HEAD) + frame(1, 5, 1, HEAD)]),
    (PROTOCOL_ERROR, [frame(2, 0, 0, b"\0\0\0\1\x10")]),
    (FRAME_SIZE_ERROR, [frame(2, 0, 1, b"\0\0\0\1")]),
], ids=str)
def test_frames_out_of_place(address, code, steps):
    """As nghttpd answers them: what comes behind a stream's end ends the connection."""
    with Client(address) as client:
        for step in steps:
            client.raw.send(step)
            time.sleep(0.1)
        while (head := client.raw.file.read(9)) and head[3] != 7:
            client.raw.file.read(int.from_bytes(head[:3], "big"))
        assert head and int.from_bytes(client.raw.file.read(8)[4:], "big") == code
    others_are_served(address)


@pytest.mark.parametrize("step", [
    frame(8, 0, 1, b"\0\0\0\1"), frame(3, 0, 1, b"\0\0\0\x08"), frame(2, 0, 1, b"\0\0\0\3\x10"), frame(2, 0, 9, b"\0\0\0\1\x10"),
], ids=lambda s: s.hex())
def test_late_frames(address, step):
    """What may come late, from a client that has not heard of a stream's end."""
    with Client(address) as client:
        assert client.get() == (200, b"hello")
        client.raw.send(step)
        assert client.get() == (200, b"hello")


def test_body_of_a_stream_that_was_reset(address):
    """It was on its way when we reset the stream; the connection goes on."""
    with Client(address) as client:
        stream = client.request("/echo.php", "POST", end=False, fields=[("content-length", "3")])
        client.h2.send_data(stream, b"too much")
        client.flush()
        client.finish(stream)
        assert stream in client.reset
        client.raw.send(frame(0, 0, stream, b"more") + frame(0, 1, stream, b"more"))
        assert client.get() == (200, b"hello")


def test_more_streams_than_announced(address):
    """RFC 9113, 5.1.2: the streams that are too many are refused, not the connection."""
    with Client(address) as client:
        client.step()
        most = client.h2.remote_settings.max_concurrent_streams
        assert most == 128
        first = 1
        client.raw.send(b"".join(frame(1, 4, first + 2 * i, POST) for i in range(most + 20)))
        refused = []
        while len(refused) < 20:
            head = client.raw.file.read(9)
            payload = client.raw.file.read(int.from_bytes(head[:3], "big"))
            assert head[3] != 7, payload
            if head[3] == 3:
                assert int.from_bytes(payload, "big") == REFUSED
                refused.append(int.from_bytes(head[5:], "big"))
        assert refused == [first + 2 * i for i in range(most, most + 20)]
        client.raw.send(frame(0, 1, first) + frame(6, 0, 0, b"still on"))
        while True:
            head = client.raw.file.read(9)
            payload = client.raw.file.read(int.from_bytes(head[:3], "big"))
            assert head[3] != 7, payload
            if head[3] == 6:
                assert payload == b"still on"
                break
    others_are_served(address)


def test_reader_that_does_not_read(address):
    """Streams with no window: they wait, and nobody else does."""
    with Client(address) as client:
        client.h2.update_settings({4: 0})
        client.flush()
        for _ in range(2):
            client.request("/hello.php")
        time.sleep(0.3)
        others_are_served(address)


def test_client_that_leaves_in_the_middle_of_a_body(tokiophp, workdir):
    """Also with a body in a temporary file: it will never be complete, so nothing is kept."""
    root = workdir + "/leaving"
    os.mkdir(root)
    with open(root + "/hello.php", "w") as f:
        f.write(SCRIPTS["hello.php"])
    site = Site(tokiophp, root, pool="http.body_buffer = 4K\nhttp.body_timeout = 10m\n")
    engine = wait_for(site.server.engine_pids, 30, "an engine process")[0]

    def files():
        return [n for n in descriptors(engine).values() if "(deleted)" in n and "memfd:" not in n and "/.ZendSem" not in n]  # that is OPcache's lock

    before = len(files())
    with Client(site.address) as client, Client(site.address) as half:
        for c in (client, half):
            for _ in range(3):
                stream = c.request(method="POST", end=False, fields=[("content-length", "1000000")])
                c.h2.send_data(stream, b"x" * 9000)
                c.flush()
        wait_for(lambda: len(files()) == before + 6, 10, "bodies in files")
        answered = half.request()
        half.raw.sock.shutdown(socket.SHUT_WR)
        client.raw.close()
        half.to_the_end()
        assert half.body[answered] == b"hello"
        wait_for(lambda: len(files()) == before, 10, "the files' end")


def test_goaway_on_drain(tokiophp, workdir):
    os.mkdir(workdir + "/s")
    with open(workdir + "/s/hello.php", "w") as f:
        f.write("<?php echo 'hello';")
    site = Site(tokiophp, workdir + "/s")
    import signal
    with Client(site.address) as client:
        assert client.get() == (200, b"hello")
        os.kill(site.server.pid, signal.SIGUSR2)
        end = time.monotonic() + PATIENCE
        while client.terminated is None and time.monotonic() < end and client.step():
            pass
        assert client.terminated == 0


def upgrade(path):
    return (f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
            "HTTP2-Settings: AAMAAABk\r\n\r\n")


@pytest.mark.parametrize("path", ["/big.php", "/file.bin"])
def test_silence_after_an_upgrade(address, path):
    """Its answer waits for the client's first word, and that is not waited for longer than for a head."""
    with Raw(address) as raw:
        raw.send(upgrade(path))
        assert raw.head()[0] == 101
        began = time.monotonic()
        raw.file.read()
        assert 1 < time.monotonic() - began < 20
    others_are_served(address)


def test_upgrade(address):
    with Raw(address) as raw:
        raw.send(upgrade("/hello.php"))
        head = raw.head()
        assert head[0] == 101
        h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        h2.initiate_upgrade_connection()
        raw.send(h2.data_to_send())
        body, ended = b"", False
        while not ended:
            for event in h2.receive_data(raw.file.read1(65536)):
                body += event.data if isinstance(event, DataReceived) else b""
                ended = ended or isinstance(event, StreamEnded)
        assert body == b"hello"
