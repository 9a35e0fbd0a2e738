"""Words and sentences: spelling, words said twice, length, words that the book does not use."""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from spellchecker import SpellChecker

from .page import AUTHORS, CODE, FORMULA, Block, Page

SENTENCE_WORDS = 45
PARAGRAPH_WORDS = 130

OWN_WORDS = Path(__file__).with_name("words.txt")
REFERENCES = Path(__file__).resolve().parents[2] / "book" / "references.bib"
LETTER = r"A-Za-z\u00C0-\u024F"
WORD = re.compile(rf"(?<![\w'’])[{LETTER}][{LETTER}'’]*(?!\w)")
SENTENCE_END = re.compile(
    r"(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bal\.)(?<!\bvs\.)(?<!\bSec\.)(?<!\bEq\.)(?<!\bFig\.)"
    r"(?<=[.!?])[\"”)]*\s+"
)

# What the book writes otherwise, and how. Keys are patterns of whole words.
AVOID = {
    # the English of another language
    r"the lot|by lot": "random, or all of it",
    r"in the mean": "on average",
    r"level with": "on par with",
    r"for ever": "forever",
    r"the question how": "the question of how",
    r"be told from": "be told apart from",
    # one spelling
    r"learnt": "learned",
    r"per cent": "%",
    r"colors?|behaviors?|neighbors?|neighboring|favor(?:ed|s)?|modeling|labeled|center(?:ed|s)?":
        "the British spelling",
    r"(?!tokenizer|size|prize|seize|resize|capsize|oversize)"
    r"\w{2,}[a-rt-z]iz(?:e[drs]?|ers|ing|ations?)": "-ise, -isation",
    # who tells a reader that a hard thing is easy
    r"simply|obviously|of course|trivially|easily|needless to say": "the reason, or nothing",
    # hype, and words that say little
    r"amazing|revolutionary|cutting[- ]edge|game[- ]chang\w+|seamless(?:ly)?|blazing\w*":
        "the number",
    r"leverag(?:e[ds]?|ing)|utili[sz]\w+": "use",
    r"in order to": "to",
    r"due to the fact that": "because",
    r"typically": "in our runs, or who found it",
    # machinery of the package, of which a reader need not know
    r"registry|the contract|contract tests?|cost_table": "what it means for the reader",
}  # fmt: skip
AVOIDED = {re.compile(rf"\b(?:{words})\b", re.IGNORECASE): say for words, say in AVOID.items()}
WHO = re.compile(r"^Who \w+s\b[^?]*\.$")  # "Who guesses has …"


@cache
def dictionary() -> SpellChecker:
    return SpellChecker(distance=1)


@cache
def own_words() -> frozenset[str]:
    """The field's words, and the names in the bibliography."""
    listed = OWN_WORDS.read_text(encoding="utf-8").split()
    people = re.findall(r"^\s*author\s*=\s*\{(.*?)\},?$", REFERENCES.read_text("utf-8"), re.M)
    return frozenset(word.lower() for word in [*listed, *WORD.findall(" ".join(people))])


def is_word(word: str) -> bool:
    """Whether a dictionary has the word, in American or British spelling, or our own list."""
    plain = re.sub(r"['’](?:s|ll|d|re|ve|t)?$", "", word.replace("’", "'"))
    if len(plain) < 2 or re.search(r".[A-Z]", plain):  # LoRA, GPT: names of their own
        return True
    lower = unicodedata.normalize("NFC", plain).lower()
    spellings = {lower, american(lower)}
    if lower.startswith(("un", "re")):
        spellings |= {american(lower[2:])}
    return bool(spellings & own_words()) or any(form in dictionary() for form in spellings)


def american(word: str) -> str:
    """The American spelling of a word in the British one."""
    word = re.sub(r"is(e[drs]?|ing|ations?|able)$", r"iz\1", word)
    word = re.sub(r"ys(e[drs]?|ing)$", r"yz\1", word)
    return re.sub(r"([a-z]{2})our", r"\1or", word)


def spelling(page: Page) -> Iterator[str]:
    """Words that neither the dictionary nor our own list has."""
    for block in page.blocks:
        unknown = {word for word in WORD.findall(block.text) if not is_word(word)}
        for word in sorted(unknown):
            yield (
                f"{block.where}: unknown word: {word}. Mend it, or put it into "
                f"tools/prose/{OWN_WORDS.name}"
            )


def repeated_words(page: Page) -> Iterator[str]:
    """The same word twice in a row."""
    for block in page.blocks:
        for found in re.finditer(r"\b([^\W\d_]+)\s+\1\b", block.text, re.IGNORECASE):
            if found[1] not in (FORMULA, CODE, AUTHORS):
                yield f"{block.where}: a word twice: {found[0]}"


def sentences(block: Block) -> list[str]:
    return SENTENCE_END.split(block.text)


def long_sentences(page: Page) -> Iterator[str]:
    for block in page.blocks:
        for sentence in sentences(block):
            words = len(sentence.split())
            if words > SENTENCE_WORDS:
                yield (
                    f"{block.where}: a sentence of {words} words, at most {SENTENCE_WORDS}: "
                    f"{sentence[:60]} …"
                )


def long_paragraphs(page: Page) -> Iterator[str]:
    for block in page.blocks:
        words = len(block.text.split())
        if words > PARAGRAPH_WORDS:
            yield (
                f"{block.where}: a paragraph of {words} words, at most {PARAGRAPH_WORDS}: "
                f"{block.text[:60]} …"
            )


def words_to_avoid(page: Page) -> Iterator[str]:
    """What the book writes otherwise."""
    for block in page.blocks:
        for pattern, say in AVOIDED.items():
            for found in pattern.findall(block.text):
                yield f"{block.where}: not {found!r}: write {say}"
        for sentence in sentences(block):
            if WHO.match(sentence):
                yield f"{block.where}: {sentence[:50]!r}: write 'Anyone who', or name who"
