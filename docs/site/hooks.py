"""What mkdocs does beyond mkdocs.yml: pages that lie beside docs/ are pages of the site, what is no page stays out of it, wide
tables scroll, and the search has its index."""
import html
import json
import os
import re

from mkdocs.structure.files import File

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
BESIDE = {"ARCHITECTURE.md": "ARCHITECTURE.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md",
          "packaging/README.md": "packages.md"}
NO_PAGE = re.compile(r"^(man|site)/|\.dot$|^benchmarks/results\.json$")
sections = []  # of the search: page, title, where it is, text


def on_config(config):
    sections.clear()
    return config


def on_files(files, config):
    for file in list(files):
        if NO_PAGE.search(file.src_uri):
            files.remove(file)
    for path, page in BESIDE.items():
        if os.path.exists(os.path.join(ROOT, path)):
            file = File(path, ROOT, config["site_dir"], config["use_directory_urls"])
            file.src_uri, file.dest_uri = page, page[:-3] + ".html"
            file.url = file.dest_uri
            file.abs_dest_path = os.path.join(config["site_dir"], file.dest_uri)
            files.append(file)
    return files


def _title(name, otherwise):
    path = os.path.join(ROOT, "docs", name)
    with open(path if os.path.exists(path) else os.devnull) as f:
        found = re.match(r"# (.*)", f.read())
    return found[1] if found else otherwise


def _apart(markdown):
    """Lists and tables with a blank line before them, which this Markdown wants and others do not."""
    lines, before, fenced = [], "", False
    for line in markdown.split("\n"):
        begins = re.match(r"(?:[-*]|\d+\.) ", line) and not re.match(r"(?:[-*]|\d+\.| ) ?", before) or \
            line.startswith("|") and not before.startswith("|")
        if not fenced and before and begins:
            lines.append("")
        fenced ^= line.startswith("```")
        lines.append(line)
        before = line
    return "\n".join(lines)


def on_page_markdown(markdown, page, **_):
    """Links of the tree as links of the site."""
    markdown = _apart(markdown)
    # A file's name is what a reader of the file sees; a reader of the site sees the page's title.
    markdown = re.sub(r"\[([\w-]+\.md)\]\(\1(#[\w-]+)?\)", lambda m: f"[{_title(m[1], m[1])}]({m[1]}{m[2] or ''})", markdown)
    markdown = re.sub(r"(?<!\])\(([\w-]+\.md)\)", lambda m: f"([{_title(m[1], '')}]({m[1]}))" if _title(m[1], "") else m[0], markdown)
    for path, name in BESIDE.items():
        markdown = markdown.replace(f"](../{path}", f"]({name}")
        if page.file.src_uri == name:
            up = "../" * path.count("/")
            markdown = re.sub(r"\]\(" + re.escape(up) + r"docs/", "](", markdown)
    return markdown


def _words(part):
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", part))).strip()


def on_page_content(content, page, **_):
    place, title = page.url, page.title
    for part in re.split(r"(?=<h[123] id=)", content):
        heading = re.match(r'<h([123]) id="([^"]*)">(.*?)<a class="headerlink"', part, re.S)
        if heading:
            place, title = f"{page.url}#{heading[2]}" if heading[1] != "1" else page.url, _words(heading[3])
            part = part[part.index("</h" + heading[1]):]
        if _words(part):
            sections.append([page.title, page.title if place == page.url else title, place, _words(part)])
    return content.replace("<table>", '<div class="table"><table>').replace("</table>", "</table></div>")


def on_post_build(config):
    with open(os.path.join(config["site_dir"], "search-index.js"), "w", encoding="utf-8") as f:
        f.write("const SECTIONS = " + json.dumps(sections, ensure_ascii=False, separators=(",", ":")) + ";\n")
