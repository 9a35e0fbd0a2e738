"""How well a matrix of low rank reconstructs a measured change of weights."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets

from ...core.errors import BadValue
from ..plots import GREY, canvas, style
from .figure import InteractiveFigure, packed, unpacked

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CORNER = 24  # rows and columns of the part that is drawn
UNIT = 1e-3  # in which the entries of singular vectors are sent: enough for a picture


class LowRankExplorer(InteractiveFigure, script="low_rank_explorer.js"):
    """Singular values of ΔW, the reconstruction at rank r, the energy kept, the parameters used.

    The best approximation of rank r, in the Frobenius norm, is the sum of the first r terms of
    the singular value decomposition (Eckart and Young, 1936).

    Args:
        changes: name → ΔW (d_out, d_in), a tensor or an array: how a training changed a weight.
        rank: r, to begin with.

    Raises:
        BadValue: a change is no matrix, or is zero.
    """

    matrices = traitlets.Dict().tag(sync=True)
    unit = traitlets.Float(UNIT).tag(sync=True)
    names: traitlets.List[str] = traitlets.List().tag(sync=True)
    name = traitlets.Unicode().tag(sync=True)
    rank = traitlets.Int(8).tag(sync=True)

    def __init__(self, changes: Mapping[str, Any], rank: int = 8):
        matrices = {name: _decompose(name, change) for name, change in changes.items()}
        if not matrices:
            raise BadValue("There are no changes to show. Give at least one name and matrix.")
        names = list(matrices)
        super().__init__(matrices=matrices, names=names, name=names[0], rank=rank)

    def values(self) -> np.ndarray:
        """The singular values of the chosen ΔW, largest first (k,)."""
        return unpacked(self.matrices[self.name]["values"])[0]

    def energy(self) -> float:
        """The share of the squared norm that rank r keeps: Σ_{i ≤ r} σᵢ² / Σ σᵢ²."""
        squares = np.square(self.values())
        return float(squares[: self.rank].sum() / squares.sum())

    def error(self) -> float:
        """‖ΔW − ΔWᵣ‖ / ‖ΔW‖, in the Frobenius norm."""
        return float(np.sqrt(max(0.0, 1 - self.energy())))

    def parameters(self) -> int:
        """Of B (d_out, r) and A (r, d_in)."""
        return self.rank * sum(self.matrices[self.name]["shape"])

    def table(self) -> list[dict[str, Any]]:
        values = self.values()
        kept = np.cumsum(np.square(values)) / np.sum(np.square(values))
        size = sum(self.matrices[self.name]["shape"])
        return [
            {"rank": r, "value": float(v), "energy": float(e), "parameters": r * size}
            for r, (v, e) in enumerate(zip(values, kept, strict=True), 1)
        ]

    def figure(self) -> "Figure":
        rows = self.table()
        with style():
            figure, axes = canvas(7.2, 3.4)
            axes.grid(True)
            axes.plot([r["rank"] for r in rows], [100 * r["energy"] for r in rows], color=GREY)
            axes.axvline(self.rank, color=GREY, linestyle="--")
            axes.set_ylim(0, 104)
            axes.set_xlabel("rank")
            axes.set_ylabel("energy kept, %")
            axes.set_title(f"{self.name}: rank {self.rank} keeps {100 * self.energy():.1f} %")
        return figure

    def describe(self) -> str:
        return f"{'; '.join(self.names)}, rank {self.rank}"


def _decompose(name: str, change: Any) -> dict[str, Any]:
    """Singular values of a matrix, and what the drawn corner needs, packed.

    left (CORNER, k), right (CORNER, k): rows of U and V in whole units, so that the corner is
    left · diag(values) · rightᵀ · UNIT².
    """
    if hasattr(change, "detach"):
        change = change.detach().float().cpu().numpy()
    matrix = np.asarray(change, dtype=np.float64)
    if matrix.ndim != 2 or not np.isfinite(matrix).all() or not matrix.any():
        raise BadValue(
            f"{name!r} has the shape {matrix.shape}; give a matrix of numbers that is not all zero."
        )
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    # of each pair of vectors, the sign that makes a rerun on another machine give the same
    signs = np.sign(left[np.abs(left).argmax(0), np.arange(len(values))])
    return {
        "shape": list(matrix.shape),
        "values": packed([values]),
        "left": packed(np.rint(left[:CORNER] * signs / UNIT)),
        "right": packed(np.rint(right.T[:CORNER] * signs / UNIT)),
    }
