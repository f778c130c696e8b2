"""Reads a page the way a browser would, as far as safety is concerned."""

from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "br", "link", "img", "input"}


@dataclass
class Page(HTMLParser):
    """Tags, attributes and text of a page; `problems` names what no page of ours may hold."""

    tags: Counter[str] = field(default_factory=Counter)
    ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    attributes: Counter[tuple[str, str]] = field(default_factory=Counter)
    metas: dict[str, str] = field(default_factory=dict)
    style: str = ""
    text: str = ""
    open: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        if tag not in VOID:
            self.open.append(tag)
        names = dict(attrs)
        if tag == "meta":
            self.metas[names.get("http-equiv") or names.get("name") or "charset"] = (
                names.get("content") or ""
            )
        for name, value in attrs:
            self.attributes[tag, name] += 1
            if name == "id":
                self.ids.append(value or "")
            if name.startswith("on") or name == "style":
                self.problems.append(f"<{tag} {name}>")
            if name in ("src", "href", "xlink:href", "action", "data", "srcset", "background"):
                self.links.append(value or "")
                if ":" in (value or "") or (value or "").startswith("//"):
                    self.problems.append(f"<{tag} {name}={value!r}>")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.problems.append(f"</{tag}> closes {self.open[-1:]}")
        else:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["style"]:
            self.style += data
        else:
            self.text += data

    def handle_comment(self, data: str) -> None:
        self.problems.append(f"comment {data[:40]!r}")


def read(html: str) -> Page:
    """A parsed page, with what is wrong with it in `problems`."""
    page = Page()
    page.feed(html)
    page.close()
    if page.open:
        page.problems.append(f"never closed: {page.open}")
    for tag in (
        "script",
        "iframe",
        "object",
        "embed",
        "img",
        "form",
        "link",
        "base",
        "foreignobject",
    ):
        if page.tags[tag]:
            page.problems.append(f"<{tag}>")
    twice = [id for id, n in Counter(page.ids).items() if n > 1]
    if twice:
        page.problems.append(f"ids used twice: {twice}")
    for link in page.links:
        if link.startswith("#") and link[1:] not in page.ids:
            page.problems.append(f"{link} leads nowhere")
    return page
