"""The prose of every page keeps the rules of tools/prose, and each rule finds what it is for."""

import json
import re

import prose
import pytest
from pages import ledger
from prose import evidence, language, page, symbols, template

METHOD_PAGE = "low_rank/made_up.ipynb"
TABLE = """## Claim ledger

| the paper claims | we ran | verdict |
|---|---|---|
| 4 bits are enough {cite:p}`some2023paper` | [bytes](#bytes), five seeds | holds here |
| nothing is lost | [scores](../low_rank/lora.ipynb#scores) | does not hold here: 3 points |
"""


@pytest.mark.parametrize(
    "path", prose.pages(), ids=lambda path: path.relative_to(prose.BOOK).as_posix()
)
def test_page(path):
    assert prose.check(path) == []


def made(text, name="page.md"):
    return page.of_markdown(name, text)


def notebook(*cells, name=METHOD_PAGE):
    """A page of cells: text is Markdown; (source, tags, output data) is code."""
    parts = []
    for number, cell in enumerate(cells):
        if isinstance(cell, str):
            parts.append({"cell_type": "markdown", "id": f"cell-{number}", "source": [cell]})
            continue
        source, tags, data = cell
        parts.append(
            {
                "cell_type": "code",
                "id": f"cell-{number}",
                "source": [source],
                "metadata": {"tags": tags},
                "outputs": [{"data": data}] if data else [],
            }
        )
    return page.of_notebook(name, {"cells": parts})


def test_a_sound_page_has_no_faults():
    sound = (
        "# Four bits\n\nWe quantise the weights $W_0$ {cite:p}`some2023paper`, and `tset` is code.\n\n"
        '<img src="a.svg" alt="Two bars, the right one twice as high.">\n\n'
        "| symbol | shape |\n|---|---|\n| $x$ | $(\\dots, d_\\text{in})$ |\n"
    )
    assert prose.faults(made(sound)) == []


@pytest.mark.parametrize(
    ("rule", "wrong", "said"),
    [
        (language.spelling, "A matirx of weights.", "matirx"),
        (language.spelling, "| head |\n|---|\n| a matirx |", "matirx"),
        (language.spelling, '<img src="a.svg" alt="A matirx of weights.">', "matirx"),
        (language.spelling, ":::{prf:proposition} Reach\nA matirx.\n:::", "matirx"),
        (language.repeated_words, "It is is right.", "is is"),
        (language.repeated_words, "It is\nis right.", "is is"),
        (language.long_sentences, "It is " + "very " * 44 + "good.", "47 words"),
        (language.long_paragraphs, "It is so. " * 50, "150 words"),
        (language.words_to_avoid, "On par, in the mean.", "on average"),
        (language.words_to_avoid, "We have learnt it.", "learned"),
        (language.words_to_avoid, "The initialization is random.", "-ise"),
        (language.words_to_avoid, "It is simply so.", "reason"),
        (language.words_to_avoid, "The contract holds.", "reader"),
        (language.words_to_avoid, "Who guesses has half.", "Anyone who"),
        (symbols.not_in_the_notation, "Let $\\xi$ be small.", "\\xi"),
        (symbols.not_in_the_notation, "$$\n\\widehat W = 0\n$$", "\\widehat W"),
        (symbols.other_shapes, "| symbol | shape |\n|---|---|\n| $A$ | $(d, r)$ |", "$(d, r)$"),
    ],
)  # fmt: skip
def test_rule_finds(rule, wrong, said):
    (fault,) = rule(made(wrong))
    assert said in fault


@pytest.mark.parametrize(
    ("rule", "right"),
    [
        (language.spelling, "Its behaviour, Houlsby's adapters, LoRA, `matirx`, $matirx$, n't."),
        (language.spelling, "```\nmatirx\n```"),
        (language.repeated_words, "$x$ $x$ and `code` `code`."),
        (language.words_to_avoid, "Of this size. Who reads it? A tokenizer."),
        (symbols.not_in_the_notation, "$\\text{xi} + \\log W_0^\\top$"),
    ],
)
def test_rule_leaves_alone(rule, right):
    assert list(rule(made(right))) == []


def test_a_letter_of_one_page_is_none_of_another():
    protocol = page.of_markdown("comparison/protocol.md", "$\\nu$")
    assert list(symbols.not_in_the_notation(protocol)) == []
    assert list(symbols.not_in_the_notation(made("$\\nu$")))


def test_one_letter_has_one_meaning():
    twice = "| symbol | meaning |\n|---|---|\n| $A$ | one |\n| $A$ | other |\n"
    assert list(symbols.told_twice(made(twice, symbols.NOTATION))) == ["two meanings of $A$"]
    gone = "| page | symbol | meaning |\n|---|---|---|\n| [P](how_to_use.md) | $\\nu$ | x |\n"
    (fault,) = symbols.told_twice(made(gone, symbols.NOTATION))
    assert "has no \\nu" in fault


def whole_chapter(leave_out=None):
    headings = [f"## {name}" for name in template.METHOD if name != leave_out]
    cells = ["# T\n\n**The question.** Why?", *headings, "Made with"]
    return [*cells, ("x = 1", ["lib:pftlab.low_rank"], {}), ("x", ["predict"], {})]


@pytest.mark.parametrize("name", template.METHOD)
def test_a_missing_section_is_found(name):
    assert list(template.sections(notebook(*whole_chapter()))) == []
    (fault,) = template.sections(notebook(*whole_chapter(leave_out=name)))
    assert repr(name) in fault


@pytest.mark.parametrize(
    ("left_out", "said"),
    [(0, "does not ask"), (-3, "Made with"), (-2, "lib:"), (-1, "predict")],
)
def test_what_else_a_chapter_lacks_is_found(left_out, said):
    cells = whole_chapter()
    cells[left_out] = "# T" if left_out == 0 else "Nothing."
    assert any(said in fault for fault in template.sections(notebook(*cells)))


