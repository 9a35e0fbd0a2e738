"""The figures of the book and of the command line.

Colours are Okabe and Ito's (2008), which colour-blind readers can tell apart; every family has a
marker of its own besides. Backgrounds are transparent and text is a mid-grey that can be read on
white and on black.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..facts import FAMILIES
from ..registry import facts_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..experiments.summary import Summary
    from ..training import Run

MEMORY: dict[str, tuple[str, str]] = {  # part → name, colour
    "weights": ("weights", "#7a7a7a"),
    "gradients": ("gradients", "#e69f00"),
    "optimiser": ("AdamW's moments", "#0072b2"),
    "activations": ("kept for the backward pass", "#56b4e9"),
}
GREY = "#767676"  # contrast 4.5 on white and 4.6 on black
STYLE: dict[str, Any] = {
    "svg.hashsalt": "pftlab",  # the same figure gives the same bytes
    "svg.fonttype": "path",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "savefig.dpi": 150,
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "axes.titlecolor": GREY,
    "text.color": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "grid.color": GREY,
    "grid.alpha": 0.25,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 10,
}
UNDATED = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {"Software": None}}
BESIDE = 0.085  # decades of the axis that points are apart at least
CROWD = 10  # points; with more, their names stand upright
# Where a label may stand, in points from its marker, best first: (x, y, horizontal alignment).
PLACES: tuple[tuple[float, float, str], ...] = (
    (9, 0, "left"),
    (-9, 0, "right"),
    *((x, y, side) for y in (12, -12, 24, -24, 38, -38, 52, -52, 68, -68)
      for x, side in ((6, "left"), (-6, "right"), (0, "center"))),
)  # fmt: skip


def save_figure(figure: "Figure", path: str | Path) -> None:
    """Write a figure: .svg, .png or .pdf by its name; the same figure gives the same bytes."""
    from ..core.files import atomic_write

    path = Path(path)
    with style(), atomic_write(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], metadata=UNDATED.get(path.suffix))


def save_image(figure: "Figure", stream: BinaryIO) -> None:
    """Write a figure to an open file as PNG; the same figure gives the same bytes."""
    with style():
        figure.savefig(stream, format="png", metadata=UNDATED[".png"])


def show_figure(figure: "Figure") -> None:
    """Show a figure in a notebook, as a picture that stays the same when it is made again."""
    import io

    from IPython.display import Image, display

    stream = io.BytesIO()
    save_image(figure, stream)
    width = round(100 * figure.get_figwidth())
    display(Image(stream.getvalue(), width=width))


def tradeoff(
    rows: Sequence["Summary"], title: str = "", control: "Summary | None" = None
) -> "Figure":
    """Trainable parameters (log scale) against the score, with 95 % confidence intervals.

    Args:
        rows: of one base and one task, from `summarise`.
        title: above the axes; by default task and base.
        control: full fine-tuning from random weights, drawn as a line across.

    Returns:
        A matplotlib figure. A method that trains nothing but the head stands at 0, at the left.
        Methods that train about equally many parameters stand side by side, the fewest first.
        Where there are many, their names stand upright above their intervals.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    counts = [row.trainable for row in rows if row.trainable]
    smallest, largest = min(counts, default=1), max(counts, default=10)
    zero = smallest / 6  # where on the log scale 0 is shown
    with style():
        crowded = len(rows) > CROWD
        figure, axes = canvas(7.2, 6.0 if crowded else 4.6)
        axes.grid(True)
        axes.set_xscale("log")
        axes.set_xlabel("trainable parameters, without the head")
        axes.set_ylabel(f"{rows[0].metric} on the test split, %")
        axes.set_title(title or f"{rows[0].task} on {rows[0].base}")
        used, points = {}, []
        places = _apart([math.log10(row.trainable or zero) for row in rows])
        for row, place in zip(rows, places, strict=True):
            family = facts_of(row.method).family
            _, colour, marker = FAMILIES[family]
            x, y, half = 10**place, 100 * row.mean, 100 * (row.interval or 0)
            bars = axes.errorbar(
                x, y, yerr=half or None, fmt=marker, color=colour, markersize=7, capsize=3
            )
            used[family] = bars.lines[0]
            points.append((x, y, half, label(row, rows)))
        axes.set_xlim(smallest / 4, largest * 4)
        if len(counts) < len(rows):
            axes.set_xlim(zero / 2, largest * 4)
            axes.axvspan(zero / 2, zero * 2, color=GREY, alpha=0.1, linewidth=0)
        axes.margins(y=0.12)
        if control is not None:
            axes.axhline(100 * control.mean, color=GREY, linestyle="--", linewidth=1)
            axes.annotate(
                f"{facts_of(control.method).title} from random weights", (0.99, 100 * control.mean),
                xycoords=("axes fraction", "data"), xytext=(0, 4), textcoords="offset points",
                ha="right",
            )  # fmt: skip
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_locator(LogLocator(base=10, numticks=8))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: short(x)))
        if len(counts) < len(rows):
            ticks = [tick for tick in axes.get_xticks() if zero * 2 < tick <= largest * 4]
            axes.set_xticks([zero, *ticks], ["0", *map(short, ticks)])
        figure.legend(
            [used[family] for family in FAMILIES if family in used],
            [FAMILIES[family][0] for family in FAMILIES if family in used],
            loc="outside lower center", ncols=6, frameon=False, handletextpad=0.1,
        )  # fmt: skip
        (_write_upright if crowded else _write_labels)(axes, points)
    return figure


