"""The figures of the book and of the command line.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; every family has a marker of
its own besides. Backgrounds are transparent and lines mid-grey, for light and dark pages.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .experiments.summary import Summary
    from .training import Run

FAMILIES: dict[str, tuple[str, str]] = {  # family → colour, marker
    "finetune": ("#7a7a7a", "s"),
    "adapter": ("#0072b2", "o"),
    "prompt": ("#e69f00", "^"),
    "low_rank": ("#009e73", "D"),
    "sparse": ("#cc79a7", "v"),
    "others": ("#d55e00", "P"),
}
GREY = "#808080"
STYLE: dict[str, Any] = {
    "svg.hashsalt": "pftlab",  # the same figure gives the same bytes
    "svg.fonttype": "path",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "text.color": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "grid.color": GREY,
    "grid.alpha": 0.25,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 10,
}


def tradeoff(rows: Sequence["Summary"], title: str = "") -> "Figure":
    """Trainable parameters (log scale) against the score, with 95 % confidence intervals.

    Args:
        rows: of one base and one task, from `summarise`.
        title: above the axes.

    Returns:
        A matplotlib figure. A method that trains nothing but the head stands at the left edge.
    """
    import matplotlib.pyplot as plt

    from .registry import METHODS

    smallest = min([row.trainable for row in rows if row.trainable] or [1])
    edge = smallest / 8
    with plt.rc_context(STYLE):  # type: ignore[arg-type]
        figure, axes = plt.subplots(figsize=(7.2, 4.4), layout="constrained")
        axes.set_xscale("log")
        axes.grid(True, zorder=0)
        points = []
        for row in sorted(rows, key=lambda row: row.trainable):
            method = METHODS[row.method]
            colour, marker = FAMILIES[method.family]
            x, y = row.trainable or edge, 100 * row.mean
            spread = None if row.interval is None else [[100 * row.interval]] * 2
            axes.errorbar(
                x, y, yerr=spread, fmt=marker, color=colour, ecolor=colour, markersize=7, capsize=3
            )
            points.append((x, y, _label(row, rows), colour))
        _write_labels(axes, points)
        if any(row.trainable == 0 for row in rows):
            axes.axvline(edge * 2.2, color=GREY, linewidth=0.8, linestyle=":")
            ticks = [t for t in axes.get_xticks() if t > edge * 2.2]
            axes.set_xlim(edge / 1.8, max(p[0] for p in points) * 6)
            axes.set_xticks(
                [edge, *ticks], ["0", *[f"$10^{{{len(str(int(t))) - 1}}}$" for t in ticks]]
            )
            axes.minorticks_off()
            axes.set_xlim(edge / 1.8, max(p[0] for p in points) * 6)
        axes.set_xlabel("trainable parameters, without the head")
        axes.set_ylabel(f"{rows[0].metric}, %")
        axes.set_title(title or f"{rows[0].task} on {rows[0].base}", color=GREY)
        plt.close(figure)
    return figure


def _label(row: "Summary", rows: Sequence["Summary"]) -> str:
    from .registry import METHODS

    title = METHODS[row.method].title
    same = [other for other in rows if other.method == row.method]
    if len(same) == 1:
        return title
    varied = {
        k: v
        for k, v in row.hyperparameters.items()
        if any(other.hyperparameters.get(k) != v for other in same)
    }
    return f"{title} ({', '.join(f'{k} {v}' for k, v in varied.items())})"


def _write_labels(axes: Any, points: list[tuple[float, float, str, str]]) -> None:
    """Write each label beside its point, moved up or down until it covers no other label."""
    figure = axes.figure
    figure.canvas.draw()
    taken: list[Any] = []
    for x, y, text, colour in points:
        for offset in (0, 12, -12, 24, -24, 36, -36, 48, -48):
            label = axes.annotate(
                text,
                (x, y),
                xytext=(9, offset),
                textcoords="offset points",
                color=colour,
                va="center",
                arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6}
                if offset
                else None,
            )
            box = label.get_window_extent(figure.canvas.get_renderer()).expanded(1.02, 1.1)
            if not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            label.remove()


def learning_curves(runs: dict[str, "Run"], title: str = "") -> "Figure":
    """Training loss over steps, one line for each run by name."""
    import matplotlib.pyplot as plt

    colours = [colour for colour, _ in FAMILIES.values()]
    with plt.rc_context(STYLE):  # type: ignore[arg-type]
        figure, axes = plt.subplots(figsize=(7.2, 3.8), layout="constrained")
        axes.grid(True)
        for number, (name, run) in enumerate(runs.items()):
            steps, losses = zip(*run.losses, strict=True)
            style = ("-", "--", ":", "-.")[number // len(colours) % 4]
            axes.plot(steps, losses, style, color=colours[number % len(colours)], label=name)
        axes.set_xlabel("step")
        axes.set_ylabel("training loss")
        axes.legend(frameon=False, labelcolor=GREY)
        axes.set_title(title, color=GREY)
        plt.close(figure)
    return figure


def finding(rows: Sequence["Summary"]) -> str:
    """What the trade-off figure of `rows` shows, in a sentence: for alternative texts."""
    from .registry import METHODS

    best = max(rows, key=lambda row: row.mean)
    lean = [row for row in rows if row.trainable < 0.05 * row.total and row is not best]
    text = f"{METHODS[best.method].title} is highest with {100 * best.mean:.1f} % {best.metric}"
    text += f", training {best.percent:.3g} % of the parameters"
    if lean:
        second = max(lean, key=lambda row: row.mean)
        text += (
            f"; {METHODS[second.method].title} reaches {100 * second.mean:.1f} % "
            f"with {second.percent:.3g} %"
        )
    return text + "."
