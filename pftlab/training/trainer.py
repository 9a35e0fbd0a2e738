"""The methods' lifecycle in `transformers.Trainer`, for those who train with it."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer, TrainerCallback

from ..core.errors import BadCheckpoint
from ..core.trained import load_trainable_state, trainable_state
from ..registry import save
from .lifecycle import Lifecycle
from .state import read_state, write_state


class LifecycleTrainer(Trainer):
    """A Trainer that lets attached methods act during training, and saves what they train.

    Use it as the Trainer that it is, on a model with something attached; for another Trainer,
    put it first: `class Mine(LifecycleTrainer, SFTTrainer)`. `TrainingArguments` choose the
    optimiser, its learning rate (which `parameter_groups` gets) and its weight decay. With fp16,
    methods see gradients that are still scaled; use bf16. A base in 16 bits keeps its head and
    its own trained parameters in 16 bits here, where small steps are lost: `pftlab.train` keeps
    32-bit masters of them, so use it, or load the base in 32 bits.

    A checkpoint is what `pftlab.save` writes, which `pftlab.load` opens, and the state of the
    methods, to go on from (`resume_from_checkpoint`, `load_best_model_at_end`); the base is in
    none of them.
    """

    model: Any
    _resumes = False

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.add_callback(_Steps(self))

    @property
    def methods(self) -> Lifecycle:
        """The callbacks of what is attached."""
        return Lifecycle(self.model, self.state.max_steps)

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        self._resumes = bool(resume_from_checkpoint)
        with self.methods:
            return super().train(resume_from_checkpoint, *args, **kwargs)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Called when the number of steps is known and no parameter has moved yet."""
        if not self._resumes:
            self.methods.before_training(self._batches)
        if self.optimizer is None:
            chosen, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            groups = self.methods.parameter_groups(self.args.learning_rate)
            groups = [{"weight_decay": self.args.weight_decay, **group} for group in groups]
            self.optimizer = chosen(groups, **options)
        return self.optimizer

    def compute_loss(  # type: ignore[override]
        self, model: Any, inputs: dict, return_outputs: bool = False, **kwargs: Any
    ) -> Any:
        # outputs that nobody asked for may cost another pass: TRL's trainer makes none otherwise
        found: Any = super().compute_loss(model, inputs, return_outputs=return_outputs, **kwargs)
        loss, outputs = found if return_outputs else (found, None)
        if model.training:
            # The Trainer divides a loss by the number of parts of a step, unless it is one already.
            divided = (
                self.model_accepts_loss_kwargs and kwargs.get("num_items_in_batch") is not None
            )
            divided = divided or self.compute_loss_func is not None
            parts = self.current_gradient_accumulation_steps if divided else 1
            loss = self.methods.with_extra_loss(loss, parts)
        return (loss, outputs) if return_outputs else loss

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        loss = super().training_step(*args, **kwargs)
        if self.accelerator.sync_gradients:  # the last part of a step: before gradients are clipped
            self.methods.after_backward(self.state.global_step + 1)
        return loss

    def _batches(self) -> Iterator[dict[str, Tensor]]:
        for batch in self.get_train_dataloader():
            yield self._prepare_inputs(batch)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Save what is trained; the base's weights are where they were loaded from."""
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:  # divided among processes
            super()._save(output_dir, state_dict)
            return
        folder = save(self.model, output_dir or str(self.args.output_dir))
        write_state(folder, {}, {"model": trainable_state(self.model)})
        if self.processing_class is not None:
            self.processing_class.save_pretrained(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        found = read_state(resume_from_checkpoint)
        if found is None:
            raise BadCheckpoint(
                f"{resume_from_checkpoint!r} is no checkpoint that LifecycleTrainer saved. Give "
                "the folder of one, such as checkpoint-500, or begin anew."
            )
        load_trainable_state(self.model, found[1].get("model", {}))

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(str(self.state.best_model_checkpoint))


class _Steps(TrainerCallback):
    """Tells the methods when a step begins and ends."""

    def __init__(self, trainer: LifecycleTrainer):
        self.trainer = trainer

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.methods.before_step(state.global_step + 1)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.methods.after_step(state.global_step)
