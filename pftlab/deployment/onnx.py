"""A model as one ONNX graph, compared with the model itself in onnxruntime."""

import inspect
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..core.errors import Refused

LARGEST = 1.5e9  # bytes of one file: protobuf takes 2 GiB, and beyond this weights go beside it
CLOSE = 1e-4  # of the largest number of the output


class _Logits(nn.Module):
    """The model as a function of tensors: one pass, without a cache."""

    def __init__(self, model: PreTrainedModel, names: list[str]):
        super().__init__()
        self.model, self.names = model, names
        self.options = {"use_cache": False} if hasattr(model.config, "use_cache") else {}

    def forward(self, *tensors: Tensor) -> Tensor:
        result = self.model(**dict(zip(self.names, tensors, strict=True)), **self.options)
        return result.logits if "logits" in result else result.last_hidden_state


def write_onnx(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: Path) -> None:
    """Write `model` to `path`, and compare the two on a batch of another shape.

    Args:
        model: plain, with nothing attached; it is left in 32 bits, with plain attention.
        tokenizer: says what the model reads.
        path: of the file. Weights beyond 1.5 GB go into another one beside it.

    Raises:
        Refused: PyTorch cannot write this model, or what it wrote computes something else.
    """
    model.set_attn_implementation("eager")  # T5's in another form cannot be written
    model.float().cpu().eval()
    traced, compared = (_inputs(model, tokenizer, *size) for size in ((2, 8), (3, 17)))
    network = _Logits(model, list(traced))
    dimensions = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    path.parent.mkdir(parents=True, exist_ok=True)
    weight = sum(p.numel() * p.element_size() for p in model.parameters())
    _log = logging.getLogger("torch.onnx")
    level = _log.level
    _log.setLevel(logging.ERROR)  # of torchvision, which nothing here needs
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch, about its own parts
            torch.onnx.export(
                network,
                tuple(traced.values()),
                path,
                dynamo=True,
                input_names=list(traced),
                output_names=["logits"],
                dynamic_shapes=(tuple(dimensions for _ in traced),),
                external_data=weight > LARGEST,
                verbose=False,
            )
    except Exception as error:  # whatever the tracing of a network can raise
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise Refused(
            f"PyTorch cannot write this {type(model).__name__} as ONNX: {reason[0]} Export it "
            "without onnx=True."
        ) from error
    finally:
        _log.setLevel(level)
    _compare(network, compared, path)


def _inputs(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: int, length: int
) -> dict[str, Tensor]:
    """A batch with padding, of all that the tokenizer gives and the model takes."""
    generator = torch.Generator().manual_seed(rows)
    taken = inspect.signature(model.forward).parameters
    embedding: Any = model.get_input_embeddings()
    words = min(len(tokenizer), len(embedding.weight))
    ids = torch.randint(0, words, (rows, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[-1, length // 2 :] = 0
    batch = {"input_ids": ids, "attention_mask": mask}
    if "token_type_ids" in tokenizer.model_input_names and "token_type_ids" in taken:
        batch["token_type_ids"] = torch.zeros_like(ids)
    if model.config.is_encoder_decoder and "decoder_input_ids" in taken:
        batch["decoder_input_ids"] = ids.flip(1)[:, : length - 3].contiguous()
    return batch


def _compare(network: _Logits, batch: dict[str, Tensor], path: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(None, {name: tensor.numpy() for name, tensor in batch.items()})[0]
    with torch.no_grad():
        wanted = network(*batch.values())
    seen = batch.get("decoder_input_ids", batch["attention_mask"])
    difference = (torch.from_numpy(found) - wanted).abs()
    if wanted.dim() == 3 and "decoder_input_ids" not in batch:
        difference = difference * seen[..., None]  # padding may compute anything
    apart, most = float(difference.max()), float(wanted.abs().max())
    if not apart <= CLOSE * max(most, 1.0):
        raise Refused(
            f"onnxruntime computes another {type(network.model).__name__} than PyTorch does: "
            f"outputs of at most {most:.3g} differ by {apart:.3g}. Export it without onnx=True."
        )
