"""What a reader guesses before an output: read from a cell's metadata and from what it showed."""

import pytest

from pftlab.book.guess import guess_of
from pftlab.core.errors import BadValue

SHOWN = "rank 1: distance 4.42\nrank 2: 1,234 numbers"
NUMBER = {"ask": "How far?", "from": 0, "to": 10, "step": 1, "find": r"rank 1: distance ([\d.]+)"}
CHOICE = {"ask": "Which?", "choices": ["the first", "none"], "answer": "none", "find": "rank 2"}


def test_the_truth_of_a_number_is_what_the_cell_showed():
    guess = guess_of({**NUMBER, "unit": " m"}, SHOWN)
    assert (guess.truth, guess.options) == ("4.42", "0 to 10 m")
    thousands = {**NUMBER, "to": 2000, "find": r"rank 2: ([\d,]+)"}
    assert guess_of(thousands, SHOWN).truth == "1234"


def test_the_truth_of_a_choice_is_one_of_them():
    guess = guess_of(CHOICE, SHOWN)
    assert (guess.truth, guess.options) == ("none", "the first / none")


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({**NUMBER, "find": "rank 3: ([0-9]+)"}, "may be another now"),
        ({**CHOICE, "find": "rank 3"}, "may be another now"),
        ({**NUMBER, "find": "rank 1"}, "catch one number"),
        ({**NUMBER, "find": "(rank) 1"}, "'rank' is no number"),
        ({**NUMBER, "to": 4}, "from 0 to 4"),
        ({**NUMBER, "step": 0}, "no choice"),
        ({**NUMBER, "step": 9}, "no choice"),
        ({**CHOICE, "answer": "both"}, "'both' is to be one of"),
        ({**CHOICE, "choices": ["none"]}, "at least two"),
        ({**CHOICE, "choices": ["none", "none"]}, "each another"),
        ({"ask": "How far?"}, "the keys ask"),
        ({**NUMBER, "colour": "red"}, "colour"),
    ],
)
def test_what_does_not_fit_the_output_is_refused(given, fault):
    with pytest.raises(BadValue, match=fault.replace("(", r"\(")):
        guess_of(given, SHOWN)
