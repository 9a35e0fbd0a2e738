"""What comes after training: a merged model in Hugging Face form."""

from .export import export

__all__ = ["export"]
