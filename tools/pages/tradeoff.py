"""Parameters against accuracy, drawn as a part of the page: nothing to load, no script to run.

    ```{headline} lora
    :base: minilm
    :task: sst2
    ```

says in one sentence what the method trained and reached beside full fine-tuning, and

    ```{tradeoff}
    :base: minilm
    :task: sst2
    ```

draws the methods `DRAWN` of the book's results on this base and task, each mark a link to its card:
a name stands beside each, and there is no room for those of all.
"""

import math
from html import escape
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from pftlab.experiments.summary import Summary
from pftlab.facts import FACTS
from pftlab.scores import score_of

from . import cards
from .taxonomy import Drawing, page_of_method

DRAWN = ("linear_probe", "prompt_tuning", "ia3", "bitfit", "lora", "houlsby", "full")
WIDTH, HEIGHT = 470, 400
LEFT, RIGHT, TOP, BOTTOM = 52, 456, 16, 340  # of the plot within it
LEAST, MOST = 0.01, 100  # per cent of the parameters that the axis shows
NOTHING = LEFT + 22  # where a method stands that trains the head alone
FIRST = LEFT + 76  # where the logarithmic part begins
LETTER, LINE = 8.6, 18  # about the width and the height of a letter
SHAPES = {
    "finetune": '<rect x="-6" y="-6" width="12" height="12"/>',
    "adapter": '<circle r="6.5"/>',
    "prompt": '<path d="M0-7.5L7 5.5H-7Z"/>',
    "low_rank": '<path d="M0-8.5L8.5 0L0 8.5L-8.5 0Z"/>',
    "sparse": '<path d="M0 7.5L7-5.5H-7Z"/>',
    "others": '<path d="M-2.5-7H2.5V-2.5H7V2.5H2.5V7H-2.5V2.5H-7V-2.5H-2.5Z"/>',
}  # as the markers in pftlab/facts.py


def setup(app: Sphinx) -> None:
    app.add_directive("headline", Headline)
    app.add_directive("tradeoff", Tradeoff)


class _OfResults(SphinxDirective):
    option_spec: ClassVar[dict[str, Any]] = {
        "base": directives.unchanged_required,
        "task": directives.unchanged_required,
    }

    def rows(self) -> list[Summary]:
        """One row for each method drawn: its first setting, fewest parameters first."""
        self.env.note_reread()  # results are no source that Sphinx watches
        base, task = self.options["base"], self.options["task"]
        there = [row for row in cards.results() if (row.base, row.task) == (base, task)]
        rows = {row.method: row for row in reversed(there) if row.method in DRAWN}
        if "full" not in rows:
            raise self.error(f"There is no result of full fine-tuning on {base}, {task}.")
        return sorted(rows.values(), key=lambda row: row.trainable)


class Headline(_OfResults):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        rows = {row.method: row for row in self.rows()}
        if self.arguments[0] not in rows:
            raise self.error(f"No result of {self.arguments[0]!r}. There are {', '.join(rows)}.")
        row, full = rows[self.arguments[0]], rows["full"]
        score = score_of(row.metric)
        number = nodes.strong("", f"{row.percent:.2f} %", classes=["pft-number"])
        text = nodes.paragraph("", "", number, classes=["pft-headline"])
        text += nodes.Text(
            f" of the weights trained, {_scored(row)} {score.unit} right: "
            f"{FACTS[row.method].title} on film reviews it had not seen. "
            f"Training all of them gives {_scored(full)}."
        )
        return [text]


class Tradeoff(_OfResults):
    def run(self) -> list[nodes.Node]:
        rows = self.rows()
        score = score_of(rows[0].metric)
        base, task = self.options["base"], self.options["task"]
        said = "; ".join(f"{FACTS[row.method].title} {_scored(row)}" for row in rows)
        alt = (
            f"{score.axis} on {task} with {base} against the trained share of the weights. {said}."
        )
        targets = {row.method: page_of_method(self.env, FACTS[row.method]) for row in rows}
        return [Drawing(svg=draw(rows), alt=alt, targets={}, methods=targets)]


def _scored(row: Summary) -> str:
    score = score_of(row.metric)
    return f"{score.number(row.mean)} ± {score.number(row.interval or 0)}"


