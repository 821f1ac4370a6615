"""Files that a script sends (X-Accel-Redirect, X-Sendfile): the script has decided who gets them, so its fields rule. Ours
are only those that no script can know: ranges, conditions, the length."""
import re

from web_cases import ABSENT, Case, Site, fixture, parametrize

TEXT = "0123456789" * 100
SEND = "<?php header('X-Accel-Redirect: /page.txt'); "
SITES = {
    "sent": Site({
        "files/page.txt": TEXT,
        "static.txt": TEXT,
        "plain.php": SEND + "header('Content-Type: text/plain');",
        "private.php": SEND + "header('Cache-Control: private, no-store'); header('Vary: Cookie'); header('Content-Type: text/x-own');",
        "tagged.php": SEND + "header('ETag: \"own\"'); header('Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT');",
        "many.php": SEND + "for ($i = 0; $i < 40; $i++) header(\"Set-Cookie: c$i=1\", false); header('Link: <a>', false);"
                           "header('Link: <b>', false); header('X-Request-ID: own-id');",
        "coded.php": SEND + "header('Content-Encoding: x-own'); header('Cache-Control: no-transform');",
        "gone.php": "<?php header('X-Accel-Redirect: /gone.txt'); header('Content-Disposition: attachment'); header('ETag: \"own\"');"
                    "header('Cache-Control: public'); setcookie('a', 'b');",
    }, pool="http.sendfile_root = {folder}/site/files\nhttp.security_headers = yes\n"),
}
stages = fixture(SITES)


def varies(reply):
    assert sorted(reply.all("Vary")) == ["Accept-Encoding", "Cookie"], reply


GZIP = [("Accept-Encoding", "gzip")]
FILES = [
    Case("a static file", "/static.txt", site="sent", status=200, body=TEXT,
         has={"Cache-Control": re.compile("public"), "Expires": re.compile("GMT"), "Vary": "Accept-Encoding"}),
    Case("nothing said", "/plain.php", site="sent", status=200, body=TEXT,
         has={"Cache-Control": ABSENT, "Expires": ABSENT, "Vary": "Accept-Encoding", "Content-Type": re.compile("^text/plain"),
              "ETag": re.compile('^"'), "Last-Modified": re.compile("GMT$"), "Accept-Ranges": "bytes",
              "Content-Length": "1000", "X-Content-Type-Options": "nosniff", "X-Accel-Redirect": ABSENT}),
    Case("private", "/private.php", site="sent", status=200, body=TEXT,
         has={"Cache-Control": "private, no-store", "Expires": ABSENT, "Content-Type": re.compile("^text/x-own"),
              "Vary": re.compile("^(Cookie|Accept-Encoding)$")}, check=varies),
    Case("one range", "/private.php", site="sent", fields=[("Range", "bytes=2-4")], status=206, body="234",
         has={"Content-Type": re.compile("^text/x-own"), "Content-Range": "bytes 2-4/1000", "Cache-Control": "private, no-store"}),
    Case("ranges", "/private.php", site="sent", fields=[("Range", "bytes=2-4,10-11")], status=206,
         body=re.compile("Content-Type: text/x-own.*234.*01", re.S), has={"Content-Type": re.compile("^multipart/byteranges")}),
    Case("its tag", "/tagged.php", site="sent", fields=GZIP, status=200, body=TEXT,
         has={"ETag": '"own"', "Last-Modified": "Sun, 06 Nov 1994 08:49:37 GMT", "Content-Encoding": ABSENT}),
    Case("its tag matches", "/tagged.php", site="sent", fields=[("If-None-Match", '"own"')], status=304, has={"ETag": '"own"'}),
    Case("its tag does not match", "/tagged.php", site="sent", fields=[("If-None-Match", '"other"')], status=200),
    Case("its tag is wanted", "/tagged.php", site="sent", fields=[("If-Match", '"other"')], status=412,
         has={"ETag": ABSENT, "Last-Modified": ABSENT, "Content-Type": re.compile("^text/")}),
    Case("its date matches", "/tagged.php", site="sent", fields=[("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT")], status=304),
    Case("its tag for a range", "/tagged.php", site="sent", fields=[("Range", "bytes=0-0"), ("If-Range", '"own"')], status=206, body="0"),
    Case("another tag for a range", "/tagged.php", site="sent", fields=[("Range", "bytes=0-0"), ("If-Range", '"other"')], status=200, body=TEXT),
    Case("a range that is not there", "/private.php", site="sent", fields=[("Range", "bytes=5000-")], status=416,
         has={"Content-Type": re.compile("^text/(html|plain)"), "Content-Range": "bytes */1000"}),
    Case("all its fields", "/many.php", site="sent", status=200, body=TEXT,
         has={"Set-Cookie": [f"c{i}=1" for i in range(40)], "Link": ["<a>", "<b>"], "X-Request-ID": "own-id"}),
    Case("coded already", "/coded.php", site="sent", fields=GZIP, status=200, body=TEXT,
         has={"Content-Encoding": "x-own", "Vary": ABSENT, "Cache-Control": "no-transform"}),
    Case("another method", "/plain.php", "POST", site="sent", content=b"x=1", status=200, body=TEXT),
    Case("a range of another method", "/plain.php", "PUT", site="sent", content=b"x", fields=[("Range", "bytes=0-1")], status=200, body=TEXT),
    Case("gone", "/gone.php", site="sent", status=404,
         has={"Content-Disposition": ABSENT, "ETag": ABSENT, "Cache-Control": re.compile("no-store"), "Content-Type": re.compile("^text/")}),
    Case("the head alone", "/tagged.php", "HEAD", site="sent", status=200, body="", has={"ETag": '"own"', "Content-Length": "1000"}),
]


@parametrize(FILES)
def test_sent_files(stages, case, way, place):
    stages.check(case, way, place)
