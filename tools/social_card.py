"""Draw the picture that messengers show beside a link to the book.

    python tools/social_card.py     writes book/_static/social-card.png, the same bytes each time

1200 × 630 pixels is what they all take. Colours are those of the book's drawings.
"""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch

from pftlab.book.plots import UNDATED

OUT = Path(__file__).resolve().parents[1] / "book" / "_static" / "social-card.png"
WIDTH, HEIGHT = 1200, 630
INK, SOFT, STROKE = "#e8eaed", "#b4bdc6", "#a9b3bd"
GROUND = "#14181e"
FROZEN, FROZEN_EDGE = "#12354f", "#7ab8f5"
TRAINED, TRAINED_EDGE = "#5a2f0f", "#ffb27a"
CENTRE = 930  # of the layer


def draw() -> Figure:
    """The title, and a layer: blue parts frozen, small orange parts trained."""
    figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=100, facecolor=GROUND)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT))
    axes.axis("off")

    def box(x: float, y: float, width: float, height: float, fill: str, edge: str) -> None:
        shape = f"round,pad=0,rounding_size={min(10, height / 3)}"
        patch = FancyBboxPatch((x, y), width, height, boxstyle=shape, fc=fill, ec=edge, lw=2.5)
        axes.add_patch(patch)

    def frozen(y: float, words: str, x: float = CENTRE, width: float = 320) -> None:
        box(x - width / 2, y, width, 46, FROZEN, FROZEN_EDGE)
        axes.text(x, y + 22, words, color=INK, size=15, ha="center", va="center")

    axes.plot([CENTRE, CENTRE], [60, 585], color=STROKE, lw=2.5, zorder=0)
    axes.plot([CENTRE], [587], marker="^", color=STROKE, ms=12)
    for y, words in (
        (505, "add and normalise"),
        (415, "feed-forward, down"),
        (335, "feed-forward, up"),
        (245, "add and normalise"),
        (155, "attention"),
    ):
        frozen(y, words)  # fmt: skip
    for x, words in ((-110, "query"), (0, "key"), (110, "value")):
        frozen(65, words, CENTRE + x, 98)
        axes.plot([CENTRE + x] * 2, [111, 155], color=STROKE, lw=2.5, zorder=0)
    for y in (213, 473):
        box(CENTRE - 22, y, 44, 22, TRAINED, TRAINED_EDGE)
    axes.add_patch(Circle((CENTRE, 398), 12, fc=TRAINED, ec=TRAINED_EDGE, lw=2.5))
    for x in (-80, 140):
        box(CENTRE + x, 122, 36, 22, TRAINED, TRAINED_EDGE)

    axes.text(80, 400, "PFT Lab", color=INK, size=58, weight="bold", va="center")
    axes.text(80, 300, "Adapt a pretrained transformer\nby training a small part of it",
              color=INK, size=25, va="center", linespacing=1.5)  # fmt: skip
    axes.text(80, 190, "An executable textbook of\nparameter-efficient fine-tuning",
              color=SOFT, size=19, va="center", linespacing=1.5)  # fmt: skip
    return figure


def main() -> None:
    with matplotlib.rc_context({"font.family": "DejaVu Sans"}):
        draw().savefig(OUT, dpi=100, metadata=UNDATED[".png"])
    print(f"{OUT.name}: {OUT.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
