"""The registry is open: to a method in a script, and to those of other packages."""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from tiny import batch, perturb, tiny
from torch import Tensor, nn

import pftlab as pft
from pftlab import registry
from pftlab.cli import main
from pftlab.core import Delta, Method, Site

STUB = Path(__file__).resolve().parents[1] / "tools" / "stub.py"


class Shift(Delta):
    """h + v: one trained vector."""

    def __init__(self, width: int):
        super().__init__()
        self.v = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return h + self.v


@dataclass(frozen=True)
class Shifted(Method):
    """Add a vector to every block's output."""

    at: tuple[str, ...] = ("block",)

    def delta(self, site: Site) -> Shift:
        return Shift(site.d_out)


@pytest.fixture(autouse=True)
def _nothing_registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_OWN", {})
    registry._offered.cache_clear()
    yield
    registry._offered.cache_clear()


def test_a_registered_method_is_saved_and_loaded(tmp_path: Path) -> None:
    assert "shifted" not in pft.METHODS
    assert pft.register(Shifted) is Shifted
    assert pft.METHODS["shifted"] is Shifted and "shifted" in list(pft.METHODS)
    model = Shifted(at=("ffn",)).attach(tiny("bert"))
    perturb(model)
    pft.save(model, tmp_path)
    other = pft.load(tiny("bert"), tmp_path)
    assert pft.attached(other) == {"shifted": Shifted(at=("ffn",))}
    assert torch.equal(other(**batch("bert")).logits, model(**batch("bert")).logits)


def test_without_registering_save_and_load_say_what_to_do(tmp_path: Path) -> None:
    model = Shifted().attach(tiny("bert"))
    with pytest.warns(UserWarning, match=r"pftlab\.register\(Shifted\)"):
        pft.save(model, tmp_path)
    with pytest.raises(pft.BadCheckpoint, match=r"'shifted'.*pftlab\.register\(MyMethod\)"):
        pft.load(tiny("bert"), tmp_path)


def test_a_class_under_another_methods_name_is_not_saved(tmp_path: Path) -> None:
    """`load` would attach LoRA in its place, silently."""

    @dataclass(frozen=True)
    class Doubled(pft.LoRA):
        name: ClassVar[str] = "lora"

    model = Doubled(rank=2).attach(tiny("bert"))
    with pytest.raises(pft.Refused, match="a name of its own"):
        pft.save(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_cell_that_is_run_twice_registers_twice() -> None:
    def cell() -> Any:
        @dataclass(frozen=True)
        class Mine(Shifted):
            pass

        return pft.register(Mine)

    first, second = cell(), cell()
    assert pft.METHODS["mine"] is second is not first


def test_wrong_classes_and_taken_names_are_refused() -> None:
    class Plain(Method):
        strength: float = 1.0

    @dataclass(frozen=True)
    class Lora(Shifted):
        pass

    @dataclass(frozen=True)
    class Spaced(Shifted):
        name = "my method"

    class Half(Shifted):
        strength: float = 1.0  # no field: the class is no dataclass of its own

    wrong: list[tuple[Any, str]] = [
        (Shifted(), "give the class"), (Shift, "give the class"), (Method, "give the class"),
        (Plain, "above the class"), (Half, "above the class"),
        (Lora, r"as 'lora': that is pftlab.low_rank.lora.LoRA\. .*my_lora"),
        (Spaced, "cannot be a name"),
    ]  # fmt: skip
    for given, message in wrong:
        with pytest.raises(pft.BadValue, match=message):
            pft.register(given)
    assert len(pft.METHODS) == len(registry.FACTS)


def package(folder: Path, entries: str, code: str) -> None:
    """An installed package with entry points, as pip leaves it."""
    (folder / "others_package.py").write_text(textwrap.dedent(code), encoding="utf-8")
    metadata = folder / "others_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: others_package\nVersion: 1.0\n"
    )
    (metadata / "entry_points.txt").write_text(f"[pftlab.methods]\n{textwrap.dedent(entries)}")


def test_methods_of_other_packages_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    package(
        tmp_path,
        """
        theirs = others_package:Theirs
        gone = others_package:Gone
        called = others_package:Theirs
        lora = others_package:Theirs
        """,
        """
        from dataclasses import dataclass
        from pftlab import LoRA

        @dataclass(frozen=True)
        class Theirs(LoRA):
            '''LoRA of rank 1.'''
            rank: int = 1
        """,
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert pft.METHODS["theirs"]().rank == 1
    assert pft.METHODS["lora"] is pft.LoRA, "a package cannot take a name away"
    with pytest.raises(pft.Unavailable, match=r"others_package:Gone, cannot be used"):
        pft.METHODS["gone"]
    with pytest.raises(pft.Unavailable, match="the class is called 'theirs'"):
        pft.METHODS["called"]
    assert main(["methods"]) == 0
    captured = capsys.readouterr()
    assert any(line.startswith("theirs ") for line in captured.out.splitlines())
    assert "others_package:Gone" in captured.err
    assert main(["count", "--model", "roberta-base", "--method", "theirs"]) == 0


def test_the_stub_has_every_method() -> None:
    code = (
        "import runpy; stub = runpy.run_path({!r}); "
        "print(stub['written']() == stub['STUB'].read_text(encoding='utf-8'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code.format(str(STUB))], capture_output=True, text=True
    )
    assert done.stdout.strip() == "True", "python tools/stub.py writes it anew"


def test_a_type_checker_knows_the_methods(tmp_path: Path) -> None:
    asked = "pft.LoRA", "pft.LoRA(rank=2).rank", "pft.load_base", "pft.register(pft.DoRA)"
    script = tmp_path / "asks.py"
    script.write_text("import pftlab as pft\n" + "".join(f"reveal_type({a})\n" for a in asked))
    words = [sys.executable, "-m", "mypy", str(script)]  # with what `make lint` has kept
    said = subprocess.run(words, capture_output=True, text=True, cwd=STUB.parents[1]).stdout
    shown = [line.partition("Revealed type is ")[2] for line in said.splitlines()]
    assert "pftlab.low_rank.lora.LoRA" in shown[0] and "Any" not in shown[0].split("->")[0]
    assert shown[1] == '"int"' or shown[1] == '"builtins.int"'
    assert "num_labels" in shown[2] and "DoRA" in shown[3]
