"""Several LoRA adapters made into one.

`pftlab.use(model, {"a": 0.7, "b": 0.3})` adds them while the model computes. Here the same sum,

    ΔW = Σ wᵢ sᵢ Bᵢ Aᵢ = [B₁ … Bₙ] [w₁s₁A₁; …; wₙsₙAₙ],

becomes an adapter of its own, to be saved or trained further: exactly, with the sum of the ranks,
or cut off by a singular value decomposition, which no matrix of that rank comes nearer to (Eckart
and Young, 1936). To add the Aᵢ and the Bᵢ each by themselves, which Hugging Face PEFT calls
"linear", is not offered: the product of the sums has the terms Bᵢ Aⱼ in it, which nobody has
trained.
"""

from collections.abc import Mapping
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from ..core import BadValue, Refused, UnknownName, planted
from ..core.active import put_in_use
from ..core.record import enabled_record
from .lora import LoRA, LowRank


@torch.no_grad()
def combine(
    model: nn.Module, weights: Mapping[str, float], name: str, rank: int | None = None
) -> float:
    """Attach the weighted sum of LoRA adapters as one of its own, set aside, with the last's head.

    Args:
        model: with the adapters attached; changed in place.
        weights: name → w, of adapters whose update is s B A at the same sites: LoRA, rsLoRA, LoRA+,
            LoRA-FA.
        name: of the new adapter, a `LoRA`.
        rank: of the new adapter; None: the sum of theirs, which is exact.

    Returns:
        What the cut loses, ‖ΔW − ΔW_rank‖ / ‖ΔW‖ (Frobenius) over all sites; 0 without a cut.

    Raises:
        Refused: one of them is of another kind, or they are not at the same sites.
        UnknownName: a name is not attached.
        BadValue: no weights; `name` is taken; a rank that cannot be at one of the sites.
    """
    record = enabled_record(model, "Combining")
    found = {each: _updates(model, record.methods, each) for each in weights}
    if not found:
        raise BadValue("There are no weights: give a name and a number for each adapter.")
    first: Any = record.methods[next(iter(found))]
    sites = next(iter(found.values())).keys()
    for each, updates in found.items():
        if updates.keys() != sites:
            raise Refused(f"{each!r} is not at the sites of the others. Use them together instead.")
    total = sum(next(iter(updates.values())).A.shape[0] for updates in found.values())
    rank = total if rank is None else min(rank, total)
    parts = {
        site: _factors([(weights[each], found[each][site]) for each in found], rank)
        for site in sites
    }
    before = dict(record.in_use)
    with record.passes.alone():
        put_in_use(model, record, {next(reversed(list(found))): 1.0})
        try:
            LoRA(rank, alpha=float(rank), at=first.at, layers=first.layers).attach(model, name)
            for site, delta in _updates(model, record.methods, name).items():
                delta.A.copy_(parts[site][0])
                delta.B.copy_(parts[site][1])
        finally:
            put_in_use(model, record, before)
    lost, all_of_it = (sum(part[i] for part in parts.values()) for i in (2, 3))
    return sqrt(lost / all_of_it) if all_of_it else 0.0


def _updates(model: nn.Module, methods: Mapping[str, Any], name: str) -> dict[Any, LowRank]:
    """Where → the update there, of an adapter whose updates are all s B A."""
    if name not in methods:
        raise UnknownName("attached adapter", name, methods)
    found: dict[Any, LowRank] = {}
    for path, _, _, delta in planted(model, name):
        if type(delta) is not LowRank:
            found = {}
            break
        found[path, delta.site_name] = delta
    if not found:
        raise Refused(
            f"{methods[name].title} ({name!r}) is no sum of B A alone. Only LoRA, rsLoRA, LoRA+ "
            "and LoRA-FA can be combined; pftlab.use(model, {…}) adds others, where weights mean "
            "something."
        )
    return found


def _factors(
    updates: list[tuple[float, LowRank]], rank: int
) -> tuple[Tensor, Tensor, float, float]:
    """A and B of the sum, of this rank; the squares of what is lost and of all, both summed."""
    A = torch.cat([weight * delta.scale * delta.A.double() for weight, delta in updates])
    B = torch.cat([delta.B.double() for _, delta in updates], dim=1)
    if rank == len(A):
        return A, B, 0.0, 1.0
    # B A = Q_B (R_B R_Aᵀ) Q_Aᵀ: the small matrix in the middle has the singular values of the whole
    (q_b, r_b), (q_a, r_a) = torch.linalg.qr(B), torch.linalg.qr(A.T)
    U, S, Vt = torch.linalg.svd(r_b @ r_a.T)
    root = S[:rank].sqrt()
    kept_a, kept_b = (q_a @ Vt[:rank].T * root).T, q_b @ U[:, :rank] * root
    return kept_a, kept_b, float(S[rank:].square().sum()), float(S.square().sum())
