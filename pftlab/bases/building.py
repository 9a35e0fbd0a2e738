"""Import transformers and build a model with it: one thread at a time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# While transformers builds a model, the type of all new parameters is that model's; and how much it
# says is one setting as well. While it is imported, it replaces its modules by others, which import
# their parts at first use; a thread that came meanwhile keeps the old ones, which lack all names.
BUILDING = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence its bars, and its report of fresh parameters: `BaseInfo.fresh` names them."""
    with BUILDING:
        from transformers.utils import logging

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