def memory(rows: Sequence["Summary"], title: str = "") -> "Figure":
    """What a training step holds in memory, method by method, as stacked bars.

    Args:
        rows: from `summarise`.
        title: above the axes; by default base and batch.
    """
    with style():
        figure, axes = canvas(7.2, 1.3 + 0.36 * len(rows))
        axes.grid(True, axis="x")
        names = [label(row, rows) for row in rows]
        ends = [0.0] * len(rows)
        for part, (name, colour) in MEMORY.items():
            widths = [row.memory.get(part, 0) / 2**20 for row in rows]
            axes.barh(range(len(rows)), widths, left=ends, height=0.7, color=colour, label=name)
            ends = [end + width for end, width in zip(ends, widths, strict=True)]
        for i, end in enumerate(ends):
            axes.annotate(f"{end:,.0f}", (end, i), xytext=(4, 0), textcoords="offset points",
                          va="center")  # fmt: skip
        axes.set_yticks(range(len(rows)), names)
        axes.invert_yaxis()
        axes.margins(x=0.1)
        axes.set_xlabel("MiB")
        first = rows[0]
        batch = first.training.get("batch_size", "?")
        axes.set_title(title or f"Memory of a training step: {first.base}, batches of {batch}")
        figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return figure


def learning_curves(runs: Mapping[str, "Run"], title: str = "") -> "Figure":
    """Training loss over steps, one line for each run by name."""
    colours = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#7a7a7a"]
    with style():
        figure, axes = canvas(7.2, 3.8)
        axes.grid(True)
        for number, (name, run) in enumerate(runs.items()):
            steps, losses = zip(*run.losses, strict=True)
            dashes = ("-", "--", ":", "-.")[number // len(colours) % 4]
            axes.plot(steps, losses, dashes, color=colours[number % len(colours)], label=name)
        axes.set_xlabel("step")
        axes.set_ylabel("training loss")
        axes.legend(frameon=False, labelcolor=GREY)
        axes.set_title(title)
    return figure


def finding(rows: Sequence["Summary"]) -> str:
    """What the trade-off figure of `rows` shows, in sentences: for alternative texts.

    Names the best method, the best of those that train under 5 % of the parameters, how far apart
    they are and whether the seeds can tell them apart, and the lowest.
    """
    best = max(rows, key=lambda row: row.mean)
    lowest = min(rows, key=lambda row: row.mean)
    lean = [row for row in rows if 0 < row.percent < 5 and row is not best]
    text = (
        f"Highest {best.metric}: {label(best, rows)}, {100 * best.mean:.1f} % with {_share(best)}."
    )
    if lean and best.percent >= 5:
        second = max(lean, key=lambda row: row.mean)
        behind = 100 * (best.mean - second.mean)
        text += (
            f" Best with under 5 %: {label(second, rows)}, {100 * second.mean:.1f} % with "
            f"{_share(second)}, {behind:.1f} points behind"
        )
        if best.interval is not None and second.interval is not None:
            apart = behind > 100 * (best.interval + second.interval)
            text += f"; the 95 % intervals {'do not overlap' if apart else 'overlap'}"
        text += "."
    if lowest is not best:
        text += f" Lowest: {label(lowest, rows)}, {100 * lowest.mean:.1f} %."
    return text


def canvas(width: float, height: float) -> "tuple[Figure, Any]":
    """A figure with one pair of axes, outside pyplot: nobody else knows it or must close it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def style() -> AbstractContextManager[None]:
    """The look of the book, for as long as the block lasts."""
    from matplotlib import rc_context

    return rc_context(STYLE)  # type: ignore[arg-type]


def label(row: "Summary", rows: Sequence["Summary"]) -> str:
    """The method's title, with those hyper-parameters in which it differs from its namesakes."""
    title = facts_of(row.method).title
    same = [other for other in rows if other.method == row.method]
    varied = {
        name: value
        for name, value in row.hyperparameters.items()
        if any(other.hyperparameters.get(name) != value for other in same)
    }
    return title + (f" ({', '.join(f'{k} {v}' for k, v in varied.items())})" if varied else "")


def _share(row: "Summary") -> str:
    return f"{row.percent:.2g} % of the parameters" if row.percent < 99 else "all parameters"


def short(number: float) -> str:
    """1000 → "1 k"."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= limit:
            return f"{number / limit:g}{unit}"
    return f"{number:g}"


def _apart(places: Sequence[float]) -> list[float]:
    """Positions near `places`, in their order, with at least BESIDE between any two.

    What is too close becomes a block around its mean; blocks that touch become one.
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    blocks: list[list[int]] = []

    def middle(block: list[int]) -> float:
        return sum(places[i] for i in block) / len(block)

    for i in order:
        blocks.append([i])
        while len(blocks) > 1:
            room = BESIDE * (len(blocks[-1]) + len(blocks[-2])) / 2
            if middle(blocks[-1]) - middle(blocks[-2]) >= room:
                break
            blocks[-2:] = [[*blocks[-2], *blocks[-1]]]
    found = list(places)
    for block in blocks:
        for k, i in enumerate(block):
            found[i] = middle(block) + BESIDE * (k - (len(block) - 1) / 2)
    return found


def _write_upright(axes: Any, points: Sequence[tuple[float, float, float, str]]) -> None:
    """Write each label above its interval, from bottom to top, and make room for it."""
    figure = axes.figure
    figure.canvas.draw()  # the layout is known from now on
    renderer, height = figure.canvas.get_renderer(), axes.bbox.height
    low, high = axes.get_ylim()
    for x, y, half, text in points:
        written = axes.annotate(
            text, (x, y + half), xytext=(0, 5), textcoords="offset points", rotation=90,
            ha="center", va="bottom", fontsize=9,
        )  # fmt: skip
        needed = written.get_window_extent(renderer).height + 8 * figure.dpi / 72
        high = max(high, low + (y + half - low) * height / (height - needed))
    axes.set_ylim(low, high)


def _write_labels(axes: Any, points: Sequence[tuple[float, float, float, str]]) -> None:
    """Write each label beside its point where it covers least, and nothing if it can.

    Args:
        axes: with the markers drawn.
        points: x, y, half the length of the error bar, and the text.
    """
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    figure = axes.figure
    figure.canvas.draw()  # the layout is known from now on
    renderer, scale = figure.canvas.get_renderer(), figure.dpi / 72
    markers: list[Any] = []
    written: list[Any] = []
    for x, y, half, _ in points:
        low, high = axes.transData.transform([(x, y - half), (x, y + half)])
        markers.append(Bbox([low - 6 * scale, high + 6 * scale]))
    inside = axes.get_window_extent(renderer)
    for x, y, _, text in sorted(points, key=lambda point: -point[1]):
        best: tuple[float, Any, Any] | None = None
        for rank, (dx, dy, side) in enumerate(PLACES):
            leader = {"arrowstyle": "-", "color": GREY, "linewidth": 0.6} if abs(dy) > 12 else None
            label = axes.annotate(
                text, (x, y), xytext=(dx, dy), textcoords="offset points", ha=side, va="center",
                arrowprops=leader,
            )  # fmt: skip
            label.update_positions(renderer)
            # the extent of the words alone, without their line, and a little room around them
            words = Text.get_window_extent(label, renderer).padded(2 * scale)
            cost = float(rank) + sum(_shared(words, other) for other in markers)
            cost += 20 * sum(_shared(words, other) for other in written)
            cost += 20 * (words.width * words.height - _shared(words, inside))
            if best is None or cost < best[0]:
                if best is not None:
                    best[1].remove()
                best = (cost, label, words)
            else:
                label.remove()
        assert best is not None
        written.append(best[2])


def _shared(a: Any, b: Any) -> float:
    """The area that two boxes share, in pixels."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return max(0.0, width) * max(0.0, height)
