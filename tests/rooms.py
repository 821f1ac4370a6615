"""The rooms of the sources, from the ground up, and what each may see: include, and call.

tests/check-includes holds this table against every include, tests/check-layers against the symbols of the archives
(one archive a room) and against the Makefile's lists, tests/check-style takes the folders from it.
"""
import collections
import os

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))

# folder, its list in Makefile.in, the rooms that it may see beside itself, the headers that others may include: ALL of
# a room whose files are each a thing of their own, else those that say what the room is for
Room = collections.namedtuple("Room", "folder list sees offers")
ALL = None

BASE = ("engine/base",)
ENGINE = BASE + ("engine/telemetry", "engine/work")


def http(*rooms):
    return ENGINE + tuple(f"http/{room}" for room in rooms)


ROOMS = [
    Room("engine/base", "BASE", (), ALL),
    Room("engine/telemetry", "TELEMETRY", BASE, "access_format access_log histogram metrics scoreboard script_facts server_page status view"),
    Room("engine/work", "WORK", BASE + ("engine/telemetry",), "call_stack crash executor pool profile request resident task_notes worker worker_output"),
    Room("engine/php", "PHP", ENGINE, "facts runtime"),
    Room("engine/supervise", "SUPERVISE", ENGINE + ("engine/php",), "ctl identity inherited supervisor"),
    Room("engine", "ENGINE", ENGINE + ("engine/php", "engine/supervise"), "engine engine_settings"),
    Room("fcgi", "FCGI", ENGINE, ""),
    Room("http/wire", "HTTP_WIRE", http(), ALL),
    Room("http/content", "HTTP_CONTENT", http("wire"), "brief_cache compress docroot entity_tag error_pages helper_pool lifetime password_file password_hash site static"),
    Room("http/net", "HTTP_NET", http("wire"), "chunk conn front limits listen loop pem tls tls_self_signed"),
    Room("http/pages", "HTTP_PAGES", http("wire", "net"), "internal"),
    Room("http/answer", "HTTP_ANSWER", http("wire", "content", "net"), "accounting answer body exchange live_reload relay spool"),
    Room("http/upstream", "HTTP_UPSTREAM", http("wire", "net", "answer"), "upstream"),
    Room("http/site", "HTTP_SITE", http("wire", "content", "net", "answer", "upstream"), "addresses basic_auth owners rules sites"),
    Room("http/proto", "HTTP_PROTO", http("wire", "net", "answer", "site"), "h1_conn h2_conn"),
    Room("http", "HTTP", http("wire", "content", "net", "pages", "answer", "upstream", "site", "proto"), "http_settings"),
]
# Headers that more rooms may include than their folder's.
EVERYBODY = ("engine/engine.h", "engine/engine_settings.h")
HEADERS = {"http/http_settings.h": "http/"}
# A front end includes nothing of these: what it calls there is declared in engine/engine.h.
BEHIND_ENGINE_H = ("engine/telemetry", "engine/work")


def archive(room):
    """http/wire -> libhttp-wire.a; engine/base -> libbase.a; engine -> libengine.a"""
    name = room.folder.replace("/", "-")
    return "lib" + (name[len("engine-"):] if name.startswith("engine-") else name) + ".a"
