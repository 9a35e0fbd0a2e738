"""The models that the recipe trains: their sizes, their losses, and how they are kept."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    BertConfig,
    BertForPreTraining,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
)

from ..core.errors import BadCheckpoint
from ..core.files import atomic_write
from .tokenizer import for_decoder, for_encoder, for_seq2seq, token_id

POSITIONS = 256
DISTILLATION_WEIGHT = 3.0  # of the token loss and of the sentence loss, against 1 for the masked LM

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class StudentSize:
    """A size of model: transformer layers, hidden width, attention heads, peak learning rates."""

    layers: int
    width: int
    heads: int
    encoder_rate: float
    decoder_rate: float


STUDENT_SIZES = {
    "tiny": StudentSize(layers=4, width=128, heads=4, encoder_rate=1.5e-3, decoder_rate=3e-3),
    "mini": StudentSize(layers=6, width=256, heads=8, encoder_rate=8e-4, decoder_rate=1.5e-3),
}


class EncoderStudent(nn.Module):
    """A BERT with its masked-LM head and, for training only, two maps into the teacher's space."""

    def __init__(self, size: StudentSize, tokenizer: Tokenizer, teacher_width: int):
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
        compile_layers(self.model.bert.encoder.layer)
        self.losses = torch.compile(self.losses, dynamic=False)  # type: ignore[method-assign]


class DecoderStudent(nn.Module):
    """A GPT-2 and its next-token loss."""

    def __init__(self, size: StudentSize, tokenizer: Tokenizer):
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
        compile_layers(self.model.transformer.h)
        compiled = torch.compile(self.next_token_loss, dynamic=False)
        self.next_token_loss = compiled  # type: ignore[method-assign]


class Seq2SeqStudent(nn.Module):
    """A T5 (version 1.1: gated feed-forward maps) and the loss of its targets."""

    def __init__(self, size: StudentSize, tokenizer: Tokenizer):
        super().__init__()
        config = T5Config(
            vocab_size=tokenizer.get_vocab_size(),
            d_model=size.width,
            d_kv=size.width // size.heads,
            d_ff=3 * size.width,
            num_layers=size.layers,
            num_heads=size.heads,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            pad_token_id=token_id(tokenizer, "[PAD]"),
            eos_token_id=token_id(tokenizer, "[END]"),
        )
        config.decoder_start_token_id = config.pad_token_id
        self.model = T5ForConditionalGeneration(config)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss of targets, (batch, length), given inputs."""
        outputs = self.model(input_ids=batch["ids"], labels=batch["labels"], use_cache=False)
        return {"loss": outputs.loss.float()}

    def compile_parts(self) -> None:
        """Compile nothing: the lengths change from step to step in LM adaptation."""


Student = EncoderStudent | DecoderStudent | Seq2SeqStudent


def compile_layers(layers: Iterable[nn.Module]) -> None:
    """Compile layer by layer: they share one compiled function, made in a tenth of the time."""
    for layer in layers:
        layer.compile(dynamic=False)


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

    An encoder keeps its masked-LM head, and its pooler if a teacher trained it. The dropout, none
    in pretraining, becomes the usual 0.1, which suits fine-tuning.
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
        if isinstance(student, EncoderStudent) and student.sentence_map is None:
            left_out += ("bert.pooler.",)
        dressed = for_encoder(tokenizer, POSITIONS)
    elif isinstance(model, T5ForConditionalGeneration):
        config.architectures = ["T5ForConditionalGeneration"]
        config.dropout_rate = 0.1
        left_out = ("lm_head.", "encoder.embed_tokens.", "decoder.embed_tokens.")  # tied
        dressed = for_seq2seq(tokenizer, POSITIONS)
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
