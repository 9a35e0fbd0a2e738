"""Run the checks on a method, all at once or each as a test of pytest."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import BadValue, PftError, UnknownName
from ..core.method import Method
from . import models
from .checks import CHECKS, Case, Check, snapshot
from .models import FEW, MODELS, tiny


@dataclass(frozen=True)
class Outcome:
    """What came of one check of a method on one model.

    Attributes:
        check: its name.
        model: the tiny model's name.
        broken: what the method does not keep; "": it keeps it.
        left_out: why the check was not made: the method refuses the model, or says in its facts
            that it cannot keep this.
    """

    check: str
    model: str
    broken: str = ""
    left_out: str = ""


def check_method(method: Method | type[Method], on: Sequence[str] = FEW) -> list[Outcome]:
    """Make every check of the contract on a method.

    Args:
        method: with its hyper-parameters; of a class, those in its `tiny`, else the defaults.
        on: names of tiny models, of `pftlab.testing.MODELS`.

    Returns:
        An outcome for each check and model.

    Raises:
        AssertionError: the method breaks something; the message has a line for each broken check.
        BadValue: it is no method.
        UnknownName: there is no such model.
    """
    how = _made(method)
    found = [outcome for name in on for outcome in outcomes(how, name)]
    broken = [f"  {o.check} on {o.model}: {o.broken}" for o in found if o.broken]
    if broken:
        raise AssertionError(
            f"{how.title} breaks {len(broken)} of {len(found)} checks:\n" + "\n".join(broken)
        )
    if all(o.left_out for o in found):
        raise AssertionError(f"{how.title} works on none of these models: {found[0].left_out}")
    return found


def outcomes(method: Method, on: str) -> Iterator[Outcome]:
    """The outcome of each check that concerns the tiny model `on`."""
    if on not in MODELS:
        raise UnknownName("tiny model", on, MODELS)
    refusal, broken = refused(method, on)
    if refusal or broken:
        yield Outcome("refusal", on, broken, refusal)
        return
    for check in CHECKS.values():
        if check.concerns(on):
            yield outcome(check, method, on)


def outcome(check: Check, method: Method, on: str) -> Outcome:
    """The outcome of one check."""
    if check.name in method.cannot:
        return Outcome(check.name, on, left_out=method.cannot[check.name])
    with tempfile.TemporaryDirectory() as folder:
        try:
            check.run(Case(method, on, Path(folder)))
        except AssertionError as error:
            return Outcome(check.name, on, str(error) or "an assertion fails")
        except Exception as error:
            return Outcome(check.name, on, f"{type(error).__name__}: {error}")
    return Outcome(check.name, on)


def refused(method: Method, on: str) -> tuple[str, str]:
    """(why the method refuses the tiny model `on`, what is wrong with that); "" for neither.

    A model for a task that the method does not declare has to be refused, and whatever is refused
    is left as it was.
    """
    model, declared = tiny(on), models.task(on) in method.model_tasks
    before = snapshot(model)
    try:
        method.attach(model)
    except PftError as error:
        traces = snapshot(model) != before
        return str(error), "a refused model is not as it was" if traces else ""
    if not declared:
        return "", f"takes a model for {models.task(on)}, which its facts do not name"
    return "", ""


def parametrize(method: Method | type[Method], on: Sequence[str] = FEW) -> Any:
    """A decorator that runs a test of pytest with each check, as a function to call.

        @parametrize(Mine())
        def test_contract(check):
            check()

    Args:
        method: as for `check_method`.
        on: names of tiny models.
    """
    import pytest

    how = _made(method)

    def test(check: Check, name: str) -> Any:
        def run() -> None:
            refusal, broken = refused(how, name)
            assert not broken, broken
            found = Outcome(check.name, name, left_out=refusal) if refusal else None
            found = found or outcome(check, how, name)
            if found.left_out:
                pytest.skip(found.left_out)
            assert not found.broken, found.broken

        return pytest.param(run, id=f"{check.name}-{name}")

    pairs = [(check, name) for name in on for check in CHECKS.values() if check.concerns(name)]
    return pytest.mark.parametrize("check", [test(check, name) for check, name in pairs])


def _made(method: Any) -> Method:
    if isinstance(method, type) and issubclass(method, Method):
        return method(**method.tiny)
    if not isinstance(method, Method):
        raise BadValue(f"{method!r} is no method: give one, or a subclass of pftlab.core.Method.")
    return method
