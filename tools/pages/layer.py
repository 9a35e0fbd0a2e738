"""The drawing of a transformer layer, blue where it is frozen and orange where a method trains.

One drawing serves the map of the first page, which shows where every family acts, and the card of
each method, which shows where that one does.
"""

from collections.abc import Iterable

from pftlab.core.errors import UnknownName
from pftlab.facts import FAMILIES

WIDTH, HEIGHT, LABELS = 334, 560, 136  # the last: what the map has beside the layer, for names

# What stands in the layer: name → left, top, width, height, and what is written on it.
BOXES = {
    "embedding": (47, 508, 240, 36, "token embeddings"),
    "query": (47, 400, 78, 32, "query"),
    "key": (128, 400, 78, 32, "key"),
    "value": (209, 400, 78, 32, "value"),
    "attention": (47, 340, 240, 32, "attention"),
    "norm 1": (47, 268, 240, 32, "add and normalise"),
    "up": (47, 204, 240, 32, "feed-forward, up"),
    "down": (47, 144, 240, 32, "feed-forward, down"),
    "norm 2": (47, 80, 240, 32, "add and normalise"),
}
LINES = (
    "M167 508V448M86 448H248M86 448V432M167 448V432M248 448V432M86 400V372M167 400V372M248 400V372"
    "M167 340V300M167 268V236M167 204V176M167 144V112M167 80V44"
)


def beside(name: str) -> str:
    """A narrow piece at the right end of a box: something small next to its matrix."""
    left, top, width, height, _ = BOXES[name]
    return _piece(left + width - 17, top + 5, 12, height - 10)


def specks(name: str) -> str:
    """Single entries of a box."""
    left, top, width, height, _ = BOXES[name]
    spots = ((6, 5), (6, height - 12), (width - 13, 5), (width - 13, height - 12))
    return "".join(_piece(left + x, top + y, 7, 7, 1) for x, y in spots)


def across(x: int, y: int) -> str:
    """A piece on a line, that what flows there passes through."""
    return _piece(x - 14, y - 8, 28, 16)


def scale(x: int, y: int) -> str:
    """A vector that multiplies what flows there."""
    return f'<circle class="trained" cx="{x}" cy="{y}" r="8"/>'


def _piece(x: int, y: int, width: int, height: int, radius: int = 3) -> str:
    return (
        f'<rect class="trained" x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}"/>'
    )


PROMPT = "".join(_piece(x, 513, 14, 26) for x in (51, 68))
PREFIX = "".join(_piece(x, 378, 22, 16) for x in (173, 254))
MATRICES = ("query", "key", "value", "attention", "up", "down")
NORMS = ("norm 1", "norm 2")
EVERYWHERE = (*BOXES,)
ABOVE = '<text class="ink" x="167" y="26">to the next layer, then the head</text>'

# A site, or what a row of facts says in `where` → boxes that are trained as they stand, and pieces.
PLACES: dict[str, tuple[tuple[str, ...], str]] = {
    "sequence": ((), PROMPT),
    "attention.query": ((), beside("query")),
    "attention.key": ((), beside("key")),
    "attention.value": ((), beside("value")),
    "attention.keys_values": ((), PREFIX),
    "attention": ((), across(167, 320)),
    "ffn": ((), across(167, 128)),
    "stream": ((), across(167, 128)),
    "block": ((), across(167, 62)),
    "ffn.down.input": ((), scale(167, 190)),
    "every parameter": (EVERYWHERE, ""),
    "every parameter, from the top down": (EVERYWHERE, ""),
    "every weight": ((), "".join(map(specks, BOXES))),
    "every bias": ((), "".join(map(beside, (*MATRICES, *NORMS)))),
    "every layer norm": (NORMS, ""),
    "every linear map of the layers": ((), "".join(map(beside, MATRICES))),
    "every linear map of the layers; the rest in full": (EVERYWHERE, ""),
    "stream, and the word embeddings": ((), across(167, 128) + across(167, 478)),
    "the head": ((), '<rect class="trained" x="217" y="8" width="70" height="26" rx="6"/>'),
    "the last layers, and what follows them": (EVERYWHERE[1:], ""),
    "the upper layers, and what follows them": (EVERYWHERE[1:], ""),
}  # fmt: skip

