"""The interactive figures in a built page: driven by keyboard and mouse, compared with Python.

One small book holds all of them. A page has no kernel: what changes there is computed by the
figures' scripts, and must be what the same figure computes in Python.
"""

import base64
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import made_up
import nbformat
import numpy as np
import pytest
from browser import COVERED, opened, served
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from notebooks.form import normalise
from small_book import build, outline
from test_site import nameless_controls

import pftlab as pft
from pftlab.book.widgets import (
    BudgetPlayer,
    ForgettingPlane,
    LowRankExplorer,
    MethodChooser,
    NF4Explorer,
    PairedSeeds,
    ParameterCounter,
    PlacementExplorer,
    PrefixAttention,
    ScaleCurve,
    TradeoffExplorer,
    TrainingScrubber,
)
from pftlab.book.widgets.figure import unpacked
from pftlab.book.widgets.method_chooser import CANDIDATES
from pftlab.book.widgets.nf4_explorer import BLOCKS, LEVELS
from pftlab.book.widgets.parameter_counter import memory
from pftlab.book.widgets.placement_explorer import CHOICES

ROOT = Path(__file__).resolve().parents[2]
BASES = ("bert-base", "gpt2", "llama-3.1-8b")
pytestmark = pytest.mark.site

SETUP = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
import numpy as np
import made_up
from pftlab.book.widgets import *
normal = np.random.default_rng(0).normal
"""
FIGURES = {
    "counter": f"ParameterCounter('bert-base', models={BASES!r})",
    "chooser": "MethodChooser('bert-base')",
    "seeds": "PairedSeeds(made_up.answered())",
    "tradeoff": "TradeoffExplorer(made_up.grid() + made_up.sizes(), base='tiny', task='reviews')",
    "placement": "PlacementExplorer()",
    "low-rank": "LowRankExplorer({'query': normal(size=(40, 36)), 'value': normal(size=(8, 9))})",
    "nf4": "NF4Explorer(normal(size=(64, 64)))",
    "budget": "BudgetPlayer(made_up.ranks())",
    "forgetting": "ForgettingPlane(made_up.forgotten(), 1)",
    "prefix": "made_up.prefixed()",
    "scale": "ScaleCurve(made_up.grid(), task='reviews')",
    "scrubber": "TrainingScrubber(made_up.recording())",
}


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    """The same figures in this process."""
    normal = np.random.default_rng(0).normal
    names = {
        "MethodChooser": MethodChooser,
        "PairedSeeds": PairedSeeds,
        "ParameterCounter": ParameterCounter,
        "TradeoffExplorer": TradeoffExplorer,
        "PlacementExplorer": PlacementExplorer,
        "LowRankExplorer": LowRankExplorer,
        "NF4Explorer": NF4Explorer,
        "BudgetPlayer": BudgetPlayer,
        "ForgettingPlane": ForgettingPlane,
        "ScaleCurve": ScaleCurve,
        "TrainingScrubber": TrainingScrubber,
        "made_up": made_up,
        "normal": normal,
    }
    return {name: eval(code, names) for name, code in FIGURES.items()}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    book = tmp_path_factory.mktemp("figures")
    cells = [new_markdown_cell("# Figures"), new_code_cell(SETUP)]
    notebook = new_notebook(cells=cells + [new_code_cell(code) for code in FIGURES.values()])
    notebook.metadata.kernelspec = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    outline(book)
    nbformat.write(normalise(notebook), book / "book" / "index.ipynb")
    done = build(book)
    assert done.returncode == 0, done.stdout + done.stderr
    return book / "_build" / "html"


@pytest.fixture(scope="module")
def page(browser: Any, site: Path) -> Iterator[Any]:
    with (
        served(site) as address,
        opened(browser, f"{address}/book/index.html") as (page, seen),
    ):
        wait(page)
        yield page
        assert seen.none(), seen


def wait(page: Any) -> None:
    for name in FIGURES:
        page.locator(f".pft-{name}").scroll_into_view_if_needed()  # some wait until they are near
        drawn = f".pft-{name} :is(svg.pft-drawing *, ol > li)"  # the chooser draws a list
        page.wait_for_selector(drawn, state="attached")


def data(page: Any, name: str) -> dict[str, str]:
    """The numbers that a figure wrote into its box."""
    return page.locator(f".pft-{name}").evaluate("box => ({...box.dataset})")


def press(page: Any, name: str, label: str, *keys: str) -> None:
    """Send keys to the control with this label; each must keep the focus."""
    control = page.locator(f".pft-{name}").get_by_label(label, exact=True)
    control.focus()
    for key in keys:
        page.keyboard.press(key)
    assert control.evaluate("node => node === document.activeElement")


def choose(page: Any, name: str, label: str, value: str) -> None:
    page.locator(f".pft-{name}").get_by_label(label, exact=True).select_option(value)


def script(page: Any, figure: Any, function: str, given: list) -> list:
    """What an exported function of a figure's script gives for each list of arguments."""
    code = f"""async ([code, given]) => {{
        const url = URL.createObjectURL(new Blob([code], {{ type: "text/javascript" }}));
        const module = await import(url);
        return given.map((each) => module.{function}(...each));
    }}"""
    return page.evaluate(code, [figure._esm, given])


# All


def test_the_figures_need_no_manager_of_widgets(page: Any) -> None:
    """Which is a megabyte; see pft-figures.js."""
    loaded = "() => performance.getEntriesByType('resource').map(entry => entry.name)"
    names = {name.rpartition("/")[2].partition("?")[0] for name in page.evaluate(loaded)}
    assert "pft-figures.js" in names
    assert not names & {"require.js", "embed-amd.js", "pft-widgets.js"}


