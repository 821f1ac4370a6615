"""The rooms of the sources, from the ground up, and what each may see: include, and call.

tests/check-includes holds this table against every include, tests/check-layers against the symbols of the archives
(one archive a room) and against the Makefile's lists, tests/check-style takes the folders from it.
"""
import collections
import os

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))

# folder, its list in Makefile.in, the rooms that it may see beside itself
Room = collections.namedtuple("Room", "folder list sees")

BASE = ("engine/base",)
ENGINE = BASE + ("engine/telemetry", "engine/work")


def http(*rooms):
    return ENGINE + tuple(f"http/{room}" for room in rooms)


ROOMS = [
    Room("engine/base", "BASE", ()),
    Room("engine/telemetry", "TELEMETRY", BASE),
    Room("engine/work", "WORK", BASE + ("engine/telemetry",)),
    Room("engine/php", "PHP", ENGINE),
    Room("engine/supervise", "SUPERVISE", ENGINE + ("engine/php",)),
    Room("engine", "ENGINE", ENGINE + ("engine/php", "engine/supervise")),
    Room("fcgi", "FCGI", ENGINE),
    Room("http/wire", "HTTP_WIRE", http()),
    Room("http/content", "HTTP_CONTENT", http("wire")),
    Room("http/net", "HTTP_NET", http("wire")),
    Room("http/pages", "HTTP_PAGES", http("wire", "net")),
    Room("http/answer", "HTTP_ANSWER", http("wire", "content", "net")),
    Room("http/upstream", "HTTP_UPSTREAM", http("wire", "net", "answer")),
    Room("http/site", "HTTP_SITE", http("wire", "content", "net", "answer", "upstream")),
    Room("http/proto", "HTTP_PROTO", http("wire", "net", "answer", "site")),
    Room("http", "HTTP", http("wire", "content", "net", "pages", "answer", "upstream", "site", "proto")),
]
# Headers that more rooms may include than their folder's.
EVERYBODY = ("engine/engine.h", "engine/engine_settings.h")
HEADERS = {"http/http_settings.h": "http/"}
# A front end includes nothing of these: what it calls there is declared in engine/engine.h.
BEHIND_ENGINE_H = ("engine/telemetry", "engine/work")

# What still goes up. This table only shrinks.
INCLUDES_UP = {
    ("http/answer/exchange.c", "http/upstream/upstream.h"),
    ("http/answer/relay.c", "http/upstream/upstream.h"),
    ("http/answer/reply_message.c", "http/proto/h2_conn.h"),
    ("http/net/conn.c", "http/answer/exchange.h"),
    ("http/net/conn_begin.c", "http/proto/h2_conn.h"),
    ("http/net/front.h", "http/site/site.h"),
    ("http/net/loop.c", "http/answer/exchange.h"),
    ("http/net/loop.c", "http/upstream/upstream.h"),
}
CALLS_UP = {
    ("http/answer", "h1_conn_message"),
    ("http/answer", "h2_stream_head"),
    ("http/answer", "h2_stream_message"),
    ("http/answer", "sites_main"),
    ("http/answer", "upstream_abort"),
    ("http/answer", "upstream_resume"),
    ("http/net", "exchange_free_spares"),
    ("http/net", "exchange_trim"),
    ("http/net", "h1_conn_start"),
    ("http/net", "h1_protocol"),
    ("http/net", "h2_conn_start"),
    ("http/net", "http_frontend"),
    ("http/net", "upstream_close_all"),
    ("http/net", "upstream_sweep"),
    ("http/pages", "http_frontend"),
    ("http/site", "http_frontend"),
}


def archive(room):
    """http/wire -> libhttp-wire.a; engine/base -> libbase.a; engine -> libengine.a"""
    name = room.folder.replace("/", "-")
    return "lib" + (name[len("engine-"):] if name.startswith("engine-") else name) + ".a"
