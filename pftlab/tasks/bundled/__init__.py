"""The tasks that the book generates itself."""

from .data_to_text import DATA_TO_TEXT
from .entailment import ENTAILMENT
from .reviews import REVIEWS
from .tagging import TAGGING

BUNDLED = (REVIEWS, ENTAILMENT, TAGGING, DATA_TO_TEXT)

__all__ = ["BUNDLED"]
