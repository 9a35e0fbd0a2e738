"""Every method by its name: those of this package, those of other packages, and one's own.

A method's module is imported when it is first asked for, so that looking at the names is quick.
Another package offers its methods as entry points, in its pyproject.toml:

    [project.entry-points."pftlab.methods"]
    mine = "package.module:Mine"

and a script makes its own known with `register`.
"""

import dataclasses
import inspect
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .core.errors import BadCheckpoint, BadValue, Refused, Unavailable, UnknownName
from .facts import FACTS, Facts

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from torch import nn

    from .core.method import Method

GROUP = "pftlab.methods"  # of entry points
ALL = "adapters.json"  # beside the folders that save_all writes
_OWN: dict[str, "type[Method]"] = {}  # what was registered

Class = TypeVar("Class", bound="type[Method]")


class _Methods(Mapping[str, "type[Method]"]):
    """name → method class, imported on first use."""

    def __getitem__(self, name: str) -> "type[Method]":
        if name in FACTS:
            return _imported(f"pftlab.{FACTS[name].place}")
        if name in _OWN:
            return _OWN[name]
        if name in _offered():
            return _from_package(_offered()[name])
        known = UnknownName("method", name, self)
        if "Did you mean" in str(known):
            raise known
        raise UnknownName(
            "method", name, self,
            "A method of your own has to be made known first: pftlab.register(MyMethod).",
        )  # fmt: skip

    def __contains__(self, name: object) -> bool:
        return name in FACTS or name in _OWN or name in _offered()

    def __iter__(self) -> Iterator[str]:
        return iter({**FACTS, **_OWN, **_offered()})

    def __len__(self) -> int:
        return len({**FACTS, **_OWN, **_offered()})

    def __repr__(self) -> str:
        return f"METHODS({', '.join(self)})"


METHODS = _Methods()


def facts_of(name: str) -> Facts:
    """The row of a method; from elsewhere than this package, it is made of the class's data.

    Raises:
        UnknownName: there is no such method.
        Unavailable: another package offers it, and it cannot be imported.
    """
    if name in FACTS:
        return FACTS[name]
    data = {field.name: getattr(METHODS[name], field.name) for field in dataclasses.fields(Facts)}
    return Facts(**data)


def register(method: Class) -> Class:
    """Make a method of one's own known by its name, to `load` and to all that asks `METHODS`.

        @pftlab.register
        @dataclass(frozen=True)
        class Mine(Method): ...

    Registering the same class again, as a cell that is run twice does, replaces it.

    Args:
        method: a subclass of `pftlab.core.Method`, a dataclass of hyper-parameters.

    Returns:
        The class itself.

    Raises:
        BadValue: it is no such class, or its name is another method's.
    """
    _check(method)
    name = method.name
    if name in METHODS and not (name in _OWN and _path(_OWN[name]) == _path(method)):
        raise BadValue(
            f"{method.__name__} cannot be registered as {name!r}: that is {_path(METHODS[name])}. "
            f'Give it a name of its own, in the class: name = "my_{name}".'
        )
    _OWN[name] = method
    return method


def load(
    model: Any,
    folder: str | Path,
    name: str | None = None,
    check_base: bool = True,
    *,
    use: bool = True,
    replace: bool = False,
) -> Any:
    """Attach what `folder` holds, saved by `pftlab.save`, Hugging Face PEFT or AdapterHub.

    See pftlab.core.checkpoint.load for the other arguments and errors. What is in use is trained,
    so that training goes on where the file has ended.

    Args:
        model: the base that it was trained on; changed in place and returned.
        folder: with adapter_config.json and the tensors.
        name: under which to attach it; the saved name by default.
        check_base: refuse another base.
        use: put it in use at once, together with what is in use; False: set it aside.
        replace: put it in the place of what is attached as `name`, all or nothing: if anything
            fails, the old one is as it was. Passes inside `pftlab.rows` see the old one or the new
            one. In use as the old one was, whatever `use` says.

    Raises:
        UnknownName: with `replace`, `name` is not attached.
    """
    from .core import checkpoint, swap
    from .exchange import adapterhub, peft

    def read(name: str | None) -> Any:
        checkpoint.load(model, folder, METHODS, (peft, adapterhub), name, check_base)

    if replace:
        swap.replace(model, name or "", read)
    elif use:
        read(name)
    else:
        swap.load_aside(model, lambda: read(name))
    return model