def test_every_control_has_a_name(page: Any) -> None:
    assert nameless_controls(page) == []


@pytest.mark.parametrize("name", FIGURES)
def test_the_data_table_has_the_rows_of_python(page: Any, figures: Any, name: str) -> None:
    tables = page.locator(f".pft-{name} details.pft-data")
    tables.last.locator("summary").focus()
    page.keyboard.press("Enter")
    assert tables.last.locator("tbody tr").count() == len(figures[name].table())
    page.keyboard.press("Enter")


# ParameterCounter


def test_the_counter_follows_the_keyboard(page: Any, figures: Any) -> None:
    counter = figures["counter"]
    press(page, "counter", "Rank", "ArrowRight")
    counter.settings = {**counter.settings, "lora": {**counter.settings["lora"], "rank": 16}}
    compare_counter(page, counter)
    press(page, "counter", "Tokens in each", "ArrowLeft", "ArrowLeft")
    counter.length_of_text = 128
    compare_counter(page, counter)


def test_the_counter_follows_the_mouse(page: Any, figures: Any) -> None:
    counter = figures["counter"]
    for label, value, change in (
        ("Model", "llama-3.1-8b", {"base": "llama-3.1-8b"}),
        ("Frozen weights", "4", {"precision": "4"}),
        ("Method", "prefix_tuning", {"method": "prefix_tuning"}),
    ):
        choose(page, "counter", label, value)
        for name, chosen in change.items():
            setattr(counter, name, chosen)
        compare_counter(page, counter)
    choose(page, "counter", "Method", "bitfit")
    assert "nothing to train" in page.locator(".pft-counter [role=status]").first.inner_text()
    bars = page.locator(".pft-counter svg g[data-key]")
    bars.last.hover()
    told = page.locator(".pft-counter [role=status]").last.inner_text()
    assert told.startswith("Full fine-tuning: ")


def compare_counter(page: Any, counter: ParameterCounter) -> None:
    page.wait_for_function(
        "total => document.querySelector('.pft-counter').dataset.total === total",
        arg=str(counter.models[counter.base]["total"] + counter.cost().added),
    )
    shown, cost = data(page, "counter"), counter.cost()
    assert int(shown["trainable"]) == cost.trainable
    assert f"{cost.trainable:,}" in page.locator(".pft-counter .pft-numbers").inner_text()
    width = 4 if counter.precision == "32" else 2
    assert int(shown["checkpoint"]) == width * cost.stored
    for ours, theirs in zip(counter.memory().values(), json.loads(shown["memory"]), strict=True):
        assert theirs == pytest.approx(ours)


def test_the_page_finds_and_adds_up_costs_as_python_does(page: Any, figures: Any) -> None:
    """Every method, with its first, its last and its own hyper-parameters."""
    counter = figures["counter"]
    options = {"precision": "4", "batch": 4, "length": 128}
    asked, found, given, held = [], [], [], []
    for counter.base in BASES:
        total = counter.models[counter.base]["total"]
        for method in counter.methods:
            name, rows = method["name"], counter.fetched(f"costs-{counter.base}")[method["name"]]
            own = counter.settings[name]
            ends = [{c["name"]: c["values"][k] for c in method["controls"]} for k in (0, -1)]
            for settings in (*ends, own):
                counter.settings = {**counter.settings, name: settings}
                asked.append([rows, method["controls"], settings])
                try:
                    cost = counter.cost(name)
                except pft.Refused as reason:
                    found.append(str(reason).partition(",")[0])
                    continue
                found.append(cost._asdict())
                given.append([cost._asdict(), total, options])
                held.append(memory(cost, total, **options))
            counter.settings = {**counter.settings, name: own}
    counter.base = BASES[0]
    assert len(given) > 300
    for ours, theirs, question in zip(
        found, script(page, counter, "cost", asked), asked, strict=True
    ):
        same = isinstance(theirs, str) if isinstance(ours, str) else theirs == ours
        assert same, (question[1:], ours, theirs)
    for ours, theirs in zip(held, script(page, counter, "memory", given), strict=True):
        assert theirs == pytest.approx(ours)


# TradeoffExplorer


def compare_tradeoff(page: Any, explorer: TradeoffExplorer) -> None:
    shown, best = data(page, "tradeoff"), explorer.best()
    assert set(shown["visible"].split()) == {p["key"] for p in explorer.visible()}
    assert set(shown["affordable"].split()) == {p["key"] for p in explorer.affordable()}
    assert shown["front"].split() == [p["key"] for p in explorer.front()]
    assert shown["best"] == (best["key"] if best else "")
    marks = page.locator(".pft-tradeoff svg.pft-drawing g[data-key]")
    assert marks.count() == len(explorer.visible())


def test_the_budget_names_the_best_within_it(page: Any, figures: Any) -> None:
    explorer = figures["tradeoff"]
    compare_tradeoff(page, explorer)
    press(page, "tradeoff", "Budget", "Home")
    for _ in range(4):
        explorer.budget = float(data(page, "tradeoff")["budget"])
        compare_tradeoff(page, explorer)
        said = page.locator(".pft-tradeoff > [role=status]").first.inner_text()
        best = explorer.best()
        assert best is not None and f": {best['name']}: accuracy" in said
        assert f"{100 * best['scores']['accuracy'][0]:.1f} %" in said
        press(page, "tradeoff", "Budget", "PageUp", "PageUp")
    press(page, "tradeoff", "Budget", "End")
    assert data(page, "tradeoff")["budget"] == ""
    explorer.budget = None


