"""The contract can fail: methods that are broken on purpose, each caught by the check it breaks."""

import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pftlab.core import Delta, Method, Site
from pftlab.core.ports.attention import KeysValues
from pftlab.low_rank.lora import LoRA, LowRank
from pftlab.prompt.prefix import Prefix
from pftlab.testing import checks, outcomes, tiny


class Sound(LowRank):
    """LoRA's delta of rank 2, for the classes below to break."""

    def __init__(self, d_in: int, d_out: int):
        super().__init__(d_in, d_out, rank=2, alpha=4.0, dropout=0.0)


class Closure(Sound):
    """Computes through a closure, so that a copy runs the original."""

    def __init__(self, d_in: int, d_out: int):
        super().__init__(d_in, d_out)
        self.run = lambda x, h: LowRank.forward(self, x, h)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return self.run(x, h)


class Stubborn(Sound):
    """Cannot be disabled."""

    active = property(lambda self: True, lambda self, value: None)  # type: ignore[assignment]


class Dead(Sound):
    """Has a parameter that nothing reads."""

    def __init__(self, d_in: int, d_out: int):
        super().__init__(d_in, d_out)
        self.unused = nn.Parameter(torch.zeros(3))


class Zeroed(Sound):
    """Has a parameter whose gradient is always zero."""

    def __init__(self, d_in: int, d_out: int):
        super().__init__(d_in, d_out)
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return super().forward(x, h) + 0 * self.unused


class Restless(Sound):
    """Does not start at the base, and claims that it does."""

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return super().forward(x, h) + 0.01


class Forgetful(Sound):
    """Keeps something random that no checkpoint holds."""

    def __init__(self, d_in: int, d_out: int):
        super().__init__(d_in, d_out)
        self.scale = 1 + random.random()


class Curved(Sound):
    """Is no affine map, and claims that it can be merged."""

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return h + torch.tanh(super().forward(x, h) - h)


class Vandal(Sound):
    """Writes into the base."""

    def __init__(self, d_in: int, d_out: int):
        super().__init__(d_in, d_out)
        self.victim: tuple[Any, ...] = ()  # a tuple hides it from nn.Module

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        self.victim[0].bias.data.add_(0.01)
        return super().forward(x, h)


class Stored(Sound):
    """Stores what nobody trains."""

    def __init__(self, d_in: int, d_out: int):
        super().__init__(d_in, d_out)
        self.register_buffer("ballast", torch.zeros(7))


class Branching(Sound):
    """Decides by a number, which breaks a compiled graph."""

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return super().forward(x, h) if float(h.sum()) < 1e9 else h


@dataclass(frozen=True)
class BrokenLoRA(LoRA):
    """LoRA with a broken delta."""

    kind: str = "Sound"

    def delta(self, site: Site) -> Delta:
        delta = globals()[self.kind](site.d_in, site.d_out)
        if self.kind == "Vandal":
            delta.victim = (site.host,)
        return delta


class Mixing(Delta):
    """h + 0.1 · what `mix` makes of h; h (B, T, d)."""

    def __init__(self, mix: Any):
        super().__init__()
        self.mix, self.gain = mix, nn.Parameter(torch.tensor(0.1))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return h + self.gain * self.mix(h)


@dataclass(frozen=True)
class MixingMethod(Method):
    """Plants `Mixing` on every block."""

    mix: Any = None
    at: tuple[str, ...] = ("block",)
    name, title = "mixing", "Mixing"

    def delta(self, site: Site) -> Delta:
        return Mixing(self.mix)


