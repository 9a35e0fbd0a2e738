"""What helps a reader to find their way: map, filter, terms, search, the page that is not there."""

import functools
import html
import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urljoin

import pytest
import yaml
from browser import COVERED, opened, store_holds
from test_site import PAGES, SITE

from pftlab.facts import FACTS, FAMILIES
from pftlab.registry import METHODS

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.site


# The map


def test_the_map_leads_to_every_family_and_every_method(browser: Any, address: str) -> None:
    start = f"{address}/book/index.html"
    with opened(browser, start) as (page, _):
        places = page.locator(".pft-map a.pft-place")
        assert places.count() == len(FAMILIES)
        names = {text.strip() for text in page.locator(".pft-place .head").all_text_contents()}
        assert names == {
            text.strip() for text in page.locator(".pft-family-title a").all_text_contents()
        }
        links = page.eval_on_selector_all(
            ".pft-hero a, .pft-family-title a, .pft-methods a, .pft-door a",
            "links => links.map(link => link.getAttribute('href'))",
        )
        methods = page.locator(".pft-methods a")
        assert set(methods.all_text_contents()) == {row.title for row in FACTS.values()}
    for link in links:
        file, anchor = urldefrag(urljoin(start, link).removeprefix(f"{address}/"))
        text = (SITE / file).read_text(encoding="utf-8")
        assert not anchor or f'id="{anchor}"' in text, link


@pytest.mark.parametrize("width", [1200, 360])
def test_the_map_works_with_the_keyboard_and_shows_where_it_is(
    browser: Any, address: str, width: int
) -> None:
    with opened(
        browser, f"{address}/book/index.html", viewport={"width": width, "height": 800}
    ) as (page, seen):
        place = page.locator(".pft-place-prompt")
        page.locator(".pft-place-low_rank").focus()
        page.keyboard.press("Tab")
        assert place.evaluate("place => place === document.activeElement")
        ring = place.locator(".hit").first.evaluate("hit => getComputedStyle(hit).stroke")
        assert ring != "none"
        box = place.locator(".hit").first.bounding_box()
        assert box["width"] >= 24 and box["height"] >= 20
        target = place.get_attribute("href")
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/{target}")
        assert seen.none(), seen


def test_a_card_lights_its_place_in_the_drawing(browser: Any, address: str) -> None:
    with opened(browser, f"{address}/book/index.html") as (page, _):
        lead = page.locator(".pft-place-sparse .lead")
        width = "line => getComputedStyle(line).strokeWidth"
        before = lead.evaluate(width)
        page.locator(".pft-family-sparse").hover()
        assert lead.evaluate(width) != before


# The table of all methods


def visible(page: Any) -> set[str]:
    rows = page.locator(".tag_pft-methods tbody tr:visible code")
    return set(rows.all_text_contents())


def test_the_filter_shows_what_the_registry_says(browser: Any, address: str) -> None:
    with opened(browser, f"{address}/book/methods.html") as (page, seen):
        assert visible(page) == set(METHODS)
        count = page.locator(".pft-count")
        assert count.text_content() == f"{len(METHODS)} of {len(METHODS)} methods"
        for merges, starts in product((True, False), repeat=2):
            page.get_by_label("merges").select_option("yes" if merges else "no")
            page.get_by_label("starts at the base").select_option("yes" if starts else "no")
            promised = {n: (row.mergeable, row.identity_at_start) for n, row in FACTS.items()}
            wanted = {n for n, promise in promised.items() if promise == (merges, starts)}
            assert visible(page) == wanted
            assert count.text_content() == f"{len(wanted)} of {len(METHODS)} methods"
        page.get_by_role("button", name="Show all").click()
        page.wait_for_function("!location.search")
        assert visible(page) == set(METHODS)
        page.get_by_label("family").select_option("sparse")
        assert visible(page) == {n for n, c in FACTS.items() if c.family == "sparse"}
        assert page.url.endswith("?family=sparse")
        page.get_by_role("button", name="Show all").click()
        page.get_by_label("tasks").select_option("language modelling")
        assert "lora" in visible(page) and "unipelt" not in visible(page)
        assert page.get_by_label("causal").count() == 0  # no column in which all rows are alike
        assert seen.none(), seen


