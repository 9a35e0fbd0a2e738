"""P-tuning v2: classification and tagging heads, several tasks with one prompt, and PEFT."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft_models import ALL, task_type
from tiny import batch, tiny

import pftlab as pft
from pftlab.core.trained import trainable_state
from pftlab.prompt.p_tuning_v2 import share_prompt
from pftlab.testing import checks

HEADS = ("bert", "bert-tagging")  # classification and tagging
#: PEFT's prefix tuning does something else on the other two: see `PrefixFormat`
PEFT_WORKS = [name for name in ALL if name not in ("t5", "distilbert")]
GROUPED = ("llama", "llama-classification", "qwen2")  # PEFT's network is narrower there


def labels(name: str) -> torch.Tensor:
    ids = batch(name, size=6)["input_ids"]
    return ids % 3 if name == "bert-tagging" else ids[:, 0] % 2


def losses(model: Any, name: str, optimiser: Any, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        loss = model(**batch(name, size=6), labels=labels(name)).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        found.append(loss.item())
    return found


def optimiser_of(model: Any) -> Any:
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-2)


def prompt_state(model: Any) -> dict[str, torch.Tensor]:
    return {n: t for n, t in trainable_state(model).items() if ".pft_" in n}


@pytest.mark.parametrize("name", HEADS)
def test_learns_with_both_heads(name: str) -> None:
    model = pft.PTuningV2(length=3).attach(tiny(name))
    before = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    found = losses(model, name, optimiser_of(model), 40)
    assert found[-1] < 0.5 * found[0]
    now = dict(model.named_parameters())
    assert all(torch.equal(now[n], p) for n, p in before.items())


@pytest.mark.parametrize("hidden", [None, 8])
def test_one_prompt_for_two_tasks_with_two_heads(hidden: int | None, tmp_path: Path) -> None:
    how = pft.PTuningV2(length=3, hidden=hidden)
    models = {name: how.attach(tiny(name)) for name in HEADS}
    share_prompt(*models.values())
    optimisers = {name: optimiser_of(model) for name, model in models.items()}
    history: dict[str, list[float]] = {name: [] for name in HEADS}
    for _ in range(15):
        for name, model in models.items():
            start = {n: t.clone() for n, t in prompt_state(model).items()}
            history[name] += losses(model, name, optimisers[name], 2)
            assert any(not torch.equal(t, start[n]) for n, t in prompt_state(model).items())
            first, second = (prompt_state(m) for m in models.values())
            assert first.keys() == second.keys()
            assert all(first[n] is not None and torch.equal(t, second[n]) for n, t in first.items())
    assert all(found[-1] < 0.7 * found[0] for found in history.values())
    heads = [m.classifier.weight.shape for m in models.values()]
    assert heads == [(2, 32), (3, 32)]

    # the prompt is then the start for one task alone
    pft.save(models["bert"], tmp_path)
    alone = pft.load(tiny("bert"), tmp_path)
    assert torch.equal(
        checks.logits(alone, batch("bert")), checks.logits(models["bert"].eval(), batch("bert"))
    )
    shared = {n: t.clone() for n, t in prompt_state(models["bert-tagging"]).items()}
    losses(alone, "bert", optimiser_of(alone), 1)
    now = prompt_state(models["bert-tagging"])
    assert all(torch.equal(t, now[n]) for n, t in shared.items())


def test_prompts_of_one_shape_are_shared_only() -> None:
    one = pft.PTuningV2(length=3).attach(tiny("bert"))
    for other in (
        pft.PTuningV2(length=4).attach(tiny("bert-tagging")),
        pft.PTuningV2(length=3, hidden=8).attach(tiny("bert-tagging")),
        pft.LoRA(rank=2).attach(tiny("bert-tagging")),
    ):
        state = {n: t.clone() for n, t in trainable_state(other).items()}
        with pytest.raises(pft.BadValue, match="prompts of one shape"):
            share_prompt(one, other)
        assert all(torch.equal(t, state[n]) for n, t in trainable_state(other).items())


@pytest.mark.parametrize("name", [n for n in PEFT_WORKS if n not in GROUPED])
def test_gradients_of_the_network_equal_those_of_peft(name: str) -> None:
    settings = peft.PrefixTuningConfig(
        num_virtual_tokens=3,
        prefix_projection=True,
        encoder_hidden_size=8,
        task_type=task_type(name),
        **({"token_dim": 32} if name == "electra" else {}),
    )
    theirs = peft.get_peft_model(tiny(name), settings)
    inner = theirs.prompt_encoder["default"]
    ours = pft.PTuningV2(length=3, hidden=8).attach(tiny(name))
    shared = next(m for m in ours.modules() if hasattr(m, "shared")).shared
    with torch.no_grad():
        shared.embedding.copy_(inner.embedding.weight)
    shared.mlp.load_state_dict(inner.transform.state_dict())
    for model in (theirs, ours):
        model.train()
        torch.manual_seed(1)  # the same dropout on both sides
        model(**batch(name)).logits.pow(2).sum().backward()
    assert checks.close(shared.embedding.grad, inner.embedding.weight.grad)
    for mine, its in zip(shared.mlp.parameters(), inner.transform.parameters(), strict=True):
        assert mine.grad.abs().max() > 0 and checks.close(mine.grad, its.grad)
