"""The methods' lifecycle in `transformers.Trainer`, for those who train with it."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer, TrainerCallback

from ..core.method import attached
from .loop import _groups


class LifecycleTrainer(Trainer):
    """A Trainer that lets attached methods act during training.

    Use it as the Trainer that it is; the model must have its methods attached. The learning rate
    of `TrainingArguments` is the one that `parameter_groups` gets.
    """

    model: Any

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.add_callback(_Lifecycle(self))

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        if self.optimizer is None:
            groups = _groups(
                self.model, list(attached(self.model).values()), self.args.learning_rate
            )
            self.optimizer = torch.optim.AdamW(
                groups, lr=self.args.learning_rate, weight_decay=self.args.weight_decay
            )
        return self.optimizer

    def compute_loss(  # type: ignore[override]
        self, model: Any, inputs: dict, return_outputs: bool = False, **kwargs: Any
    ) -> Any:
        result = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        loss, outputs = result
        if model.training:
            for method in attached(self.model).values():
                if (extra := method.extra_loss(self.model)) is not None:
                    loss = loss + extra / self.args.gradient_accumulation_steps
        return (loss, outputs) if return_outputs else loss

    def train(self, *args: Any, **kwargs: Any) -> Any:
        def batches() -> Iterator[dict[str, Tensor]]:
            for batch in self.get_train_dataloader():
                yield self._prepare_inputs(batch)

        total = self.args.max_steps
        if total <= 0:
            total = len(self.get_train_dataloader()) * int(self.args.num_train_epochs)
            total //= self.args.gradient_accumulation_steps
        self._move_model_to_device(self.model, self.args.device)
        for method in attached(self.model).values():
            method.before_training(self.model, batches, total)
        return super().train(*args, **kwargs)


class _Lifecycle(TrainerCallback):
    """Passes the Trainer's events on to the methods."""

    def __init__(self, trainer: Trainer):
        self.trainer: Any = trainer

    def _each(self, name: str, step: int, total: int) -> None:
        for method in attached(self.trainer.model).values():
            getattr(method, name)(self.trainer.model, step, total)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._each("before_step", state.global_step + 1, state.max_steps)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._each("after_backward", state.global_step + 1, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._each("after_step", state.global_step, state.max_steps)
