"""What a reader waits for: weight, requests and time of each page of the built book.

    python benchmarks/page_weight.py                        all pages, on a slowed processor
    python benchmarks/page_weight.py book/low_rank/lora     one page, with its heaviest files
    python benchmarks/page_weight.py --slow 1               at this computer's own speed

Build the book first. Each page is opened in Chromium with an empty cache, without a network, from
a server on this computer. Weight is what a web server sends: text through gzip, fonts and pictures
as they are. A page is interactive when it has been parsed and the last task of its first seconds
that held the processor for more than 50 ms is over; `--slow` divides the processor's speed, and 4
is a middling phone. The times of the connection come on top: at 10 Mbit/s a megabyte takes 0.8 s.

Found with Chromium 156, in parentheses with the theme's files as they come (tools/pages/weight.py);
times are those of a quiet core slowed 4 times, of Chromium 150:

    the first page (index)                 129 kB
    the trade-off (comparison/explore)     222 kB          its data come when they are asked for
    the page that trains (live/train)      132 kB          and 6.5 MB when its reader presses Train
    plain text (references)                120 kB  (863)    paint 0.6 s   ready 0.7 s
    a page with formulas (glossary)        446 kB
    a chapter (low_rank/lora)              719 kB (1307)    paint 0.8 s   ready 3.0 s
"""

import argparse
import functools
import gzip
import http.server
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "_build" / "html"
QUIET = 1000  # milliseconds after "load" in which late tasks and late files still count
PACKED = (".woff", ".woff2", ".png", ".jpg", ".gz")  # gzip gains nothing on these
WATCH = """
window.longTasks = [];
new PerformanceObserver((list) => {
  for (const task of list.getEntries()) window.longTasks.push([task.startTime, task.duration]);
}).observe({ type: "longtask", buffered: true });
"""


@dataclass(frozen=True)
class Page:
    """What loading one page took."""

    name: str
    files: tuple[tuple[int, str], ...]  # bytes as sent, address; the heaviest first
    first_paint: float  # seconds, as the next two
    interactive: float
    blocked: float  # of the long tasks, what is over 50 ms each

    @property
    def weight(self) -> int:
        return sum(size for size, _ in self.files)


def weight_of(address: str, body: bytes) -> int:
    """Bytes that a web server sends."""
    packed = address.partition("?")[0].endswith(PACKED)
    return len(body) if packed else len(gzip.compress(body, 6, mtime=0))


def measure(browser: Any, address: str, name: str, slow: float, quiet: int = QUIET) -> Page:
    """Open a page with an empty cache and look at what happens."""
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script(WATCH)
    control = context.new_cdp_session(page)
    control.send("Emulation.setCPUThrottlingRate", {"rate": slow})
    answers: list[Any] = []
    page.on("response", lambda answer: answers.append(answer))
    page.goto(f"{address}/{name}", wait_until="load")
    page.wait_for_timeout(quiet)
    times = page.evaluate(
        """() => ({
          parsed: performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd,
          paint: performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0,
          tasks: window.longTasks,
        })"""
    )
    files = [
        (weight_of(answer.url, answer.body()), answer.url.removeprefix(address))
        for answer in answers
        if answer.url.startswith(address)  # modules of widgets come out of the page itself
    ]
    context.close()
    ends = [start + length for start, length in times["tasks"]]
    return Page(
        name,
        tuple(sorted(files, reverse=True)),
        times["paint"] / 1000,
        max([times["parsed"], *ends]) / 1000,
        sum(length - 50 for _, length in times["tasks"]) / 1000,
    )


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server of `folder`."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser without a network."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        raise SystemExit("Chromium is missing (Debian, Ubuntu: apt install chromium).")
    flags = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pages", nargs="*", help="such as book/low_rank/lora; by default all")
    parser.add_argument("--slow", type=float, default=4.0, help="divide the processor's speed")
    options = parser.parse_args()
    if not (SITE / "book").is_dir():
        raise SystemExit("There is no built book. First: make book")
    names = [f"{page.removesuffix('.html')}.html" for page in options.pages]
    names = names or sorted(p.relative_to(SITE).as_posix() for p in SITE.glob("book/**/*.html"))
    print(f"{'page':34} {'kB':>6} {'files':>6} {'paint':>7} {'ready':>7} {'blocked':>8}")
    with chromium() as browser, served(SITE) as address:
        for name in names:
            page = measure(browser, address, name, options.slow)
            print(
                f"{page.name:34} {page.weight / 1000:6.0f} {len(page.files):6} "
                f"{page.first_paint:6.2f}s {page.interactive:6.2f}s {page.blocked:7.2f}s"
            )
            if options.pages:
                for size, file in page.files[:15]:
                    print(f"  {size / 1000:8.1f}  {file}")


if __name__ == "__main__":
    main()
