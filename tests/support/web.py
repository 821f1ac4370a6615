"""A small HTTP/1.1 client that sends what it is told: targets are not cleaned, fields are not added."""
import http.client

import process


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.fields = response.getheaders()
        self.body = response.read()

    def get(self, name, default=None):
        values = [v for n, v in self.fields if n.lower() == name.lower()]
        return ", ".join(values) if values else default

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")


class Site:
    """A pool of tokiophp that serves a folder over HTTP."""

    def __init__(self, start, directory, pool="", php=True, **how):
        self.address = ("127.0.0.1", process.free_port())
        engine = "" if php else "engine = stub\n"
        self.server = start(pool=f"http.listen = 127.0.0.1:{self.address[1]}\nhttp.document_root = {directory}\n"
                            f"{engine}{pool}", **how)
        self.server.wait_accepting(self.address)

    def ask(self, target, method="GET", body=None, **fields):
        """fields: Accept_Encoding="gzip" becomes Accept-Encoding: gzip"""
        connection = http.client.HTTPConnection(*self.address, timeout=20)
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in fields.items():
                connection.putheader(name.replace("_", "-"), value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            return Answer(connection.getresponse())
        finally:
            connection.close()
