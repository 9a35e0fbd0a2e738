"""What the models learn: batches cut from the corpus, and the teacher's answers to them."""

from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel

from .corpus import Corpus
from .students import POSITIONS, Batch, compile_layers
from .tokenizer import SPECIAL, sentinel, token_id

SHORT = 32
MASKED_SHARE = {SHORT: 0.06, POSITIONS: 0.18}  # of all positions: short rows: half, and padded


class Teacher(nn.Module):
    """A frozen BERT-like sentence encoder; its states are what the student learns to give."""

    def __init__(self, folder: Path, device: torch.device):
        super().__init__()
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.special = {t: token_id(tokenizer, t) for t in ("[PAD]", "[CLS]", "[SEP]")}
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        model = AutoModel.from_pretrained(folder, use_safetensors=True, dtype=dtype)
        self.model = model.to(device).eval().requires_grad_(False)
        last = model.config.num_hidden_layers
        self.layers = (round(last * 2 / 3), last)
        self.width = model.config.hidden_size * len(self.layers)

    def compile_parts(self) -> None:
        """Compile the layers, once for all of them."""
        compile_layers(self.model.encoder.layer)

    @torch.no_grad()
    def forward(self, ids: Tensor, valid: Tensor | None) -> Tensor:
        """Return the states of the chosen layers side by side, (batch, length, width)."""
        state, chosen = self.model.embeddings(input_ids=ids), []
        mask = None if valid is None else valid[:, None, None, :]
        for number, layer in enumerate(self.model.encoder.layer, start=1):
            output = layer(state, attention_mask=mask)
            state = output[0] if isinstance(output, tuple) else output
            if number in self.layers:
                chosen.append(state)
        return torch.cat(chosen, dim=-1)


