"""The end of each page: how to run it and how to cite it."""

import html
import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from sphinx.application import Sphinx


def setup(app: Sphinx) -> None:
    app.connect("html-page-context", add)


def add(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    if doctree is None or app.builder.name != "html":
        return
    title = app.env.titles[page].astext()
    parts = [folded("Cite this page", citation(app, page, title))]
    if app.env.doc2path(page).endswith(".ipynb"):
        parts.insert(0, folded("Run this page", ways_to_run(app, page, context["content_root"])))
    context["body"] += (
        '<aside class="pft-foot" aria-label="Run and cite this page">\n'
        + "".join(parts)
        + "</aside>\n"
    )


def folded(summary: str, inside: str) -> str:
    return f"<details>\n<summary>{summary}</summary>\n{inside}</details>\n"


def ways_to_run(app: Sphinx, page: str, root: str) -> str:
    """A list of links, with Colab and Binder where the repository is known."""
    guide = app.builder.get_relative_uri(page, "book/how_to_use")
    notebook = f"{root}_sources/{page}.ipynb"
    ways = [
        f'<a href="{notebook}" download>Download the notebook</a> to your own computer: '
        f'<a href="{guide}#run-it-on-a-laptop">how to set it up</a>.'
    ]
    repository = app.config.pft_repository
    if repository:
        branch, name = app.config.pft_branch, repository.removeprefix("https://github.com/")
        colab = f"https://colab.research.google.com/github/{name}/blob/{branch}/{page}.ipynb"
        binder = f"https://mybinder.org/v2/gh/{name}/{branch}?urlpath=lab/tree/{page}.ipynb"
        install = f'%pip install "pftlab[notebook] @ git+{repository}@{branch}"'
        ways += [
            f'<a href="{colab}">Open it in Colab</a>; it needs a Google account. Add a first cell '
            f"with <code>{html.escape(install)}</code> and run it.",
            f'<a href="{binder}">Open it in Binder</a>; it needs no account, and time to start.',
            f'<a href="{repository}/blob/{branch}/{page}.ipynb">Look at the source</a>.',
        ]
    return "<ul>\n" + "".join(f"<li>{way}</li>\n" for way in ways) + "</ul>\n"


@cache
def book(file: Path) -> dict[str, Any]:
    """What CITATION.cff says of the book."""
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def citation(app: Sphinx, page: str, title: str) -> str:
    """An entry for BibTeX. The paper of a method is to be cited beside it."""
    about = book(Path(app.srcdir) / "CITATION.cff")
    authors = " and ".join(f"{{{author['name']}}}" for author in about["authors"])
    key = "".join(re.findall(r"[a-z0-9]+", page.removeprefix("book/")))
    fields = {
        "author": authors,
        "title": title,
        "booktitle": about["title"],
        "year": str(about["date-released"])[:4],
        "note": f"Version {about['version']}",
    }
    if app.config.html_baseurl:
        fields["url"] = f"{app.config.html_baseurl}{page}.html"
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    entry = f"@incollection{{pftlab-{key},\n{lines}\n}}"
    return (
        f'<div class="highlight"><pre>{html.escape(entry)}</pre></div>\n'
        "<p>Where you use a method, cite its paper as well.</p>\n"
    )
