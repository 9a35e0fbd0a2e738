"""The Power of Scale for Parameter-Efficient Prompt Tuning.

Lester, Al-Rfou and Constant (2021), https://arxiv.org/abs/2104.08691

The prompt lives inside the stack, so a decoder answers for the words alone. In Hugging Face PEFT it
answers for the prompt as well, and training then includes the first word, predicted from the last
vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from ..core import BadValue, Method, Site
from ..core.limits import Whole, one_of
from ..facts import FACTS
from .soft_prompt import SoftPrompt, check_position

STARTS = ("uniform", "normal", "vocabulary", "tokens")


@dataclass(frozen=True)
class PromptTuning(Method):
    """Put trainable vectors among the input words and train nothing else.

    Args:
        length: n, the number of vectors (the paper tries 1 to 150).
        start: how they start (Section 3.2). "vocabulary": embeddings of words drawn from the
            `population` first of the vocabulary; "uniform": uniform in [-0.5, 0.5];
            "normal": standard normal, as Hugging Face PEFT does; "tokens": the embeddings of
            `tokens`.
        population: of how many words "vocabulary" draws (the paper: the 5,000 most common).
        tokens: for "tokens": one group of token ids for each vector, whose embeddings are
            averaged. Made by `from_text` and `from_labels`.
        position: how many words stay in front of the prompt. None: one where classification
            reads the first word ([CLS] keeps its place and position), else none. 0 on such a
            model lets the classifier read the first vector, as PEFT does. A tuple gives each
            vector its place: that many words in front of it, or behind it where below zero.
        at: the sequence of embedded words; the encoder's in an encoder-decoder model.
    """

    facts = FACTS["prompt_tuning"]

    length: Whole = 20
    start: Annotated[str, one_of(*STARTS)] = "vocabulary"
    population: Whole = 5000
    tokens: tuple[tuple[int, ...], ...] = ()
    position: int | tuple[int, ...] | None = None
    at: tuple[str, ...] = ("sequence",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.start == "tokens") != bool(self.tokens):
            raise BadValue('start="tokens" and `tokens` go together; use from_text or from_labels.')
        if self.tokens and (len(self.tokens) != self.length or not all(self.tokens)):
            raise BadValue(
                f"tokens holds {len(self.tokens)} groups of ids for length={self.length} vectors; "
                "give one group, which is not empty, for each vector."
            )
        check_position(self.position, self.length)

    @classmethod
    def from_text(cls, tokenizer: Any, text: str, length: int | None = None) -> "PromptTuning":
        """Start from the words of `text`, repeated or cut to `length` (default: all its tokens)."""
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if not ids:
            raise BadValue(f"{text!r} has no tokens. Give a text with words in it.")
        n = length or len(ids)
        groups = tuple((ids[i % len(ids)],) for i in range(n))
        return cls(length=n, start="tokens", tokens=groups)

    @classmethod
    def from_labels(
        cls, tokenizer: Any, labels: Sequence[str], length: int | None = None
    ) -> "PromptTuning":
        """Start from the names of the classes, each the mean of its tokens, repeated in turn."""
        groups = [
            tuple(tokenizer(label, add_special_tokens=False)["input_ids"]) for label in labels
        ]
        if not groups or not all(groups):
            raise BadValue(f"{list(labels)!r}: every label needs at least one token.")
        n = length or len(groups)
        return cls(
            length=n, start="tokens", tokens=tuple(groups[i % len(groups)] for i in range(n))
        )

    def delta(self, site: Site) -> SoftPrompt:
        return SoftPrompt(first_vectors(site, self), self.position)


def first_vectors(site: Site, method: PromptTuning) -> Tensor:
    """The prompt at first (n, d), by `method.start`.

    Raises:
        BadValue: a token is not in the vocabulary.
    """
    (n, d), device = (method.length, site.words.shape[1]), site.device
    if method.start == "uniform":
        return torch.empty(n, d, device=device).uniform_(-0.5, 0.5)
    if method.start == "normal":
        return torch.randn(n, d, device=device)
    words = site.words.detach().float()
    if method.start == "vocabulary":
        population = min(method.population, len(words))
        if n <= population:
            chosen = torch.randperm(population)[:n]
        else:
            chosen = torch.randint(population, (n,))
        return words[chosen.to(words.device)].clone()
    if max(max(group) for group in method.tokens) >= len(words):
        raise BadValue("`tokens` has ids beyond this model's. Use its tokenizer.")
    return torch.stack([words[list(group)].mean(0) for group in method.tokens])
