"""WordPress on MariaDB, behind nginx and standalone: installed, logged in, a post with an image written and read, a crowd served."""
import json
import re
import struct
import zlib

import pytest
from browser import Browser, crowd, multipart
from mariadb import MariaDB
from packages import application
from ways import WAYS, front

NGINX_LOCATIONS = "location / { try_files $uri $uri/ /index.php?$args; }"
CONFIG = """<?php
define('DB_NAME', 'wordpress'); define('DB_USER', 'root'); define('DB_PASSWORD', '');
define('DB_HOST', 'localhost:%s'); define('DB_CHARSET', 'utf8mb4'); define('DB_COLLATE', '');
foreach (['AUTH_KEY', 'SECURE_AUTH_KEY', 'LOGGED_IN_KEY', 'NONCE_KEY', 'AUTH_SALT', 'SECURE_AUTH_SALT', 'LOGGED_IN_SALT',
    'NONCE_SALT'] as $name) define($name, sha1("test $name"));
define('DISABLE_WP_CRON', true); define('WP_HTTP_BLOCK_EXTERNAL', true); define('AUTOMATIC_UPDATER_DISABLED', true);
define('WP_DEBUG', true); define('WP_DEBUG_DISPLAY', false);
$table_prefix = 'wp_';
if (!defined('ABSPATH')) define('ABSPATH', __DIR__ . '/');
require_once ABSPATH . 'wp-settings.php';
"""


def png(width=64, height=48):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + b"".join(bytes((x * 4 % 256, y * 5 % 256, 128)) for x in range(width)) for y in range(height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + \
        chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.fixture
def database(workdir):
    server = MariaDB(workdir)
    yield server
    server.stop()


def install(browser):
    page = browser.page("/wp-admin/install.php?step=2", {
        "weblog_title": "A test site", "user_name": "admin", "admin_password": "a long pass word", "pw_weak": "on",
        "admin_password2": "a long pass word", "admin_email": "admin@example.org", "blog_public": "0", "language": ""})
    assert "Success" in page, re.sub("<[^>]*>", " ", page)[:1500]


def log_in(browser):
    browser.page("/wp-login.php")
    page = browser.page("/wp-login.php", {"log": "admin", "pwd": "a long pass word", "wp-submit": "Log In", "testcookie": "1",
                                          "redirect_to": browser.base + "/wp-admin/"})
    assert "wp-admin-bar-my-account" in page


@pytest.mark.seconds(240)
@pytest.mark.parametrize("way", WAYS)
def test_wordpress(workdir, database, tokiophp, webserver, way):
    root = workdir + "/wp"
    application("wordpress", "6.8", root)
    database.sql("CREATE DATABASE wordpress CHARACTER SET utf8mb4;")
    with open(root + "/wp-config.php", "w") as f:
        f.write(CONFIG % database.socket)
    site = front(way, tokiophp, webserver, root, NGINX_LOCATIONS, "http.index = /index.php\n")
    browser = Browser(site.url)
    install(browser)
    log_in(browser)

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

    pages, wrong = crowd(site.url, [("/", "A test site"), (f"/?p={post['id']}", "The body of the post."),
                                     ("/wp-login.php", "user_login"), ("/index.php?rest_route=/wp/v2/posts", "Hello")])
    assert not wrong and pages > 40, wrong[0][-6000:]
    assert not re.search(r"exited on signal|Fatal error", site.server.messages())
