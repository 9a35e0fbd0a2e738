"""The figures of the book and of the command line.

A method has the colour and the marker of its family. Blue and orange are left to what is pretrained
and to what is trained. Backgrounds are transparent, and text and colours can be seen on white and
on black.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..facts import FAMILIES
from ..registry import facts_of
from ..scores import score_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..experiments.summary import Summary
    from ..training import Run

MEMORY: dict[str, tuple[str, str]] = {  # part → name, colour
    "weights": ("weights", "#2f7ebc"),
    "gradients": ("gradients", "#b3480b"),
    "optimiser": ("AdamW's moments", "#e8935a"),
    "activations": ("kept for the backward pass", "#8a8f94"),
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
NAMED = 24  # marks that a figure of the size of a page has names for
UNDATED = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {"Software": None}}
# How names are moved apart: strongly, never back to their mark, and for a number of tries, since a
# limit by the clock would not give the same picture again.
PLACING: dict[str, Any] = {
    "force_static": (0.5, 0.3),
    "force_text": (0.5, 0.8),
    "force_pull": 0.0,
    "expand": (1.2, 1.4),
    "explode_radius": 120,
    "iter_lim": 200,
    "min_arrow_len": 8,
    "arrowprops": {"arrowstyle": "-", "color": GREY, "linewidth": 0.6},
}


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
    """Show a figure in a notebook, as a drawing that stays the same when it is made again."""
    import io

    from IPython.display import SVG, display

    stream = io.StringIO()
    with style():
        figure.savefig(stream, format="svg", metadata=UNDATED[".svg"])
    # A drawing with a width can be opened by itself, and is not squeezed into a narrow page.
    shown = {"image/svg+xml": {"width": round(100 * figure.get_figwidth())}}
    display(SVG(stream.getvalue()), metadata=shown)


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
        Axis and intervals end where the score ends. A line joins the sizes of one method, which
        then has one name, at its best. Names stand where they find room, and a line leads from a
        name to its mark; of more marks than `NAMED` only those have one that no other beats in
        both.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    score = score_of(rows[0].metric)
    counts = [row.trainable for row in rows if row.trainable]
    smallest, largest = min(counts, default=1), max(counts, default=10)
    zero = smallest / 6  # where on the log scale 0 is shown
    with style():
        figure, axes = canvas(7.2, 4.6 + 0.12 * max(0, len(rows) - 8))
        axes.grid(True)
        axes.set_xscale("log")
        axes.set_xlabel("trainable parameters, without the head")
        axes.set_ylabel(f"{score.axis} on the test split" if score.times == 1 else score.axis)
        axes.set_title(title or f"{rows[0].task} on {rows[0].base}, test split")
        used, points, ends, named = {}, [], [], _named(rows)
        for sizes in curves(rows):
            axes.plot(
                [row.trainable or zero for row in sizes], [score.times * row.mean for row in sizes],
                color=FAMILIES[facts_of(sizes[0].method).family].colour, linewidth=1,
            )  # fmt: skip
        for row in rows:
            family = facts_of(row.method).family
            _, colour, marker = FAMILIES[family]
            x, y = row.trainable or zero, score.times * row.mean
            low, high = (score.times * end for end in score.reach(row.mean, row.interval))
            bars = axes.errorbar(
                x, y, yerr=[[y - low], [high - y]] if high > low else None, fmt=marker,
                color=colour, markersize=7, capsize=3, elinewidth=1, markeredgecolor="white",
                markeredgewidth=0.6,
            )  # fmt: skip
            used[family] = bars.lines[0]
            points.append((x, y, low, high, named.get(id(row), "")))
            ends += [low, high]
        if control is not None:
            ends.append(score.times * control.mean)
        room = 0.08 * (max(ends) - min(ends)) or 0.01 * score.times
        axes.set_ylim(
            max(min(ends) - room, score.times * score.low),
            min(max(ends) + room, score.times * score.high),
        )
        axes.set_xlim(smallest / 4, largest * 10)  # room for the last name
        if len(counts) < len(rows):
            axes.set_xlim(zero / 2, largest * 10)
            axes.axvspan(zero / 2, zero * 2, color=GREY, alpha=0.1, linewidth=0)
        if control is not None:
            level = score.times * control.mean
            axes.axhline(level, color=GREY, linestyle="--", linewidth=1)
            axes.annotate(
                f"{facts_of(control.method).title} from random weights", (0.99, level),
                xycoords=("axes fraction", "data"), xytext=(0, 4), textcoords="offset points",
                ha="right",
            )  # fmt: skip
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_locator(LogLocator(base=10, numticks=8))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: short(x)))
        if len(counts) < len(rows):
            ticks = [tick for tick in axes.get_xticks() if zero * 2 < tick <= largest * 10]
            axes.set_xticks([zero, *ticks], ["0", *map(short, ticks)])
        figure.legend(
            [used[family] for family in FAMILIES if family in used],
            [FAMILIES[family][0] for family in FAMILIES if family in used],
            loc="outside lower center", ncols=6, frameon=False, handletextpad=0.1,
        )  # fmt: skip
        _write_labels(axes, points)
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
    colours = [family.colour for family in FAMILIES.values()]
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
    they are, in the mean and by the pairs of runs with one seed, and the worst.
    """
    from ..experiments.summary import difference

    score = score_of(rows[0].metric)

    def worth(row: "Summary") -> float:
        return score.worth(row.mean)

    best, worst = max(rows, key=worth), min(rows, key=worth)
    lean = [row for row in rows if 0 < row.percent < 5 and row is not best]
    text = (
        f"{score.best.title()} {score.title}: {label(best, rows)}, {score.written(best.mean)} with "
        f"{_share(best)}."
    )
    if lean and best.percent >= 5:
        second = max(lean, key=worth)
        behind = abs(best.mean - second.mean)
        text += (
            f" Best with under 5 %: {label(second, rows)}, {score.written(second.mean)} with "
            f"{_share(second)}, {score.apart(behind)} behind"
        )
        if paired := difference(best, second):
            mean, half, pairs = score.worth(paired[0]), *paired[1:]
            told = "leaves zero out" if abs(mean) > half else "holds zero"
            text += (
                f"; over {pairs} seeds in pairs, {score.number(mean)} ± {score.number(half)}: the "
                f"95 % interval {told}"
            )
        text += "."
    if worst is not best:
        text += f" {score.worst.title()}: {label(worst, rows)}, {score.written(worst.mean)}."
    return text


