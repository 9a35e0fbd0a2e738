"""The EPUB: whole, readable without scripts and without a network."""

import importlib.util
import re
import sys
import xml.etree.ElementTree as xml
import zipfile
from pathlib import Path

import pytest
import yaml
from browser import CHROMIUM, launched, opened

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("epub", ROOT / "tools" / "epub.py")
tool = importlib.util.module_from_spec(SPEC)
sys.modules["epub"] = tool
SPEC.loader.exec_module(tool)
pytestmark = [
    pytest.mark.site,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium makes the formulas of the EPUB"),
]


@pytest.fixture(scope="module")
def book() -> dict[str, bytes]:
    assert tool.main() == 0
    with zipfile.ZipFile(tool.OUT) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def pages(book: dict[str, bytes]) -> dict[str, str]:
    return {name: text.decode() for name, text in book.items() if name.endswith(".xhtml")}


def test_it_is_a_small_archive_with_its_kind_first(book: dict[str, bytes]) -> None:
    assert next(iter(book)) == "mimetype" and book["mimetype"] == b"application/epub+zip"
    assert tool.OUT.stat().st_size < 10e6


def test_every_page_is_well_formed_and_has_no_script(book: dict[str, bytes]) -> None:
    for name, text in pages(book).items():
        xml.fromstring(text)
        assert "<script" not in text, name
        assert not re.search(r'<(?:img|link|source)[^>]+(?:src|href)="https?:', text), name
        assert not re.findall(r'<img(?![^>]*alt="[^"]{10})[^>]*>', text), name


def test_every_chapter_is_in_the_table_of_contents(book: dict[str, bytes]) -> None:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    entries = [c for part in toc["parts"] for c in part["chapters"]]
    patterns = [s["glob"] for c in entries for s in c.get("sections", []) if "glob" in s]
    found = [path for pattern in patterns for path in ROOT.glob(f"{pattern}.md")]
    chapters = {c["file"] for c in entries} | {toc["root"]}
    chapters |= {path.relative_to(ROOT).with_suffix("").as_posix() for path in found}
    listed = set(re.findall(r'href="([^"#]+)\.xhtml', book["nav.xhtml"].decode()))
    assert listed == chapters


def test_formulas_are_mathml_and_the_list_of_files_says_so(book: dict[str, bytes]) -> None:
    files = book["content.opf"].decode()
    for name, text in pages(book).items():
        assert r"\(" not in re.sub(r"<(pre|code)\b.*?</\1>", "", text, flags=re.DOTALL), name
        if "<math" in text:
            assert re.search(rf'href="{name}"[^>]*properties="mathml', files), name
    assert pages(book)["book/low_rank/lora.xhtml"].count("<math") > 50


def test_what_is_to_be_predicted_can_be_opened(book: dict[str, bytes]) -> None:
    text = pages(book)["book/low_rank/lora.xhtml"]
    assert text.count('<details class="pft-predict">') > 3
    assert "(1, 2 and 3 / 2 and 3 / 3 alone)" in text and "<form" not in text
    assert not any("… Not written yet." in page for page in pages(book).values())


LAID_OUT = """
[...document.querySelectorAll("div.math")].filter((box) => box.querySelector(".eqno")).map((box) => {
    const formula = box.querySelector("math").getBoundingClientRect();
    const number = box.querySelector(".eqno").getBoundingClientRect();
    return { wide: formula.width / formula.height, clear: number.left - formula.right,
             level: Math.abs(number.top + number.bottom - formula.top - formula.bottom) / 2 };
})
"""


def test_numbered_formulas_are_rows_with_their_number_beside_them(
    book: dict[str, bytes], tmp_path: Path
) -> None:
    with zipfile.ZipFile(tool.OUT) as packed:
        packed.extractall(tmp_path)
    sources = "".join(p.read_text("utf-8") for p in (ROOT / "book").rglob("*.ipynb"))
    numbers, found = len(re.findall(r"\\tag\{", sources)), 0
    with launched() as browser:
        for name, text in pages(book).items():
            assert "mlabeledtr" not in text, name
            if 'class="eqno"' not in text:
                continue
            with opened(browser, (tmp_path / name).as_uri()) as (page, _):
                for box in page.evaluate(LAID_OUT):
                    found += 1
                    assert box["wide"] > 2.5 and box["clear"] >= 0, (name, box)
    assert found == numbers > 10


def test_links_between_pages_lead_somewhere(book: dict[str, bytes]) -> None:
    for name, text in pages(book).items():
        for link in re.findall(r'href="([^":#]+\.xhtml)', text):
            target = (Path("/") / name).parent / link
            assert str(target.resolve()).lstrip("/") in book, (name, link)
