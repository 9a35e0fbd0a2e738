"""Tiny tokenizers of the four kinds that the book's models have, without any download."""

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