def canvas(width: float, height: float, columns: int = 1) -> "tuple[Figure, Any]":
    """A figure with its axes, outside pyplot: nobody else knows it or must close it.

    With more than one column the axes are an array.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(ncols=columns)


def name_marks(axes: Any, marks: Sequence[tuple[float, float, str]]) -> None:
    """Write names beside marks, where they cover neither a mark nor another name.

    Args:
        axes: with everything else drawn, its limits set, and the legend of its figure.
        marks: x, y, and the name, or "" for a mark that has none.
    """
    with style():
        _write_labels(axes, [(x, y, y, y, name) for x, y, name in marks])


def style() -> AbstractContextManager[None]:
    """The look of the book, for as long as the block lasts."""
    from matplotlib import rc_context

    return rc_context(STYLE)  # type: ignore[arg-type]


def label(row: "Summary", rows: Sequence["Summary"]) -> str:
    """The method's title, with those hyper-parameters in which it differs from its namesakes."""
    differs = varied(row, rows)
    return facts_of(row.method).title + (
        f" ({', '.join(f'{name} {value}' for name, value in differs.items())})" if differs else ""
    )


def varied(row: "Summary", rows: Sequence["Summary"]) -> dict[str, Any]:
    """The hyper-parameters in which a row differs from rows of the same method."""
    same = [other for other in rows if other.method == row.method]
    return {
        name: value
        for name, value in row.hyperparameters.items()
        if any(other.hyperparameters.get(name) != value for other in same)
    }


def curves(rows: Sequence["Summary"]) -> list[list["Summary"]]:
    """The sizes of each method that is there in more than one, fewest parameters first."""
    found: dict[str, list[Summary]] = {}
    for row in sorted(rows, key=lambda row: row.trainable):
        found.setdefault(row.method, []).append(row)
    return [
        sizes
        for sizes in found.values()
        if len(sizes) > 1 and len({row.trainable for row in sizes}) == len(sizes)
    ]


def _named(rows: Sequence["Summary"]) -> dict[int, str]:
    """Id of a row → the name that is written beside its mark."""
    if len({row.method for row in rows}) == 1:  # its sizes are what the figure is about
        return {id(row): label(row, rows) for row in rows}
    worth = score_of(rows[0].metric).worth
    names = {id(row): label(row, rows) for row in rows}
    for sizes in curves(rows):
        for row in sizes:
            del names[id(row)]
        names[id(max(sizes, key=lambda row: worth(row.mean)))] = facts_of(sizes[0].method).title
    if len(names) <= NAMED:
        return names
    unbeaten, top = set[int](), -float("inf")
    for row in sorted(rows, key=lambda row: (row.trainable, -worth(row.mean))):
        if worth(row.mean) > top:
            top = worth(row.mean)
            unbeaten.add(id(row))
    return {
        id(row): names.get(id(row), facts_of(row.method).title)
        for row in rows
        if id(row) in unbeaten
    }


def _share(row: "Summary") -> str:
    return f"{row.percent:.2g} % of the parameters" if row.percent < 99 else "all parameters"


def short(number: float) -> str:
    """1000 → "1 k"."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= limit:
            return f"{number / limit:g}{unit}"
    return f"{number:g}"


def _write_labels(axes: Any, points: Sequence[tuple[float, float, float, float, str]]) -> None:
    """Write each name where it covers neither a mark, nor an interval, nor another name.

    Args:
        axes: with everything else drawn, and its limits set.
        points: x, y, both ends of the interval, and the name, or "" for none.
    """
    from adjustText import adjust_text

    axes.figure.canvas.draw()  # the layout is known from now on
    to, back = axes.transData.transform, axes.transData.inverted().transform
    dot = 6 * axes.figure.dpi / 72  # half of a mark and a little more
    taken, starts = [], []  # points that names keep away from, in pixels
    for x, y, low, high, _ in points:
        middle, bottom, top = to([(x, y), (x, low), (x, high)])
        taken += [bottom + (top - bottom) * step / 16 for step in range(17)]
        across, up = middle
        taken += [(across + dx, up + dy) for dx in (-dot, 0, dot) for dy in (-dot, 0, dot)]
        starts.append(back((across + dot, up - dot)))
    written = [
        (axes.text(*start, name, fontsize=9), x, y)
        for start, (x, y, *_, name) in zip(starts, points, strict=True)
        if name
    ]
    names, target_x, target_y = zip(*written, strict=True)
    adjust_text(
        list(names), *back(taken).T, target_x=target_x, target_y=target_y, avoid_self=False,
        ax=axes, **PLACING,
    )  # fmt: skip
