"""Base models: the book's own, MiniLM, SmolLM2, any model of the hub, any local folder."""

from .cards import BASES, BaseCard
from .load import BaseInfo, load_base, load_tokenizer, random_weights

__all__ = ["BASES", "BaseInfo", "BaseCard", "load_base", "load_tokenizer", "random_weights"]
