"""The command line: what it prints, where errors go, what it does not import."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from own_task import save_own_task
from tiny import save_tiny_base

import pftlab as pft
from pftlab.cli import main
from pftlab.cli.hyperparameters import hyperparameters, parse, split_methods
from pftlab.cli.table import print_table


@pytest.fixture(autouse=True)
def _no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a pipe: a row is one line, whatever another test left in the environment."""
    monkeypatch.delenv("COLUMNS", raising=False)


def run(capsys: Any, *words: str) -> tuple[int, str, str]:
    code = main(list(words))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_methods_lists_the_registry(capsys: Any) -> None:
    code, out, _ = run(capsys, "methods")
    assert code == 0
    assert all(any(line.startswith(name) for line in out.splitlines()) for name in pft.METHODS)
    _, out, _ = run(capsys, "methods", "--family", "prompt", "--json")
    rows = json.loads(out)
    assert {row["family"] for row in rows} == {"prompt"}
    assert rows[0]["hyperparameters"]


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (("--model", "roberta-base", "--method", "lora", "--rank", "8"), 294912),
        (("--model", "roberta-large", "--method", "lora", "--rank=8"), 786432),
        (("--model", "llama-7b", "--method", "lora"), 4194304),
        (("--model", "bert-base", "--method", "bitfit", "--num-labels", "2"), 102912),
        (("--model", "bert-large", "--method", "layer_norm"), 100352),
        (("--model", "t5-base", "--method", "compacter"), 161728),
        (("--model", "gpt3", "--method", "lora", "--rank", "1"), 4718592),
        (
            (
                "--model",
                "gpt2-medium",
                "--method",
                "prefix_tuning",
                "--hidden",
                "none",
                "--length",
                "5",
            ),
            245760,
        ),
    ],
)
def test_count_agrees_with_the_papers(capsys: Any, words: tuple[str, ...], count: int) -> None:
    code, out, _ = run(capsys, "count", *words, "--json")
    assert code == 0
    assert json.loads(out)["trainable"] == count


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("count", "--model", "roberta-base", "--method", "loar"), "Did you mean 'lora'"),
        (("count", "--model", "robert-base", "--method", "lora"), "roberta-base"),
        (("count", "--model", "gpt2", "--method", "lora", "--rank", "0"), "at least 1"),
        (("count", "--model", "gpt2", "--method", "lora", "--rnk", "2"), "rank (8)"),
        (("count", "--model", "gpt2", "--method", "lora", "--rank", "two"), "whole number"),
        (("count", "--model", "gpt2", "--method", "lora", "--layers", "1,b"), "whole numbers"),
        (("count", "--model", "gpt2", "--method", "lora:rank"), "lora:field=value"),
        (("count", "--model", "gpt2", "--method", "houlsby:layer_norm=maybe"), "true or false"),
        (("count", "--model", "gpt2", "--method", "prompt_tuning:tokens=1"), "Python alone"),
        (("methods", "loar"), "Did you mean 'lora'"),
        (
            ("count", "--model", "gpt2", "--method", "lora", "--at", "attention.qery"),
            "attention.query",
        ),
        (("methods", "--family", "prompts"), "prompt"),
        (("compare", "--methods", "lora", "--task", "revews"), "reviews"),
        (
            ("compare", "--methods", "lora", "--base", "no-such-base", "--size", "tiny"),
            "no-such-base",
        ),
        (("compare", "--methods", "lora", "--seeds", "0"), "--seeds 0"),
        (("compare", "--methods", ","), "at least one method"),
        (("compare", "--methods", "lora:rank=4,ful"), "whole number"),
        (("compare", "--methods", "lora", "--lr", "1e-3", "--lr-search"), "one of the two"),
        (("compare", "--methods", "lora", "--workers", "0"), "workers=0"),
        (("compare", "--methods", "lora", "--rates", "1;3"), "numbers with commas"),
        (("compare", "--methods", "lora", "--figure", "x.gif"), ".png"),
    ],
)
def test_errors_are_one_line_on_stderr(
    capsys: Any, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    if words[0] == "compare":
        words = (*words, "--out", str(tmp_path / "r.jsonl"), "--quiet")
    code, out, err = run(capsys, *words)
    assert code == 2
    assert out == ""
    assert err.startswith("pftlab: ") and err.count("\n") == 1
    assert message in err


def test_unknown_options_exit_with_2(capsys: Any) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["methods", "--colour"])
    assert stop.value.code == 2
    assert "--colour" in capsys.readouterr().err


