"""Tasks from a reader's own folder, and every way in which such a folder can be wrong."""

import csv
import gzip
import hashlib
import json
import tracemalloc

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
    "columns": (b'{"story": "a", "label": 0}\n', "columns 'story', 'label'.*text and label"),
    "column of one row": (
        b'{"text": "a", "label": 0}\n{"text": "b", "label": 1}\n{"label": 0}\n',
        r"Row 3 of .* no column 'text'",
    ),
    "no label": (b'{"text": "a", "label": 0}\n{"text": "b"}\n', "found None"),
    "not UTF-8": (b'{"text": "a", "label": 0}\n{"text": "caf\xe9", "label": 1}\n', r"not UTF-8.*line 2"),
    "not JSON": (b'{"text": "a", "label": 0}\ntext\n', "Line 2 .* not a JSON object"),
    "a list": (b"[1]\n", "Line 1 .* not a JSON object"),
    "empty label": (b'{"text": "a", "label": "x"}\n{"text": "b", "label": " "}\n', "Row 2 .*found ' '"),
    "a number beside names": (b'{"text": "a", "label": "x"}\n{"text": "b", "label": 0.5}\n', "found 'x', 0.5"),
    "a label of a milliard": (b'{"text": "a", "label": 0}\n{"text": "b", "label": 1000000000}\n', "go up to 1000000000"),
    "a label without end": (b'{"text": "a", "label": 0}\n{"text": "b", "label": ' + b"9" * 5000 + b"}\n", "Line 2 .*digits"),
    "nested too deeply": (b"[" * 100_000 + b"\n", "Line 1 .*nested too deeply"),
    "half a character": (b'{"text": "a \\ud83d", "label": 0}\n{"text": "b", "label": 1}\n', r"Row 1 .*half a character, '.ud83d', at place 3"),
    "half a character in a name": (b'{"text": "a", "label": "\\ude02"}\n{"text": "b", "label": "x"}\n', "Row 1 .*half a"),
    "half a character in a tag": (b'{"tokens": ["a"], "tags": ["\\ude02"]}\n', "Row 1 .*half a"),
    "half a character in a token": (b'{"tokens": ["a\\ude02", "b"], "tags": ["x", "y"]}\n', "Row 1 .*half a"),
    "half a character in a target": (b'{"source": "a", "target": "\\ude02"}\n', "Row 1 .*half a"),
    "half a character in a reference": (b'{"source": "a", "references": ["\\ude02"]}\n', "Row 1 .*half a"),
    "an empty token": (b'{"tokens": ["a", ""], "tags": ["x", "y"]}\n', "Row 1 .*nothing can be seen"),
    "a token without width": (b'{"tokens": ["a", "\\u200b\\ufeff"], "tags": ["x", "y"]}\n', "Row 1 .*nothing can be seen"),
    "tokens are a number": (b'{"tokens": 5, "tags": ["x", "y"]}\n', "Row 1 .*holds 5 where a list"),
    "tags are a number": (b'{"tokens": ["a"], "tags": 5}\n', "Row 1 .*holds 5 where a list"),
    "tags with fractions": (b'{"tokens": ["a", "b"], "tags": [0.5, 1]}\n', "fractions"),
    "references are a number": (b'{"source": "a", "references": 5}\n', "Row 1 .*holds 5 where a list"),
    "an empty target": (b'{"source": "a", "target": " "}\n', "Row 1 .*empty target"),
    "several labels": (b'{"text": "a", "label": [0, 1]}\n', "Row 1 .*multi-label"),
    "plain text": (b'{"text": "a"}\n', "Plain text for language modelling is not supported.*source"),
    "a chat": (b'{"messages": []}\n', "chat is not supported.*source.*target"),
    "preferences": (b'{"prompt": "a", "chosen": "b", "rejected": "c"}\n', "Preferences are not supported.*source"),
    "two columns for one place": (b'{"tokens": ["a"], "ner_tags": [0], "pos_tags": [1]}\n', "Both 'ner_tags' and 'pos_tags'.*columns={'tags': 'ner_tags'}"),
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