def across(row: Summary) -> float:
    """Where a row stands from left to right."""
    if not row.trainable:
        return NOTHING
    share = math.log(max(row.percent, LEAST) / LEAST) / math.log(MOST / LEAST)
    return FIRST + share * (RIGHT - 14 - FIRST)


def draw(rows: list[Summary]) -> str:
    """The figure; each mark is a group that the page makes a link."""
    score = score_of(rows[0].metric)
    spreads = {row.method: score.reach(row.mean, row.interval) for row in rows}
    ends = [end for spread in spreads.values() for end in spread]
    step = next(s for s in (1, 2, 5, 10, 20) if (max(ends) - min(ends)) * score.times / s <= 7)
    low = math.floor(min(ends) * score.times / step) * step
    high = math.ceil(max(ends) * score.times / step) * step

    def up(value: float) -> float:
        return BOTTOM - (value * score.times - low) / (high - low) * (BOTTOM - TOP)

    parts = []
    for tick in range(low, high + 1, step):
        y = BOTTOM - (tick - low) / (high - low) * (BOTTOM - TOP)
        parts.append(
            f'<path class="grid" d="M{LEFT} {y:.0f}H{RIGHT}"/>'
            f'<text class="soft end" x="{LEFT - 6}" y="{y + 5:.0f}">{tick}</text>'
        )
    for share in (0.01, 0.1, 1, 10, 100):
        x = FIRST + math.log(share / LEAST) / math.log(MOST / LEAST) * (RIGHT - 14 - FIRST)
        parts.append(
            f'<path class="axis" d="M{x:.0f} {BOTTOM}v6"/>'
            f'<text class="soft" x="{x:.0f}" y="{BOTTOM + 22}">{share:g}</text>'
        )
    parts.append(
        f'<path class="axis" d="M{LEFT} {BOTTOM}H{RIGHT}"/>'
        f'<text class="soft" x="{NOTHING}" y="{BOTTOM + 22}">head</text>'
        f'<text class="soft" x="{(FIRST + RIGHT) / 2:.0f}" y="{BOTTOM + 46}">'
        "% of the weights that are trained</text>"
        f'<text class="soft start" x="{LEFT + 4}" y="{TOP + 12}">{escape(score.axis)}</text>'
    )
    taken = [(across(row) - 9, up(row.mean) - 9, across(row) + 9, up(row.mean) + 9) for row in rows]
    taken += [
        (across(row) - 2, up(spreads[row.method][1]), across(row) + 2, up(spreads[row.method][0]))
        for row in rows
    ]
    for row in rows:
        x, y, facts = across(row), up(row.mean), FACTS[row.method]
        worst, best = spreads[row.method]
        left, base = _room(x, y, facts.title, taken)
        parts.append(
            f'<g data-method="{facts.name}" data-family="{facts.family}">'
            f'<rect class="hit" x="{x - 13:.0f}" y="{y - 13:.0f}" width="26" height="26"/>'
            f'<path class="spread" d="M{x:.0f} {up(best):.0f}V{up(worst):.0f}"/>'
            f'<g class="dot" transform="translate({x:.0f} {y:.0f})">{SHAPES[facts.family]}</g>'
            f'<text class="ink start" x="{left:.0f}" y="{base:.0f}">{escape(facts.title)}</text>'
            "</g>"
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="group" '
        f'class="pft-tradeoff-drawing" font-family="system-ui, sans-serif" font-size="16">'
        f"{''.join(parts)}</svg>"
    )


def _room(
    x: float, y: float, words: str, taken: list[tuple[float, float, float, float]]
) -> tuple[float, float]:
    """Left end and base line of a name where it covers nothing; `taken` grows by it."""
    width = LETTER * len(words)
    tries = [
        (x + side, y + down)
        for down in (5, -12, 24, -28, 40, -44, 56)
        for side in (12, -12 - width, -width / 2)
    ]
    inside = [(a, b) for a, b in tries if a > LEFT and a + width < WIDTH and TOP < b < BOTTOM - 3]

    def covered(place: tuple[float, float]) -> float:
        a, b = place
        mine = (a, b - LINE + 4, a + width, b + 4)
        return sum(
            max(0, min(mine[2], other[2]) - max(mine[0], other[0]))
            * max(0, min(mine[3], other[3]) - max(mine[1], other[1]))
            for other in taken
        )

    left, base = min(inside, key=covered)
    taken.append((left, base - LINE + 4, left + width, base + 4))
    return left, base
