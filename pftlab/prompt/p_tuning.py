"""P-tuning (v1): GPT Understands, Too.

Liu, Zheng, Du, Ding, Qian, Yang and Tang (2021), https://arxiv.org/abs/2103.10385. In its
SuperGLUE experiments the paper tunes the model as well: attach FullFineTuning beside it.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from ..core import BadValue, Method, Site
from ..core.limits import Share, Whole, one_of
from ..facts import FACTS
from .soft_prompt import SoftPrompt, check_position

ENCODERS = ("lstm", "mlp", "none")
SLOT, TEXT = "[P]", "[TEXT]"


class EncodedPrompt(SoftPrompt):
    """P = MLP(BiLSTM(P')), or MLP(P'), among literal words (Section 3.2, Eq. 4).

    P' (n, d), hidden width m: LSTM (d, m each way, two layers) → Linear (2m, 2m) → ReLU → Linear
    (2m, d); or Linear (d, m) → ReLU → Linear (m, m) → ReLU → Linear (m, d). Anchors are
    embeddings of words, frozen.
    """

    def __init__(self, site: Site, method: "PTuning"):
        words = site.words
        d = words.shape[1]
        super().__init__(torch.randn(method.length, d), method.position)
        self.length = method.length + len(method.anchor_ids)
        if any(id_ >= len(words) for id_ in method.anchor_ids):
            raise BadValue("`anchors` has ids beyond this model's. Use its tokenizer.")
        self.anchors = method.anchors
        self.recurrent: nn.Module = nn.Identity()
        self.mlp = nn.Sequential()
        if method.encoder == "lstm":
            m = method.hidden or d // 2
            self.recurrent = nn.LSTM(
                d,
                m,
                num_layers=2,
                dropout=method.dropout,
                bidirectional=True,
                batch_first=True,
            )
            first, last = nn.Linear(2 * m, 2 * m), nn.Linear(2 * m, d)
            self.mlp = nn.Sequential(first, nn.ReLU(), last)
        elif method.encoder == "mlp":
            m = method.hidden or d
            self.mlp = nn.Sequential(
                nn.Linear(d, m), nn.ReLU(), nn.Linear(m, m), nn.ReLU(), nn.Linear(m, d)
            )

    def vectors(self) -> Tensor:
        # Many a processor has no LSTM in 16 bits, and this one reads a few vectors.
        # Where there are shapes alone, there is no autocast to switch off.
        kind = self.P.device.type
        known = torch.amp.is_autocast_available(kind)
        with torch.autocast(kind, enabled=False) if known else nullcontext():
            encoded = self.recurrent(self.P[None])
            encoded = encoded[0] if isinstance(encoded, tuple) else encoded
            trained = self.mlp(encoded)[0]
        if not self.anchors:
            return trained
        words: Any = self.host.get_input_embeddings()  # type: ignore[operator]
        rows: list[Tensor] = []
        slot = iter(trained)
        for anchor in self.anchors:
            if anchor is None:
                rows.append(next(slot))
            else:
                word = torch.full((1,), anchor, device=trained.device)
                rows.append(words(word)[0].to(trained.dtype))
        return torch.stack(rows)


@dataclass(frozen=True)
class PTuning(Method):
    """Trainable vectors in the slots of a template, tied together by a small network.

    Args:
        length: n, the number of trained vectors.
        encoder: what ties them. "lstm": a bidirectional LSTM and an MLP, as in the paper; "mlp":
            an MLP of three layers, PEFT's default; "none": train them directly. After training
            the encoder's result is all that the model needs.
        hidden: m; None: half the model's width for "lstm" (the paper's code for LAMA), the
            model's width for "mlp".
        dropout: between the layers of the LSTM.
        position: how many words stay in front, as in PromptTuning: one number for a single block,
            a tuple of places for each vector and anchor.
        anchors: the template, slot by slot: the id of a literal word (the paper's anchors), or
            None for a trained vector. Empty: trained vectors alone. Made by `from_template`.
        at: the sequence of embedded words; the encoder's in an encoder-decoder model.
    """

    facts = FACTS["p_tuning"]

    length: Whole = 20
    encoder: Annotated[str, one_of(*ENCODERS)] = "lstm"
    hidden: Whole | None = None
    dropout: Share = 0.0
    position: int | tuple[int, ...] | None = None
    anchors: tuple[int | None, ...] = ()
    at: tuple[str, ...] = ("sequence",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.anchors and self.anchors.count(None) != self.length:
            raise BadValue(
                f"anchors has {self.anchors.count(None)} slots (None) for length={self.length} "
                "trained vectors; give as many."
            )
        check_position(self.position, self.length + len(self.anchor_ids))

    @property
    def anchor_ids(self) -> list[int]:
        return [anchor for anchor in self.anchors if anchor is not None]

    @classmethod
    def from_template(cls, tokenizer: Any, template: str, **options: Any) -> "PTuning":
        """The prompt that `template` describes, such as "[P] [P] [TEXT] [P] ? [P]".

        Args:
            tokenizer: the base's.
            template: [P] is a trained vector, [TEXT] the task's own words, all else literal.
            options: other hyper-parameters, by name.

        Raises:
            BadValue: there is no single [TEXT], no [P], or something behind the text where
                nothing would read it.
        """
        anchors, position = slots(tokenizer, template)
        return cls(length=anchors.count(None), anchors=anchors, position=position, **options)

    def delta(self, site: Site) -> EncodedPrompt:
        return EncodedPrompt(site, self)


def slots(
    tokenizer: Any,
    template: str,
) -> tuple[tuple[int | None, ...], tuple[int, ...]]:
    """Anchors of `template`, None for a trained vector, and the place of each."""
    if template.count(TEXT) != 1 or SLOT not in template:
        raise BadValue(f"{template!r}: write one {TEXT} and at least one {SLOT}.")
    sides = [_pieces(tokenizer, side) for side in template.split(TEXT)]
    word = tokenizer("a")["input_ids"]
    special = [id_ in tokenizer.all_special_ids for id_ in word]
    opening, closing = special.index(False), special[::-1].index(False)
    if sides[1] and not closing:
        raise BadValue(
            f"{template!r}: this tokenizer closes a text with nothing, so that the "
            f"model answers at its last word. Put all pieces in front of {TEXT}."
        )
    anchors = tuple(sides[0] + sides[1])
    position = (opening,) * len(sides[0]) + (-closing,) * len(sides[1])
    return anchors, position


def _pieces(tokenizer: Any, side: str) -> list[int | None]:
    """Ids of the words on one side of the text, with None for every slot."""
    found: list[int | None] = []
    for number, words in enumerate(side.split(SLOT)):
        found += [None] * (number > 0)
        found += tokenizer(words.strip(), add_special_tokens=False)["input_ids"]
    return found
