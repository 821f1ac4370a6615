"""The Markdown of this tree, as far as tests ask for it: pages, fenced blocks, links, anchors."""
import collections
import glob
import os
import re
import unicodedata

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
Block = collections.namedtuple("Block", "page line language text")  # line: that of the first line of the text


def pages():
    """Paths of all pages, from the root of the tree."""
    beside = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "packaging/README.md"]
    found = glob.glob("docs/*.md", root_dir=ROOT) + glob.glob("docs/*/*.md", root_dir=ROOT)
    return sorted(found) + [page for page in beside if os.path.exists(os.path.join(ROOT, page))]


def read(page):
    with open(os.path.join(ROOT, page)) as f:
        return f.read()


def blocks(page):
    found, start, language, lines = [], None, "", []
    for number, line in enumerate(read(page).split("\n"), 1):
        fence = re.match(r"```(\S*)$", line)
        if start is None and fence:
            start, language, lines = number + 1, fence[1], []
        elif start is not None and fence and not fence[1]:
            found.append(Block(page, start, language, "\n".join(lines) + "\n"))
            start = None
        elif start is not None:
            lines.append(line)
    return found


def prose(page):
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", read(page), flags=re.M | re.S)


def links(page):
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose(page)))


def slug(heading):
    """What python-markdown's toc makes of a heading."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", text).strip().lower())


def anchors(page):
    found = []
    for heading in re.findall(r"^#{1,6} (.*)$", prose(page), re.M):
        name, number = slug(heading), 0
        while (f"{name}_{number}" if number else name) in found:
            number += 1
        found.append(f"{name}_{number}" if number else name)
    return found
