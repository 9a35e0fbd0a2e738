"""The data that figures fetch: one script for each piece, beside the pages of the site."""

import json
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from pftlab.book.widgets.data import known, stored_data
from pftlab.facts import FACTS

from .taxonomy import page_of_method


def setup(app: Sphinx) -> None:
    app.connect("build-finished", write)


def write(app: Sphinx, error: Exception | None) -> None:
    """Scripts and not JSON, since a page that was opened as a file may load nothing else."""
    if error is not None or app.builder.name != "html":
        return
    folder = Path(app.outdir) / "_static" / "data"
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in {**stored_data(), "pages": pages(app)}.items():
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        script = f"(globalThis.pftData??={{}})[{json.dumps(name)}]={text};\n"
        (folder / f"{name}.js").write_text(script, encoding="utf-8")


def pages(app: Sphinx) -> dict[str, dict[str, str]]:
    """Method → where the site tells of it, from its root, and where its code can be read."""
    found = {}
    for name, facts in FACTS.items():
        page, anchor = page_of_method(app.env, facts)
        there: dict[str, Any] = {}
        if page in app.env.found_docs:
            there["chapter"] = app.builder.get_target_uri(page) + (f"#{anchor}" if anchor else "")
        if app.config.pft_repository:
            there["source"] = (
                f"{app.config.pft_repository}/blob/{app.config.pft_branch}/{known(name)['file']}"
            )
        found[name] = there
    return found
