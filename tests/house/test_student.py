"""As a student: a released notebook in JupyterLab, a wrong answer, its message, the right answer.

And as the reader of a built page: the quiz, by keyboard, with the choices kept in the browser.
"""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from browser import PATIENCE, launched, opened, served, store_holds
from lab import jupyterlab, run, wait_for_kernel
from test_site import nameless_controls

from pftlab.book.classroom import grade, release
from pftlab.book.exercises import chapters, quiz_of

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
CHAPTER, NAME = "low_rank.lora", "low_rank.lora.3"
HEAD = f"# {NAME}\ndef lora_output(x, h, A, B, alpha):\n    "
WRONG = f"{HEAD}return h + alpha * (x @ A.T @ B.T)"
RIGHT = f"{HEAD}return h + alpha / A.shape[0] * (x @ A.T @ B.T)"
pytestmark = pytest.mark.site


def write(page: Any, cell: Any, text: str) -> None:
    """Replace what stands in a cell."""
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(text)
    assert cell.locator(".cm-content").inner_text().split() == text.split()


def test_a_student_solves_an_exercise(tmp_path: Path) -> None:
    source = release([CHAPTER], tmp_path / "handout", ROOT / "book")[0]
    notebook = json.loads(source.read_text("utf-8"))
    show = f'from pftlab.book import quiz\n\nquiz("{CHAPTER}")'
    notebook["cells"].append(
        {"cell_type": "code", "id": "show", "metadata": {}, "source": show, "outputs": [],
         "execution_count": None}
    )  # fmt: skip
    folder, progress = tmp_path / "lab", tmp_path / "progress.json"
    folder.mkdir()
    (folder / "anna.ipynb").write_text(json.dumps(notebook))
    with (
        jupyterlab(folder, "anna.ipynb", PFTLAB_PROGRESS=str(progress)) as address,
        launched() as browser,
        opened(browser, address) as (page, seen),
    ):
        wait_for_kernel(page)
        cells = page.locator(".jp-Notebook .jp-CodeCell")
        imports = cells.filter(has_text="import pftlab as pft").first
        answer = cells.filter(has_text=f"# {NAME}")
        check = cells.filter(has_text=f'check("{NAME}"')
        said = check.locator(".jp-OutputArea-output")
        run(page, imports)
        run(page, answer)
        run(page, check)
        assert "Not written yet." in said.inner_text()
        write(page, answer, WRONG)
        run(page, answer)
        run(page, check)
        text = said.inner_text()
        assert "✓ the shape is right" in text and "2 of 4 points so far" in text
        assert "The scale is α / r, and you used α." in text
        write(page, answer, RIGHT)
        run(page, answer)
        run(page, check)
        assert "All right: 4 of 4 points." in said.inner_text()

        # the quiz; the arrow key chooses the next answer and does not go to the next cell
        run(page, cells.filter(has_text="import quiz"))
        card = page.locator(".pft-quiz fieldset").first
        card.locator("input").first.focus()
        page.keyboard.press("Space")
        before = card.locator(".pft-quiz-said").inner_text()
        page.keyboard.press("ArrowDown")
        assert card.locator("input").nth(1).is_checked()
        assert card.locator(".pft-quiz-said").inner_text() != before

        answer.locator(".cm-content").click()
        page.keyboard.press("Control+s")
        written = RIGHT.splitlines()[-1].strip()
        for _ in range(PATIENCE // 100):
            if written in (folder / "anna.ipynb").read_text("utf-8"):
                break
            page.wait_for_timeout(100)
        else:
            pytest.fail("the notebook was not saved")
        assert not seen.outside, seen.outside
    assert json.loads(progress.read_text())[NAME] == {"points": 4, "out_of": 4, "tries": 2}
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "anna.ipynb").write_bytes((folder / "anna.ipynb").read_bytes())
    grade(tmp_path / "in", tmp_path / "grades.csv", [CHAPTER], quiet=True, unconfined=True)
    row = next(csv.DictReader((tmp_path / "grades.csv").open()))
    assert (row["student"], row[NAME], row["points"]) == ("anna", "4", "4")


# Quizzes in the built book


def pages() -> dict[str, str]:
    """{chapter: page} of the chapters that are in the book."""
    places = {c: f"book/{c.replace('.', '/')}.html" for c in chapters()}
    return {c: place for c, place in places.items() if (SITE / place).is_file()}


