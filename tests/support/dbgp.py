"""The end of a debugger's protocol (DBGp) that an editor has: it listens, and each request that is debugged connects to it.

    with Debugger() as debugger:
        session = debugger.accept()
        session.ask("breakpoint_set", "-t line -f file:///srv/a.php -n 5")
        session.go("run"), session.line(), session.value("$x")
"""
import base64
import socket
import xml.etree.ElementTree

from process import PATIENCE

NAME = "{urn:debugger_protocol_v1}"


class Session:
    def __init__(self, connection):
        self.socket, self.buffer, self.number = connection, b"", 0
        self.socket.settimeout(PATIENCE)
        self.init = self.read()

    def piece(self):
        while b"\0" not in self.buffer:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError("the request's end of the connection is closed")
            self.buffer += data
        piece, _, self.buffer = self.buffer.partition(b"\0")
        return piece

    def read(self):
        """A packet is its length, a zero, XML, a zero."""
        length, text = int(self.piece()), self.piece()
        assert len(text) == length
        return xml.etree.ElementTree.fromstring(text)

    def ask(self, command, words="", data=None):
        self.number += 1
        more = f" -- {base64.b64encode(data.encode()).decode()}" if data is not None else ""
        self.socket.sendall(f"{command} -i {self.number} {words}{more}".strip().encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("transaction_id") == str(self.number):
                error = answer.find(f"{NAME}error")
                assert error is None, f"{command} {words}: {''.join(error.itertext())}"
                return answer

    def go(self, command):
        return self.ask(command).get("status")

    def line(self):
        return int(self.ask("stack_get").find(f"{NAME}stack").get("lineno"))

    def value(self, name):
        found = self.ask("property_get", f"-n {name}").find(f"{NAME}property")
        return base64.b64decode(found.text).decode() if found.get("encoding") == "base64" else found.text

    def close(self):
        self.socket.close()


class Debugger:
    def __enter__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.settimeout(PATIENCE)
        self.port, self.sessions = self.socket.getsockname()[1], []
        return self

    def accept(self):
        self.sessions.append(Session(self.socket.accept()[0]))
        return self.sessions[-1]

    def __exit__(self, *_):
        for session in self.sessions:
            session.close()
        self.socket.close()
