"""A client with cookies, and a crowd of them."""
import http.client
import http.cookiejar
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid


class Browser:
    def __init__(self, base):
        self.base = base
        self.jar = http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=None))
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.jar))

    def open(self, path, data=None, headers=None, timeout=60):
        """(status, body as bytes). data: bytes, or a dict that is sent as a form."""
        if isinstance(data, dict):
            data = urllib.parse.urlencode(data).encode()
        url = path if path.startswith("http") else self.base + path
        request = urllib.request.Request(url, data=data, headers=headers or {})
        try:
            with self.opener.open(request, timeout=timeout) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as e:
            return e.code, e.read()

    def page(self, path, data=None, headers=None):
        status, body = self.open(path, data, headers)
        text = body.decode(errors="replace")
        assert status in (200, 201), f"{path}: {status}: {re.sub('<[^>]*>', ' ', text)[:800]}"
        return text


def multipart(field, name, content, kind):
    boundary = "b" + uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\nContent-Type: {kind}\r\n\r\n'
    return head.encode() + content + f"\r\n--{boundary}--\r\n".encode(), \
        {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def crowd(base, visits, clients=8, seconds=20):
    """Every client makes all `visits` again and again, at least once: (path, text that the page must contain). Returns
    what went wrong."""
    end = time.monotonic() + seconds
    wrong = []

    def visit():
        browser, again = Browser(base), True
        while again:
            for path, text in visits:
                try:
                    status, body = browser.open(path)
                    if status != 200 or text.encode() not in body:
                        wrong.append(f"{path}: {status}, no {text!r} in {len(body)} bytes: {body.decode(errors='replace')}")
                except (OSError, http.client.HTTPException) as e:
                    wrong.append(f"{path}: {e!r}")
            again = time.monotonic() < end and not wrong
    threads = [threading.Thread(target=visit) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong
