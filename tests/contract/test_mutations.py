"""The contract can fail: methods that are broken on purpose, each caught by the check it breaks."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import checks
import pytest
import torch
from torch import Tensor, nn

import pftlab as pft
from pftlab.core import Delta, Method, Site
from pftlab.core.ports.attention import KeysValues
from pftlab.low_rank.lora import LoRA, LowRank
from pftlab.prompt.prefix import Prefix


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

    def attach(self, model: nn.Module, name: str | None = None) -> nn.Module:
        super().attach(model, name)
        model.get_parameter("bert.pooler.dense.weight").requires_grad_(True)
        return model


def test_the_unbroken_one_passes(tmp_path: Path) -> None:
    checks.check_life(BrokenLoRA(), "bert", tmp_path)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("Closure", "a copy runs the original's deltas"),
        ("Stubborn", "disabled is not the base"),
        ("Dead", "has no gradient"),
        ("Zeroed", "is dead"),
        ("Restless", "is not the identity at the start"),
        ("Forgetful", "loaded computes otherwise"),
        ("Vandal", "moves what is frozen"),
    ],
)
def test_a_broken_delta_is_caught(kind: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=message):
        checks.check_life(BrokenLoRA(kind=kind), "bert", tmp_path)


def test_a_false_claim_to_merge_is_caught(tmp_path: Path) -> None:
    with pytest.raises(pft.Refused, match="no affine map"):
        checks.check_life(BrokenLoRA(kind="Curved"), "bert", tmp_path)


def test_a_base_that_is_not_frozen_is_caught(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        checks.check_life(Greedy(rank=2), "bert", tmp_path)


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
    with pytest.raises(AssertionError, match=message):
        checks.check_rows(method, "llama")


def test_a_hook_that_is_left_behind_is_caught(tmp_path: Path, monkeypatch: Any) -> None:
    from pftlab.core import method as core

    real = core.uproot

    def careless(host: nn.Module, name: str) -> None:
        real(host, name)
        host.left_behind = True

    monkeypatch.setattr(core, "uproot", careless)
    with pytest.raises(AssertionError, match="leaves something behind"):
        checks.check_life(BrokenLoRA(), "bert", tmp_path)
