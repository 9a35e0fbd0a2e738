"""Files in the layout of AdapterHub's library, made by hand, with the logits of our own method."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny import batch, perturb, tiny

import pftlab as pft
from pftlab.core.delta import planted

#: name of a model → path of a layer, in which its layers are numbered
LAYER = {
    "bert": "bert.encoder.layer.{}",
    "distilbert": "distilbert.transformer.layer.{}",
    "gpt2": "transformer.h.{}",
    "llama": "model.layers.{}",
}
INSIDE = ("bert",)  # where an adapter is a child of the output module
BOTTLENECK: dict[str, Any] = {
    "adapter_residual_before_ln": False,
    "cross_adapter": False,
    "dropout": 0.0,
    "factorized_phm_W": True,
    "factorized_phm_rule": False,
    "hypercomplex_nonlinearity": "glorot-uniform",
    "init_weights": "bert",
    "init_weights_seed": None,
    "inv_adapter": None,
    "inv_adapter_reduction_factor": None,
    "is_parallel": False,
    "learn_phm": True,
    "leave_out": [],
    "ln_after": False,
    "ln_before": False,
    "mh_adapter": False,
    "non_linearity": "relu",
    "original_ln_after": True,
    "original_ln_before": True,
    "output_adapter": True,
    "phm_bias": True,
    "phm_c_init": "normal",
    "phm_dim": 4,
    "phm_init_range": 0.0001,
    "phm_layer": False,
    "phm_rank": 1,
    "reduction_factor": 8,
    "residual_before_ln": True,
    "scaling": 1.0,
    "shared_W_phm": False,
    "shared_phm_rule": True,
    "stochastic_depth": 0.0,
    "use_gating": False,
}
LORA: dict[str, Any] = {
    "alpha": 6,
    "architecture": "lora",
    "attn_matrices": ["q", "v"],
    "composition_mode": "add",
    "dropout": 0.0,
    "dtype": None,
    "init_weights": "lora",
    "init_weights_seed": None,
    "intermediate_lora": False,
    "leave_out": [],
    "output_lora": False,
    "r": 2,
    "selfattn_lora": True,
    "use_dora": False,
    "use_gating": False,
    "vera_b": None,
    "vera_d": None,
}
SCALE = LORA | {
    "alpha": 1,
    "r": 1,
    "attn_matrices": ["k", "v"],
    "composition_mode": "scale",
    "init_weights": "ia3",
    "intermediate_lora": True,
}
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "seq_bn": (pft.Pfeiffer(bottleneck=4), BOTTLENECK),
    "double_seq_bn": (
        pft.Houlsby(bottleneck=4, activation="swish", layer_norm=False),
        BOTTLENECK | {"mh_adapter": True, "original_ln_before": False, "non_linearity": "swish"},
    ),
    "par_bn": (
        pft.ParallelAdapter(bottleneck=4, scale=2.5),
        BOTTLENECK | {"is_parallel": True, "original_ln_before": False, "scaling": 2.5},
    ),
    "lora": (pft.LoRA(rank=2, alpha=6.0), LORA),
    "ia3": (pft.IA3(at=("attention.key", "attention.value", "ffn.up")), SCALE),
}


def write(folder: Path, config: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    outer = {
        "config": config,
        "hidden_size": 32,
        "model_class": "Some",
        "model_name": "",
        "model_type": "some",
        "name": "mine",
        "version": "adapters.1.3.0",
    }
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(outer))
    save_file({k: t.contiguous() for k, t in tensors.items()}, folder / "adapter.safetensors")


def bottlenecks(name: str, site: Any) -> str:
    """Where AdapterHub keeps the adapter behind a sub-layer."""
    after_attention = site.name.startswith("attention")
    if name == "t5":
        last = 2 if site.stack == "decoder" else 1
        return f"{site.stack}.block.{site.layer}.layer.{0 if after_attention else last}"
    block = LAYER[name].format(site.layer)
    if name in INSIDE:
        return f"{block}.attention.output" if after_attention else f"{block}.output"
    return f"{block}.attention_adapters" if after_attention else f"{block}.output_adapters"


def layout(name: str, kind: str, model: Any, method: Any) -> dict[str, torch.Tensor]:
    """What is attached to `model`, by the keys of AdapterHub."""
    found: dict[str, torch.Tensor] = {}
    by_host: dict[str, list[Any]] = {}
    for path, _, _, delta in planted(model, method.name):
        by_host.setdefault(path, []).append(delta)
    for site in method.sites(model):
        deltas = by_host[site.path]
        if kind.endswith("bn"):
            (delta,) = deltas
            start = f"{bottlenecks(name, site)}.adapters.mine"
            for ours, theirs in (("down", "adapter_down.0"), ("up", "adapter_up")):
                for leaf in ("weight", "bias"):
                    found[f"{start}.{theirs}.{leaf}"] = delta.pack()[f"{ours}.{leaf}"]
        elif kind == "lora":  # the slices of a fused projection are one tensor
            for leaf in ("A", "B"):
                joined = torch.cat([delta.pack()[leaf] for delta in deltas])
                found[f"{site.path}.loras.mine.lora_{leaf}"] = joined
        else:
            joined = torch.cat([delta.pack()["l"] for delta in deltas])
            found[f"{site.path}.loras.mine.lora_B"] = joined[:, None]
    return found


def logits(name: str, model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(**batch(name)).logits
    return found


@pytest.mark.parametrize("name", [*LAYER, "t5"])
@pytest.mark.parametrize("kind", KINDS)
def test_its_common_kinds_are_read(kind: str, name: str, tmp_path: Path) -> None:
    method, config = KINDS[kind]
    model = method.attach(tiny(name))
    perturb(model)
    head = {n: p.detach() for n, p in model.named_parameters() if "classifier" in n}
    write(tmp_path, config, layout(name, kind, model, method))
    save_file(head or {"lm_head.weight": model.lm_head.weight}, tmp_path / "model_head.safetensors")
    again = pft.load(tiny(name), tmp_path)
    read = pft.attached(again)["mine"]
    assert type(read) is type(method)
    assert read == method or name == "t5"  # where cross-attention is named as well
    assert torch.equal(logits(name, again), logits(name, model))
    assert not torch.allclose(logits(name, again), logits(name, tiny(name)), atol=1e-3)


def lora_files(folder: Path, **changed: Any) -> dict[str, torch.Tensor]:
    method, config = KINDS["lora"]
    model = method.attach(tiny("bert"))
    tensors = layout("bert", "lora", model, method)
    write(folder, config | changed, tensors)
    return tensors


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"use_gating": True}, "has use_gating=True"),
        ({"leave_out": [0]}, r"has leave_out=\[0\]"),
        ({"something_new": 3}, "has something_new=3"),
        ({"architecture": "prefix_tuning"}, "of the kind 'prefix_tuning'"),
        ({"composition_mode": "scale"}, "rescales with r=2"),
        ({"r": 3}, "of other shapes than here"),
    ],
)
def test_what_is_not_read_is_refused_by_name(
    changed: dict[str, Any], message: str, tmp_path: Path
) -> None:
    lora_files(tmp_path, **changed)
    model = tiny("bert")
    with pytest.raises(pft.BadCheckpoint, match=message):
        pft.load(model, tmp_path)
    assert not hasattr(model, "pftlab") and not any("pft_" in key for key in model.state_dict())


@pytest.mark.parametrize(
    "changed", [{"scaling": "learned"}, {"inv_adapter": "nice"}, {"non_linearity": "leakyrelu"}]
)
def test_bottlenecks_of_other_kinds_are_refused(changed: dict[str, Any], tmp_path: Path) -> None:
    method, config = KINDS["seq_bn"]
    model = method.attach(tiny("bert"))
    write(tmp_path, config | changed, layout("bert", "seq_bn", model, method))
    with pytest.raises(pft.BadCheckpoint, match=next(iter(changed))):
        pft.load(tiny("bert"), tmp_path)


def test_of_another_model_it_is_refused(tmp_path: Path) -> None:
    method, config = KINDS["seq_bn"]
    tensors = layout("bert", "seq_bn", method.attach(tiny("bert")), method)
    write(tmp_path, config, {k: t for k, t in tensors.items() if ".layer.0." in k})
    with pytest.raises(pft.BadCheckpoint, match="adapters at 1 places, and this .* has 2"):
        pft.load(tiny("bert"), tmp_path)


def test_a_pickle_is_told_what_it_is_and_what_to_do(tmp_path: Path) -> None:
    lora_files(tmp_path)
    (tmp_path / "adapter.safetensors").unlink()
    (tmp_path / "pytorch_adapter.bin").write_bytes(b"anything")
    message = r"pytorch_adapter.bin is a pickle.*of AdapterHub.*use_safetensors=True"
    with pytest.raises(pft.BadCheckpoint, match=message):
        pft.load(tiny("bert"), tmp_path)


def test_a_head_that_the_model_has_not_is_refused(tmp_path: Path) -> None:
    lora_files(tmp_path)
    save_file({"heads.mine.1.weight": torch.zeros(2, 32)}, tmp_path / "model_head.safetensors")
    with pytest.raises(pft.BadCheckpoint, match=r"heads\.mine\.1\.weight .* take model_head"):
        pft.load(tiny("bert"), tmp_path)