@pytest.mark.parametrize(
    "chapter, from_disk",
    [
        *(
            pytest.param(chapter, False, marks=[] if number % 5 == 0 else pytest.mark.full)
            for number, chapter in enumerate(pages())
        ),
        *((chapter, True) for chapter in list(pages())[:2]),
    ],
)
def test_a_quiz_by_keyboard(browser: Any, chapter: str, from_disk: bool) -> None:
    with served(SITE) as address:
        root = SITE.as_uri() if from_disk else address
        with opened(browser, f"{root}/{pages()[chapter]}") as (page, seen):
            store_holds(page)
            quiz = page.locator(f'.pft-quiz[data-quiz="{chapter}"]')
            cards = quiz.locator("fieldset")
            questions = quiz_of(chapter)
            assert cards.count() == len(questions)
            cards.first.locator("input").first.focus()
            for card, question in enumerate(questions):
                here = cards.nth(card)
                said = here.locator(".pft-quiz-said")
                for number, option in enumerate(question.shuffled()):
                    page.keyboard.press("ArrowDown" if number else "Space")
                    chosen = here.locator("input").nth(number)
                    assert chosen.is_checked()
                    assert chosen.evaluate("node => node === document.activeElement")
                    text = re.sub(r"[`*]", "", option.feedback)
                    mark = "✓ Right. " if option.right else "✗ Not this one. "
                    assert said.inner_text() == mark + text
                page.keyboard.press("Tab")
            right = sum(question.shuffled()[-1].right for question in questions)
            ended = f"{right} of {len(questions)} right."
            score = quiz.locator(".pft-quiz-score")
            assert score.inner_text() == ended
            focused = page.evaluate("document.activeElement.textContent")
            assert focused == "Start again", "the next stop after the last question"

            page.reload()
            assert score.inner_text() == ended, "kept in the browser"
            kept = page.evaluate("Object.keys(localStorage).filter(k => k.startsWith('pft'))")
            assert "pftlab-quiz" in kept and set(kept) <= {"pftlab-quiz", "pftlab-progress"}
            assert page.context.cookies() == []
            quiz.get_by_role("button", name="Start again").focus()
            page.keyboard.press("Enter")
            assert score.inner_text() == f"0 of {len(questions)} right so far, 0 answered."
            assert quiz.locator("input:checked").count() == 0
            page.reload()
            assert quiz.locator("input:checked").count() == 0
            assert not seen.outside and not seen.errors, seen


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_quiz_can_be_read(browser: Any, scheme: str) -> None:
    chapter, place = next(iter(pages().items()))
    with served(SITE) as address, opened(browser, f"{address}/{place}") as (page, _):
        page.evaluate(f"document.documentElement.dataset.theme = '{scheme}'")
        page.set_viewport_size({"width": 360, "height": 740})
        quiz = page.locator(".pft-quiz")
        inputs = quiz.locator("input")
        for number in range(inputs.count()):
            inputs.nth(number).check()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, "wider than a phone"
        names = page.get_by_role("radio").evaluate_all("all => all.map(i => i.labels[0].innerText)")
        assert len(names) == sum(len(q.options) for q in quiz_of(chapter)) and all(names)
        groups = quiz.get_by_role("group")
        assert groups.count() == 5
        assert nameless_controls(page) == []
        for part in (
            "legend",
            "label",
            ".pft-quiz-said",
            ".pft-quiz-said strong",
            ".pft-quiz-score",
            "button",
        ):
            found = quiz.locator(part).first
            colour, ground = found.evaluate(
                """node => {
                    const seen = (n) => getComputedStyle(n).backgroundColor;
                    let under = node;
                    while (/, 0\\)$|transparent/.test(seen(under))) under = under.parentElement;
                    return [getComputedStyle(node).color, seen(under)];
                }"""
            )
            assert contrast(colour, ground) >= 4.5, (part, colour, ground)


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2."""

    def light(colour: str) -> float:
        parts = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
        linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


def test_no_solution_is_in_the_built_book() -> None:
    """Nor in its sources, scripts or search index: everything that is published."""
    import sys

    sys.path.insert(0, str(ROOT / "tests" / "book" / "classroom"))
    from test_handout import secrets, squeezed

    published = "".join(
        squeezed(path.read_text("utf-8", errors="replace"))
        for pattern in ("book/**/*.html", "_sources/**/*", "searchindex.js")
        for path in SITE.glob(pattern)
        if path.is_file()
    )
    assert squeezed('check("low_rank.lora.3", lora_output)') in published
    assert [name for name, line in secrets().items() if squeezed(line) in published] == []
    assert not re.search(r"Solution</summary>", published)
