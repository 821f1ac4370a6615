"""What a site sees of requests, and its clients of answers: one table of cases (tests/support/web_cases.py), each with
the right answer, over every protocol, in the pool's own process and through another pool."""
import re

from web_cases import ABSENT, Case, Site, fixture, parametrize

SITES = {
    "plain": Site({
        "index.php": "<?php echo 'INDEX';", ".env": "SECRET", "sub/.git/config": "SECRET", "file.txt": "a file\n",
    }),
}
stages = fixture(SITES)

FILES = [
    Case("a file", "/file.txt", peers=("nginx",), status=200, body="a file\n", has={"Content-Length": "7"}),
    Case("no file", "/missing.txt", fields=[("Accept", "text/html")], peers=("nginx",), status=404, has={"Content-Type": re.compile("^text/html")}),
    Case("a hidden file", "/.env", status=403, has={"ETag": ABSENT}),
    Case("a hidden folder", "/sub/.git/config", status=403),
    Case("a hidden file behind dots", "/sub/../.env", status=400),
]


@parametrize(FILES)
def test_files(stages, case, way, place):
    stages.check(case, way, place)
