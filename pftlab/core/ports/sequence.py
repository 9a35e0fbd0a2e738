"""The sequence of embedded words: a delta puts vectors among them, or only looks at it.

    X  ←  X with delta(X) among its words

The prompt lives wholly inside the stack of layers: one hook inserts it before the first layer,
with its attention mask, token types and positions, another takes its positions out of what the
stack returns. Outside, everything keeps its place: labels, the last token that a decoder
classifies by, the logits of every token. During generation only the first call, with an empty
cache, inserts; later calls make room for what the cache already holds.
"""

from collections.abc import Iterator
from functools import partial
from inspect import signature
from itertools import groupby
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..architectures import architecture
from ..delta import Delta, acts, delta_in
from ..errors import BadValue, Refused
from ..grouped import Part
from ..handover import Handover
from ..places import Port, Site


class MakesVectors(Protocol):
    """The call of a prompt."""

    def __call__(self, embedded: Tensor) -> Tensor:
        """Embedded tokens (B, T, d) → vectors (B, n, d)."""


class OnSequence(Delta):
    """What is planted at a stack of layers and sees the words that it is called with.

    Attributes:
        length: how many positions it takes from the text.
        limit: how many there are for all that takes some; None: no table limits them.
        offset: number of the first of them.
        names: of the arguments of the stack, in their order; set when planted.
    """

    ports: ClassVar[tuple[Port, ...]] = (Port.SEQUENCE,)
    length: int = 0
    limit: int | None = None
    offset: int = 0
    names: tuple[str, ...] = ()

    def connect(self, site: Site, name: str) -> Iterator[RemovableHandle]:
        """Register the hooks with which this delta, `name` in its host, acts."""
        raise NotImplementedError


def plant(site: Site, name: str, delta: Delta) -> Iterator[RemovableHandle]:
    """Connect the delta `name` with the stack of `site`."""
    assert isinstance(delta, OnSequence)
    delta.names = tuple(signature(site.host.forward).parameters)
    yield from delta.connect(site, name)


class Prompt(OnSequence):
    """Trainable vectors that are inserted into the sequence of embedded tokens.

    forward: embedded tokens (B, T, d) → prompt (B, n, d)

    Attributes:
        length: n, the number of vectors.
        position: how many tokens stay in front of the prompt; None: one where classification
            reads the first token ([CLS] keeps its place), else none. A tuple has a place for each
            vector, in any order: how many tokens stay in front of it or, below zero, how many stay
            behind it (-1: all but the closing [SEP] are in front). Padding is not counted.
    """

    position: int | tuple[int, ...] | None = None
    places: tuple[int, ...] | None = None  # of each vector, unless they stand in one block
    is_read: bool = False  # a classifier reads its first vector

    def __init__(self) -> None:
        super().__init__()
        self.inserted = Handover()  # where, from the beginning of the stack to its end

    def connect(self, site: Site, name: str) -> Iterator[RemovableHandle]:
        """Register the hooks that insert the prompt and take it out again.

        Raises:
            BadValue: the prompt leaves no room for text, or a vector has no place.
            Refused: a place is counted from an end that moves.
        """
        table, model, stack = architecture(site.model), site.model, site.host
        encodes = site.path.endswith("encoder")
        decoder = getattr(model.base_model, "decoder", None) if encodes else None
        reads_first = table.first_token_is_read
        if self.position is None:
            self.position = int(reads_first)
        if isinstance(self.position, tuple):
            if len(self.position) != self.length:
                raise BadValue(
                    f"position has {len(self.position)} places for {self.length} vectors. "
                    "Give each vector its place."
                )
            if min(self.position) < 0 and not reads_first and decoder is None:
                raise Refused(
                    f"A {type(model).__name__} reads from left to right and adds words at the "
                    "end: a place counted from there would move with each. Count all places from "
                    "the front."
                )
            self.places = self.position
        elif not reads_first:
            # Such models are padded on the left, and the prompt stands behind the padding: in front
            # of it, how far it is from the words, and whether a window shows it, would depend on
            # the other rows.
            self.places = (self.position,) * self.length
        # A prompt in front of [CLS] is kept for a head that reads position 0: this is what Hugging
        # Face PEFT's checkpoints were trained with.
        classifies = "ForSequenceClassification" in type(model).__name__
        self.is_read = decoder is None and reads_first and classifies and self.position == 0
        keeps = decoder is not None or self.is_read
        self.limit, self.offset = _limit(site), table.position_offset
        yield stack.register_forward_pre_hook(partial(_insert, name), with_kwargs=True)
        if not keeps:
            # the prompt inserted last leaves first
            yield stack.register_forward_hook(partial(_remove, name), prepend=True)
        if decoder is not None:
            widen = partial(_widen_encoder_mask, name, (stack,))
            yield decoder.register_forward_pre_hook(widen, with_kwargs=True)


class PositionShift(OnSequence):
    """Moves every token `length` positions on, as if a prompt of that length stood in front.

    A prefix of keys and values takes no positions by itself. The original code of prefix tuning
    and P-tuning v2, and Hugging Face PEFT, let the text begin behind it all the same.
    """

    def __init__(self, length: int):
        super().__init__()
        self.length = length

    def connect(self, site: Site, name: str) -> Iterator[RemovableHandle]:
        """Register the hook that moves the positions, where the stack has any.

        Raises:
            Refused: it has, and takes none from outside.
        """
        table = architecture(site.model)
        if "position_ids" in self.names:
            self.limit, self.offset = _limit(site), table.position_offset
            yield site.host.register_forward_pre_hook(partial(_shift, name), with_kwargs=True)
        elif table.learned_positions:
            raise Refused(
                f"A {type(site.model).__name__} counts positions by itself, and its text cannot "
                "begin behind a prefix. Give shift_positions=False."
            )
        else:  # they are relative, and a shift changes nothing
            self.length = 0


class Text(NamedTuple):
    """The words that one pass reads.

    Attributes:
        real: True where a position holds a word and no padding, (B, T).
        begins: whether the pass reads the beginning of the text; False: a cache holds it.
    """

    real: Tensor
    begins: bool


class TextMask(OnSequence):
    """Knows which positions hold text; rewrites nothing.

    A method plants one at the site "sequence" and gives it to those of its deltas that must tell
    text from padding, or the prompt from what is generated behind it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reading = Handover()
        # Gradient checkpointing computes layers once more when the pass is over, on a GPU in a
        # thread of PyTorch's own. They find here what the last pass on their device has read.
        self.latest: dict[torch.device, Text] = {}

    def connect(self, site: Site, name: str) -> Iterator[RemovableHandle]:
        """Register the hooks that look at the words, and forget them behind the last layer."""
        yield site.host.register_forward_pre_hook(partial(_watch, name), with_kwargs=True)
        yield site.host.register_forward_hook(partial(_forget, name), always_call=True)

    def of(self, h: Tensor) -> Text:
        """The text of which `h` (B, T, d) holds the hidden states.

        Raises:
            Refused: h has other positions than the text.
        """
        text: Text | None = self.reading.look() or self.latest.get(h.device)
        assert text is not None, "the stack has not been called"
        if text.real.shape[1] != h.shape[1]:
            raise Refused(
                f"The text has {text.real.shape[1]} positions and the hidden states have "
                f"{h.shape[1]}. Attach what inserts a prompt first, and this method behind it."
            )
        return text

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"latest": {}}  # copies start empty


def _taking(stack: nn.Module) -> list[OnSequence]:
    """What takes positions from the text of `stack`, in the order in which it acts."""
    return [each for each in stack.children() if isinstance(each, OnSequence) and each.length]


def _limit(site: Site) -> int | None:
    """How many positions text, prompts and prefixes may take together; None: no table limits them.

    Raises:
        BadValue: what is planted at this site leaves none for the text.
    """
    table = architecture(site.model)
    limit = getattr(site.config, "max_position_embeddings", None)
    if limit is None:
        return None
    limit -= table.position_offset
    lengths = [each.length for each in _taking(site.host)]
    if sum(lengths) >= limit:
        others = f" beside others of {sum(lengths[:-1])}" if len(lengths) > 1 else ""
        raise BadValue(
            f"A prompt of length {lengths[-1]}{others} leaves no room for text: this model has "
            f"{limit} positions. Give a shorter prompt."
        )
    return limit if table.learned_positions else None


def _check_room(delta: OnSequence, stack: nn.Module, kwargs: dict, columns: int) -> None:
    """Refuse a text that is too long, before the table of positions is asked for one too many.

    Args:
        delta: that is about to act on the text.
        stack: its host.
        kwargs: with which the stack is called.
        columns: how many the text has by now, with padding and those of the prompts in it.
    """
    if delta.limit is None:
        return
    taking = [each for each in _taking(stack) if acts(each)]
    place = taking.index(delta)
    seen = _seen(kwargs)
    inside = sum(
        each.length for each in taking[: None if seen else place] if isinstance(each, Prompt)
    )
    added = sum(each.length for each in taking)
    text = seen + columns - inside
    if text + added > delta.limit and (positions := kwargs.get("position_ids")) is not None:
        # padding has no positions of its own; to look at them takes time, and is seldom needed
        text = int(positions.max()) + 1 - delta.offset
        text -= sum(each.length for each in taking[:place])
    if text + added > delta.limit:
        raise BadValue(
            f"{text} tokens, and the {added} positions that "
            f"{' and '.join(dict.fromkeys(repr(each.method_name) for each in taking))} take, do "
            f"not fit into the {delta.limit} positions of this model. Shorten the text, the prompt "
            "or the prefix."
        )


def _seen(kwargs: dict) -> int:
    """How many positions the cache of a stack that is called with `kwargs` holds."""
    cache = kwargs.get("past_key_values")
    return 0 if cache is None or torch.compiler.is_compiling() else int(cache.get_seq_length())


def _shift(name: str, stack: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
    shift = delta_in(stack, name)
    assert isinstance(shift, PositionShift)
    if not acts(shift):
        return None
    kwargs = dict(zip(shift.names, args, strict=False)) | kwargs
    here, _, members = _part(name, shift, _words(kwargs))
    if not here:
        return None
    if (positions := kwargs.get("position_ids")) is None:
        positions = _counted(stack, kwargs, shift.offset)
    kwargs["position_ids"] = positions
    _check_room(shift, stack, kwargs, positions.shape[1])
    move = shift.length if members is None else shift.length * members
    return (), kwargs | {"position_ids": positions + move}


def _watch(name: str, stack: nn.Module, args: tuple, kwargs: dict) -> None:
    text = delta_in(stack, name)
    assert isinstance(text, TextMask)
    if not acts(text):
        return
    kwargs = dict(zip(text.names, args, strict=False)) | kwargs
    words = _words(kwargs)
    mask, cache = kwargs.get("attention_mask"), kwargs.get("past_key_values")
    _check_mask(mask, "Telling text from padding")
    begins = cache is None or int(cache.get_seq_length()) == 0
    if mask is None:
        real = torch.ones(words.shape[:2], dtype=torch.bool, device=words.device)
    else:
        real = mask[:, -words.shape[1] :].bool()
    text.reading.leave(Text(real, begins))
    text.latest[words.device] = Text(real, begins)


def _forget(name: str, stack: nn.Module, args: tuple, output: Any) -> None:
    text = delta_in(stack, name)
    assert isinstance(text, TextMask)
    text.reading.take()


def _words(kwargs: dict) -> Tensor:
    """The words (B, T), or their embeddings (B, T, d), that a stack is called with."""
    words: Tensor | None = kwargs.get("input_ids")
    return kwargs["inputs_embeds"] if words is None else words


def _part(name: str, delta: OnSequence, batch: Tensor) -> tuple[bool, Part | None, Tensor | None]:
    """Whether the delta `name` has rows of `batch`; for which group, and which rows, (B, 1).

    Without a group it acts for itself, and without rows on all of them.
    """
    if (rows := delta.passes.look()) is None:
        return True, None, None
    part: Part | None = rows.part(delta, name, batch)
    return part is not None, part, None if part is None else part.members(batch)


def _check_mask(mask: Tensor | None, who: str) -> None:
    if mask is not None and mask.dim() != 2:
        raise Refused(
            f"{who} needs an attention mask of shape (batch, length), not of {mask.dim()} "
            "dimensions. Pass the tokenizer's mask; a static cache makes such a mask of it when a "
            "model generates, so use the dynamic one there."
        )


def _positions(kwargs: dict) -> Tensor:
    """Positions (B or 1, T) of the words that a stack is called with: a row's first word has 0."""
    words = _words(kwargs)
    mask, cache = kwargs.get("attention_mask"), kwargs.get("past_key_values")
    if mask is not None and mask.dim() == 2:
        return (mask.long().cumsum(1) - 1).clamp(min=0)[:, -words.shape[1] :]
    seen = 0 if cache is None else int(cache.get_seq_length())
    return torch.arange(seen, seen + words.shape[1], device=words.device)[None]