def save(model: "nn.Module", folder: str | Path, name: str | None = None) -> Path:
    """Write what is attached to `model`, or the attachment `name` alone, for `pftlab.load`.

    See pftlab.core.checkpoint.save for the arguments and errors. Beside these:

    Raises:
        Refused: a method has the name of another one, which `load` would attach in its place.

    Warns:
        UserWarning: a method is not registered, so that `load` will not know it.
    """
    from .core import attached, checkpoint
    from .exchange import peft

    for method in attached(model).values():
        cls = type(method)
        if method.name not in METHODS:
            warnings.warn(
                f"{cls.__name__} is not registered: pftlab.load will know it after "
                f"pftlab.register({cls.__name__}).",
                stacklevel=2,
            )
        elif METHODS[method.name] is not cls:
            raise Refused(
                f"{_path(cls)} has the name {method.name!r} of {_path(METHODS[method.name])}, "
                "which pftlab.load would attach in its place. Give it a name of its own, in the "
                f'class: name = "my_{method.name}", and register it.'
            )
    return checkpoint.save(model, folder, peft, name)


def save_all(model: "nn.Module", folder: str | Path) -> Path:
    """Save every attachment of `model`, each into a folder of its own below `folder`.

    Each of them can be loaded alone, here and where its form is known. `adapters.json` beside them,
    written last, says in what order they were attached and which are in use.

    Returns:
        The folder.

    Raises:
        Refused: nothing is attached, or two attachments train one value of a base parameter. No
            file has been written then.
        Unavailable: the folder cannot be written.
    """
    from .core.files import atomic_write
    from .core.record import enabled_record

    record = enabled_record(model, "Saving")
    for n, values in record.values.items():
        for value in values:
            if len(value.users) > 1:
                raise Refused(
                    f"{n} is trained by {value.users[0]!r} and by {value.users[1]!r}, so that they "
                    "cannot be saved apart. Save them together: save(model, folder)."
                )
    for name in record.methods:
        save(model, Path(folder) / name, name)
    index = {"adapters": list(record.methods), "in_use": record.in_use}
    with atomic_write(Path(folder) / ALL) as path:
        path.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return Path(folder)


def load_all(model: Any, folder: str | Path, check_base: bool = True) -> Any:
    """Attach every adapter that `save_all` has written, and use those that were in use.

    Args:
        model: the base that they were trained on; changed in place and returned.
        folder: with adapters.json.
        check_base: refuse another base.

    Raises:
        BadCheckpoint: the folder holds no such file or a damaged one, or an adapter does not fit.
            Whatever is raised, nothing of it is attached.
    """
    from .core import attached, detach
    from .core.active import use
    from .core.attachment import NAME
    from .core.files import parse_json

    try:
        text = (Path(folder) / ALL).read_bytes()
    except OSError as error:
        raise BadCheckpoint(
            f"{str(folder)!r} has no {ALL}: save_all has not written it, or not to its end. One "
            "adapter is loaded by pftlab.load."
        ) from error
    index = parse_json(text, f"{ALL} in {str(folder)!r}")
    names, in_use = index.get("adapters"), index.get("in_use")
    known = isinstance(names, list) and all(isinstance(n, str) and NAME.fullmatch(n) for n in names)
    if names is None or not known or not (isinstance(in_use, dict) and {*in_use} <= {*names}):
        raise BadCheckpoint(f"{ALL} in {str(folder)!r} is damaged: it is not what save_all writes.")
    before = attached(model)
    try:
        for name in names:
            load(model, Path(folder) / name, name, check_base, use=False)
        if names:
            use(model, in_use)
    except BaseException:
        for name in attached(model).keys() - before.keys():
            detach(model, name)
        raise
    return model


def _check(method: Any) -> None:
    from .core.method import Method

    if not (isinstance(method, type) and issubclass(method, Method) and method is not Method):
        raise BadValue(
            f"{method!r} is no method: give the class, a subclass of pftlab.core.Method."
        )
    own = {n for n, kind in inspect.get_annotations(method).items() if "ClassVar" not in str(kind)}
    known = (
        {f.name for f in dataclasses.fields(method)} if dataclasses.is_dataclass(method) else None
    )
    if known is None or not own <= known:
        raise BadValue(
            f"{method.__name__} is no dataclass, so its hyper-parameters cannot be saved. "
            "Write @dataclass(frozen=True) above the class, and register it after that."
        )
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", method.name):
        raise BadValue(
            f"{method.name!r} cannot be a name: use letters, digits and underscores, a letter "
            "first."
        )


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _imported(place: str) -> Any:
    module, _, cls = place.partition(":")
    return getattr(import_module(module), cls)


@cache
def _offered() -> "dict[str, EntryPoint]":
    """The methods that installed packages offer, by name."""
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=GROUP) if entry.name not in FACTS}


def _from_package(entry: "EntryPoint") -> "type[Method]":
    try:
        method = _imported(entry.value)
        _check(method)
    except (ImportError, AttributeError, BadValue) as error:
        raise Unavailable(
            f"The method {entry.name!r} of another package, {entry.value}, cannot be used: "
            f"{error}. Repair that package or remove it."
        ) from error
    if method.name != entry.name:
        raise Unavailable(
            f"Another package offers {entry.value} as {entry.name!r}, and the class is called "
            f"{method.name!r}. The two have to be the same."
        )
    return method