def test_families_tasks_scores_and_costs_are_chosen_with_the_mouse(page: Any, figures: Any) -> None:
    explorer, box = figures["tradeoff"], page.locator(".pft-tradeoff")
    box.get_by_label("low rank", exact=True).click()
    explorer.families = [family for family in explorer.families if family != "low_rank"]
    compare_tradeoff(page, explorer)
    compare_place(page, explorer, "mini", "pairs")
    for label, name, value in (
        ("Score", "metric", "f1"),
        ("Cost", "cost", "seconds"),
    ):
        choose(page, "tradeoff", label, value)
        setattr(explorer, name, value)
        compare_tradeoff(page, explorer)


def compare_place(page: Any, explorer: TradeoffExplorer, base: str, task: str) -> None:
    """Choose a comparison in both."""
    listed = explorer.fetched("tradeoff")["comparisons"]
    number = next(i for i, c in enumerate(listed) if (c["base"], c["task"]) == (base, task))
    choose(page, "tradeoff", "Task and base", str(number))
    explorer.base, explorer.task, explorer.opened = base, task, ""
    compare_tradeoff(page, explorer)


def test_a_loss_is_a_loss(page: Any, figures: Any) -> None:
    """Lower is better, it is no share, and its axis ends at 0."""
    explorer, before = figures["tradeoff"], figures["tradeoff"].metric
    for explorer.metric in ("loss", before):
        choose(page, "tradeoff", "Score", explorer.metric)
        compare_tradeoff(page, explorer)
        best = explorer.best()
        said = page.locator(".pft-tradeoff > [role=status]").first.inner_text()
        value = best["scores"][explorer.metric][0]
        words = f"loss {value:.3f} ±" if explorer.metric == "loss" else f"{100 * value:.1f} % ±"
        assert f": {best['name']}: " in said and words in said
        heads = page.locator(".pft-tradeoff details.pft-data").last.locator("th")
        assert ("loss" in heads.all_text_contents()) is (explorer.metric == "loss")


def test_an_axis_ends_where_the_score_ends(page: Any, figures: Any) -> None:
    kind = figures["tradeoff"].fetched("tradeoff")["scores"]["accuracy"]
    probe = figures["tradeoff"]._esm + "\nexport { scoreAxis };"
    code = """async ([code, kind, values]) => {
        const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
        const [scale, axis] = (await import(url)).scoreAxis(kind, values, { top: 0, bottom: 100 });
        return [scale(1), axis.ticks.at(-1)[1], axis.label];
    }"""
    assert page.evaluate(code, [probe, kind, [0.8, 0.995]]) == [0, "100", "accuracy, %"]


def test_blue_is_frozen_and_orange_is_trained(page: Any) -> None:
    box = page.locator(".pft-placement")
    drawn = "node => getComputedStyle(node).fill"
    variable = """(box, name) => {
        const probe = box.appendChild(document.createElement("i"));
        probe.style.color = `var(--pft-${name})`;
        const { color } = getComputedStyle(probe);
        probe.remove();
        return color;
    }"""
    assert box.locator("rect.pft-delta").evaluate(drawn) == box.evaluate(variable, "trained")
    frozen = box.locator("rect.pft-part")
    assert {frozen.nth(i).evaluate(drawn) for i in range(frozen.count())} == {
        box.evaluate(variable, "frozen")
    }
    sites = box.locator("svg g[data-key]")
    heights = [sites.nth(i).bounding_box()["y"] for i in range(sites.count())]
    assert heights == sorted(heights, reverse=True), "data flows upwards"


def test_a_picture_is_never_drawn_without_its_colours(page: Any) -> None:
    painted = """canvas => { const { data } = canvas.getContext("2d").getImageData(0, 0, 24, 24);
        return [...data].some((v, i) => i % 4 === 0 && v - data[i + 2] > 60 && data[i + 3] > 0); }"""
    assert page.locator(".pft-low-rank canvas").first.evaluate(painted), "no orange"


def test_a_point_opens_the_runs_behind_it(page: Any, figures: Any) -> None:
    explorer, box = figures["tradeoff"], page.locator(".pft-tradeoff")
    marks = box.locator("svg.pft-drawing g[data-key]")
    marks.first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    order = sorted(explorer.visible(), key=lambda p: p[explorer.cost])
    point = order[1]
    runs = box.locator(".pft-behind")
    assert point["name"] in runs.locator(".pft-title").inner_text()
    assert runs.locator("tbody tr").count() == len(point["runs"])
    first = runs.locator("tbody tr").first.inner_text()
    run = explorer.runs(point)[0]
    for text in (f"{100 * run['test']['f1']:.1f}", f"{run['seconds']:.1f}", run["device"]):
        assert text in first
    assert "0123456789ab" in first and run["command"] in runs.inner_text()
    focused = "() => document.activeElement.dataset.key"
    assert page.evaluate(focused) == point["key"], "the focus is where it was"
    for text in (order[3]["name"], ""):
        page.mouse.click(*place_of(page, order[3]["key"]))
        assert text in runs.inner_text() and bool(text) == bool(runs.inner_text())


