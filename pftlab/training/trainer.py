"""The methods' lifecycle in `transformers.Trainer`, for those who train with it."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer, TrainerCallback

from ..core.method import attached
from .optimiser import parameter_groups


class LifecycleTrainer(Trainer):
    """A Trainer that lets attached methods act during training.

    Use it as the Trainer that it is, on a model with something attached; for another Trainer,
    put it first: `class Mine(LifecycleTrainer, Seq2SeqTrainer)`. `TrainingArguments` choose the
    optimiser, its learning rate (which `parameter_groups` gets) and its weight decay. With fp16,
    methods see gradients that are still scaled; use bf16.
    """

    model: Any
    _resumes = False

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.add_callback(_Steps(self))

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        self._resumes = bool(resume_from_checkpoint)
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Called when the number of steps is known and no parameter has moved yet."""
        methods = list(attached(self.model).values())
        if not self._resumes:
            for method in methods:
                method.before_training(self.model, self._batches, self.state.max_steps)
        if self.optimizer is None:
            chosen, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            groups = parameter_groups(self.model, methods, self.args.learning_rate)
            groups = [{"weight_decay": self.args.weight_decay, **group} for group in groups]
            self.optimizer = chosen(groups, **options)
        return self.optimizer

    def compute_loss(  # type: ignore[override]
        self, model: Any, inputs: dict, return_outputs: bool = False, **kwargs: Any
    ) -> Any:
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        if model.training:
            # The Trainer divides a loss by the number of parts of a step, unless it is one already.
            divided = (
                self.model_accepts_loss_kwargs and kwargs.get("num_items_in_batch") is not None
            )
            divided = divided or self.compute_loss_func is not None
            parts = self.current_gradient_accumulation_steps if divided else 1
            for method in attached(self.model).values():
                if (extra := method.extra_loss(self.model)) is not None:
                    loss = loss + extra / parts
        return (loss, outputs) if return_outputs else loss

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        loss = super().training_step(*args, **kwargs)
        if self.accelerator.sync_gradients:  # the last part of a step: before gradients are clipped
            _each(self.model, "after_backward", self.state.global_step + 1, self.state.max_steps)
        return loss

    def _batches(self) -> Iterator[dict[str, Tensor]]:
        for batch in self.get_train_dataloader():
            yield self._prepare_inputs(batch)


class _Steps(TrainerCallback):
    """Tells the methods when a step begins and ends."""

    def __init__(self, trainer: LifecycleTrainer):
        self.trainer = trainer

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        _each(self.trainer.model, "before_step", state.global_step + 1, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        _each(self.trainer.model, "after_step", state.global_step, state.max_steps)


def _each(model: Any, name: str, step: int, total: int) -> None:
    for method in attached(model).values():
        getattr(method, name)(model, step, total)