def test_the_filter_looks_for_words_with_the_keyboard(browser: Any, address: str) -> None:
    with opened(browser, f"{address}/book/methods.html") as (page, _):
        page.get_by_label("words").focus()
        page.keyboard.type("quantized ")
        assert visible(page) == {"qlora"}
        page.keyboard.press("Control+A")
        page.keyboard.type("liu 2022")
        wanted = {n for n, c in FACTS.items() if "Liu" in c.paper and "2022" in c.paper}
        assert visible(page) == wanted
        page.keyboard.press("Enter")
        assert visible(page) == wanted


def test_a_link_can_make_the_choice(browser: Any, address: str) -> None:
    with opened(browser, f"{address}/book/methods.html?family=others&merges=no") as (page, _):
        wanted = {n for n, c in FACTS.items() if c.family == "others" and not c.mergeable}
        assert visible(page) == wanted


def test_the_table_is_whole_without_scripts_and_from_disk(browser: Any) -> None:
    address = (SITE / "book" / "methods.html").as_uri()
    with opened(browser, address, java_script_enabled=False) as (page, _):
        assert visible(page) == set(METHODS)
        assert page.locator(".pft-filter").count() == 0
    with opened(browser, address) as (page, seen):
        page.get_by_label("family").select_option("prompts")
        assert visible(page) == {n for n, c in FACTS.items() if c.family == "prompt"}
        assert seen.none(), seen


# Terms


def test_a_term_says_what_it_means(browser: Any, address: str) -> None:
    with opened(browser, f"{address}/book/low_rank/lora.html") as (page, seen):
        term = page.locator("a.pft-term", has_text=re.compile("^rank$")).first
        tip = page.get_by_role("tooltip")
        assert tip.count() == 0
        term.focus()
        assert "independent directions" in tip.text_content()
        assert term.get_attribute("aria-describedby") == tip.get_attribute("id")
        page.keyboard.press("Escape")
        assert tip.count() == 0 and term.get_attribute("aria-describedby") is None
        term.hover()
        assert tip.is_visible()
        tip.hover()  # on the way from the word to its meaning it stays
        page.wait_for_timeout(400)
        assert tip.is_visible()
        page.set_viewport_size({"width": 360, "height": 700})
        assert tip.count() == 0
        term.blur()
        term.focus()
        box = tip.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 360
        assert seen.none(), seen


def test_a_term_is_explained_once_and_leads_to_its_entry() -> None:
    entries = (SITE / "book" / "glossary.html").read_text(encoding="utf-8")
    explained = 0
    for name in PAGES:
        text = (SITE / name).read_text(encoding="utf-8")
        meanings = re.findall(
            r'class="reference internal pft-term"[^>]*data-meaning="([^"]*)"', text
        )
        assert len(meanings) == len(set(meanings)), name
        for anchor in re.findall(r'pft-term" href="[^"#]*glossary\.html#([^"]+)"', text):
            assert f'id="{anchor}"' in entries
            explained += 1
        assert not re.search(r"<(?:code|h\d|pre)[^>]*>(?:(?!</(?:code|h\d|pre)>).)*pft-term", text)
    assert explained > 20
    assert "pft-term" not in entries.partition("<article")[2]


def test_a_tap_explains_and_a_second_one_leads_to_the_entry(browser: Any, address: str) -> None:
    phone = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
    with opened(browser, f"{address}/book/low_rank/lora.html", **phone) as (page, seen):
        term = page.locator("a.pft-term", has_text=re.compile("^rank$")).first
        term.tap()
        tip = page.get_by_role("tooltip")
        assert "independent directions" in tip.text_content()
        assert page.url.endswith("lora.html")
        page.locator("main article h1").tap()
        assert tip.count() == 0
        term.tap()
        term.tap()
        page.wait_for_url("**/glossary.html#*")
        assert seen.none(), seen


