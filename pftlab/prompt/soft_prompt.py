"""Vectors among the embedded words: what the shallow prompts of this family share."""

from torch import Tensor, nn

from ..core import BadValue, Prompt, planted


class SoftPrompt(Prompt):
    """[P; X]: n trainable vectors P beside the words X (Lester et al., Section 2).

    P (n, d), X (B, T, d)
    """

    def __init__(self, vectors: Tensor, position: int | tuple[int, ...] | None):
        super().__init__()
        self.length, self.position = len(vectors), position
        self.P = nn.Parameter(vectors)

    def vectors(self) -> Tensor:
        """The prompt (n, d) as the model reads it."""
        return self.P

    def forward(self, embedded: Tensor) -> Tensor:
        return self.vectors().expand(len(embedded), -1, -1)


def check_position(position: int | tuple[int, ...] | None, length: int) -> None:
    """Raise BadValue unless `position` can be the place of a prompt of `length` vectors."""
    if isinstance(position, tuple) and len(position) != length:
        raise BadValue(
            f"position has {len(position)} places for {length} vectors. Give each vector its place."
        )
    if isinstance(position, int) and position < 0:
        raise BadValue(
            f"position={position}: a number of words is at least 0. To count from the end, give "
            "each vector its place in a tuple."
        )


def prompt_of(model: nn.Module, name: str) -> SoftPrompt:
    """The prompt that is attached as `name`."""
    (prompt,) = (delta for *_, delta in planted(model, name) if isinstance(delta, SoftPrompt))
    return prompt
