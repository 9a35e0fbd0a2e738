"""The page "Train it here", as its reader uses it: from disk, with the keyboard, on a phone."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from axe import violations
from browser import opened
from test_site import SITE

ADDRESS = f"{SITE.as_uri()}/book/live/train.html"
LOADED = 6_600_000  # bytes, when the reader asks for it
pytestmark = pytest.mark.site


@pytest.fixture(scope="module")
def trained(browser: Any) -> Iterator[tuple[Any, Any]]:
    """The page on a phone, behind a run of the head alone that the keyboard has started."""
    options = {"viewport": {"width": 360, "height": 740}, "reduced_motion": "reduce"}
    with opened(browser, ADDRESS, **options) as (page, seen):
        page.add_style_tag(content="* { transition: none !important; }")
        controls = page.locator("#pft-live")
        controls.get_by_label("method").nth(0).select_option("linear_probe")
        controls.get_by_label("method").nth(1).select_option("")
        controls.get_by_label("steps", exact=True).select_option("30")
        page.get_by_role("button", name="Train").focus()
        said(page)
        page.keyboard.press("Enter")
        until(page, "Training")
        yield page, seen


def said(page: Any) -> None:
    """Keep what the live region says from now on."""
    page.evaluate(
        """() => {
            globalThis.said = [];
            const region = document.querySelector("#pft-live [role=status]");
            new MutationObserver(() => said.push(region.textContent)).observe(region, { childList: true });
        }"""
    )


def until(page: Any, words: str) -> None:
    page.wait_for_function(
        """words => {
            const text = document.querySelector("#pft-live [role=status]").textContent;
            if (text.startsWith("It stopped")) throw new Error(text);
            return text.startsWith(words);
        }""",
        arg=words,
        timeout=300_000,
    )


def test_a_run_from_disk_can_be_paused_and_ends_better_than_it_began(trained: Any) -> None:
    page, seen = trained
    page.get_by_role("button", name="Pause").press("Enter")
    until(page, "Paused")
    paused = page.evaluate("document.querySelector('#pft-live progress').value")
    page.wait_for_timeout(300)
    assert page.evaluate("document.querySelector('#pft-live progress').value") <= paused + 1 / 30
    page.get_by_role("button", name="Go on").press("Enter")
    until(page, "Done")
    words = page.locator("#pft-live [role=status]").text_content()
    accuracy = float(re.search(r"Linear probe ([\d.]+) %", words)[1])
    assert accuracy > 60
    cells = page.locator("#pft-live tbody tr td").all_text_contents()
    assert cells[0] == "the head"
    assert float(cells[2].split()[0]) < accuracy, cells
    assert len(page.evaluate("said")) < 12, "the live region chatters"
    assert seen.none(), seen


def test_it_answers_a_sentence_before_and_after(trained: Any) -> None:
    page, _ = trained
    until(page, "Done")
    page.get_by_label("a review of your own").fill("It was a wonderful, lovely film.")
    page.keyboard.press("Enter")
    answer = page.locator(".pft-live-answer")
    answer.wait_for()
    assert re.search(r"before: .*now: positive", answer.text_content())
    share = float(re.search(r"now: positive, ([\d.]+) %", answer.text_content())[1])
    bar = page.locator(".pft-live-bar").last
    drawn = bar.evaluate("e => 100 * e.firstChild.clientWidth / e.clientWidth")
    assert abs(drawn - share) < 2


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_is_shown_fits_a_phone_and_can_be_read(trained: Any, theme: str) -> None:
    page, _ = trained
    until(page, "Done")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert violations(page, theme) == []
    labels = page.locator("#pft-live svg").evaluate_all(
        "all => all.map(e => e.ariaLabel || e.getAttribute('aria-label'))"
    )
    assert len(labels) >= 3
    assert all(label and "undefined" not in label and "NaN" not in label for label in labels)


def test_the_two_runs_leave_blue_and_orange_to_frozen_and_trained(browser: Any) -> None:
    with opened(browser, ADDRESS) as (page, _):
        colour = "legend => getComputedStyle(legend).color"
        seen = [page.locator(f"#pft-live legend.run-{i}").first.evaluate(colour) for i in (0, 1)]
        assert len(set(seen)) == 2
        for rgb in seen:
            red, green, blue = map(int, re.findall(r"\d+", rgb)[:3])
            assert max(red, green, blue) - min(red, green, blue) < 40, "a grey"


def test_reset_makes_room_for_another_method(trained: Any) -> None:
    page, seen = trained
    until(page, "Done")
    page.get_by_role("button", name="Reset").click()
    until(page, "Reset")
    page.locator("#pft-live").get_by_label("method").nth(0).select_option("lora")
    page.get_by_label("attention.query").uncheck()
    page.get_by_label("attention.value").uncheck()
    page.get_by_role("button", name="Train").click()
    until(page, "LoRA has no matrix")
    assert seen.none(), seen


@pytest.mark.full
def test_a_stranger_comes_from_the_first_screen_to_a_trained_model(
    browser: Any, address: str
) -> None:
    """With three presses and nothing chosen, in under a minute of the processor.

    That is of all the browser's processes; `benchmarks/train_in_page.py` tells the times.
    """
    control = browser.new_browser_cdp_session()

    def spent() -> float:
        return sum(p["cpuTime"] for p in control.send("SystemInfo.getProcessInfo")["processInfo"])

    before = spent()
    with opened(browser, f"{address}/book/index.html") as (page, seen):
        page.get_by_role("link", name="Train a model in your browser").click()
        page.get_by_role("button", name="Train").click()
        until(page, "Done")
        words = page.locator("#pft-live [role=status]").text_content()
        assert float(re.search(r"LoRA ([\d.]+) %", words)[1]) > 70
        page.get_by_role("button", name="Ask both").click()
        page.locator(".pft-live-answer").nth(1).wait_for()
        assert page.locator(".pft-live-answer").count() == 2
        assert spent() - before < 60
        assert seen.none(), seen


def test_the_page_says_what_it_loads(browser: Any) -> None:
    parts = SITE / "_static" / "live" / "parts"
    size = sum(path.stat().st_size for path in parts.iterdir() if path.name != "choices.js")
    assert size < LOADED
    with opened(browser, ADDRESS) as (page, _):
        assert f"{size / 1e6:.1f} MB" in page.locator(".pft-live-note").text_content()
        asked = page.evaluate("performance.getEntriesByType('resource').map(e => e.name)")
        assert not [name for name in asked if "weights" in name or "program" in name]
