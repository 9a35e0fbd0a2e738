"""What a language model reads around a source, and what it is to write: a chat, or plain text.

    chat     what the tokenizer's chat template makes of user and assistant
    plain    [begin] source separator target [end]

Tokens of a prompt and of an answer are made apart, so that training and generation read the same.
Solved examples ("shots") may stand in front, as earlier turns of the chat or as plain text.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from ..core.errors import BadValue

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Tokens = list[int]
Shot = tuple[str, str]  # source and target of a solved example

SEPARATOR = "\n"  # between source and target, and between two texts where there is no token for it
GAP = "\n\n"  # behind each solved example in plain text


class Template(Protocol):
    """A way to write prompts and answers.

    Attributes:
        around: tokens of a prompt beside its source and the solved examples.
        shots: tokens of the solved examples.
        end: the token that closes an answer.
        stops: texts that close an answer too, when a model writes.
    """

    around: int
    shots: int
    end: int
    stops: tuple[str, ...]

    def prompts(self, sources: Sequence[str], rooms: Sequence[int]) -> list[Tokens]:
        """What stands in front of each answer; a source too long for its room is cut at the end.

        `rooms` are in tokens, without the solved examples.
        """

    def answers(self, sources: Sequence[str], targets: Sequence[str]) -> list[Tokens]:
        """What a model is to write behind each prompt, with what closes it."""


def template_of(
    tokenizer: "PreTrainedTokenizerBase", instruction: str = "", shots: Sequence[Shot] = ()
) -> Template:
    """The template that a tokenizer asks for.

    Args:
        tokenizer: of a decoder.
        instruction: what the model is told to do, in front of each source of a chat. Plain text
            has none: a model that was never taught to follow instructions has no use for it.
        shots: solved examples.

    Raises:
        BadValue: the tokenizer has no token that ends a text, or its chat template cannot write
            a question and an answer.
    """
    if tokenizer.chat_template is not None:
        return Chat(tokenizer, instruction, shots)
    return Plain(tokenizer, shots)


class Plain:
    """[begin] source separator target [end]; see `Template`.

    With solved examples, an answer is closed by a blank line, as they are, for a model that
    copies their form will write it; or by the end token where the tokenizer has no blank lines.
    """

    stops: tuple[str, ...] = ()

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", shots: Sequence[Shot]):
        self.tokenizer = tokenizer
        self.end = _end_of_text(tokenizer)
        self.closing = [self.end]
        self.separator = self._ids([SEPARATOR])[0]
        gap = self._ids([GAP])[0]
        if shots and gap != self.separator:
            self.closing, self.stops = gap, (GAP,)
        first = tokenizer("a")["input_ids"][0]
        begin = [first] if first == tokenizer.bos_token_id else []
        solved = [
            [*source, *self.separator, *target]
            for source, target in zip(
                self._ids([source for source, _ in shots]),
                self.answers([], [target for _, target in shots]),
                strict=True,
            )
        ]
        self.shots = sum(map(len, solved))
        self.front = [*begin, *(token for example in solved for token in example)]
        self.around = len(begin) + len(self.separator)

    def prompts(self, sources: Sequence[str], rooms: Sequence[int]) -> list[Tokens]:
        return [
            [*self.front, *source[: room - self.around], *self.separator]
            for source, room in zip(self._ids(sources), rooms, strict=True)
        ]

    def answers(self, sources: Sequence[str], targets: Sequence[str]) -> list[Tokens]:
        return [[*target, *self.closing] for target in self._ids(targets)]

    def _ids(self, texts: Sequence[str]) -> list[Tokens]:
        return ids(self.tokenizer, texts)


class Chat:
    """User asks, assistant answers, as the tokenizer's chat template writes it; see `Template`."""

    stops: tuple[str, ...] = ()

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", instruction: str, shots: Sequence[Shot]
    ):
        self.tokenizer, self.instruction = tokenizer, instruction
        self.before: list[dict[str, str]] = []
        self.around = len(self._prompt(""))
        for source, target in shots:
            self.before += [self._question(source), {"role": "assistant", "content": target}]
        self.shots = len(self._prompt("")) - self.around
        added = tokenizer.added_tokens_decoder
        self.special = {*tokenizer.all_special_ids, *(i for i in added if added[i].special)}
        self.end = self.answers(["a"], ["b"])[0][-1]

    def prompts(self, sources: Sequence[str], rooms: Sequence[int]) -> list[Tokens]:
        prompts = ids(self.tokenizer, [self._written(source) for source in sources])
        for i, room in enumerate(rooms):
            source = sources[i]
            while source and (excess := len(prompts[i]) - self.shots - room) > 0:
                source = shortened(self.tokenizer, source, excess)
                prompts[i] = self._prompt(source)
        return prompts

    def answers(self, sources: Sequence[str], targets: Sequence[str]) -> list[Tokens]:
        written = []
        for source, target in zip(sources, targets, strict=True):
            prompt, both = self._written(source), self._written(source, target)
            if not both.startswith(prompt):
                raise BadValue(
                    f"The chat template of this {type(self.tokenizer).__name__} writes a question "
                    "in another way once it is answered, so a model would be trained on another "
                    "text than it reads later. Set tokenizer.chat_template = None for plain text."
                )
            written.append(both[len(prompt) :])
        return [self._closed(answer) for answer in ids(self.tokenizer, written)]

    def _closed(self, answer: Tokens) -> Tokens:
        """An answer up to the token that ends the turn; what the template writes behind it is not
        the model's to write.
        """
        for i in range(len(answer) - 1, -1, -1):
            if answer[i] in self.special:
                return answer[: i + 1]
        return [*answer, _end_of_text(self.tokenizer)]

    def _question(self, source: str) -> dict[str, str]:
        parts = [part for part in (self.instruction, source) if part]
        return {"role": "user", "content": SEPARATOR.join(parts)}

    def _written(self, source: str, target: str | None = None) -> str:
        turns = [*self.before, self._question(source)]
        if target is not None:
            turns.append({"role": "assistant", "content": target})
        try:
            text = self.tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=target is None
            )
        except Exception as error:  # a template is a program, and may fail in any way
            raise BadValue(
                f"The chat template of this {type(self.tokenizer).__name__} cannot write a "
                f"question and an answer ({str(error)[:200]}). Set tokenizer.chat_template = None "
                "for plain text."
            ) from error
        return str(text)

    def _prompt(self, source: str) -> Tokens:
        return ids(self.tokenizer, [self._written(source)])[0]


def ids(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[Tokens]:
    """The tokens of texts, with nothing around them."""
    return tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []


def shortened(tokenizer: "PreTrainedTokenizerBase", text: str, excess: int) -> str:
    """A text without its last tokens."""
    tokens = ids(tokenizer, [text])[0]
    kept = tokenizer.decode(tokens[: max(0, len(tokens) - excess)])
    return str(kept) if len(kept) < len(text) else text[: len(text) // 2]  # it always gets shorter


def _end_of_text(tokenizer: "PreTrainedTokenizerBase") -> int:
    if tokenizer.eos_token_id is None:
        raise BadValue(
            f"{type(tokenizer).__name__} has no end-of-text token, so a model could not learn when "
            "to stop. Generation needs a decoder (GPT-2, Llama) or an encoder-decoder (T5)."
        )
    return int(tokenizer.eos_token_id)
