"""A Symfony application in worker mode, over HTTP and behind nginx: what it answers is what it answers in classic mode, users do not
mix, and nothing grows."""
import json
import re
import urllib.parse

import packages
import pytest
import symfony
from browser import multipart
from shop import VARIES, VISITS, Shop, User, check_growth, check_users

FORM = {"form[name]": "Pear & co", "form[pieces]": "3", "form[send]": ""}


@pytest.fixture(params=["http", "nginx"])
def way(request):
    return request.param


@pytest.fixture
def shop(tokiophp, webserver, workdir, way):
    try:
        symfony.unpack(workdir)
    except packages.Missing as why:
        pytest.skip(str(why))
    return lambda worker=True: Shop(tokiophp, webserver, workdir, way, symfony.pool(workdir + "/shop", worker))


def steady(answer):
    """What is the same each time."""
    status, fields, text = answer
    fields = sorted((n, re.sub("PHPSESSID=[^;]*", "PHPSESSID=", v)) for n, v in fields if not VARIES.match(n))
    return status, fields, text


def all_pages(shop):
    pages = {}
    for path in symfony.PAGES:
        for method in ("GET", "HEAD", "POST"):
            pages[method, path] = steady(shop.ask(path, method))
    body = urllib.parse.urlencode(FORM)
    pages["form"] = steady(shop.ask("/form", "POST", body, Content_Type="application/x-www-form-urlencoded"))
    pages["bad form"] = steady(shop.ask("/form", "POST", body.replace("=3", "=many"), Content_Type="application/x-www-form-urlencoded"))
    content, fields = multipart("file", "a.txt", b"some content\n" * 1000, "text/plain")
    pages["upload"] = steady(shop.ask("/upload", "POST", content, **fields))
    pages["not modified"] = steady(shop.ask("/cached", If_None_Match='"abc"'))
    pages["login"] = steady(shop.ask("/login?name=me"))
    return pages


@pytest.mark.seconds(300)
def test_answers_are_those_of_classic_mode(shop):
    first = shop(worker=False)
    classic = all_pages(first)
    first.server.stop()
    assert classic["GET", "/hello/World"][2] == "Hello World by GET" and classic["form"][2] == '{"name":"Pear & co","pieces":3}'
    assert classic["GET", "/fails"][0] == 500 and classic["GET", "/nothing"][0] == 404 and "FRUIT 19" in classic["GET", "/fruit"][2]
    held = shop()
    for _ in range(3):
        own = all_pages(held)
        assert {k: (own[k], v) for k, v in classic.items() if own[k] != v} == {}
    assert "exited on signal" not in held.server.messages()


class Customer(User):
    def visit(self, n, cookie):
        status, new, body = self.connection.get(f"/visit?name={self.name_}", Cookie=cookie, X_Name=self.name_)
        good = status == 200 and json.loads(body) == [self.name_, self.name_, self.name_, n, 1, self.name_] and not new
        return cookie, good, (status, new, body[:300])


@pytest.mark.seconds(300 if VISITS < 1000 else 36000)
def test_users_never_mix(shop, way):
    check_users(f"Symfony in worker mode, {way}", shop(), Customer)


@pytest.mark.seconds(300 if VISITS < 1000 else 36000)
def test_nothing_grows(shop, way):
    """What the script of each thread holds after hundreds of requests is what it holds at the end."""
    held = shop()

    def visit(times):
        connection = held.connect()
        for _ in range(times):
            for path in ("/fruit", "/form", "/visit?name=x", "/fails", "/nothing"):
                held.ask(path, connection=connection)
        connection.close()
    check_growth(f"Symfony in worker mode, {way}", held, visit, 50)
