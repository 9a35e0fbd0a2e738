"""One base and many adapters by name: which texts can share a batch, and what they are answered.

All adapters of one head's size are attached to one model, and models with heads of other sizes
share its weights, so that the base is in memory once. Texts whose adapters can act for single rows
(`rows`) share a batch, whichever adapters these are; the others are switched by `use`.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.generation import BaseStreamer, StoppingCriteria, StoppingCriteriaList

from ..bases import load_base, load_tokenizer
from ..core.active import rows, use
from ..core.errors import BadValue, Refused, UnknownName
from ..core.record import attached
from ..registry import load
from ..tasks.encoding import IGNORED, Collator, Example, encode_rows
from ..training.checks import positions
from .batching import Job
from .kinds import Kind, kind_of
from .opening import Needs, base_for, needs_of

BASE = "base"  # the name of the untouched base, which writes
READS = ("sequence_classification", "token_classification")
WRITES = ("causal_lm", "seq2seq_lm")
BROKEN = "\ufffd"  # what a part of a letter is decoded to


class TooLong(BadValue):
    """A text of more tokens than are possible."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """An adapter by its name.

    Attributes:
        name: of the adapter.
        about: its methods, in words.
        model: that it is attached to.
        attached: the name that it is attached under; None: the base alone.
        kind: what it is for.
        labels: of its answers.
    """

    name: str
    about: str
    model: PreTrainedModel
    attached: str | None
    kind: Kind
    labels: tuple[str, ...] = ()

    @property
    def writes(self) -> bool:
        """Whether its answers are texts."""
        return self.kind.task in WRITES


@dataclass(eq=False)
class Reading(Job):
    """A text to label."""

    adapter: Adapter
    example: Example
    words: tuple[str, ...] = ()  # of a sentence that is tagged

    @property
    def key(self) -> Hashable:
        """Equal for jobs that one pass can serve, as far as the model goes."""
        return "read", id(self.adapter.model)


@dataclass(eq=False)
class Writing(Job):
    """A text to go on from."""

    adapter: Adapter
    example: Example
    most: int
    temperature: float = 0.0
    top_p: float = 1.0
    emit: Callable[[str], None] | None = None
    left: bool = False  # the client has gone
    tokens: list[int] = field(default_factory=list, init=False)
    end: str = field(default="", init=False)
    sent: str = field(default="", init=False)

    @property
    def key(self) -> Hashable:
        """Equal for jobs that one call of `generate` can serve, as far as the model goes."""
        return "write", id(self.adapter.model), self.temperature, self.top_p


class Backbone:
    """A base with adapters, ready to answer.

    Args:
        base: as in `load_base`.
        adapters: name → folder that `pftlab.save`, PEFT or AdapterHub wrote.
        num_labels: of heads in folders that do not say it.
        longest: tokens of a text, what is written included; None: what the base takes.
        device: to compute on; None: a GPU if there is one.
        dtype: of the base; None: 32 bits.

    Raises:
        BadValue: two things would have one name, or there is nothing to serve.
        What `load_base` and `load` raise.
    """

    def __init__(
        self,
        base: str,
        adapters: Mapping[str, str | Path],
        *,
        num_labels: int | None = None,
        longest: int | None = None,
        device: str | None = None,
        dtype: torch.dtype | None = None,
    ):
        self.base, self.tokenizer = base, load_tokenizer(base)
        self.collate = Collator(self.tokenizer)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._options: dict[str, Any] = {"dtype": dtype}
        self._models: dict[tuple[str, int | None], PreTrainedModel] = {}
        self._together: dict[frozenset[Adapter], bool] = {}
        self.adapters: dict[str, Adapter] = {}
        if BASE in adapters:
            raise BadValue(f"{BASE!r} is the name of the base alone. Give the adapter another one.")
        for name, folder in adapters.items():
            self._add(name, folder, num_labels)
        self._add_base()
        for model in self._models.values():
            model.eval()  # what was attached, too
            if attached(model):
                use(model, None)
        self.longest = self._longest(longest)

    def __getitem__(self, name: str | None) -> Adapter:
        """The adapter of this name; None: the only one.

        Raises:
            UnknownName: there is none.
            BadValue: there are several, and none was named.
        """
        if name is None and len(self.adapters) == 1:
            return next(iter(self.adapters.values()))
        if name is None:
            raise BadValue(f'Give "adapter", one of: {", ".join(self.adapters)}.')
        if name not in self.adapters:
            raise UnknownName("adapter", name, self.adapters)
        return self.adapters[name]

    def _add(self, name: str, folder: str | Path, num_labels: int | None) -> None:
        needs = needs_of(folder, num_labels)
        if needs.kind.task not in (*READS, *WRITES):
            raise Refused(
                f"{str(folder)!r} is for {needs.kind.pipeline}, and a server answers with labels "
                "or texts. Use it in Python: pftlab.load(model, folder)."
            )
        model = self._model(needs)
        load(model, folder, name=name)
        labels = needs.labels or tuple(f"LABEL_{i}" for i in range(needs.outputs or 0))
        title = attached(model)[name].title
        self.adapters[name] = Adapter(name, title, model, name, needs.kind, labels)

    def _add_base(self) -> None:
        """The base itself answers, too, if it writes."""
        if not self._models:
            model = load_base(self.base, **self._options)
            self._keep(model, Needs(kind_of(model), None, ()))
        for model in self._models.values():
            kind = kind_of(model)
            if kind.task in WRITES:
                self.adapters[BASE] = Adapter(BASE, "the base alone", model, None, kind)
        if not self.adapters:
            raise BadValue(
                f"{self.base!r} alone writes no texts, so there is nothing to serve. Name an "
                "adapter: --adapter NAME=FOLDER."
            )

    def _model(self, needs: Needs) -> PreTrainedModel:
        known = self._models.get((needs.kind.task, needs.outputs))
        if known is not None:
            return known
        plain = Needs(needs.kind, needs.outputs, ())  # each adapter has labels of its own
        return self._keep(base_for(self.base, plain, **self._options), needs)

    def _keep(self, model: PreTrainedModel, needs: Needs) -> PreTrainedModel:
        model.to(self.device)  # type: ignore[arg-type]
        for other in list(self._models.values())[:1]:
            _share(model, other)
        self._models[needs.kind.task, needs.outputs] = model
        return model

    def _longest(self, longest: int | None) -> int:
        model = next(iter(self._models.values()))
        limit = min(positions(model) or 10**6, self.tokenizer.model_max_length)
        if longest is not None and not 8 <= longest <= limit:
            raise BadValue(f"max_length={longest} cannot be. {self.base!r} takes 8 to {limit}.")
        return longest or limit

    # Questions

    def reading(self, adapter: Adapter, text: str | tuple[str, str]) -> Reading:
        """A text, or a pair of texts, to label.

        Raises:
            BadValue: it is empty or too long (`TooLong`), or a pair for what labels words.
            Refused: the adapter gives no labels.
        """
        if adapter.writes:
            raise Refused(f"{adapter.name!r} writes texts: ask it at /generate.")
        parts = (text,) if isinstance(text, str) else text
        tags = adapter.kind.task == "token_classification"
        if not all(part.strip() for part in parts):
            raise BadValue("A text is empty. Give each at least one word.")
        if tags and len(parts) > 1:
            raise BadValue(f"{adapter.name!r} labels the words of single texts. Give no pairs.")
        self._check_length(len(self.tokenizer(*parts)["input_ids"]))
        columns: dict[str, list[Any]] = {"text": [parts[0]], "label": [0]}
        words = tuple(parts[0].split()) if tags else ()
        if tags:
            columns = {"tokens": [list(words)], "tags": [[*range(len(words))]]}
        elif len(parts) > 1:
            columns = {"text_a": [parts[0]], "text_b": [parts[1]], "label": [0]}
        [example] = encode_rows(columns, self.tokenizer, self.longest)
        return Reading(adapter, example, words)

    def writing(
        self, adapter: Adapter, prompt: str | list[dict[str, str]], most: int, **options: Any
    ) -> Writing:
        """A text, or the messages of a chat, to go on from.

        Args:
            adapter: that is to write.
            prompt: to begin with, as it is; messages are put into the base's chat template.
            most: tokens to write.
            **options: temperature, top_p, emit.

        Raises:
            BadValue: it is empty or too long (`TooLong`), or the base has no chat template.
            Refused: the adapter writes no texts.
        """
        if not adapter.writes:
            raise Refused(f"{adapter.name!r} gives labels: ask it at /predict.")
        text = prompt if isinstance(prompt, str) else self._chat(prompt)
        if not text.strip():
            raise BadValue("The prompt is empty. Give at least one word.")
        encoded = self.tokenizer(text, add_special_tokens=isinstance(prompt, str))
        both = adapter.kind.task == "causal_lm"  # prompt and answer share the positions
        self._check_length(len(encoded["input_ids"]), most if both else 0)
        example = {name: list(encoded[name]) for name in ("input_ids", "attention_mask")}
        return Writing(adapter, example, most, **options)

    def _chat(self, messages: list[dict[str, str]]) -> str:
        """The messages in the base's template, which has the special tokens that it needs."""
        if self.tokenizer.chat_template is None:
            raise BadValue(f'{self.base!r} has no chat template. Give "prompt", a text.')
        try:
            text = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
        except Exception as error:  # a template may refuse roles, or their order, in its own way
            raise BadValue(f"The chat template of {self.base!r} refuses this: {error}.") from error
        return str(text)

    def _check_length(self, tokens: int, more: int = 0) -> None:
        if tokens + more > self.longest:
            written = f" and {more} to write" if more else ""
            raise TooLong(
                f"The text has {tokens} tokens{written}, and {self.longest} are possible. Shorten "
                f"it{', or write less' if more else ''}."
            )

    # Answers

    def fits(self, batch: list[Any], job: Any) -> bool:
        """Whether `job` can share a batch with the others."""
        if job.key != batch[0].key:
            return False
        others = {one.adapter for one in batch}
        return others == {job.adapter} or all(self._mix(job.adapter, one) for one in others)

    def run(self, batch: list[Any]) -> None:
        """Answer a batch of jobs of one key."""
        if isinstance(batch[0], Reading):
            self._read(batch)
        else:
            self._write(batch)

    @torch.no_grad()
    def _read(self, batch: list[Reading]) -> None:
        with self._computing(batch) as model:
            logits = model(**self._tensors(batch)).logits.float().cpu()
        for job, row in zip(batch, logits, strict=True):
            job.answer.set_result(_tagged(job, row) if job.words else _labelled(job, row))

    @torch.no_grad()
    def _write(self, batch: list[Writing]) -> None:
        for job in batch:  # one that failed in company is written anew
            job.tokens, job.end = [], ""
        with self._computing(batch) as model:
            pen = _Pen(batch, self.tokenizer, _ends(model, self.tokenizer))
            warm = batch[0].temperature > 0
            sampling = {"temperature": batch[0].temperature, "top_p": batch[0].top_p}
            model.generate(  # type: ignore[operator]
                **self._tensors(batch),
                max_new_tokens=max(job.most for job in batch),
                do_sample=warm,
                **(sampling if warm else {}),
                num_beams=1,
                eos_token_id=sorted(pen.ends) or None,
                pad_token_id=self.collate.fill["input_ids"],
                streamer=pen,
                stopping_criteria=StoppingCriteriaList([_Full(batch)]),
            )
        for job in batch:
            pen.finish(job)

    def _tensors(self, batch: list[Any]) -> dict[str, torch.Tensor]:
        tensors = self.collate([job.example for job in batch])
        tensors.pop("labels", None)
        return {name: tensor.to(self.device) for name, tensor in tensors.items()}

    @contextmanager
    def _computing(self, batch: list[Any]) -> Iterator[PreTrainedModel]:
        """The model in which each row of the batch has its adapter."""
        first = batch[0].adapter
        model = first.model
        if not attached(model):
            yield model
        elif self._mix(first, first):
            with rows(model, [job.adapter.attached for job in batch]):
                yield model
        else:
            use(model, first.attached)
            try:
                yield model
            finally:
                use(model, None)

    def _mix(self, one: Adapter, other: Adapter) -> bool:
        """Whether these two can be the adapters of single rows of one batch."""
        both = frozenset((one, other))
        if both not in self._together:
            try:
                with rows(one.model, [one.attached, other.attached]):
                    self._together[both] = True
            except Refused:
                self._together[both] = False
        return self._together[both]