# Of the map: family → the boxes that lead to it, its pieces, the line to its name, and the height
# of the name.
MAP: dict[str, tuple[tuple[str, ...], str, str, int]] = {
    "finetune": ((), "", "M320 64H345", 64),
    "adapter": ((), across(167, 320) + across(167, 128), "M181 128H345M181 320H304V128", 128),
    "others": (("up", "down"), scale(167, 190), "M175 190H345", 190),
    "sparse": (NORMS, specks("norm 1") + specks("norm 2"), "M287 284H345M287 96H331V284", 284),
    "low_rank": (
        ("query", "key", "value"), beside("query") + beside("value"), "M287 416H345", 416,
    ),
    "prompt": (
        ("embedding", "attention"), PROMPT + PREFIX, "M287 526H345M276 386H333V526", 526,
    ),
}  # fmt: skip


def places_of(where: str, at: Iterable[str]) -> tuple[str, ...]:
    """What of `PLACES` a method trains, by its facts.

    Raises:
        UnknownName: the drawing does not know a place.
    """
    named = (where,) if where in PLACES else tuple(where.split(", "))
    places = named if where else tuple(at)
    for place in places:
        if place not in PLACES:
            raise UnknownName("place in the drawing of a layer", place, PLACES)
    return places


def drawing_of_method(places: Iterable[str]) -> str:
    """The layer as an SVG, with these places, of `PLACES`, in orange."""
    trained = {name for place in places for name in PLACES[place][0]}
    boxes = "".join(_box(name, name in trained) for name in BOXES)
    return _svg(WIDTH, _frame() + boxes + "".join(PLACES[place][1] for place in places) + ABOVE)


def map_of_families() -> str:
    """The layer as an SVG with all families; each is a group that the page makes a link."""
    taken = {name for boxes, *_ in MAP.values() for name in boxes}
    boxes = "".join(_box(name, False) for name in BOXES if name not in taken)
    groups = ""
    for family, (own, pieces, lead, y) in MAP.items():
        hit = f'<rect class="hit" x="346" y="{y - 16}" width="{LABELS - 14}" height="32"/>'
        if family == "finetune":  # the whole layer; what the others have lies above it
            hit += '<rect class="hit" x="14" y="60" width="306" height="410" rx="10"/>'
        title = FAMILIES[family].title.capitalize()
        groups += (
            f'<g data-family="{family}">{hit}<path class="lead" d="{lead}"/>'
            f"{''.join(_box(name, False) for name in own)}{pieces}"
            f'<text class="ink head left" x="352" y="{y + 6}">{title}</text></g>'
        )
    return _svg(WIDTH + LABELS, _frame() + boxes + ABOVE + groups)


def _box(name: str, trained: bool) -> str:
    left, top, width, height, words = BOXES[name]
    kind = "trained" if trained else "frozen"
    middle = left + width // 2 - 8 * (width < 100)  # a small box has a piece at its right end
    return (
        f'<rect class="{kind}" x="{left}" y="{top}" width="{width}" height="{height}" rx="6"/>'
        f'<text class="ink" x="{middle}" y="{top + height // 2 + 5}">{words}</text>'
    )


def _frame() -> str:
    return (
        '<rect class="frame" x="14" y="60" width="306" height="410" rx="10"/>'
        '<text class="soft left" x="26" y="462">one layer</text>'
        f'<path class="line" d="{LINES}"/><path class="tip" d="M161 48L167 36L173 48Z"/>'
    )


def _svg(width: int, inside: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" role="group" '
        f'font-family="system-ui, sans-serif" font-size="16">{inside}</svg>'
    )
