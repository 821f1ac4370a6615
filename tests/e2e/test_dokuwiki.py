"""DokuWiki, behind nginx and standalone: a page is written, read and changed; a crowd reads while others write."""
import html
import re
import time

import dokuwiki
import packages
import pytest
from browser import Browser, crowd
from ways import WAYS, front


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
    try:
        dokuwiki.unpack(root)
    except packages.Missing as why:
        pytest.skip(str(why))
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
    wrong = crowd(site.url, [("/doku.php?id=notes:first", "<strong>second</strong>"), ("/doku.php", "Test wiki"),
                              ("/doku.php?id=notes:first&do=edit", "wikitext")])
    assert not wrong, wrong[0][-6000:]
    assert not re.search(r"exited on signal|Fatal error", site.server.messages())