# Outputs


def test_what_is_to_be_predicted_is_folded_until_the_reader_opens_it(
    browser: Any, address: str
) -> None:
    start = f"{address}/book/low_rank/lora.html"
    for scripts in (True, False):
        with opened(browser, start, java_script_enabled=scripts) as (page, _):
            folded = page.locator("details.pft-predict")
            assert folded.count() > 3
            answer = folded.first.locator("pre")
            assert not answer.is_visible() and "Rank 2 is enough" in folded.first.text_content()
            folded.first.locator("summary").focus()
            page.keyboard.press("Enter")
            assert answer.is_visible() and "rank 2: distance 0.00" in answer.inner_text()


def test_a_guess_stands_beside_the_truth(browser: Any, address: str) -> None:
    phone = {"viewport": {"width": 360, "height": 740}}
    with opened(browser, f"{address}/book/low_rank/lora_fa.html", **phone) as (page, seen):
        box = page.locator(".pft-guess").first
        output = box.locator("+ details")
        slider = page.get_by_label("What goes with all maps")
        slider.focus()
        before = int(slider.input_value())
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowLeft")
        assert slider.get_attribute("aria-valuetext") == f"{before - 2} MiB"
        assert box.locator(".pft-guess-value").inner_text() == f"{before - 2} MiB"
        assert output.get_attribute("open") is None
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert box.get_by_role("status").inner_text() == (
            f"You guessed: {before - 2} MiB. It came out: 42 MiB."
        )
        assert output.locator("pre").first.is_visible()
        centres = [
            (b["x"] + b["width"] / 2)
            for b in (box.locator(f".pft-guess-{k}").bounding_box() for k in ("guess", "truth"))
        ]
        line = box.locator(".pft-guess-line").bounding_box()
        assert abs((centres[0] - centres[1]) / line["width"] - (before - 2 - 42) / 100) < 0.01
        # a choice
        box = page.locator(".pft-guess", has=page.get_by_text("Which rank does LoRA-FA need?"))
        box.get_by_role("button").click()
        assert box.locator("+ details").get_attribute("open") is None, "nothing was chosen"
        box.get_by_label("4", exact=True).focus()
        page.keyboard.press("Space")
        page.keyboard.press("Enter")
        assert box.get_by_role("status").inner_text() == "You guessed: 4. It came out: 8."
        box.get_by_label("8", exact=True).check()
        box.get_by_role("button").click()
        assert box.get_by_role("status").inner_text().endswith("It came out: 8. Right.")
        wide = "boxes => boxes.filter(b => b.scrollWidth > b.clientWidth).length"
        assert page.eval_on_selector_all(".pft-guess", wide) == 0
        assert seen.none(), seen


def test_a_guess_is_asked_for_in_words_without_scripts_and_on_paper(
    browser: Any, address: str
) -> None:
    start = f"{address}/book/low_rank/lora_fa.html"
    words = "Your guess: What goes with all maps (0 to 100 MiB)"
    for scripts in (True, False):
        with opened(browser, start, java_script_enabled=scripts) as (page, _):
            box = page.locator(".pft-guess").first
            assert box.locator("form").is_visible() == scripts
            assert page.get_by_text(words).is_visible() != scripts
            page.emulate_media(media="print")
            assert not box.locator("form").is_visible()
            assert page.get_by_text(words).is_visible()


def test_a_figure_that_needs_scripts_has_a_picture_where_there_are_none(
    browser: Any, address: str
) -> None:
    start = f"{address}/book/comparison/explore.html"
    for scripts in (False, True):
        with opened(browser, start, java_script_enabled=scripts) as (page, _):
            if scripts:
                page.wait_for_selector(".pft-scale svg.pft-drawing *", state="attached")
            stills = page.locator(".pft-still img")
            assert stills.count() == 2
            assert {stills.nth(i).is_visible() for i in range(2)} == {not scripts}


