"""The unified view: a method is a function, what it changes, how it is inserted and composed.

He, Zhou, Ma, Berg-Kirkpatrick and Neubig (2022), Towards a Unified View of Parameter-Efficient
Transfer Learning, https://arxiv.org/abs/2110.04366, Section 3 and Table 1
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import traitlets

from ..plots import GREY, canvas, style
from .figure import InteractiveFigure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHOICES: dict[str, dict[str, str]] = {  # dimension of the design → value → words
    "site": {
        "projections": "query and value projections",
        "heads": "each attention head",
        "attention": "attention sub-layer",
        "ffn": "feed-forward sub-layer",
    },
    "function": {
        "softmax": "softmax(z W₁) W₂",
        "relu": "ReLU(z W₁) W₂",
        "linear": "z W₁ W₂",
    },
    "form": {"sequential": "sequential, behind it", "parallel": "parallel, beside it"},
    "composition": {
        "add": "h + Δh",
        "scaled": "h + s · Δh",
        "gated": "(1 − λ) h + λ Δh",
    },
}


class Design(NamedTuple):
    """A point of the design space that has a name.

    Attributes:
        name: in the literature.
        site, function, form, composition: keys of `CHOICES`.
        code: the same in this package; "" where it is not there.
    """

    name: str
    site: str
    function: str
    form: str
    composition: str
    code: str = ""


DESIGNS = (
    Design("Prefix tuning", "heads", "softmax", "parallel", "gated", "pft.PrefixTuning()"),
    Design(
        "Adapter behind attention", "attention", "relu", "sequential", "add",
        'pft.Houlsby(activation="relu", at=("attention",))',
    ),
    Design(
        "Adapter behind the feed-forward network", "ffn", "relu", "sequential", "add",
        'pft.Houlsby(activation="relu", at=("ffn",))',
    ),
    Design("LoRA", "projections", "linear", "parallel", "scaled", "pft.LoRA()"),
    Design(
        "Parallel adapter beside attention", "attention", "relu", "parallel", "add",
        'pft.ParallelAdapter(scale=1.0, at=("attention",))',
    ),
    Design(
        "Parallel adapter beside the feed-forward network", "ffn", "relu", "parallel", "add",
        "pft.ParallelAdapter(scale=1.0)",
    ),
    Design("Multi-head parallel adapter", "heads", "relu", "parallel", "add"),
    Design(
        "Scaled parallel adapter beside attention", "attention", "relu", "parallel", "scaled",
        'pft.ParallelAdapter(at=("attention",))',
    ),
    Design(
        "Scaled parallel adapter beside the feed-forward network", "ffn", "relu", "parallel",
        "scaled", "pft.ParallelAdapter()",
    ),
)  # fmt: skip


class PlacementExplorer(InteractiveFigure, script="placement_explorer.js"):
    """Choose a design in the unified view; see its name, its equation and the path of the data.

    Args:
        **chosen: `site`, `function`, `form` and `composition` to begin with: keys of `CHOICES`.
    """

    choices: traitlets.List[Any] = traitlets.List(
        [[name, [list(option) for option in options.items()]] for name, options in CHOICES.items()]
    ).tag(sync=True)
    designs: traitlets.List[Any] = traitlets.List([design._asdict() for design in DESIGNS]).tag(
        sync=True
    )
    site = traitlets.Enum(tuple(CHOICES["site"]), "projections").tag(sync=True)
    function = traitlets.Enum(tuple(CHOICES["function"]), "linear").tag(sync=True)
    form = traitlets.Enum(tuple(CHOICES["form"]), "parallel").tag(sync=True)
    composition = traitlets.Enum(tuple(CHOICES["composition"]), "scaled").tag(sync=True)

    def distance(self, design: Design) -> int:
        """In how many choices `design` differs from what is chosen."""
        return sum(getattr(design, name) != getattr(self, name) for name in CHOICES)

    def design(self) -> Design | None:
        """What is chosen, if it has a name."""
        return next((design for design in DESIGNS if not self.distance(design)), None)

    def nearest(self) -> list[Design]:
        """The named designs with the fewest differences from what is chosen."""
        least = min(map(self.distance, DESIGNS))
        return [design for design in DESIGNS if self.distance(design) == least]

    def table(self) -> list[dict[str, Any]]:
        return [
            {"name": design.name}
            | {name: CHOICES[name][getattr(design, name)] for name in CHOICES}
            | {"here": design.code}
            for design in DESIGNS
        ]

    def figure(self) -> "Figure":
        """Table 1 of the paper, with the chosen design marked."""
        here = self.design()
        rows = [list(row.values())[:-1] for row in self.table()]
        with style():
            figure, axes = canvas(9.5, 3.2)
            axes.axis("off")
            shown = axes.table(
                rows, colLabels=["method", *CHOICES], loc="center", cellLoc="left",
                colWidths=[0.34, 0.2, 0.14, 0.17, 0.15],
            )  # fmt: skip
            shown.auto_set_font_size(False)
            shown.set_fontsize(9)
            shown.scale(1, 1.5)
            for (row, _), cell in shown.get_celld().items():
                chosen = row and here == DESIGNS[row - 1]
                cell.set(facecolor="none", edgecolor=GREY, linewidth=0.5)
                cell.get_text().set(color=GREY, fontweight="bold" if chosen else "normal")
        return figure

    def describe(self) -> str:
        found = self.design()
        return found.name if found else "no name"