BROKEN_TABLES = {
    "an unquoted comma": ("text,label\na,pos\nA film, far too long,pos\nb,neg\n", "Line 3 .* 3 cells .* 2.*comma"),
    "a cell is missing": ("text,label\na,pos\n\nb\n", "Line 4 .* 1 cells"),
    "a forgotten quote": ('text,label\n"opened,pos\n' + "b,neg\n" * 9, "begins in line 2 .*unexpected end"),
    "a forgotten quote before others": ('text,label\nx,neg\n"opened,pos\n"b, c",neg\n', "begins in line 3 "),
    "an empty label": ("text,label\na,pos\nb,neg\nforgotten,\n", "Row 3 .*leave none out"),
    "an empty class number": ("text,label\na,1\nb,0\nforgotten,\n", "Row 3 .*leave none out"),
    "not a number among fractions": ("text,label\na,0.5\nb,nan\n", "Row 2 .*'nan', which is no number"),
    "two columns of a name": ("text,text,label\na,b,0\n", "two columns 'text'"),
    "semicolons": ("text;label\na;0\nb;1\n", "separated by semicolons"),
    "only a header": ("text,label\n", "is empty"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN_TABLES)
def test_broken_tables(tmp_path, case):
    text, message = BROKEN_TABLES[case]
    (tmp_path / "train.csv").write_text(text)
    with pytest.raises(BadValue, match=message) as caught:
        load_task(tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    if ";" not in text:
        (tmp_path / "train.csv").rename(tmp_path / "train.tsv")
        (tmp_path / "train.tsv").write_text(
            text.replace(", ", "\0").replace(",", "\t").replace("\0", "\t")
        )
        with pytest.raises(BadValue, match=message.replace("comma", "tab")):
            load_task(tmp_path)


def test_labels_that_are_what_they_say(tmp_path):
    cases = {
        ("pos ", " neg", "pos", "neg"): ("neg", "pos"),
        ("-1", "1"): ("-1", "1"),
        (-1, 0, 1): ("-1", "0", "1"),
        (-2, 3): ("-2", "3"),
        ("1", "3"): ("0", "1", "2", "3"),
        ("nan", "rye", "inf"): ("inf", "nan", "rye"),
        ("1_0", "x"): ("1_0", "x"),
        ("0.5", "1"): (),
        (1, 2.5): (),
    }
    for given, expected in cases.items():
        write(tmp_path, "train", texts(60, given))
        for split in ("validation", "test"):
            write(tmp_path, split, texts(len(given), given))
        task = load_task(tmp_path)
        assert task.labels == expected, given
        assert task.kind == ("classification" if expected else "regression")
        labels = [task.labels[i] if expected else i for i in task.references("test")]
        assert labels == [str(g).strip() if expected else float(g) for g in given]


def test_negative_numbers_beside_names_are_names(tmp_path):
    rows = [{"tokens": ["a", "b"], "tags": ["-LRB-", "O"]}] * 3
    for split in ("train", "validation", "test"):
        write(tmp_path, split, rows)
    assert load_task(tmp_path).labels == ("-LRB-", "O")


def test_one_reference_may_be_a_text(tmp_path):
    for split in ("train", "validation", "test"):
        write(tmp_path, split, [{"source": "a", "references": "a text"}])
    assert load_task(tmp_path).references("test") == [["a text"]]


def test_a_text_of_any_length(tmp_path):
    (tmp_path / "train.csv").write_text(
        "text,label\n"
        + "x" * 300_000
        + ",a\n"
        + "".join(f"t{i},{'ab'[i % 2]}\n" for i in range(40))
    )
    before = csv.field_size_limit()
    task = load_task(tmp_path)
    assert max(map(len, (t for rows in task.splits.values() for t in rows["text"]))) == 300_000
    assert csv.field_size_limit() == before


def test_no_names_for_classes_that_nobody_has(tmp_path):
    write(tmp_path, "train", [*texts(20, (0, 1)), {"text": "x", "label": 20_000_000}])
    tracemalloc.start()
    with pytest.raises(BadValue, match="go up to 20000000, and there are 21 rows"):
        load_task(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_a_packed_file_cannot_fill_the_memory(tmp_path):
    row = json.dumps(texts(1)[0] | {"pad": " " * 1000}) + "\n"
    (tmp_path / "train.jsonl.gz").write_bytes(gzip.compress(row.encode() * 120_000))  # 124 MB
    tracemalloc.start()
    with pytest.raises(BadValue, match="unpacks to more than 67,108,864"):
        load_task(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 250e6
    tracemalloc.stop()


def test_two_files_of_one_split(tmp_path):
    write(tmp_path, "train", texts(30))
    write(tmp_path, "dev", texts(3))
    assert len(load_task(tmp_path).splits["test"]) == 3  # no test split: validation stands in
    (tmp_path / "validation.csv").write_text("text,label\na,bad\n")
    with pytest.raises(BadValue, match=r"validation\.csv and dev\.jsonl.*Keep one"):
        load_task(tmp_path)


def test_hidden_labels_are_left_out(tmp_path):
    write(tmp_path, "train", texts(40, (0, 1)))
    write(tmp_path, "validation", texts(4, (0, 1)))
    write(tmp_path, "test", texts(9, (-1,)))
    task = load_task(tmp_path)
    assert task.labels == ("0", "1") and len(task.splits["test"]) == 4
    assert any("test: left out" in note for note in task.notes)


def test_files_that_cannot_be_opened(tmp_path, monkeypatch):
    write(tmp_path, "train", texts(30))

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(tmp_path), "read_bytes", refuse)
    with pytest.raises(Unavailable, match=r"train\.jsonl.*Permission denied"):
        load_task(tmp_path)


INFORMATION = {
    "a list": ([], "no JSON object"),
    "a number": (5, "no JSON object"),
    "names are a number": ({"label_names": 5}, "no list of different names"),
    "names are a text": ({"label_names": "ab"}, "no list of different names"),
    "names are lists": ({"label_names": [["a"], ["b"]]}, "no list of different names"),
    "a name twice": ({"label_names": ["a", "a "]}, "no list of different names"),
    "an empty name": ({"label_names": ["a", " "]}, "no list of different names"),
    "half a character": ({"label_names": ["a", "\ud83d"]}, "no list of different names"),
    "numbers out of place": ({"label_names": ["1", "0"]}, "label 0 by another number"),
    "a licence of numbers": ({"licence": 5}, "must be texts"),
    "splits are a list": ({"splits": []}, "no objects"),
    "a split is a number": ({"splits": {"train": 5}}, "no objects"),
}  # fmt: skip


@pytest.mark.parametrize("case", INFORMATION)
def test_broken_information(tmp_path, case):
    info, message = INFORMATION[case]
    write(tmp_path, "train", texts(30, (0, 1)))
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(BadValue, match=rf"dataset_info\.json.*{message}"):
        load_task(tmp_path)


def test_the_order_of_names_is_that_of_the_information_file(tmp_path):
    (tmp_path / "dataset_info.json").write_text('{"label_names": ["worst", "good ", "best"]}')
    write(tmp_path, "train", texts(30, ("good", "worst")))  # "best" does not occur
    task = load_task(tmp_path)
    assert task.labels == ("worst", "good", "best") and task.num_labels == 3
    write(tmp_path, "train", texts(30, ("worst", "good")))
    assert load_task(tmp_path).labels == task.labels


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
    raw = bytearray(gzip.compress(b'{"text": "a"}' * 500))
    raw[12] ^= 255  # a wrong block type: not an OSError, but zlib's own error
    (tmp_path / "train.jsonl.gz").write_bytes(raw)
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
    with pytest.raises(UnknownName, match="reviews"):
        load_task("a" * 5000)
    with pytest.raises(UnknownName, match="reviews"):
        load_task("a\0b")


def test_no_more_than_2000_rows_are_held_out(tmp_path):
    """A tenth, but of a large data set no more than is quickly evaluated."""
    rows = [{"text": f"text {i}", "label": i % 2} for i in range(25_000)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sizes = {name: len(split) for name, split in load_task(tmp_path).splits.items()}
    assert sizes == {"train": 21_000, "validation": 2_000, "test": 2_000}
