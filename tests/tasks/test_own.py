"""Tasks from a reader's own folder, and every way in which such a folder can be wrong."""

import gzip
import hashlib
import json

import pytest

from pftlab.core.errors import BadValue, Unavailable, UnknownName
from pftlab.tasks import load_task


def write(folder, split, rows, suffix=".jsonl"):
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    raw = gzip.compress(text) if suffix.endswith(".gz") else text
    (folder / (split + suffix)).write_bytes(raw)
    return hashlib.sha256(raw).hexdigest()


def texts(n, labels=("bad", "good")):
    return [{"text": f"Text №{i}", "label": labels[i % len(labels)]} for i in range(n)]


def test_named_labels_and_carved_splits(tmp_path):
    write(tmp_path, "train", texts(100), ".jsonl.gz")
    task = load_task(tmp_path)
    assert task.kind == "classification" and task.labels == ("bad", "good")
    assert {name: len(rows) for name, rows in task.splits.items()} == {
        "train": 81,
        "validation": 9,
        "test": 10,
    }
    assert any("test: 10 rows" in note for note in task.notes)
    everything = [text for rows in task.splits.values() for text in rows["text"]]
    assert sorted(everything) == sorted(row["text"] for row in texts(100))
    assert load_task(str(tmp_path)).fingerprint == task.fingerprint
    assert task.name == tmp_path.name and str(tmp_path) not in task.source


def test_the_carved_split_depends_on_content_alone(tmp_path):
    rows = [*texts(60), *texts(30)]  # half of them twice
    for name, ordered in (("a", rows), ("b", rows[::-1])):
        (tmp_path / name).mkdir()
        write(tmp_path / name, "train", ordered)
        write(tmp_path / name, "test", texts(4))
    first, second = (load_task(tmp_path / name) for name in "ab")
    held_out = set(first.splits["validation"]["text"])
    assert held_out == set(second.splits["validation"]["text"])
    assert not held_out & set(first.splits["train"]["text"])
    assert len(first.splits["test"]) == 4


def test_validation_stands_in_for_a_missing_test_split(tmp_path):
    write(tmp_path, "train", texts(50))
    write(tmp_path, "validation", [{"text": "reported", "label": "good"}])
    task = load_task(tmp_path)
    assert task.splits["test"]["text"][:] == ["reported"]
    assert len(task.splits["validation"]) == 5
    assert "reported" not in task.splits["validation"]["text"]


def test_csv(tmp_path):
    (tmp_path / "train.csv").write_text(
        'text,label,extra\n"Good, very good",1,x\nbad,0,y\n' + "more,1,z\n" * 20,
        encoding="utf-8-sig",
    )
    (tmp_path / "test.csv").write_text("text,label\nfine,1\n")
    task = load_task(tmp_path)
    assert task.labels == ("0", "1")
    assert task.splits["test"].to_list() == [{"text": "fine", "label": 1}]
    assert "Good, very good" in [*task.splits["train"]["text"], *task.splits["validation"]["text"]]


def test_other_kinds(tmp_path):
    kinds = {
        "pairs": {"text_a": "a", "text_b": "b", "label": "same"},
        "regression": {"text_a": "a", "text_b": "b", "label": 2.5},
        "tagging": {"tokens": ["a", "b"], "tags": ["O", "B-x"]},
        "generation": {"source": "a", "target": "b"},
    }
    for kind, row in kinds.items():
        folder = tmp_path / kind
        folder.mkdir()
        other = {**row, "label": "other"} if kind == "pairs" else row
        for split in ("train", "validation", "test"):
            write(folder, split, [row, other])
        task = load_task(folder)
        assert task.kind == kind
        assert (
            task.metric
            == {
                "pairs": "accuracy",
                "regression": "pearson",
                "tagging": "span_f1",
                "generation": "bleu",
            }[kind]
        )
    assert task.splits["test"].to_list() == [
        {"source": "a", "target": "b", "references": ["b", "b"]}
    ]


