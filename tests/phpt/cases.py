"""PHP's own tests as cases for a server: a .phpt file's sections, the settings that it asks for, and whether an answer is
what it expects (run-tests.php of PHP's source has the format)."""
import functools
import os
import re

# What run-tests.php gives every test.
BASE = {"output_handler": "", "open_basedir": "", "disable_functions": "", "output_buffering": "Off", "error_reporting": "32767",
        "display_errors": "1", "display_startup_errors": "1", "log_errors": "0", "html_errors": "0", "report_memleaks": "1",
        "docref_root": "", "docref_ext": ".html", "error_prepend_string": "", "error_append_string": "", "auto_prepend_file": "",
        "auto_append_file": "", "ignore_repeated_errors": "0", "precision": "14", "serialize_precision": "-1", "memory_limit": "128M",
        "zend.assertions": "1", "zend.exception_ignore_args": "0", "zend.exception_string_param_max_len": "15", "short_open_tag": "On",
        "date.timezone": "UTC", "session.save_path": "{TMP}", "max_execution_time": "0"}
# Sections that mean the command line or the runner itself.
CLI_ONLY = {"ARGS", "STDIN", "PHPDBG", "REDIRECTTEST", "CAPTURE_STDIO", "GZIP_POST", "DEFLATE_POST", "XFAIL", "FLAKY"}
# Settings that only the start of a process can give.
OF_THE_START = re.compile(r"(extension|zend_extension|opcache\.preload|auto_prepend_file|opcache\.jit.*|zend_test\.observer\..*)$")
CODES = (("%e", "/"), ("%s", r"[^\r\n]+"), ("%S", r"[^\r\n]*"), ("%a", r"(?s:.+?)"), ("%A", r"(?s:.*?)"), ("%w", r"\s*"), ("%i", r"[+-]?\d+"),
         ("%d", r"\d+"), ("%x", r"[0-9a-fA-F]+"), ("%f", r"[+-]?(?:\d+|(?=\.\d))(?:\.\d+)?(?:[Ee][+-]?\d+)?"), ("%c", "(?s:.)"),
         ("%0", r"\x00"))
MANY_LINES = re.compile(r"%[aAwcr]")


def read(path):
    with open(path, "rb") as f:
        return f.read().decode("latin-1")


def sections(path):
    out, name = {}, None
    for line in read(path).splitlines(keepends=True) if os.path.exists(path) else ():
        found = re.match(r"--([_A-Z]+)--", line)
        if found:
            name = found.group(1)
            out[name] = ""
        elif name:
            out[name] += line
    for key in ("FILE", "EXPECT", "EXPECTF", "EXPECTREGEX"):
        other = os.path.join(os.path.dirname(path), out.pop(key + "_EXTERNAL", "").strip())
        if os.path.isfile(other):
            out[key] = read(other)
    if "FILEEOF" in out:
        out["FILE"] = out["FILEEOF"].rstrip("\r\n")
    return out


def pattern(text):
    """EXPECTF's language, as run-tests.php has it."""
    parts = []
    for i, piece in enumerate(re.split(r"%r(.*?)%r", text, flags=re.S)):
        if i % 2:
            parts.append("(" + piece + ")")
            continue
        piece = re.escape(piece).replace("\\%", "%")
        for key, value in CODES:
            piece = piece.replace(key, value)
        parts.append(piece)
    return "".join(parts)


def matches_format(wanted, output):
    """Line by line where that is the same: a pattern of hundreds of lines is tried for hours before it fails."""
    if MANY_LINES.search(wanted):
        return re.fullmatch(pattern(wanted), output, re.A) is not None
    wanted, output = wanted.split("\n"), output.split("\n")
    return len(wanted) == len(output) and all(w == o or re.fullmatch(pattern(w), o, re.A) for w, o in zip(wanted, output))


class Case:
    def __init__(self, tree, path):
        self.path, self.name = path, os.path.relpath(path, tree)

    @functools.cached_property
    def sections(self):
        return sections(self.path)

    @functools.cached_property
    def settings(self):
        return self.pairs("INI") if "--INI--" in read(self.path) else {}

    @functools.cached_property
    def environment(self):
        return self.pairs("ENV")

    def pairs(self, section):
        lines = [line.partition("=") for line in self.sections.get(section, "").splitlines() if "=" in line and line[0] != ";"]
        return {key.strip(): value.strip().replace("{PWD}", os.path.dirname(self.path)) for key, _, value in lines}

    def why_not(self, extensions):
        """Why it cannot be asked of a server, or None."""
        if "FILE" not in self.sections or CLI_ONLY & set(self.sections):
            return "not for a server"
        if any(OF_THE_START.match(key) for key in self.settings):
            return "a setting of the start"
        missing = set(self.sections.get("EXTENSIONS", "").lower().split()) - extensions
        return f"no extension {' '.join(sorted(missing))}" if missing else None

    def words(self):
        """What it shares with others, in one order for all; "all" is meant among those of its folder."""
        words, of_folder = self.sections.get("CONFLICTS", "").split(), os.path.join(os.path.dirname(self.path), "CONFLICTS")
        if os.path.exists(of_folder):
            words += [word for line in read(of_folder).splitlines() if line[:1] != "#" for word in line.split()]
        return sorted({os.path.dirname(self.path) if word == "all" else word for word in words})

    def question(self):
        """Method, body and content type."""
        if "POST" not in self.sections and "POST_RAW" not in self.sections:
            return "GET", None, None
        raw, kind = self.sections.get("POST_RAW", self.sections.get("POST", "")).strip(), "application/x-www-form-urlencoded"
        if "POST_RAW" in self.sections:
            first, _, rest = raw.partition("\n")
            if first.lower().startswith("content-type:"):
                kind, raw = first.split(":", 1)[1].strip(), rest
        return "POST", raw.encode("latin-1"), kind

    def expects(self, output, fields):
        """Whether that is the answer: its text, and its header fields as a list of pairs."""
        got = {name.lower(): value.strip() for name, value in fields}
        for line in self.sections.get("EXPECTHEADERS", "").splitlines():
            name, colon, value = line.partition(":")
            name, value = name.strip().lower(), value.strip()
            if name == "status" and got.get(name, "").isdigit():  # of HTTP, where the reason is the server's
                value = value[:3]
            if colon and got.get(name) != value:
                return False
        output = output.replace("\r\n", "\n").strip()
        for name, compare in (("EXPECT", str.__eq__), ("EXPECTF", matches_format),
                              ("EXPECTREGEX", lambda wanted, text: re.fullmatch(wanted, text, re.S | re.A) is not None)):
            if name in self.sections:
                try:
                    return bool(compare(self.sections[name].replace("\r\n", "\n").strip(), output))
                except re.error:
                    return False
        return False