def test_a_chapter_without_a_method_needs_less():
    cells = ["# T\n\n**The question.** Why?", *(f"## {name}" for name in template.CHAPTER)]
    graded = [*cells, ("x", ["exercises:foundations.bill"], {}), "Made with"]
    assert list(template.sections(notebook(*graded, name="foundations/bill.ipynb"))) == []
    assert list(template.sections(notebook(*graded[1:], name="foundations/bill.ipynb")))


@pytest.mark.parametrize("tags", [[], ["lib:pftlab.facts"], ["lib-brief:pftlab.facts"]])
def test_wide_code_is_found(tags):
    (fault,) = template.code_width(notebook(("x" * 85, tags, {})))
    assert "85 columns" in fault
    assert list(template.code_width(notebook(("x" * 84, tags, {})))) == []


def test_a_figure_of_which_nothing_is_said_is_found():
    figure = ("show()", [], {"image/png": "…"})
    said = "The line rises from the left to the right."
    assert list(template.unread_figures(notebook(figure, said))) == []
    assert list(template.unread_figures(notebook(figure, "## Next", said)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("the paper claims", "the paper"), "columns"),
        ((" {cite:p}`some2023paper`", ""), "cite"),
        (("does not hold here", "wrong"), "verdict"),
        (("five seeds | holds here", "five seeds |"), "3 cells"),
    ],
)
def test_a_ledger_in_another_form_is_found(change, said):
    assert list(template.ledger(notebook(TABLE))) == []
    (fault,) = template.ledger(notebook(TABLE.replace(*change)))
    assert said in fault


def test_claims_under_another_heading_are_found():
    exercise = ("", ["exercises:foundations.x"], None)
    page = notebook(TABLE.replace("Claim ledger", "Claims"), exercise, name="foundations/x.ipynb")
    (fault,) = template.ledger(page)
    assert "'## Claim ledger', not '## Claims'" in fault
    kept = notebook(TABLE, exercise, name="foundations/x.ipynb")
    assert list(template.ledger(kept)) == []


def test_the_claims_of_all_chapters_are_on_one_page(tmp_path):
    folder = tmp_path / "low_rank"
    folder.mkdir()
    assert ledger.ledger(tmp_path) == ""
    cells = '[{"cell_type": "markdown", "source": %s}]'
    text = json.dumps(["# Four bits\n\n", TABLE, "\n## Summary\n\n| other | table |\n"])
    (folder / "bits.ipynb").write_text('{"cells": %s}' % (cells % text))
    made = ledger.ledger(tmp_path)
    assert "## Four bits" in made and "(../low_rank/bits.ipynb#claim-ledger)" in made
    assert "[bytes](../low_rank/bits.ipynb#bytes)" in made
    assert "[scores](../low_rank/lora.ipynb#scores)" in made
    assert re.search(r"holds here \| 1 \|.*\n.*in part \| 0 \|.*\n.*not hold here \| 1", made)
    assert "| table |" not in made


def test_the_claims_stand_in_the_order_of_the_book(tmp_path):
    book = tmp_path / "book"
    for name in ("adapter/two", "low_rank/one", "prompt/three"):
        page = book / f"{name}.ipynb"
        page.parent.mkdir(parents=True)
        cell = {"cell_type": "markdown", "source": [f"# {name}\n\n", TABLE]}
        page.write_text(json.dumps({"cells": [cell]}))
    (tmp_path / "_toc.yml").write_text("- file: book/low_rank/one\n- file: book/adapter/two\n")
    places = [page for page, _, _ in ledger.chapters(book)]
    assert places == ["low_rank/one.ipynb", "adapter/two.ipynb", "prompt/three.ipynb"]


PRINTED = (
    "print()",
    [],
    {"text/plain": "LoRA 83.47 ± 1.20\nfull 87.21 ± 0.40, 6968064 of 7000123"},
)


@pytest.mark.parametrize(
    "said",
    [
        "It reaches 83.47, or 83.5, or 83 %.",
        "It is ahead by 3.7 points.",
        "It lies between 82.3 and 84.7.",
        "It trains 7.0 million.",
        "It trains 99.5 %.",
        "In 2024, Equation 31 and layer 17 had 16 bits, a 95 % interval and 768 × 768 numbers.",
        "Others found 63.7 {cite:p}`some2023paper`.",
        "It is set to `0.37`, and so to 0.37.",
        "It reaches 4,127 at $k = 4127$.",
    ],
)
def test_a_number_with_evidence_is_left_alone(said):
    assert list(evidence.unbacked(notebook("## One", PRINTED, said))) == []


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("It reaches 84.3.", "84.3"),
        ("It reaches 83.4.", "83.4"),
        ("It is ahead by 4.7 points.", "4.7"),
        ("It trains 5.1 million.", "5.1"),
        ("It trains 63 %.", "63"),
        ("| it |\n|---|\n| reaches 84.3 |", "84.3"),
        ("## Two\n\nIt reaches 83.5.", "83.5"),
    ],
)
def test_a_number_without_evidence_is_found(said, number):
    other = ("print()", [], {"text/plain": "12.3"})
    (fault,) = evidence.unbacked(notebook("## One", PRINTED, said, other))
    assert f"nothing backs {number}:" in fault


def test_every_line_of_the_list_is_needed():
    needed = set()
    for path in prose.pages():
        read = page.read(path, prose.BOOK)
        numbers = {match["number"] for _, match in evidence.unfound(read)}
        needed |= {
            (name, number) for number in numbers for name in (read.name, evidence.EVERY_PAGE)
        }
    assert evidence.listed() <= needed, sorted(evidence.listed() - needed)
