"""HTTP as bytes: a connection that sends what it is told and reads answers one by one."""
import socket
import ssl

from process import PATIENCE


class Reply:
    def __init__(self, status, fields, body, version="1.1"):
        self.status, self.fields, self.body, self.version = status, fields, body, version

    def get(self, name, default=None):
        values = [v for n, v in self.fields if n.lower() == name.lower()]
        return ", ".join(values) if values else default


class Raw:
    def __init__(self, address, tls=None, timeout=PATIENCE):
        self.sock = socket.create_connection(address, timeout=timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # pieces leave as they are sent
        if tls:
            self.sock = tls.wrap_socket(self.sock, server_hostname="localhost")
        self.file = self.sock.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.file.close()
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))
        return self

    def line(self):
        return self.file.readline().decode("latin-1").rstrip("\r\n")

    def head(self):
        """Status and fields, or None at the end of the connection."""
        first = self.line()
        if not first:
            return None
        fields = []
        while True:
            line = self.line()
            if not line:
                break
            name, value = line.split(":", 1)
            fields.append((name, value.strip()))
        return int(first.split()[1]), fields, first.split()[0].split("/")[1]

    def chunks(self):
        body = bytearray()  # bytes would be copied whole with each chunk: minutes for 50 MB
        while True:
            size = int(self.line().split(";")[0], 16)
            if size == 0:
                assert self.line() == ""
                return bytes(body)
            body += self.file.read(size)
            assert self.line() == ""

    def reply(self, method="GET"):
        """The next answer; None when the connection ended instead."""
        head = self.head()
        if head is None:
            return None
        reply = Reply(head[0], head[1], b"", head[2])
        if method == "HEAD" or reply.status in (100, 103, 204, 304):
            return reply
        if reply.get("Transfer-Encoding") == "chunked":
            reply.body = self.chunks()
        elif reply.get("Content-Length") is not None:
            n = int(reply.get("Content-Length"))
            reply.body = self.file.read(n)
            assert len(reply.body) == n, "the body is shorter than announced"
        else:
            reply.body = self.file.read()
        return reply

    def at_end(self):
        """The server has closed, and sent nothing more."""
        try:
            return self.file.read(1) == b""
        except ConnectionResetError:
            return True


def insecure(*protocols):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context
