"""Methods and their hyper-parameters as words on a command line.

Everything comes from the fields of the method's dataclass: nothing here knows any method.
"""

import argparse
import re
from collections.abc import Callable, Sequence
from typing import Any

from ..core.errors import BadValue
from ..registry import METHODS
from .cards import Hyperparameter, MethodCard, method_card

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


def read(card: MethodCard, name: str, text: str) -> Any:
    """The value of a hyper-parameter from its text.

    Raises:
        BadValue: the method has no such hyper-parameter, or the text is no value of its type.
    """
    field = next((f for f in card.hyperparameters if f.name == name), None)
    if field is None:
        raise BadValue(f"{card.title} has no hyper-parameter {name!r}. {offer(card)}")
    optional = field.kind.endswith(OPTIONAL)
    if optional and text.lower() == "none":
        return None
    if field.kind.removesuffix(OPTIONAL) not in READERS:
        raise BadValue(f"{name} of {card.title} can be given in Python alone ({field.kind}).")
    reader, _, words = READERS[field.kind.removesuffix(OPTIONAL)]
    try:
        return reader(text)
    except (ValueError, KeyError) as error:
        raise BadValue(
            f"{name}={text!r}: {card.title} wants {words}{', or none' if optional else ''}. "
            f"Its default is {written(field.default)}."
        ) from error


def written(value: Any) -> str:
    """A value as one would write it on the command line."""
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "()"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def offer(card: MethodCard) -> str:
    """What can be given."""
    listing = ", ".join(f"{f.name} ({written(f.default)})" for f in card.hyperparameters)
    return f"It takes, with these defaults: {listing}." if listing else "It takes none."


def parse(text: str) -> tuple[MethodCard, dict[str, Any]]:
    """Card and values from "name" or "name:field=value,field=value".

    Raises:
        UnknownName: there is no such method.
        BadValue: a setting is not as it should be.
    """
    name, _, settings = text.strip().partition(":")
    card, values = method_card(name), {}
    # a comma also stands between the words of one value: a setting begins where a "=" follows
    for setting in re.split(r",(?=\s*\w+\s*=)", settings) if settings.strip() else []:
        key, equals, value = setting.partition("=")
        if not equals:
            raise BadValue(
                f"{setting!r} in {text.strip()!r} is no setting; write {name}:field=value. "
                + offer(card)
            )
        values[key.strip()] = read(card, key.strip(), value.strip())
    return card, values


def make(card: MethodCard, values: dict[str, Any]) -> Any:
    """The method itself; this imports it."""
    return METHODS[card.name](**values)


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


def add_options(parser: argparse.ArgumentParser, card: MethodCard) -> None:
    """Give `parser` an option for each hyper-parameter."""
    group = parser.add_argument_group(f"hyper-parameters of {card.title}", card.paper)
    for field in card.hyperparameters:
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
                f"({field.name}: give it as --method {card.name}:{field.name}={field.default})"
            )


def given_options(card: MethodCard, given: argparse.Namespace) -> dict[str, Any]:
    """The values of the options that `add_options` added and that were given."""
    found = {k.removeprefix(PREFIX): v for k, v in vars(given).items() if k.startswith(PREFIX)}
    return {name: read(card, name, text) for name, text in found.items()}


def changed(card: MethodCard, values: dict[str, Any]) -> str:
    """The method as "lora:rank=4", with those values that differ from its defaults."""
    defaults = {f.name: f.default for f in card.hyperparameters}
    settings = [
        f"{name}={written(tuple(value) if isinstance(value, list) else value)}"
        for name, value in values.items()
        if name in defaults and _plain(value) != _plain(defaults[name])
    ]
    return card.name + (":" + ",".join(settings) if settings else "")


def _letters(field: Hyperparameter) -> str:
    return READERS.get(field.kind.removesuffix(OPTIONAL), (None, "…", ""))[1]


def _plain(value: Any) -> Any:
    """Tuples as lists, which is how JSON brings them back."""
    return (
        [_plain(v) for v in value]
        if isinstance(value, Sequence) and not isinstance(value, str)
        else value
    )
