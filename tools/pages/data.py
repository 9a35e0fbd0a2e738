"""The data that figures fetch: one script for each piece, beside the pages of the site."""

import json
from pathlib import Path

from sphinx.application import Sphinx

from pftlab.book.widgets.data import stored_data


def setup(app: Sphinx) -> None:
    app.connect("build-finished", write)


def write(app: Sphinx, error: Exception | None) -> None:
    """Scripts and not JSON, since a page that was opened as a file may load nothing else."""
    if error is not None or app.builder.name != "html":
        return
    folder = Path(app.outdir) / "_static" / "data"
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in stored_data().items():
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        script = f"(globalThis.pftData??={{}})[{json.dumps(name)}]={text};\n"
        (folder / f"{name}.js").write_text(script, encoding="utf-8")
