"""Four bits a weight: where the levels lie, and what a block size costs in error.

Dettmers, Pagnoni, Holtzman and Zettlemoyer (2023), QLoRA: Efficient Finetuning of Quantized LLMs,
https://arxiv.org/abs/2305.14314, Section 3 and Appendix E
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets

from ...core.errors import BadValue
from ..plots import GREY, canvas, style
from .figure import InteractiveFigure, packed, unpacked

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAMPLE = 4096  # weights that are sent to the page
BLOCKS = tuple(2**k for k in range(4, 13))
_FP4 = (0.0, 0.0052083333, 1 / 6, 0.25, 1 / 3, 0.5, 2 / 3, 1.0)
# Format → its levels, from -1 to 1, upwards
LEVELS: dict[str, tuple[float, ...]] = {
    "NF4": (  # Appendix E
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
        -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
        0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
        0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
    ),
    "int4": tuple(k / 7 for k in range(-7, 8)),
    # as bitsandbytes has it: a sign, two bits of exponent and one of mantissa
    "fp4": (*(-level for level in reversed(_FP4[1:])), *_FP4),
}  # fmt: skip


class NF4Explorer(InteractiveFigure, script="nf4_explorer.js"):
    """Levels over a histogram of weights; error against block size, for NF4, int4 and fp4.

    Every block of weights is divided by its largest size, rounded to the nearest level, and
    multiplied back.

    Args:
        weights: a tensor or array of at least 4096 weights; the first 4096 are taken.
        format: "NF4", "int4" or "fp4", to begin with.
        block: weights that share a constant, to begin with: a power of two from 16 to 4096.

    Raises:
        BadValue: there are too few weights.
    """

    weights: traitlets.List[Any] = traitlets.List().tag(sync=True)
    levels = traitlets.Dict({name: list(values) for name, values in LEVELS.items()}).tag(sync=True)
    names: traitlets.List[str] = traitlets.List(list(LEVELS)).tag(sync=True)
    format = traitlets.Enum(tuple(LEVELS), "NF4").tag(sync=True)
    block = traitlets.Enum(BLOCKS, 64).tag(sync=True)

    def __init__(self, weights: Any, **chosen: Any):
        if hasattr(weights, "detach"):
            weights = weights.detach().float().cpu().numpy()
        flat = np.asarray(weights, dtype=np.float64).reshape(-1)[:SAMPLE]
        if len(flat) < SAMPLE or not np.isfinite(flat).all():
            raise BadValue(f"There are {len(flat)} weights; give a matrix of at least {SAMPLE}.")
        super().__init__(weights=packed(flat.reshape(-1, 64)), **chosen)

    def values(self) -> np.ndarray:
        """The weights (SAMPLE,)."""
        return unpacked(self.weights).reshape(-1)

    def quantised(self, format: str | None = None, block: int | None = None) -> np.ndarray:
        """The weights after the way to four bits and back (SAMPLE,)."""
        levels = np.array(LEVELS[format or self.format])
        blocks = self.values().reshape(-1, block or self.block)
        largest = np.abs(blocks).max(1, keepdims=True)
        largest[largest == 0] = 1
        nearest = np.abs((blocks / largest)[..., None] - levels).argmin(-1)
        return (levels[nearest] * largest).reshape(-1)

    def error(self, format: str | None = None, block: int | None = None) -> float:
        """‖W − W'‖ / ‖W‖."""
        weights = self.values()
        difference = np.linalg.norm(weights - self.quantised(format, block))
        return float(difference / (np.linalg.norm(weights) or 1))

    def bits(self) -> float:
        """Bits a weight: four, and its share of the block's constant of 32 bits."""
        return 4 + 32 / self.block

    def table(self) -> list[dict[str, Any]]:
        return [
            {"block": block} | {name: self.error(name, block) for name in LEVELS}
            for block in BLOCKS
        ]

    def figure(self) -> "Figure":
        rows = self.table()
        with style():
            figure, axes = canvas(7.2, 3.4)
            axes.grid(True)
            for name, colour, line in zip(
                LEVELS, ("#2f7ebc", GREY, GREY), ("-", "--", ":"), strict=True
            ):
                errors = [100 * row[name] for row in rows]
                axes.plot(BLOCKS, errors, line, color=colour, marker="o", label=name)
            axes.set_xscale("log", base=2)
            axes.set_xlabel("weights in a block")
            axes.set_ylabel("error, % of the norm")
            axes.legend(frameon=False, labelcolor=GREY)
        return figure

    def describe(self) -> str:
        return f"{SAMPLE} weights, {self.format}, blocks of {self.block}"