def _counted(stack: nn.Module, kwargs: dict, offset: int) -> Tensor:
    """The positions (B or 1, T) that no caller has given, for each row as it has them alone.

    Behind a prefix, and in models whose positions begin at an offset, the first word has the first;
    elsewhere the stack counts padding in front of it as well.
    """
    words, of_words = _words(kwargs), _positions(kwargs)
    if offset:
        return of_words + offset
    mask = kwargs.get("attention_mask")
    seen = _seen(kwargs) if mask is None else mask.shape[1] - words.shape[1]
    positions = torch.arange(seen, seen + words.shape[1], device=words.device)[None]
    for name, each in stack.named_children():
        if isinstance(each, PositionShift) and acts(each):
            here, _, members = _part(name, each, words)
            if here:
                positions = of_words if members is None else of_words.where(members, positions)
    return positions


def _insert(name: str, stack: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
    prompt = delta_in(stack, name)
    assert isinstance(prompt, Prompt)
    prompt.inserted.take()  # of a pass that an error has ended
    if not acts(prompt):
        return None
    kwargs = dict(zip(prompt.names, args, strict=False)) | kwargs
    words = _words(kwargs)
    here, part, members = _part(name, prompt, words)
    if not here:
        return None
    n, at = prompt.length, prompt.position if isinstance(prompt.position, int) else 0
    mask, positions = kwargs.get("attention_mask"), kwargs.get("position_ids")
    _check_mask(mask, "A soft prompt")
    cache = kwargs.get("past_key_values")
    held = 0 if cache is None else int(cache.get_seq_length())  # prompts included
    if members is not None:  # then rows differ in what they see and where their words stand
        if mask is None:
            length = max(held - n, 0) + words.shape[1]
            mask = torch.ones(len(words), length, device=words.device).long()
            kwargs["attention_mask"] = mask
        if positions is None and "position_ids" in prompt.names:
            positions = _counted(stack, kwargs, prompt.offset)
    if getattr(cache, "is_compileable", False):
        raise Refused(
            "A static cache has room for the words alone, and a soft prompt stands among them. Use "
            "the dynamic cache, which grows: leave cache_implementation out."
        )
    if held == 0:
        embedded = kwargs.pop("inputs_embeds", None)
        ids = kwargs.pop("input_ids", None)
        if embedded is None:
            embedded = stack.get_input_embeddings()(ids)  # type: ignore[operator]
        _check_room(prompt, stack, kwargs, embedded.shape[1])
        vectors = _vectors(prompt, part, embedded)
        order = None
        if prompt.places is not None:
            tokens = embedded.new_ones(embedded.shape[:2]) if mask is None else mask
            order = _order(prompt.places, tokens)
        where = None if order is None else order.argsort(1)[:, : embedded.shape[1]]
        prompt.inserted.leave((at, where))
        kwargs["inputs_embeds"] = _join(embedded, vectors, at, order)
        if (types := kwargs.get("token_type_ids")) is not None:
            kwargs["token_type_ids"] = _join(types, types[:, :1].expand(-1, n), at, order)
        if mask is not None:
            kwargs["attention_mask"] = _join(mask, _visible(mask, n, members), at, order)
        if positions is not None and order is not None:
            moved = _renumbered(positions, tokens, order)
            if members is not None:
                positions = positions.expand(len(members), -1)
                moved = moved.where(members, _join(positions, moved[:, :n], at, order))
            kwargs["position_ids"] = moved
        elif positions is not None:
            new = torch.arange(at, at + n, device=positions.device) + prompt.offset
            move = n if members is None else n * members
            behind = positions[:, at:] + move
            shifted = torch.cat([positions[:, :at].expand(len(behind), -1), behind], 1)
            kwargs["position_ids"] = _join(shifted, new.expand(len(behind), n), at)
    else:
        _check_room(prompt, stack, kwargs, words.shape[1])
        if mask is not None:
            old, new = mask[:, : held - n], mask[:, held - n :]
            widened = _widened(old, n, prompt.places, members)
            kwargs["attention_mask"] = torch.cat([widened, new], 1)
        if positions is not None:
            kwargs["position_ids"] = positions + (n if members is None else n * members)
    return (), kwargs


def _vectors(prompt: Prompt, part: Part | None, embedded: Tensor) -> Tensor:
    """The prompts (B, n, d) of all rows; those of rows that have none are zero."""
    make: MakesVectors = prompt
    if part is None:
        return make(embedded).to(embedded.dtype)
    new = part.compute(nn.Module.__call__, embedded, mapped=False).to(embedded.dtype)
    none = embedded.new_zeros(len(embedded), *new.shape[1:])
    return part.put(none, new)


def _visible(mask: Tensor, n: int, members: Tensor | None) -> Tensor:
    """The mask (B, n) of n vectors: rows that have none do not see them."""
    ones = mask.new_ones(len(mask), n)
    return ones if members is None else ones * members.to(mask.dtype)


def _order(places: tuple[int, ...], mask: Tensor) -> Tensor:
    """Where each entry of the sequence with the prompt comes from.

    Args:
        places: of each of the n vectors, as in `Prompt.position`.
        mask: (B, T), which tokens are no padding.

    Returns:
        (B, T + n): numbers of tokens (0 to T - 1) and of vectors (T to T + n - 1).
    """
    n, length = len(places), mask.shape[1]
    counts = mask.long().sum(1, keepdim=True)  # (B, 1)
    first = mask.long().argmax(1, keepdim=True)
    # filled on the device, not copied to it: a copy would make a GPU wait
    runs = [(at, len(list(run))) for at, run in groupby(places)]
    place = torch.cat([torch.full((many,), at, device=mask.device) for at, many in runs])
    front = torch.where(place < 0, counts + place, place.expand(len(mask), n))
    front = first + torch.minimum(front.clamp(min=0), counts)  # columns in front of each vector
    # each token is followed by room for the vectors that stand behind it, in their order
    keys = [torch.arange(length, device=mask.device).expand(len(mask), -1) * (n + 1) + n,
            front * (n + 1) + torch.arange(n, device=mask.device)]  # fmt: skip
    return torch.cat(keys, 1).argsort(1)


def _renumbered(positions: Tensor, mask: Tensor, order: Tensor) -> Tensor:
    """Positions (B, T + n) in the sequence with prompt: vectors move what follows them on."""
    length = mask.shape[1]
    positions = positions.expand(len(order), -1)
    vector = (order >= length).long()
    before = vector.cumsum(1) - vector  # vectors in front of each entry
    here = torch.arange(order.shape[1], device=order.device) - before  # the token that it is in
    # front of, or that it is itself; a vector behind all words comes after the last one
    last = (vector > 0) & (mask.long().gather(1, here.clamp(max=length - 1)) * (here < length) == 0)
    old = positions.gather(1, (here - last.long()).clamp(0, length - 1)) + last.long()
    return old + before


def _join(sequence: Tensor, inserted: Tensor, at: int, order: Tensor | None = None) -> Tensor:
    """`sequence` (B, T, …) with `inserted` (B, n, …): behind its first `at` entries, or mixed."""
    inserted = inserted.to(sequence.dtype)
    if order is None:
        return torch.cat([sequence[:, :at], inserted, sequence[:, at:]], dim=1)
    return _take(torch.cat([sequence.expand(len(order), *sequence.shape[1:]), inserted], 1), order)


def _take(sequence: Tensor, where: Tensor) -> Tensor:
    """The entries `where` (B, m) of `sequence` (B, T, …)."""
    return sequence.gather(1, where.view(*where.shape, *[1] * (sequence.dim() - 2)).expand(
        *where.shape, *sequence.shape[2:]))  # fmt: skip


def _widened(
    mask: Tensor, n: int, places: tuple[int, ...] | None, members: Tensor | None
) -> Tensor:
    """The mask (B, T) of tokens with that of the prompt: in front, or at its places."""
    order = None if places is None else _order(places, mask)
    return _join(mask, _visible(mask, n, members), 0, order)


def _remove(name: str, stack: nn.Module, args: tuple, output: Any) -> Any:
    prompt = delta_in(stack, name)
    assert isinstance(prompt, Prompt)
    inserted: tuple[int, Tensor | None] | None = prompt.inserted.take()
    if inserted is None:
        return None
    start, tokens_at = inserted  # (B, T): where the tokens are in the sequence with prompt

    def cut(h: Tensor) -> Tensor:
        if tokens_at is not None:
            return _take(h, tokens_at)
        return torch.cat([h[:, :start], h[:, start + prompt.length :]], dim=1)

    if isinstance(output, tuple):
        return (cut(output[0]), *output[1:])
    output.last_hidden_state = cut(output.last_hidden_state)
    if output.get("hidden_states") is not None:
        output.hidden_states = tuple(cut(h) for h in output.hidden_states)
    return output


def _widen_encoder_mask(
    name: str, encoder: tuple[nn.Module], decoder: nn.Module, args: tuple, kwargs: dict
) -> tuple[tuple, dict] | None:
    """The decoder attends to the prompt's positions of the encoder's output as well."""
    prompt = delta_in(encoder[0], name)
    assert isinstance(prompt, Prompt)
    states, mask = kwargs.get("encoder_hidden_states"), kwargs.get("encoder_attention_mask")
    if states is None or not acts(prompt):
        return None
    here, _, members = _part(name, prompt, states)
    if not here:
        return None
    if mask is None and members is not None:
        words = states.shape[1] - prompt.length
        mask = torch.ones(len(states), words, device=states.device).long()
    if mask is None or mask.shape[-1] == states.shape[1]:
        return None
    return args, kwargs | {
        "encoder_attention_mask": _widened(mask, prompt.length, prompt.places, members)
    }
