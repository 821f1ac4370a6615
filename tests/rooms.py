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

# Rooms whose files still call each other in a circle. This list only shrinks.
CIRCLES = ()


def archive(room):
    """http/wire -> libhttp-wire.a; engine/base -> libbase.a; engine -> libengine.a"""
    name = room.folder.replace("/", "-")
    return "lib" + (name[len("engine-"):] if name.startswith("engine-") else name) + ".a"
