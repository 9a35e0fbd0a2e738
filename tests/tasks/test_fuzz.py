"""Damaged folders of data: whatever is in them, `load_task` gives a task or says what is wrong."""

import gzip
import io
import json
import random

import pandas
import pytest

from pftlab.core.errors import PftError
from pftlab.tasks import load_task

ROWS = {
    "classification": [{"text": f"Text №{i}, \"so\"", "label": ("bad", "good")[i % 2]} for i in range(12)],
    "numbers": [{"text": f"text {i}", "label": i % 3} for i in range(12)],
    "pairs": [{"text_a": f"a {i}", "text_b": "b", "label": i % 2} for i in range(12)],
    "regression": [{"text": f"text {i}", "label": i / 4} for i in range(12)],
    "tagging": [{"tokens": ["a", f"b{i}"], "tags": ["O", "B-x"]} for i in range(12)],
    "generation": [{"source": f"a {i}", "target": f"b {i}", "references": ["c"]} for i in range(12)],
}  # fmt: skip
ODD = [
    None, True, -1, 0, 1e999, float("nan"), 10**30, 0.5, "", " ", "nan", "-1", "1e400", "9" * 5000, "\ud83d", "\0",
    "​", [], [None], [[["a"]]], {}, {"a": 1}, ["a"], [0, 1], "x" * 200_000, 3_000_000_000,
]  # fmt: skip
BYTES = [b"", b"\0", b"\xff\xfe", b'"', b",", b"\n", b"\r", b"[", b"]" * 50, b"[" * 50_000, b"{", b"NaN", b"\\ud83d", b"9" * 5000]  # fmt: skip
INFORMATION = {"label_names": ["bad", "good"], "licence": "mine", "splits": {"train": {"sha256": None}}}  # fmt: skip


def as_bytes(rows, suffix):
    if suffix == ".parquet":
        file = io.BytesIO()
        pandas.DataFrame(rows).to_parquet(file)
        return file.getvalue()
    if suffix in (".csv", ".tsv"):
        return (
            pandas.DataFrame(rows)
            .to_csv(sep=",\t"[suffix == ".tsv"])
            .encode("utf-8", "surrogatepass")
        )
    raw = (
        json.dumps(rows).encode()
        if suffix == ".json"
        else "".join(json.dumps(r) + "\n" for r in rows).encode()
    )
    return gzip.compress(raw) if suffix.endswith(".gz") else raw


def damaged(raw, draw):
    """The bytes of a file with one to three of them changed, lost, doubled, or others put in."""
    raw = bytearray(raw)
    for _ in range(draw.randint(1, 3)):
        place = draw.randrange(len(raw) + 1)
        stop = min(len(raw), place + draw.choice([1, 1, 4, 30]))
        how = draw.randrange(4)
        if how == 0:
            raw[place:stop] = bytes(draw.randrange(256) for _ in range(stop - place))
        elif how == 1:
            del raw[place:stop]
        elif how == 2:
            raw[place:place] = raw[place:stop]
        else:
            raw[place:place] = draw.choice(BYTES)
    return bytes(raw)


def odd(value, draw):
    """JSON data with one part in the place of another, or an odd value in it."""
    value = json.loads(json.dumps(value))
    spot = value
    while isinstance(spot, dict | list) and spot:
        keys = list(spot) if isinstance(spot, dict) else range(len(spot))
        key = draw.choice(keys)
        inner = spot[key]
        if not isinstance(inner, dict | list) or not inner or draw.random() < 0.3:
            if draw.random() < 0.3:
                del spot[key]
            else:
                spot[key] = draw.choice(ODD)
            return value
        spot = inner
    return draw.choice(ODD)


@pytest.mark.parametrize("seed", range(12))
def test_only_our_own_errors_leave_load_task(tmp_path, seed):
    draw = random.Random(seed)
    loaded = refused = 0
    for i in range(40):
        folder = tmp_path / str(i)
        folder.mkdir()
        suffix = draw.choice(
            [".jsonl", ".jsonl.gz", ".json", ".csv", ".csv.gz", ".tsv", ".parquet"]
        )
        kind = draw.choice(list(ROWS))
        rows, info, raw = ROWS[kind], INFORMATION, None
        how = draw.choice(["row", "row", "bytes", "information", "information bytes"])
        if how == "row":
            rows = odd(rows, draw)
            rows = rows if isinstance(rows, list) else [rows]
        try:
            raw = as_bytes(rows, suffix)
        except (ValueError, TypeError, AttributeError, OverflowError):  # of pandas and Arrow
            suffix = ".jsonl"
            raw = as_bytes(rows, suffix)
        if how == "bytes":
            raw = damaged(raw, draw)
        (folder / f"train{suffix}").write_bytes(raw)
        if "information" in how:
            text = json.dumps(info if "bytes" in how else odd(info, draw)).encode()
            (folder / "dataset_info.json").write_bytes(
                damaged(text, draw) if "bytes" in how else text
            )
        try:
            task = load_task(folder)
            assert task.fingerprint and task.references("test")
            loaded += 1
        except PftError as error:
            long = len(str(error)) > 2_500 and f"{error!r:.300}"
            assert not long
            refused += 1
        except Exception as error:
            pytest.fail(f"{how} of {kind} as {suffix}, seed {seed}, folder {i}: {error!r:.300}")
    assert loaded and refused
