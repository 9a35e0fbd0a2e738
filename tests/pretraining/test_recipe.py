"""The recipe of the base models, with models and a corpus that fit a test."""

import json
import math
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny import save_tiny_base
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

import pftlab as pft
from pftlab.bases.history import learning_curve, read_history, write_history
from pftlab.core.errors import BadCheckpoint, Unavailable
from pftlab.pretraining import __main__ as command
from pftlab.pretraining import preparation, recipe
from pftlab.pretraining.held_out import HeldOut
from pftlab.pretraining.objectives import DecoderObjective, EncoderObjective, Teacher
from pftlab.pretraining.preparation import learn_vocabulary, prepare
from pftlab.pretraining.recipe import pretrain
from pftlab.pretraining.students import (
    DecoderStudent,
    EncoderStudent,
    Seq2SeqStudent,
    StudentSize,
    save_model,
)
from pftlab.pretraining.tokenizer import with_sentinels
from pftlab.training.state import STATE, read_state

CPU = torch.device("cpu")
SMALL = StudentSize(layers=1, width=32, heads=2, encoder_rate=3e-3, decoder_rate=3e-3)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    rows = pft.load_task("reviews", size="tiny").splits["train"]
    sentences = [row["text"] for row in rows]
    return [" ".join(sentences[i : i + 8]) for i in range(0, len(sentences), 8)] * 3


@pytest.fixture(scope="module")
def tokenizer(texts: list[str]) -> Tokenizer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparation, "train_tokenizer", _small_vocabulary)
        return learn_vocabulary(texts)


def _small_vocabulary(texts: Any, vocabulary: int = 700) -> Tokenizer:
    from pftlab.pretraining.tokenizer import train_tokenizer

    return train_tokenizer(texts, min(vocabulary, 700))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(save_tiny_base(tmp_path_factory.mktemp("teacher"), positions=256))


@pytest.fixture
def encoder(texts: list[str], tokenizer: Tokenizer, teacher: Path) -> EncoderObjective:
    corpus = prepare(texts, tokenizer, teacher)
    return EncoderObjective(corpus, tokenizer, Teacher(teacher, CPU), 600, CPU)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def special(tokenizer: Tokenizer, *names: str) -> list[int]:
    return [tokenizer.token_to_id(name) for name in names]