def test_compare_prints_a_table_and_goes_on(capsys: Any, tmp_path: Path) -> None:
    base = save_tiny_base(tmp_path / "base")
    words = [
        *("compare", "--base", base, "--task", save_own_task(tmp_path / "task"), "--quiet"),
        *("--limit-train", "8", "--steps", "2", "--batch-size", "4", "--max-length", "40"),
        *("--methods", "linear_probe,lora:rank=2,layers=1,bitfit", "--seeds", "2"),
        *("--out", str(tmp_path / "r.jsonl"), "--figure", str(tmp_path / "f.svg")),
    ]
    code, out, _ = run(capsys, *words)
    assert code == 0
    lines = out.splitlines()
    assert lines[1].split()[:3] == ["method", "trainable", "percent"]
    assert any(line.startswith("lora:rank=2,layers=1 ") and " 256 " in line for line in lines)
    assert "±" in lines[3] and lines[3].endswith(" MiB")
    assert "not tuned for this task" in out
    assert (tmp_path / "f.svg").read_text().count("<path") > 5
    before = (tmp_path / "r.jsonl").read_text()
    shared = json.loads(before.splitlines()[0])["shared"]
    assert shared["command"].startswith("pftlab compare --base ")
    code, out, _ = run(capsys, *words, "--json")
    rows = json.loads(out)  # nothing but JSON
    assert {row["method"] for row in rows} == {"linear_probe", "lora", "bitfit"}
    assert all(len(row["keys"]) == 2 and row["interval"] is not None for row in rows)
    assert (tmp_path / "r.jsonl").read_text() == before


def test_the_table_says_how_learning_rates_were_found(capsys: Any, tmp_path: Path) -> None:
    words = [
        *("compare", "--base", save_tiny_base(tmp_path / "base"), "--quiet"),
        *("--task", save_own_task(tmp_path / "task"), "--steps", "1", "--batch-size", "2"),
        *("--max-length", "20", "--methods", "linear_probe", "--seeds", "1"),
        *("--out", str(tmp_path / "r.jsonl")),
    ]
    narrow = ("--lr-search", "--rates", "1e-3,3e-3,1e-2")
    _, out, _ = run(capsys, *words, *narrow)
    assert "the best of one grid of half-decades" in out and "2 other seeds" in out
    assert "±" not in out  # one seed has no interval
    _, out, _ = run(capsys, *words, "--random-weights")
    assert "(random weights)" in out
    _, out, _ = run(capsys, *words, "--lr", "0.007")
    assert "Learning rates" not in out and " 0.007 " in out


