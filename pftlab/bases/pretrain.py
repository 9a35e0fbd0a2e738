"""Pretrain the book's base models: one recipe for a BERT-like encoder and a GPT-2-like decoder.

    python -m pftlab.bases.pretrain prepare --out runs --corpus text --teacher MiniLM
    python -m pftlab.bases.pretrain encoder --out runs --held-out held.jsonl --teacher MiniLM
    python -m pftlab.bases.pretrain decoder --out runs2 --prepared runs --held-out held.jsonl

`--start FOLDER` goes on from the models that an earlier run left in that folder.

**Encoder.** Masked language modelling (Devlin et al., 2019), plus distillation from a sentence
encoder (as in Sun et al., 2020; Jiao et al., 2020). Without a teacher, a small model stays on a
plateau for a thousand steps and its fine-tuning hardly beats random weights. The teacher reads the
unmasked text; the student, which sees part of it masked, learns to give

* for every token, the teacher's states of the same piece of text (two layers of it, linearly), and
* in its pooled output, the teacher's mean state of the whole stretch: so the pooler is trained, and
  a linear probe reads meaning from the start.

Two kinds of batches alternate: short rows (a sentence, or a phrase from anywhere; half of them
unmasked) and long rows of two segments. Every second one has its text rewritten as lower-cased,
word-by-word tokenised data sets have it.

**Decoder.** Next-token prediction on rows cut anywhere from the corpus.

Both: AdamW, warm-up and a linear decay to zero (which makes a moving average of the weights
superfluous), no dropout, bfloat16 with float32 weights, torch.compile, the corpus resident on the
device. All sizes are trained side by side on the same batches: the teacher reads each batch once.
Ctrl-C writes a checkpoint and ends. A run that ended early, or was killed, resumes from its last
checkpoint with the same batches, as each step seeds its own random numbers; on one CPU the result
is the same to the bit, on a GPU up to the order of sums.
"""

import argparse
import json
import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import (
    AutoModel,
    BertConfig,
    BertForPreTraining,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
)

from pftlab.core.errors import BadCheckpoint, PftError
from pftlab.core.files import atomic_write, check_writable
from pftlab.core.interrupt import stop_on_interrupt

from .corpus import (
    SEPARATOR,
    Corpus,
    Spelling,
    cut_pieces,
    ends_sentence,
    in_chunks,
    read_documents,
    spell_table,
)
from .tokenizer import (
    SPECIAL,
    for_decoder,
    for_encoder,
    save_vocabulary,
    spaced,
    token_id,
    train_tokenizer,
)

POSITIONS = 256
SHORT = 32
WARM_UP = 1000  # steps
BETAS = (0.9, 0.98)
WEIGHT_DECAY = 0.05
CLIP = 1.0
DISTILLATION_WEIGHT = 3.0  # of the token loss and of the sentence loss, against 1 for the masked LM
MASKED_SHARE = {SHORT: 0.06, POSITIONS: 0.18}  # of all positions: short rows: half, and padded


@dataclass(frozen=True)
class Size:
    """A size of model: transformer layers, hidden width, attention heads, peak learning rates."""

    layers: int
    width: int
    heads: int
    encoder_rate: float
    decoder_rate: float


SIZES = {
    "tiny": Size(layers=4, width=128, heads=4, encoder_rate=1.5e-3, decoder_rate=3e-3),
    "mini": Size(layers=6, width=256, heads=8, encoder_rate=8e-4, decoder_rate=1.5e-3),
}

Batch = dict[str, Tensor]


