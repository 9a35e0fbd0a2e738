"""JupyterLab with one notebook open, as a reader has it, with no settings of this computer's user."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from browser import PATIENCE

TOKEN = "figures"
# Lab draws the cells in sight and no others unless it is told to
ALL_CELLS = ("lab/user-settings/@jupyterlab/notebook-extension", "tracker.jupyterlab-settings")


@contextmanager
def jupyterlab(folder: Path, notebook: str, **environment: str) -> Iterator[str]:
    """The address at which JupyterLab shows `folder`/`notebook`."""
    settings = {f"JUPYTER_{kind}_DIR": str(folder / kind) for kind in ("CONFIG", "RUNTIME", "DATA")}
    place = folder / "CONFIG" / ALL_CELLS[0]
    place.mkdir(parents=True)
    (place / ALL_CELLS[1]).write_text(json.dumps({"windowingMode": "none"}))
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0"]
    command += [f"--notebook-dir={folder}", f"--IdentityProvider.token={TOKEN}", "--ip=127.0.0.1"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            cwd=folder,
            env={**os.environ, **settings, **environment},
        )
    try:
        yield f"{_address(folder / 'log', server)}lab/tree/{notebook}?token={TOKEN}"
    finally:
        server.terminate()
        server.wait(20)


def _address(log: Path, server: subprocess.Popen) -> str:
    for _ in range(PATIENCE // 500):
        found = re.search(r"http://127\.0\.0\.1:\d+/", log.read_text())
        if found:
            try:
                urllib.request.urlopen(f"{found[0]}api?token={TOKEN}", timeout=5)
                return found[0]
            except OSError:
                pass
        assert server.poll() is None, log.read_text()
        time.sleep(0.5)
    pytest.fail(log.read_text())


def wait_for_kernel(page: Any) -> None:
    """Until the notebook is drawn and its kernel waits, as the line at the bottom says."""
    page.set_default_timeout(PATIENCE)
    page.wait_for_selector(".jp-Notebook .jp-CodeCell .cm-content")
    page.get_by_text("| Idle").wait_for()


def run(page: Any, cell: Any) -> None:
    """Run a cell, a locator, and wait until it has been run."""
    prompt = cell.locator(".jp-InputPrompt")
    before = prompt.inner_text()
    cell.locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")
    for _ in range(PATIENCE // 100):
        now = prompt.inner_text()
        if now != before and re.search(r"\[\d+\]", now):
            return
        page.wait_for_timeout(100)
    pytest.fail(f"the cell did not finish: {prompt.inner_text()}")
