"""A site either behind nginx or served by tokiophp alone."""
from process import free_port

WAYS = ["nginx", "standalone"]


class Served:
    def __init__(self, server, url):
        self.server, self.url = server, url


def front(way, tokiophp, webserver, root, locations=None, pool=""):
    """Starts what serves root, and gives its `url` and `server`. pool: lines for a standalone server."""
    if way == "nginx":
        server = tokiophp()
        return Served(server, webserver("nginx", root, server.address, **({"locations": locations} if locations else {})).url)
    address = ("127.0.0.1", free_port())
    server = tokiophp(pool=f"http.listen = 127.0.0.1:{address[1]}\nhttp.document_root = {root}\n{pool}")
    server.wait_accepting(address)
    return Served(server, f"http://127.0.0.1:{address[1]}")
