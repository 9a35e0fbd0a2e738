"""Multitask prompt tuning: the prompt of each task, source tasks, a target task, and PEFT."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft_models import DECODERS, ENCODERS, shape, task_type
from tiny import batch, perturb, tiny

import pftlab as pft
from pftlab.experiments.sizes import blank
from pftlab.prompt.multitask_prompt_tuning import choose_task, transfer
from pftlab.prompt.soft_prompt import prompt_of
from pftlab.testing import checks

NAME = "multitask_prompt_tuning"


def attached(name: str, **options: Any) -> Any:
    model = pft.MultitaskPromptTuning(**{"length": 3, "tasks": 2, **options}).attach(tiny(name))
    checks.perturb_planted(model)
    return model


def test_each_task_has_its_own_rescaled_prompt() -> None:
    model = attached("gpt2", rank=2)
    prompt = prompt_of(model, NAME)
    plain = pft.PromptTuning(length=3).attach(tiny("gpt2"))
    vectors = torch.zeros(2, 3, 32)
    for k in range(2):
        for i in range(3):
            for j in range(32):
                w = sum(prompt.u[k][i, r] * prompt.v[k][r, j] for r in range(2))
                vectors[k, i, j] = prompt.P[i, j] * w
    inputs, expected = batch("gpt2"), []
    for k in range(2):
        prompt_of(plain, "prompt_tuning").P.data = vectors[k].detach()
        expected.append(checks.logits(plain, inputs))
        choose_task(model, k)
        assert checks.close(checks.logits(model, inputs), expected[k])
    choose_task(model, [1, 0])  # a task for each row
    mixed = torch.stack([expected[1][0], expected[0][1]])
    assert checks.close(checks.logits(model, inputs), mixed)
    choose_task(model, None)
    assert torch.allclose(prompt.vectors(), vectors.mean(0), atol=1e-6)
    assert not torch.equal(expected[0], expected[1])


def test_source_tasks_then_a_target_task() -> None:
    """Two tasks whose answers are opposite; then a third that is like the second."""
    model, inputs = attached("bert"), batch("bert", size=4)
    prompt = prompt_of(model, NAME)
    optimiser = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=3e-2, weight_decay=0.1
    )
    for step in range(60):
        task = step % 2
        choose_task(model, task)
        other = [t[1 - task].detach().clone() for t in (prompt.u, prompt.v)]
        model(**inputs, labels=torch.full((4,), task)).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        assert torch.equal(prompt.u[1 - task], other[0])  # a task that is not trained stays
        assert torch.equal(prompt.v[1 - task], other[1])
    for task in range(2):
        choose_task(model, task)
        assert (checks.logits(model, inputs).argmax(-1) == task).all()

    target = attached("bert", tasks=1)
    target.classifier.load_state_dict(model.classifier.state_dict())
    transfer(model, target, start=1)
    assert torch.equal(checks.logits(target, inputs), checks.logits(model, inputs))
    transfer(model, target)
    ours = prompt_of(target, NAME)
    assert torch.equal(ours.P, prompt.P)
    assert torch.allclose(ours.u[0], (prompt.u[0] + prompt.u[1]) / 2)
    kept = ours.u[0].clone()
    prompt.P.data += 1
    transfer(model, target, start="shared")
    assert torch.equal(ours.P, prompt.P) and torch.equal(ours.u[0], kept)


def test_wrong_tasks_are_refused() -> None:
    model = attached("bert")
    for task in (2, -1, [0, 2]):
        with pytest.raises(pft.BadValue, match="There is no task"):
            choose_task(model, task)
    choose_task(model, [0, 1, 1])
    with pytest.raises(pft.BadValue, match="3 tasks are chosen for 2 rows"):
        model(**batch("bert"))
    with pytest.raises(pft.BadValue, match="has 2 tasks"):
        transfer(model, model)
    with pytest.raises(pft.BadValue, match="differ"):
        transfer(model, attached("bert", tasks=1, length=4))
    for start in (2, "mean"):
        with pytest.raises(pft.BadValue, match="from 0 to 1"):
            transfer(model, attached("bert", tasks=1), start=start)
    with pytest.raises(pft.BadValue, match="Attach MultitaskPromptTuning"):
        choose_task(tiny("bert"), 0)
    with pytest.raises(pft.BadValue, match="at least 1"):
        pft.MultitaskPromptTuning(tasks=0)


def test_count_of_the_paper() -> None:
    model = pft.MultitaskPromptTuning(length=100).attach(blank("t5-base"))
    assert pft.count(model).trainable == 76_800 + 100 + 768  # the paper's 77.6K


def peft_model(name: str) -> Any:
    settings = peft.MultitaskPromptTuningConfig(
        num_virtual_tokens=3, num_tasks=2, num_ranks=2, task_type=task_type(name), **shape(name)
    )
    theirs = peft.get_peft_model(tiny(name), settings).eval()
    for parameter in theirs.prompt_encoder.parameters():  # PEFT's prompt starts at almost zero
        torch.nn.init.normal_(parameter)
    return theirs


def words_only(model: Any, name: str, **more: Any) -> torch.Tensor:
    """PEFT's decoders also answer for the prompt."""
    with torch.no_grad():
        found = model.eval()(**batch(name), **more).logits
    return found if name in ENCODERS else found[:, -batch(name)["input_ids"].shape[1] :]


