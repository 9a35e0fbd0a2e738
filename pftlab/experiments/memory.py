"""What a training step must hold in memory, counted tensor by tensor.

A count is exact and the same on every machine. What a process or a GPU reports is neither: it
depends on the allocator and on what ran before.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..bases import load_tokenizer
from ..core.ports.steps import announced
from ..tasks import Task
from ..training.data import encode

LOOKED_AT = 1000  # training rows among which the longest are taken


def training_memory(
    model: PreTrainedModel, task: Task, *, batch_size: int = 16, max_length: int = 128
) -> dict[str, int]:
    """Count what training `model` on a task holds; see `step_memory`.

    Args:
        model: with a method attached.
        task: the batch is made of the longest of its first 1,000 training texts.
        batch_size: texts in a step.
        max_length: in tokens; longer texts are cut.
    """
    tokenizer = load_tokenizer(model)
    examples = encode(model, task, tokenizer, "train", max_length, LOOKED_AT)
    longest = sorted(examples, key=lambda e: len(e["input_ids"]), reverse=True)[:batch_size]
    return step_memory(model, task.collate(tokenizer)(longest))


def step_memory(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, int]:
    """Count the bytes that a training step with AdamW holds between forward and backward pass.

    One step is computed, without the optimiser. Gradients and random state are left as they were.

    Args:
        model: with a method attached.
        batch: with labels.

    Returns:
        Bytes of "weights" (all of the model), "gradients", "optimiser" (AdamW's two moments) and
        "activations" (what the forward pass keeps for the backward pass).
    """
    device = next(model.parameters()).device
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    trained = [p for p in model.parameters() if p.requires_grad]
    kept, training = [p.grad for p in trained], model.training
    model.train()
    for parameter in trained:
        parameter.grad = None
    try:
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), announced(model):
            activations = kept_activations(model, batch)
        gradients = sum(p.grad.nbytes for p in trained if p.grad is not None)
    finally:
        model.train(training)
        for parameter, gradient in zip(trained, kept, strict=True):
            parameter.grad = gradient
    return {
        "weights": sum(_storages(model).values()),
        "gradients": gradients,
        "optimiser": 2 * sum(p.nbytes for p in trained),
        "activations": activations,
    }


def kept_activations(model: nn.Module, batch: dict[str, Tensor]) -> int:
    """Run a model forward and backward; the bytes that it kept between the two."""
    inputs = [tensor.untyped_storage().data_ptr() for tensor in batch.values()]
    there = {*_storages(model), *inputs}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in there:
            # Views of one storage count once.
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(**batch).loss
    total = sum(kept.values())  # now, while all of it is there
    loss.backward()
    return total


def _storages(model: nn.Module) -> dict[int, int]:
    """Address → bytes of everything the model stores; what modules share counts once."""
    tensors = [*model.parameters(), *model.buffers()]
    storages = [tensor.untyped_storage() for tensor in tensors]
    return {storage.data_ptr(): storage.nbytes() for storage in storages}
