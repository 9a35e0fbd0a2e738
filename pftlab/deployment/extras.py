"""Packages that only a part of this room needs."""

from importlib.util import find_spec

from ..core.errors import Unavailable

EXTRAS = {"onnx": ("onnx", "onnxruntime", "onnxscript"), "serve": ("fastapi", "uvicorn")}


def check_extra(name: str) -> None:
    """Raise Unavailable unless the packages of the extra `name` are installed."""
    if missing := [package for package in EXTRAS[name] if find_spec(package) is None]:
        raise Unavailable(
            f"This needs {' and '.join(missing)}, which cannot be imported. Install the extra "
            f'{name!r}: pip install "pftlab[{name}]".'
        )
