"""Pictures of every page of the built book: light, dark, and on a phone; to be looked at.

    python benchmarks/screenshots.py pictures
    python benchmarks/screenshots.py pictures book/low_rank/lora book/index

A long page is cut into columns beside one another, so that one picture shows it whole.
"""

import argparse
import io
from pathlib import Path

from page_weight import SITE, chromium, served
from PIL import Image

LOOKS = {"light": (1280, "light"), "dark": (1280, "dark"), "phone": (360, "light")}
COLUMN = 2600  # pixels


def beside(picture: Image.Image) -> Image.Image:
    """The picture in columns from left to right."""
    columns = -(-picture.height // COLUMN)
    whole = Image.new("RGB", (columns * (picture.width + 20), min(COLUMN, picture.height)), "#888")
    for i in range(columns):
        part = picture.crop((0, i * COLUMN, picture.width, min((i + 1) * COLUMN, picture.height)))
        whole.paste(part, (i * (picture.width + 20), 0))
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("pages", nargs="*", help="such as book/low_rank/lora; by default all")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    names = [f"{page.removesuffix('.html')}.html" for page in options.pages]
    names = names or sorted(p.relative_to(SITE).as_posix() for p in SITE.glob("book/**/*.html"))
    with chromium() as browser, served(SITE) as address:
        for look, (width, scheme) in LOOKS.items():
            page = browser.new_page(
                viewport={"width": width, "height": 900},
                color_scheme=scheme,
                reduced_motion="reduce",
            )
            page.add_init_script(f"localStorage.setItem('mode', '{scheme}')")
            for name in names:
                page.goto(f"{address}/{name}", wait_until="load")
                page.evaluate("globalThis.MathJax?.startup?.promise?.then(() => true)")
                page.wait_for_timeout(300)  # figures are drawn after the page
                picture = Image.open(io.BytesIO(page.screenshot(full_page=True)))
                file = name.removeprefix("book/").removesuffix(".html").replace("/", "-")
                beside(picture.convert("RGB")).save(options.folder / f"{file}-{look}.png")
            page.close()
    print(f"{3 * len(names)} pictures in {options.folder}")


if __name__ == "__main__":
    main()
