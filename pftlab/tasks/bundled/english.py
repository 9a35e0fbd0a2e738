"""The little English that the generators share."""

_SOUNDS_LIKE_A_CONSONANT = ("useful", "useless", "uniform", "one")
_SOUNDS_LIKE_A_VOWEL = ("honest", "hour")


def a(phrase: str) -> str:
    """Put the indefinite article before a phrase: "a bridge", "an old bridge"."""
    word = phrase.split()[0]
    vowel = word[0] in "aeiou" and not word.startswith(_SOUNDS_LIKE_A_CONSONANT)
    return f"{'an' if vowel or word.startswith(_SOUNDS_LIKE_A_VOWEL) else 'a'} {phrase}"


def sentence(text: str, end: str = ".") -> str:
    """Begin with a capital and end with a full stop."""
    return text[0].upper() + text[1:] + end