def test_short_and_long_batches(encoder: EncoderObjective, tokenizer: Tokenizer) -> None:
    """Rows begin with [CLS], end with [SEP] and padding; a long row has two segments."""
    cls, sep, pad = special(tokenizer, "[CLS]", "[SEP]", "[PAD]")
    short, long = encoder.batch(0, generator()), encoder.batch(2, generator())
    assert short["ids"].shape == (600 // 32, 32) and long["ids"].shape == (2, 256)
    for batch in (short, long):
        assert (batch["ids"][:, 0] == cls).all()
    for ids, valid in zip(short["ids"].tolist(), short["valid"].tolist(), strict=True):
        length = sum(valid)
        assert valid == [True] * length + [False] * (32 - length)
        assert ids[length - 1] == sep and ids[length:] == [pad] * (32 - length)
    assert "valid" not in long  # full to the last token: a faster attention
    assert (long["ids"][:, [128, 255]] == sep).all()
    assert long["types"][0].tolist() == [0] * 129 + [1] * 127


def test_masks_are_those_of_bert(encoder: EncoderObjective, tokenizer: Tokenizer) -> None:
    """80 % [MASK], 10 % another token, 10 % as it was; never a special place, never the rest."""
    cls, sep, pad, mask = special(tokenizer, "[CLS]", "[SEP]", "[PAD]", "[MASK]")
    fates = {"mask": 0, "same": 0, "other": 0}
    for step in range(2, 62, 3):  # long rows
        batch = encoder.batch(step, generator(step))
        shown = batch["ids"].flatten()[batch["masked"]]
        labels = batch["labels"]
        counted = labels != -100
        assert not torch.isin(labels[counted], torch.tensor([cls, sep, pad])).any()
        assert counted.all() and len(labels) == int(0.18 * batch["ids"].numel())
        fates["mask"] += int((shown == mask).sum())
        fates["same"] += int((shown == labels).sum())
        fates["other"] += int(((shown != mask) & (shown != labels)).sum())
    total = sum(fates.values())
    assert 0.77 < fates["mask"] / total < 0.83
    assert 0.07 < fates["same"] / total < 0.13 and 0.07 < fates["other"] / total < 0.13


def test_half_of_the_short_rows_stay_whole(encoder: EncoderObjective, tokenizer: Tokenizer) -> None:
    (mask,) = special(tokenizer, "[MASK]")
    batch = encoder.batch(0, generator())
    rows = len(batch["ids"])
    assert not (batch["ids"][: rows // 2] == mask).any()
    assert (batch["ids"][rows // 2 :] == mask).any()


def test_the_teacher_reads_the_same_words(
    texts: list[str], tokenizer: Tokenizer, teacher: Path
) -> None:
    """A token's target is the mean of the teacher's states of the same piece of text."""
    corpus = prepare(texts, tokenizer, teacher)
    theirs = Teacher(teacher, CPU)
    objective = EncoderObjective(corpus, tokenizer, theirs, 600, CPU)
    first = torch.tensor([5, 40])
    window = objective.streams[0].window(first, 30)
    relative = torch.nn.functional.pad(
        window.relative.masked_fill(~window.inside, -1), (1, 1), value=-1
    )
    limit = torch.tensor([4, 3])  # few enough for the teacher, whose tokens are letters
    aligned, tokens, sentence = objective._teacher_states(first, limit, relative, 32)
    own = AutoTokenizer.from_pretrained(teacher)
    model = AutoModel.from_pretrained(teacher, use_safetensors=True).eval()
    pieces = prepare(texts, tokenizer, teacher)  # the row of pieces, spelled by the teacher
    spelled = pieces.stream("teacher", CPU)
    for row, begin in enumerate(first.tolist()):
        end = begin + int(limit[row])
        ids = spelled.tokens[spelled.start[begin] : spelled.start[end]].long().tolist()
        assert len(ids) <= 30
        ids = [own.cls_token_id, *ids, own.sep_token_id]
        with torch.no_grad():
            states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        expected = torch.cat([states[n] for n in theirs.layers], -1)[0]
        assert torch.allclose(sentence[row], expected.mean(0), atol=1e-5)
        piece = relative[row, 1].item()
        span = slice(1, 1 + int(spelled.start[begin + 1] - spelled.start[begin]))
        if piece == 0 and span.stop > span.start and aligned[row, 1]:
            assert torch.allclose(tokens[row, 1], expected[span].mean(0), atol=1e-5)
    assert aligned.sum() >= 6


def run(
    out: Path,
    make: Callable[[], Any],
    objective: Any,
    steps: int = 6,
    stop_after: int | None = None,
    held_out: HeldOut | None = None,
    warm_up: int = recipe.WARM_UP,
) -> Any:
    """Pretrain one student with a checkpoint every second step."""
    torch.manual_seed(0)
    student = make()
    settings: dict[str, Any] = {"steps": steps, "evaluate_every": 2, "progress": False}
    settings["warm_up"] = warm_up
    for done in pretrain(
        {"small": student}, {"small": 3e-3}, objective, held_out, out, seed=3, **settings
    ):
        if done.steps == stop_after:
            break
    return student


def state(student: Any) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in student.state_dict().items()}


def log(folder: Path) -> list[dict[str, float]]:
    found = read_state(folder)
    assert found is not None
    return found[0]["history"]


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(t, b[n]) for n, t in a.items())


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(
    kind: str, texts: list[str], tokenizer: Tokenizer, teacher: Path, tmp_path: Path
) -> None:
    corpus = prepare(texts, tokenizer, teacher)
    if kind == "encoder":
        objective: Any = EncoderObjective(corpus, tokenizer, Teacher(teacher, CPU), 300, CPU)
        make: Any = lambda: EncoderStudent(SMALL, tokenizer, objective.teacher.width)  # noqa: E731
    else:
        objective = DecoderObjective(corpus, tokenizer, 600, CPU)
        make = lambda: DecoderStudent(SMALL, tokenizer)  # noqa: E731
    whole = state(run(tmp_path / "whole", make, objective))
    again = state(run(tmp_path / "again", make, objective))
    assert same(whole, again), "the same seed gives another model"
    stopped = state(run(tmp_path / "parts", make, objective, stop_after=4))
    assert not same(stopped, whole)
    resumed = state(run(tmp_path / "parts", make, objective))
    assert same(resumed, whole), "going on after a stop gives another model"

    def told(folder: str) -> list[dict[str, float]]:
        return [{k: v for k, v in e.items() if k != "seconds"} for e in log(tmp_path / folder)]

    assert told("parts") == told("whole")
    assert [entry["step"] for entry in told("whole")] == [2, 4, 6]


def test_ctrl_c_leaves_a_checkpoint_to_go_on_from(
    texts: list[str], tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = DecoderObjective(prepare(texts, tokenizer, None), tokenizer, 600, CPU)
    make: Any = lambda: DecoderStudent(SMALL, tokenizer)  # noqa: E731
    whole = state(run(tmp_path / "whole", make, objective))
    cut = objective.batch

    def interrupt(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        if step == 2:
            signal.raise_signal(signal.SIGINT)
        return cut(step, generator)

    with monkeypatch.context() as patch:
        patch.setattr(objective, "batch", interrupt)
        stopped = state(run(tmp_path / "parts", make, objective))
    assert not same(stopped, whole)
    assert log(tmp_path / "parts")[-1]["step"] == 3
    resumed = state(run(tmp_path / "parts", make, objective))
    assert same(resumed, whole), "going on after Ctrl-C gives another model"


def test_another_run_in_the_folder_is_refused(
    texts: list[str], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    objective = DecoderObjective(prepare(texts, tokenizer, None), tokenizer, 600, CPU)
    student = DecoderStudent(SMALL, tokenizer)
    settings: dict[str, Any] = {"steps": 2, "progress": False}
    list(pretrain({"a": student}, {"a": 1e-3}, objective, None, tmp_path, **settings))
    with pytest.raises(BadCheckpoint, match=r"holds a at step 2.*another --out"):
        list(pretrain({"b": student}, {"b": 1e-3}, objective, None, tmp_path, **settings))


def test_both_learn(texts: list[str], tokenizer: Tokenizer, teacher: Path, tmp_path: Path) -> None:
    """Held-out losses fall: bits per byte of the decoder, masked tokens and targets of the encoder."""
    corpus = prepare(texts, tokenizer, teacher)
    documents = [{"text": text, "source": "reviews"} for text in texts[:3]]
    decoding = DecoderObjective(corpus, tokenizer, 1024, CPU)
    held_out = HeldOut(documents, tokenizer, decoding, CPU)
    learner: Any = lambda: DecoderStudent(SMALL, tokenizer)  # noqa: E731
    start = held_out.measure(learner())["bits_per_byte"]
    student = run(tmp_path / "d", learner, decoding, 30, held_out=held_out, warm_up=3)
    end = held_out.measure(student)
    assert end["bits_per_byte"] == end["bits_per_byte/reviews"] < 0.8 * start

    encoding = EncoderObjective(corpus, tokenizer, Teacher(teacher, CPU), 600, CPU)
    held_out = HeldOut(documents, tokenizer, encoding, CPU)
    assert encoding.teacher is not None
    width = encoding.teacher.width
    learner = lambda: EncoderStudent(SMALL, tokenizer, width)  # noqa: E731
    before = held_out.measure(learner())
    after = held_out.measure(run(tmp_path / "e", learner, encoding, 30, warm_up=3))
    for loss in ("masked_lm", "token", "sentence"):
        assert after[loss] < 0.95 * before[loss], loss


def test_bits_per_byte_are_those_of_the_text(texts: list[str], tokenizer: Tokenizer) -> None:
    """A decoder that knows nothing needs log2(vocabulary) bits a token."""
    documents = [{"text": texts[0]}]
    objective = DecoderObjective(prepare(texts, tokenizer, None), tokenizer, 600, CPU)
    student = DecoderStudent(SMALL, tokenizer)
    for parameter in student.parameters():
        torch.nn.init.zeros_(parameter)
    found = HeldOut(documents, tokenizer, objective, CPU).measure(student)["bits_per_byte"]
    tokens = len(tokenizer.encode(texts[0], add_special_tokens=False).ids)
    bits = tokens * math.log2(tokenizer.get_vocab_size())
    assert found == pytest.approx(bits / len(texts[0].encode()), rel=1e-5)


def test_a_state_of_other_sizes_or_a_damaged_one_is_refused(
    texts: list[str], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    objective = DecoderObjective(prepare(texts, tokenizer, None), tokenizer, 600, CPU)
    make: Any = lambda: DecoderStudent(SMALL, tokenizer)  # noqa: E731
    run(tmp_path, make, objective, 2)
    wider: Any = lambda: DecoderStudent(replace(SMALL, width=48), tokenizer)  # noqa: E731
    with pytest.raises(BadCheckpoint, match="models are of other sizes"):
        run(tmp_path, wider, objective, 4)
    student = make()
    before = state(student)
    (tmp_path / STATE).write_bytes((tmp_path / STATE).read_bytes()[:-9])
    with pytest.raises(BadCheckpoint, match="cannot be read"):
        list(pretrain({"small": student}, {"small": 1e-3}, objective, None, tmp_path, steps=4))
    assert same(state(student), before)
    assert not list(tmp_path.glob("*.pt")), "no pickles"


def test_the_rate_falls_by_the_steps_or_by_the_clock() -> None:
    assert recipe._planned(1, 1000, 0.5, None) == recipe._planned(900, 1000, 50.0, None) == 1000
    assert recipe._planned(1, 1000, 0.5, minutes=1) == 1000  # nothing is known of the speed yet
    assert recipe._planned(101, 1000, 15.0, minutes=1) == 400  # 100 steps in a quarter of the time
    assert recipe._planned(101, 300, 15.0, minutes=1) == 300  # at most as many as were given
    assert recipe._planned(101, 1000, 90.0, minutes=1) == 101  # the time is over


def test_a_run_by_the_clock_ends(texts: list[str], tokenizer: Tokenizer, tmp_path: Path) -> None:
    objective = DecoderObjective(prepare(texts, tokenizer, None), tokenizer, 600, CPU)
    (done,) = pretrain(
        {"a": DecoderStudent(SMALL, tokenizer)}, {"a": 1e-3}, objective, None, tmp_path,
        steps=10**6, minutes=0.5 / 60, warm_up=1, evaluate_every=10**6, progress=False,
    )  # fmt: skip
    assert 1 < done.steps < 10**6 and done.seconds > 0.25


def test_transformers_opens_what_is_saved(tokenizer: Tokenizer, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder, decoder = EncoderStudent(SMALL, tokenizer, 8), DecoderStudent(SMALL, tokenizer)
    save_model(encoder, tokenizer, tmp_path / "encoder")
    save_model(decoder, tokenizer, tmp_path / "decoder")
    tensors = load_file(tmp_path / "encoder" / "model.safetensors")
    assert {t.dtype for t in tensors.values()} == {torch.bfloat16}

    inputs = AutoTokenizer.from_pretrained(tmp_path / "encoder")(
        "A [MASK] room.", return_tensors="pt"
    )
    words, info = AutoModelForMaskedLM.from_pretrained(
        tmp_path / "encoder", dtype=torch.float32, output_loading_info=True
    )
    assert not info["missing_keys"] and not info["mismatched_keys"]
    plain, info = AutoModel.from_pretrained(
        tmp_path / "encoder", dtype=torch.float32, output_loading_info=True
    )
    assert not info["missing_keys"], "the pooler was pretrained, and must be there"
    encoder.eval()
    with torch.no_grad():
        states = encoder.model.bert(**inputs).last_hidden_state
        assert torch.allclose(plain.eval()(**inputs).last_hidden_state, states, atol=0.05)
        expected = encoder.model.cls.predictions(states)
        assert torch.allclose(words.eval()(**inputs).logits, expected, atol=0.05)

    inputs = AutoTokenizer.from_pretrained(tmp_path / "decoder")("A room", return_tensors="pt")
    plain, info = AutoModelForCausalLM.from_pretrained(
        tmp_path / "decoder", dtype=torch.float32, output_loading_info=True
    )
    assert not info["missing_keys"]
    decoder.eval()
    with torch.no_grad():
        assert torch.allclose(
            plain.eval()(**inputs).logits, decoder.model(**inputs).logits, atol=0.05
        )
    info = pft.load_base(str(tmp_path / "encoder"), 2).pftlab_base
    assert info.fresh == {"classifier.weight", "classifier.bias"}


def test_the_recipe_from_the_command_line(
    texts: list[str], teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """prepare, encoder, decoder: folders that load_base opens, a log, no trace of held-out text."""
    monkeypatch.setattr(preparation, "train_tokenizer", _small_vocabulary)
    monkeypatch.setattr(command, "STUDENT_SIZES", {"tiny": SMALL})
    (tmp_path / "text").mkdir()
    held = tmp_path / "text" / "held.jsonl"
    (tmp_path / "text" / "a.jsonl").write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in texts)
    )
    held.write_text(json.dumps({"text": "Zebra zebra quux.", "source": "zoo"}) + "\n")
    out = tmp_path / "runs"
    common = ["--out", str(out), "--held-out", str(held), "--teacher", str(teacher)]
    command.main(["prepare", *common, "--corpus", str(tmp_path / "text")])
    few = ["--steps", "2", "--evaluate-every", "1", "--tokens-per-step", "600", "--no-compile"]
    few += ["--sizes", "tiny", "--device", "cpu"]
    command.main(["encoder", *common, *few])
    command.main(["decoder", "--out", str(tmp_path / "d"), "--prepared", str(out), *few])
    for folder in (out / "tiny-encoder", tmp_path / "d" / "tiny-decoder"):
        assert pft.load_base(str(folder)).num_parameters() > 10_000
    logged = log(out)
    assert logged[-1]["step"] == 2 and logged[-1]["tiny/held_out/bits_per_byte_masked"] > 0

    measured = logged[-1]["tiny/held_out/bits_per_byte_masked"]
    history = read_history(out / "tiny-encoder")
    (first,) = history["runs"]
    assert first["steps"] == 2 and first["teacher"] == "teacher0" and first["device"] == "CPU"
    assert first["corpus"] == {"a": {"documents": len(texts), "bytes": sum(map(len, texts))}}
    assert learning_curve(history, "held_out/bits_per_byte_masked")[1][-1] == measured
    assert learning_curve(history, "loss")[0] == pytest.approx([600e-6, 1200e-6])

    go_on = ["--start", str(out), "--out", str(tmp_path / "on"), "--prepared", str(out)]
    command.main(["encoder", *common, *few, *go_on])
    on = read_history(tmp_path / "on" / "tiny-encoder")
    assert on["runs"][0] == first and len(on["runs"]) == 2
    assert learning_curve(on, "loss")[0] == pytest.approx([600e-6, 1200e-6, 1800e-6, 2400e-6])
    command.main(["measure", "--start", str(tmp_path / "on"), "--held-out", str(held), *few])
    command.main(["measure", "--start", str(tmp_path / "d"), "--held-out", str(held), *few])
    assert read_history(tmp_path / "on" / "tiny-encoder")["held_out"]["masked_lm"] > 0
    assert read_history(tmp_path / "d" / "tiny-decoder")["held_out"]["bits_per_byte/zoo"] > 0
    marked = with_sentinels(Tokenizer.from_file(str(out / "vocabulary.json")))
    kept = tmp_path / "s" / "tiny-seq2seq"
    save_model(Seq2SeqStudent(SMALL, marked), marked, kept)
    write_history(kept, history)
    command.main(["measure", "--start", str(kept.parent), "--held-out", str(held), *few])
    assert read_history(kept)["held_out"]["loss"] > 0

    table = command.Corpus.load(out / "corpus.npz")
    vocabulary = Tokenizer.from_file(str(out / "vocabulary.json"))
    text = vocabulary.decode(table.stream("plain", CPU).tokens.tolist())
    assert "zebra" not in text.lower() and "the" in text
    for incomplete in (["prepare", "--out", str(out)], ["measure"], ["encoder"]):
        with pytest.raises(SystemExit):
            command.main(incomplete)
    with pytest.raises(Unavailable, match="holds no model"):
        command.main(["measure", "--start", str(tmp_path), "--held-out", str(held)])


def test_a_history_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"has no history\.json"):
        read_history(tmp_path)
    for text in ("{", "{}", '{"runs": []}'):
        (tmp_path / "history.json").write_text(text)
        with pytest.raises(BadCheckpoint, match=r"history\.json"):
            read_history(tmp_path)