def test_a_check_without_an_answer_says_nothing() -> None:
    for name in PAGES:
        assert "… Not written yet." not in (SITE / name).read_text(encoding="utf-8"), name


def test_outputs_wrap_and_figures_stand_on_the_ground_of_the_page(
    browser: Any, address: str
) -> None:
    dark = {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark"}
    with opened(browser, f"{address}/book/low_rank/index.html", **dark) as (page, _):
        cut = """boxes => boxes.filter(b => b.scrollWidth > b.clientWidth + 1).map(b => b.innerText)"""
        assert (
            page.eval_on_selector_all(".cell_output .text_plain:not(.pft-columns) pre", cut) == []
        )
        look = "image => [getComputedStyle(image).filter, getComputedStyle(image).backgroundColor]"
        picture = page.locator(".cell_output img").first
        assert picture.evaluate(look) == ["none", "rgba(0, 0, 0, 0)"]


def test_columns_plots_and_full_stops_keep_their_place_on_a_phone(
    browser: Any, address: str
) -> None:
    phone = {"viewport": {"width": 360, "height": 740}}
    still = {"java_script_enabled": False, **phone}
    with opened(browser, f"{address}/book/foundations/bill.html", **still) as (page, _):
        rows = """boxes => boxes.map(box => [box.textContent.trimEnd().split(/\\n/).length,
            Math.round(box.clientHeight / parseFloat(getComputedStyle(box).lineHeight))])"""
        columns = page.eval_on_selector_all(".pft-columns pre", rows)
        assert columns
        assert all(lines <= high <= lines + 2 for lines, high in columns), columns
        wide = "plots => plots.map(plot => parseFloat(getComputedStyle(plot).width))"
        plots = page.eval_on_selector_all(".cell_output > .image-reference > img", wide)
        assert plots and min(plots) > 600, plots
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
    with opened(browser, f"{address}/book/appendix/often_said.html", **phone) as (page, _):
        page.evaluate("MathJax.startup.promise.then(() => true)")
        parted = """pairs => pairs.filter(pair => {
            const stop = document.createRange();
            stop.selectNodeContents(pair.lastChild);
            const formula = pair.firstElementChild.getBoundingClientRect();
            return stop.getBoundingClientRect().top > formula.bottom;
        }).map(pair => pair.textContent)"""
        assert page.locator(".pft-together").count() > 1
        assert page.eval_on_selector_all(".pft-together", parted) == []


def test_what_goes_on_beyond_its_edge_says_so(browser: Any, address: str) -> None:
    """Code, tables and formulas fade where they go on, and end sharp where they end."""
    phone = {"viewport": {"width": 360, "height": 740}}
    with opened(browser, f"{address}/book/foundations/bill.html", **phone) as (page, seen):
        page.evaluate("MathJax.startup.promise.then(() => true)")
        boxes = ".bd-article :is(div.math, .highlight pre, .pst-scrollable-table-container)"
        wrong = """boxes => boxes.filter(b => b.checkVisibility() && (b.scrollWidth > b.clientWidth + 2)
            !== (b.dataset.pftMore === "right")).map(b => b.textContent.slice(0, 80))"""
        page.wait_for_function(
            f"() => !({wrong})([...document.querySelectorAll('{boxes}')]).length"
        )
        cut = page.locator(".highlight pre[data-pft-more=right]").locator("visible=true")
        code = cut.first.element_handle()  # which is no longer among them when it was scrolled
        mask = "box => getComputedStyle(box).maskImage"
        assert "rgba(0, 0, 0, 0)" in code.evaluate(mask)
        code.evaluate("box => { box.scrollLeft = box.scrollWidth; }")
        page.wait_for_function("box => box.dataset.pftMore === 'left'", arg=code)
        assert seen.none(), seen


@pytest.mark.parametrize("name", ["adapter/houlsby", "prompt/index", "low_rank/delta_lora"])
def test_a_formula_fits_a_phone_or_is_as_small_as_can_be_read(
    browser: Any, address: str, name: str
) -> None:
    phone = {"viewport": {"width": 360, "height": 740}}
    with opened(browser, f"{address}/book/{name}.html", **phone) as (page, _):
        page.evaluate("MathJax.startup.promise.then(() => true)")
        page.wait_for_function("document.querySelector('div.math mjx-container')")
        large = """boxes => boxes.filter(b => b.scrollWidth > b.clientWidth + 1
            && parseFloat(b.style.fontSize || 1) > 0.73).map(b => b.textContent.slice(0, 60))"""
        page.wait_for_timeout(300)
        assert page.eval_on_selector_all(".bd-article div.math", large) == []
        page.set_viewport_size({"width": 1280, "height": 740})
        page.wait_for_timeout(300)
        small = "boxes => boxes.filter(b => b.style.fontSize).length"
        assert page.eval_on_selector_all(".bd-article div.math", small) == 0


def test_the_facts_of_a_chapter_are_told_downwards_on_a_phone(browser: Any, address: str) -> None:
    with opened(browser, f"{address}/book/low_rank/lora.html") as (page, seen):
        page.evaluate("MathJax.startup.promise.then(() => true)")
        across = page.locator("main table").first
        heads = across.locator("thead th").all_inner_texts()
        cells = across.locator("tbody td").all_inner_texts()
        page.set_viewport_size({"width": 360, "height": 740})
        down = page.locator("main table.pft-down").first
        assert down.locator("th").all_inner_texts() == heads
        assert [t.split() for t in down.locator("td").all_inner_texts()] == [
            t.split() for t in cells
        ]
        box = down.bounding_box()
        assert box["x"] + box["width"] <= 360
        page.set_viewport_size({"width": 1280, "height": 740})
        assert page.locator("main table.pft-down").count() == 0
        assert across.locator("tbody td").all_inner_texts() == cells
        assert seen.none(), seen


@pytest.mark.parametrize("name", ["adapter", "prompt", "low_rank", "sparse", "others"])
def test_the_scores_of_a_family_are_seen_on_a_phone(browser: Any, address: str, name: str) -> None:
    """Scores are in sight or, where all columns cannot be, the names stay beside them."""
    phone = {"viewport": {"width": 360, "height": 740}}
    with opened(browser, f"{address}/book/{name}/index.html", **phone) as (page, _):
        tables = page.locator(".pst-scrollable-table-container:has(td.text-right)")
        assert tables.count() >= 1
        for i in range(tables.count()):
            ends = """box => { box.scrollLeft = 1e4; const at = box.getBoundingClientRect();
                const [first, last] = ["first", "last"].map(
                    (which) => box.querySelector(`tbody tr > :${which}-child`).getBoundingClientRect());
                return [first.left >= at.left - 1, last.right <= at.right + 1, last.left >= first.right - 1]; }"""
            assert all(tables.nth(i).evaluate(ends))


def test_no_name_covers_a_mark_in_the_trade_off_on_a_phone(browser: Any, address: str) -> None:
    phone = {"viewport": {"width": 360, "height": 740}}
    with opened(browser, f"{address}/book/comparison/explore.html", **phone) as (page, _):
        drawing = page.locator(".pft-tradeoff svg.pft-drawing")
        drawing.scroll_into_view_if_needed()
        page.wait_for_selector(".pft-tradeoff g[data-key]", state="attached")
        assert drawing.evaluate(COVERED) == []


@pytest.mark.parametrize("name", ["adapter/index", "low_rank/index", "methods"])
def test_heads_of_tables_are_no_towers_on_a_phone(browser: Any, address: str, name: str) -> None:
    phone = {"viewport": {"width": 360, "height": 740}}
    with opened(browser, f"{address}/book/{name}.html", **phone) as (page, _):
        heights = page.eval_on_selector_all(
            ".bd-content thead", "heads => heads.map(h => h.offsetHeight)"
        )
        assert heights and max(heights) < 110, heights


def test_on_paper_no_line_is_cut_and_nothing_is_folded(browser: Any, address: str) -> None:
    with opened(browser, f"{address}/book/low_rank/lora.html") as (page, _):
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 680, "height": 900})
        cut = """boxes => boxes.filter(b => b.scrollWidth > b.clientWidth + 1).map(b => b.innerText)"""
        assert page.eval_on_selector_all("article pre", cut) == []
        assert page.locator("details.pft-predict pre").first.is_visible()
        assert not page.locator(".pft-foot").is_visible()


