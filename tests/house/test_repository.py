"""What needs the address of the repository is there when it is known, and absent when it is not."""

import html
import importlib
import re
import struct
import xml.etree.ElementTree as xml
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from small_book import build, outline
from sphinx.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = "https://github.com/Some-One/peft-book"
BASE = "https://some-one.github.io/peft-book/"
pytestmark = pytest.mark.site


def three_pages(folder: Path, repository: str) -> Path:
    outline(folder)
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    config["sphinx"]["config"]["pft_repository"] = repository
    (folder / "_config.yml").write_text(yaml.safe_dump(config))
    with (folder / "_toc.yml").open("a") as toc:
        toc.write("chapters:\n- file: book/how_to_use\n- file: book/other\n")
    (folder / "book" / "how_to_use.md").write_text("# Use\n\nHow to use it.\n")
    (folder / "book" / "other.md").write_text("# Other\n\nA page that is no notebook.\n")
    cells = [new_markdown_cell("# First\n\nA first page, with some words."), new_code_cell("1")]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, folder / "book" / "index.ipynb")
    return folder


def pages(folder: Path) -> dict[str, str]:
    site = folder / "_build" / "html"
    names = [*site.glob("book/*.html"), site / "404.html"]
    return {path.name: path.read_text(encoding="utf-8") for path in names}


def test_without_an_address_no_link_needs_it(tmp_path: Path) -> None:
    done = build(three_pages(tmp_path, ""), PFTLAB_REPOSITORY="")
    assert done.returncode == 0, done.stderr
    found = pages(tmp_path)
    whole = "\n".join(found.values())
    for word in ("colab", "mybinder", "github.com/Some", "og:url", "og:image", "canonical"):
        assert word not in whole, word
    assert "<base" not in found["404.html"]
    assert "Download the notebook" in found["index.html"]
    assert not (tmp_path / "_build" / "html" / "sitemap.xml").exists()


def test_with_an_address_all_links_have_it(tmp_path: Path) -> None:
    done = build(three_pages(tmp_path, REPOSITORY))
    assert done.returncode == 0, done.stderr
    found = pages(tmp_path)
    links = set(re.findall(r'href="(https://[^"]+)"', found["index.html"]))
    assert links >= {
        "https://colab.research.google.com/github/Some-One/peft-book/blob/main/book/index.ipynb",
        "https://mybinder.org/v2/gh/Some-One/peft-book/main?urlpath=lab/tree/book/index.ipynb",
        f"{REPOSITORY}/blob/main/book/index.ipynb",
        f"{BASE}book/index.html",
    }
    install = f'%pip install "pftlab[notebook] @ git+{REPOSITORY}@main"'
    assert f"<code>{html.escape(install)}</code>" in found["index.html"]
    assert f'"og:image" content="{BASE}_static/social-card.png"' in found["index.html"]
    assert f'"og:url" content="{BASE}book/other.html"' in found["other.html"]
    assert '<base href="/peft-book/">' in found["404.html"]
    assert "colab" not in found["other.html"]
    site = tmp_path / "_build" / "html"
    listed = [e.text for e in xml.parse(site / "sitemap.xml").iter() if e.tag.endswith("loc")]
    built = [p.relative_to(site).as_posix() for p in site.glob("book/*.html")]
    assert sorted(listed) == sorted(BASE + name for name in built)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Any:
    """(repository, address of the pages) that a setting leads to."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    monkeypatch.delenv("PFTLAB_REPOSITORY", raising=False)
    address = importlib.import_module("pages.address")

    def completed(setting: str, base: str = "") -> tuple[str, str]:
        config = SimpleNamespace(pft_repository=setting, html_baseurl=base)
        address.read(None, config)
        return config.pft_repository, config.html_baseurl

    return completed


def test_the_address_of_the_pages_follows_from_the_repository(read: Any) -> None:
    assert read("") == ("", "")
    assert read(f"{REPOSITORY}.git") == (REPOSITORY, BASE)
    assert read(f"{REPOSITORY}/") == (REPOSITORY, BASE)
    own = "https://github.com/Some-One/some-one.github.io"
    assert read(own) == (own, "https://some-one.github.io/")
    assert read(REPOSITORY, "https://peft.example/") == (REPOSITORY, "https://peft.example/")


def test_the_environment_stands_in_for_the_setting(
    read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PFTLAB_REPOSITORY", REPOSITORY)
    assert read("") == read("https://github.com/other/one") == (REPOSITORY, BASE)


@pytest.mark.parametrize(
    "wrong", ["github.com/x/y", "https://example.org/x/y", "https://github.com/x"]
)
def test_an_address_of_another_kind_stops_the_build(read: Any, wrong: str) -> None:
    with pytest.raises(ConfigError, match="Give the address of a repository on GitHub"):
        read(wrong)


def test_the_card_has_the_size_that_the_pages_say() -> None:
    picture = (ROOT / "book" / "_static" / "social-card.png").read_bytes()
    assert struct.unpack(">II", picture[16:24]) == (1200, 630)
    assert len(picture) < 150_000
