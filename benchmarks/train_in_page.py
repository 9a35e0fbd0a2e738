"""The page that trains a model: time of a step by method, and a stranger's way to a trained model.

    python benchmarks/train_in_page.py              both; the way needs the built book (make book)
    python benchmarks/train_in_page.py lora full    steps of these methods alone

A step is one of 16 texts, of at most 35 tokens. Its time is that of the processor, so that other
work on this computer does not count; on a quiet one the clock says the same.

Found on two cores shared by a dozen programs, Chromium 156: milliseconds of the processor a step,
and in parentheses with the library's tape, padded texts, and a pass for every sign of a formula:

    linear_probe        66  (79)      lora everywhere    145  (222)
    bitfit             133 (179)      houlsby            129  (192)
    ia3                141 (175)      prompt_tuning      190  (227)
    lora               136 (172)      full               190  (281)

A stranger's way: three presses and an answer, with nothing chosen. Seconds by the clock on two
cores with one other program, and of the processor, of all the browser's processes together:

    opens the first page                               0.4     0.4 of the processor
    follows “Train a model in your browser”            0.5     0.5
    presses Train; 6.5 MB are loaded                   1.4     1.6
    watches 60 steps of LoRA and of the head alone    20.8    23.9
    asks both about a sentence                         0.2     0.1
    all of it                                         23.2    26.6
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from page_weight import SITE, chromium, served

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]
from pages import live  # noqa: E402

STEPS = 30
SHAPE = {"layers": 4, "heads": 4, "width": 128, "inner": 512}
QUERY_VALUE = ["attention.query", "attention.value"]
# name → options in the page
METHODS: dict[str, dict[str, Any]] = {
    "linear_probe": {},
    "bitfit": {},
    "ia3": {},
    "lora": {"rank": 8, "alpha": 16, "at": QUERY_VALUE},
    "lora everywhere": {"rank": 8, "alpha": 16, "at": list(live.LORA_SITES)},
    "houlsby": {"bottleneck": 16},
    "prompt_tuning": {"length": 10},
    "full": {},
}
OPEN = """async ({kernels, weights, language, shape}) => {
    await startKernels(kernels);
    globalThis.base = new Base(bytesOf(weights), shape);
    globalThis.tokenizer = new Tokenizer(language);
}"""
TRAIN = """({method, options, texts, steps}) => {
    const model = new Model(base, method, options, new Draw(0));
    const rows = texts.map(([text]) => tokenizer.encode(text));
    const labels = texts.map(([, label]) => label);
    for (let step = 0; step < steps; step++) {
        const from = (16 * step) % rows.length;
        model.step(rows.slice(from, from + 16), labels.slice(from, from + 16), 1e-3);
    }
    model.dispose();
}"""


def step_times(browser: Any, names: list[str]) -> dict[str, float]:
    """Method → seconds of the processor that a step takes."""
    page = browser.new_page()
    page.add_script_tag(content=live.program(*live.MODULES))
    parts = live.parts()
    page.evaluate(
        OPEN, {n: parts[n] for n in ("kernels", "weights", "language")} | {"shape": SHAPE}
    )
    control = page.context.new_cdp_session(page)
    control.send("Performance.enable", {"timeDomain": "threadTicks"})

    def spent() -> float:
        found = control.send("Performance.getMetrics")["metrics"]
        return next(each["value"] for each in found if each["name"] == "TaskDuration")

    times = {}
    for name in names:
        run = {
            "method": name.split()[0],
            "options": METHODS[name],
            "texts": parts["reviews"]["train"][:160],
        }
        page.evaluate(TRAIN, run | {"steps": 2})  # until the scripts are compiled
        before = spent()
        page.evaluate(TRAIN, run | {"steps": STEPS})
        times[name] = (spent() - before) / STEPS
    page.close()
    return times


def way(browser: Any, address: str) -> Iterator[tuple[str, float, float]]:
    """What a stranger does from the first screen on: words, seconds, seconds of the processor.

    The processor's time is that of the whole browser, all its processes together.
    """
    page = browser.new_page()
    status = page.locator("#pft-live [role=status]")
    control = browser.new_browser_cdp_session()

    def spent() -> float:
        return sum(p["cpuTime"] for p in control.send("SystemInfo.getProcessInfo")["processInfo"])

    def press(name: str, role: str = "button") -> None:
        page.get_by_role(role, name=name, exact=True).click()

    def train() -> None:
        press("Train")
        status.get_by_text("Training").wait_for(timeout=300_000)

    def ask() -> None:
        press("Ask both")
        page.locator(".pft-live-answer").first.wait_for()

    actions: dict[str, Callable[[], Any]] = {
        "opens the first page": lambda: page.goto(f"{address}/book/index.html"),
        "follows “Train a model in your browser”": lambda: press(
            "Train a model in your browser", "link"
        ),
        "presses Train; 6.5 MB are loaded": train,
        "watches 60 steps of LoRA and of the head alone": lambda: status.get_by_text(
            "Done"
        ).wait_for(timeout=300_000),
        "asks both about a sentence": ask,
    }
    for words, action in actions.items():
        start, before = time.perf_counter(), spent()
        action()
        yield words, time.perf_counter() - start, spent() - before
    page.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "methods", nargs="*", choices=[*METHODS, []], metavar="method", help="by default all"
    )
    names = parser.parse_args().methods
    with chromium() as browser:
        for name, seconds in step_times(browser, names or list(METHODS)).items():
            print(f"{name:16} {1000 * seconds:6.0f} ms a step, {1 / seconds:4.1f} steps a second")
        if not names and (SITE / "book").is_dir():
            with served(SITE) as address:
                took = list(way(browser, address))
            for words, clock, processor in took:
                print(f"{clock:6.1f} s by the clock {processor:6.1f} s of the processor  {words}")
            clock, processor = sum(t[1] for t in took), sum(t[2] for t in took)
            print(f"{clock:6.1f} s by the clock {processor:6.1f} s of the processor  all of it")


if __name__ == "__main__":
    main()