# Search


def test_the_magnifying_glass_is_beside_what_is_typed(browser: Any, address: str) -> None:
    with opened(browser, f"{address}/search.html?q=LoRA") as (page, _):
        form = page.locator("main form.bd-search")
        icon, field = form.locator("i").bounding_box(), form.locator("input")
        inside = field.evaluate("field => parseFloat(getComputedStyle(field).paddingLeft)")
        assert field.bounding_box()["x"] + inside >= icon["x"] + icon["width"]


@pytest.mark.parametrize(
    ("word", "page"),
    [
        ("LoRA", "book/low_rank/lora.html"),
        ("rank", "book/low_rank/lora.html"),
        ("prefix", "book/methods/prefix_tuning.html"),
        ("NF4", "book/glossary.html"),
        ("BitFit", "book/methods/bitfit.html"),
    ],
)
def test_search_finds_the_page_of_a_word(browser: Any, address: str, word: str, page: str) -> None:
    with opened(browser, f"{address}/search.html?q={word}") as (results, seen):
        results.wait_for_selector("#search-results li a")
        results.wait_for_function("document.querySelector('.search-summary').textContent.length")
        found = results.eval_on_selector_all(
            "#search-results li > a", "links => links.map(link => new URL(link.href).pathname)"
        )
        assert f"/{page}" in found, found
        assert seen.none(), seen