def _share(model: PreTrainedModel, other: PreTrainedModel) -> None:
    """Let `model` use the weights of `other` wherever they are the same."""
    theirs = dict(other.named_parameters(remove_duplicate=False))
    for name, parameter in list(model.named_parameters(remove_duplicate=False)):
        same = theirs.get(name)
        if same is not None and same.shape == parameter.shape and torch.equal(same, parameter):
            path, _, leaf = name.rpartition(".")
            model.get_submodule(path)._parameters[leaf] = same


def _labelled(job: Reading, logits: torch.Tensor) -> dict[str, Any]:
    labels = job.adapter.labels
    if len(labels) == 1:  # regression
        return {"value": round(float(logits[0]), 6)}
    shares = logits.softmax(-1).tolist()
    scores = {label: round(share, 6) for label, share in zip(labels, shares, strict=True)}
    return {"label": labels[int(logits.argmax())], "scores": scores}


def _tagged(job: Reading, logits: torch.Tensor) -> dict[str, Any]:
    """The label of each word is that of its first token; a word without tokens has none."""
    found: list[str | None] = [None] * len(job.words)
    for place, word in enumerate(job.example["labels"]):
        if word != IGNORED:
            found[word] = job.adapter.labels[int(logits[place].argmax())]
    return {"words": [list(pair) for pair in zip(job.words, found, strict=True)]}


