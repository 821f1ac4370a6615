"""What HTTP/2 clients may do for ever, and what only for a while: chatty work is served to its end, a flood ends its own
connection and nothing else. What nginx, nghttpd and Caddy serve is served here."""
import os
import shutil
import struct
import subprocess
import time

import pytest

from h2_client import ENHANCE_YOUR_CALM, Client, frame
from files import put_all
from web import Site

DATA, HEADERS, RST_STREAM, WINDOW_UPDATE = 0, 1, 3, 8
BUDGET, BUDGET_A_SECOND, BYTES_A_POINT = 2000, 200, 16  # of http/wire/h2_guard.h
SCRIPTS = {
    "hello.php": "<?php echo 'hello';",
    "length.php": "<?php echo strlen(file_get_contents('php://input'));",
    "wait.php": "<?php usleep(2000); echo 'waited';",
    # One DATA frame an event: the loop has sent each before the next is there.
    "events.php": "<?php while (ob_get_level()) ob_end_flush(); header('Content-Type: text/event-stream'); "
                  "for ($i = 0; $i < (int) $_GET['n']; $i++) { echo \"data: $i\\n\\n\"; flush(); usleep((int) $_GET['pause']); }",
}


@pytest.fixture
def address(tokiophp, workdir):
    root = workdir + "/site"
    os.mkdir(root)
    put_all(root, SCRIPTS)
    with open(root + "/small.txt", "w") as f:
        f.write("small")
    with open(root + "/page.bin", "wb") as f:
        f.write(bytes(range(256)) * 100)
    with open(root + "/file.bin", "wb") as f:
        f.write(bytes(range(256)) * 4000)
    return Site(tokiophp, root, pool="http.rate_limit = 0\n").address


def update(stream, n):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", n))


def test_uploads_in_small_writes(address):
    """A pipe that writes some bytes at a time: 12,000 DATA frames, none of which would fill a line."""
    with Client(address) as client:
        for size in (1, 12):
            stream = client.request("/length.php", "POST", end=False)
            client.raw.send(frame(DATA, 0, stream, b"x" * size) * 4000)
            client.raw.send(frame(DATA, 1, stream))
            client.finish(stream)
            assert (client.status[stream], client.body[stream]) == (200, str(4000 * size).encode())
        stream = client.request("/nothing/at/all", "POST", end=False)  # answered before its body has come
        client.raw.send(frame(DATA, 0, stream, b"x" * 12) * 4000)
        client.raw.send(frame(DATA, 1, stream))
        client.finish(stream)
        assert client.status[stream] == 404
        assert client.get() == (200, b"hello")


def frames_of(client, stream):
    """The payloads of a stream's DATA frames, each acknowledged at once on the stream and on the connection."""
    file = client.raw.file
    while True:
        head = file.read(9)
        assert len(head) == 9, "the connection ended"
        size, kind, flags, at = int.from_bytes(head[:3], "big"), head[3], head[4], int.from_bytes(head[5:], "big")
        payload = file.read(size)
        assert kind not in (RST_STREAM, 7), payload
        if kind == DATA and at == stream:
            if payload:
                client.raw.send(update(stream, size) + update(0, size))
                yield payload
            if flags & 1:
                return


def test_every_frame_acknowledged(address):
    """A reader of an event stream that opens the window again after each event, for longer than its budget would last."""
    def beyond_the_budget(events, pause):
        began = time.monotonic()
        with Client(address) as client:
            frames = list(frames_of(client, client.request(f"/events.php?n={events}&pause={pause}")))
        body = b"".join(frames)
        assert body == b"".join(b"data: %d\n\n" % i for i in range(events))
        budget = BUDGET + BUDGET_A_SECOND * (time.monotonic() - began) + len(body) / BYTES_A_POINT
        return 2 * len(frames) > budget
    # where the machine is slow, several events come in one frame, or the budget grows: then there have to be more, and slower
    turns = (6000, 300), (10000, 600), (20000, 1000), (40000, 1500)
    assert any(beyond_the_budget(*turn) for turn in turns), "there were too few frames to show anything"


@pytest.mark.parametrize("path", ["/hello.php", "/wait.php", "/file.bin"])
def test_cancelled_requests(address, path):
    """A page that is left, a search as one types: 320 requests that nobody waits for, one after the other."""
    with Client(address) as client:
        for _ in range(320):
            stream = client.request(path)
            client.h2.reset_stream(stream, 8)
            client.flush()
        status, body = None, b""
        while not status and client.terminated is None:  # refused: the scripts of too many have not ended yet
            status, body = client.get()
        assert (status, body) == (200, b"hello")


def test_cancelled_among_answered(address):
    """As many as one likes, if others are answered meanwhile."""
    with Client(address) as client:
        for _ in range(600):
            for _ in range(2):
                client.h2.reset_stream(client.request("/small.txt"), 8)
            client.flush()
            assert client.get() == (200, b"hello")


def test_cancelled_behind_the_answer(address):
    """Resets that cross with complete answers, in any number, as long as requests are answered."""
    with Client(address) as client:
        for _ in range(250):
            streams = [client.request("/small.txt") for _ in range(20)]
            client.finish(*streams)
            assert all(client.status.get(s) == 200 for s in streams), client.terminated
            client.raw.send(b"".join(frame(RST_STREAM, 0, s, struct.pack(">I", 8)) for s in streams))
        assert client.get() == (200, b"hello")


@pytest.mark.parametrize("windows, path", [(["-w10", "-W16"], "/file.bin"), (["-w6"], "/page.bin")])
def test_narrow_windows(address, windows, path):
    """Of 1,023 and of 63 bytes, which h2load opens again by half of them."""
    if not shutil.which("h2load"):
        pytest.skip("h2load is missing")
    url = f"http://{address[0]}:{address[1]}{path}"
    done = subprocess.run(["h2load", "-n50", "-c1", "-m50", *windows, url], capture_output=True, text=True, timeout=100)
    assert "50 succeeded, 0 failed" in done.stdout, done.stdout


def ends(client, data, times=200):
    try:
        for _ in range(times):
            client.raw.send(data)
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert client.to_the_end() in (ENHANCE_YOUR_CALM, None)


def others_are_served(address):
    with Client(address) as client:
        assert client.get() == (200, b"hello")


def test_dribbled_window(address):
    """A large file by one byte at a time: each costs us a frame."""
    with Client(address) as client:
        client.h2.update_settings({4: 0})
        client.flush()
        stream = client.request("/file.bin")
        ends(client, update(stream, 1) * 100)
    others_are_served(address)


def test_padding_is_no_body(address):
    with Client(address) as client:
        stream = client.request("/length.php", "POST", end=False)
        ends(client, frame(DATA, 8, stream, b"\x05" + b"\0" * 5) * 100)
    others_are_served(address)


def test_cancelled_without_end(address):
    """Rapid reset: what is cancelled before anything of it was answered."""
    with Client(address) as client:
        try:
            for _ in range(3000):
                client.h2.reset_stream(client.request("/wait.php"), 8)
                client.flush()
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert client.to_the_end() in (ENHANCE_YOUR_CALM, None)
    others_are_served(address)