def place_of(page: Any, key: str) -> tuple[float, float]:
    """Where the mark is in the window."""
    mark = page.locator(f'.pft-tradeoff svg.pft-drawing g[data-key="{key}"] .pft-halo')
    mark.scroll_into_view_if_needed()
    box = mark.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_pointing_near_a_mark_tells_of_it_and_lights_its_method(page: Any, figures: Any) -> None:
    explorer, box = figures["tradeoff"], page.locator(".pft-tradeoff")
    explorer.metric, explorer.cost = "accuracy", "trainable"
    explorer.families = [name for name, _ in explorer.fetched("tradeoff")["families"]]
    box.get_by_label("low rank", exact=True).check()
    choose(page, "tradeoff", "Cost", "trainable")
    compare_place(page, explorer, "sized", "reviews")
    assert data(page, "tradeoff")["curves"].split() == list(explorer.curves())
    assert box.locator("path.pft-curve").count() == 2
    for key in ("lora:rank=1", "full"):
        x, y = place_of(page, key)
        page.mouse.move(x + 16, y + 9)
        assert data(page, "tradeoff")["lit"] == key
        point = next(p for p in explorer.points if p["key"] == key)
        tip = box.locator(".pft-tip")
        assert point["name"] in tip.inner_text()
        at = tip.bounding_box()
        assert abs(at["x"] - x) < 320 and abs(at["y"] - y) < 160, "the words are at the mark"
        same = box.locator(".pft-drawing g[data-key].pft-same")
        assert same.count() == sum(p["method"] == point["method"] for p in explorer.points)
        assert box.locator(".pft-names .pft-same").count() == 1
    page.mouse.move(1, 1)
    assert data(page, "tradeoff")["lit"] == "" and not box.locator(".pft-tip").is_visible()
    box.locator(".pft-names button").first.hover()
    assert data(page, "tradeoff")["lit"] == data(page, "tradeoff")["best"]
    page.mouse.move(1, 1)


def test_marks_that_hide_one_another_open_in_turn(page: Any, figures: Any) -> None:
    box = page.locator(".pft-tradeoff")
    x, y = place_of(page, "houlsby:bottleneck=16")
    titles = []
    for _ in range(3):
        page.mouse.click(x, y)
        titles.append(data(page, "tradeoff")["opened"])
        assert titles[-1] in ("", data(page, "tradeoff")["lit"])
        x, y = place_of(page, "houlsby:bottleneck=16")
    assert set(titles[:2]) == {"houlsby:bottleneck=16", "lora:rank=16"} and titles[2] == ""
    assert box.locator(".pft-behind").inner_text() == ""


def test_differences_are_drawn_and_told_apart(page: Any, figures: Any) -> None:
    explorer, box = figures["tradeoff"], page.locator(".pft-tradeoff")
    choose(page, "tradeoff", "Show", "full")
    explorer.reference = "full"
    hollow = []
    for point in explorer.visible():
        found = explorer.difference(point)
        if found is None or found[1] is None or abs(found[0]) <= found[1]:
            hollow.append(point["key"])
    drawn = "marks => marks.map(m => [m.dataset.key, m.querySelector('.pft-sign')"
    drawn += ".getAttribute('fill') === 'var(--pft-back)'])"
    seen = dict(box.locator(".pft-drawing g[data-key]").evaluate_all(drawn))
    assert {key for key, empty in seen.items() if empty} == set(hollow)
    assert 0 < len(hollow) < len(seen)
    heads = box.locator("details.pft-data").last.locator("th").all_text_contents()
    assert "Difference" in heads
    choose(page, "tradeoff", "Show", "")
    explorer.reference = ""


def test_a_search_leaves_what_has_the_name(page: Any, figures: Any) -> None:
    explorer, box = figures["tradeoff"], page.locator(".pft-tradeoff")
    box.get_by_label("Find", exact=True).fill("LoRA")
    explorer.search = "LoRA"
    compare_tradeoff(page, explorer)
    ghosts = box.locator(".pft-drawing .pft-ghost")
    assert ghosts.count() == len(explorer.points) - len(explorer.visible()) > 0
    box.get_by_label("Find", exact=True).fill("")
    explorer.search = ""
    box.get_by_role("button", name="only low rank").click()
    explorer.families = ["low_rank"]
    compare_tradeoff(page, explorer)
    box.get_by_role("button", name="all families").click()
    explorer.families = [name for name, _ in explorer.fetched("tradeoff")["families"]]
    compare_tradeoff(page, explorer)


def test_an_opened_mark_leads_on(page: Any, figures: Any) -> None:
    explorer, box = figures["tradeoff"], page.locator(".pft-tradeoff")
    box.locator('.pft-names button[data-method="lora"]').click()
    behind = box.locator(".pft-behind")
    paper = behind.get_by_role("link", name="Hu et al. (2022)")
    assert paper.get_attribute("href") == pft.METHODS["lora"].url
    assert "pftlab/low_rank/lora.py" in behind.inner_text()
    chosen = parse_qs(page.url.partition("?")[2])["opened"]
    point = next(p for p in explorer.points if [p["key"]] == chosen)
    assert point["repeat"] in behind.inner_text()
    behind.get_by_role("button", name="Copy").click()
    behind.get_by_role("button", name="Copied").wait_for()
    assert "against Full fine-tuning" in behind.inner_text()


def test_a_view_can_be_sent_as_an_address(browser: Any, page: Any, site: Path) -> None:
    """What was chosen is in the address; there it comes back, from a file as well."""
    box = page.locator(".pft-tradeoff")
    key = "lora:rank=1"
    number = next(
        option.get_attribute("value")
        for option in box.get_by_label("Task and base", exact=True).locator("option").all()
        if "on sized" in option.inner_text()
    )
    choose(page, "tradeoff", "Task and base", number)
    if data(page, "tradeoff")["opened"] != key:
        page.mouse.click(*place_of(page, key))
    before = data(page, "tradeoff")
    assert before["opened"] == key
    assert page.url.partition("#")[2].startswith("tradeoff?")
    address = f"{site.as_uri()}/book/index.html#{page.url.partition('#')[2]}"
    with opened(browser, address) as (other, seen):
        other.wait_for_selector(".pft-tradeoff svg.pft-drawing g[data-key]")
        after = data(other, "tradeoff")
        for name in ("visible", "best", "front", "curves", "opened"):
            assert after[name] == before[name]
        title = other.locator(".pft-behind .pft-title").inner_text()
        assert title == box.locator(".pft-behind .pft-title").inner_text()
        assert other.locator(".pft-tradeoff").evaluate("b => b.getBoundingClientRect().top") < 200
        assert seen.none(), seen