class EncoderStudent(nn.Module):
    """A BERT with its masked-LM head and, for training only, two maps into the teacher's space."""

    def __init__(self, size: Size, tokenizer: Tokenizer, teacher_width: int):
        super().__init__()
        config = BertConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=size.width,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            intermediate_size=4 * size.width,
            max_position_embeddings=POSITIONS,
            pad_token_id=token_id(tokenizer, "[PAD]"),
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        self.model = BertForPreTraining(config)
        self.token_map = nn.Linear(size.width, teacher_width) if teacher_width else None
        self.sentence_map = nn.Linear(size.width, teacher_width) if teacher_width else None

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of a batch of `EncoderObjective`, the first being the total."""
        outputs = self.model.bert(
            input_ids=batch["ids"],
            attention_mask=batch["valid"][:, None, None, :] if "valid" in batch else None,
            token_type_ids=batch["types"],
        )
        return self.losses(outputs.last_hidden_state, outputs.pooler_output, batch)

    def losses(self, states: Tensor, pooled: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Compare the model's states and pooled output with what the batch asks for."""
        logits = self.model.cls.predictions(states.flatten(0, 1)[batch["masked"]])
        masked_lm = F.cross_entropy(logits.float(), batch["labels"])
        losses = {"loss": masked_lm, "masked_lm": masked_lm}
        if self.token_map is not None and self.sentence_map is not None:
            error = (self.token_map(states) - batch["token_target"]).float().square().mean(-1)
            token = (error * batch["aligned"]).sum() / batch["aligned"].sum()
            error = (self.sentence_map(pooled) - batch["sentence_target"]).float()
            sentence = error.square().mean()
            losses["loss"] = masked_lm + DISTILLATION_WEIGHT * (token + sentence)
            losses |= {"token": token, "sentence": sentence}
        return losses

    def compile_parts(self) -> None:
        """Compile the layers (once for all of them) and the losses."""
        _compile_layers(self.model.bert.encoder.layer)
        self.losses = torch.compile(self.losses, dynamic=False)  # type: ignore[method-assign]


