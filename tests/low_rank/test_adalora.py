"""AdaLoRA against the paper's algorithm, entry by entry, and against PEFT's allocator."""

import os
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from low_rank_setup import UP, update_at_up
from oracle import delta_at
from safetensors.torch import load_file
from tiny import batch, perturb, tiny
from torch import Tensor

import pftlab as pft
from pftlab.experiments.sizes import blank
from pftlab.low_rank.adalora import SVDUpdate

SITES = ("attention.query", "ffn.up")
SIX = (
    *("attention.query", "attention.key", "attention.value", "attention.output"),
    *("ffn.up", "ffn.down"),
)
STEPS = 20
FILE = "adapter_model.safetensors"


def method(**more: Any) -> Any:
    values: dict[str, Any] = {"warmup": 0.1, "final": 0.2, "interval": 2, "at": SITES}
    return pft.AdaLoRA(rank=2, start_rank=4, **values | more)


def data() -> dict[str, Tensor]:
    return batch("bert", size=4) | {"labels": torch.tensor([0, 1, 1, 0])}


def train(model: Any, how: Any, last: int = STEPS, each: Any = None) -> Any:
    """`each(step, moment)` is told when gradients are complete and when a step has ended."""
    adam = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    each = each or (lambda step, moment: None)
    model.eval()  # no dropout
    for step in range(1, last + 1):
        adam.zero_grad()
        (model(**data()).loss + how.extra_loss(model)).backward()
        how.after_backward(model, step, STEPS)
        each(step, "gradients")
        adam.step()
        each(step, "step")
        how.after_step(model, step, STEPS)
        each(step, "end")
    return model


def test_the_update_is_a_scaled_sum_of_triplets() -> None:
    delta, _, update = update_at_up(pft.AdaLoRA(rank=1, start_rank=3, alpha=6.0, at=("ffn.up",)))
    expected = torch.zeros(48, 32)
    for k in range(3):
        term = torch.outer(delta.P[:, k].detach(), delta.Q[k].detach())
        expected += 6 / (3 + 1e-5) * delta.Lambda[k].item() * term
    assert torch.allclose(update, expected, atol=1e-6)


def test_the_penalty_is_the_mean_distance_of_all_factors() -> None:
    how = method(orthogonality=0.3)
    model = how.attach(tiny("bert"))
    distances = []
    for delta in how.planted_in(model, SVDUpdate):
        for gram in (delta.P.T @ delta.P, delta.Q @ delta.Q.T):
            distances.append(sum((gram - torch.eye(4)).flatten() ** 2).sqrt())  # type: ignore[union-attr]
    assert len(distances) == 8
    assert how.extra_loss(model).item() == pytest.approx(0.3 * sum(distances).item() / 8, rel=1e-5)


def test_what_is_pruned_has_no_part_in_the_penalty() -> None:
    how = method(orthogonality=1.0)
    model = how.attach(tiny("bert"))
    perturb(model)
    deltas = how.planted_in(model, SVDUpdate)
    for delta in deltas:
        delta.keep(torch.tensor([True, False, True, False]), forever=True)
    left = [d.P[:, ::2] for d in deltas] + [d.Q[::2].T for d in deltas]
    expected = torch.stack([(f.T @ f - torch.eye(2)).norm() for f in left]).mean()
    penalty = how.extra_loss(model)
    assert penalty.item() == pytest.approx(expected.item(), rel=1e-5)
    (model(**data()).loss + penalty).backward()
    assert deltas[0].P.grad[:, ::2].abs().min() > 0
    assert not any(d.P.grad[:, 1::2].any() or d.Lambda.grad[1::2].any() for d in deltas)


def test_scores_follow_the_paper() -> None:
    """Both moving averages and the score of each triplet, with plain numbers."""
    how = method(beta1=0.7, beta2=0.6)
    model = how.attach(tiny("bert"))
    entries: dict[str, tuple[float, float]] = {}
    checked = 0

    def each(step: int, moment: str) -> None:
        nonlocal checked
        delta = delta_at(model, UP)
        if moment != "gradients" or delta.kept is not None:
            return
        scores = []
        for k in range(4):
            column = []
            for name, values, gradients in (
                ("P", delta.P[:, k], delta.P.grad[:, k]),
                ("Lambda", delta.Lambda[k : k + 1], delta.Lambda.grad[k : k + 1]),
                ("Q", delta.Q[k], delta.Q.grad[k]),
            ):
                total = 0.0
                for i, (w, g) in enumerate(zip(values.tolist(), gradients.tolist(), strict=True)):
                    mean, spread = entries.get(f"{name} {k} {i}", (0.0, 0.0))
                    mean = 0.7 * mean + 0.3 * abs(w * g)
                    spread = 0.6 * spread + 0.4 * abs(abs(w * g) - mean)
                    entries[f"{name} {k} {i}"] = mean, spread
                    total += mean * spread
                column.append(total / len(values))
            scores.append(sum(column))
        found = delta.scores()
        assert torch.allclose(found, torch.tensor(scores), rtol=1e-3, atol=1e-12)
        checked += 1

    train(model, how, each=each)
    assert checked == 16


