"""Tiny tokenizers of the four kinds that the book's models have, without any download."""

import copy

import pytest
from tokenizers import pre_tokenizers, trainers
from transformers import BertTokenizer, GPT2Tokenizer, LlamaTokenizer, T5Tokenizer

WORDS = ("the a cat cats sat on mat dog saw bread was good bad not but very hats : | item hat "
         "colour red found nurse station , .").split()  # fmt: skip
CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,:|'!?-"


@pytest.fixture(scope="session")
def bert():
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *WORDS, *CHARACTERS, *(f"##{c}" for c in CHARACTERS)]
    return BertTokenizer(vocab={piece: i for i, piece in enumerate(dict.fromkeys(pieces))})


@pytest.fixture(scope="session")
def gpt2():
    tokenizer = GPT2Tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend = tokenizer.backend_tokenizer
    backend.train_from_iterator([" ".join(WORDS)] * 4, trainer)
    return tokenizer


CHATML = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def chat(gpt2):
    """A tokenizer with a chat template, as models that follow instructions have."""
    tokenizer = copy.deepcopy(gpt2)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.eos_token, tokenizer.chat_template = "<|im_end|>", CHATML
    return tokenizer


@pytest.fixture(scope="session")
def llama():
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces = [*special, "▁", *CHARACTERS]
    merges = []
    for word in ("the", "cat"):
        joined = "▁"
        for letter in word:
            merges.append((joined, letter))
            joined += letter
            pieces.append(joined)
    vocab = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    return LlamaTokenizer(vocab=vocab, merges=merges, add_bos_token=True)


@pytest.fixture(scope="session")
def t5():
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(f"▁{word}", -3.0) for word in WORDS] + [(c, -9.0) for c in CHARACTERS]
    return T5Tokenizer(vocab=list(dict(pieces).items()), extra_ids=0)
