"""What the tests of the built book share: a browser, and the site behind an address."""

from collections.abc import Iterator
from typing import Any

import pytest
from browser import launched, served


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    from test_site import SITE

    with served(SITE) as address:
        yield address