# PlacementExplorer


def test_every_design_has_the_name_that_python_gives(page: Any, figures: Any) -> None:
    explorer = figures["placement"]
    labels = ("It changes h, the output of", "Function Δh", "Insertion", "Composition h ←")
    for values in product(*CHOICES.values()):
        for name, label, value in zip(CHOICES, labels, values, strict=True):
            if getattr(explorer, name) != value:
                choose(page, "placement", label, value)
                setattr(explorer, name, value)
        shown, design = data(page, "placement"), explorer.design()
        assert shown["name"] == (design.name if design else "")
        assert shown["nearest"].split("|") == [near.name for near in explorer.nearest()]
        assert page.locator(".pft-placement svg .pft-lit").count() >= 2


def test_the_drawing_and_the_names_choose(page: Any) -> None:
    box = page.locator(".pft-placement")
    box.get_by_role("button", name="Prefix tuning", exact=True).click()
    assert data(page, "placement")["name"] == "Prefix tuning"
    assert "pft.PrefixTuning()" in box.inner_text()
    box.locator("svg [data-key=ffn]").first.click()
    assert data(page, "placement")["name"] == ""
    assert (
        "Prefix tuning (with each attention head)"
        in box.locator("[role=status]").first.inner_text()
    )
    box.locator("svg [data-key=ffn]").first.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    assert data(page, "placement")["name"] == "Prefix tuning"


# LowRankExplorer


def test_rank_is_chosen_by_keyboard(page: Any, figures: Any) -> None:
    explorer = figures["low-rank"]
    for keys, rank in ((("Home",), 0), (("ArrowRight",) * 3, 3), (("End",), 36)):
        press(page, "low-rank", "Rank r", *keys)
        explorer.rank = rank
        compare_low_rank(page, explorer)
    choose(page, "low-rank", "ΔW of", "value")
    explorer.name, explorer.rank = "value", 8
    compare_low_rank(page, explorer)
    painted = """canvas => canvas.getContext("2d").getImageData(0, 0, 9, 8).data.some(v => v)"""
    assert page.locator(".pft-low-rank canvas").last.evaluate(painted)


def compare_low_rank(page: Any, explorer: LowRankExplorer) -> None:
    shown, matrix = data(page, "low-rank"), explorer.matrices[explorer.name]
    assert float(shown["energy"]) == pytest.approx(explorer.energy(), abs=1e-9)
    assert float(shown["error"]) == pytest.approx(explorer.error(), abs=1e-6)
    assert int(shown["parameters"]) == explorer.parameters()
    left, right = (unpacked(matrix[side])[0] for side in ("left", "right"))
    terms = left * right * explorer.values() * explorer.unit**2
    corner = float(terms[: explorer.rank].sum())
    assert float(shown["corner"]) == pytest.approx(corner, abs=1e-9)


# MethodChooser


def compare_chooser(page: Any, chooser: MethodChooser) -> None:
    shown = data(page, "chooser")
    assert shown["left"].split() == chooser.candidates()
    reasons = [chooser.reason(name) for name in CANDIDATES]
    assert shown["reasons"].split("|") == ([each for each in reasons if each] or [""])
    assert page.locator(".pft-chooser ol > li").count() == len(chooser.candidates())


def test_the_chooser_follows_keyboard_and_mouse(page: Any, figures: Any) -> None:
    chooser, box = figures["chooser"], page.locator(".pft-chooser")
    compare_chooser(page, chooser)
    assert "smollm2, sst2: worse" not in box.locator("ol").inner_text()
    box.locator("summary", has_text="worse in").first.click()
    assert "smollm2, sst2: worse" in box.locator("ol").inner_text()
    choose(page, "chooser", "Model", "llama-3.1-8b")
    press(page, "chooser", "Memory", "ArrowRight", "ArrowRight")
    chooser.model_name, chooser.budget = "llama-3.1-8b", 48
    compare_chooser(page, chooser)
    choose(page, "chooser", "Texts in a step", "8")
    chooser.batch = 8
    compare_chooser(page, chooser)
    press(page, "chooser", "no extra time at inference", "Space")
    choose(page, "chooser", "The task asks for", "causal_lm")
    chooser.merged, chooser.kind = True, "causal_lm"
    compare_chooser(page, chooser)
    assert "we cannot tell" in box.locator("ol").inner_text()
    press(page, "chooser", "Tasks", "End")
    assert "1,000 tasks" in box.locator("ol").inner_text()


# PairedSeeds


def compare_seeds(page: Any, figure: PairedSeeds) -> None:
    shown, found = data(page, "seeds"), figure.intervals()
    assert [int(place) for place in shown["places"].split()] == figure.chosen()
    halves = [float(half) for half in shown["halves"].split()]
    assert halves == pytest.approx([half for _, half in found.values()])
    assert float(shown["middle"]) == pytest.approx(found["paired"][0])
    assert [float(share) for share in shown["told"].split()] == list(figure.told().values())


