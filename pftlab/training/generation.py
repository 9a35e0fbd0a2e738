"""Texts that a model writes behind the prompts of a task, and how long they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..tasks import Task
from ..tasks.template import SEPARATOR, Shot, template_of
from .data import encoding_options, like_length


@dataclass(frozen=True)
class Written:
    """A text that a model wrote.

    Attributes:
        text: without the token that ends it.
        tokens: how many were written, the end included.
        ended: the model ended it by itself; False: it was cut at the greatest length.
    """

    text: str
    tokens: int
    ended: bool


class Writer:
    """Greedy answers to the prompts of a split.

    Args:
        model: a decoder, or an encoder-decoder.
        task: of the kind "generation".
        tokenizer: of the model.
        split: of the task.
        max_length: of a prompt, in tokens, without the solved examples. Where the model's
            positions leave less room beside what is written, it is less.
        longest: tokens that are written at most.
        limit: the first rows only; None: all.
        shots: solved examples in front of each prompt.
        batch_size: prompts at a time.

    Raises:
        BadValue: what `Task.prompts` refuses.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        task: Task,
        tokenizer: PreTrainedTokenizerBase,
        split: str,
        *,
        max_length: int,
        longest: int,
        limit: int | None,
        shots: Sequence[Shot] = (),
        batch_size: int = 64,
    ):
        self.model, self.tokenizer, self.split = model, tokenizer, split
        self.longest, self.batch_size = longest, batch_size
        self.collate = task.collate(tokenizer)
        self.padding = self.collate.fill["input_ids"]
        self.ends = _as_set(tokenizer.eos_token_id) | _as_set(model.generation_config.eos_token_id)
        self.stops: tuple[str, ...] = ()  # in the text
        options = encoding_options(model, task)
        self.positions: int | None = None
        if not options["encoder_decoder"]:  # prompt and answer share the positions
            template = template_of(tokenizer, task.instruction, shots)
            self.ends.add(template.end)
            self.stops = template.stops
            self.positions = options["positions"]
            if self.positions is not None:
                room = self.positions - longest - template.shots
                max_length = min(max_length, max(8, room))
        self.prompts = task.prompts(
            tokenizer, split, max_length=max_length, limit=limit, shots=shots, **options
        )

    @torch.no_grad()
    def __call__(self, progress: bool = False) -> list[Written]:
        """What the model as it is now writes, in the order of the rows; its mode is left alone."""
        written: list[Any] = [None] * len(self.prompts)
        for rows, batch in like_length(
            self.model, self.prompts, self.collate, self.batch_size, f"write {self.split}", progress
        ):
            for i, ids in zip(rows, self._continue(batch), strict=True):
                written[i] = self._read(ids)
        return written

    def _continue(self, batch: dict[str, torch.Tensor]) -> list[list[int]]:
        prompt = batch["input_ids"].shape[1]
        longest = self.longest
        if self.positions is not None:
            longest = min(longest, self.positions - prompt)
        stopping: dict[str, Any] = {}
        if self.stops:
            stopping = {"stop_strings": list(self.stops), "tokenizer": self.tokenizer}
        # a model's folder may ask for sampling and penalties: the answer is to be its likeliest
        ids = self.model.generate(  # type: ignore[operator]
            **batch,
            **stopping,
            max_new_tokens=longest,
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            eos_token_id=sorted(self.ends),
            pad_token_id=self.padding,
        )
        # an encoder-decoder begins with a token that it did not write
        return ids[:, 1 if self.model.config.is_encoder_decoder else prompt :].tolist()

    def _read(self, ids: list[int]) -> Written:
        """One row of what `generate` returned: the answer, its end, and padding."""
        end = next((i for i, token in enumerate(ids) if token in self.ends), None)
        ended = end is not None
        if end is not None:
            ids = ids[: end + 1]
        text = str(self.tokenizer.decode(ids, skip_special_tokens=True))
        # an answer that begins with a new line makes a blank line with the one of the prompt
        behind = SEPARATOR + text
        stop = min((behind.index(stop) for stop in self.stops if stop in behind), default=None)
        if stop is not None:
            ended, text = True, text[: max(0, stop - len(SEPARATOR))]
            while ids[-1] == self.padding:
                ids = ids[:-1]
        return Written(text.strip(), len(ids), ended)


def _as_set(ids: int | list[int] | None) -> set[int]:
    if ids is None:
        return set()
    return {ids} if isinstance(ids, int) else set(ids)
