"""Static files over HTTP: what arrives, and what the fields say about it."""
import os
import subprocess
import time

import pytest

import process
from files import grow_old, put
from web import Site

CONTENT = bytes(range(256)) * 40  # 10 KB


@pytest.fixture
def root(workdir):
    folder = os.path.join(workdir, "static")
    grow_old(put(folder, "a.bin", CONTENT), 3600)
    grow_old(put(folder, "page.html", b"<p>hello"), 3600)
    grow_old(put(folder, "empty.txt", b""), 3600)
    return folder


@pytest.fixture
def files(tokiophp, root):
    return Site(tokiophp, root, php=False)


def test_get(files):
    answer = files.ask("/a.bin")
    assert answer.status == 200
    assert answer.body == CONTENT
    assert answer.get("Content-Type") == "application/octet-stream"
    assert answer.get("Content-Length") == str(len(CONTENT))
    assert answer.get("Cache-Control") == "public, max-age=86400"
    assert answer.get("Accept-Ranges") == "bytes"
    assert answer.get("ETag").startswith('"')
    assert answer.get("Last-Modified").endswith(" GMT")
    assert answer.get("Expires").endswith(" GMT")
    assert files.ask("/page.html").get("Content-Type") == "text/html; charset=utf-8"
    assert files.ask("/empty.txt").body == b""


def test_head(files):
    whole, head = files.ask("/a.bin"), files.ask("/a.bin", "HEAD")
    assert head.status == 200 and head.body == b""
    for name in ("Content-Length", "ETag", "Content-Type", "Last-Modified"):
        assert head.get(name) == whole.get(name)


def test_other_methods(files):
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        answer = files.ask("/page.html", method, b"x=1")
        assert answer.status == 405, method
        assert answer.get("Allow") == "GET, HEAD"


def test_conditions(files):
    first = files.ask("/a.bin")
    again = files.ask("/a.bin", If_None_Match=first.get("ETag"))
    assert again.status == 304 and again.body == b""
    assert again.get("ETag") == first.get("ETag")
    assert files.ask("/a.bin", If_Modified_Since=first.get("Last-Modified")).status == 304
    assert files.ask("/a.bin", If_None_Match='"other"', If_Modified_Since=first.get("Last-Modified")).status == 200
    assert files.ask("/a.bin", If_Match='"other"').status == 412
    assert files.ask("/a.bin", If_Unmodified_Since="Sun, 06 Nov 1994 08:49:37 GMT").status == 412


def test_ranges(files):
    part = files.ask("/a.bin", Range="bytes=100-199")
    assert part.status == 206 and part.body == CONTENT[100:200]
    assert part.get("Content-Range") == f"bytes 100-199/{len(CONTENT)}"
    assert files.ask("/a.bin", Range="bytes=-10").body == CONTENT[-10:]
    beyond = files.ask("/a.bin", Range="bytes=999999-")
    assert beyond.status == 416 and beyond.get("Content-Range") == f"bytes */{len(CONTENT)}"
    etag = part.get("ETag")
    assert files.ask("/a.bin", Range="bytes=0-0", If_Range=etag).status == 206
    assert files.ask("/a.bin", Range="bytes=0-0", If_Range='"other"').body == CONTENT


def test_several_ranges(files):
    answer = files.ask("/a.bin", Range="bytes=0-9,5000-5009")
    assert answer.status == 206
    kind, boundary = answer.get("Content-Type").split("; boundary=")
    assert kind == "multipart/byteranges"
    parts = answer.body.split(b"--" + boundary.encode())
    assert len(parts) == 4 and parts[3] == b"--\r\n"
    assert parts[1].partition(b"\r\n\r\n")[2] == CONTENT[0:10] + b"\r\n"
    assert parts[2].partition(b"\r\n\r\n")[2] == CONTENT[5000:5010] + b"\r\n"
    many = "bytes=" + ",".join(f"{i}-" for i in range(300))
    assert files.ask("/a.bin", Range=many).status == 200


def test_large_file(files, root):
    content = os.urandom(1 << 16) * 160  # 10 MB: by descriptor, in many writes
    grow_old(put(root, "large.bin", content), 3600)
    assert files.ask("/large.bin").body == content
    assert files.ask("/large.bin", Range="bytes=9000000-9000099").body == content[9000000:9000100]


def test_change_is_seen(files, root):
    etag = files.ask("/page.html").get("ETag")
    grow_old(put(root, "page.html", b"<p>changed"), 60)
    deadline = time.time() + 20
    while files.ask("/page.html").body != b"<p>changed":
        assert time.time() < deadline
        time.sleep(0.1)
    assert files.ask("/page.html").get("ETag") != etag
    os.unlink(os.path.join(root, "page.html"))
    while files.ask("/page.html").status != 404:
        assert time.time() < deadline
        time.sleep(0.1)


def test_shrinking_file_cuts_the_connection(files, root):
    """The announced length can't be kept: the client must see a short body, and the next request is fine."""
    path = grow_old(put(root, "shrinks.bin", b"x" * (50 << 20)), 3600)
    out = os.path.join(os.path.dirname(root), "received")
    curl = subprocess.Popen(["curl", "-sS", "--limit-rate", "5M", "-o", out,
                             "http://%s:%d/shrinks.bin" % files.address], stderr=subprocess.PIPE)
    process.wait_for(lambda: os.path.exists(out) and os.path.getsize(out), 20, "the first bytes")
    os.truncate(path, 10)
    assert curl.wait(60) == 18, curl.stderr.read()  # CURLE_PARTIAL_FILE
    assert files.ask("/a.bin").body == CONTENT


def test_kept_alive_connection(files):
    url = "http://%s:%d" % files.address
    out = subprocess.run(["curl", "-sSv", url + "/page.html", "-I", url + "/a.bin", url + "/none", url + "/page.html"],
                         capture_output=True, timeout=30, text=True)
    assert out.returncode == 0, out.stderr
    assert out.stderr.count("Connected to") == 1
