"""AdapterFusion: trained adapters, frozen, and an attention over them."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from oracle import delta_at, states
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import SHAPE, batch, perturb, tiny
from transformers import BertConfig, BertForSequenceClassification

import pftlab as pft
from pftlab.adapter.adapter_fusion import Fusion, fuse
from pftlab.core import planted
from pftlab.experiments.sizes import blank


def saved(folder: Path, seed: int, name: str = "bert", **options: Any) -> tuple[Path, Any]:
    """A Pfeiffer adapter after some training, saved."""
    model = pft.Pfeiffer(**{"bottleneck": 4, **options}).attach(tiny(name))
    perturb(model, seed)
    return pft.save(model, folder), model


def logits(model: Any, name: str = "bert") -> torch.Tensor:
    with torch.no_grad():
        return model(**batch(name)).logits


@pytest.mark.parametrize(
    ("name", "host", "layer"),
    [
        ("bert", "bert.encoder.layer.1.output.LayerNorm", "bert.encoder.layer.1"),
        ("gpt2", "transformer.h.1", "transformer.h.1"),
    ],
)
def test_equation_position_by_position(name: str, host: str, layer: str, tmp_path: Path) -> None:
    folders, sources = [], []
    for seed, width in ((1, 4), (2, 3), (3, 4)):
        folder, source = saved(tmp_path / str(seed), seed, name, bottleneck=width)
        folders, sources = [*folders, folder], [*sources, delta_at(source, host)]
    model = fuse(tiny(name), folders)
    perturb(model)
    fusion = delta_at(model, host)
    fusion.active = False  # what the site is without the fusion
    if name == "bert":
        paths = (f"{layer}.intermediate", f"{layer}.output.dense")
        plain = states(model, batch(name), *paths)
        s = plain[paths[1]][1] + plain[paths[0]][0]
        norm = model.get_submodule(host)
        q = norm.forward(s)
    else:
        s = states(model, batch(name), layer)[layer][1]
        q = s
    fusion.active = True
    expected = s.detach().clone()
    for b in range(s.shape[0]):
        for t in range(s.shape[1]):
            z = []
            for a in sources:  # the adapters as they were trained
                middle = torch.relu(a.down.weight @ q[b, t] + a.down.bias)
                z.append(a.up.weight @ middle + a.up.bias)
            query = fusion.query.weight @ q[b, t]
            scores = [float((query @ (fusion.key.weight @ z_n)).detach()) for z_n in z]
            total = sum(math.exp(score) for score in scores)
            for score, z_n in zip(scores, z, strict=True):
                expected[b, t] += math.exp(score) / total * (fusion.value.weight @ z_n)
    if name == "bert":
        seen = states(model, batch(name), layer)[layer][1]
        assert torch.allclose(seen, norm.forward(expected), atol=1e-5)
    else:
        seen = states(model, batch(name), "transformer.ln_f")["transformer.ln_f"][0]
        assert torch.allclose(seen, expected, atol=1e-5)


def test_one_adapter_fused_with_itself_is_that_adapter(tmp_path: Path) -> None:
    folder, source = saved(tmp_path / "a", 1)
    model = fuse(tiny("bert"), [folder, folder])
    model.classifier.load_state_dict(source.classifier.state_dict())
    assert torch.allclose(logits(model), logits(source), atol=1e-6)
    assert not torch.allclose(logits(model), logits(tiny("bert")), atol=1e-3)


def test_only_the_attention_is_trained_and_the_file_needs_no_other(tmp_path: Path) -> None:
    folders = [saved(tmp_path / str(seed), seed)[0] for seed in (1, 2)]
    model = fuse(tiny("bert"), folders)
    frozen = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    trained = {n.split(".")[-2] for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {"query", "key", "value", "classifier"}
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(10):
        loss = model(**batch("bert"), labels=torch.tensor([0, 1])).loss
        (loss + pft.attached(model)["adapter_fusion"].extra_loss(model)).backward()
        losses.append(loss.item())
        optimiser.step()
        optimiser.zero_grad()
    assert losses[-1] < losses[0]
    now = dict(model.named_parameters())
    assert all(torch.equal(now[n], p) for n, p in frozen.items())
    pft.save(model, tmp_path / "fused")
    for folder in folders:
        for file in folder.iterdir():
            file.unlink()
    again = pft.load(tiny("bert"), tmp_path / "fused")
    assert torch.equal(logits(again), logits(model))


def test_regularisation() -> None:
    how = pft.AdapterFusion(bottlenecks=(4, 4), regularise=0.5)
    model = how.attach(tiny("bert"))
    assert how.extra_loss(model) == 0  # V is the identity at first
    fusions = [d for *_, d in planted(model) if isinstance(d, Fusion)]
    for fusion in fusions:
        fusion.value.weight.data[0, 3] = 2.0
        fusion.value.weight.data[1, 1] = 4.0
    assert float(how.extra_loss(model)) == pytest.approx(0.5 * len(fusions) * (4 + 9))


def test_what_cannot_be_fused(tmp_path: Path) -> None:
    a, _ = saved(tmp_path / "a", 1)
    with pytest.raises(pft.BadValue, match="at least two"):
        fuse(tiny("bert"), [a])
    with pytest.raises(pft.BadValue, match="at least two"):
        fuse(tiny("bert"), [])
    b, _ = saved(tmp_path / "b", 1, layers=(1,))
    with pytest.raises(pft.BadValue, match="of one form"):
        fuse(tiny("bert"), [a, b])
    damaged = load_file(a / "adapter_model.safetensors")
    with safe_open(a / "adapter_model.safetensors", "pt") as file:
        header = file.metadata()
    damaged.pop(next(k for k in damaged if "up.weight" in k))
    (tmp_path / "d").mkdir()
    save_file(damaged, tmp_path / "d" / "adapter_model.safetensors", header)
    (tmp_path / "d" / "adapter_config.json").write_text("{}")
    model = tiny("bert")
    with pytest.raises(pft.BadCheckpoint, match="not complete"):
        fuse(model, [a, tmp_path / "d"])
    assert not hasattr(model, "pftlab")
    c = pft.save(pft.LoRA(rank=2).attach(tiny("bert")), tmp_path / "c")
    with pytest.raises(pft.BadCheckpoint, match="holds lora"):
        fuse(tiny("bert"), [a, c])
    other = tiny("bert")
    other.bert.embeddings.word_embeddings.weight.data += 1
    with pytest.raises(pft.BadCheckpoint, match="another base"):
        fuse(other, [a, a])
    assert not hasattr(other, "pftlab")


def test_tasks_may_have_other_heads(tmp_path: Path) -> None:
    base = tiny("bert")
    three = BertForSequenceClassification(BertConfig(**SHAPE, num_labels=3)).eval()
    three.bert.load_state_dict(base.bert.state_dict())
    model = pft.Pfeiffer(bottleneck=4).attach(three)
    b = pft.save(model, tmp_path / "b")
    a, _ = saved(tmp_path / "a", 1)
    assert logits(fuse(base, [a, b])).shape == (2, 2)


def test_count_of_the_paper() -> None:
    """AdapterHub's 21,252,096 for BERT-base has two biases of 768 in each layer beside it."""
    model = pft.AdapterFusion().attach(blank("bert-base"))
    assert pft.count(model).trainable == 12 * 3 * 768**2 == 21_252_096 - 12 * 2 * 768
