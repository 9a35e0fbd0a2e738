"""Models whose parameters hold no values: counted without memory, or offloaded once attached to."""

import resource

import pytest
import torch
from accelerate import cpu_offload
from tiny import batch, method, perturb, tiny

import pftlab as pft
from pftlab.experiments.sizes import blank
from pftlab.testing.models import logits


@pytest.mark.parametrize(
    "name", ["lora", "houlsby", "parallel", "compacter", "prompt_tuning", "loreft"]
)
def test_a_model_may_be_offloaded_once_it_is_attached_to(name: str) -> None:
    model, inputs = method(name).attach(tiny("bert")), batch("bert")
    perturb(model)
    expected = logits(model, inputs)
    cpu_offload(model, execution_device=torch.device("cpu"))
    assert all(p.is_meta for p in model.parameters())
    assert torch.equal(logits(model, inputs), expected)


def test_a_model_without_values_can_be_counted() -> None:
    model = tiny("bert").to("meta")
    for name in ("lora", "dora", "said", "random_mask", "prefix_tuning", "compacter", "galore"):
        method(name).attach(model)
        assert all(p.is_meta for p in model.parameters())
        assert pft.count(model).trainable == pft.count(method(name).attach(tiny("bert"))).trainable
        pft.detach(model)


@pytest.mark.parametrize("name", ["said", "did", "random_mask", "diff_pruning"])
def test_counting_a_large_model_takes_no_memory(name: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = pft.METHODS[name]().attach(blank("llama-7b"))
    assert pft.count(model).total > 6_700_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 500_000, "kB"
