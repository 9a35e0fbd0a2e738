"""Methods act in `transformers.Trainer` as they do in the book's loop."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import batch, method, tiny
from training_setup import equal, few, model_with, state_of, without_dropout
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, TrainingArguments

import pftlab as pft
from pftlab.core.ports.steps import own_callbacks
from pftlab.facts import FACTS
from pftlab.training import LifecycleTrainer
from pftlab.training.state import read_state

SEEN: list[str] = []
# of every family one
FAMILIES_FIRST = set({row.family: name for name, row in reversed(FACTS.items())}.values())


class Watching(pft.LoRA):
    """Writes down when it is called."""

    def before_training(self, model: Any, batches: Any, total_steps: int) -> None:
        SEEN.append(f"before_training {total_steps} {sum(len(b['labels']) for b in batches())}")

    def before_step(self, model: Any, step: int, total_steps: int) -> None:
        SEEN.append(f"before {step}/{total_steps}")

    def extra_loss(self, model: Any) -> torch.Tensor:
        SEEN.append("extra")
        return 0.0 * next(p for p in model.parameters() if p.requires_grad).sum()

    def after_backward(self, model: Any, step: int, total_steps: int) -> None:
        assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
        SEEN.append(f"backward {step}/{total_steps}")

    def after_step(self, model: Any, step: int, total_steps: int) -> None:
        SEEN.append(f"after {step}/{total_steps}")


def settings(folder: Path, cls: Any = TrainingArguments, **more: Any) -> Any:
    options: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "report_to": [],
        "use_cpu": True,
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    return cls(**options | more)


def trainer(model: Any, base: str, folder: Path, **more: Any) -> LifecycleTrainer:
    task, tokenizer = few("reviews", 16), pft.load_tokenizer(base)
    return LifecycleTrainer(
        model=model,
        args=settings(folder, **more),
        train_dataset=task.encode(tokenizer, "train", max_length=48),
        eval_dataset=task.encode(tokenizer, "validation", max_length=48),
        data_collator=task.collate(tokenizer),
    )


def test_methods_act_in_order(base: str, tmp_path: Path) -> None:
    SEEN.clear()
    # 16 examples in parts of 4, two parts a step: two steps an epoch, over two epochs
    trainer(model_with(Watching(rank=2), base), base, tmp_path, num_train_epochs=2).train()
    steps = [
        (f"before {n}/4", "extra", "extra", f"backward {n}/4", f"after {n}/4") for n in (1, 2, 3, 4)
    ]
    assert ["before_training 4 16", *steps[0], *steps[1], *steps[2], *steps[3]] == SEEN


def test_evaluation_has_no_extra_loss(base: str, tmp_path: Path) -> None:
    SEEN.clear()
    trainer(model_with(Watching(rank=2), base), base, tmp_path).evaluate()
    assert SEEN == []


def test_a_resumed_run_does_not_begin_again(base: str, tmp_path: Path) -> None:
    arguments = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1}
    trainer(model_with(Watching(rank=2), base), base, tmp_path, **arguments).train()
    SEEN.clear()
    again = trainer(model_with(Watching(rank=2), base), base, tmp_path, **arguments)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    assert SEEN == ["before 2/2", "extra", "extra", "backward 2/2", "after 2/2"]


class Pulling(pft.LoRA):
    """Adds a loss with a gradient of `pull` in every entry of one bias."""

    pull = 0.0
    gradients: list[torch.Tensor] = []

    def extra_loss(self, model: Any) -> torch.Tensor | None:
        return self.pull * self._one(model).sum() if self.pull else None

    def after_backward(self, model: Any, step: int, total_steps: int) -> None:
        self.gradients.append(self._one(model).grad.clone())

    def _one(self, model: Any) -> Any:
        return next(p for n, p in model.named_parameters() if p.requires_grad and n.endswith(".B"))


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_the_extra_loss_counts_once_a_step_and_before_clipping(name: str, tmp_path: Path) -> None:
    # GPT-2's loss is divided by the labels of the whole step, BERT's by the Trainer.
    inputs = batch(name, 8)
    rows = [{n: t[i] for n, t in inputs.items()} for i in range(8)]
    for row in rows:
        row["labels"] = row["input_ids"] if name == "gpt2" else torch.tensor(0)
    Pulling.gradients.clear()
    for Pulling.pull in (0.0, 50.0):
        torch.manual_seed(0)
        model = without_dropout(Pulling(rank=2).attach(tiny(name)))
        arguments = settings(tmp_path, max_steps=1, max_grad_norm=0.01)
        LifecycleTrainer(model=model, args=arguments, train_dataset=rows).train()
    difference = Pulling.gradients[1] - Pulling.gradients[0]
    assert torch.allclose(difference, torch.tensor(50.0), atol=1e-3)


def test_groups_rates_and_optimiser_come_from_both_sides(base: str, tmp_path: Path) -> None:
    class Faster(pft.LoRA):
        def parameter_groups(self, model: Any, lr: float) -> list[dict[str, Any]]:
            up = [p for n, p in model.named_parameters() if n.endswith(".B")]
            return [{"params": up, "lr": 16 * lr}]

    arguments: dict[str, Any] = {"learning_rate": 1e-3, "weight_decay": 0.1, "optim": "adagrad"}
    ours = trainer(model_with(Faster(rank=2), base), base, tmp_path, max_steps=1, **arguments)
    ours.train()
    groups = ours.optimizer.param_groups
    assert [group["initial_lr"] for group in groups] == [0.016, 0.001]
    assert [group["weight_decay"] for group in groups] == [0.1, 0.1]
    assert isinstance(ours.optimizer.optimizer, torch.optim.Adagrad)


def test_it_combines_with_another_trainer(tmp_path: Path) -> None:
    class Mine(LifecycleTrainer, Seq2SeqTrainer):
        pass

    SEEN.clear()
    ids = batch("t5", 8)["input_ids"]
    rows = [{"input_ids": row, "labels": row} for row in ids]
    arguments = settings(tmp_path, Seq2SeqTrainingArguments, max_steps=1)
    Mine(model=Watching(rank=2).attach(tiny("t5")), args=arguments, train_dataset=rows).train()
    assert SEEN[1:] == ["before 1/1", "extra", "extra", "backward 1/1", "after 1/1"]


def acts_in_steps(name: str) -> bool:
    return bool(own_callbacks(pft.METHODS[name]))  # what it knows of the steps is in the state


@pytest.mark.parametrize(
    "name",
    [
        name
        if acts_in_steps(name) or name in FAMILIES_FIRST
        else pytest.param(name, marks=pytest.mark.full)
        for name in pft.METHODS
    ],
)
def test_a_checkpoint_is_gone_on_from_with_every_method(name: str, tmp_path: Path) -> None:
    """Two steps, a checkpoint and two more steps end where four steps do."""
    inputs = batch("bert", 16)
    labels = torch.arange(16) % 2
    rows = [{n: t[i] for n, t in inputs.items()} | {"labels": labels[i]} for i in range(16)]

    def train(seed: int, resume: str | None = None) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        model = method(name).attach(tiny("bert"))
        arguments = settings(
            tmp_path,
            max_steps=4,
            save_strategy="steps",
            save_steps=2,
            learning_rate=1e-2,
            gradient_accumulation_steps=1,
        )
        LifecycleTrainer(model=model, args=arguments, train_dataset=rows).train(resume)
        return state_of(model)

    whole = train(0)
    checkpoint = str(tmp_path / "checkpoint-2")
    resumed = train(5, checkpoint)
    assert whole.keys() == resumed.keys()
    for n, tensor in whole.items():
        assert torch.allclose(resumed[n].float(), tensor.float(), atol=1e-6), n
    assert not list(tmp_path.rglob("model.safetensors")), "the base is in no checkpoint"
    pft.load(tiny("bert"), tmp_path / "checkpoint-4")


def test_the_best_checkpoint_is_loaded_at_the_end(base: str, tmp_path: Path) -> None:
    model = model_with(pft.LoRA(rank=2), base)
    ours = trainer(
        model,
        base,
        tmp_path,
        max_steps=4,
        learning_rate=0.5,  # so that it gets worse
        lr_scheduler_type="constant",
        save_strategy="steps",
        save_steps=1,
        eval_strategy="steps",
        eval_steps=1,
        load_best_model_at_end=True,
    )
    ours.train()
    best = Path(ours.state.best_model_checkpoint)
    assert equal(state_of(model), read_state(best)[1]["model"])
    losses = {e["step"]: e["eval_loss"] for e in ours.state.log_history if "eval_loss" in e}
    assert best.name == f"checkpoint-{min(losses, key=losses.get)}"
    assert len({round(loss, 6) for loss in losses.values()}) > 1


def test_a_folder_without_a_checkpoint_of_ours(base: str, tmp_path: Path) -> None:
    with pytest.raises(pft.BadCheckpoint, match="no checkpoint that LifecycleTrainer saved"):
        trainer(model_with(pft.LoRA(rank=2), base), base, tmp_path).train(str(tmp_path))
    assert not list(tmp_path.iterdir())