class DecoderStudent(nn.Module):
    """A GPT-2 and its next-token loss."""

    def __init__(self, size: Size, tokenizer: Tokenizer):
        super().__init__()
        end = token_id(tokenizer, "[END]")
        config = GPT2Config(
            vocab_size=tokenizer.get_vocab_size(),
            n_embd=size.width,
            n_layer=size.layers,
            n_head=size.heads,
            n_positions=POSITIONS,
            bos_token_id=end,
            eos_token_id=end,
            pad_token_id=token_id(tokenizer, "[PAD]"),
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
        self.model = GPT2LMHeadModel(config)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss of rows of ids, (batch, length + 1)."""
        ids = batch["ids"]
        states = self.model.transformer(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
        return {"loss": self.next_token_loss(states, ids)}

    def next_token_loss(self, states: Tensor, ids: Tensor) -> Tensor:
        """Cross-entropy of the token after each state."""
        logits = self.model.lm_head(states)
        return F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())

    def compile_parts(self) -> None:
        """Compile the layers (once for all of them) and the loss."""
        _compile_layers(self.model.transformer.h)
        compiled = torch.compile(self.next_token_loss, dynamic=False)
        self.next_token_loss = compiled  # type: ignore[method-assign]


def _compile_layers(layers: Iterable[nn.Module]) -> None:
    """Compile layer by layer: they share one compiled function, made in a tenth of the time."""
    for layer in layers:
        layer.compile(dynamic=False)


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
        _compile_layers(self.model.encoder.layer)

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

        # Mask a fixed number of positions, so that shapes never change; 80 % become [MASK], 10 %
        # another token, 10 % stay (Devlin et al., 2019). Half of the short rows stay whole.
        special = (relative < 0) | (ids == self.special["[SEP]"])  # borders of documents, too
        chance = uniform(rows, length).masked_fill_(special, -1.0)
        if length == SHORT:
            chance[: rows // 2] = -1.0
        chance, masked = chance.flatten().topk(int(MASKED_SHARE[length] * rows * length))
        original = ids.flatten()[masked]
        fate = uniform(len(masked))
        other = torch.where(fate < 0.9, integers(self.vocabulary, len(masked)), original)
        replaced = torch.where(fate < 0.8, self.special["[MASK]"], other)
        replaced = torch.where(chance > 0, replaced, original)
        labels = torch.where(chance > 0, original, -100)
        batch = {
            "ids": ids.flatten().scatter(0, masked, replaced).view_as(ids),
            "types": types,
            "masked": masked,
            "labels": labels,
        }
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
        high = max(1, len(self.tokens) - POSITIONS)
        first = torch.randint(high, (self.rows, 1), generator=generator, device=self.device)
        at = first + torch.arange(POSITIONS + 1, device=self.device)
        return {"ids": self.tokens[at.clamp_(max=len(self.tokens) - 1)].long()}


Objective = EncoderObjective | DecoderObjective
Student = EncoderStudent | DecoderStudent


class HeldOut:
    """Measures models on text that was never trained on, in bits per byte, by source.

    For a decoder these are the bits of the whole text: every token is predicted from at least 128
    earlier ones of its document (or all there are). For an encoder they are the bits of the masked
    tokens per byte of those, and the losses against the teacher stand beside them.
    """

    def __init__(
        self,
        documents: Sequence[dict[str, str]],
        tokenizer: Tokenizer,
        objective: Objective,
        device: torch.device,
    ):
        self.tokenizer, self.objective, self.device = tokenizer, objective, device
        self.by_source: dict[str, list[str]] = {}
        for document in documents:
            self.by_source.setdefault(document.get("source", "all"), []).append(document["text"])
        texts = [document["text"] for document in documents]
        tokens = sum(len(e.ids) for e in tokenizer.encode_batch(texts, add_special_tokens=False))
        self.bytes_per_token = sum(len(text.encode()) for text in texts) / max(1, tokens)

    @torch.no_grad()
    def measure(self, student: Student) -> dict[str, float]:
        """Return the measurements of one model, keyed by what they are."""
        if isinstance(student, DecoderStudent):
            return self._next_token(student.model)
        sums: dict[str, float] = {}
        steps = 12
        for step in range(steps):
            generator = torch.Generator(self.device).manual_seed(step)
            with _precision(self.device):
                losses = student(self.objective.batch(step, generator))
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value.item() / steps
        bits = sums["masked_lm"] / math.log(2) / self.bytes_per_token
        return {"bits_per_byte_masked": bits} | sums

    def _next_token(self, model: PreTrainedModel) -> dict[str, float]:
        end = token_id(self.tokenizer, "[END]")
        measured, all_bits, all_bytes = {}, 0.0, 0
        for source, texts in self.by_source.items():
            windows: list[tuple[list[int], int]] = []
            for encoding in self.tokenizer.encode_batch(texts, add_special_tokens=False):
                windows += in_chunks([end, *encoding.ids], POSITIONS, POSITIONS // 2)
            bits = sum(self._bits(model, windows[i : i + 64]) for i in range(0, len(windows), 64))
            size = sum(len(text.encode()) for text in texts)
            measured[f"bits_per_byte/{source}"] = bits / size
            all_bits, all_bytes = all_bits + bits, all_bytes + size
        return {"bits_per_byte": all_bits / all_bytes} | measured

    def _bits(self, model: PreTrainedModel, windows: list[tuple[list[int], int]]) -> float:
        ids = torch.zeros(len(windows), POSITIONS, dtype=torch.long)
        scored = torch.zeros(len(windows), POSITIONS, dtype=torch.bool)
        for row, (tokens, new) in enumerate(windows):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            scored[row, len(tokens) - new : len(tokens)] = True
        ids, scored = ids.to(self.device), scored.to(self.device)
        with _precision(self.device):
            logits = model(input_ids=ids).logits
        nats = F.cross_entropy(
            logits[:, :-1].float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
        )
        return (nats * scored[:, 1:].flatten()).sum().item() / math.log(2)


def learning_rate_factor(step: int, done: float, warm_up: int) -> float:
    """Rise linearly over the warm-up, and fall linearly to zero as `done` goes from 0 to 1."""
    return min((step + 1) / warm_up, 1.0 - done)


def pretrain(
    students: Mapping[str, Student],
    rates: dict[str, float],
    objective: Objective,
    held_out: HeldOut | None,
    out: Path,
    *,
    steps: int,
    minutes: float | None = None,
    warm_up: int = WARM_UP,
    seed: int = 0,
    evaluate_every: int = 2000,
    progress: bool = True,
) -> Iterator[int]:
    """Train all students on the same batches; yield the step after every checkpoint.

    Ctrl-C ends after the step at hand, with a checkpoint; the same call goes on from there.

    Args:
        students: name → model with its loss.
        rates: name → peak learning rate.
        objective: where batches come from.
        held_out: what to measure on; None for nothing.
        out: folder of `checkpoint.pt` and `log.jsonl`. A checkpoint there is resumed.
        steps: in all, earlier runs counted in; at most that many if `minutes` is given.
        minutes: end after that long; the learning rate then falls by the clock.
        warm_up: steps in which the learning rate rises.
        seed: of batches and masks.
        evaluate_every: steps between two measurements, each with a checkpoint.
        progress: whether to show a progress bar.
    """
    out, device = check_writable(out), objective.device
    groups = []
    for name, student in students.items():
        matrices = [p for p in student.parameters() if p.ndim > 1]
        others = [p for p in student.parameters() if p.ndim <= 1]
        groups.append({"params": matrices, "peak": rates[name], "weight_decay": WEIGHT_DECAY})
        groups.append({"params": others, "peak": rates[name], "weight_decay": 0.0})
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=BETAS, fused=device.type == "cuda")
    first, seconds_before = _resume(out, students, optimizer, steps)
    generator = torch.Generator(device)
    started, log = time.perf_counter() - seconds_before, out / "log.jsonl"
    recent: dict[str, list[Tensor]] = {}

    bar = tqdm(range(first, steps), initial=first, total=steps, disable=not progress)
    with stop_on_interrupt() as interrupted:
        for step in bar:
            seconds = time.perf_counter() - started
            done = min(1.0, seconds / (60 * minutes)) if minutes else step / steps
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * learning_rate_factor(step, done, warm_up)
            batch = objective.batch(step, generator.manual_seed(seed * 1_000_003 + step))
            for name, student in students.items():
                with _precision(device):
                    losses = student(batch)
                losses["loss"].backward()
                nn.utils.clip_grad_norm_(student.parameters(), CLIP)
                for kind, value in losses.items():
                    recent.setdefault(f"{name}/{kind}", []).append(value.detach())
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

            last = step + 1 == steps or done == 1.0
            measure = (step + 1) % evaluate_every == 0 or last
            if measure or (step + 1) % 100 == 0 or interrupted.is_set():
                entry: dict[str, float] = {"step": step + 1}
                entry |= {key: torch.stack(values).mean().item() for key, values in recent.items()}
                entry["seconds"] = seconds
                recent.clear()
                bar.set_postfix({k: f"{v:.3f}" for k, v in entry.items() if k.endswith("/loss")})
                if held_out is not None and measure:
                    for name, student in students.items():
                        with torch.compiler.set_stance("force_eager"):  # shapes of its own
                            measured = held_out.measure(student)
                        entry |= {f"{name}/held_out/{k}": v for k, v in measured.items()}
                _append(log, entry)
            if measure or interrupted.is_set():
                _checkpoint(out, students, optimizer, step + 1, seconds)
                yield step + 1
            if last or interrupted.is_set():
                return


def _precision(device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def _append(log: Path, entry: dict[str, float]) -> None:
    with open(log, "a", encoding="utf-8") as stream:
        stream.write(json.dumps({k: round(v, 5) for k, v in entry.items()}) + "\n")


def _checkpoint(
    out: Path,
    students: Mapping[str, Student],
    optimizer: torch.optim.Optimizer,
    step: int,
    seconds: float,
) -> None:
    state = {
        "step": step,
        "seconds": seconds,
        "students": {name: student.state_dict() for name, student in students.items()},
        "optimizer": optimizer.state_dict(),
    }
    with atomic_write(out / "checkpoint.pt") as temporary:
        torch.save(state, temporary)


def _resume(
    out: Path, students: Mapping[str, Student], optimizer: torch.optim.Optimizer, steps: int
) -> tuple[int, float]:
    """Restore the last checkpoint, cut the log back to it; return its step and its seconds."""
    path, log = out / "checkpoint.pt", out / "log.jsonl"
    if not path.exists():
        log.unlink(missing_ok=True)
        return 0, 0.0
    state = torch.load(path, map_location="cpu", weights_only=True)
    if set(state["students"]) != set(students) or state["step"] > steps:
        raise BadCheckpoint(
            f"{str(path)!r} holds {', '.join(state['students'])} at step {state['step']}, and this "
            f"run is of {', '.join(students)} to step {steps}. Give another --out folder."
        )
    for name, student in students.items():
        student.load_state_dict(state["students"][name])
    optimizer.load_state_dict(state["optimizer"])
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    kept = [line for line in lines if json.loads(line)["step"] <= state["step"]]
    with atomic_write(log) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    return state["step"], state["seconds"]


def load_model(student: Student, folder: Path) -> None:
    """Take the weights that `save_model` wrote; what it left out keeps its own.

    Raises:
        BadCheckpoint: nothing there, or weights of another size of model.
    """
    path = folder / "model.safetensors"
    try:
        state = load_file(path)
        unknown = student.model.load_state_dict(state, strict=False).unexpected_keys
    except (OSError, SafetensorError, RuntimeError) as error:
        raise BadCheckpoint(
            f"{str(path)!r} is not a model of this size that the recipe saved ({error})."
        ) from error
    if unknown:
        raise BadCheckpoint(
            f"{str(path)!r} holds {', '.join(unknown[:3])}, which this kind of model lacks. "
            "Give the folder that a run of the same kind wrote."
        )


def save_model(student: Student, tokenizer: Tokenizer, folder: Path) -> None:
    """Write a plain transformers folder: config, bfloat16 weights, tokenizer.

    An encoder keeps its pooler and its masked-LM head. Its dropout, none in pretraining, becomes
    BERT's usual 0.1, which suits fine-tuning.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = student.model
    config = type(model.config).from_dict(model.config.to_dict())
    config.dtype = torch.bfloat16
    if isinstance(model, BertForPreTraining):
        config.architectures = ["BertForMaskedLM"]
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.1
        left_out: tuple[str, ...] = (
            "cls.seq_relationship.",
            "cls.predictions.decoder.",
        )  # untrained; tied
        dressed = for_encoder(tokenizer, POSITIONS)
    else:
        config.architectures = ["GPT2LMHeadModel"]
        config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = 0.1
        left_out = ("lm_head.",)  # tied
        dressed = for_decoder(tokenizer, POSITIONS)
    tensors = {
        name: value.detach().to("cpu", torch.bfloat16).contiguous()
        for name, value in model.state_dict().items()
        if not name.startswith(left_out) and value.is_floating_point()
    }
    config.save_pretrained(folder)
    dressed.save_pretrained(folder)
    with atomic_write(folder / "model.safetensors") as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})


