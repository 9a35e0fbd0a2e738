"""Figures: everything is labelled, nothing covers anything, the same figure is the same bytes."""

import itertools
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.colors import rgb_to_hsv, to_rgb
from matplotlib.text import Text
from scipy import stats

import pftlab as pft
from pftlab.book.plots import (
    FAMILIES,
    GREY,
    MEMORY,
    finding,
    learning_curves,
    memory,
    save_figure,
    tradeoff,
)
from pftlab.experiments import Summary
from pftlab.experiments.summary import difference, interval


def row(
    method: str, trainable: int, mean: float, interval: float | None, **changes: Any
) -> Summary:
    return Summary(
        method=method,
        hyperparameters=changes,
        base="minilm",
        task="sst2",
        metric="accuracy",
        training={"lr": 1e-3, "batch_size": 16},
        lr_from="default",
        seeds=3,
        mean=mean,
        interval=interval,
        validation=mean,
        trainable=trainable,
        head=770,
        total=1_000_000,
        memory={"weights": 4 << 20, "gradients": 2 << 20, "optimiser": 4 << 20, "activations": 0},
        seconds=10.0,
        device="cpu",
        keys=(),
    )


ROWS = [
    row("linear_probe", 0, 0.628, 0.02),
    row("ia3", 1400, 0.769, 0.01),
    row("bitfit", 2600, 0.7688, 0.012),
    row("lora", 7400, 0.83, 0.01),
    row("houlsby", 60000, 0.8385, 0.012),
    row("full", 999_230, 0.842, 0.015),
]
RANKS = [
    row("lora", 9216 * r, 0.8 + 0.003 * r**0.5, 0.01, rank=r, alpha=16.0) for r in (1, 2, 4, 8)
]


def labels(figure: Any) -> list[Text]:
    return figure.axes[0].texts


@pytest.mark.parametrize("rows", [ROWS, RANKS], ids=["methods", "ranks"])
def test_every_point_is_labelled_and_no_label_covers_another(rows: list[Summary]) -> None:
    figure = tradeoff(rows)
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    boxes = [Text.get_window_extent(label, renderer) for label in labels(figure)]
    assert len(boxes) == len(rows)
    for a, b in itertools.combinations(boxes, 2):
        assert not a.overlaps(b)
    inside = figure.axes[0].get_window_extent(renderer)
    assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 for box in boxes)


def test_labels_say_what_differs() -> None:
    assert {t.get_text() for t in labels(tradeoff(RANKS))} == {
        f"LoRA (rank {r})" for r in (1, 2, 4, 8)
    }
    assert "Full fine-tuning" in {t.get_text() for t in labels(tradeoff(ROWS))}


def test_what_trains_the_head_alone_stands_at_zero() -> None:
    axes = tradeoff(ROWS).axes[0]
    assert axes.get_xticklabels()[0].get_text() == "0"
    assert axes.get_xticks()[0] < 1400 / 2
    assert axes.get_xlim()[1] > 999_230
    assert "0" not in [t.get_text() for t in tradeoff(ROWS[1:]).axes[0].get_xticklabels()]


def test_every_mark_stands_where_its_numbers_are() -> None:
    counts = [1000, 1000, 1000, 1050, 999_230]
    names = ["lora", "rslora", "pissa", "dora", "full"]
    rows = [
        row(n, c, 0.8 + 0.01 * i, 0.01) for i, (n, c) in enumerate(zip(names, counts, strict=True))
    ]
    places = [
        (float(bar.lines[0].get_xdata()[0]), float(bar.lines[0].get_ydata()[0]))
        for bar in tradeoff(rows).axes[0].containers
    ]
    assert places == [(r.trainable, pytest.approx(100 * r.mean)) for r in rows]


