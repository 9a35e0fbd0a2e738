"""Changes of weights: what a module finds in the place of its parameter."""

from typing import Any

import pytest
import torch
from tiny import MODELS, SHAPE, batch, tiny
from torch import Tensor, nn
from transformers import BertConfig, BertModel

import pftlab as pft
from pftlab.core import Delta, Method, Site
from pftlab.core.ports.weight import WeightDelta, parameter_sites
from pftlab.core.reading import read_elsewhere

UP = "bert.encoder.layer.0.intermediate.dense"


class Negative:
    """No tensor: products with it are those with -W."""

    dtype = torch.float32

    def __init__(self, weight: Tensor):
        self.weight = weight

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any, kwargs: Any = None) -> Any:
        x, stand_in, bias = args
        return function(x, -stand_in.weight, bias)

    def to(self, dtype: torch.dtype) -> Tensor:
        return -self.weight.to(dtype)


class Negate(WeightDelta):
    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, weight: Tensor) -> Tensor:
        return -weight

    def shown(self, weight: Tensor) -> Any:
        return Negative(weight)


class Shift(WeightDelta):
    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.ones(1))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.by


class OnUp(Method):
    title = "test"

    def __init__(self, name: str, delta: type[WeightDelta]):
        self.__dict__.update(name=name, kind=delta)

    def sites(self, model: nn.Module) -> list[Site]:
        return parameter_sites(model, lambda name, _: name == f"{UP}.weight")

    def delta(self, site: Site) -> Delta:
        return self.kind()


def test_a_module_computes_with_a_stand_in_that_is_no_tensor() -> None:
    model, x = tiny("bert"), torch.randn(3, 32)
    host = model.get_submodule(UP)
    plain, weight = host(x), host.weight
    OnUp("negate", Negate).attach(model)
    assert torch.allclose(host(x), x @ -weight.T + host.bias, atol=1e-6)
    assert host.weight is weight, "the stand-in is there only while the module runs"
    # a change that comes later changes what the stand-in stands for
    OnUp("shift", Shift).attach(model)
    assert torch.allclose(host(x), x @ (1 - weight).T + host.bias, atol=1e-5)
    with pft.disabled(model):
        assert torch.equal(host(x), plain)
    model(**batch("bert"))
    pft.merge(model)
    expected = 1 - tiny("bert").get_submodule(UP).weight
    assert torch.allclose(host.weight, expected, atol=1e-6)


class ReadsAside(BertModel):
    """Takes a weight out of its module, as DeBERTa does with its table of distances."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = super().forward(*args, **kwargs)
        output.last_hidden_state += self.embeddings.token_type_embeddings.weight.sum()
        return output


class Strict(BertModel):
    """Cannot be built from a configuration alone."""

    def __init__(self, config: Any, needed: int):
        super().__init__(config)


def test_a_weight_that_is_read_aside_is_not_changed_in_vain() -> None:
    name = "embeddings.token_type_embeddings.weight"
    model = ReadsAside(BertConfig(**SHAPE)).eval()
    state = torch.get_rng_state()
    with pytest.raises(pft.Refused, match=f"reads {name} without calling the module"):
        pft.METHODS["diff_pruning"]().attach(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert not hasattr(model, "pftlab") and not any(".pft_" in n for n in model.state_dict())
    pft.LoRA(rank=2).attach(model)
    pft.METHODS["diff_pruning"]().attach(Strict(BertConfig(**SHAPE), 1))


@pytest.mark.parametrize("name", MODELS)
def test_what_a_network_reads_is_found_without_values(name: str) -> None:
    assert read_elsewhere(tiny(name)) == frozenset()
