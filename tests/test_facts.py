"""The rows of facts agree with the book's references and with the classes that they speak of."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import pftlab as pft
from pftlab.core import Method
from pftlab.facts import FACTS, FAMILIES, Facts

REFERENCES = Path(__file__).resolve().parents[1] / "book" / "references.bib"
LETTERS = {r"{\"u}": "ü", r"{\"o}": "ö", r"{\'e}": "é", r"{\'c}": "ć"}


def entries() -> dict[str, dict[str, str]]:
    """Key → field → text of book/references.bib, without its braces."""
    found = {}
    for text in f"\n{REFERENCES.read_text(encoding='utf-8')}".split("\n@")[1:]:
        for written, letter in LETTERS.items():
            text = text.replace(written, letter)
        key = text[text.index("{") + 1 : text.index(",")]
        fields = re.findall(r"^ +(\w+) += \{(.*)\},?$", text, re.MULTILINE)
        found[key] = {name: re.sub(r"[{}]", "", value) for name, value in fields}
    return found


ENTRIES = entries()


@pytest.mark.parametrize("row", FACTS.values(), ids=FACTS)
def test_a_paper_is_cited_as_in_the_references(row: Facts) -> None:
    entry = ENTRIES[row.reference]
    names = [author.split(",")[0] for author in entry["author"].split(" and ")]
    authors = " and ".join(names) if len(names) < 3 else f"{names[0]} et al."
    assert row.paper == f"{authors} ({entry['year']}), {entry['title']}"
    number = row.url.removeprefix("https://arxiv.org/abs/")
    assert number in (
        entry.get("eprint"),
        entry.get("journal", "").removeprefix("arXiv preprint arXiv:"),
    )
    assert 2010 < row.year <= int(entry["year"])


@pytest.mark.parametrize("name", FACTS)
def test_a_class_has_the_facts_of_its_row(name: str) -> None:
    row, method = FACTS[name], pft.METHODS[name]
    assert all(getattr(method, key) == value for key, value in vars(row).items())
    assert row.family in FAMILIES and 1e-6 < row.learning_rate < 1
    assert vars(row).keys() <= Method.__annotations__.keys()
    for given in (row.tiny, row.small):
        method(**given)


def test_rows_are_read_without_torch() -> None:
    code = "import sys, pftlab.facts; print({'torch', 'numpy'} & {*sys.modules} or 'light')"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert output.stdout.strip() == "light", output.stderr


def test_a_method_of_ones_own_has_facts_by_default() -> None:
    @dataclass(frozen=True)
    class MyLoRA(pft.LoRA):
        learning_rate = 5e-3

    @dataclass(frozen=True)
    class Named(Method):
        name, title = "own", "My own"

    assert (MyLoRA.name, MyLoRA.title, MyLoRA.learning_rate) == ("mylora", "MyLoRA", 5e-3)
    assert MyLoRA.mergeable, "what it does not say is as in its parent"
    assert (Named.name, Named.title, Named.family) == ("own", "My own", "others")
    assert not Named.mergeable and Named.identity_at_start
