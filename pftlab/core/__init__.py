"""The one mechanism that every method shares. It knows no method, no task and no book.

What method files share is here by name; beside it they use the functions `sites`, `count` and
`merge`, from the modules of the same names. README.md in this folder follows one hidden state
through all of it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
