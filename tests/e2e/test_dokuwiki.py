"""DokuWiki, behind nginx and standalone: a page is written, read and changed; a crowd reads while others write."""
import html
import os
import re
import time

import pytest
from browser import Browser, crowd
from packages import application
from ways import WAYS, front

LOCAL = """<?php
$conf['title'] = 'Test wiki'; $conf['savedir'] = './data'; $conf['useacl'] = 0; $conf['updatecheck'] = 0; $conf['disableactions'] = '';
"""


# Debian takes DokuWiki's XML-RPC library out into a package that an older Debian does not have. Nothing
# here calls it; its classes must exist so that DokuWiki's own, which extend them, can be loaded.
IXR = {"Client/Client.php": "class Client { public function __construct(...$ignored) {} }",
       "Client/ClientMulticall.php": "class ClientMulticall extends Client {}",
       "DataType/Base64.php": "class Base64 {}", "DataType/Date.php": "class Date {}", "DataType/Value.php": "class Value {}",
       "Exception/ServerException.php": "class ServerException extends \\Exception {}",
       "Message/Error.php": "class Error {}", "Message/Message.php": "class Message {}", "Request/Request.php": "class Request {}",
       "Server/Server.php": "class Server {}", "Server/IntrospectionServer.php": "class IntrospectionServer extends Server {}"}


def complete(root):
    for name, text in IXR.items():
        folder = os.path.dirname(name)
        os.makedirs(f"{root}/ixr/{folder}", exist_ok=True)
        with open(f"{root}/ixr/{name}", "w") as f:
            f.write(f"<?php\nnamespace IXR\\{folder};\n{text}\n")
    for name in ("autoload_psr4.php", "autoload_static.php"):
        path = f"{root}/vendor/composer/{name}"
        text = open(path).read().replace("'/usr/share/php/IXR'", f"'{root}/ixr'")
        with open(path, "w") as f:
            f.write(text)
    with open(root + "/conf/local.php", "w") as f:
        f.write(LOCAL)


def edit(browser, page, text):
    form = browser.page(f"/doku.php?id={page}&do=edit")
    fields = {}
    for tag in re.findall(r"<input[^>]*type=\"hidden\"[^>]*>", form):
        name, value = re.search(r'name="([^"]*)"', tag), re.search(r'value="([^"]*)"', tag)
        if name:
            fields[html.unescape(name.group(1))] = html.unescape(value.group(1)) if value else ""
    assert "sectok" in fields, form[:2000]
    fields.update({"wikitext": text, "summary": "edited", "do[save]": "1", "id": page})
    return browser.page("/doku.php?id=" + page, fields)


@pytest.mark.seconds(200)
@pytest.mark.parametrize("way", WAYS)
def test_dokuwiki(workdir, tokiophp, webserver, way):
    root = workdir + "/wiki"
    application("dokuwiki", "", root)
    complete(root)
    site = front(way, tokiophp, webserver, root)
    browser = Browser(site.url)
    edit(browser, "notes:first", "====== Größe ======\nThe //first// text.\n")
    page = Browser(site.url).page("/doku.php?id=notes:first")
    assert "Größe" in page and "<em>first</em>" in page
    edit(browser, "notes:first", "====== Größe ======\nThe **second** text.\n")
    page = Browser(site.url).page("/doku.php?id=notes:first")
    assert "<strong>second</strong>" in page and "<em>first</em>" not in page
    assert "edited" in browser.page("/doku.php?id=notes:first&do=revisions")

    # DokuWiki shows an empty page to whoever reads its cache while another request writes it, behind any server; a
    # cache file younger than its page by a second is written once and then stays.
    time.sleep(1.5)
    browser.page("/doku.php?id=notes:first")
    pages, wrong = crowd(site.url, [("/doku.php?id=notes:first", "<strong>second</strong>"), ("/doku.php", "Test wiki"),
                                     ("/doku.php?id=notes:first&do=edit", "wikitext")])
    assert not wrong and pages > 40, wrong[0][-6000:]
    assert not re.search(r"exited on signal|Fatal error", site.server.messages())
