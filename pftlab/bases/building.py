"""Build a model with transformers, which has settings that are the whole process's."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# While transformers builds a model, the type of all new parameters is that model's; and how much it
# says is one setting as well. So one thread builds at a time.
BUILDING = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence its bars, and its report of fresh parameters: `BaseInfo.fresh` names them."""
    from transformers.utils import logging

    with BUILDING:
        level: Any = logging.get_verbosity()
        bars = logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if bars:
                logging.enable_progress_bar()
