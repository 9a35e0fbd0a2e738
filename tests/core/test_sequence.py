"""Places of a prompt's vectors among the tokens, with padding on either side."""

from typing import Any

import pytest
import torch
from tiny import tiny

import pftlab as pft
from pftlab.core import plant, planted, uproot
from pftlab.core.ports.sequence import Prompt


class Numbers(Prompt):
    """Vectors 100, 101, …: they can be told apart from the words."""

    def __init__(self, position: int | tuple[int, ...], length: int):
        super().__init__()
        self.position, self.length = position, length

    def forward(self, embedded: torch.Tensor) -> torch.Tensor:
        numbers = torch.arange(100, 100 + self.length).to(embedded.dtype)
        return numbers[None, :, None].expand(len(embedded), -1, embedded.shape[2])


def read(name: str, position: Any, length: int, mask: list[list[int]]) -> Any:
    """What the stack is given: numbers of the sequence, mask, positions; and what it returns."""
    model = tiny(name)
    (site,) = pft.sites(model, ("sequence",))
    plant(site, "p", Numbers(position, length))
    given: dict[str, Any] = {}
    site.host.register_forward_pre_hook(
        lambda m, args, kwargs: given.update(kwargs), with_kwargs=True
    )
    given_mask = torch.tensor(mask)
    places = torch.arange(given_mask.shape[1]).expand(given_mask.shape)
    embedded = places[..., None].expand(-1, -1, 32).float()  # token t is the number t
    with torch.no_grad():
        out = site.host(
            inputs_embeds=embedded,
            attention_mask=given_mask,
            position_ids=(given_mask.cumsum(1) - 1).clamp(min=0),
        )
    return given, out.last_hidden_state


@pytest.mark.parametrize(
    ("name", "places", "mask", "numbers", "positions"),
    [
        (
            "bert",
            (1, 1, -1),
            [[1, 1, 1, 1], [1, 1, 1, 0]],
            [[0, 100, 101, 1, 2, 102, 3], [0, 100, 101, 1, 102, 2, 3]],
            [[0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5, 5]],
        ),
        (
            "gpt2",  # padded on the left; vectors in any order
            (2, 0),
            [[1, 1, 1, 1], [0, 1, 1, 1]],
            [[101, 0, 1, 100, 2, 3], [0, 101, 1, 2, 100, 3]],
            [[0, 1, 2, 3, 4, 5], [0, 0, 1, 2, 3, 4]],
        ),
        (
            "gpt2",  # one block behind the first word, and a text that is shorter than a place
            (3, 3),
            [[1, 1, 1, 1], [0, 0, 1, 1]],
            [[0, 1, 2, 100, 101, 3], [0, 1, 2, 3, 100, 101]],
            [[0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 2, 3]],
        ),
    ],
)
def test_places(name: str, places: Any, mask: Any, numbers: Any, positions: Any) -> None:
    given, out = read(name, places, len(places), mask)
    assert given["inputs_embeds"][..., 0].int().tolist() == numbers
    for row, line in enumerate(numbers):  # a token keeps its mask, a vector is always seen
        expected = [1 if n >= 100 else mask[row][n] for n in line]
        assert given["attention_mask"][row].tolist() == expected
    assert given["position_ids"].tolist() == positions
    assert out.shape[1] == len(mask[0])


def test_one_block_is_the_same_as_its_places() -> None:
    mask = [[1, 1, 1, 1], [1, 1, 0, 0]]
    for name, at in (("bert", 1), ("bert", 2), ("gpt2", 0)):
        outputs = [read(name, position, 3, mask)[1] for position in (at, (at,) * 3)]
        assert torch.allclose(*outputs, atol=1e-5), name


def test_each_vector_needs_a_place() -> None:
    model = tiny("bert")
    (site,) = pft.sites(model, ("sequence",))
    with pytest.raises(pft.BadValue, match="2 places for 3 vectors"):
        plant(site, "p", Numbers((1, 1), 3))
    for _, host, child, _ in planted(model):
        uproot(host, child)
    assert not hasattr(model, "pftlab")
