"""The first page, and the page of each method: what they show, and where they lead."""

import gzip
import html
import importlib
import re
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from browser import opened, served
from test_site import PAGES, SITE

import pftlab as pft
from pftlab.experiments.results import load_results
from pftlab.experiments.summary import summarise
from pftlab.facts import FACTS
from pftlab.scores import score_of

ROOT = Path(__file__).resolve().parents[2]
FIRST = SITE / "book" / "index.html"
HEAVIEST = 350_000  # bytes of all that the first page loads, compressed
pytestmark = pytest.mark.site


def page_tools(name: str) -> ModuleType:
    """A module of tools/pages, which makes the pages."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        return importlib.import_module(f"pages.{name}")
    finally:
        sys.path.remove(str(ROOT / "tools"))


def test_the_first_screen_shows_map_plot_and_number_without_scripts_and_network(
    browser: Any,
) -> None:
    screen = {"viewport": {"width": 1366, "height": 900}, "java_script_enabled": False}
    with opened(browser, FIRST.as_uri(), **screen) as (page, seen):
        for part in (".pft-hero-map svg", ".pft-hero-plot svg", ".pft-number"):
            box = page.locator(part).bounding_box()
            assert box["y"] >= 0 and box["y"] + box["height"] <= 900, part
        assert page.locator(".pft-door").count() >= 3
        assert not seen.outside


def test_every_part_of_the_map_is_a_link_and_carries_what_its_family_trains(browser: Any) -> None:
    with opened(browser, FIRST.as_uri(), viewport={"width": 1366, "height": 900}) as (page, _):
        loose = "boxes => boxes.filter(b => !b.closest('a')).length"
        assert (
            page.eval_on_selector_all(".pft-hero-map .frozen, .pft-hero-map .trained", loose) == 0
        )
        for family in ("adapter", "prompt", "low_rank", "sparse", "others"):
            assert page.locator(f".pft-place-{family} .trained").count(), family
        box = page.locator(".pft-place-low_rank .frozen").nth(1).bounding_box()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.wait_for_url("**/low_rank/index.html")


def test_the_plot_and_the_number_say_what_the_results_say(browser: Any) -> None:
    drawn = page_tools("tradeoff").DRAWN
    there = summarise(load_results(base="minilm", task="sst2"))
    rows = [row for row in there if row.method in drawn]
    assert {row.method for row in rows} == set(drawn)
    text = FIRST.read_text(encoding="utf-8")
    plot = re.search(r"<svg\b[^>]*pft-tradeoff-drawing[^>]*>", text)
    assert plot
    said = html.unescape(plot[0])
    assert said.count("±") == len(drawn), "a name for each mark, and no room for more"
    for row in rows:
        assert f"{FACTS[row.method].title} {score_of(row.metric).number(row.mean)}" in said
        assert f'href="methods/{row.method}.html"' in text
    with opened(browser, FIRST.as_uri()) as (page, _):
        lora = next(row for row in rows if row.method == "lora")
        assert page.locator(".pft-number").inner_text() == f"{lora.percent:.2f} %"
        centre = "mark => (box => [box.x + box.width / 2, box.y + box.height / 2])(mark.getBoundingClientRect())"
        marks = {
            row.method: page.locator(f'.pft-dot[href$="/{row.method}.html"] .dot').evaluate(centre)
            for row in rows
        }
        by_cost = sorted(rows, key=lambda row: row.trainable)
        assert sorted(marks, key=lambda name: marks[name][0]) == [row.method for row in by_cost]
        by_score = sorted(rows, key=lambda row: -row.mean)
        heights = [marks[row.method][1] for row in by_score]
        assert all(a <= b + 1 for a, b in pairwise(heights))


def test_map_and_plot_point_at_each_other_also_by_keyboard(browser: Any) -> None:
    width = "shape => getComputedStyle(shape).strokeWidth"
    with opened(browser, FIRST.as_uri()) as (page, _):
        piece = page.locator(".pft-place-low_rank .trained").first
        before = piece.evaluate(width)
        page.locator(".pft-dot-low_rank").focus()
        assert piece.evaluate(width) != before
        mark = page.locator(".pft-dot-adapter .dot > *").first
        before = mark.evaluate(width)
        page.locator(".pft-place-adapter").focus()
        assert mark.evaluate(width) != before


def test_the_words_of_the_drawings_can_be_read_on_a_phone(browser: Any) -> None:
    phone = {"viewport": {"width": 360, "height": 780}, "has_touch": True, "is_mobile": True}
    size = """texts => Math.min(...texts.map(t => parseFloat(getComputedStyle(t).fontSize)
        * t.ownerSVGElement.getBoundingClientRect().width / t.ownerSVGElement.viewBox.baseVal.width))"""
    with opened(browser, FIRST.as_uri(), **phone) as (page, _):
        assert page.eval_on_selector_all(".pft-hero-plot svg text", size) >= 11
        page.locator(".pft-dot-low_rank").tap()
        page.wait_for_url("**/methods/lora.html")


def test_the_first_page_is_light_and_has_an_icon(browser: Any) -> None:
    loaded: dict[str, int] = {}
    with served(SITE) as address, opened(browser, "about:blank") as (page, _):
        page.on("response", lambda r: loaded.update({r.url: len(gzip.compress(r.body()))}))
        page.goto(f"{address}/book/index.html", wait_until="networkidle")
        assert sum(loaded.values()) <= HEAVIEST, loaded
        icon = page.locator('link[rel~="icon"]').get_attribute("href")
    assert (FIRST.parent / icon).resolve().is_file()
    assert "<title>PFT Lab" in FIRST.read_text(encoding="utf-8")


def test_no_caption_of_the_sidebar_is_said_again_below_it(browser: Any) -> None:
    with opened(browser, FIRST.as_uri()) as (page, _):
        captions = page.locator("nav.bd-links p.caption").all_inner_texts()
        entries = page.locator("nav.bd-links .toctree-l1 > a").all_text_contents()
        names = {re.sub(r"^\d+\. ", "", entry.strip()) for entry in entries}
        assert not names & {caption.strip() for caption in captions}
        numbers = [int(n[1]) for entry in entries if (n := re.match(r"(\d+)\. ", entry.strip()))]
        assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) > 8


# The page of each method


def test_each_method_has_a_page_with_all_that_is_known_of_it() -> None:
    assert {Path(n).stem for n in PAGES if n.startswith("book/methods/")} == FACTS.keys()
    measured = {row.method for row in summarise(load_results()) if row.interval is not None}
    for name, facts in FACTS.items():
        text = (SITE / "book" / "methods" / f"{name}.html").read_text(encoding="utf-8")
        assert f"<h1>{html.escape(facts.title)}" in text
        assert 'class="trained"' in text, name
        assert html.escape(facts.equation.split("=")[0].split("\\")[0].strip(), quote=False) in text
        assert facts.url in text and "references.html#" in text, name
        assert f"pftlab.{pft.METHODS[name].__name__}" in text, name
        assert ("<p>seeds</p>" in text) == (name in measured), name
        family = "foundations/finetuning" if facts.family == "finetune" else f"{facts.family}/index"
        assert f'href="../{family}.html"' in text and f'href="../{family}.html#exercises"' in text


def test_a_dot_on_the_map_promises_a_chapter_that_tells_of_the_method() -> None:
    first, folder = FIRST.read_text(encoding="utf-8"), FIRST.parent / "methods"
    dotted = re.findall(r'class="pft-chapter[^"]*" href="methods/(\w+)\.html"', first)
    assert len(dotted) > 20
    for name in FACTS:
        text = (folder / f"{name}.html").read_text(encoding="utf-8")
        chapter = re.search(r'The chapter that teaches it: <a[^>]* href="([^"]+)"', text)
        assert bool(chapter) == (name in dotted), name
        if chapter:
            article = (folder / chapter[1]).read_text(encoding="utf-8").partition("<article")[2]
            words = html.unescape(re.sub(r"<[^>]+>", "", article)).lower()
            names = (FACTS[name].title.lower(), name, pft.METHODS[name].__name__.lower())
            assert sum(map(words.count, names)) >= 3, (name, chapter[1])


def test_the_score_of_a_method_is_seen_on_a_phone(browser: Any) -> None:
    """The first score is among the columns that fit, beside what it is a score of."""
    phone = {"viewport": {"width": 360, "height": 740}}
    for name in ("lora", "houlsby", "mam"):
        with opened(browser, (FIRST.parent / "methods" / f"{name}.html").as_uri(), **phone) as (
            page,
            _,
        ):
            head = page.get_by_role("columnheader", name="test score").bounding_box()
            assert head["x"] + head["width"] <= 360, name


def test_the_code_on_the_page_of_a_method_is_the_code_that_runs(browser: Any) -> None:
    page_of = SITE / "book" / "methods" / "lora.html"
    with opened(browser, page_of.as_uri()) as (page, seen):
        shown = page.locator("#its-code div.highlight pre").first.text_content()
        assert shown.strip() == (ROOT / "pftlab/low_rank/lora.py").read_text("utf-8").strip()
        assert seen.none(), seen


def test_a_score_on_the_page_of_a_method_is_a_stored_one() -> None:
    text = (SITE / "book" / "methods" / "lora.html").read_text(encoding="utf-8")
    rows = [r for r in summarise(load_results()) if (r.base, r.method) == ("smollm2", "lora")]
    row = max(rows, key=lambda row: row.seeds)
    score = score_of(row.metric)
    assert f"{row.trainable:,}" in text
    assert f"{score.number(row.mean)} ± {score.number(row.interval)}" in text
    assert "at attention.query, attention.value; rank 8)" in text and "[&#39;" not in text


def test_a_drawing_knows_every_place_that_a_method_names() -> None:
    layer = page_tools("layer")
    for name, facts in FACTS.items():
        assert layer.places_of(facts.where, pft.METHODS[name].at or ()), name
    with pytest.raises(pft.PftError, match=r"attention\.querry"):
        layer.places_of("", ("attention.querry",))


# References and search


def test_a_reference_stands_under_author_and_year_and_leads_back() -> None:
    text = (SITE / "book" / "references.html").read_text(encoding="utf-8")
    labels = re.findall(r'<span class="label">.*?</span>.*?</span>', text, re.DOTALL)
    words = [" ".join(re.sub(r"<[^>]+>", "", label).split()).strip("[]") for label in labels]
    assert "Hu et al., 2022" in words and len(words) == len(set(words)) > 40
    assert all(re.search(r", \d{4}[b-z]?$", label) for label in words), words
    entry = text[text.index("LoRA: low-rank adaptation") :].partition("</div>")[0]
    for page in ("low_rank/lora.html", "methods/lora.html"):
        assert f'href="{page}"' in entry


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("quantization", "book/low_rank/index.html"),
        ("catastrophic forgetting", "book/low_rank/lora.html"),
        ("overfitting", "book/foundations/finetuning.html"),
        ("finetuning", "book/foundations/finetuning.html"),
        ("bitsandbytes", "book/glossary.html"),
    ],
)
def test_the_words_of_the_field_find_what_the_book_calls_otherwise(
    browser: Any, words: str, wanted: str
) -> None:
    with served(SITE) as address, opened(browser, f"{address}/search.html?q={words}") as (page, _):
        page.wait_for_selector(f'#search-results li > a[href^="{wanted}"]')


def test_a_title_comes_first_and_excerpts_are_of_the_text_alone(browser: Any) -> None:
    with served(SITE) as address:
        start = f"{address}/search.html?q=prefix tuning"
        with opened(browser, start) as (page, seen):
            page.wait_for_selector("#search-results li .context")
            first = page.locator("#search-results li > a").first
            assert first.get_attribute("href").startswith("book/prompt/prefix_tuning.html")
            page.wait_for_load_state("networkidle")
            excerpts = " ".join(page.locator("#search-results .context").all_inner_texts())
            assert not re.search(r"\.pdf|Contents|Cite this page|import ", excerpts), excerpts
            assert seen.none(), seen


def test_a_search_in_pages_from_disk_finds_without_an_error(browser: Any) -> None:
    with opened(browser, f"{(SITE / 'search.html').as_uri()}?q=BitFit") as (page, seen):
        page.wait_for_selector('#search-results li > a[href^="book/methods/bitfit.html"]')
        assert seen.none(), seen
