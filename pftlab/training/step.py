"""Loss and gradients of a batch: computed plainly, or recorded once on the GPU and replayed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..core.errors import Refused, Unavailable
from ..core.ports.steps import own_callbacks
from ..core.record import attached
from .lifecycle import Lifecycle

Batch = dict[str, Tensor]
Saw = Callable[[Tensor], None]

MULTIPLE = 16  # lengths of recorded batches, in tokens: fewer shapes, fewer recordings
WARM_UP = 2  # passes before a recording, in which libraries choose their kernels
#: Callbacks in which methods freeze, skip, prune or replace what a recording has fixed.
CHANGING = {"before_step", "after_backward", "after_step"}


class Pass(Protocol):
    """Forward and backward pass of a batch, which can be recorded."""

    @property
    def parameters(self) -> list[Tensor]:
        """All that gradients may fall on."""

    def __call__(self, batch: Batch, share: float | Tensor, saw: Saw) -> None:
        """Add a batch's gradients to those of the parameters; see `Plain`."""


class Plain:
    """Forward and backward pass of a batch, operation by operation.

    Args:
        model: in training.
        methods: attached to it.
        bfloat16: compute in 16 bits where autocast does.
    """

    def __init__(self, model: PreTrainedModel, methods: Lifecycle, bfloat16: bool):
        self.model, self.methods, self.bfloat16 = model, methods, bfloat16

    @property
    def parameters(self) -> list[Tensor]:
        """All that gradients may fall on."""
        return list(self.model.parameters())

    def __call__(self, batch: Batch, share: float | Tensor, saw: Saw) -> None:
        """Add a batch's gradients to those of the parameters.

        Args:
            batch: on the model's device, with labels.
            share: of the batch in the loss of the step.
            saw: is told the share of the loss, while the activations are there.
        """
        device = batch["labels"].device
        with torch.autocast(device.type, torch.bfloat16, self.bfloat16):
            loss = self.model(**batch).loss
            saw(share * loss)
            loss = self.methods.with_extra_loss(loss)
        (share * loss).backward()


@dataclass
class Recording:
    """A CUDA graph, and the tensors that it reads and writes."""

    graph: Any  # torch.cuda.CUDAGraph, which torch leaves untyped
    batch: Batch
    share: Tensor
    loss: Tensor


class Captured:
    """The same, recorded as a CUDA graph for each shape of a batch and replayed from then on.

    A small model keeps the GPU waiting: to launch a kernel takes the processor longer than the
    GPU takes to run it. A CUDA graph launches all kernels of a pass at once. It reads and writes
    the same memory each time, so a batch is copied to where the first one lay, and gradients are
    added up in buffers that stay. Random numbers go on as they would without it.

    Args:
        plain: what is recorded; its model has passed `check_captured`.

    Raises:
        Refused: when called, the pass needs the processor to look at a result half-way.
    """

    def __init__(self, plain: Pass):
        self.plain = plain
        self.recordings: dict[tuple, Recording] = {}
        self.buffers: dict[Tensor, Tensor] = {}
        self.pool = torch.cuda.graph_pool_handle()  # recordings run one after the other: shared

    def __call__(self, batch: Batch, share: float | Tensor, saw: Saw) -> None:
        """As `Plain`."""
        shape = tuple((name, tensor.shape) for name, tensor in batch.items())
        if shape not in self.recordings:
            self.recordings[shape] = self._record(batch, share)
        recording = self.recordings[shape]
        for name, tensor in batch.items():
            recording.batch[name].copy_(tensor)
        if isinstance(share, Tensor):
            recording.share.copy_(share)
        else:
            recording.share.fill_(share)
        for parameter, buffer in self.buffers.items():
            if parameter.grad is None:  # the first part of a step; the next ones add to it
                parameter.grad = buffer.zero_()
        recording.graph.replay()
        saw(recording.loss)

    def _record(self, batch: Batch, share: float | Tensor) -> Recording:
        batch = {name: tensor.clone() for name, tensor in batch.items()}
        seen: list[Tensor] = []

        def see(loss: Tensor) -> None:
            seen.append(loss.detach())  # which does not keep the pass alive

        with self._nothing_kept():
            share = torch.as_tensor(share).to(batch["labels"].device, torch.float32, copy=True)
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARM_UP):
                    self.plain(batch, share, see)
            torch.cuda.current_stream().wait_stream(side)
            self._lay_out()
            graph: Any = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(graph, pool=self.pool):
                    self.plain(batch, share, see)
            except RuntimeError as error:
                if "out of memory" in str(error):
                    raise
                raise Refused(
                    "This step cannot be recorded: something in the pass waits for a result of "
                    f"the GPU. Train without capture=True. ({str(error).splitlines()[0]})"
                ) from error
        return Recording(graph, batch, share, seen[-1])

    def _lay_out(self) -> None:
        """Let the gradients of the warm-up be the buffers, or lie in those that are there."""
        for parameter in self.plain.parameters:
            if parameter.grad is not None:
                parameter.grad = self.buffers.setdefault(parameter, parameter.grad)

    @contextmanager
    def _nothing_kept(self) -> Iterator[None]:
        """Leave gradients and random numbers as they were."""
        gradients: dict[Tensor, Tensor | None] = {p: p.grad for p in self.plain.parameters}
        for parameter in gradients:
            parameter.grad = None
        try:
            with torch.random.fork_rng(devices=[torch.cuda.current_device()]):
                yield
        finally:
            for parameter, gradient in gradients.items():
                parameter.grad = gradient


def check_captured(model: PreTrainedModel) -> None:
    """Refuse what no recording can repeat.

    Raises:
        Unavailable: there is no GPU.
        Refused: a method acts in the steps.
    """
    if not torch.cuda.is_available():
        raise Unavailable(
            "capture=True records the step as a CUDA graph, and there is no GPU that PyTorch can "
            "use. Leave it out: a step does the same without it, and takes longer."
        )
    if changing := [m.title for m in attached(model).values() if changes_steps(type(m))]:
        raise Refused(
            f"{', '.join(changing)}: what is computed may change from step to step, so that one "
            "recorded step cannot stand for all. Leave capture=True out."
        )


def changes_steps(method: type) -> bool:
    """Whether a kind of method acts in the steps, as those do that prune or skip layers."""
    return bool(CHANGING & set(own_callbacks(method)))
