"""A page taken apart: its blocks of prose, its code, its outputs.

Markdown is read by markdown-it, the parser below MyST. Where a sentence holds a formula, code or a
citation, a word stands in its place, so that rules about words and sentences see sentences.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.amsmath import amsmath_plugin
from mdit_py_plugins.colon_fence import colon_fence_plugin
from mdit_py_plugins.deflist import deflist_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.myst_blocks import myst_block_plugin
from mdit_py_plugins.myst_role import myst_role_plugin

WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
FORMULA, CODE, AUTHORS = "x", "code", "Authors"  # what stands for them in a sentence
OPTION = re.compile(r"^:(?P<name>[\w-]+):\s*(?P<value>.*)$", re.MULTILINE)
ALT = re.compile(r'\balt="([^"]*)"')
WORDS_IN_DIRECTIVE = {"container", "div", "note", "tip", "warning", "admonition", "dropdown"}


@dataclass(frozen=True)
class Block:
    """A paragraph, an item, a heading, a table's cell, or an alternative text."""

    where: str  # the id of the cell, or the line
    kind: str  # "paragraph", "item", "heading", "cell", "alt", "formula", "code"
    text: str  # words; formulas, code and citations have a word in their place
    formulas: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    cites: bool = False
    level: int = 0  # of a heading
    links: tuple[str, ...] = ()


@dataclass(frozen=True)
class CodeCell:
    """A cell of code: its source, its tags, what it printed or showed as text."""

    where: str
    source: str
    tags: tuple[str, ...]
    outputs: str
    figure: bool  # a picture or a widget
    shown: str  # the data of a widget, as JSON


@dataclass(frozen=True, eq=False)
class Page:
    """A page of the book.

    Attributes:
        name: its path in the book.
        parts: blocks and code cells in their order.
        markdown: its text as it is written, without code and outputs.
        tables: of each table its rows, of each row its cells as they are written.
    """

    name: str
    parts: tuple[Block | CodeCell, ...]
    markdown: str
    tables: tuple[list[list[str]], ...]

    @property
    def blocks(self) -> list[Block]:
        return [part for part in self.parts if isinstance(part, Block)]

    @property
    def cells(self) -> list[CodeCell]:
        return [part for part in self.parts if isinstance(part, CodeCell)]


def read(path: Path, book: Path) -> Page:
    """The page in a file of the folder `book`."""
    name = path.relative_to(book).as_posix()
    stored = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return of_markdown(name, stored)
    return of_notebook(name, json.loads(stored))


def of_markdown(name: str, text: str) -> Page:
    """The page that a text of Markdown is."""
    tables: list[list[list[str]]] = []
    return Page(name, tuple(blocks(text, "line", tables)), text, tuple(tables))


def of_notebook(name: str, notebook: dict) -> Page:
    """The page that a notebook is, as JSON holds it."""
    tables: list[list[list[str]]] = []
    parts: list[Block | CodeCell] = []
    stored = notebook.get("metadata", {}).get("widgets", {}).get(WIDGET_STATE, {})
    models = stored.get("state", {})
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts += blocks(source, cell["id"], tables)
            continue
        data = [output.get("data", {}) for output in cell["outputs"]]
        views = [one[WIDGET_VIEW]["model_id"] for one in data if WIDGET_VIEW in one]
        kinds = {kind for one in data for kind in one}
        guess = cell["metadata"].get("guess", {})
        for asked in (guess.get("ask"), *guess.get("choices", ())):
            if asked:
                parts.append(Block(cell["id"], "item", asked))
        alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
        if alt:
            parts.append(Block(cell["id"], "alt", alt))
        parts.append(
            CodeCell(
                cell["id"],
                source,
                tuple(cell["metadata"].get("tags", ())),
                "\n".join(texts(cell["outputs"])),
                bool(views) or any(kind.startswith("image/") for kind in kinds),
                json.dumps([data_of(models.get(view, {})) for view in views]),
            )
        )
    written = [c for c in notebook["cells"] if c["cell_type"] == "markdown"]
    markdown = "\n\n".join("".join(cell["source"]) for cell in written)
    return Page(name, tuple(parts), markdown, tuple(tables))


def data_of(model: dict) -> dict:
    """What a widget shows, without its script and its layout."""
    return {
        name: value
        for name, value in model.get("state", {}).items()
        if not name.startswith("_") and name != "layout"
    }


def texts(outputs: list[dict]) -> Iterator[str]:
    """All text that outputs show."""
    for output in outputs:
        if "text" in output:
            yield "".join(output["text"])
        if "evalue" in output:
            yield output["evalue"]
        for kind, value in output.get("data", {}).items():
            if kind.startswith("text/"):
                yield "".join(value)


