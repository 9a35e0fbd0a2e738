"""The MAM adapter is its two pieces and nothing else; published counts."""

import pytest
import torch
from tiny import batch, perturb, tiny

import pftlab as pft
from pftlab.core import planted
from pftlab.core.ports.sequence import PositionShift
from pftlab.experiments.sizes import blank


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "t5"])
def test_computes_what_the_pieces_attached_one_by_one_compute(name: str) -> None:
    model = pft.MAMAdapter(length=3, hidden=8, bottleneck=4, scale=2.0).attach(tiny(name))
    apart = tiny(name)
    pft.PrefixTuning(length=3, hidden=8, shift_positions=False).attach(apart)
    pft.ParallelAdapter(bottleneck=4, scale=2.0).attach(apart)
    perturb(model)
    mixed = {n: p for n, p in model.named_parameters() if ".pft_" in f".{n}"}
    with torch.no_grad():
        for n, p in apart.named_parameters():
            if ".pft_" in f".{n}":
                kind = "prefix_tuning" if "pft_prefix_tuning" in n else "parallel"
                p.copy_(mixed[n.replace(f"pft_{kind}", "pft_mam")])
            elif p.requires_grad:
                p.copy_(model.get_parameter(n))
        expected = apart(**batch(name)).logits
        assert torch.allclose(model(**batch(name)).logits, expected, atol=1e-6)


def test_counts_of_the_paper() -> None:
    model = pft.MAMAdapter(length=16, hidden=None, bottleneck=16).attach(blank("roberta-base"))
    biases = 12 * (16 + 768)  # which the paper does not count
    assert pft.count(model).trainable - biases == 589_824  # 0.5 % of RoBERTa-base

    # BART-large, the paper's model for summaries, is not among the architectures: l = 30, r = 512
    # on its 36 attentions and 24 feed-forward networks of width 1024
    layer = pft.MAMAdapter(length=30, hidden=None, bottleneck=512, layers=(0,))
    counted = pft.count(layer.attach(blank("bert-large"))).trainable - (512 + 1024)
    prefix = 2 * 30 * 1024
    assert counted == prefix + 2 * 512 * 1024
    assert 36 * prefix + 24 * (counted - prefix) == 27_377_664


def test_count_with_the_network_equals_adapterhubs() -> None:
    model = pft.MAMAdapter(length=30, hidden=800, bottleneck=384).attach(blank("bert-base"))
    assert pft.count(model).trainable == 22_493_984


def test_cross_attention_gets_a_prefix_too() -> None:
    model = pft.MAMAdapter(length=3, hidden=None, bottleneck=4).attach(tiny("t5"))
    hosts = [path for path, *_ in planted(model)]
    assert sum("SelfAttention" in path for path in hosts) == 4
    assert sum("EncDecAttention" in path for path in hosts) == 2
    assert len(hosts) == 10


def test_pieces_can_be_left_out_and_positions_stay() -> None:
    model = pft.MAMAdapter(length=3, at=("attention.keys_values",)).attach(tiny("bert"))
    assert len(list(planted(model))) == 2
    assert not any(isinstance(d, PositionShift) for *_, d in planted(model))
    with pytest.raises(pft.BadValue, match="scale=0"):
        pft.MAMAdapter(scale=0.0)