def test_the_page_on_a_method_comes_first(browser: Any, address: str) -> None:
    with opened(browser, f"{address}/search.html?q=LoRA") as (page, _):
        first = page.locator("#search-results li > a").first
        assert first.get_attribute("href").startswith("book/low_rank/lora.html")


# Where a page stands, and its end


def order() -> list[str]:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    pages = [toc["root"]]
    for chapter in (chapter for part in toc["parts"] for chapter in part["chapters"]):
        pages.append(chapter["file"])
        for section in chapter.get("sections", ()):
            found = (path.relative_to(ROOT) for path in ROOT.glob(f"{section['glob']}.md"))
            pages += sorted(path.with_suffix("").as_posix() for path in found)
    return pages


def test_previous_and_next_follow_the_table_of_contents() -> None:
    pages = order()
    for i, name in enumerate(pages):
        text = (SITE / f"{name}.html").read_text(encoding="utf-8")
        for kind, neighbour in (("prev", pages[i - 1] if i else None), ("next", None)):
            if kind == "next" and i + 1 < len(pages):
                neighbour = pages[i + 1]
            link = re.search(rf'<a class="[^"]*{kind}[^"]*"\s+href="([^"]+)"', text)
            assert bool(link) == bool(neighbour), (name, kind)
            if link:
                assert urljoin(f"{name}.html", link[1]) == f"{neighbour}.html"


def test_each_page_can_be_cited_and_each_notebook_run(browser: Any, address: str) -> None:
    for name in PAGES:
        text = (SITE / name).read_text(encoding="utf-8")
        entry = re.search(r"@incollection\{.*?\n\}", text, re.DOTALL)
        assert entry, name
        assert entry[0].count("{") == entry[0].count("}")
        source = ROOT / name.replace(".html", ".ipynb")
        link = re.search(r'<a href="([^"]+\.ipynb)" download>', text)
        assert bool(link) == source.is_file(), name
        if link:
            file = SITE / urljoin(name, link[1])
            assert file.read_bytes() == source.read_bytes()
    with opened(browser, f"{address}/book/low_rank/lora.html") as (page, _):
        summary = page.locator("summary", has_text="Cite this page")
        summary.focus()
        page.keyboard.press("Enter")
        assert page.locator(".pft-foot pre").is_visible()


