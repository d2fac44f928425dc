"""A page as a strict reader sees it: what a browser would fetch, run, or leave unnamed."""

import base64
import hashlib
import re
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "source", "br", "input"}
FETCHES = {"src", "srcset", "href", "action", "formaction", "poster", "data", "background"}


class Page(HTMLParser):
    """Parses a whole page; AssertionError where tags do not close as they open."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.texts = [], [], {"style": "", "script": "", "title": "", "visible": ""}
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        where = self.open[-1] if self.open else ""
        self.texts[where if where in self.texts else "visible"] += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def text(self):
        return " ".join(self.texts["visible"].split())


def check(text, own=()):
    """AssertionError where the page is not self-contained, policed, and readable by a screen reader; else the page.

    ``own`` are addresses of the same site that it may load.
    """
    page = Page(text)
    for tag, attrs in page.tags:
        assert not [name for name in attrs if name.startswith("on") or name == "style"], (tag, attrs)
        for name in FETCHES & attrs.keys():
            address = attrs[name] or ""
            assert address.startswith(("data:", "#")) or address in own, (tag, name, address[:80])
    assert "url(" not in page.texts["style"] and "@import" not in page.texts["style"]
    (html,) = page.all("html")
    assert html["lang"] and page.texts["title"].strip() and len(page.all("h1")) == 1
    assert any(attrs.get("name") == "viewport" for attrs in page.all("meta"))
    assert all(attrs.get("alt", "").strip() for attrs in page.all("img"))
    assert len(page.all("caption")) == len(page.all("table")), "a table has no caption"
    assert all(attrs.get("scope") in ("row", "col") for attrs in page.all("th"))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    labelled = [attrs["aria-labelledby"] for _, attrs in page.tags if "aria-labelledby" in attrs]
    assert set(labelled) <= set(ids)
    return page


def check_report(text):
    """:func:`check` for a file: no script, and a policy that lets through its own style alone."""
    page = check(text)
    assert not page.all("script")
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert rules["style-src"] == f"'sha256-{digest}'"
    return page
