"""Take from the finished pages what they load and do not use.

The theme sends every reader its whole set of icons three times (a script of 1.5 MB, a font, and
their names in the style sheet) and every page the scripts of all kinds of pages. Here the icons
that the pages show become a small font, and each page keeps only what its own content needs.
"""

import logging
import re
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont
from sphinx.application import Sphinx

# what Jupyter's manager of widgets is for; the book's own figures draw themselves
MANAGED = r'"model_module": ?"@jupyter-widgets/(?:controls|output)"'
# a file → what a page must contain to need it
NEEDED_FOR = {
    "require.js": MANAGED,
    "pft-widgets.js": MANAGED,
    "embed-amd.js": MANAGED,
    "clipboard.min.js": r'class="highlight',
    "copybutton.js": r'class="highlight',
    "copybutton.css": r'class="highlight',
    "design-tabs.js": r'class="sd-tab',
    "sphinx-design.min.css": r'class="[^"]*\bsd-',
    "togglebutton.js": r'class="[^"]*\b(?:toggle|dropdown admonition|admonition[^"]* dropdown)\b',
    "togglebutton.css": r'class="[^"]*\b(?:toggle|dropdown admonition|admonition[^"]* dropdown)\b',
    "exercise.css": r'class="[^"]*\b(?:exercise|solution)\b',
    "proof.css": r'class="[^"]*\bproof\b',
    "sphinx_highlight.js": r'class="(?:bd-article|search)',
    # The box for a search only leads to the page of results, which has these scripts.
    "searchtools.js": r'id="search-results"',
    "language_data.js": r'id="search-results"',
    "searchindex.js": r'id="search-results"',
    "pft-search.js": r'id="search-results"',
    "tex-mml-chtml.js": r'class="math ',  # the first page got it for the pages below it
    "pft-guess.js": r'class="pft-guess"',
    "pft-methods.js": r"tag_pft-methods",
    "fontawesome.js": r"(?!)",  # never: the icons are a font
}
ASSET = re.compile(
    r'[ \t]*<script\b[^>]*\bsrc="(?P<script>[^"]+)"[^>]*></script>\n?'
    r'|[ \t]*<link\b[^>]*\bhref="(?P<style>[^"]+)"[^>]*/?>\n?'
)
ICON_RULE = re.compile(r'((?:\.fa-[\w-]+:{1,2}before,?)+)\{content:"(\\[0-9a-f]+|[^"]*)"\}')
ICON_NAME = re.compile(r"\bfa-[a-z0-9-]+")
FONTS = "vendor/fontawesome/webfonts"
SOLID = "fa-solid-900"


def setup(app: Sphinx) -> None:
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    # After all others, which still write pages.
    app.connect("build-finished", lighten_site, priority=900)


def lighten_site(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.name != "html":
        return
    out = Path(app.outdir)
    icons: set[str] = set()
    for path in out.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        lighter = lighten(text)
        icons |= set(ICON_NAME.findall(lighter))
        if lighter != text:
            path.write_text(lighter, encoding="utf-8")
    static = out / "_static"
    for script in static.glob("**/*.js"):
        if script.name != "fontawesome.js" and "vendor" not in script.parts:
            icons |= set(ICON_NAME.findall(script.read_text(encoding="utf-8")))
    lighten_icons(static, icons)
    for left in {*static.glob("**/*.js.map"), *static.glob("scripts/fontawesome.js*")}:
        left.unlink()


def lighten(page: str) -> str:
    """A page without the scripts and styles that its content does not need."""
    content = page[page.find("<body") :]

    def keep(match: re.Match[str]) -> str:
        address = match["script"] or match["style"]
        needed = NEEDED_FOR.get(address.partition("?")[0].rpartition("/")[2])
        where = page if needed == MANAGED else content  # the state of widgets stands in the head
        return match[0] if needed is None or re.search(needed, where) else ""

    return ASSET.sub(keep, page)


def lighten_icons(static: Path, icons: set[str]) -> None:
    """Keep the icons named in `icons`, and those that style sheets draw by themselves."""
    sheets = list(static.glob("styles/*.css"))
    characters: set[str] = set()
    for sheet in sheets:
        text = ICON_RULE.sub(
            lambda rule: rule[0] if icons & set(ICON_NAME.findall(rule[1])) else "",
            sheet.read_text(encoding="utf-8"),
        )
        text = re.sub(
            rf'src:url\((\S*?{SOLID})\.woff2\) format\("woff2"\),url\(\S*?\.ttf\) '
            r'format\("truetype"\)',
            r'src:url(\1.woff) format("woff")',
            text,
        )
        sheet.write_text(text, encoding="utf-8")
        characters |= {chr(int(code, 16)) for code in re.findall(r'"\\([0-9a-f]{4})"', text)}
        characters |= {c for c in text if "\ue000" <= c <= "\uf8ff"}
    whole = static / FONTS / f"{SOLID}.ttf"
    if whole.is_file():
        font = TTFont(whole)
        subsetter = subset.Subsetter(subset.Options(desubroutinize=True, notdef_outline=True))
        subsetter.populate(unicodes=[ord(character) for character in characters])
        subsetter.subset(font)
        font.flavor = "woff"
        font.save(whole.with_suffix(".woff"))
    # What is left has other styles of icons, which no page shows.
    for font_file in (static / FONTS).glob("*"):
        if font_file.suffix != ".woff":
            font_file.unlink()
