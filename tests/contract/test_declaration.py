"""What a method file says of itself."""

import re
from dataclasses import fields
from typing import Any

import pytest

from pftlab import METHODS
from pftlab.core import Method


@pytest.mark.parametrize("cls", METHODS.values(), ids=METHODS)
def test_declaration(cls: Any) -> None:
    """The method stands where its row says, and every hyper-parameter is explained."""
    assert f"{cls.__module__}:{cls.__name__}" == f"pftlab.{cls.place}"
    assert cls.__dataclass_params__.frozen
    assert bool(cls.where) != bool(cls.at), "says where it acts in words, or by its sites"
    documented = "".join(c.__doc__ or "" for c in cls.__mro__ if issubclass(c, Method))
    for field in fields(cls):
        assert re.search(rf"^ +{field.name}: ", documented, re.MULTILINE), field.name
