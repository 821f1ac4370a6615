"""Laravel in worker mode, over HTTP and behind nginx: what it answers is what it answers in classic mode, users do not mix, and nothing
of a request is left."""
import json
import re
import urllib.parse

import laravel_app
import packages
import pytest
from shop import VARIES, VISITS, Kept, Shop, User, check_growth, check_users

POSTED = {"Content_Type": "application/x-www-form-urlencoded"}
TOKEN = re.compile(r'name="_token" value="(\w+)"')


@pytest.fixture(params=["http", "nginx"])
def way(request):
    return request.param


@pytest.fixture
def shop(tokiophp, webserver, workdir, way):
    try:
        folder = laravel_app.unpack(workdir)
    except packages.Missing as why:
        pytest.skip(str(why))
    return lambda worker=True: Shop(tokiophp, webserver, workdir, way, f"worker.script = {folder}/public/index.php\nworker.num = 4\n" if worker else "")


def steady(answer):
    """What is the same each time: sessions have names of their own, and what is encrypted never looks alike."""
    status, fields, text = answer
    fields = sorted((n.lower(), re.sub(r"=[^;]*|(?<=expires=)[^;]*", "=", v, count=0) if n.lower() == "set-cookie" else v)
                    for n, v in fields if not VARIES.match(n))
    return status, fields, TOKEN.sub("token", text)


def cookies_of(answer):
    return "; ".join(v.split(";")[0] for n, v in answer[1] if n.lower() == "set-cookie")


def all_pages(shop):
    pages = {}
    for path in laravel_app.PAGES:
        for method in ("GET", "HEAD", "POST"):
            pages[method, path] = steady(shop.ask(path, method))
    form = shop.ask("/form")
    for name, fields in (("form", {"name": " Pear & co ", "pieces": "3"}), ("bad form", {"name": "Pear", "pieces": "many"})):
        body = urllib.parse.urlencode({"_token": TOKEN.search(form[2]).group(1), **fields})
        sent = shop.ask("/form", "POST", body, Cookie=cookies_of(form), Referer=f"http://{shop.address[0]}:{shop.address[1]}/form", **POSTED)
        pages[name] = steady((sent[0], [(n, re.sub(r":\d+", "", v)) for n, v in sent[1]], re.sub(r":\d+(?=/form)", "", sent[2])))
        pages["after " + name] = steady(shop.ask("/form", Cookie=cookies_of(sent)))
    pages["login"] = steady(shop.ask("/login?name=me"))
    login = pages["login"]
    pages["login"] = (login[0], [(n, re.sub(r":\d+", "", v)) for n, v in login[1]], re.sub(r":\d+", "", login[2]))
    return {name: (status, fields, re.sub(r"(?<=127\.0\.0\.1):\d+", "", text)) for name, (status, fields, text) in pages.items()}


@pytest.mark.seconds(300)
def test_answers_are_those_of_classic_mode(shop):
    first = shop(worker=False)
    classic = all_pages(first)
    first.server.stop()
    assert classic["GET", "/hello/World"][2] == "Hello World by GET" and classic["form"][2] == '{"name":"Pear & co","pieces":"3"}', classic["form"]
    assert classic["GET", "/fails"][0] == 500 and classic["GET", "/nothing"][0] == 404 and "FRUIT 19" in classic["GET", "/fruit"][2]
    assert classic["POST", "/form"][0] == 419 and classic["bad form"][0] == 302 and 'class="wrong"' in classic["after bad form"][2]
    assert 'class="wrong"' not in classic["after form"][2]
    held = shop()
    for _ in range(3):
        own = all_pages(held)
        assert {k: (own[k], v) for k, v in classic.items() if own[k] != v} == {}
    assert "exited on signal" not in held.server.messages()


class Customer(User):
    """Each answer has a new cookie. Some leave behind what they can."""

    def visit(self, n, cookie):
        if self.name_.endswith("3"):
            self.connection.get("/leak", Cookie=cookie)
        status, cookie, body = self.connection.get(f"/visit?name={self.name_}", Cookie=cookie, X_Name=self.name_)
        good = status == 200 and json.loads(body) == [[self.name_] * 5, n, 1, "nobody"] and bool(cookie)
        return cookie, good, (status, cookie, body[:300])


@pytest.mark.seconds(300 if VISITS < 1000 else 36000)
def test_users_never_mix(shop, way):
    check_users(f"Laravel in worker mode, {way}", shop(), Customer)


@pytest.mark.seconds(300 if VISITS < 1000 else 36000)
def test_nothing_is_left(shop, way):
    """Neither of what a request has put into the application, nor of its memory."""
    held = shop()
    clean = held.ask("/clean")[2]
    assert json.loads(clean) == ["nobody", False, "en"]

    def visit(times):
        connection = Kept(held.address)
        for _ in range(times):
            for path in ("/leak", "/fruit", "/form", "/visit?name=x", "/fails", "/nothing"):
                connection.get(path)
            assert connection.get("/clean")[2].decode() == clean
        connection.close()
    check_growth(f"Laravel in worker mode, {way}", held, visit, 40)
