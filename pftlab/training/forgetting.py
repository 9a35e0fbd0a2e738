"""What fine-tuning costs beside its parameters: how much of the base's knowledge is lost.

A network that learns one thing forgets others (McCloskey and Cohen, 1989). Here it is measured as
how well the model still knows plain English, on twenty fixed paragraphs: with what is attached, and
with the base that is under it.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..bases import load_base, load_tokenizer
from ..core.attachment import disabled
from ..core.record import enabled_record
from .checks import positions
from .held_out_texts import TEXTS
from .stack import Stack

LONGEST = 128  # tokens of a paragraph that are read
EVERY = 7  # of so many tokens one is masked
TAKEN, OF = 3, 20  # tokens that are taken out for an encoder-decoder, of how many


@dataclass(frozen=True)
class Forgetting:
    """How well a model knows the fixed paragraphs, before and after it was trained.

    Attributes:
        metric: what was measured; for all but the last, less is better, in nats a token.
            "lm_loss": of every token, from those before it, by a decoder.
            "masked_lm_loss": of every seventh token, which is masked, by an encoder.
            "span_loss": of what is taken out, three of every twenty tokens, by an encoder-decoder
            whose tokenizer has sentinels, as T5's: each span behind the sentinel that stands for
            it, without the end of the target.
            "drift": one minus the cosine between the last hidden states of the model and of its
            base, mean over the tokens; where the base's files hold no head that predicts words.
        before: of the base.
        after: of the model with what is attached to it.
    """

    metric: str
    before: float
    after: float

    def __str__(self) -> str:
        return f"{self.metric} {self.before:.3f} before, {self.after:.3f} after"


@torch.no_grad()
def measure_forgetting(
    model: PreTrainedModel,
    *,
    max_length: int = LONGEST,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> Forgetting | None:
    """Measure what `model` forgot, by reading the fixed texts with it and with its base.

    A language model predicts with its own head. A classifier has another one: its adapted body is
    then read through the word-predicting head in the base's own files (an adapted encoder alone,
    which tags words, through the decoder there as well). Nothing is drawn at random.

    Args:
        model: with what was trained attached; its mode is left as it was.
        max_length: tokens of a text that are read; 128, and half of the model's positions, at most.
        tokenizer: the base's; loaded if not given.

    Returns:
        What was measured; None for a model with random weights, which has nothing to forget.

    Raises:
        Refused: nothing is attached, so that there is no before and after.
    """
    [found] = _measure(model, None, max_length, tokenizer)
    return found


@torch.no_grad()
def measure_forgetting_of_runs(
    stack: Stack, *, max_length: int = LONGEST, tokenizer: PreTrainedTokenizerBase | None = None
) -> list[Forgetting | None]:
    """The same of each run of a stack, all in one pass, and of their base once."""
    return _measure(stack.first, stack, max_length, tokenizer)


def _measure(
    model: PreTrainedModel,
    stack: Stack | None,
    max_length: int,
    tokenizer: PreTrainedTokenizerBase | None,
) -> list[Forgetting | None]:
    """Of the model alone, or of each run of the stack whose first model it is."""
    runs = 1 if stack is None else len(stack)
    enabled_record(model, "Measuring what was forgotten")
    info = getattr(model, "pftlab_base", None)
    if info is not None and info.sha256 is None:
        return [None] * runs
    tokenizer = tokenizer or load_tokenizer(model)
    longest = min(max_length, LONGEST, (positions(model) or 2 * LONGEST) // 2)
    texts = [_read(text, tokenizer, longest, model.device) for text in TEXTS]
    mask, sentinels = tokenizer.mask_token_id, _sentinels(tokenizer)
    training = model.training
    model.eval()
    try:
        reader = _reader(model, mask, sentinels)
        if reader is None:
            return [Forgetting("drift", 0.0, drift) for drift in _drift(model, stack, texts)]
        if reader.config.is_encoder_decoder:  # these are trained alone, never in a stack
            pairs = [_spans_out(text, sentinels) for text in texts]
            with disabled(model):
                before = _span_loss(reader, pairs)
            return [Forgetting("span_loss", before, _span_loss(reader, pairs))]
        if reader.can_generate():
            metric, mask = "lm_loss", None
        else:
            metric = "masked_lm_loss"
        with disabled(model):
            [before] = _loss(reader, None, texts, mask)
        return [Forgetting(metric, before, after) for after in _loss(reader, stack, texts, mask)]
    finally:
        model.train(training)


def _read(
    text: str, tokenizer: PreTrainedTokenizerBase, longest: int, device: torch.device
) -> dict[str, Tensor]:
    """One text as a batch of one, so that nothing is padded."""
    encoded = tokenizer(
        text, truncation=True, max_length=longest, return_special_tokens_mask=True,
        return_tensors="pt",
    )  # fmt: skip
    return {name: tensor.to(device) for name, tensor in encoded.items()}


def _sentinels(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that stand for spans in the longest text; []: there are none, or too few."""
    names = [f"<extra_id_{number}>" for number in range(-(-LONGEST // OF))]
    known = tokenizer.get_vocab()
    return [known[name] for name in names] if all(name in known for name in names) else []


def _reader(model: Any, mask: int | None, sentinels: list[int]) -> Any:
    """What predicts words from the model's states: itself, or its body in the base's own model.

    None: nothing that was pretrained does.
    """
    if _predicts_words(model, mask, sentinels):
        return model
    info = getattr(model, "pftlab_base", None)
    pretrained: Any = load_base(info.source) if info is not None else None
    if (
        pretrained is None
        or pretrained.pftlab_base.fresh
        or not _predicts_words(pretrained, mask, sentinels)
    ):
        return None
    body, prefix = model.base_model, model.base_model_prefix
    parts = {prefix: body} if hasattr(pretrained, prefix) else dict(body.named_children())
    for name, part in parts.items():  # T5 with its head for words has the parts of its body itself
        if type(getattr(pretrained, name, None)) is not type(part):
            return None
        setattr(pretrained, name, part)
    pretrained.to(device=model.device, dtype=model.dtype).eval()
    return pretrained


def _predicts_words(model: Any, mask: int | None, sentinels: list[int]) -> bool:
    """Whether it has a head for words, and was pretrained to give those that can be asked for.

    A decoder gives the next one, an encoder what is masked, an encoder-decoder what a sentinel
    stands for.
    """
    if model.get_output_embeddings() is None:
        return False
    if model.config.is_encoder_decoder:
        return bool(sentinels)
    return model.can_generate() or mask is not None


def _spans_out(text: dict[str, Tensor], sentinels: list[int]) -> tuple[dict[str, Tensor], Tensor]:
    """One text without some spans, and the target that gives them, as Raffel et al. (2020) do.

    The last three of every twenty tokens are taken out, counted from the end of the text, so that
    it ends with a span, as the rows of the book's own recipe do. When to end is not asked for: in
    pretraining that hangs on a number of spans which short texts do not have.
    """
    ids, special = (text[name][0].tolist() for name in ("input_ids", "special_tokens_mask"))
    left = special.count(0)
    source: list[int] = []
    target: list[int] = []
    spans, within = iter(sentinels), False
    for token, is_special in zip(ids, special, strict=True):
        left -= not is_special
        taken = not is_special and left % OF < TAKEN
        if taken and not within:
            source.append(sentinel := next(spans))
            target.append(sentinel)
        (target if taken else source).append(token)
        within = taken
    inputs = torch.tensor([source], device=text["input_ids"].device)
    labels = torch.tensor([target], device=inputs.device)
    return {"input_ids": inputs, "attention_mask": torch.ones_like(inputs)}, labels


def _span_loss(reader: Any, pairs: list[tuple[dict[str, Tensor], Tensor]]) -> float:
    """Mean over the tokens of all targets, in nats."""
    total, count = 0.0, 0
    for inputs, labels in pairs:
        logits = reader(**inputs, labels=labels).logits
        total += float(F.cross_entropy(logits[0].float(), labels[0], reduction="sum"))
        count += labels.numel()
    return total / count


def _loss(
    reader: Any, stack: Stack | None, texts: list[dict[str, Tensor]], mask: int | None
) -> list[float]:
    """Mean over the predicted tokens of all texts, in nats: the next token, or the masked ones.

    Of the reader as it is, or of each run of the stack whose body it reads with.
    """
    totals, count = [0.0] * _runs(stack), 0
    for text in texts:
        inputs = {name: tensor for name, tensor in text.items() if name != "special_tokens_mask"}
        ids = text["input_ids"]
        if mask is not None:
            word = text["special_tokens_mask"] == 0
            chosen = word & (word.cumsum(1) % EVERY == 1)
            inputs["input_ids"] = ids.masked_fill(chosen, mask)
        for k, logits in enumerate(_logits(reader, stack, inputs).split(1)):
            if mask is None:
                logits, wanted = logits[:, :-1], ids[:, 1:]
            else:
                logits, wanted = logits[chosen], ids[chosen]
            losses = F.cross_entropy(
                logits.flatten(0, -2).float(), wanted.flatten(), reduction="sum"
            )
            totals[k] += float(losses)
        count += wanted.numel()
    return [total / count for total in totals]


def _logits(reader: Any, stack: Stack | None, inputs: dict[str, Tensor]) -> Tensor:
    """Of the words alone: a soft prompt may be kept in front of them, for a head that reads it."""
    length = inputs["input_ids"].shape[1]
    with _reading(stack):
        return reader(**_for_all(stack, inputs)).logits[:, -length:]


def _drift(model: Any, stack: Stack | None, texts: list[dict[str, Tensor]]) -> list[float]:
    """One minus the cosine of the last states with and without what is attached: the mean."""
    body = model.get_encoder() if model.config.is_encoder_decoder else model.base_model
    totals, count = [0.0] * _runs(stack), 0
    for text in texts:
        inputs = {name: text[name] for name in ("input_ids", "attention_mask")}
        length = inputs["input_ids"].shape[1]
        with _reading(stack):
            after = body(**_for_all(stack, inputs)).last_hidden_state[:, -length:].float()
        with disabled(model):
            before = body(**inputs).last_hidden_state.float()
        away = (1 - F.cosine_similarity(before, after, dim=-1)).clamp(min=0).sum(1)
        totals = [total + one for total, one in zip(totals, away.tolist(), strict=True)]
        count += length
    return [total / count for total in totals]


def _runs(stack: Stack | None) -> int:
    return 1 if stack is None else len(stack)


def _reading(stack: Stack | None) -> AbstractContextManager[None]:
    return nullcontext() if stack is None else stack.acting(1)


def _for_all(stack: Stack | None, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """One text, as the row of every run."""
    return {name: tensor.expand(_runs(stack), -1) for name, tensor in inputs.items()}
