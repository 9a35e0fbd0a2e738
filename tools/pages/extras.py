"""Files that are no pages of the book: 404.html, and a sitemap where the address is known."""

from html import escape
from pathlib import Path
from urllib.parse import urlsplit

from sphinx.application import Sphinx

NOT_FOUND = Path(__file__).with_name("404.html")


def setup(app: Sphinx) -> None:
    app.connect("build-finished", write)


def write(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.name != "html":
        return
    out, base = Path(app.outdir), app.config.html_baseurl
    text = NOT_FOUND.read_text(encoding="utf-8")
    known = f'<base href="{escape(urlsplit(base).path)}">' if base else ""
    (out / "404.html").write_text(text.replace("<!--base-->", known), encoding="utf-8")
    sitemap = out / "sitemap.xml"
    sitemap.unlink(missing_ok=True)
    if base:
        pages = "".join(
            f"<url><loc>{escape(base)}{page}.html</loc></url>\n"
            for page in sorted(app.env.found_docs)
        )
        sitemap.write_text(
            '<?xml version="1.0" encoding="utf-8"?>\n'
            '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
            f"{pages}</urlset>\n",
            encoding="utf-8",
        )