class EncoderObjective:
    """Cuts batches for masked language modelling and distillation from a corpus."""

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: Tokenizer,
        teacher: Teacher | None,
        tokens_per_step: int,
        device: torch.device,
    ):
        self.special = {t: token_id(tokenizer, t) for t in SPECIAL}
        self.vocabulary = tokenizer.get_vocab_size()
        self.tokens_per_step = tokens_per_step
        self.device = device
        self.pieces = len(corpus.row)
        self.streams = [corpus.stream(name, device) for name in ("plain", "spaced")]
        self.ends = corpus.sentence_ends(device)
        self.starts = self.ends[:-1].nonzero()[:, 0] + 1
        self.teacher = teacher
        if teacher is not None:
            self.teacher_stream = corpus.stream("teacher", device)
            self._measure_teacher()

    def batch(self, step: int, generator: torch.Generator) -> Batch:
        """Cut the batch of a step: of every three, two have short rows and one has long rows."""
        length = POSITIONS if step % 3 == 2 else SHORT
        stream = self.streams[step // 3 % 2]
        rows = max(2, self.tokens_per_step // length)

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator, device=self.device)

        def integers(high: int, *shape: int) -> Tensor:
            return torch.randint(high, shape, generator=generator, device=self.device)

        # Where each row begins and how many pieces it has. Half of the short rows are sentences
        # from their beginning to their end, the other half are phrases of any length.
        first = integers(max(1, self.pieces - length), rows)
        window = stream.window(first, length - 2)
        limit, inside = window.limit, torch.ones_like(window.inside)
        if length == SHORT:
            whole = torch.arange(rows, device=self.device) % 2 == 0
            first = torch.where(whole, self.starts[integers(len(self.starts), rows)], first)
            window = stream.window(first, length - 2)
            place = (first[:, None] + window.relative).clamp(max=self.pieces - 1)
            closing = self.ends[place] & window.inside & (window.relative >= 2)
            end = torch.where(closing, window.relative, self.pieces).amin(1) + 1
            phrase = 2 + integers(length - 4, rows)
            limit = torch.minimum(window.limit, torch.where(whole, end, phrase))
            inside = window.relative < limit[:, None]
        ids, valid, relative = self._dress(window.tokens, window.relative, inside, self.special)
        types = torch.zeros_like(ids)
        if length != SHORT:  # two segments, full to the last token: no mask, a faster attention
            middle = length // 2
            ids[:, middle] = self.special["[SEP]"]
            relative[:, middle] = -1
            types[:, middle + 1 :] = 1

        # Half of the short rows stay whole.
        special = (relative < 0) | (ids == self.special["[SEP]"])  # borders of documents, too
        chance = uniform(rows, length).masked_fill_(special, -1.0)
        if length == SHORT:
            chance[: rows // 2] = -1.0
        batch = {"types": types} | hide(
            ids,
            chance,
            int(MASKED_SHARE[length] * rows * length),
            self.special["[MASK]"],
            self.vocabulary,
            generator,
        )
        if length == SHORT:
            batch["valid"] = valid
        if self.teacher is not None:
            batch |= self._targets(first, limit, relative, length)
        return batch

    def _targets(self, first: Tensor, limit: Tensor, relative: Tensor, length: int) -> Batch:
        """Let the teacher read the same pieces; average its states over the tokens of each."""
        aligned, tokens, sentence = self._teacher_states(first, limit, relative, length)
        return {
            "aligned": aligned,
            "token_target": (tokens - self.token_mean) / self.token_deviation,
            "sentence_target": (sentence - self.sentence_mean) / self.sentence_deviation,
        }

    def _teacher_states(
        self, first: Tensor, limit: Tensor, relative: Tensor, length: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        assert self.teacher is not None
        window = self.teacher_stream.window(first, length - 2, limit)
        inside = window.inside if length == SHORT else torch.ones_like(window.inside)
        ids, valid, theirs = self._dress(
            window.tokens, window.relative, inside, self.teacher.special
        )
        states = self.teacher(ids, valid if length == SHORT else None)
        theirs = theirs.masked_fill(theirs < 0, -2)  # so that nothing aligns with [CLS] or padding
        same = relative[:, :, None] == theirs[:, None, :]
        count = same.sum(-1, keepdim=True)
        tokens = same.to(states.dtype) @ states / count.clamp(min=1)
        sentence = (states * valid[..., None]).sum(1) / valid.sum(1, keepdim=True)
        return (count[..., 0] > 0).float(), tokens, sentence

    def _dress(
        self, tokens: Tensor, relative: Tensor, inside: Tensor, special: dict[str, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Put [CLS] before, [SEP] behind, [PAD] after that; these belong to piece -1."""
        ids = F.pad(tokens.masked_fill(~inside, special["[PAD]"]), (1, 1), value=special["[PAD]"])
        ids[:, 0] = special["[CLS]"]
        count = inside.sum(1, keepdim=True)
        ids.scatter_(1, count + 1, special["[SEP]"])
        valid = torch.arange(ids.shape[1], device=ids.device) < count + 2
        return ids, valid, F.pad(relative.masked_fill(~inside, -1), (1, 1), value=-1)

    def _measure_teacher(self) -> None:
        """Take mean and deviation of every dimension: each then weighs the same in the loss."""
        self.token_mean = self.token_deviation = torch.zeros((), device=self.device)
        self.sentence_mean = self.sentence_deviation = torch.zeros((), device=self.device)
        generator = torch.Generator(self.device).manual_seed(0)
        rows = max(2, self.tokens_per_step // SHORT)
        first = torch.randint(
            max(1, self.pieces - SHORT), (rows,), generator=generator, device=self.device
        )
        window = self.streams[0].window(first, SHORT - 2)
        relative = F.pad(window.relative.masked_fill(~window.inside, -1), (1, 1), value=-1)
        aligned, tokens, sentence = self._teacher_states(first, window.limit, relative, SHORT)
        tokens = tokens[aligned > 0]
        dead = 1e-2  # MiniLM has dimensions that never change: they must not divide by zero
        self.token_mean = tokens.float().mean(0).to(tokens.dtype)
        self.token_deviation = tokens.float().std(0).clamp(min=dead).to(tokens.dtype)
        self.sentence_mean = sentence.float().mean(0).to(sentence.dtype)
        self.sentence_deviation = sentence.float().std(0).clamp(min=dead).to(sentence.dtype)


def hide(
    ids: Tensor, chance: Tensor, count: int, mask: int, vocabulary: int, generator: torch.Generator
) -> Batch:
    """Mask a fixed number of positions, so that shapes never change.

    80 % become [MASK], 10 % another token, 10 % stay (Devlin et al., 2019).

    Args:
        ids: (rows, length).
        chance: (rows, length), uniform; negative where nothing may be masked.
        count: positions to mask. Where too few have a chance, the rest is not asked for.
        mask: the number of [MASK].
        vocabulary: size of it.
        generator: of the random numbers.
    """
    chance, masked = chance.flatten().topk(count)
    original = ids.flatten()[masked]
    fate = torch.rand(count, generator=generator, device=ids.device)
    other = torch.randint(vocabulary, (count,), generator=generator, device=ids.device)
    replaced = torch.where(fate < 0.8, mask, torch.where(fate < 0.9, other, original))
    return {
        "ids": ids.flatten().scatter(0, masked, torch.where(chance > 0, replaced, original))
        .view_as(ids),
        "masked": masked,
        "labels": torch.where(chance > 0, original, -100),
    }  # fmt: skip


class DecoderObjective:
    """Cuts rows of tokens from anywhere in the corpus."""

    def __init__(
        self, corpus: Corpus, tokenizer: Tokenizer, tokens_per_step: int, device: torch.device
    ):
        self.rows = max(1, tokens_per_step // POSITIONS)
        self.device = device
        tokens = corpus.stream("plain", device).tokens
        border, end = token_id(tokenizer, "[SEP]"), token_id(tokenizer, "[END]")
        self.tokens = tokens.masked_fill(tokens == border, end)

    def batch(self, step: int, generator: torch.Generator) -> Batch:
        """Cut the batch of a step: {"ids": (rows, POSITIONS + 1)}."""
        return {"ids": cut_rows(self.tokens, self.rows, POSITIONS + 1, generator)}


class MaskedObjective:
    """Cuts full rows for masked language modelling alone, without a teacher."""

    def __init__(
        self, corpus: Corpus, tokenizer: Tokenizer, tokens_per_step: int, device: torch.device
    ):
        self.rows = max(1, tokens_per_step // POSITIONS)
        self.device = device
        self.tokens = corpus.stream("plain", device).tokens
        self.special = {t: token_id(tokenizer, t) for t in SPECIAL}
        self.vocabulary = tokenizer.get_vocab_size()

    def batch(self, step: int, generator: torch.Generator) -> Batch:
        """Cut the batch of a step, as `EncoderStudent` takes it: [CLS], 254 tokens, [SEP]."""
        ids = cut_rows(self.tokens, self.rows, POSITIONS, generator)
        ids[:, 0], ids[:, -1] = self.special["[CLS]"], self.special["[SEP]"]
        chance = torch.rand(ids.shape, generator=generator, device=self.device)
        chance[:, 0] = -1.0
        chance.masked_fill_(ids == self.special["[SEP]"], -1.0)  # borders of documents, too
        count = int(0.15 * ids.numel())
        hidden = hide(ids, chance, count, self.special["[MASK]"], self.vocabulary, generator)
        return hidden | {"types": torch.zeros_like(ids)}


class SpanObjective:
    """Cuts rows for span corruption (Raffel et al., 2020, section 3.1.4).

    15 % of the tokens are taken out, in spans of 3 on average; a sentinel stands for each span in
    the input, and the target gives sentinel and span, one after the other.
    """

    raw, noise, spans = 284, 43, 14  # so that an input, with its [END], has 256 tokens

    def __init__(
        self, corpus: Corpus, tokenizer: Tokenizer, tokens_per_step: int, device: torch.device
    ):
        self.rows = max(1, tokens_per_step // self.raw)
        self.device = device
        self.tokens = corpus.stream("plain", device).tokens
        self.end = token_id(tokenizer, "[END]")
        sentinels = [token_id(tokenizer, sentinel(number)) for number in range(self.spans)]
        self.sentinels = torch.tensor(sentinels, device=device)

    def batch(self, step: int, generator: torch.Generator) -> Batch:
        """Cut the batch of a step: {"ids": (rows, 256), "labels": (rows, 58)}."""
        rows, raw, noise, spans = self.rows, self.raw, self.noise, self.spans
        tokens = cut_rows(self.tokens, rows, raw, generator)
        kept = self._lengths(raw - noise, generator)
        taken = self._lengths(noise, generator)
        # Spans lie behind what is kept before them: kept, taken, kept, taken, …
        begin = kept.cumsum(1) + taken.cumsum(1) - taken  # (rows, spans): where each span begins
        place = torch.arange(raw, device=self.device)
        number = torch.searchsorted(begin, place.expand(rows, raw).contiguous(), right=True) - 1
        before = begin.gather(1, number.clamp(min=0))
        within = place - before
        out = (number >= 0) & (within < taken.gather(1, number.clamp(min=0)))
        first = out & (within == 0)
        marked = torch.where(first, self.sentinels[number.clamp(min=0)], tokens)
        ends = torch.full((rows, 1), self.end, device=self.device)
        ids = pick(marked, ~out | first, raw - noise + spans)
        # In the target every span is one further for each sentinel up to it.
        labels = torch.empty(rows, noise + spans, dtype=torch.long, device=self.device)
        marks = torch.arange(spans, device=self.device)
        labels.scatter_(1, taken.cumsum(1) - taken + marks, self.sentinels.expand(rows, spans))
        later = torch.arange(noise, device=self.device) + 1 + pick(number, out, noise)
        labels.scatter_(1, later, pick(tokens, out, noise))
        return {"ids": torch.cat([ids, ends], 1), "labels": torch.cat([labels, ends], 1)}

    def _lengths(self, total: int, generator: torch.Generator) -> Tensor:
        """Cut `total` into as many parts as there are spans, none empty: (rows, spans)."""
        chance = torch.rand(self.rows, total - 1, generator=generator, device=self.device)
        cuts = chance.topk(self.spans - 1).indices.sort(1).values + 1
        edges = F.pad(F.pad(cuts, (1, 0), value=0), (0, 1), value=total)
        return edges.diff(dim=1)


class ContinuationObjective:
    """Cuts rows for LM adaptation (Lester et al., 2021): text goes in, its continuation comes out.

    A model that was only trained on span corruption expects sentinels in its input and begins
    every answer with one.
    """

    splits = (32, 192, 64, 160, 96, 128, 224)  # tokens that go in, of a row; step by step

    def __init__(
        self, corpus: Corpus, tokenizer: Tokenizer, tokens_per_step: int, device: torch.device
    ):
        self.rows = max(1, tokens_per_step // POSITIONS)
        self.device = device
        self.tokens = corpus.stream("plain", device).tokens
        self.end = token_id(tokenizer, "[END]")

    def batch(self, step: int, generator: torch.Generator) -> Batch:
        """Cut the batch of a step: {"ids": (rows, split), "labels": (rows, POSITIONS - split)}."""
        tokens = cut_rows(self.tokens, self.rows, POSITIONS, generator)
        split = self.splits[step % len(self.splits)]
        labels = tokens[:, split:].clone()
        tokens[:, split - 1] = self.end  # as the tokenizer ends every input
        return {"ids": tokens[:, :split], "labels": labels}


def cut_rows(tokens: Tensor, rows: int, length: int, generator: torch.Generator) -> Tensor:
    """Rows of tokens from anywhere in the corpus: (rows, length)."""
    high = max(1, len(tokens) - length + 1)
    first = torch.randint(high, (rows, 1), generator=generator, device=tokens.device)
    at = first + torch.arange(length, device=tokens.device)
    return tokens[at.clamp_(max=len(tokens) - 1)].long()


def pick(values: Tensor, chosen: Tensor, count: int) -> Tensor:
    """The chosen of every row in their order, (rows, count), without asking the device how many."""
    return values.gather(1, (~chosen).byte().argsort(dim=1, stable=True)[:, :count])


RowObjective = DecoderObjective | MaskedObjective | SpanObjective | ContinuationObjective
Objective = EncoderObjective | RowObjective