def test_the_same_seeds_are_drawn_as_in_python(page: Any, figures: Any) -> None:
    figure, box = figures["seeds"], page.locator(".pft-seeds")
    compare_seeds(page, figure)
    for figure.draw in (2, 3):
        box.get_by_role("button", name="Draw other seeds").focus()
        page.keyboard.press("Enter")
        compare_seeds(page, figure)
    press(page, "seeds", "Seeds", "ArrowRight", "ArrowRight")
    figure.count = 5
    choose(page, "seeds", "against", "ia3")
    figure.other = "ia3"
    compare_seeds(page, figure)
    box.locator("svg g[data-key=paired]").focus()
    assert "points; zero is" in box.locator("[role=status]").nth(1).inner_text()


# NF4Explorer


def test_errors_are_those_of_python(page: Any, figures: Any) -> None:
    explorer = figures["nf4"]
    pairs = list(product(LEVELS, BLOCKS))
    given = [[explorer.values().tolist(), list(LEVELS[name]), block] for name, block in pairs]
    expected = [explorer.error(name, block) for name, block in pairs]
    assert script(page, explorer, "error", given) == pytest.approx(expected)


def test_format_and_block_are_chosen(page: Any, figures: Any) -> None:
    explorer = figures["nf4"]
    press(page, "nf4", "Weights in a block", "ArrowRight", "ArrowRight")
    choose(page, "nf4", "Format", "int4")
    explorer.block, explorer.format = 256, "int4"
    compare_nf4(page, explorer)
    point = page.locator('.pft-nf4 svg g[data-key="fp4 16"]')
    point.click()
    explorer.block, explorer.format = 16, "fp4"
    compare_nf4(page, explorer)
    page.keyboard.press("ArrowRight")
    page.keyboard.press(" ")
    explorer.block = 32
    compare_nf4(page, explorer)


def compare_nf4(page: Any, explorer: NF4Explorer) -> None:
    shown = data(page, "nf4")
    assert float(shown["error"]) == pytest.approx(explorer.error())
    assert float(shown["bits"]) == explorer.bits()
    lines = page.locator(".pft-nf4 svg .pft-level").count()
    assert lines == int(shown["levels"]) == len(LEVELS[explorer.format])


# BudgetPlayer


def compare_budget(page: Any, player: BudgetPlayer) -> None:
    shown = data(page, "budget")
    assert int(shown["step"]) == player.steps[player.frame]
    assert int(shown["budget"]) == player.budget()
    assert [int(rank) for rank in shown["ranks"].split()] == player.now().tolist()
    cells = page.locator(".pft-budget svg g[data-key] text").all_text_contents()
    assert [int(text) for text in cells] == player.now().tolist()
    said = page.locator(".pft-budget > [role=status]").first.inner_text()
    assert f"{player.budget()} of {6 * len(player.places)} triplets" in said


def test_the_budget_is_stepped_through(page: Any, figures: Any) -> None:
    player, box = figures["budget"], page.locator(".pft-budget")
    compare_budget(page, player)
    for keys, frame in ((("ArrowRight",) * 2, 2), (("End",), 6), (("Home",), 0)):
        press(page, "budget", "Step", *keys)
        player.frame = frame
        compare_budget(page, player)
    for name, frame in (("Step back", 0), ("Step on", 1), ("Step on", 2), ("Step back", 1)):
        box.get_by_role("button", name=name).click()
        player.frame = frame
        compare_budget(page, player)


CLOCK = """() => {
    window.clock = [window.setInterval, window.clearInterval];
    window.setInterval = (act) => { window.tick = act; return 1; };
    window.clearInterval = () => { window.tick = null; };
}"""  # a clock that the test winds, however busy the machine is
RUNS_BY_ITSELF = "() => { [window.setInterval, window.clearInterval] = window.clock; }"


def test_the_budget_plays_to_its_end_and_can_be_stopped(page: Any, figures: Any) -> None:
    player, box = figures["budget"], page.locator(".pft-budget")

    def at(frame: int, playing: bool) -> None:
        player.frame = frame
        compare_budget(page, player)
        assert data(page, "budget")["playing"] == str(playing).lower()
        assert page.evaluate("Boolean(window.tick)") == playing
        assert box.get_by_role("button", name="Pause" if playing else "Play").count() == 1

    press(page, "budget", "Step", "Home")
    page.evaluate(CLOCK)
    box.get_by_role("button", name="Play").click()
    at(0, True)
    for frame in (1, 2):
        page.evaluate("tick()")
        at(frame, True)
    box.get_by_role("button", name="Pause").focus()
    page.keyboard.press("Enter")
    at(2, False)
    press(page, "budget", "Step", "End", "ArrowLeft")
    box.get_by_role("button", name="Play").click()
    page.evaluate("tick()")
    at(6, False)
    box.get_by_role("button", name="Play").click()  # at the end it begins anew
    at(0, True)
    press(page, "budget", "Step", "ArrowRight")  # the reader's own step stops it
    at(1, False)
    page.evaluate(RUNS_BY_ITSELF)
    box.get_by_role("button", name="Play").click()
    page.wait_for_selector('.pft-budget[data-step="60"][data-playing="false"]')
    press(page, "budget", "Step", "Home", "ArrowRight")
    player.frame = 1
    compare_budget(page, player)


