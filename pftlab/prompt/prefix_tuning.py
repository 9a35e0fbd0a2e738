"""Prefix-Tuning: Optimizing Continuous Prompts for Generation.

Li and Liang (2021), https://arxiv.org/abs/2101.00190

**With the network, learn slowly: at 5e-5 to 8e-5 as the authors do.** (The default rate is for the
book's small bases and hidden=64.) AdamW moves every weight of the network by the rate, and each
entry of the prefix is a sum over `hidden` of them, which all move at once: at 512 an entry moves
by tens of rates a step, where one that is trained directly moves by one at most. Too large a step
sends the attention of whole layers to the prefix. The texts then have one and the same last
state, and the loss stays that of guessing. On `smollm2` (SST-2, 24 steps of 8 texts in 32 bits;
how far an entry moves in a step, the cosine between the last states of different texts, the
largest share of a layer's attention on the prefix, and the loss of the last 8 steps):

    network, 1e-3     0.037      cosine 0.99    share 1.00    loss 0.87
    direct,  7e-2     0.021      cosine 0.90    share 0.84    loss 0.86
    direct,  1e-2     0.003      cosine 0.52    share 0.63    loss 0.46
    network, 3e-5     0.001      cosine 0.61    share 0.47    loss 0.63
    network, 1e-5     0.0003     cosine 0.45    share 0.61    loss 0.53

So it is the step, and neither the network nor the size of the first prefix: with std=0.27, which
is the network's, a direct one learns as well (loss 0.46 at 1e-2), and a network whose first output
is a fourteenth of that fails at 1e-3 (cosine 1.00, loss 0.75).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..core import (
    BadValue,
    Delta,
    Method,
    PositionShift,
    Refused,
    Site,
    config_of,
    plant,
    planted,
    uproot,
    with_cross_attention,
)
from ..core.limits import Whole
from ..core.sites import sites
from ..facts import FACTS
from .prefix import Prefix, Recorder, prefixes


@dataclass(frozen=True)
class PrefixTuning(Method):
    """Put trainable keys and values in front of those of every attention layer.

    Args:
        length: n, the number of prefix positions (paper: 5 for table-to-text, 10 in its code).
        hidden: width of the network that produces the prefix (Section 4.3; the paper's code has
            512, and its rates are 5e-5 and 8e-5). None: train keys and values directly, which the
            paper found less stable.
        std: deviation of the first keys and values, without the network.
        shift_positions: let the positions of the text begin behind the prefix, as the authors'
            code and Hugging Face PEFT do. Rotary positions see the difference.
        at: every attention; in an encoder-decoder model cross-attention gets prefixes as well.
        layers: numbers of the layers that get a prefix; None: all.
    """

    facts = FACTS["prefix_tuning"]

    length: Whole = 10
    hidden: Whole | None = 512
    std: float = 0.02
    shift_positions: bool = True
    at: tuple[str, ...] = ("attention.keys_values",)
    layers: tuple[int, ...] | None = None

    def sites(self, model: nn.Module) -> list[Site]:
        return sites(model, with_cross_attention(model, self.at), self.layers)

    def plan(self, model: nn.Module) -> list[tuple[Site, Delta]]:
        planned = prefixes(self.sites(model), self.length, self.hidden, self.std)
        if self.shift_positions:
            (stack,) = sites(model, ("sequence",))
            planned.append((stack, PositionShift(self.length)))
        return planned


def start_from_text(model: nn.Module, tokenizer: Any, text: str) -> None:
    """Set an attached prefix to the keys and values of real words (Section 7.4, low-data).

    The base reads `text`, repeated or cut to the prefix's length, and every layer's prefix
    becomes what that layer computes for it.

    Args:
        model: with PrefixTuning(hidden=None) or PTuningV2 attached.
        tokenizer: the base's.
        text: words to start from, such as the name of the task.

    Raises:
        Refused: no directly trained prefix is attached.
        BadValue: the text has no tokens.
    """
    prefixes = [(host, d) for _, host, _, d in planted(model) if isinstance(d, Prefix)]
    if not prefixes:
        raise Refused("No directly trained prefix is attached. Attach PrefixTuning(hidden=None).")
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if not ids:
        raise BadValue(f"{text!r} has no tokens. Give a text with words in it.")
    length = prefixes[0][1].keys.shape[1]
    words = torch.tensor([[ids[i % len(ids)] for i in range(length)]]).to(
        prefixes[0][1].keys.device
    )
    for (_, prefix), (keys, values) in zip(prefixes, _read(model, words), strict=True):
        with torch.no_grad():
            prefix.keys.copy_(keys)
            prefix.values.copy_(values)


@torch.no_grad()
def _read(model: nn.Module, words: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of `words` (1, n) at every site that carries a prefix, the base alone."""
    deltas = [delta for *_, delta in planted(model)]
    hosts = {id(h) for _, h, _, d in planted(model) if isinstance(d, Prefix)}
    names = ("attention.keys_values",)
    chosen = [s for s in sites(model, with_cross_attention(model, names)) if id(s.host) in hosts]
    training = model.training
    model.eval()
    for delta in deltas:
        delta.active = False
    recorders = [Recorder() for _ in chosen]
    try:
        for site, recorder in zip(chosen, recorders, strict=True):
            plant(site, "recorder", recorder)
        inputs = {"input_ids": words, "attention_mask": torch.ones_like(words)}
        if config_of(model).is_encoder_decoder:
            inputs["decoder_input_ids"] = words
        model(**inputs)
        by_host = {id(s.host): r.seen for s, r in zip(chosen, recorders, strict=True)}
    finally:
        for _, host, child, _ in planted(model, "recorder"):
            uproot(host, child)
        for delta in deltas:
            delta.active = True
        model.train(training)
    order = [id(h) for _, h, _, d in planted(model) if isinstance(d, Prefix)]
    return [by_host[i] for i in order]
