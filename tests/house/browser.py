"""A real browser without a network, and a server that shows it a built book."""

import functools
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
# Names in a drawing that are cut, or stand over a mark or over another name.
COVERED = """svg => {
    const inside = svg.getBoundingClientRect(), middle = ({ x, y, width, height }) => [x + width / 2, y + height / 2];
    const names = [...svg.querySelectorAll("text.pft-label")].map((text) => [text.textContent, text.getBoundingClientRect()]);
    const marks = [...svg.querySelectorAll("g[data-key] .pft-halo")].map((mark) => middle(mark.getBoundingClientRect()));
    const found = [];
    names.forEach(([name, a], i) => {
        if (a.left < inside.left - 1 || a.right > inside.right + 1) found.push([name, "is cut"]);
        for (const [x, y] of marks) if (x > a.left && x < a.right && y > a.top + 2 && y < a.bottom - 2) found.push([name, "is over a mark"]);
        for (const [other, b] of names.slice(i + 1)) {
            const across = Math.min(a.right, b.right) - Math.max(a.left, b.left), up = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
            if (across > 2 && up > 4) found.push([name, "is over", other]);
        }
    });
    return found;
}"""
PATIENCE = 150_000  # milliseconds by the clock for what a page does, also on a busy machine


@dataclass
class Seen:
    """What went wrong while a page was open."""

    outside: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def none(self) -> bool:
        return not (self.outside or self.failed or self.errors)


@contextmanager
def launched() -> Iterator[Any]:
    """Chromium; a reader's machine without it skips, continuous integration must have it."""
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is missing, and continuous integration must have it.")
        pytest.skip("Chromium is not installed: the browser tests are left out.")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


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
def opened(browser: Any, address: str, **options: Any) -> Iterator[tuple[Any, Seen]]:
    """(page, what went wrong on it)."""
    page, seen = browser.new_page(**options), Seen()
    page.set_default_timeout(PATIENCE)
    parts = urlsplit(address)
    own = f"{parts.scheme}://{parts.netloc}/"

    def request(request: Any) -> None:
        if not request.url.startswith((own, "data:", "blob:")):
            seen.outside.append(request.url)

    def response(response: Any) -> None:
        if response.status >= 400:
            seen.failed.append(f"{response.status} {response.url}")

    page.on("request", request)
    page.on("response", response)
    page.on("requestfailed", lambda request: seen.failed.append(request.url))
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.goto(address, wait_until="load")
    yield page, seen
    page.close()


def store_holds(page: Any) -> None:
    """Return when what this page writes into the browser's store is there after a reload.

    Chromium can lose what the first document of a new window writes, when it comes from disk: of
    130 windows with one line of script 7 lost it for good, and never what was written after it was
    seen to hold. A reader's answers are to be kept, so the test must begin where they can be.
    """
    key = "held by the browser itself"
    for _ in range(20):
        page.evaluate("key => localStorage.setItem(key, key)", key)
        page.reload()
        if page.evaluate("key => localStorage.getItem(key)", key) == key:
            page.evaluate("key => localStorage.removeItem(key)", key)
            return
    pytest.fail("The browser keeps nothing between two loads of a page.")
