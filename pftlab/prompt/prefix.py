"""Keys and values in front of every layer's own: what the deep prompts of this family share."""

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from ..core import BadCheckpoint, Method, PeftFormat, Site, planted
from ..core.attention import KeysValues
from ..core.sites import config_of, sites
from .soft_prompt import OURS


class Prefix(KeysValues):
    """[P_K; K] and [P_V; V]: n trainable keys and values for each head of one layer.

    P_K, P_V (heads, n, d); keys, values (B, heads, T, d)
    """

    def __init__(self, keys: Tensor, values: Tensor):
        super().__init__()
        self.keys, self.values = nn.Parameter(keys), nn.Parameter(values)

    def prefix(self) -> tuple[Tensor, Tensor]:
        """P_K and P_V."""
        return self.keys, self.values

    def forward(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        p_k, p_v = (
            p.to(keys.dtype).expand(len(keys), -1, -1, -1) for p in (self.keys, self.values)
        )
        return torch.cat([p_k, keys], dim=2), torch.cat([p_v, values], dim=2)


class Reparametrisation(nn.Module):
    """P = MLP(P'): one small matrix and one network for the prefixes of all layers.

    embedding P' (n, d) → Linear (d, hidden) → tanh → Linear (hidden, layers · 2 · heads · width);
    Section 4.3 of Li and Liang (2021).
    """

    def __init__(self, length: int, d: int, hidden: int, shapes: list[tuple[int, int]]):
        super().__init__()
        self.shapes = shapes
        self.embedding = nn.Parameter(torch.randn(length, d))
        total = sum(2 * heads * width for heads, width in shapes)
        self.mlp = nn.Sequential(nn.Linear(d, hidden), nn.Tanh(), nn.Linear(hidden, total))

    def prefix(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values (heads, n, width) of one layer; only its columns are computed."""
        start = sum(2 * heads * width for heads, width in self.shapes[:layer])
        heads, width = self.shapes[layer]
        stop = start + 2 * heads * width
        first, activation, last = self.mlp
        hidden = activation(first(self.embedding))
        out = nn.functional.linear(hidden, last.weight[start:stop], last.bias[start:stop])
        keys, values = out.view(-1, 2, heads, width).permute(1, 2, 0, 3)
        return keys, values


class ReparametrisedPrefix(KeysValues):
    """The prefix of one layer, from the network that all layers share."""

    def __init__(self, shared: Reparametrisation, layer: int):
        super().__init__()
        self.shared, self.layer = shared, layer

    def prefix(self) -> tuple[Tensor, Tensor]:
        """P_K and P_V."""
        return self.shared.prefix(self.layer)

    def forward(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        p_k, p_v = (p.to(keys.dtype).expand(len(keys), -1, -1, -1) for p in self.prefix())
        return torch.cat([p_k, keys], dim=2), torch.cat([p_v, values], dim=2)


class Recorder(KeysValues):
    """Keeps the keys and values that its layer computes."""

    seen: tuple[Tensor, Tensor]

    def forward(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        self.seen = keys[0].detach().clone(), values[0].detach().clone()
        return keys, values


def shape(site: Site) -> tuple[int, int]:
    """(key-value heads, width of a head) at an `attention.keys_values` site."""
    return site.key_value_heads, site.head_width


@dataclass(frozen=True)
class PrefixFormat(PeftFormat):
    """PEFT's prefix is one table (n, layers · 2 · heads · width), in front of shifted positions.

    What made the table is not in PEFT's file. Ours holds the network beside it, where PEFT does
    not look, so that training can go on. In an encoder-decoder model PEFT gives a prefix to the
    decoder's self-attention alone and leaves half of its numbers unused, which ours cannot say;
    a model that takes no cache of keys and values (DistilBERT) can have none of PEFT's.
    """

    key: str = "prompt_embeddings"

    def write(
        self, model: nn.Module, name: str, method: Method
    ) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        prefixes, config = prefixes_of(model, name), config_of(model)
        whole = len(prefixes) == len(sites(model, ("attention.keys_values",)))
        cached = "past_key_values" in signature(model.base_model.forward).parameters  # type: ignore[union-attr]
        if config.is_encoder_decoder or not (cached and whole and method.shift_positions):  # type: ignore[attr-defined]
            return None
        # (layers, 2, heads, n, width) → (n, layers · 2 · heads · width)
        stacked = torch.stack([torch.stack(p.prefix()) for p in prefixes]).detach()
        table = stacked.permute(3, 0, 1, 2, 4).flatten(1)
        heads, width = stacked.shape[2], stacked.shape[4]
        shape = {
            "token_dim": heads * width,
            "num_layers": len(prefixes),
            "num_attention_heads": heads,
            "num_transformer_submodules": 1,
            "encoder_hidden_size": heads * width,
            "prefix_projection": False,
        }
        shared = getattr(prefixes[0], "shared", None)
        network = {} if shared is None else shared.state_dict()
        return shape, {self.key: table, **{OURS + n: t for n, t in network.items()}}

    def read(
        self,
        cls: type[Method],
        model: nn.Module,
        config: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
    ) -> Method:
        if config_of(model).is_encoder_decoder:
            raise BadCheckpoint(
                "This PREFIX_TUNING checkpoint has one prefix for the decoder's self-attention "
                "alone. Load it with Hugging Face PEFT."
            )
        return cls(length=config["num_virtual_tokens"], hidden=None, shift_positions=True)  # type: ignore[call-arg]

    def fill(
        self, model: nn.Module, name: str, method: Method, tensors: Mapping[str, Tensor]
    ) -> set[str]:
        if self.key not in tensors:
            raise BadCheckpoint(f"The file has no {self.key}. It is not complete.")
        prefixes, table = prefixes_of(model, name), tensors[self.key]
        heads, n, width = prefixes[0].prefix()[0].shape
        if table.shape != (n, len(prefixes) * 2 * heads * width):
            raise BadCheckpoint(
                f"The prefix has shape {tuple(table.shape)} in the file and "
                f"{(n, len(prefixes) * 2 * heads * width)} here. It was trained on another model."
            )
        if shared := getattr(prefixes[0], "shared", None):
            network = {k.removeprefix(OURS): t for k, t in tensors.items() if k.startswith(OURS)}
            if missing := sorted(shared.state_dict().keys() - network.keys()):
                raise BadCheckpoint(f"The file has no {OURS}{missing[0]}. It is not complete.")
            shared.load_state_dict(network)
            return {self.key, *(OURS + n for n in network)}
        parts = table.view(n, len(prefixes), 2, heads, width).permute(1, 2, 3, 0, 4)
        for prefix, (keys, values) in zip(prefixes, parts, strict=True):
            prefix.unpack({"keys": keys, "values": values})
        return {self.key}


def prefixes_of(model: nn.Module, name: str | None = None) -> list[Any]:
    """The prefixes that are attached as `name`, or as whatever, from the first layer up."""
    kinds = (Prefix, ReparametrisedPrefix)
    return [delta for *_, delta in planted(model, name) if isinstance(delta, kinds)]
