"""The command line: what it prints, where errors go, what it does not import."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny import save_tiny_base

import pftlab as pft
from pftlab.cli import describe_fields, main, parse_method, split_methods


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
        (("count", "--model", "gpt2", "--method", "lora", "--rnk", "2"), "LoRA takes --rank"),
        (("count", "--model", "gpt2", "--method", "lora", "--rank", "two"), "type int"),
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
        *("compare", "--base", base, "--task", "reviews", "--size", "tiny", "--quiet"),
        *("--limit-train", "16", "--steps", "2", "--batch-size", "4", "--max-length", "40"),
        *("--methods", "linear_probe,lora:rank=2,layers=1,bitfit", "--seeds", "2"),
        *("--out", str(tmp_path / "r.jsonl"), "--figure", str(tmp_path / "f.svg")),
    ]
    code, out, _ = run(capsys, *words)
    assert code == 0
    lines = out.splitlines()
    assert lines[1].split()[:3] == ["method", "trainable", "percent"]
    assert any(line.startswith("lora:rank=2,layers=(1,)") and " 256 " in line for line in lines)
    assert "±" in lines[3]
    assert (tmp_path / "f.svg").read_text().count("<path") > 5
    before = (tmp_path / "r.jsonl").read_text()
    code, out, _ = run(capsys, *words, "--json")
    assert {row["method"] for row in json.loads(out)} == {"linear_probe", "lora", "bitfit"}
    assert (tmp_path / "r.jsonl").read_text() == before


def test_train_saves_what_load_reads(capsys: Any, tmp_path: Path) -> None:
    base = save_tiny_base(tmp_path / "base")
    words = [
        *("train", "--base", base, "--task", "reviews", "--size", "tiny", "--quiet", "--json"),
        *("--limit-train", "16", "--steps", "2", "--batch-size", "4", "--max-length", "40"),
        *("--method", "lora", "--rank", "2", "--out", str(tmp_path / "out")),
    ]
    code, out, _ = run(capsys, *words)
    assert code == 0
    assert json.loads(out)["trainable"] == 512
    model = pft.load(pft.load_base(base, num_labels=2), tmp_path / "out")
    assert pft.attached(model)["lora"].rank == 2
    assert json.loads((tmp_path / "out" / "run.json").read_text())["steps"] == 2


def test_methods_are_read_from_text() -> None:
    words = split_methods("lora:rank=4,alpha=8,full, houlsby:bottleneck=4,linear_probe")
    assert [w.strip() for w in words] == [
        "lora:rank=4,alpha=8", "full", "houlsby:bottleneck=4", "linear_probe",
    ]  # fmt: skip
    assert parse_method(words[0]) == pft.LoRA(rank=4, alpha=8.0)
    assert parse_method("lora:at=ffn.up+ffn.down") == pft.LoRA(at=("ffn.up", "ffn.down"))
    assert parse_method("bitfit:layers=none") == pft.BitFit()


@pytest.mark.parametrize("name", pft.METHODS)
def test_every_hyperparameter_is_described(name: str) -> None:
    cls = pft.METHODS[name]
    if "Args: as for" not in cls.__doc__:
        assert set(describe_fields(cls)) == set(cls.__dataclass_fields__)


def test_help_is_quick_and_teaches() -> None:
    code = (
        "import sys; from pftlab.cli import main\n"
        "try: main(['compare', '--help'])\n"
        "except SystemExit: print('heavy' if 'torch' in sys.modules else 'light')"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert output.strip().endswith("light")
    assert "confidence interval" in output and "Examples:" in output
