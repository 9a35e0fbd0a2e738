"""Folders with damaged files: only errors of ours leave, and no model is touched.

A few hundred mutations, the same at every run: bytes, JSON values of every wrong kind, tensors of
other shapes, files that are missing or swapped.
"""

import copy
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import save_tiny_base, tiny

import pftlab as pft
from pftlab.core.saved import CONFIG, TENSORS
from pftlab.experiments.sizes import blank

METHODS = {
    "lora": pft.LoRA(rank=2),
    "adalora": pft.AdaLoRA(rank=2, start_rank=3),
    "prefix_tuning": pft.PrefixTuning(length=2, hidden=4),
    "houlsby": pft.Houlsby(bottleneck=2),
    "fish_mask": pft.FishMask(density=0.01),
    "layer_norm": pft.LayerNormTuning(),
}
ODD: list[Any] = [
    None, True, -1, 0, 3, 10**7, 10**400, 0.5, float("nan"), "", "x", "x" * 100_000, "\ud83d",
    [], [5], ["x"], {}, {"x": 5}, [[[[]]]],
]  # fmt: skip


def leaves(data: Any, path: tuple = ()) -> Iterator[tuple]:
    """Where every value is in nested JSON."""
    yield path
    pairs = (
        data.items()
        if isinstance(data, dict)
        else enumerate(data)
        if isinstance(data, list)
        else ()
    )
    for key, value in pairs:
        yield from leaves(value, (*path, key))


def changed(data: Any, random_: random.Random) -> Any:
    """`data` with one value replaced, removed or added."""
    data = copy.deepcopy(data)
    *above, last = random_.choice([path for path in leaves(data) if path])
    place = data
    for key in above:
        place = place[key]
    action = random_.choice(["replace", "replace", "replace", "remove", "add"])
    if action == "remove":
        del place[last]
    elif action == "add" and isinstance(place, dict):
        place[random_.choice(["new", "method", "rank", "format"])] = random_.choice(ODD)
    else:
        place[last] = random_.choice(ODD)
    return data


def damaged_bytes(path: Path, random_: random.Random) -> None:
    data = bytearray(path.read_bytes())
    if random_.random() < 0.3:
        data = data[: random_.randrange(len(data))]
    for _ in range(random_.choice([0, 1, 10])):
        if data:
            data[random_.randrange(min(len(data), 2000))] = random_.randrange(256)
    path.write_bytes(data)


def damage_adapter(folder: Path, other: Path, random_: random.Random) -> None:
    """One damage, of a kind that is drawn."""
    tensors, config = load_file(folder / TENSORS), json.loads((folder / CONFIG).read_text())
    with safe_open(folder / TENSORS, "pt") as file:
        header = json.loads(file.metadata()["pftlab"])
    kind = random_.randrange(8)
    if kind <= 2:
        text = json.dumps(changed(header, random_))
        save_file(tensors, folder / TENSORS, {"format": "pt", "pftlab": text})
    elif kind == 3:
        (folder / CONFIG).write_text(json.dumps(changed(config, random_)))
        if random_.random() < 0.7:  # as another library would have saved it
            save_file(tensors, folder / TENSORS)
    elif kind == 4:
        damaged_bytes(folder / random_.choice([CONFIG, TENSORS]), random_)
    elif kind == 5:
        name = random_.choice([CONFIG, TENSORS])
        shutil.copy(other / name, folder / name)
    elif kind == 6:
        key = random_.choice(sorted(tensors))
        shapes: list[Callable[[], torch.Tensor]] = [
            lambda: torch.zeros(0),
            lambda: torch.zeros(()),
            lambda: torch.zeros(3, 5, 7),
            lambda: tensors[key].to(torch.int64),
            lambda: tensors[key][..., None],
        ]
        tensors[key] = random_.choice(shapes)().contiguous()
        save_file(tensors, folder / TENSORS, {"pftlab": json.dumps(header)})
    else:
        key = random_.choice(sorted(tensors))
        tensors["renamed." * random_.randrange(2) + key[::-1]] = tensors.pop(key)
        save_file(tensors, folder / TENSORS, {"pftlab": json.dumps(header)})


@pytest.mark.parametrize("name", METHODS)
def test_damaged_checkpoints(name: str, tmp_path: Path) -> None:
    random_ = random.Random(name)
    good = pft.save(METHODS[name].attach(tiny("bert"), seed=0), tmp_path / "good")
    others = [pft.save(m.attach(tiny("bert")), tmp_path / n) for n, m in METHODS.items()]
    model, plain = tiny("bert"), tiny("bert").state_dict()
    refused = 0
    for number in range(60):
        folder = tmp_path / str(number)
        shutil.copytree(good, folder)
        damage_adapter(folder, random_.choice(others), random_)
        try:
            pft.load(model, folder, check_base=random_.random() < 0.5)
            pft.detach(model)
        except pft.PftError as error:
            refused += 1
            assert len(str(error)) < 3000
        assert not hasattr(model, "pftlab")
        assert model.state_dict().keys() == plain.keys()
        assert all(torch.equal(t, plain[n]) for n, t in model.state_dict().items())
        assert all(p.requires_grad for p in model.parameters())
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert refused > 20


def test_damaged_bases(tmp_path: Path) -> None:
    random_ = random.Random("bases")
    good = tmp_path / "good"
    save_tiny_base(good)
    names = [p.name for p in good.iterdir()]
    for number in range(100):
        folder = tmp_path / str(number)
        shutil.copytree(good, folder)
        path = folder / random_.choice([*names, "config.json", "tokenizer.json"])
        if path.suffix == ".json" and random_.random() < 0.7:
            path.write_text(json.dumps(changed(json.loads(path.read_text()), random_)))
        else:
            damaged_bytes(path, random_)
        for action in (
            lambda: pft.load_base(str(folder), num_labels=2),  # noqa: B023
            lambda: pft.load_tokenizer(str(folder)),  # noqa: B023
            lambda: blank(str(folder)),  # noqa: B023
        ):
            try:
                action()
            except pft.PftError as error:
                assert len(str(error)) < 3000