def parser() -> MarkdownIt:
    return (
        MarkdownIt("commonmark")
        .enable("table")
        .use(dollarmath_plugin)
        .use(amsmath_plugin)
        .use(deflist_plugin)
        .use(myst_role_plugin)
        .use(myst_block_plugin)
        .use(colon_fence_plugin)
    )


PARSER = parser()


def blocks(text: str, place: str, tables: list[list[list[str]]], above: int = 0) -> Iterator[Block]:
    """The blocks of a text; `place` is the id of its cell, or "line" to count lines."""
    tokens = PARSER.parse(text)
    open_kinds: list[str] = []
    level = 0
    for token in tokens:
        line = above + (token.map[0] + 1 if token.map else 1)
        where = f"line {line}" if place == "line" else place
        if token.type == "heading_open":
            level = int(token.tag.removeprefix("h"))
        if token.type in OPENED:
            open_kinds.append(OPENED[token.type])
        elif token.type in CLOSED:
            open_kinds.pop()
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type == "inline":
            kind = open_kinds[-1] if open_kinds else "paragraph"
            if kind == "cell":
                tables[-1][-1].append(token.content)
            yield from in_line(token.children or [], kind, where, level if kind == "heading" else 0)
        elif token.type in ("math_block", "math_block_label", "amsmath"):
            yield Block(where, "formula", "", (token.content,))
        elif token.type in ("fence", "colon_fence"):
            yield from in_directive(token, place, tables, line)
        elif token.type == "html_block":
            yield from in_html(token.content, where)


OPENED = {
    "heading_open": "heading",
    "list_item_open": "item",
    "blockquote_open": "paragraph",
    "th_open": "cell",
    "td_open": "cell",
    "dt_open": "heading",
    "dd_open": "item",
}
CLOSED = {name.replace("_open", "_close") for name in OPENED}


def in_line(children: Iterable[Token], kind: str, where: str, level: int) -> Iterator[Block]:
    """One block of running text, and one for each picture in it."""
    words: list[str] = []
    formulas: list[str] = []
    code: list[str] = []
    links: list[str] = []
    cites = False
    for child in children:
        if child.type == "text":
            words.append(child.content)
        elif child.type in ("softbreak", "hardbreak"):
            words.append(" ")
        elif child.type in ("math_inline", "math_inline_double"):
            formulas.append(child.content)
            words.append(FORMULA)
        elif child.type == "code_inline":
            code.append(child.content)
            words.append(CODE)
        elif child.type == "myst_role":
            role = child.meta["name"]
            cites = cites or role.startswith("cite")
            if role == "cite:t":
                words.append(AUTHORS)
            elif not role.startswith("cite"):
                words.append(re.sub(r"\s*<.*>$", "", child.content) or FORMULA)
        elif child.type == "link_open":
            links.append(str(child.attrs["href"]))
        elif child.type == "image":
            yield Block(where, "alt", child.content)
        elif child.type == "html_inline":
            yield from in_html(child.content, where)
    text = re.sub(r"\s+", " ", "".join(words)).strip()
    if text or formulas:
        yield Block(where, kind, text, tuple(formulas), tuple(code), cites, level, tuple(links))


def in_html(text: str, where: str) -> Iterator[Block]:
    for alt in ALT.findall(text):
        yield Block(where, "alt", alt)
    words = re.sub(r"<[^>]*>", " ", text).strip()
    if words:
        yield Block(where, "heading", re.sub(r"\s+", " ", words))


def in_directive(
    token: Token, place: str, tables: list[list[list[str]]], line: int
) -> Iterator[Block]:
    """The prose in a directive; a fence of code has none, and is a block of its own."""
    match = re.match(r"\{(?P<name>[\w:-]+)\}\s*(?P<title>.*)", token.info.strip())
    where = f"line {line}" if place == "line" else place
    if not match:
        yield Block(where, "code", "", code=(token.content,))
        return
    options = dict(OPTION.findall(token.content))
    if options.get("alt"):
        yield Block(where, "alt", options["alt"])
    if match["name"] == "math":
        yield Block(where, "formula", "", (token.content,))
        return
    if match["name"].startswith("prf:") and match["title"]:
        yield Block(where, "heading", match["title"])
    if match["name"].startswith("prf:") or match["name"] in WORDS_IN_DIRECTIVE | {"family"}:
        # options go, their lines stay, so that lines are counted right
        yield from blocks(OPTION.sub("", token.content), place, tables, line)
