"""Build the book as an EPUB: _build/epub/pft-lab.epub.

    python tools/epub.py

The same sources as the pages, with `_config_epub.yml` over `_config.yml`. Formulas become MathML,
which needs Chromium and Playwright; interactive figures become the pictures stored beside them.
"""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / "_build" / "epub-build"  # of its own: builders cannot share what they keep
OUT = ROOT / "_build" / "epub" / "pft-lab.epub"


def merged(under: Any, over: Any) -> Any:
    """`over` on top of `under`: mappings key by key, everything else as a whole."""
    if isinstance(under, dict) and isinstance(over, dict):
        return under | {key: merged(under.get(key), value) for key, value in over.items()}
    return over


def configuration() -> dict[str, Any]:
    names = ("_config.yml", "_config_epub.yml")
    pages, epub = (yaml.safe_load((ROOT / name).read_text(encoding="utf-8")) for name in names)
    config = merged(pages, epub)
    about = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    config["project"] = config["title"]
    version = str(about["version"])
    config["sphinx"]["config"] |= {
        "version": version,
        "epub_uid": "pft-lab",
        "epub_identifier": f"pft-lab-{version}",
    }
    # The file lies elsewhere, so what is relative to it gets its whole address.
    places = config["sphinx"]["local_extensions"]
    config["sphinx"]["local_extensions"] = {k: str(ROOT / v) for k, v in places.items()}
    static = config["sphinx"]["config"]["html_static_path"]
    config["sphinx"]["config"]["html_static_path"] = [str(ROOT / folder) for folder in static]
    return config


def say_what_pages_hold(made: Path, out: Path) -> None:
    """Copy an EPUB; its list of files says which pages have formulas or drawings, as it must."""
    with zipfile.ZipFile(made) as source, zipfile.ZipFile(out, "w") as target:
        holding = {
            name: " ".join(
                word for word, tag in (("mathml", b"<math"), ("svg", b"<svg")) if tag in text
            )
            for name in source.namelist()
            if name.endswith(".xhtml") and (text := source.read(name))
        }
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename == "content.opf":
                content = re.sub(
                    r'href="([^"]+)"( media-type="application/xhtml\+xml")(?= />)',
                    lambda m: f'{m[0]} properties="{holding[m[1]]}"' if holding[m[1]] else m[0],
                    content.decode(),
                ).encode()
            target.writestr(entry, content)


def main() -> int:
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir(parents=True)
    file = PLACE / "config.yml"
    file.write_text(yaml.safe_dump(configuration()), encoding="utf-8")
    tool = Path(sys.executable).with_name("jupyter-book")
    command = [str(tool), "build", ".", "--config", str(file), "--path-output", str(PLACE)]
    options = ["--builder", "custom", "--custom-builder", "epub", "-W", "-n", "--keep-going", "-q"]
    code = subprocess.run([*command, *options], cwd=ROOT).returncode
    if code:
        return code
    (made,) = PLACE.rglob("*.epub")
    OUT.parent.mkdir(exist_ok=True)
    say_what_pages_hold(made, OUT)
    shutil.rmtree(PLACE)
    print(f"{OUT.relative_to(ROOT)}: {OUT.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