@pytest.mark.parametrize(("family", "half"), [("low_rank", 0.03), ("adapter", 0.13)])
def test_names_of_many_methods_keep_apart_and_off_the_marks(family: str, half: float) -> None:
    names = [n for n, m in pft.METHODS.items() if m.family == family]
    rows = [row(n, 16_384 + 1000 * i, 0.7 + 0.005 * i, half) for i, n in enumerate(names)]
    figure = tradeoff([*rows, ROWS[0], ROWS[-1]])
    figure.canvas.draw()
    renderer, axes = figure.canvas.get_renderer(), figure.axes[0]
    boxes = [text.get_window_extent(renderer) for text in labels(figure)]
    assert len(boxes) == len(rows) + 2
    inside = axes.get_window_extent(renderer)
    assert all(box.y1 <= inside.y1 and box.x1 <= inside.x1 for box in boxes)
    for a, b in itertools.combinations(boxes, 2):
        assert not a.overlaps(b)
    for bar in axes.containers:
        x, y = axes.transData.transform((bar.lines[0].get_xdata()[0], bar.lines[0].get_ydata()[0]))
        assert not any(box.contains(x, y) for box in boxes)


def test_axis_and_intervals_end_where_the_score_ends() -> None:
    figure = tradeoff([row("lora", 7400, 0.97, 0.08), row("full", 999_230, 0.99, 0.02)])
    axes = figure.axes[0]
    assert axes.get_ylim()[1] == 100
    tops = [bar.lines[2][0].get_segments()[0][:, 1].max() for bar in axes.containers]
    assert tops == pytest.approx([100, 100])
    worse = replace(row("lora", 7400, 0.05, 0.1), metric="matthews")
    axes = tradeoff([worse, replace(row("full", 999_230, 0.9, 0.3), metric="matthews")]).axes[0]
    low, high = axes.get_ylim()
    assert low < -5 and high == 100 and axes.get_ylabel() == "Matthews correlation × 100"


def test_a_loss_is_better_when_it_is_lower() -> None:
    rows = [replace(r, metric="loss", mean=1 - r.mean) for r in ROWS]
    assert finding(rows).startswith(
        "Lowest loss: Full fine-tuning, 0.158 with all parameters. Best with under 5 %: LoRA, 0.170"
    )
    assert finding(rows).endswith("Highest: Linear probe, 0.372.")
    axes = tradeoff(rows).axes[0]
    assert axes.get_ylabel() == "loss on the test split" and axes.get_ylim()[1] < 1


def test_the_control_is_a_line_that_says_what_it_is() -> None:
    figure = tradeoff(ROWS, control=row("full", 999_230, 0.501, 0.01))
    (line,) = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert list(line.get_ydata()) == [50.1, 50.1]
    assert [t for t in labels(figure) if t.get_text() == "Full fine-tuning from random weights"]
    low, high = figure.axes[0].get_ylim()
    assert low < 50.1 < high


def test_a_single_seed_has_no_interval_and_no_error() -> None:
    figure = tradeoff([row("lora", 7400, 0.83, None), row("full", 999_230, 0.842, None)])
    assert len(labels(figure)) == 2


def test_every_family_has_a_colour_and_a_marker_of_its_own() -> None:
    assert {cls.family for cls in pft.METHODS.values()} <= FAMILIES.keys()
    assert len({colour for _, colour, _ in FAMILIES.values()}) == len(FAMILIES)
    assert len({marker for *_, marker in FAMILIES.values()}) == len(FAMILIES)


def luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_text_and_marks_can_be_seen_on_white_and_on_black() -> None:
    for colour, contrast in [(GREY, 4.5), *((family.colour, 3.0) for family in FAMILIES.values())]:
        light = luminance(colour) + 0.05  # WCAG 2.2, 1.4.3 and 1.4.11
        assert 1.05 / light >= contrast and light / 0.05 >= contrast, colour


def test_blue_and_orange_are_left_to_frozen_and_trained() -> None:
    for family in FAMILIES.values():
        red, green, blue = to_rgb(family.colour)
        hue, saturation, _ = rgb_to_hsv((red, green, blue))
        assert saturation < 0.1 or not (0.53 < hue < 0.7 or 0.02 < hue < 0.13), family
    hues = {part: rgb_to_hsv(to_rgb(colour))[0] for part, (_, colour) in MEMORY.items()}
    assert 0.53 < hues["weights"] < 0.7
    assert 0.02 < hues["gradients"] < 0.13 and 0.02 < hues["optimiser"] < 0.13