def test_the_budget_falls_to_the_target_and_stays() -> None:
    how = method()
    model = how.attach(tiny("bert"))
    left = []

    def each(step: int, moment: str) -> None:
        if moment == "end":
            left.append(sum(int((d.Lambda != 0).sum()) for d in how.planted_in(model, SVDUpdate)))

    train(model, how, each=each)
    # 4 matrices: 16 triplets, then 8. Warm-up until step 2, the last pruning at step 16.
    assert left[:3] == [16, 16, 16]
    for step in (4, 6, 8, 10, 12, 14):
        assert left[step - 1] == int(8 * (1 - (step - 2) / 14) ** 3 + 8)
    assert sum(int(d.kept.sum()) for d in how.planted_in(model, SVDUpdate)) == 8
    assert left[15] == 8
    perturb(model)  # what is pruned stays so, whatever the optimiser does to it
    for delta in how.planted_in(model, SVDUpdate):
        x = torch.randn(1, delta.Q.shape[1])
        rank = int(delta.kept.sum())
        change = delta(torch.eye(x.shape[1]), torch.zeros(x.shape[1], len(delta.P)))
        assert torch.linalg.matrix_rank(change) == rank


def test_a_pruned_triplet_can_grow_again_before_the_end() -> None:
    how = method()
    model = how.attach(tiny("bert"))
    back = 0

    def each(step: int, moment: str) -> None:
        nonlocal back
        if moment == "step" and step == 5:
            back = sum(int((d.Lambda != 0).sum()) for d in how.planted_in(model, SVDUpdate))

    train(model, how, last=5, each=each)
    assert back == 16


def test_allocates_as_peft_does(tmp_path: Path) -> None:
    """The scores and the choice of PEFT's RankAllocator, given the same weights and gradients."""
    config = peft.AdaLoraConfig(
        init_r=4, target_r=2, lora_alpha=16, tinit=2, tfinal=4, deltaT=2, total_step=STEPS,
        orth_reg_weight=0.5, target_modules=["query", "intermediate.dense"], task_type="SEQ_CLS",
    )  # fmt: skip
    theirs = peft.get_peft_model(tiny("bert"), config).eval()
    perturb(theirs)
    theirs.save_pretrained(tmp_path)
    ours = pft.load(tiny("bert"), tmp_path)
    how = pft.attached(ours)["adalora"]
    assert how == method(alpha=16)
    allocator = theirs.base_model.rankallocator
    adam = torch.optim.AdamW([p for p in theirs.parameters() if p.requires_grad], lr=1e-2)

    def each(step: int, moment: str) -> None:
        if moment == "gradients":
            adam.zero_grad()
            theirs(**data()).loss.backward()  # PEFT adds the penalty in evaluation too
            for delta, theirs_, gradient in pairs():
                assert torch.allclose(theirs_, delta, atol=1e-5)
                assert torch.allclose(gradient[0], gradient[1], atol=1e-5)
            allocator.update_ipt(theirs.base_model.model)
            adam.step()
        if moment == "end":
            budget, due = allocator.budget_schedule(step)
            if due and step <= 16:
                allocator.mask_to_budget(theirs.base_model.model, budget)

    def pairs() -> Any:
        for path in ("encoder.layer.0.attention.self.query", "encoder.layer.1.intermediate.dense"):
            delta = delta_at(ours, f"bert.{path}")
            layer = theirs.base_model.model.get_submodule(f"bert.{path}")
            for name, theirs_ in (("Q", layer.lora_A), ("P", layer.lora_B)):
                mine, other = delta.get_parameter(name), theirs_["default"]
                yield mine, other, (mine.grad, other.grad)
            other = layer.lora_E["default"]
            yield delta.Lambda, other.flatten(), (delta.Lambda.grad, other.grad.flatten())

    train(ours, how, last=16, each=each)
    for mine, other, _ in pairs():
        assert torch.allclose(mine, other, atol=1e-5)
    kept = torch.cat([d.kept for d in how.planted_in(ours, SVDUpdate)])
    assert kept.sum() == 8