class Cached(KeysValues):
    """Puts its prefix behind the text, where the mask does not expect it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Prefix(torch.randn(2, 3, 8), torch.randn(2, 3, 8))

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self.inner(x, keys, values)
        return keys.roll(-3, 2), values.roll(-3, 2)


@dataclass(frozen=True)
class WrongMask(Method):
    """Plants `Cached` in every attention."""

    at: tuple[str, ...] = ("attention.keys_values",)
    name, title = "wrong_mask", "Wrong mask"
    identity_at_start = False

    def delta(self, site: Site) -> Delta:
        return Cached()


@dataclass(frozen=True)
class Greedy(LoRA):
    """Leaves a part of the base trainable without saying so."""

    def attach(self, model: nn.Module, *given: Any, **named: Any) -> nn.Module:
        super().attach(model, *given, **named)
        model.get_parameter("bert.pooler.dense.weight").requires_grad_(True)
        return model


@dataclass(frozen=True)
class Littering(LoRA):
    """Writes a note on every module that it is planted on."""

    def delta(self, site: Site) -> Delta:
        site.host.note = "was here"  # type: ignore[assignment]
        return super().delta(site)


def broken(method: Method, on: str = "bert") -> dict[str, str]:
    """The checks that the method breaks on a tiny model, each with what it says."""
    return {o.check: o.broken for o in outcomes(method, on) if o.broken}


def test_the_unbroken_one_passes() -> None:
    assert not broken(BrokenLoRA())


@pytest.mark.parametrize(
    ("kind", "check", "message"),
    [
        ("Closure", "copies", "a copy runs the original's deltas"),
        ("Stubborn", "disabling", "disabled is not the base"),
        ("Dead", "gradients", "has no gradient"),
        ("Zeroed", "gradients", "is dead"),
        ("Restless", "start", "is not the identity at the start"),
        ("Forgetful", "files", "loaded computes otherwise"),
        ("Curved", "merging", "says that it merges, and is refused: .* no affine map"),
        ("Vandal", "training", "moves what is frozen"),
        ("Stored", "size_of_file", "does not hold what was trained, and that alone"),
        ("Branching", "compiling", "guard on data"),
    ],
)
def test_a_broken_delta_is_caught(kind: str, check: str, message: str) -> None:
    found = broken(BrokenLoRA(kind=kind))
    assert re.search(message, found.get(check, "")), found


def test_one_broken_check_hides_no_other() -> None:
    found = broken(BrokenLoRA(kind="Curved"))
    assert found.keys() == {"merging"}, found
    assert {"training", "disabling", "detaching"} <= broken(BrokenLoRA(kind="Vandal")).keys()


def test_a_base_that_is_not_frozen_is_caught() -> None:
    assert broken(Greedy(rank=2)).keys() & {"counted", "detaching", "disabling"}


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (MixingMethod(mix=lambda h: h.flip(0)), "another row"),
        (MixingMethod(mix=lambda h: h.mean(1, keepdim=True)), "padding"),
        (MixingMethod(mix=lambda h: torch.cat([h[:, 1:], h[:, -1:]], 1)), "padding|looks ahead"),
        (WrongMask(), "padding|looks ahead"),
    ],
)
def test_a_method_that_sees_too_much_is_caught(method: Method, message: str) -> None:
    found = broken(method, "llama")
    assert re.search(message, found.get("rows", "") + found.get("looking_ahead", "")), found


def test_what_is_left_behind_is_caught() -> None:
    assert "leaves something behind" in broken(Littering(rank=2))["detaching"]
    assert "leaves something behind" in broken(Littering(rank=2))["error_half_way"]


def test_another_type_under_autocast_is_caught() -> None:
    """As it would be if the core did not turn what a delta returns back into the base's type."""

    def widen(module: nn.Module, given: Any, result: Tensor) -> Tensor:
        return result.float()

    case = checks.Case(BrokenLoRA(), "bert", Path())
    model, expected = case.fresh(), checks.types_of_outputs(tiny("bert"), case.inputs)
    assert checks.types_of_outputs(model, case.inputs) == expected
    model.bert.encoder.layer[0].attention.self.query.register_forward_hook(widen)
    assert checks.types_of_outputs(model, case.inputs) != expected