@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_the_same_figure_is_the_same_bytes(tmp_path: Path, kind: str) -> None:
    for name in ("a", "b"):
        save_figure(tradeoff(ROWS), tmp_path / f"{name}.{kind}")
    first = (tmp_path / f"a.{kind}").read_bytes()
    assert first == (tmp_path / f"b.{kind}").read_bytes()
    if kind == "svg":
        assert b"<dc:date>" not in first
        assert b"opacity: 0" in first or b"fill: none" in first  # the background


def test_the_finding_follows_from_the_rows() -> None:
    assert finding(ROWS) == (
        "Highest accuracy: Full fine-tuning, 84.2 % with all parameters. "
        "Best with under 5 %: LoRA, 83.0 % with 0.74 % of the parameters, 1.2 points behind. "
        "Lowest: Linear probe, 62.8 %."
    )
    assert finding(RANKS).startswith("Highest accuracy: LoRA (rank 8), 80.8 %")


def scored(name: str, trainable: int, scores: dict[int, float]) -> Summary:
    plain = row(name, trainable, statistics.fmean(scores.values()), interval([*scores.values()]))
    return replace(plain, scores=scores)


def test_a_finding_is_claimed_from_pairs() -> None:
    full = scored("full", 999_230, {0: 0.90, 1: 0.80, 2: 0.70})
    lora = scored("lora", 7400, {2: 0.68, 1: 0.78, 0: 0.88, 7: 0.6})
    assert full.interval and lora.interval and full.mean - full.interval < lora.mean
    behind = "over 3 seeds in pairs, 2.0 ± 0.0: the 95 % interval leaves zero out."
    assert behind in finding([lora, full])
    apart = {0: 0.88, 1: 0.79, 2: 0.66}
    mean, half, pairs = difference(full, scored("lora", 7400, apart)) or (0.0, 0.0, 0)
    by_scipy = stats.t.interval(0.95, 2, 0.07 / 3, stats.sem([0.02, 0.01, 0.04]))
    assert pairs == 3 and (mean - half, mean + half) == pytest.approx(by_scipy, rel=1e-3)
    wide = scored("lora", 7400, {0: 0.93, 1: 0.78, 2: 0.66})
    assert "1.0 ± 9.0: the 95 % interval holds zero" in finding([wide, full])
    losses = [replace(r, metric="loss", mean=1 - r.mean) for r in (lora, full)]
    for some in losses:
        some.scores.update({seed: 1 - score for seed, score in some.scores.items()})
    assert "over 3 seeds in pairs, 0.020 ± 0.000" in finding(losses)


@pytest.mark.parametrize("scores", [{}, {0: 0.8}, {5: 0.8, 6: 0.9}, {0: 0.8, 6: 0.9}])
def test_without_two_pairs_there_is_the_distance_alone(scores: dict[int, float]) -> None:
    few = replace(row("lora", 7400, 0.83, None), scores=scores)
    found = finding([few, scored("full", 999_230, {0: 0.90, 1: 0.80})])
    assert "2.0 points behind." in found and "±" not in found


def test_memory_bars_add_up() -> None:
    figure = memory(ROWS[:2])
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.texts] == ["10", "10"]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["Linear probe", "(IA)³"]
    assert sum(bar.get_width() for bar in axes.patches) == pytest.approx(20)


def test_learning_curves_draw_the_logged_losses() -> None:
    run = pft.Run(
        {}, history=[{"step": 1, "loss": 0.7, "lr": 1}, {"step": 3, "loss": 0.4, "lr": 1}]
    )
    (line,) = learning_curves({"LoRA": run}).axes[0].lines
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1, 3], [0.7, 0.4])