def test_single_text_regression_and_tags_in_csv(tmp_path):
    write(tmp_path, "train", [{"text": f"t{i}", "label": i / 2} for i in range(30)])
    assert load_task(tmp_path).kind == "regression"
    tagged = tmp_path / "tagged"
    tagged.mkdir()
    (tagged / "train.csv").write_text(
        "tokens,tags\na cat,O N\n" + "".join(f"dog {i},N O\n" for i in range(9))
    )
    task = load_task(tagged)
    assert task.labels == ("N", "O") and task.metric == "token_accuracy"
    assert all(len(row["tokens"]) == len(row["tags"]) == 2 for row in task.splits["train"])


def test_information_file(tmp_path):
    digest = write(tmp_path, "train", texts(20, labels=(0, 1)))
    info = {
        "label_names": ["worse", "better"],
        "licence": "mine",
        "splits": {"train": {"sha256": digest}},
    }
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    task = load_task(tmp_path)
    assert task.labels == ("worse", "better") and task.licence == "mine"
    write(tmp_path, "train", texts(21, labels=(0, 1)))
    with pytest.raises(BadValue, match="corrupted.*sha256"):
        load_task(tmp_path)


BROKEN = {
    "empty": (b"", "is empty"),
    "blank": (b"\n\n", "is empty"),
    "columns": (b'{"sentence": "a", "label": 0}\n', "columns sentence, label.*text and label"),
    "column of one row": (
        b'{"text": "a", "label": 0}\n{"text": "b", "label": 1}\n{"label": 0}\n',
        r"Row 3 of .* no column 'text'",
    ),
    "no label": (b'{"text": "a", "label": 0}\n{"text": "b"}\n', "found None"),
    "not UTF-8": (b'{"text": "a", "label": 0}\n{"text": "caf\xe9", "label": 1}\n', r"not UTF-8.*line 2"),
    "not JSON": (b'{"text": "a", "label": 0}\ntext\n', "Line 2 .* not a JSON object"),
    "a list": (b"[1]\n", "Line 1 .* not a JSON object"),
    "negative label": (b'{"text": "a", "label": -1}\n{"text": "b", "label": 1}\n', "found -1"),
    "mixed labels": (b'{"text": "a", "label": 0}\n{"text": "b", "label": "x"}\n', "found 'x', 0"),
    "one class": (b'{"text": "a", "label": 0}\n' * 3, "same label"),
    "text is a number": (b'{"text": 5, "label": 0}\n{"text": "b", "label": 1}\n', "Row 1 .*holds 5"),
    "tags": (b'{"tokens": ["a", "b"], "tags": ["x"]}\n{"tokens": ["a"], "tags": ["y"]}\n', "2 tokens and 1 tags"),
    "too few": (b'{"text": "a", "label": 0}\n{"text": "a", "label": 1}\n', "too few"),
    "infinite": (b'{"text": "a", "label": 0.5}\n{"text": "b", "label": Infinity}\n', "no number"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_data(tmp_path, case):
    raw, message = BROKEN[case]
    (tmp_path / "train.jsonl").write_bytes(raw)
    with pytest.raises(BadValue, match=message) as caught:
        load_task(tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_labels_out_of_range(tmp_path):
    (tmp_path / "dataset_info.json").write_text('{"label_names": ["no", "yes"]}')
    for label in (2, -1, "maybe", True):
        write(tmp_path, "train", [*texts(9, labels=("no", "yes")), {"text": "x", "label": label}])
        with pytest.raises(BadValue, match=r"Row 10 of 'train'.*out of range.*0 to 1.*no, yes"):
            load_task(tmp_path)


def test_damaged_files(tmp_path):
    (tmp_path / "train.jsonl.gz").write_bytes(gzip.compress(b"{}" * 500)[:-9])
    with pytest.raises(BadValue, match="gzip"):
        load_task(tmp_path)
    (tmp_path / "train.jsonl.gz").unlink()
    with pytest.raises(Unavailable, match=r"train\.jsonl"):
        load_task(tmp_path)
    (tmp_path / "dataset_info.json").write_text("{")
    with pytest.raises(BadValue, match=r"dataset_info\.json.*not JSON"):
        load_task(tmp_path)


def test_unknown_name():
    with pytest.raises(UnknownName, match="Did you mean 'sst2'"):
        load_task("sst-2")
    with pytest.raises(UnknownName, match="reviews"):
        load_task("no/such/folder")