def test_a_matrix_is_chosen_in_the_grid(page: Any, figures: Any) -> None:
    player, box = figures["budget"], page.locator(".pft-budget")
    box.locator("svg g[data-key]").first.focus()
    for key in ("ArrowDown", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    now = player.now()[3]
    said = box.locator("> [role=status]")
    assert f"Chosen: ffn.down of layer 1, rank {now}" in said.first.inner_text()
    assert said.last.inner_text().startswith(f"ffn.down of layer 1: rank {now}, at the start 6")
    assert box.locator("svg path[stroke-dasharray='5 3']").count() == 1
    page.keyboard.press("Enter")
    assert box.locator("svg path[stroke-dasharray='5 3']").count() == 0


# PrefixAttention


def compare_prefix(page: Any, figure: PrefixAttention) -> None:
    shown, shares = data(page, "prefix"), figure.shares()
    mine = shares[figure.row, figure.head]
    assert float(shown["share"]) == pytest.approx(mine.mean())
    assert float(shown["even"]) == figure.even() and int(shown["above"]) == figure.above()
    assert [float(share) for share in shown["words"].split()] == mine.tolist()
    vectors = figure.vectors()[figure.row, figure.head]
    assert [float(share) for share in shown["vectors"].split()] == vectors.tolist()
    texts = page.locator(".pft-prefix svg g[data-key] text").all_text_contents()
    assert [int(text) for text in texts] == pytest.approx(100 * shares.mean(-1).ravel(), abs=0.51)
    words = page.locator(".pft-prefix .pft-words li").all_inner_texts()
    tokens = figure.sentences[figure.sentence]["tokens"]
    assert [word.split()[0] for word in words] == tokens


def test_heads_and_sentences_are_chosen(page: Any, figures: Any) -> None:
    figure, box = figures["prefix"], page.locator(".pft-prefix")
    compare_prefix(page, figure)
    choose(page, "prefix", "Sentence", "1")
    figure.sentence = 1
    compare_prefix(page, figure)
    box.locator('svg g[data-key="1 2"]').click()
    figure.row, figure.head = 1, 2
    compare_prefix(page, figure)
    for key in ("ArrowUp", "ArrowRight", " "):
        page.keyboard.press(key)
    figure.row, figure.head = 0, 3
    compare_prefix(page, figure)
    focused = "() => document.activeElement.dataset.key"
    assert page.evaluate(focused) == "0 3", "the focus is where it was"


# ScaleCurve


def compare_scale(page: Any, curve: ScaleCurve) -> None:
    shown = data(page, "scale")
    found = dict(part.rsplit(" ", 1) for part in shown["gaps"].split("|") if part)
    assert {base: float(gap) for base, gap in found.items()} == pytest.approx(curve.gaps())
    said = page.locator(".pft-scale > [role=status]").first.inner_text()
    half = {
        (point["series"], point["base"]): point["interval"]
        for name in (curve.method, curve.reference)
        for point in curve.curve(name)
    }
    for base, gap in curve.gaps().items():
        side, size = "behind" if gap >= 0 else "ahead", made_up.BASES[base] // 10**6
        both = half[curve.method, base] + half[curve.reference, base]
        apart = "apart" if abs(gap) > both else "overlap"
        words = f"{100 * abs(gap):.1f} points {side} on {base} ({size} M), intervals {apart}"
        assert words in said
    marks = page.locator(".pft-scale svg.pft-drawing g[data-key]")
    assert marks.count() == int(shown["marks"]) == len(curve.table())


def test_two_methods_are_compared_over_sizes(page: Any, figures: Any) -> None:
    curve, box = figures["scale"], page.locator(".pft-scale")
    compare_scale(page, curve)
    names = {name: key for key, name, *_ in curve.series}
    for label, trait, value in (
        ("Compare", "method", names["LoRA"]),
        ("with", "reference", names["Prompt tuning"]),
        ("Task", "task", "pairs"),
        ("with", "reference", names["Houlsby adapters"]),
    ):
        choose(page, "scale", label, value)
        setattr(curve, trait, value)
        compare_scale(page, curve)
    box.get_by_role("checkbox", name="BitFit").focus()
    page.keyboard.press(" ")
    curve.shown = [key for key in curve.shown if key != names["BitFit"]]
    compare_scale(page, curve)
    marks = box.locator("svg.pft-drawing g[data-key]")
    marks.first.focus()
    page.keyboard.press("ArrowRight")
    told = box.locator("> [role=status]").last.inner_text()
    row = curve.table()[1]
    assert told.startswith(f"{row['method']} on mini (4 M parameters): accuracy ")
    assert f"{100 * row['mean']:.1f} % ± {100 * row['interval']:.1f}, 5 seeds" in told


# ForgettingPlane


def compare_forgetting(page: Any, plane: ForgettingPlane) -> None:
    shown, here = data(page, "forgetting"), plane.now()
    assert (shown["least"], shown["most"]) == (here[0]["method"], here[-1]["method"])
    said = page.locator(".pft-forgetting > [role=status]").first.inner_text()
    assert f"{here[0]['name']} forgets least ({round(here[0]['forgotten'][0], 2):g} nats)" in said
    marks = page.locator(".pft-forgetting svg.pft-drawing g[data-key]")
    assert marks.count() == int(shown["marks"]) == len(plane.table())


def test_the_rate_moves_the_methods_through_the_plane(page: Any, figures: Any) -> None:
    plane, box = figures["forgetting"], page.locator(".pft-forgetting")
    compare_forgetting(page, plane)
    for key, plane.chosen in (("Home", 0), ("End", 2), ("ArrowLeft", 1), ("ArrowRight", 2)):
        press(page, "forgetting", "Learning rate", key)
        compare_forgetting(page, plane)
    box.locator("svg.pft-drawing g[data-key]").first.focus()
    page.keyboard.press("ArrowRight")
    told = box.locator("> [role=status]").last.inner_text()
    assert told.startswith("Full fine-tuning at 1e-2: accuracy 75.5 %")


@pytest.mark.parametrize("width", [360, 1200])
def test_no_name_covers_a_mark_or_another_name(browser: Any, site: Path, width: int) -> None:
    """At each rate of the plane, and with the control in sight beside the other methods."""
    address = f"{site.as_uri()}/book/index.html"
    with opened(browser, address, viewport={"width": width, "height": 800}) as (page, _):
        wait(page)
        plane = page.locator(".pft-forgetting svg.pft-drawing")
        for _rate in range(3):
            assert plane.locator("text.pft-label").count() == plane.locator("g[data-key]").count()
            assert plane.evaluate(COVERED) == []
            press(page, "forgetting", "Learning rate", "ArrowRight")
        explorer = page.locator(".pft-tradeoff")
        for option in explorer.get_by_label("Task and base", exact=True).locator("option").all():
            choose(page, "tradeoff", "Task and base", option.get_attribute("value"))
            assert explorer.locator("svg.pft-drawing").evaluate(COVERED) == []


# TrainingScrubber


def compare_scrubber(page: Any, scrubber: TrainingScrubber) -> None:
    shown = data(page, "scrubber")
    assert int(shown["step"]) == scrubber.step
    assert float(shown["accuracy"]) == scrubber.accuracy()
    assert [bool(int(mark)) for mark in shown["right"].split()] == scrubber.right()
    row = scrubber.table()[scrubber.site]
    assert float(shown["norm"]) == pytest.approx(row["size"])
    told = scrubber.recording["runs"][scrubber.run]
    bytes_ = np.frombuffer(base64.b64decode(told["entries"]), np.int8)
    both = bytes_.reshape(3, 2, 2, 6)[scrubber.frame, scrubber.site]
    B, A = both[0].reshape(3, 2) * told["units"][0], both[1].reshape(2, 3) * told["units"][1]
    assert float(shown["corner"]) == pytest.approx(2.0 * (B @ A)[0, 0])
    items = page.locator(".pft-scrubber .pft-sentences li")
    marks = items.evaluate_all("items => items.map(i => i.querySelector('b').textContent)")
    assert marks == ["✓" if right else "✗" for right in scrubber.right()]


def test_a_training_is_scrubbed_by_keyboard_and_mouse(page: Any, figures: Any) -> None:
    scrubber, box = figures["scrubber"], page.locator(".pft-scrubber")
    compare_scrubber(page, scrubber)
    for key, scrubber.frame in (("ArrowRight", 1), ("End", 2), ("Home", 0), ("ArrowRight", 1)):
        press(page, "scrubber", "Step", key)
        compare_scrubber(page, scrubber)
    choose(page, "scrubber", "Learning rate", "1")
    scrubber.run = 1
    compare_scrubber(page, scrubber)
    box.locator('svg g[data-key="0 0"]').focus()
    for key in ("ArrowRight", "Enter"):
        page.keyboard.press(key)
    scrubber.site = 1
    compare_scrubber(page, scrubber)
    box.get_by_role("button", name="Play").click()
    page.wait_for_selector('.pft-scrubber[data-step="4"][data-playing="false"]')
    scrubber.frame = 2
    compare_scrubber(page, scrubber)


# Everywhere else


def test_the_order_is_the_one_that_was_given(page: Any, figures: Any) -> None:
    """A stored notebook sorts the keys of dictionaries."""
    labels = "box => [...box.querySelectorAll('label, legend')].map(label => label.textContent)"
    first = page.locator(".pft-placement").evaluate(labels)[:4]
    assert first == ["It changes h, the output of", "Function Δh", "Insertion", "Composition h ←"]
    options = "select => [...select.options].map(option => option.value)"
    for name, label, expected in (
        ("counter", "Model", list(BASES)),
        ("counter", "Method", [each["name"] for each in ParameterCounter().methods]),
        ("nf4", "Format", list(LEVELS)),
    ):
        control = page.locator(f".pft-{name}").get_by_label(label, exact=True)
        assert control.evaluate(options) == expected


def test_from_a_file_on_a_phone_in_the_dark(browser: Any, site: Path) -> None:
    address = f"{site.as_uri()}/book/index.html"
    phone = {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark", "has_touch": True}
    with opened(browser, address, **phone) as (page, seen):
        wait(page)
        assert page.locator("html").get_attribute("data-theme") == "dark"
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        colour = "box => getComputedStyle(box).backgroundColor"
        for name in FIGURES:
            box = page.locator(f".pft-{name}")
            assert box.evaluate(colour) == "rgb(28, 33, 38)"
            assert box.evaluate("box => box.scrollWidth <= box.clientWidth")
        page.locator(".pft-tradeoff svg.pft-drawing g[data-key] .pft-halo").first.tap()
        assert page.locator(".pft-tradeoff .pft-behind tbody tr").count() == 5
        assert page.locator(".pft-tradeoff .pft-tip").is_visible()
        reached = set()  # every mark, by the finger alone
        for _ in data(page, "tradeoff")["visible"].split():
            page.get_by_role("button", name="Next mark").tap()
            reached.add(data(page, "tradeoff")["lit"])
        assert reached == set(data(page, "tradeoff")["visible"].split())
        assert seen.none(), seen


def test_what_is_chosen_lasts_while_the_colours_change(page: Any) -> None:
    before = {name: data(page, name) for name in FIGURES}
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_timeout(100)
    assert {name: data(page, name) for name in FIGURES} == before
    page.evaluate("document.documentElement.dataset.theme = 'light'")
