"""What comes after training: a merged model in Hugging Face form, and a server of many adapters."""

from .export import export

__all__ = ["export"]
