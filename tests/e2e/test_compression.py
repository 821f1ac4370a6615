"""Content codings: of static files (made once, by the helper) and of PHP's responses."""
import gzip
import os
import subprocess
import time

import pytest

from web import Site

TEXT = "".join(f"line {i} of a text that compresses well\n" for i in range(2000))


@pytest.fixture
def root(workdir):
    folder = os.path.join(workdir, "texts")
    os.mkdir(folder)
    files = {"big.txt": TEXT, "small.txt": "small", "picture.png": TEXT,
             "big.php": f"<?php header('Content-Type: text/plain'); echo {TEXT!r};".replace("\\n", "\n"),
             "done.php": "<?php header('Content-Encoding: x-own'); echo str_repeat('a', 5000);",
             "keep.php": "<?php header('Cache-Control: no-transform'); echo str_repeat('a', 5000);"}
    for name, content in files.items():
        path = os.path.join(folder, name)
        with open(path, "w") as f:
            f.write(content)
        os.utime(path, (time.time() - 3600,) * 2)
    return folder


def compressed(site, target, coding):
    """The file's answer in this coding, once the helper has made it."""
    deadline = time.time() + 20
    while True:
        answer = site.ask(target, Accept_Encoding=coding)
        assert answer.status == 200
        if answer.get("Content-Encoding"):
            return answer
        assert answer.text == TEXT and time.time() < deadline
        time.sleep(0.05)


def test_static(tokiophp, root):
    site = Site(tokiophp, root, php=False)
    plain = site.ask("/big.txt")
    assert plain.get("Content-Encoding") is None and plain.get("Vary") == "Accept-Encoding"
    answer = compressed(site, "/big.txt", "gzip")
    assert gzip.decompress(answer.body).decode() == TEXT
    assert answer.get("ETag") != plain.get("ETag") and answer.get("Vary") == "Accept-Encoding"
    assert site.ask("/big.txt", Accept_Encoding="gzip", If_None_Match=answer.get("ETag")).status == 304
    assert site.ask("/big.txt", Accept_Encoding="gzip;q=0").text == TEXT
    assert site.ask("/big.txt", Accept_Encoding="gzip", Range="bytes=0-3").text == TEXT[:4]
    assert compressed(site, "/big.txt", "br").get("Content-Encoding") == "br"
    assert site.ask("/big.txt", Accept_Encoding="gzip, br").get("Content-Encoding") == "br"
    assert site.ask("/big.txt", Accept_Encoding="gzip, br;q=0.5").get("Content-Encoding") == "gzip"


def test_brotli_as_curl_reads_it(tokiophp, root):
    site = Site(tokiophp, root, php=False)
    compressed(site, "/big.txt", "br")
    out = subprocess.run(["curl", "-sS", "--compressed", "-H", "Accept-Encoding: br", "http://%s:%d/big.txt" % site.address],
                         capture_output=True, timeout=30)
    assert out.stdout.decode() == TEXT, out.stderr


def test_what_is_left_alone(tokiophp, root):
    site = Site(tokiophp, root, php=False)
    for target in ("/small.txt", "/picture.png"):
        for _ in range(3):
            assert site.ask(target, Accept_Encoding="gzip, br").get("Content-Encoding") is None
            time.sleep(0.1)


def test_precompressed(tokiophp, root):
    with open(os.path.join(root, "big.txt.gz"), "wb") as f:
        f.write(gzip.compress(b"made before"))
    site = Site(tokiophp, root, php=False)
    answer = site.ask("/big.txt", Accept_Encoding="gzip")
    assert gzip.decompress(answer.body) == b"made before"
    assert answer.get("Content-Type") == "text/plain; charset=utf-8"


def test_php(tokiophp, root):
    site = Site(tokiophp, root)
    answer = site.ask("/big.php", Accept_Encoding="gzip")
    assert answer.get("Content-Encoding") == "gzip" and "Accept-Encoding" in answer.get("Vary", "")
    assert gzip.decompress(answer.body).decode() == TEXT
    plain = site.ask("/big.php")
    assert plain.text == TEXT and "Accept-Encoding" in plain.get("Vary", "")
    assert site.ask("/done.php", Accept_Encoding="gzip").get("Content-Encoding") == "x-own"
    assert site.ask("/keep.php", Accept_Encoding="gzip").get("Content-Encoding") is None


def test_off(tokiophp, root):
    site = Site(tokiophp, root, "http.compression = no\n", php=False)
    answer = site.ask("/big.txt", Accept_Encoding="gzip")
    assert answer.text == TEXT and answer.get("Vary") is None
