"""Places of a prompt's vectors among the tokens, with padding on either side."""

from typing import Any

import pytest
import torch
from tiny import batch, tiny
from transformers import MistralConfig, MistralForCausalLM

import pftlab as pft
from pftlab.core import plant, planted, uproot
from pftlab.core.ports.sequence import Prompt
from pftlab.testing.models import LLAMA, logits, ragged


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


PREFIX = pft.PrefixTuning(length=10, hidden=None)
PROMPT = pft.PromptTuning(length=10)


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "gpt2", "opt"])
@pytest.mark.parametrize(
    "stacked",
    [(PREFIX, PREFIX, PREFIX), (PROMPT, PROMPT, PROMPT), (PREFIX, PROMPT, PREFIX)],
    ids=["prefixes", "prompts", "both"],
)
def test_what_is_stacked_shares_the_positions(name: str, stacked: Any) -> None:
    model = tiny(name)
    # no token of RoBERTa may use the first two positions
    room = model.config.max_position_embeddings - (2 if name == "roberta" else 0) - 30
    for number, method in enumerate(stacked):
        method.attach(model, f"m{number}")
    inputs = batch(name, length=room)
    assert logits(model, inputs).isfinite().all()
    with pytest.raises(
        pft.BadValue, match=f"{room + 1} tokens, and the 30 positions that 'm0' and"
    ):
        model(**batch(name, length=room + 1))
    with pytest.raises(pft.BadValue, match=r"length 10 beside others of 30 leaves no room"):
        PREFIX.attach(model, "m3")
    assert list(pft.attached(model)) == ["m0", "m1", "m2"]
    with pft.disabled(model):
        model(**batch(name, length=room + 30))
    assert logits(pft.detach(model, "m1"), batch(name, length=room + 10)).isfinite().all()


@pytest.mark.parametrize("method", [PREFIX, PROMPT], ids=["prefix", "prompt"])
def test_a_text_that_grows_meets_the_end_of_the_positions(method: Any) -> None:
    model = method.attach(tiny("gpt2"))
    ids = batch("gpt2", length=7)["input_ids"]
    options = {"do_sample": False, "pad_token_id": 1, "eos_token_id": None}
    assert model.generate(ids, max_new_tokens=24, **options).shape[1] == 31
    with pytest.raises(pft.BadValue, match=r"31 tokens, and the 10 positions .* do not fit into"):
        model.generate(ids, max_new_tokens=25, **options)
    # padding takes no position
    padded = torch.cat([torch.ones(2, 5, dtype=torch.long), ids], 1)
    mask = torch.cat([torch.zeros(2, 5, dtype=torch.long), torch.ones_like(ids)], 1)
    written = model.generate(padded, attention_mask=mask, max_new_tokens=24, **options)
    assert torch.equal(written[:, 5:], model.generate(ids, max_new_tokens=24, **options))


@pytest.mark.parametrize("name", ["prompt_tuning", "p_tuning", "multitask_prompt_tuning"])
def test_a_window_shows_the_prompt_whatever_the_padding(name: str) -> None:
    torch.manual_seed(0)
    model = MistralForCausalLM(MistralConfig(**LLAMA, sliding_window=4)).eval()
    pft.METHODS[name](**{**pft.METHODS[name].tiny, "length": 3}).attach(model)
    together, alone = ragged("mistral", left=True)
    found, expected = logits(model, together)[1, 2:], logits(model, alone[1])[0]
    assert torch.allclose(found, expected, atol=1e-5)
    options = {"do_sample": False, "max_new_tokens": 4, "pad_token_id": 1, "eos_token_id": None}
    keys = ("input_ids", "attention_mask")
    written = model.generate(**{k: together[k] for k in keys}, **options)
    assert torch.equal(written[1, -4:], model.generate(**alone[1], **options)[0, -4:])
