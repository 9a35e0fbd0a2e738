"""Text for streams that cannot print every character, such as those of Windows' code pages."""

import sys
import unicodedata

PLAIN = {"✓": "[ok]", "✗": "[no]", "…": "...", "★": "*", "–": "-", "“": '"', "”": '"', "≤": "<="}


def printable_here(text: str) -> str:
    """`text`, or where the standard output cannot print it, its nearest plain form."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return "".join(map(_plain, text))
    return text


def _plain(character: str) -> str:
    if character.isascii():
        return character
    name = unicodedata.name(character, "")
    if name.startswith("GREEK SMALL LETTER "):
        return name.rpartition(" ")[2].lower()
    return PLAIN.get(character, "?")