def test_ctrl_c_keeps_what_is_finished(capsys: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """A real signal in the middle of the second run: exit code 130, its predecessor kept."""

    def interrupt(self: Any, model: Any, step: int, total: int) -> None:
        signal.raise_signal(signal.SIGINT)

    words = [
        *("compare", "--base", save_tiny_base(tmp_path / "base"), "--quiet"),
        *("--task", save_own_task(tmp_path / "task"), "--steps", "3", "--batch-size", "2"),
        *("--max-length", "20", "--methods", "linear_probe,bitfit,lora", "--seeds", "1"),
        *("--out", str(tmp_path / "r.jsonl")),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(pft.BitFit, "before_step", interrupt)
        code, out, err = run(capsys, *words)
    assert (code, out) == (130, "")
    assert "the same command goes on" in err
    lines = (tmp_path / "r.jsonl").read_text().splitlines()
    assert [json.loads(line)["method"] for line in lines[1:]] == ["linear_probe"]
    code, out, _ = run(capsys, *words)
    assert code == 0 and "lora" in out
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 1 + 3


def test_ctrl_c_may_be_pressed_again() -> None:
    """Once it has said that it stopped, the command ends without a traceback."""
    code = """
import signal, sys
from pftlab import cli

def interrupted(words):
    raise KeyboardInterrupt

cli._method_in = interrupted
code = cli.main()
signal.raise_signal(signal.SIGINT)
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 130 and "pftlab: stopped." in done.stderr
    assert "Traceback" not in done.stderr


def test_train_saves_what_load_reads(capsys: Any, tmp_path: Path) -> None:
    base = save_tiny_base(tmp_path / "base")
    words = [
        *("train", "--base", base, "--task", "reviews", "--size", "tiny", "--quiet", "--json"),
        *("--limit-train", "16", "--steps", "2", "--batch-size", "4", "--max-length", "40"),
        *("--method", "lora", "--rank", "2", "--out", str(tmp_path / "out"), "--forgetting"),
    ]
    code, out, _ = run(capsys, *words)
    assert code == 0
    assert json.loads(out)["trainable"] == 512
    assert json.loads(out)["forgetting"]["metric"] == "drift"
    model = pft.load(pft.load_base(base, num_labels=2), tmp_path / "out")
    assert pft.attached(model)["lora"].rank == 2
    assert json.loads((tmp_path / "out" / "run.json").read_text())["steps"] == 2


def made(text: str) -> Any:
    method, values = parse(text)
    return method(**values)


def test_methods_are_read_from_text() -> None:
    words = split_methods("lora:rank=4,alpha=8,full, houlsby:bottleneck=4,linear_probe,")
    assert words == ["lora:rank=4,alpha=8", "full", "houlsby:bottleneck=4", "linear_probe"]
    assert made(words[0]) == pft.LoRA(rank=4, alpha=8.0)
    assert made("lora:at=ffn.up+ffn.down") == pft.LoRA(at=("ffn.up", "ffn.down"))
    assert made("bitfit:layers=none") == pft.BitFit()
    for text, position in (("0", 0), ("1,1,-1", (1, 1, -1)), ("none", None)):
        how = made(f"prompt_tuning:length=3,position={text}")
        assert how == pft.PromptTuning(length=3, position=position)
    assert split_methods("pfeiffer:at=attention,ffn,full") == ["pfeiffer:at=attention,ffn", "full"]
    assert made("houlsby:at=attention,ffn,layer_norm=false") == pft.Houlsby(layer_norm=False)


def test_a_setting_behind_the_name_and_an_option_are_the_same(capsys: Any) -> None:
    counts = [
        run(capsys, "count", "--model", "gpt2", "--json", *words)[1]
        for words in (("--method", "lora:rank=3"), ("--method=lora", "--rank", "3"))
    ]
    assert counts[0] == counts[1] and json.loads(counts[0])["trainable"] > 0


@pytest.mark.parametrize("name", pft.METHODS)
def test_every_hyperparameter_has_a_meaning(name: str) -> None:
    for field in hyperparameters(pft.METHODS[name]):
        assert field.meaning, f"{field.name} is not described under Args"


@pytest.mark.parametrize("name", pft.METHODS)
def test_help_has_every_hyperparameter_of_every_method(capsys: Any, name: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["train", "--method", name, "--help"])
    assert stop.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    for field in hyperparameters(pft.METHODS[name]):
        option = "--" + field.name.replace("_", "-")
        assert option in out or f"--method {name}:{field.name}=" in out


def test_a_hyperparameter_with_the_name_of_an_option(capsys: Any) -> None:
    """--seed of `train` seeds the run; the mask's own seed goes behind the method's name."""
    assert made("random_mask:seed=7").seed == 7
    with pytest.raises(SystemExit):
        main(["train", "--method", "random_mask", "--help"])
    assert "--method random_mask:seed=0" in capsys.readouterr().out


def test_one_method_is_described(capsys: Any) -> None:
    _, out, _ = run(capsys, "methods", "lora")
    assert "https://arxiv.org/abs/2106.09685" in out
    assert "--rank" in out and "attention.query,attention.value" in out
    _, out, _ = run(capsys, "methods", "lora", "--json")
    assert json.loads(out)["hyperparameters"][0]["name"] == "rank"
    _, out, _ = run(capsys, "methods", "said")
    assert "family sparse (in surveys: reparametrisation)" in out and "acts at: every weight" in out
    _, out, _ = run(capsys, "methods", "linear_probe")
    assert "models for: sequence_classification, token_classification\n" in out


@pytest.mark.parametrize("width", [40, 80, 120, None])
def test_tables_wrap_at_the_width_and_lose_nothing(
    capsys: Any, monkeypatch: Any, width: int | None
) -> None:
    if width is None:  # into a pipe: a row is a line
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", str(width))
    rows = [["a_b", "tuple[int, ...] :a:", 1_000], ["c" * 60, "", 2]]
    print_table(["name", "type", "n"], rows, right=(2,))
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= (width or 200) for line in lines)
    assert "tuple[int, ...] :a:" in lines[2] or width == 40
    assert "".join(lines).count("c") == 60 and "\x1b" not in "".join(lines)
    assert lines[2].endswith(" 1000")
    assert width is not None or len(lines) == 4


def test_tasks_and_bases_are_listed(capsys: Any) -> None:
    for command, names in (("tasks", pft.TASKS), ("bases", pft.BASES)):
        _, out, _ = run(capsys, command)
        assert all(any(line.startswith(name) for line in out.splitlines()) for name in names)
        _, out, _ = run(capsys, command, "--json")
        assert [row["name"] for row in json.loads(out)] == list(names)


@pytest.mark.parametrize(
    "words", [["--help"], ["compare", "--help"], ["methods"], ["methods", "--family", "prompt"]]
)
def test_help_and_listings_import_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from pftlab.cli import main\n"
        f"try: main({words!r})\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'transformers', 'numpy', 'matplotlib'} & sys.modules.keys()))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert output.strip().endswith("[]")


def test_help_teaches(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    out = capsys.readouterr().out
    assert "confidence interval" in out and "Examples:" in out
    assert main([]) == 0
    assert "Exit codes" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == f"pftlab {pft.__version__}"


@pytest.mark.skipif(os.name == "nt", reason="pipes close otherwise there")
def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m pftlab.cli methods --json | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stderr == "" and done.stdout.startswith("[")


def test_answers_before_and_after_training(capsys: Any, tmp_path: Path) -> None:
    rows = [{"source": f"the {word}", "target": f"a {word} ."} for word in ("dog", "cat", "hat")]
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "validation", "test"):
        (data / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    here = ("--base", "tiny-decoder", "--task", str(data), "--max-length", "48", "--quiet")
    options = ("--steps", "12", "--lr", "0.02", "--method", "lora:at=attention.query+ffn.up")
    out = tmp_path / "out"
    code, trained, error = run(capsys, "train", *here, *options, "--out", str(out))
    assert code == 0, error
    answered = ("--max-new-tokens", "6", "--answers", "2")
    code, told, error = run(capsys, "evaluate", *here, *answered, "--adapter", str(out), "--json")
    assert code == 0, error
    found = json.loads(told)
    assert set(found["scores"]) == {"loss", "bleu", "tokens", "ended"}
    assert f"test bleu {found['scores']['bleu']:.4f}" in trained
    assert [row["source"] for row in found["answers"]] == ["the dog", "the cat"]
    assert all(row["before"] != row["after"] for row in found["answers"])
    model = pft.load(pft.load_base("tiny-decoder"), out)
    shown = pft.answers(model, pft.load_task(data), n=2, max_length=48, max_new_tokens=6)
    assert [row.after.text for row in shown] == [row["after"]["text"] for row in found["answers"]]
    _, base, _ = run(capsys, "evaluate", *here, *answered)
    assert f"before     {shown[0].before.text}" in base and "after" not in base
    code, shot, error = run(capsys, "evaluate", *here, "--shots", "2", "--limit", "2")
    assert code == 0 and "test loss" in shot and shot.splitlines()[0] != base.splitlines()[0]


def test_evaluate_scores_what_was_trained(capsys: Any, tmp_path: Path) -> None:
    base, data = save_tiny_base(tmp_path / "base"), save_own_task(tmp_path / "data")
    here = ("--base", base, "--task", str(data), "--max-length", "32", "--quiet")
    out = str(tmp_path / "out")
    code, _, error = run(capsys, "train", *here, "--steps", "2", "--method", "bitfit", "--out", out)
    assert code == 0, error
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    code, told, _ = run(capsys, "evaluate", *here, "--adapter", out)
    assert code == 0 and f"test accuracy {record['test']['accuracy']:.4f}" in told
    code, _, error = run(capsys, "evaluate", *here)
    assert code == 2 and "Give --adapter" in error
    code, _, error = run(capsys, "evaluate", *here, "--adapter", out, "--shots", "2")
    assert code == 2 and "answered in text" in error
    code, _, error = run(capsys, "evaluate", *here, "--adapter", out, "--answers", "2")
    assert code == 2 and "nothing is written for it" in error


def test_a_classification_in_words(capsys: Any, tmp_path: Path) -> None:
    data = save_own_task(tmp_path / "data")
    here = ("--base", "tiny-encoder", "--task", data, "--max-length", "32", "--quiet",
            "--in-words", "{text} is {answer}.", "--words", "bad,good")  # fmt: skip
    code, told, error = run(capsys, "evaluate", *here, "--json")
    assert code == 0, error
    task = pft.load_task(data).in_words(["bad", "good"], "{text} is {answer}.")
    expected = pft.evaluate(pft.load_base("tiny-encoder"), task, "test", max_length=32)
    assert json.loads(told)["scores"] == pytest.approx(expected)
    out = str(tmp_path / "out")
    train = (*here, "--steps", "1", "--method", "bitfit", "--out", out)
    code, _, error = run(capsys, "train", *train)
    assert code == 0, error