@pytest.mark.parametrize("name", [*ENCODERS, *DECODERS])
def test_checkpoints_and_peft(name: str, tmp_path: Path) -> None:
    theirs, tasks = peft_model(name), torch.tensor([1, 0])
    theirs.save_pretrained(tmp_path / "theirs")
    ours = pft.load(tiny(name), tmp_path / "theirs")
    how = pft.MultitaskPromptTuning(length=3, start="normal", position=0, tasks=2, rank=2)
    assert pft.attached(ours)[NAME] == how
    choose_task(ours, [1, 0])
    assert checks.close(words_only(ours, name), words_only(theirs, name, task_ids=tasks))

    perturb(ours)
    pft.save(ours, tmp_path / "ours")
    again = peft.PeftModel.from_pretrained(tiny(name), tmp_path / "ours")
    assert checks.close(words_only(again, name, task_ids=tasks), words_only(ours, name))


def test_the_second_prompt_of_peft_on_t5_is_refused(tmp_path: Path) -> None:
    peft_model("t5").save_pretrained(tmp_path / "theirs")
    with pytest.raises(pft.BadCheckpoint, match="in front of the decoder"):
        pft.load(tiny("t5"), tmp_path / "theirs")
    model = attached("t5")
    pft.save(model, tmp_path / "ours")  # in our own form
    same = checks.logits(pft.load(tiny("t5"), tmp_path / "ours"), batch("t5"))
    assert torch.equal(same, checks.logits(model, batch("t5")))


@pytest.mark.parametrize("name", [*ENCODERS, *DECODERS])
def test_gradients_equal_those_of_peft(name: str, tmp_path: Path) -> None:
    theirs = peft_model(name)
    theirs.save_pretrained(tmp_path)
    ours = pft.load(tiny(name), tmp_path)
    choose_task(ours, [1, 0])
    n = batch(name)["input_ids"].shape[1]
    for model, more in ((theirs, {"task_ids": torch.tensor([1, 0])}), (ours, {})):
        model.train()
        torch.manual_seed(1)  # the same dropout on both sides
        logits = model(**batch(name), **more).logits
        (logits if name in ENCODERS else logits[:, -n:]).pow(2).sum().backward()
    inner, prompt = theirs.prompt_encoder["default"], prompt_of(ours, NAME)
    assert checks.close(prompt.P.grad, inner.embedding.weight.grad)
    assert checks.close(torch.stack([u.grad for u in prompt.u]), inner.prefix_task_cols.grad)
    assert checks.close(torch.stack([v.grad for v in prompt.v]), inner.prefix_task_rows.grad)