def test_each_page_has_a_description() -> None:
    """A sentence as search engines and messengers show it: without markup."""
    described = {}
    for name in PAGES:
        text = (SITE / name).read_text(encoding="utf-8")
        about = re.search(r'<meta property="og:description" content="([^"]*)"', text)
        if name != "book/references.html":  # which has no running text
            assert about and len(about[1]) > 40, name
            described[name] = about[1]
            assert f'<meta name="description" content="{about[1]}" />' in text, name
            assert not re.search(r"[<>$\\\\{}]|href|class=", html.unescape(about[1])), about[1]
    assert len(set(described.values())) == len(described)


# The page that is not there


@contextmanager
def like_pages(folder: Path, prefix: str) -> Iterator[str]:
    """A server that has `folder` under `prefix` and shows 404.html for all else, as Pages does."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            path = path.partition("?")[0]
            inside = path.startswith(prefix)
            return str(folder / path.removeprefix(prefix)) if inside else str(folder / "no such")

        def send_error(self, code: int, *_: Any, **__: Any) -> None:
            body = (folder / "404.html").read_bytes()
            self.send_response(code)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("prefix", ["/", "/name/"])
@pytest.mark.parametrize("missing", ["gone.html", "book/low_rank/deep/er/gone.html"])
def test_the_page_that_is_not_there_leads_back(browser: Any, prefix: str, missing: str) -> None:
    with like_pages(SITE, prefix) as address:
        page = browser.new_page()
        page.goto(f"{address}{prefix}{missing}", wait_until="load")
        page.wait_for_function("document.querySelector('base')")
        assert page.get_by_role("searchbox").input_value() == "gone"
        page.get_by_role("link", name="All methods").click()
        page.wait_for_url(f"{address}{prefix}book/methods.html")
        assert page.locator("article h1").count() == 1
        page.close()


# How far the reader is


def test_what_was_read_and_solved_is_marked_and_can_be_forgotten(
    browser: Any, address: str
) -> None:
    context = browser.new_context()
    start, lora = f"{address}/book/index.html", f"{address}/book/low_rank/lora.html"
    page = context.new_page()
    page.goto(start)
    assert not page.locator(".pft-progress").is_visible(), "nothing was read yet"
    page.goto(lora)
    store_holds(page)
    assert (
        page.get_by_label(re.compile("I have solved")).count()
        == page.locator("[class*='tag_check:']").count()
        > 5
    )
    page.get_by_label("I have solved exercise 2").check()
    page.get_by_label("I have read this chapter").focus()
    page.keyboard.press("Space")
    mark = page.locator(".bd-links .pft-read")
    assert mark.text_content().split() == ["✓", "read"]
    page.reload()
    assert page.get_by_label("I have solved exercise 2").is_checked()
    assert not page.get_by_label("I have solved exercise 1").is_checked()
    assert mark.count() == 1 and "LoRA" in page.locator(".bd-links a:has(.pft-read)").text_content()
    page.goto(start)
    total = len(numbered())
    said = page.locator(".pft-progress").inner_text()
    assert said.startswith(f"You have read 1 of {total} chapters and solved 1 exercise. Go on with")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Forget this").click()
    assert not page.locator(".pft-progress").is_visible()
    page.goto(lora)
    assert mark.count() == 0 and not page.get_by_label("I have solved exercise 2").is_checked()
    context.close()


def numbered() -> list[str]:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    return [c["file"] for part in toc["parts"] if part.get("numbered") for c in part["chapters"]]


def test_a_browser_that_keeps_nothing_is_offered_nothing(browser: Any, address: str) -> None:
    closed = "Object.defineProperty(window, 'localStorage', {get() { throw new Error('no'); }})"
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.add_init_script(closed)
    page.goto(f"{address}/book/sparse/index.html")
    assert page.locator(".pft-progress").count() == 0
    assert not [error for error in errors if "pft-progress" in error]
    page.close()