def _ends(model: Any, tokenizer: Any) -> set[int]:
    """The tokens that end a text."""
    both = (model.generation_config.eos_token_id, tokenizer.eos_token_id)
    return {
        token
        for ends in both
        if ends is not None
        for token in (ends if isinstance(ends, list) else [ends])
    }


class _Pen(BaseStreamer):
    """Notes what `generate` writes in each row, and sends it to those who read along."""

    def __init__(self, batch: list[Writing], tokenizer: Any, ends: set[int]):
        self.batch, self.tokenizer, self.ends = batch, tokenizer, ends
        self.prompt = True  # which comes first

    def put(self, value: torch.Tensor) -> None:
        """One more token in each row."""
        if self.prompt:
            self.prompt = False
            return
        for job, token in zip(self.batch, value.tolist(), strict=True):
            if job.end:
                continue
            job.tokens.append(token)
            if token in self.ends:
                job.end = "stop"
            elif job.left or len(job.tokens) >= job.most:
                job.end = "length"
            if job.emit:
                self._send(job)

    def end(self) -> None:
        """All rows have ended."""

    def finish(self, job: Writing) -> None:
        """Send what is left, and set the answer."""
        text = self._text(job)
        if job.emit:
            self._send(job, text)
        job.answer.set_result({"text": text, "tokens": len(job.tokens), "end": job.end or "length"})

    def _send(self, job: Writing, whole: str | None = None) -> None:
        text = self._text(job) if whole is None else whole
        if job.emit and len(text) > len(job.sent) and (whole or not text.endswith(BROKEN)):
            job.begun = True
            job.emit(text[len(job.sent) :])
            job.sent = text

    def _text(self, job: Writing) -> str:
        return str(self.tokenizer.decode(job.tokens, skip_special_tokens=True))


class _Full(StoppingCriteria):
    """Ends each row where it has ended, or was to end at the latest."""

    def __init__(self, batch: list[Writing]):
        self.batch = batch

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> Any:
        ended = [bool(job.end) for job in self.batch]
        return torch.tensor(ended, device=input_ids.device)
