"""WordPress on MariaDB, behind nginx and standalone: installed, logged in, a post with an image written and read, a crowd served."""
import json
import re
import struct
import zlib

import packages
import pytest
import wordpress
from browser import Browser, crowd, multipart
from ways import WAYS, front

NGINX_LOCATIONS = "location / { try_files $uri $uri/ /index.php?$args; }"


def png(width=64, height=48):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + b"".join(bytes((x * 4 % 256, y * 5 % 256, 128)) for x in range(width)) for y in range(height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + \
        chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.seconds(240)
@pytest.mark.parametrize("way", WAYS)
def test_wordpress(workdir, database, tokiophp, webserver, way):
    root = workdir + "/wp"
    try:
        wordpress.unpack(root, database)
    except packages.Missing as why:
        pytest.skip(str(why))
    site = front(way, tokiophp, webserver, root, NGINX_LOCATIONS, "http.index = /index.php\n")
    browser = Browser(site.url)
    wordpress.install(browser)
    wordpress.log_in(browser)

    nonce = browser.page("/wp-admin/admin-ajax.php?action=rest-nonce")
    image = png()
    body, headers = multipart("file", "picture.png", image, "image/png")
    media = json.loads(browser.page("/index.php?rest_route=/wp/v2/media", body, dict(headers, **{"X-WP-Nonce": nonce})))
    post = json.loads(browser.page("/index.php?rest_route=/wp/v2/posts", json.dumps({
        "title": "Hello Größe", "status": "publish", "featured_media": media["id"],
        "content": f'<p>The body of the post.</p><img src="{media["source_url"]}">'}).encode(),
        {"Content-Type": "application/json", "X-WP-Nonce": nonce}))

    reader = Browser(site.url)
    page = reader.page(f"/?p={post['id']}")
    assert "Hello Größe" in page and "The body of the post." in page and media["source_url"] in page
    assert reader.open(media["source_url"]) == (200, image)

    wrong = crowd(site.url, [("/", "A test site"), (f"/?p={post['id']}", "The body of the post."),
                              ("/wp-login.php", "user_login"), ("/index.php?rest_route=/wp/v2/posts", "Hello")])
    assert not wrong, wrong[0][-6000:]
    assert not re.search(r"exited on signal|Fatal error", site.server.messages())
