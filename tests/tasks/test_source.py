"""Own data in the forms that people have them in: files of all kinds, and tables in memory."""

import json

import pandas
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Sequence, Value

from pftlab.core.errors import BadValue, UnknownName
from pftlab.tasks import load_task

ROWS = [{"text": f'Text {i}, "quoted" №\t{i}', "label": ("bad", "good")[i % 2]} for i in range(40)]


def save(rows, path):
    frame = pandas.DataFrame(rows)
    if path.name.endswith((".csv", ".csv.gz")):
        frame.to_csv(path)  # with pandas' index column
    elif path.name.endswith(".tsv"):
        frame.to_csv(path, sep="\t", index=False)
    elif path.name.endswith(".json"):
        path.write_text(json.dumps(rows))
    elif path.name.endswith(".parquet"):
        frame.to_parquet(path)
    else:
        frame.to_json(path, orient="records", lines=True)
    return path


@pytest.mark.parametrize(
    "suffix", [".jsonl", ".jsonl.gz", ".json", ".csv", ".csv.gz", ".tsv", ".parquet"]
)
def test_every_kind_of_file_gives_the_same_task(tmp_path, suffix):
    expected = load_task(ROWS).fingerprint
    task = load_task(save(ROWS, tmp_path / f"films{suffix}"))
    assert task.fingerprint == expected
    assert task.name == "films" and task.labels == ("bad", "good")
    folder = tmp_path / "films"
    folder.mkdir()
    save(ROWS, folder / f"train{suffix}")
    assert load_task(folder).fingerprint == expected
    assert load_task(str(folder)).name == "films"


def test_json_lines_called_json(tmp_path):
    (tmp_path / "a.json").write_text("\n".join(map(json.dumps, ROWS)))
    assert load_task(tmp_path / "a.json").fingerprint == load_task(ROWS).fingerprint


@pytest.mark.parametrize("make", [pandas.DataFrame, Dataset.from_list, list, tuple])
def test_tables_in_memory(make):
    task = load_task(make(ROWS))
    assert task.fingerprint == load_task(ROWS).fingerprint and task.name == "own data"
    parts = {"train": make(ROWS[:20]), "validation": make(ROWS[20:30]), "test": make(ROWS[30:])}
    assert [len(rows) for rows in load_task(parts).splits.values()] == [20, 10, 10]


def test_a_dataset_of_the_hub():
    features = Features(
        sentence=Value("string"),
        idx=Value("int32"),
        label=ClassLabel(names=["negative", "positive"]),
    )
    rows = [{"sentence": f"text {i}", "idx": i, "label": i % 2} for i in range(30)]
    hidden = [row | {"label": -1} for row in rows]
    given = DatasetDict(
        train=Dataset.from_list(rows, features=features),
        validation=Dataset.from_list(rows[:4], features=features),
        test=Dataset.from_list(hidden, features=features),
        unsupervised=Dataset.from_list(hidden, features=features),
    )
    task = load_task(given)
    assert task.labels == ("negative", "positive")
    assert task.splits["test"].to_list()[1] == {"text": "text 1", "label": 1}
    assert "Splits left out: unsupervised." in task.notes
    assert any("test: left out" in note for note in task.notes)


def test_names_of_classes_survive_parquet(tmp_path):
    features = Features(text=Value("string"), label=ClassLabel(names=["zero", "b", "a"]))
    rows = [{"text": f"text {i}", "label": i % 2} for i in range(30)]
    Dataset.from_list(rows, features=features).to_parquet(tmp_path / "train.parquet")
    task = load_task(tmp_path)
    assert task.labels == ("zero", "b", "a")  # "a" does not occur
    every = [row for split in task.splits.values() for row in split]
    assert all(row["label"] == int(row["text"].split()[1]) % 2 for row in every)


def test_names_that_look_like_numbers_are_names():
    features = Features(text=Value("string"), label=ClassLabel(names=["3", "1", "2"]))
    rows = [{"text": f"text {i}", "label": i % 3} for i in range(30)]
    task = load_task(
        {s: Dataset.from_list(rows, features=features) for s in ("train", "validation", "test")}
    )
    assert task.labels == ("3", "1", "2") and task.references("test")[:3] == [0, 1, 2]


def test_tags_of_the_hub():
    features = Features(
        tokens=Sequence(Value("string")),
        ner_tags=Sequence(ClassLabel(names=["O", "B-PER", "I-PER"])),
    )
    rows = [{"tokens": ["Ann", "Lee", "sat"], "ner_tags": [1, 2, 0]}] * 3
    table = Dataset.from_list(rows, features=features)
    task = load_task({"train": table, "dev": table, "test": table})
    assert task.labels == ("O", "B-PER", "I-PER") and task.metric == "span_f1"
    assert task.references("test")[0] == [1, 2, 0]