def test_pruned_checkpoints_of_peft_are_read(tmp_path: Path) -> None:
    config = peft.AdaLoraConfig(
        init_r=4, target_r=2, lora_alpha=200, total_step=10, deltaT=100, task_type="SEQ_CLS",
        target_modules=["query", "value"],
    )  # fmt: skip
    theirs = peft.get_peft_model(tiny("bert"), config).eval()
    perturb(theirs)
    output(theirs, "bert").pow(2).sum().backward()
    for step in (9, 10):  # PEFT takes no sensitivity in the last step
        theirs.base_model.update_and_allocate(step)
    theirs.save_pretrained(tmp_path)
    ours = pft.load(tiny("bert"), tmp_path)
    expected = output(theirs, "bert")
    assert torch.allclose(output(ours, "bert"), expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(expected, output(tiny("bert"), "bert"), atol=1e-3)
    how = pft.attached(ours)["adalora"]
    kept = sum(int(d.kept.sum()) for d in how.planted_in(ours, SVDUpdate))
    stored = load_file(tmp_path / FILE)
    assert kept == sum(len(t) for key, t in stored.items() if key.endswith("lora_E"))


@pytest.mark.parametrize("pruned", [False, True])
def test_peft_reads_our_checkpoint(pruned: bool, tmp_path: Path) -> None:
    how = method(alpha=200.0)
    model = how.attach(tiny("bert"))
    if pruned:
        train(model, how)
    perturb(model)
    pft.save(model, tmp_path)
    theirs = peft.PeftModel.from_pretrained(tiny("bert"), tmp_path)
    assert torch.allclose(output(theirs.eval(), "bert"), output(model, "bert"), atol=1e-5)
    again = pft.load(tiny("bert"), tmp_path)
    assert torch.equal(output(again, "bert"), output(model, "bert"))
    assert pft.attached(again) == {"adalora": how}
    # and PEFT's file of the same reads back into the same
    theirs.save_pretrained(tmp_path / "again")
    assert torch.allclose(
        output(pft.load(tiny("bert"), tmp_path / "again"), "bert"), output(model, "bert"), atol=1e-5
    )


def output(model: Any, name: str) -> Tensor:
    return model(**batch(name)).logits


def test_a_pruned_checkpoint_is_smaller_also_with_rank_zero(tmp_path: Path) -> None:
    how = method()
    model = how.attach(tiny("bert"))
    pft.save(model, tmp_path / "before")
    deltas = how.planted_in(model, SVDUpdate)
    train(model, how, last=1)
    chosen = torch.zeros(16, dtype=torch.bool)
    chosen[:8] = True  # the first two matrices keep all, the others nothing
    for delta, part in zip(deltas, chosen.split(4), strict=True):
        delta.keep(part.clone(), forever=True)
    perturb(model)
    pft.save(model, tmp_path / "after")
    sizes = [os.path.getsize(tmp_path / name / FILE) for name in ("before", "after")]
    left = sum(d.P[:, d.kept].numel() + d.Q[d.kept].numel() for d in deltas)
    gone = sum(d.P.numel() + d.Q.numel() for d in deltas) - left
    assert sizes[0] - sizes[1] > 4 * gone - 1000  # less what the header says of the empty ones
    loaded = pft.load(tiny("bert"), tmp_path / "after")
    assert torch.equal(output(loaded, "bert"), output(model, "bert"))
    theirs = peft.PeftModel.from_pretrained(tiny("bert"), tmp_path / "after").eval()
    assert torch.allclose(output(theirs, "bert"), output(model, "bert"), atol=1e-5)


def test_goes_on_from_a_saved_state() -> None:
    """The moving averages are part of it, and a state from before the end undoes the pruning."""
    how = method()
    torch.manual_seed(0)
    model = train(how.attach(tiny("bert")), how, last=5)
    state = {n: t.clone() for n, t in pft.core.trainable_state(model).items()}
    other = how.attach(tiny("bert"))
    train(other, how)
    pft.core.load_trainable_state(other, state)
    for ours, theirs in zip(
        how.planted_in(other, SVDUpdate), how.planted_in(model, SVDUpdate), strict=True
    ):
        assert ours.kept is None and torch.equal(ours.scores(), theirs.scores())
    assert torch.equal(output(other, "bert"), output(model, "bert"))


@pytest.mark.parametrize(("start", "left", "count"), [(8, 8, 1_327_680), (2, 2, 331_920)])
def test_counts_of_the_paper(start: int, left: int, count: int) -> None:
    """Table 1: 1.27M and 0.32M, in units of 2^20. DeBERTaV3-base has BERT-base's shapes."""
    model = pft.AdaLoRA(rank=left, start_rank=start, at=SIX).attach(blank("bert-base"))
    assert pft.count(model).trainable == count
    assert count / 2**20 == pytest.approx({8: 1.27, 2: 0.32}[left], abs=0.005)


@pytest.mark.parametrize(
    ("start", "at", "count"),
    [(12, SIX, 1_991_520), (4, SIX, 663_840), (12, SIX[:3:2], 442_656)],
)
def test_trains_more_than_is_left(start: int, at: tuple[str, ...], count: int) -> None:
    model = pft.AdaLoRA(rank=2, start_rank=start, at=at).attach(blank("bert-base"))
    assert pft.count(model).trainable == count


@pytest.mark.parametrize(
    "values",
    [
        {"rank": 5, "start_rank": 4},
        {"interval": 0},
        {"warmup": 0.5, "final": 0.5},
        {"final": -0.1},
        {"beta1": 1.0},
        {"orthogonality": -1.0},
    ],
)
def test_impossible_values_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(pft.BadValue):
        pft.AdaLoRA(**values)
    with pytest.raises(pft.BadValue, match="start_rank is 40"):
        pft.AdaLoRA(start_rank=40).attach(tiny("bert"))
