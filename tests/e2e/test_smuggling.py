"""Requests that two servers could read differently: each is refused and the connection ends, so that what
follows is never taken for a request. Then: the same bytes in any pieces are the same requests."""
import pytest

from http_raw import Raw
from web import Site

START = "POST /index.php HTTP/1.1\r\nHost: a\r\n"
SECOND = "GET /second.txt HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n\r\n"

REFUSED = {
    "length and chunked": (400, START + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "chunked and length": (400, START + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"),
    "two lengths": (400, START + "Content-Length: 0\r\nContent-Length: 44\r\n\r\n"),
    "equal lengths": (400, START + "Content-Length: 0\r\nContent-Length: 0\r\n\r\n"),
    "length list": (400, START + "Content-Length: 0, 0\r\n\r\n"),
    "signed length": (400, START + "Content-Length: +0\r\n\r\n"),
    "hex length": (400, START + "Content-Length: 0x0\r\n\r\n"),
    "blank in length": (400, START + "Content-Length: 1 0\r\n\r\n"),
    "huge length": (400, START + "Content-Length: 18446744073709551616\r\n\r\n"),
    "blank before colon": (400, START + "Content-Length : 0\r\n\r\n"),
    "folded": (400, START + "X: a\r\n Content-Length: 9\r\n\r\n"),
    "coding twice": (400, START + "Transfer-Encoding: chunked\r\n" + CHUNKED + "0\r\n\r\n"),
    "other coding": (501, START + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "identity": (501, START + "Transfer-Encoding: identity\r\n\r\n"),
    "vertical tab": (400, START + "Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n"),
    "chunked in 1.0": (400, "POST /index.php HTTP/1.0\r\n" + CHUNKED + "0\r\n\r\n"),
    "bare LF": (400, "POST /index.php HTTP/1.1\nHost: a\n\n"),
    "bare LF in a field": (400, START + "X: a\nContent-Length: 9\r\n\r\n"),
    "bare CR": (400, START + "X: a\rContent-Length: 9\r\n\r\n"),
    "NUL": (400, START + "X: a\0b\r\n\r\n"),
    "no host": (400, "GET / HTTP/1.1\r\n\r\n"),
    "two hosts": (400, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    "bad host": (400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    "two blanks": (400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "version": (505, "GET / HTTP/3.0\r\nHost: a\r\n\r\n"),
    "HTTP/0.9": (400, "GET /\r\n\r\n"),
    "chunk size with sign": (400, START + CHUNKED + "+0\r\n\r\n"),
    "chunk size 0x": (400, START + CHUNKED + "0x0\r\n\r\n"),
    "chunk size with blank": (400, START + CHUNKED + "0 \r\n\r\n"),
    "chunk size overflow": (400, START + CHUNKED + "10000000000000000\r\n\r\n"),
    "chunk ended by LF": (400, START + CHUNKED + "1\na\r\n0\r\n\r\n"),
    "chunk without CRLF": (400, START + CHUNKED + "1\r\naX\r\n0\r\n\r\n"),
    "LF in an extension": (400, START + CHUNKED + "1;\n\r\na\r\n0\r\n\r\n"),
    "bad trailer": (400, START + CHUNKED + "0\r\nA B: c\r\n\r\n"),
}


@pytest.fixture
def stub(tokiophp, workdir):
    with open(workdir + "/www/second.txt", "w") as f:
        f.write("second")
    with open(workdir + "/www/index.php", "w") as f:
        f.write("<?php echo file_get_contents('php://input');")
    return Site(tokiophp, workdir + "/www", php=False)


def test_refused(stub):
    wrong = []
    for name, (status, request) in REFUSED.items():
        with Raw(stub.address) as raw:
            reply = raw.send(request + SECOND).reply()
            if not reply or reply.status != status or reply.get("Connection") != "close" or not raw.at_end():
                wrong.append(f"{name}: {reply and (reply.status, reply.fields)}")
    assert not wrong, "\n".join(wrong)
    assert stub.ask("/second.txt").text == "second"


def test_read_in_the_one_way(stub):
    """Unusual and unambiguous."""
    for request in (
            START + "content-LENGTH: 3\r\n\r\nabc",
            START + "Content-Length: \t 3 \r\n\r\nabc",
            START + "Content-Length: 003\r\n\r\nabc",
            START + "TRANSFER-encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            START + CHUNKED + "003;ext=\"1\"\r\nabc\r\n0\r\nT: x\r\n\r\n",
            "\r\n" + START + "Content-Length: 3\r\n\r\nabc",
            "POST http://a/index.php HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"):
        with Raw(stub.address) as raw:
            raw.send(request + SECOND)
            assert raw.reply().status == 200, request
            assert raw.reply().body == b"second", request


def test_pieces(stub):
    request = (START + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: x\r\n\r\n" + SECOND).encode()
    for cut in range(1, len(request)):
        with Raw(stub.address) as raw:
            raw.send(request[:cut]).send(request[cut:])
            assert raw.reply().status == 200, cut
            assert raw.reply().body == b"second", cut