USUAL = {
    "sst2": ({"sentence": "a", "label": 1}, {"text": "a", "label": 1}),
    "mrpc": (
        {"sentence1": "a", "sentence2": "b", "label": 1},
        {"text_a": "a", "text_b": "b", "label": 1},
    ),
    "mnli": (
        {"premise": "a", "hypothesis": "b", "label": 1},
        {"text_a": "a", "text_b": "b", "label": 1},
    ),
    "completion": ({"prompt": "a", "completion": "b"}, {"source": "a", "target": "b"}),
    "alpaca": (
        {"instruction": "add", "input": "1 2", "output": "3"},
        {"source": "add\n1 2", "target": "3"},
    ),
    "alpaca without input": (
        {"instruction": "say", "input": "", "output": "3"},
        {"source": "say", "target": "3"},
    ),
    "dolly": ({"instruction": "say", "response": "3"}, {"source": "say", "target": "3"}),
    "ours goes first": (
        {"text": "a", "sentence": "b", "label": 1, "prompt": "c", "completion": "d"},
        {"text": "a", "label": 1},
    ),
}


@pytest.mark.parametrize("case", USUAL)
def test_usual_names_of_columns(case):
    given, expected = USUAL[case]
    other = given | {"label": 0} if "label" in given else given
    task = load_task({split: [given, other] for split in ("train", "validation", "test")})
    row = task.splits["train"][0]
    assert {name: row[name] for name in expected} == expected


def test_columns_by_name():
    rows = [
        {"Review Text": f"t{i}", "stars": i % 5, "text": "not this", "more": "m"} for i in range(50)
    ]
    task = load_task(rows, columns={"text": "Review Text", "label": "stars"})
    assert task.kind == "classification" and task.labels == ("0", "1", "2", "3", "4")
    assert "t0" in [text for split in task.splits.values() for text in split["text"]]
    joined = load_task(rows, columns={"text": ["Review Text", "more"], "label": "stars"})
    assert joined.splits["train"][0]["text"].endswith("\nm")
    tagged = [{"tokens": ["a"], "ner_tags": [i % 2], "pos_tags": [2]} for i in range(4)]
    parts = dict.fromkeys(("train", "validation", "test"), tagged)
    assert load_task(parts, columns={"tags": "ner_tags"}).num_labels == 2
    with pytest.raises(UnknownName, match="column 'words'.*tokens"):
        load_task(rows, columns={"words": "text"})
    with pytest.raises(UnknownName, match="'review'.*Review Text"):
        load_task(rows, columns={"text": "review", "label": "stars"})
    with pytest.raises(BadValue, match="columns= was given for 'reviews'"):
        load_task("reviews", columns={"text": "review"})


def test_missing_values_of_pandas_are_missing():
    frame = pandas.DataFrame(ROWS)
    frame.loc[3, "label"] = None
    with pytest.raises(BadValue, match="Row 4 .*found"):
        load_task(frame)
    frame = pandas.DataFrame(ROWS)
    frame.loc[3, "text"] = None
    with pytest.raises(BadValue, match="Row 4 .*where a text should be"):
        load_task(frame)


def test_what_is_no_data(tmp_path):
    stream = Dataset.from_list(ROWS).to_iterable_dataset()
    for given in (5, None, "a", [1, 2], stream, b"text"):
        expected = UnknownName if given == "a" else BadValue
        with pytest.raises(expected):
            load_task(given)
    for given in ([], pandas.DataFrame(), {}, {"train": []}, {"test": ROWS}):
        with pytest.raises(BadValue):
            load_task(given)
    with pytest.raises(BadValue, match="share a name"):
        load_task(pandas.DataFrame([["a", "b", 1]], columns=["text", "text", "label"]))
    with pytest.raises(BadValue, match="second validation"):
        load_task({"train": ROWS, "dev": ROWS, "validation": ROWS})
    (tmp_path / "data.xlsx").write_bytes(b"PK")
    with pytest.raises(BadValue, match=r"\.csv.*Save the data"):
        load_task(tmp_path / "data.xlsx")
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    with pytest.raises(BadValue, match="no Parquet file"):
        load_task(tmp_path)
    with pytest.raises(BadValue, match="size= and data="):
        load_task(ROWS, size="tiny")