def learn_vocabulary(texts: Sequence[str]) -> Tokenizer:
    """Train the tokenizer on a quarter of the texts, every second one in lower-cased style."""
    plain = train_tokenizer([], vocabulary=262 + 256)

    def styled() -> Iterator[str]:
        for index, text in enumerate(texts[::4]):
            if index % 2:
                cut = plain.pre_tokenizer.pre_tokenize_str(plain.normalizer.normalize_str(text))
                text = " ".join(s[1:] for s in (spaced(piece) for piece, _ in cut) if s)
            yield text

    return train_tokenizer(styled())


def prepare(
    texts: Sequence[str], tokenizer: Tokenizer, teacher: Path | None, processes: int = 1
) -> Corpus:
    """Cut texts into pieces and spell these for the student and, if there is one, the teacher."""
    pieces = cut_pieces(texts, tokenizer, processes)
    border = token_id(tokenizer, "[SEP]")

    def plain(piece: str) -> list[int]:
        return [token.id for token in tokenizer.model.tokenize(piece)]

    def with_border(spell: Callable[[str], list[int]], border: int) -> Spelling:
        return spell_table(pieces.table, lambda p: [border] if p == SEPARATOR else spell(p))

    spellings = {
        "plain": with_border(plain, border),
        "spaced": with_border(lambda piece: plain(spaced(piece)), border),
    }
    if teacher is not None:
        theirs = Tokenizer.from_file(str(teacher / "tokenizer.json"))
        theirs.no_padding()
        theirs.no_truncation()
        bare = [spaced(piece)[1:] for piece in pieces.table]
        encoded = theirs.encode_batch(bare, add_special_tokens=False)
        known = {piece: encoding.ids for piece, encoding in zip(pieces.table, encoded, strict=True)}
        spellings["teacher"] = with_border(lambda p: known[p], token_id(theirs, "[SEP]"))
    closing = np.array([ends_sentence(piece) for piece in pieces.table])
    return Corpus(pieces.row, closing, spellings)


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pftlab.bases.pretrain", description="Pretrain the base models of the book."
    )
    parser.add_argument("work", choices=("prepare", "encoder", "decoder"))
    parser.add_argument("--out", type=Path, required=True, help="folder for all that is made")
    parser.add_argument("--corpus", type=Path, help="folder of .jsonl or .jsonl.xz (prepare)")
    parser.add_argument("--held-out", type=Path, help="file of documents to measure on")
    parser.add_argument("--teacher", type=Path, help="folder of a BERT-like sentence encoder")
    parser.add_argument(
        "--tokenizer", type=Path, help="vocabulary.json to use; else one is learned"
    )
    parser.add_argument("--processes", type=int, default=1, help="to cut the corpus with")
    parser.add_argument("--prepared", type=Path, help="folder that prepare wrote (default: --out)")
    parser.add_argument("--sizes", nargs="+", choices=tuple(SIZES), default=list(SIZES))
    parser.add_argument("--start", type=Path, help="--out of a run whose models go on")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, help="end after that long, if before --steps")
    parser.add_argument("--tokens-per-step", type=int, default=131_072)
    parser.add_argument("--warm-up", type=int, default=WARM_UP, help="steps")
    parser.add_argument("--rate", type=float, default=1.0, help="factor on the learning rates")
    parser.add_argument("--evaluate-every", type=int, default=2_000, help="steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--no-compile", action="store_true", help="for a CPU, or to find a fault")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the recipe from the command line."""
    parser = arguments()
    options = parser.parse_args(argv)
    out = check_writable(options.out)
    torch.manual_seed(options.seed)
    if options.work == "prepare":
        if options.corpus is None:
            parser.error("prepare needs --corpus")
        _prepare(options, out)
    else:
        _train(options, out)


def _prepare(options: argparse.Namespace, out: Path) -> None:
    held_out = [options.held_out] if options.held_out else []
    texts = [d["text"] for d in read_documents(options.corpus, without=held_out)]
    random.Random(options.seed).shuffle(texts)
    if options.tokenizer:
        tokenizer = Tokenizer.from_file(str(options.tokenizer))
    else:
        tokenizer = learn_vocabulary(texts)
    save_vocabulary(tokenizer, out / "vocabulary.json")
    prepare(texts, tokenizer, options.teacher, options.processes).save(out / "corpus.npz")


def _train(options: argparse.Namespace, out: Path) -> None:
    device = torch.device(options.device)
    prepared = options.prepared or out
    tokenizer = Tokenizer.from_file(str(prepared / "vocabulary.json"))
    corpus = Corpus.load(prepared / "corpus.npz")
    documents = read_documents(options.held_out) if options.held_out else []
    objective: Objective
    held_out_objective: Objective
    students: Mapping[str, Student]
    if options.work == "encoder":
        teacher = Teacher(options.teacher, device) if options.teacher else None
        if teacher is not None and not options.no_compile:
            teacher.compile_parts()
        size = options.tokens_per_step
        objective = held_out_objective = EncoderObjective(corpus, tokenizer, teacher, size, device)
        if documents:
            unseen = prepare([d["text"] for d in documents], tokenizer, options.teacher)
            held_out_objective = EncoderObjective(unseen, tokenizer, teacher, size, device)
        width = teacher.width if teacher else 0
        students = {n: EncoderStudent(SIZES[n], tokenizer, width) for n in options.sizes}
        rates = {n: SIZES[n].encoder_rate for n in options.sizes}
    else:
        objective = DecoderObjective(corpus, tokenizer, options.tokens_per_step, device)
        held_out_objective = objective
        students = {n: DecoderStudent(SIZES[n], tokenizer) for n in options.sizes}
        rates = {n: SIZES[n].decoder_rate for n in options.sizes}
    rates = {name: options.rate * rate for name, rate in rates.items()}
    for name, student in students.items():
        if options.start is not None:
            load_model(student, options.start / f"{name}-{options.work}")
        student.to(device)
        if not options.no_compile:
            student.compile_parts()
    held_out = HeldOut(documents, tokenizer, held_out_objective, device) if documents else None
    for _ in pretrain(
        students,
        rates,
        objective,
        held_out,
        out,
        steps=options.steps,
        minutes=options.minutes,
        warm_up=options.warm_up,
        seed=options.seed,
        evaluate_every=options.evaluate_every,
    ):
        for name, student in students.items():
            save_model(student, tokenizer, out / f"{name}-{options.work}")


if __name__ == "__main__":
    try:
        main()
    except PftError as error:
        raise SystemExit(f"error: {error}") from error
