"""How good a model is on text that it never saw."""

import math
from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from torch.nn import functional as F
from transformers import PreTrainedModel

from .corpus import in_chunks
from .objectives import Objective
from .students import POSITIONS, DecoderStudent, Student
from .tokenizer import token_id


class HeldOut:
    """Measures models on text that was never trained on, in bits per byte, by source.

    For a decoder these are the bits of the whole text: every token is predicted from at least 128
    earlier ones of its document (or all there are). For an encoder they are the bits of the masked
    tokens per byte of those, and the losses against the teacher stand beside them. An
    encoder-decoder has its loss alone, in nats for each token of the targets.
    """

    def __init__(
        self,
        documents: Sequence[dict[str, str]],
        tokenizer: Tokenizer,
        objective: Objective,
        device: torch.device,
    ):
        self.tokenizer, self.objective, self.device = tokenizer, objective, device
        self.by_source: dict[str, list[str]] = {}
        for document in documents:
            self.by_source.setdefault(document.get("source", "all"), []).append(document["text"])
        texts = [document["text"] for document in documents]
        tokens = sum(len(e.ids) for e in tokenizer.encode_batch(texts, add_special_tokens=False))
        self.bytes_per_token = sum(len(text.encode()) for text in texts) / max(1, tokens)

    @torch.no_grad()
    def measure(self, student: Student) -> dict[str, float]:
        """Return the measurements of one model, keyed by what they are."""
        if isinstance(student, DecoderStudent):
            return self._next_token(student.model)
        sums: dict[str, float] = {}
        steps = 12
        for step in range(steps):
            generator = torch.Generator(self.device).manual_seed(step)
            with precision(self.device):
                losses = student(self.objective.batch(step, generator))
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value.item() / steps
        if "masked_lm" in sums:
            bits = sums["masked_lm"] / math.log(2) / self.bytes_per_token
            sums = {"bits_per_byte_masked": bits} | sums
        return sums

    def _next_token(self, model: PreTrainedModel) -> dict[str, float]:
        end = token_id(self.tokenizer, "[END]")
        measured, all_bits, all_bytes = {}, 0.0, 0
        for source, texts in self.by_source.items():
            windows: list[tuple[list[int], int]] = []
            for encoding in self.tokenizer.encode_batch(texts, add_special_tokens=False):
                windows += in_chunks([end, *encoding.ids], POSITIONS, POSITIONS // 2)
            bits = sum(self._bits(model, windows[i : i + 64]) for i in range(0, len(windows), 64))
            size = sum(len(text.encode()) for text in texts)
            measured[f"bits_per_byte/{source}"] = bits / size
            all_bits, all_bytes = all_bits + bits, all_bytes + size
        return {"bits_per_byte": all_bits / all_bytes} | measured

    def _bits(self, model: PreTrainedModel, windows: list[tuple[list[int], int]]) -> float:
        ids = torch.zeros(len(windows), POSITIONS, dtype=torch.long)
        scored = torch.zeros(len(windows), POSITIONS, dtype=torch.bool)
        for row, (tokens, new) in enumerate(windows):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            scored[row, len(tokens) - new : len(tokens)] = True
        ids, scored = ids.to(self.device), scored.to(self.device)
        with precision(self.device):
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        nats = F.cross_entropy(
            logits[:, :-1].float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
        )
        return (nats * scored[:, 1:].flatten()).sum().item() / math.log(2)


def precision(device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
