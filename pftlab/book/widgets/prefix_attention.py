"""How much of its attention each head of each layer pays to a trained prefix.

Li and Liang (2021), Prefix-Tuning: Optimizing Continuous Prompts for Generation,
https://arxiv.org/abs/2101.00190, Section 4; the share of attention that goes to the prefix is λ in
Eq. 5 of He et al. (2022), https://arxiv.org/abs/2110.04366
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import traitlets
from torch import Tensor, nn

from ...bases import load_tokenizer
from ...core import KeysValues, config_of, plant, planted, uproot
from ...core.errors import BadValue, Refused
from ...core.ports.attention import scores
from ...core.sites import sites
from ..plots import FAMILIES, GREY, canvas, style
from .figure import InteractiveFigure, packed, unpacked

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WATCHER = "prefix_attention"
DIGITS = 3  # of a share: a page needs no more


class Watcher(KeysValues):
    """Notes how much each query of one attention module attends to each key; rewrites nothing.

    weights (heads, T, n + T): of the last text that was read, prefix first
    """

    keys: Tensor
    weights: Tensor

    def __init__(self, causal: bool):
        super().__init__()
        self.causal = causal

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        self.keys = keys  # the prefix was planted before, and stands in front
        return keys, values

    def finish(
        self, query: Tensor, output: Tensor, scaling: float | None, softcap: float | None
    ) -> Tensor:
        keys = self.keys.repeat_interleave(query.shape[1] // self.keys.shape[1], dim=1)
        found = scores(query, keys, scaling, softcap)[0].float()
        length = found.shape[1]
        if self.causal:  # of the text; the prefix is seen by all of it
            later = torch.ones(length, length, dtype=torch.bool, device=found.device).triu(1)
            found[:, :, -length:].masked_fill_(later, -torch.inf)
        self.weights = found.softmax(-1).cpu()
        return output


@torch.no_grad()
def attention(model: nn.Module, ids: Sequence[int]) -> dict[int, Tensor]:
    """Attention of one text in every layer that has a prefix: layer → (heads, T, n + T).

    Args:
        model: with prefix tuning, or another method that puts keys in front, attached.
        ids: of the text's tokens.

    Raises:
        Refused: no layer has a prefix, or the model has an encoder and a decoder.
    """
    if config_of(model).is_encoder_decoder:
        raise Refused("Two stacks attend to prefixes here; give a model that has one stack.")
    training = model.training
    model.eval()
    hosts = {id(host) for _, host, _, delta in planted(model) if isinstance(delta, KeysValues)}
    watched = [s for s in sites(model, ("attention.keys_values",)) if id(s.host) in hosts]
    watchers: dict[int, Watcher] = {}
    try:
        for site in watched:
            assert site.layer is not None
            watchers[site.layer] = Watcher(bool(site.host.is_causal))
            plant(site, WATCHER, watchers[site.layer])
        given = torch.tensor([list(ids)], device=next(model.parameters()).device)
        if watchers:
            model(input_ids=given, attention_mask=torch.ones_like(given))
    finally:
        for _, host, child, _ in planted(model, WATCHER):
            uproot(host, child)
        model.train(training)
    found = {
        layer: watcher.weights
        for layer, watcher in watchers.items()
        if watcher.weights.shape[2] > len(ids)
    }
    if not found:
        raise Refused(
            "No layer of this model has a prefix of keys and values. Attach PrefixTuning or "
            "PTuningV2, and train it."
        )
    return found


class PrefixAttention(InteractiveFigure, script="prefix_attention.js"):
    """Which heads look at the prefix: for a sentence, layer by layer, head by head, word by word.

    Args:
        model: with a prefix, trained.
        sentences: to choose from.
        tokenizer: the base's; loaded if not given.
        **chosen: `sentence` (number of it), `row` (number of the layer among those with a prefix)
            and `head`, to begin with; counted from 0.

    Raises:
        BadValue: there are no sentences, or one without words; or no such sentence, row or head.
        Refused: no layer has a prefix, or the model has an encoder and a decoder.
    """

    sentences: traitlets.List[Any] = traitlets.List().tag(sync=True)
    layers: traitlets.List[int] = traitlets.List().tag(sync=True)
    heads = traitlets.Int().tag(sync=True)
    length = traitlets.Int().tag(sync=True)
    sentence = traitlets.Int(0).tag(sync=True)
    row = traitlets.Int(0).tag(sync=True)
    head = traitlets.Int(0).tag(sync=True)

    def __init__(self, model: Any, sentences: Sequence[str], tokenizer: Any = None, **chosen: Any):
        if not sentences or isinstance(sentences, str):
            raise BadValue("There are no sentences to read. Give a list with at least one.")
        tokenizer = tokenizer or load_tokenizer(model)
        made: list[dict[str, Any]] = []
        shape: dict[str, Any] = {}
        for text in sentences:
            ids = tokenizer(text)["input_ids"]
            if not ids:
                raise BadValue(f"{text!r} has no tokens. Give a text with words in it.")
            found = attention(model, ids)
            heads, _, both = next(iter(found.values())).shape
            shape = {"layers": list(found), "heads": heads, "length": both - len(ids)}
            # a token may say something of its neighbour and be no text: it is shown as it is
            words = [
                tokenizer.decode([i]).strip() or tokenizer.convert_ids_to_tokens(i) for i in ids
            ]
            made.append(_sentence(text, words, found))
        sizes = {"sentence": len(made), "row": len(shape["layers"]), "head": shape["heads"]}
        for name, size in sizes.items():
            if not 0 <= chosen.get(name, 0) < size:
                raise BadValue(f"{name}={chosen[name]}: there are {size}, counted from 0.")
        super().__init__(sentences=made, **shape, **chosen)

    def shares(self) -> np.ndarray:
        """Share of the attention of each token that goes to the prefix: (layers, heads, T)."""
        rows = unpacked(self.sentences[self.sentence]["shares"])
        return rows.reshape(len(self.layers), self.heads, -1)

    def vectors(self) -> np.ndarray:
        """The same for each vector of the prefix, mean over tokens: (layers, heads, n)."""
        rows = unpacked(self.sentences[self.sentence]["vectors"])
        return rows.reshape(len(self.layers), self.heads, -1)

    def even(self) -> float:
        """The share that the prefix would get if every key got the same."""
        return self.sentences[self.sentence]["even"]

    def above(self) -> int:
        """How many heads give the prefix more than that."""
        return int((self.shares().mean(-1) > self.even()).sum())

    def table(self) -> list[dict[str, Any]]:
        return [
            {"layer": layer} | {f"head {j}": float(mean) for j, mean in enumerate(means)}
            for layer, means in zip(self.layers, self.shares().mean(-1), strict=True)
        ]

    def figure(self) -> "Figure":
        means = 100 * self.shares().mean(-1)
        with style():
            figure, axes = canvas(7.2, 1.6 + 0.34 * len(self.layers))
            colour = FAMILIES["prompt"][1]
            axes.imshow(means, cmap=_shades(colour), vmin=0, vmax=150, aspect="auto")
            for (i, j), mean in np.ndenumerate(means):
                axes.text(j, i, f"{mean:.0f}", ha="center", va="center", color="#1b1f24")
            axes.set_xticks(range(self.heads))
            axes.set_yticks(range(len(self.layers)), self.layers)
            axes.set_xlabel("head")
            axes.set_ylabel("layer")
            text = self.sentences[self.sentence]["text"]
            axes.set_title(
                f"“{text}”: attention to the prefix, %; even would be {100 * self.even():.0f}",
                color=GREY, wrap=True,
            )  # fmt: skip
        return figure

    def describe(self) -> str:
        return (
            f"{len(self.sentences)} sentences, {len(self.layers)} layers of {self.heads} heads, "
            f"a prefix of {self.length}"
        )


def _sentence(text: str, tokens: list[str], found: dict[int, Tensor]) -> dict[str, Any]:
    """What the page needs of one sentence; rows are layer by layer, head by head."""
    every = torch.cat(list(found.values())).numpy()  # (layers · heads, T, n + T)
    length = every.shape[2] - every.shape[1]
    seen = (every > 0).any(0).sum(-1)  # keys that a token may look at
    return {
        "text": text,
        "tokens": tokens,
        "even": round(float((length / seen).mean()), DIGITS),
        "shares": packed(np.round(every[:, :, :length].sum(-1), DIGITS)),
        "vectors": packed(np.round(every[:, :, :length].mean(1), DIGITS + 1)),
    }


def _shades(colour: str) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("shades", ["#ffffff", colour])
