"""A TLS client that sends many KeyUpdate records, which Python's ssl cannot make."""
import ctypes
import ctypes.util
import socket

import process

BIO_CTRL_INFO = 3


def library(name, *returning_pointers):
    lib = ctypes.CDLL(ctypes.util.find_library(name))
    for function in returning_pointers:
        getattr(lib, function).restype = ctypes.c_void_p
    return lib


class Client:
    """A connection whose handshake is done. Its records are made before they are sent."""

    def __init__(self, address):
        self.crypto = library("crypto", "BIO_new", "BIO_s_mem")
        self.ssl = library("ssl", "TLS_client_method", "SSL_CTX_new", "SSL_new")
        self.ssl.SSL_CTX_new.argtypes = self.ssl.SSL_new.argtypes = self.crypto.BIO_new.argtypes = [ctypes.c_void_p]
        self.crypto.BIO_ctrl.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p]
        for function, more in (("SSL_set_fd", [ctypes.c_int]), ("SSL_connect", []), ("SSL_do_handshake", []),
                               ("SSL_set0_wbio", [ctypes.c_void_p]), ("SSL_key_update", [ctypes.c_int]),
                               ("SSL_read", [ctypes.c_char_p, ctypes.c_int]), ("SSL_write", [ctypes.c_char_p, ctypes.c_int])):
            getattr(self.ssl, function).argtypes = [ctypes.c_void_p, *more]
        self.sock = socket.create_connection(address, timeout=process.PATIENCE)
        self.sock.setblocking(True)  # OpenSSL reads it by itself
        self.state = self.ssl.SSL_new(self.ssl.SSL_CTX_new(self.ssl.TLS_client_method()))
        self.ssl.SSL_set_fd(self.state, self.sock.fileno())
        assert self.ssl.SSL_connect(self.state) == 1
        self.made = self.crypto.BIO_new(self.crypto.BIO_s_mem())
        self.ssl.SSL_set0_wbio(self.state, self.made)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def updates(self, count):
        for _ in range(count):
            assert self.ssl.SSL_key_update(self.state, 0) == 1 and self.ssl.SSL_do_handshake(self.state) == 1

    def data(self, text):
        assert self.ssl.SSL_write(self.state, text, len(text)) == len(text)

    def read(self):
        text = ctypes.create_string_buffer(65536)
        n = self.ssl.SSL_read(self.state, text, len(text))
        return text.raw[:max(n, 0)]

    def records(self):
        """All that was made."""
        at = ctypes.c_void_p()
        n = self.crypto.BIO_ctrl(self.made, BIO_CTRL_INFO, 0, ctypes.byref(at))
        return ctypes.string_at(at, n)
