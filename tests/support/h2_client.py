"""HTTP/2 with prior knowledge: a client, and frames as bytes where a client would refuse to send them."""
import struct

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (ConnectionTerminated, DataReceived, PingAckReceived, ResponseReceived, StreamEnded, StreamReset)

from http_raw import Raw

NO_ERROR, PROTOCOL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED, ENHANCE_YOUR_CALM = 0, 1, 5, 6, 7, 11


class Client:
    """A connection with prior knowledge. lax: what the library would refuse to send is sent."""

    def __init__(self, address, lax=False):
        config = H2Configuration(client_side=True, header_encoding="utf-8", validate_outbound_headers=not lax,
                                 normalize_outbound_headers=not lax)
        self.raw = Raw(address)
        self.h2 = H2Connection(config)
        self.h2.initiate_connection()
        self.flush()
        self.status, self.fields, self.body = {}, {}, {}
        self.ended, self.reset = set(), {}
        self.terminated, self.pinged = None, False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.raw.close()

    def flush(self):
        self.raw.send(self.h2.data_to_send())

    def request(self, path="/hello.php", method="GET", end=True, fields=(), authority="test.example"):
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, [(":method", method), (":path", path), (":scheme", "http"),
                                      (":authority", authority), *fields], end_stream=end)
        self.flush()
        return stream

    def handle(self, event):
        if isinstance(event, ResponseReceived):
            fields = dict(event.headers)
            self.status[event.stream_id] = int(fields[":status"])
            self.fields[event.stream_id] = fields
        elif isinstance(event, DataReceived):
            self.body[event.stream_id] = self.body.get(event.stream_id, b"") + event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            self.ended.add(event.stream_id)
        elif isinstance(event, StreamReset):
            self.reset[event.stream_id] = event.error_code
        elif isinstance(event, PingAckReceived):
            self.pinged = True
        elif isinstance(event, ConnectionTerminated):
            self.terminated = event.error_code

    def step(self):
        """Some bytes from the server; False at the end."""
        try:
            data = self.raw.sock.recv(65536)
        except ConnectionResetError:
            return False
        if not data:
            return False
        for event in self.h2.receive_data(data):
            self.handle(event)
        try:
            self.flush()
        except (BrokenPipeError, ConnectionResetError):
            pass
        return True

    def ping(self):
        """The server has taken all that was sent before."""
        self.pinged = False
        self.h2.ping(b"have you")
        self.flush()
        while not self.pinged:
            assert self.step()

    def finish(self, *streams):
        while not all(s in self.ended or s in self.reset for s in streams) and self.step():
            pass
        return self

    def get(self, path="/hello.php", **how):
        stream = self.request(path, **how)
        self.finish(stream)
        return self.status.get(stream), self.body.get(stream, b"")

    def to_the_end(self):
        """How the server ended the connection: GOAWAY's code."""
        while self.step():
            pass
        return self.terminated


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload
