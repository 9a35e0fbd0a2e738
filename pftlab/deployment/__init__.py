"""What comes after training: a merged model in Hugging Face form, and a server of many adapters.

* `export`: a plain folder of transformers with a model card, and ONNX (`pftlab export`);
* `backbone`, `batching`, `server`: one base, many adapters, over HTTP (`pftlab serve`).

README.md in this folder says how to go on from training to use.
"""

from .export import export

__all__ = ["export"]
