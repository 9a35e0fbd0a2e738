"""The cells of a notebook that hold a chapter's exercises and quiz, made from their data.

The book's chapters and the notebooks for students have the same cells: `tools/notebooks sync`
writes them into the chapter, in the place of those with the tag "exercises:CHAPTER", and
`pftlab classroom release` writes them into the student's copy.
"""

from typing import Any

from .catalogue import exercises_of, quiz_of
from .model import Exercise

INTRODUCTION = (
    "## Exercises\n\n"
    "Write your answer into the cell, run it, and run the check below it. It says what is right, "
    "and what to look at if something is not. An answer stands alone: `torch` and `math` are "
    "there, other cells are not. The first line of the cell tells the grader which exercise it "
    "is; leave it there."
)
ALONE = "Questions without a check are for you, your data and your neighbour."
QUIZ = "## Quiz\n\nChoose an answer and read what it says. What you choose stays in this browser."


def section(chapter: str, quiz: bool = True) -> list[dict[str, Any]]:
    """The cells of a chapter's exercises, and of its quiz if wanted.

    Raises:
        UnknownName: the chapter has no exercises.
    """
    tag = f"exercises:{chapter}"
    asked = exercises_of(chapter)
    text = INTRODUCTION if all(e.stages for e in asked) else f"{INTRODUCTION} {ALONE}"
    cells = [_cell("markdown", "exercises", text, tag)]
    for number, each in enumerate(asked, 1):
        cells += _exercise(each, number, tag)
    if quiz and quiz_of(chapter):
        cells.append(_cell("markdown", "quiz", QUIZ, tag))
        show = f'from pftlab.book import quiz\n\nquiz("{chapter}")'
        cells.append(_cell("code", "quiz-cards", show, tag, "remove-input"))
    return cells


def _exercise(asked: Exercise, number: int, tag: str) -> list[dict[str, Any]]:
    points = f", {asked.points} points" if asked.stages else ""
    head = f"**{number}. {asked.title}** ({'★' * asked.stars}, {asked.minutes} minutes{points})"
    hints = "".join(
        f"\n\n<details>\n<summary>Hint {i}</summary>\n\n{hint}\n\n</details>"
        for i, hint in enumerate(asked.hints, 1)
    )
    cells = [_cell("markdown", f"exercise-{number}", f"{head}\n\n{asked.statement}{hints}", tag)]
    if asked.stages:
        stub = f"# {asked.name}\n{asked.stub.rstrip()}"
        check = f'from pftlab.book import check\n\ncheck("{asked.name}", {asked.defines})'
        cells.append(_cell("code", f"answer-{number}", stub, tag, f"answer:{asked.name}"))
        cells.append(_cell("code", f"check-{number}", check, tag, f"check:{asked.name}"))
    return cells


def _cell(kind: str, identity: str, source: str, *tags: str) -> dict[str, Any]:
    cell = {"cell_type": kind, "id": identity, "metadata": {"tags": list(tags)}, "source": source}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def chapter_of(cell: dict[str, Any]) -> str | None:
    """The chapter whose exercises the cell belongs to, by its tag."""
    for tag in cell.get("metadata", {}).get("tags", []):
        if tag.startswith("exercises:"):
            return tag.partition(":")[2]
    return None


def replaced(
    cells: list[dict[str, Any]], chapter: str, new: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """`cells` with `new` in the place of those of the chapter's exercises, or at the end."""
    places = [i for i, cell in enumerate(cells) if chapter_of(cell) == chapter]
    first = places[0] if places else len(cells)
    kept = [
        [c for c in part if chapter_of(c) != chapter] for part in (cells[:first], cells[first:])
    ]
    return kept[0] + new + kept[1]
