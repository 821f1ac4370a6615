"""WordPress from the distribution's package, on a MariaDB of the test's own."""
import re

from packages import application

CONFIG = """<?php
define('DB_NAME', 'wordpress'); define('DB_USER', 'root'); define('DB_PASSWORD', '');
define('DB_HOST', 'localhost:%s'); define('DB_CHARSET', 'utf8mb4'); define('DB_COLLATE', '');
foreach (['AUTH_KEY', 'SECURE_AUTH_KEY', 'LOGGED_IN_KEY', 'NONCE_KEY', 'AUTH_SALT', 'SECURE_AUTH_SALT', 'LOGGED_IN_SALT',
    'NONCE_SALT'] as $name) define($name, sha1("test $name"));
define('DISABLE_WP_CRON', true); define('WP_HTTP_BLOCK_EXTERNAL', true); define('AUTOMATIC_UPDATER_DISABLED', true);
define('WP_DEBUG', true); define('WP_DEBUG_DISPLAY', false);
$table_prefix = 'wp_';
%s
if (!defined('ABSPATH')) define('ABSPATH', __DIR__ . '/');
require_once ABSPATH . 'wp-settings.php';
"""


def unpack(root, database, more=""):
    """Puts it into the folder root, which must not exist. more: lines of PHP for its configuration."""
    application("wordpress", root)
    database.sql("CREATE DATABASE wordpress CHARACTER SET utf8mb4;")
    with open(root + "/wp-config.php", "w") as f:
        f.write(CONFIG % (database.socket, more))


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
