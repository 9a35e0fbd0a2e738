"""Methods and their hyper-parameters as words on a command line.

Everything comes from the fields of the method's dataclass: nothing here knows any method.
"""

import argparse
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Callable, Sequence
from types import UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

from ..core.errors import BadValue
from ..registry import METHODS

if TYPE_CHECKING:
    from ..core.method import Method

PREFIX = "hyper-parameter "  # of the names under which argparse keeps the values


def _truth(text: str) -> bool:
    return {"true": True, "yes": True, "false": False, "no": False}[text.lower()]


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.split("[,+]", text))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in _words(text))


def _number_or_numbers(text: str) -> int | tuple[int, ...]:
    numbers = _numbers(text)
    return numbers if len(numbers) > 1 else numbers[0]


READERS: dict[str, tuple[Callable[[str], Any], str, str]] = {  # type → reader, letters, words
    "int": (int, "N", "a whole number"),
    "float": (float, "X", "a number"),
    "str": (str, "WORD", "a word"),
    "bool": (_truth, "true|false", "true or false"),
    "tuple[str, ...]": (_words, "A,B", "words with commas between them"),
    "tuple[int, ...]": (_numbers, "1,2", "whole numbers with commas between them"),
    "int | tuple[int, ...]": (
        _number_or_numbers,
        "N|1,2",
        "a whole number, or several with commas between them",
    ),
}
OPTIONAL = " | None"


@dataclasses.dataclass(frozen=True)
class Hyperparameter:
    """A field of a method: its name, type as written, default, and meaning in the docstring."""

    name: str
    kind: str
    default: Any
    meaning: str


def hyperparameters(method: "type[Method]") -> list[Hyperparameter]:
    """The fields of a method; what its docstring does not explain, its parents' do."""
    types = get_type_hints(method)  # without the limits that stand beside them
    meanings: dict[str, str] = {}
    for base in reversed(method.__mro__):
        meanings |= _arguments(base.__doc__)
    return [
        Hyperparameter(
            field.name,
            _type_words(types[field.name]),
            field.default,
            meanings.get(field.name, ""),
        )
        for field in dataclasses.fields(method)  # type: ignore[arg-type]
    ]


def _type_words(hint: Any) -> str:
    if get_origin(hint) in (Union, UnionType):
        return " | ".join(_type_words(member) for member in get_args(hint))
    if hint is type(None):
        return "None"
    return hint.__name__ if type(hint) is type else str(hint)


def _arguments(docstring: str | None) -> dict[str, str]:
    """What a docstring says of each argument under "Args:"."""
    text = inspect.cleandoc(docstring or "").partition("Args:")[2]
    entries = re.split(r"\n(?=\w+(?:, \w+)*: )", textwrap.dedent(text))
    found: dict[str, str] = {}
    for entry in entries:
        name, colon, meaning = entry.strip().partition(": ")
        if colon:
            found |= {n: " ".join(meaning.split()) for n in name.split(", ")}
    return found


def read(method: "type[Method]", name: str, text: str) -> Any:
    """The value of a hyper-parameter from its text.

    Raises:
        BadValue: the method has no such hyper-parameter, or the text is no value of its type.
    """
    field = next((f for f in hyperparameters(method) if f.name == name), None)
    if field is None:
        raise BadValue(f"{method.title} has no hyper-parameter {name!r}. {offer(method)}")
    optional = field.kind.endswith(OPTIONAL)
    if optional and text.lower() == "none":
        return None
    if field.kind.removesuffix(OPTIONAL) not in READERS:
        raise BadValue(f"{name} of {method.title} can be given in Python alone ({field.kind}).")
    reader, _, words = READERS[field.kind.removesuffix(OPTIONAL)]
    try:
        return reader(text)
    except (ValueError, KeyError) as error:
        raise BadValue(
            f"{name}={text!r}: {method.title} wants {words}{', or none' if optional else ''}. "
            f"Its default is {written(field.default)}."
        ) from error


def written(value: Any) -> str:
    """A value as one would write it on the command line."""
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "()"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def offer(method: "type[Method]") -> str:
    """What can be given."""
    listing = ", ".join(f"{f.name} ({written(f.default)})" for f in hyperparameters(method))
    return f"It takes, with these defaults: {listing}." if listing else "It takes none."


def parse(text: str) -> tuple["type[Method]", dict[str, Any]]:
    """Method and values from "name" or "name:field=value,field=value".

    Raises:
        UnknownName: there is no such method.
        BadValue: a setting is not as it should be.
    """
    name, _, settings = text.strip().partition(":")
    method, values = METHODS[name], {}
    # a comma also stands between the words of one value: a setting begins where a "=" follows
    for setting in re.split(r",(?=\s*\w+\s*=)", settings) if settings.strip() else []:
        key, equals, value = setting.partition("=")
        if not equals:
            raise BadValue(
                f"{setting!r} in {text.strip()!r} is no setting; write {name}:field=value. "
                + offer(method)
            )
        values[key.strip()] = read(method, key.strip(), value.strip())
    return method, values


def split_methods(text: str) -> list[str]:
    """Split at the commas between methods, not at those within their settings."""
    between = r",(?=\s*[a-z]\w*\s*(?:[:,]|$))"
    words: list[str] = []
    for word in filter(None, (word.strip(", ") for word in re.split(between, text))):
        # a lone word that is no method goes on with the setting before it: at=ffn.up,ffn
        if words and "=" in words[-1] and word not in METHODS and ":" not in word:
            words[-1] += f",{word}"
        else:
            words.append(word)
    return words


def add_options(parser: argparse.ArgumentParser, method: "type[Method]") -> None:
    """Give `parser` an option for each hyper-parameter."""
    group = parser.add_argument_group(f"hyper-parameters of {method.title}", method.paper)
    for field in hyperparameters(method):
        meaning = f"{field.meaning.removesuffix('.')} (default {written(field.default)})"
        try:
            group.add_argument(
                "--" + field.name.replace("_", "-"),
                dest=PREFIX + field.name,
                metavar=_letters(field),
                default=argparse.SUPPRESS,
                help=meaning.replace("%", "%%"),
            )
        except argparse.ArgumentError:  # the command has an option of this name
            group.description = (
                f"{group.description or ''} "
                f"({field.name}: give it as --method {method.name}:{field.name}={field.default})"
            )


def given_options(method: "type[Method]", given: argparse.Namespace) -> dict[str, Any]:
    """The values of the options that `add_options` added and that were given."""
    found = {k.removeprefix(PREFIX): v for k, v in vars(given).items() if k.startswith(PREFIX)}
    return {name: read(method, name, text) for name, text in found.items()}


def changed(method: "type[Method]", values: dict[str, Any]) -> str:
    """The method as "lora:rank=4", with those values that differ from its defaults."""
    defaults = {f.name: f.default for f in hyperparameters(method)}
    settings = [
        f"{name}={written(tuple(value) if isinstance(value, list) else value)}"
        for name, default in defaults.items()
        if _plain(value := values.get(name, default)) != _plain(default)
    ]
    return method.name + (":" + ",".join(settings) if settings else "")


def _letters(field: Hyperparameter) -> str:
    return READERS.get(field.kind.removesuffix(OPTIONAL), (None, "…", ""))[1]


def _plain(value: Any) -> Any:
    """Tuples as lists, which is how JSON brings them back."""
    return (
        [_plain(v) for v in value]
        if isinstance(value, Sequence) and not isinstance(value, str)
        else value
    )
