"""The interactive figures of the book.

    from pftlab.book.widgets import ParameterCounter

    ParameterCounter(base="llama-7b", method="lora")

All of their logic runs in the browser, so that they work in the built book, where there is no
kernel. In a live notebook their state and Python's are one: what the reader chooses can be read
from the object, and what is assigned to the object moves the figure.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
