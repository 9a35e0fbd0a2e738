"""LayerNorm tuning: every norm of the base, and the published counts."""

from pathlib import Path

import peft
import pytest
from tiny import perturb, tiny

import pftlab as pft
from pftlab.experiments.sizes import blank


@pytest.mark.parametrize(
    ("size", "count"), [("bert-base", 38_400), ("bert-large", 100_352), ("llama-7b", 266_240)]
)
def test_counts_of_the_papers(size: str, count: int) -> None:
    assert pft.count(pft.LayerNormTuning().attach(blank(size))).trainable == count


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "t5", "opt"])
def test_trains_the_norms_and_nothing_else(name: str) -> None:
    model = pft.LayerNormTuning().attach(tiny(name))
    head = model.pftlab.head
    for n, p in model.named_parameters():
        is_norm = any(word in n.lower() for word in ("norm", "ln_"))
        assert p.requires_grad == (is_norm or n in head), n


def test_a_file_of_peft_with_other_norms_is_refused(tmp_path: Path) -> None:
    settings = peft.LNTuningConfig(target_modules=["output.LayerNorm"], task_type="SEQ_CLS")
    theirs = peft.get_peft_model(tiny("bert"), settings)
    perturb(theirs)
    theirs.save_pretrained(tmp_path)
    model = tiny("bert")
    with pytest.raises(pft.BadCheckpoint, match="no list of names.*embeddings.LayerNorm"):
        pft.load(model, tmp_path)
    assert not hasattr(model, "pftlab")


def test_a_file_for_another_width_is_refused(tmp_path: Path) -> None:
    settings = peft.LNTuningConfig(target_modules=["LayerNorm"], task_type="FEATURE_EXTRACTION")
    peft.get_peft_model(tiny("bert-features"), settings).save_pretrained(tmp_path)
    model = tiny("bert-features")
    model.encoder.layer[1].output.LayerNorm = type(model.encoder.layer[1].output.LayerNorm)(16)
    with pytest.raises(pft.BadCheckpoint, match=r"shape \(16,\)"):
        pft.load(model, tmp_path)


def test_norms_are_chosen_by_name(tmp_path: Path) -> None:
    model = pft.LayerNormTuning(norms=("ln_1",)).attach(tiny("gpt2"))
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {
        f"transformer.h.{i}.ln_1.{leaf}" for i in (0, 1) for leaf in ("weight", "bias")
    }
    pft.save(model, tmp_path)
    assert pft.attached(pft.load(tiny("gpt2"), tmp_path)) == pft.attached(model)
    with pytest.raises(pft.UnknownName, match=r"'ln_7'.*ln_1, ln_2, ln_f"):
        pft.LayerNormTuning(norms=("ln_7",)).attach(tiny("gpt2"))


def test_reads_the_norms_that_peft_chose(tmp_path: Path) -> None:
    settings = peft.LNTuningConfig(target_modules=["ln_1", "ln_f"], task_type="CAUSAL_LM")
    peft.get_peft_model(tiny("gpt2"), settings).save_pretrained(tmp_path)
    found = pft.attached(pft.load(tiny("gpt2"), tmp_path))["layer_norm"]
    assert found == pft.LayerNormTuning(norms=("ln_1", "ln_f"))
