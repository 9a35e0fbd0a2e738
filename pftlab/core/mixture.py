"""A method that is made of others."""

from torch import nn

from .delta import Delta
from .method import Method
from .places import Site


class Mixture(Method):
    """It plants what its pieces plant, each where it would by itself.

    A subclass says in `methods` which they are. Their limits are checked with its own.
    """

    def methods(self) -> list[Method]:
        """The methods that this one mixes."""
        raise NotImplementedError

    def __post_init__(self) -> None:
        super().__post_init__()
        self.methods()

    def sites(self, model: nn.Module) -> list[Site]:
        return [site for method in self.methods() for site in method.sites(model)]

    def plan(self, model: nn.Module) -> list[tuple[Site, Delta]]:
        return [planned for method in self.methods() for planned in method.plan(model)]
