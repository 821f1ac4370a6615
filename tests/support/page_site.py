"""A configuration that a page shows, as it stands there, in a sandbox and over plain HTTP."""
import re
import ssl
import urllib.error
import urllib.request

import documents
from sandbox import POOL, WHO


class PageSite:
    """root: the folder of the page; files: {name: text} below it. number: which of its configurations. more: lines for the pool."""

    def __init__(self, sandbox, tokiophp, page, root, files=None, number=0, more=""):
        block = [b for b in documents.blocks(page) if b.language == "ini"][number]
        for name, text in (files or {}).items():
            sandbox.put(f"{sandbox.dir}{root}/{name}", text)
        text = re.sub(r"^(http\.(listen|tls_cert|tls_key|redirect_https|server_name)|cron\[\w+\]|user|group) = .*\n", "", block.text, flags=re.M)
        text = sandbox.text(text).rstrip() + f"\n{WHO}http.listen = 127.0.0.1:{sandbox.ports['http']}\n{more}"
        text += "" if re.search(r"^pm =", text, re.M) else POOL
        self.base = f"http://127.0.0.1:{sandbox.ports['http']}"
        self.server = tokiophp(config="[global]\nerror_log = {dir}/error.log\n" + text, address=("127.0.0.1", sandbox.ports["http"]))

    def ask(self, path, method="GET"):
        class Stay(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *_):
                return None
        opener = urllib.request.build_opener(Stay, urllib.request.HTTPSHandler(context=ssl.create_default_context()))
        try:
            with opener.open(urllib.request.Request(self.base + path, method=method), timeout=30) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.headers, e.read().decode()

    def answers(self, table):
        for path, wanted in table.items():
            method, _, path = path.rpartition(" ")
            status, headers, text = self.ask(path, method or "GET")
            got = headers["Location"] if status in (301, 302, 308) else text if status == 200 else status
            assert got == wanted, (path, status, text[:300])
