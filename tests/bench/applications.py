"""Applications below the document root, each with a page that is asked for: what the distribution packages, as far as it
is to be had here. A source that is not is said."""
import glob
import re
import shutil
import subprocess
import urllib.error
import urllib.request

import dokuwiki
import laravel
import mediawiki
import packages
import symfony
import wordpress
from browser import Browser
from mariadb import MariaDB
from peers import has_http

# Its log has a lock, for which requests would wait.
WIKI = "$conf['dontlog'] = 'error,debug,deprecated';"
WIKI_PAGE = "====== Start ======\n" + "A paragraph with **bold** words and a [[link]].\n\n" * 20
MEDIAWIKI = "$wgScriptPath = '/mediawiki'; $wgJobRunRate = 0; $wgMainCacheType = CACHE_NONE;\n"
# The ports change from run to run.
WORDPRESS = "define('WP_HOME', 'http://' . $_SERVER['HTTP_HOST'] . '/blog'); define('WP_SITEURL', WP_HOME);"
# name -> its page, and what that must contain
PAGES = {
    "dokuwiki": ("/wiki/doku.php?id=start", "A paragraph with"),
    "syntax": ("/wiki/doku.php?id=wiki:syntax", "Formatting Syntax"),
    "mediawiki": ("/mediawiki/index.php?title=Main_Page", "MediaWiki has been installed"),
    "wordpress": ("/blog/", "A test site"),
    "symfony": ("/shop/public/index.php/fruit", "FRUIT 01"),
    "laravel": ("/laravel/index.php/fruit", "Fruit 01"),
}


class Applications:
    """Puts those of `wanted` below the bench's root. missing: name -> why it is not there."""

    def __init__(self, bench, wanted):
        self.bench, self.missing, self.database = bench, {}, None
        made = {}  # name -> why it could not be had, or None
        for name in wanted:
            source = "dokuwiki" if name == "syntax" else name
            if source not in made:
                made[source] = self.why_not(source)
            if made[source]:
                self.missing[name] = made[source]
        self.look([name for name in wanted if name not in self.missing])

    def why_not(self, source):
        if not has_http():
            return "to install it takes a server with HTTP"
        try:
            getattr(self, source)()
            return None
        except (packages.Missing, OSError, subprocess.SubprocessError) as why:
            return str(why)

    def dokuwiki(self):
        dokuwiki.unpack(self.bench.root + "/wiki", WIKI, {"start": WIKI_PAGE})
        for path in glob.glob(self.bench.root + "/wiki*/**/pages/wiki/syntax.txt", recursive=True):
            with open(path) as f:  # its example of a feed would ask the network
                text = re.sub(r"(?m)^.*\{\{rss>.*$", "", f.read())
            with open(path, "w") as f:
                f.write(text)

    def mediawiki(self):
        mediawiki.unpack(self.bench.root + "/mediawiki", self.bench.place("mediawiki"), "http://localhost", MEDIAWIKI)

    def wordpress(self):
        packages.fetch("wordpress")
        if not shutil.which("mariadbd"):
            raise packages.Missing("mariadbd is not installed: packaging/install-packages mariadb-server")
        self.database = MariaDB(self.bench.place("database"))
        wordpress.unpack(self.bench.root + "/blog", self.database, WORDPRESS)
        front = self.bench.http()
        try:
            wordpress.install(Browser(front.http + "/blog"))
        finally:
            front.stop()

    def symfony(self):
        symfony.unpack(self.bench.root)
        self.bench.more += "env[APP_ENV] = prod\nenv[APP_DEBUG] = 0\n"

    def laravel(self):
        laravel.unpack(self.bench.root + "/laravel", self.bench.folder)

    def look(self, names):
        """A page that is an error, or leads elsewhere, is measured by nobody."""
        front = self.bench.http() if names else None
        try:
            for name in names:
                path, text = PAGES[name]
                try:
                    with urllib.request.urlopen(front.http + path, timeout=60) as reply:
                        body = reply.read().decode(errors="replace")
                        if reply.status != 200 or reply.url != front.http + path or text not in body:
                            self.missing[name] = f"its page is {reply.status} {reply.url}, without {text!r}: {body[:300]!r}"
                except urllib.error.HTTPError as why:
                    self.missing[name] = f"its page is {why}: {why.read()[:300]!r}"
                if name not in self.missing:
                    self.bench.scripts[name] = path
        finally:
            if front:
                front.stop()

    def stop(self):
        if self.database:
            self.database.kill_family()
