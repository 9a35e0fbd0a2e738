"""What the interactive figures have in common: one script, one look, a figure that stands still.

A widget is sent to the browser as one file. There is no bundler and no network: the common module
and the widget's own script are put one behind the other when the class is made.
"""

import base64
import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets
from PIL import Image

from ...core.errors import Unavailable
from ...facts import FAMILIES
from ..plots import MEMORY, save_image

try:
    import anywidget
except ImportError as error:  # the package works without; the figures of the book do not
    raise Unavailable(
        "Interactive figures need anywidget. Install it with: pip install 'pftlab[notebook]'."
    ) from error

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HERE = Path(__file__).parent
COLOURS = 128  # of a still figure


def source(*names: str) -> str:
    """The files of this folder with these names, one behind the other."""
    return "\n".join((HERE / name).read_text(encoding="utf-8") for name in names)


def colours() -> str:
    """The colours of families and of memory, as the style sheet of a figure has them."""
    named = {name: family.colour for name, family in FAMILIES.items()}
    named |= {part: colour for part, (_, colour) in MEMORY.items()}
    return ".pft-widget {" + " ".join(f"--pft-{name}: {c};" for name, c in named.items()) + "}"


def packed(rows: Iterable[Iterable[float]]) -> list[str]:
    """A text for each row of numbers: a notebook keeps it on one line, not on one a number."""
    return [" ".join(f"{number:.5g}" for number in row) for row in rows]


def unpacked(rows: Iterable[str]) -> np.ndarray:
    """The numbers of `packed`, (rows, columns)."""
    return np.array([[float(number) for number in row.split()] for row in rows])


class InteractiveFigure(anywidget.AnyWidget):
    """Base class: `class Name(InteractiveFigure, script="name.js")`.

    A notebook stores the state of a figure with the keys of its dictionaries sorted. Where an order
    is meant, the state has a list.

    Data that is large is no part of the state: the script asks for it by name, `fetched(model,
    name)` in common.js. A page of the site has it in a file beside the page (see `stored_data`);
    in a live notebook `fetched` of the figure answers. Data that is not the book's own stands in
    `inline`, name → data, so that it travels with the state.

    Subclasses draw the same state as a still `figure`, which printed pages and viewers without
    scripts show, and list its data as a `table`.
    """

    inline = traitlets.Dict().tag(sync=True)

    def __init__(self, **state: Any):
        super().__init__(**state)
        self.on_msg(self._answer)

    def _answer(self, _: Any, message: Any, buffers: Any) -> None:
        if isinstance(message, dict) and isinstance(name := message.get("ask"), str):
            self.send({"name": name, "data": self.fetched(name)})

    def fetched(self, name: str) -> Any:
        """The data that the script asks for as `name`."""
        raise KeyError(name)

    def __init_subclass__(cls, script: str = "", **options: Any) -> None:
        if script:
            cls._esm = source("common.js", script)
            cls._css = f"{colours()}\n{source('common.css')}"
        super().__init_subclass__(**options)

    def figure(self) -> "Figure":
        """What the reader sees now, as a matplotlib figure."""
        raise NotImplementedError

    def table(self) -> list[dict[str, Any]]:
        """The data behind what the reader sees now, one dictionary a row."""
        raise NotImplementedError

    def describe(self) -> str:
        """What it holds, in a few words that are the same in every run."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.describe()})"

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict, dict] | None:
        shown = super()._repr_mimebundle_(**options)
        if shown is None:
            return None
        data, metadata = shown
        return {**data, "image/png": base64.b64encode(_small(self.figure())).decode()}, metadata


def _small(figure: "Figure") -> bytes:
    """A figure as PNG with as many colours as a drawing needs: a third of the bytes."""
    drawn, small = io.BytesIO(), io.BytesIO()
    save_image(figure, drawn)
    image = Image.open(drawn).convert("RGBA")
    image.quantize(COLOURS, method=Image.Quantize.FASTOCTREE).save(small, "PNG", optimize=True)
    return small.getvalue()
