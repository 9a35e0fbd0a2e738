"""Several tasks over shared lower layers: computed once, with the answers of each task alone."""

from typing import Any

import pytest
import torch
from tiny import batch, perturb, tiny

import pftlab as pft
from pftlab.adapter.adapter_drop import drop
from pftlab.adapter.shared_trunk import SharedTrunk


def tasks(name: str) -> dict[str, Any]:
    """One task with adapters in the upper layer alone, two with those of the lower dropped."""
    upper = pft.Houlsby(bottleneck=4, layer_norm=False, layers=(1,)).attach(tiny(name))
    found = {"upper": upper}
    for number in (2, 3):
        model = pft.AdapterDrop(bottleneck=4).attach(tiny(name))
        drop(model, 1)
        found[f"dropped {number}"] = model
    for seed, model in enumerate(found.values()):
        perturb(model, seed)
    return found


def answers(output: Any) -> torch.Tensor:
    return output.logits


@pytest.mark.parametrize(
    "name",
    ["bert", "roberta", "distilbert", "electra", "bert-tagging", "gpt2", "gpt2-classification",
     "opt", "gpt_neox", "llama", "llama-classification", "qwen2"],
)  # fmt: skip
def test_the_trunk_runs_once_and_every_task_answers_as_alone(name: str) -> None:
    models, inputs = tasks(name), batch(name)
    with torch.no_grad():
        alone = {task: answers(model(**inputs)) for task, model in models.items()}
    assert not torch.equal(*list(alone.values())[1:])
    runs: dict[int, int] = {0: 0, 1: 0}
    for model in models.values():
        for site in pft.sites(model, ("ffn.down",)):
            site.host.register_forward_hook(
                lambda m, a, out, layer=site.layer: runs.update({layer: runs[layer] + 1})
            )
    trunk = SharedTrunk(models, 1)
    together = trunk(**inputs)
    assert runs == {0: 1, 1: 3}
    assert all(torch.equal(answers(together[task]), alone[task]) for task in models)
    for task, model in models.items():  # and afterwards each is whole again
        with torch.no_grad():
            assert torch.equal(answers(model(**inputs)), alone[task])
    assert runs == {0: 4, 1: 6}


def test_an_error_leaves_the_models_whole() -> None:
    models = tasks("bert")
    second = list(models.values())[1]
    handle = second.classifier.register_forward_pre_hook(lambda *_: 1 / 0)
    trunk = SharedTrunk(models, 1)
    with pytest.raises(ZeroDivisionError):
        trunk(**batch("bert"))
    handle.remove()
    assert not any("forward" in vars(module) for module in second.modules())


def test_what_has_no_common_trunk() -> None:
    models = tasks("bert")
    for n in (0, 2):
        with pytest.raises(pft.BadValue, match="1 to 1 can be shared"):
            SharedTrunk(models, n)
    drop(models["dropped 2"], 0)
    with pytest.raises(pft.BadValue, match=r"'adapter_drop' acts at bert.encoder.layer.0"):
        SharedTrunk(models, 1)
    drop(models["dropped 2"], 1)
    prompted = pft.PromptTuning(length=2).attach(tiny("bert"))
    with pytest.raises(pft.BadValue, match="acts at bert in 'prompt'"):
        SharedTrunk(models | {"prompt": prompted}, 1)
    moved = pft.LayerNormTuning().attach(tiny("bert"))
    perturb(moved)
    with pytest.raises(pft.BadValue, match="LayerNorm.* differs in 'moved'"):
        SharedTrunk(models | {"moved": moved}, 1)
    with pytest.raises(pft.Refused, match="encoder-decoder"):
        SharedTrunk({"t5": tiny("t5")}, 1)
    with pytest.raises(pft.BadValue, match="no models"):
        SharedTrunk({}, 1)
