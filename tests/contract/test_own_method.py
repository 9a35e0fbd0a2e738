"""A method of one's own, in a script: attach, train, save, load, merge, contract."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from own_task import save_own_task
from tiny import save_tiny_base
from torch import Tensor, nn

import pftlab as pft
from pftlab import registry
from pftlab.core import Delta, Method, Site
from pftlab.testing import check_method, parametrize


class Stretch(Delta):
    def __init__(self, site: Site):
        super().__init__()
        self.v = nn.Parameter(torch.zeros(site.d_out))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return h * (1 + self.v)


@dataclass(frozen=True)
class Stretched(Method):
    at: tuple[str, ...] = ("ffn.up", "attention.query")
    mergeable = True
    delta = staticmethod(Stretch)  # what to plant at a site


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_OWN", {})
    pft.register(Stretched)
    yield


@pytest.mark.usefixtures("registered")
def test_its_life(tmp_path: Path) -> None:
    base, folder = save_tiny_base(tmp_path / "base"), tmp_path / "out"
    model = Stretched().attach(pft.load_base(base, num_labels=2))
    task = pft.load_task(save_own_task(tmp_path / "task"))
    pft.train(model, task, steps=2, batch_size=2, max_length=20, progress=False)
    pft.save(model, folder)
    loaded = pft.load(pft.load_base(base, num_labels=2), folder)
    inputs = {"input_ids": torch.arange(5, 15).view(2, 5)}
    loaded.eval(), model.eval()
    expected = model(**inputs).logits
    assert torch.equal(loaded(**inputs).logits, expected)
    assert (pft.merge(loaded)(**inputs).logits - expected).abs().max() < 1e-5
    assert not pft.attached(loaded)


@parametrize(Stretched())
def test_contract(check: Any) -> None:
    check()


def test_all_at_once() -> None:
    found = check_method(Stretched, on=("bert",))
    assert {"merging", "rows", "files"} <= {outcome.check for outcome in found}
    with pytest.raises(pft.UnknownName, match="tiny model 'bret'"):
        check_method(Stretched, on=("bret",))
    with pytest.raises(pft.BadValue, match="is no method"):
        check_method(Stretch)  # type: ignore[type-var]
