"""A raw FastCGI client. Records are built by hand, so that a test can also send what no web server would.

    with Connection(address) as c:
        response = c.request(script="/srv/www/a.php", query="x=1")
        response.status, response.header("Content-Type"), response.body, response.stderr
"""
import select
import socket
import struct
import time

from process import PATIENCE

BEGIN, ABORT, END, PARAMS, STDIN, STDOUT, STDERR, DATA, GET_VALUES, GET_VALUES_RESULT, UNKNOWN_TYPE = range(1, 12)
RESPONDER, AUTHORIZER, FILTER = 1, 2, 3
KEEP_CONN = 1
REQUEST_COMPLETE, CANT_MPX_CONN, OVERLOADED, UNKNOWN_ROLE = range(4)


def record(kind, content=b"", request_id=1, padding=0, version=1):
    """One record; its content must fit into it."""
    return struct.pack("!BBHHBB", version, kind, request_id, len(content), padding, 0) + content + b"\0" * padding


def stream(kind, content, request_id=1, size=65535, end=True):
    """A stream of records of at most `size` bytes, closed with an empty one."""
    pieces = [record(kind, content[i:i + size], request_id) for i in range(0, len(content), size)]
    return b"".join(pieces) + (record(kind, b"", request_id) if end else b"")


def begin(role=RESPONDER, keep=False, request_id=1):
    return record(BEGIN, struct.pack("!HB5x", role, KEEP_CONN if keep else 0), request_id)


def length(n):
    return struct.pack("!B", n) if n < 128 else struct.pack("!I", n | 0x80000000)


def pairs(variables):
    """variables: a dict, or a list of (name, value)."""
    out = b""
    for name, value in (variables.items() if isinstance(variables, dict) else variables):
        name, value = (v if isinstance(v, bytes) else str(v).encode() for v in (name, value))
        out += length(len(name)) + length(len(value)) + name + value
    return out


def variables(script, method="GET", query="", uri=None, body=None, **more):
    """What a web server sends for a script. more: other variables; None takes one away."""
    name = uri or "/" + script.rsplit("/", 1)[-1]
    v = {
        "SCRIPT_FILENAME": script, "SCRIPT_NAME": name, "DOCUMENT_URI": name, "QUERY_STRING": query,
        "REQUEST_URI": name + ("?" + query if query else ""), "REQUEST_METHOD": method,
        "DOCUMENT_ROOT": script.rsplit("/", 1)[0] or "/", "GATEWAY_INTERFACE": "CGI/1.1", "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "test", "SERVER_NAME": "localhost", "SERVER_PORT": "80", "SERVER_ADDR": "127.0.0.1",
        "REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": "1", "HTTP_HOST": "localhost",
    }
    if body is not None:
        v["CONTENT_LENGTH"] = len(body)
        v.setdefault("CONTENT_TYPE", "application/octet-stream")
    v.update(more)
    return {k: x for k, x in v.items() if x is not None}


def request(script, body=None, keep=False, request_id=1, role=RESPONDER, params_size=65535, stdin_size=65535, **how):
    """The bytes of a whole request."""
    v = variables(script, body=body, **how)
    return begin(role, keep, request_id) + stream(PARAMS, pairs(v), request_id, params_size) + \
        stream(STDIN, body or b"", request_id, stdin_size)


class Response:
    """What came for one request id. end: (application status, protocol status), None if there was none."""

    def __init__(self):
        self.stdout, self.stderr, self.end = b"", b"", None

    @property
    def head(self):
        return self.stdout.partition(b"\r\n\r\n")[0].decode("latin-1")

    @property
    def body(self):
        return self.stdout.partition(b"\r\n\r\n")[2]

    @property
    def headers(self):
        return [tuple(part.strip() for part in line.partition(":")[::2]) for line in self.head.split("\r\n") if line]

    def header(self, name):
        return next((v for k, v in self.headers if k.lower() == name.lower()), None)

    @property
    def status(self):
        """Status: without one, 200; without a head, None."""
        if not self.stdout:
            return None
        return int((self.header("Status") or "200").split()[0])


class Connection:
    """address: the path of a unix socket, or (host, port)."""

    def __init__(self, address, timeout=PATIENCE):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.timeout = timeout
        self.socket.settimeout(timeout)
        self.socket.connect(address if isinstance(address, str) else tuple(address[:2]))
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        """All of it; what the server answers meanwhile is read, or both would wait for ever."""
        view = memoryview(data)
        until = time.monotonic() + self.timeout
        while view:
            readable, writable, _ = select.select([self.socket], [self.socket], [], max(0, until - time.monotonic()))
            if not readable and not writable:
                raise socket.timeout("the server does not read")
            if readable:
                piece = self.socket.recv(65536)
                if not piece:
                    raise BrokenPipeError("the server has closed the connection")
                self.buffer += piece
            if writable:
                view = view[self.socket.send(view, socket.MSG_DONTWAIT):]

    def read(self, n):
        """Exactly n bytes; less at the end of the connection."""
        while len(self.buffer) < n:
            piece = self.socket.recv(65536)
            if not piece:
                break
            self.buffer += piece
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def read_record(self):
        """(type, request id, content), or None at the end of the connection."""
        header = self.read(8)
        if len(header) < 8:
            if header:
                raise AssertionError(f"the connection ended inside a record's header: {header!r}")
            return None
        version, kind, request_id, size, padding, _ = struct.unpack("!BBHHBB", header)
        if version != 1:
            raise AssertionError(f"a record of version {version}: {header!r}")
        content = self.read(size + padding)
        if len(content) < size + padding:
            raise AssertionError(f"the connection ended inside a record of {size} bytes")
        return kind, request_id, content[:size]

    def read_response(self, request_id=1):
        """Until END_REQUEST, or the end of the connection."""
        response = Response()
        out, err = [], []
        while response.end is None:
            got = self.read_record()
            if got is None:
                break
            kind, its_id, content = got
            if its_id != request_id:
                raise AssertionError(f"a record of request {its_id}")
            if kind == STDOUT:
                out.append(content)
            elif kind == STDERR:
                err.append(content)
            elif kind == END:
                response.end = struct.unpack("!IB3x", content)
            else:
                raise AssertionError(f"a record of type {kind}")
        response.stdout, response.stderr = b"".join(out), b"".join(err)
        return response

    def request(self, script, request_id=1, **how):
        self.send(request(script, request_id=request_id, **how))
        return self.read_response(request_id)

    def closed(self, seconds=10):
        """The server ends the connection within this time, without a further byte."""
        self.socket.settimeout(seconds)
        try:
            return self.buffer == b"" and self.socket.recv(1) == b""
        except ConnectionError:
            return True
        except socket.timeout:
            return False


def fetch(address, script, **how):
    """One request on a connection of its own."""
    with Connection(address) as c:
        return c.request(script, **how)
