"""LoRA while it trains: matrices fill, singular values rise, sentences turn from wrong to right."""

from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets

from ...core.errors import BadValue
from ...facts import FAMILIES
from ..plots import GREY, canvas, style
from .data import load_recording
from .figure import InteractiveFigure, unpacked

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class TrainingScrubber(InteractiveFigure, script="training_scrubber.js"):
    """Play recorded trainings of LoRA, or go through them by hand.

    Args:
        recording: from `record`; None: the book's own.
        run: number of the run, which differ in their learning rate.
        site: number of the matrix to look into.
        frame: number of the frame to begin with; 0 is the start, -1 the last.

    Raises:
        BadValue: there is no such run, matrix or frame.
    """

    run = traitlets.Int().tag(sync=True)
    site = traitlets.Int().tag(sync=True)
    frame = traitlets.Int().tag(sync=True)

    def __init__(
        self, recording: dict[str, Any] | None = None, run: int = 0, site: int = 0, frame: int = 0
    ):
        self.recording = load_recording() if recording is None else recording
        frames = len(self.recording["steps"])
        for name, number, many in (
            ("run", run, len(self.recording["runs"])),
            ("site", site, len(self.recording["sites"])),
            ("frame", frame + frames * (frame < 0), frames),
        ):
            if not 0 <= number < many:
                raise BadValue(f"{name}={number}: there are {many}, counted from 0.")
        super().__init__(
            inline={} if recording is None else {"recording": recording},
            run=run, site=site, frame=frame % frames,
        )  # fmt: skip

    def fetched(self, name: str) -> Any:
        return {"recording": self.recording}[name]

    @property
    def _run(self) -> dict[str, Any]:
        return self.recording["runs"][self.run]

    @property
    def step(self) -> int:
        """Of the training."""
        return self.recording["steps"][self.frame]

    def singular(self) -> np.ndarray:
        """The singular values of s B A at each frame (frames, sites, r)."""
        rank = self.recording["rank"]
        values = unpacked(self._run["singular"])
        return values.reshape(len(values), -1, rank)

    def right(self) -> list[bool]:
        """For each sentence, whether it is right now."""
        return [bool(sure > 0.5) for sure in unpacked(self._run["sure"])[self.frame]]

    def accuracy(self) -> float:
        """On the test texts, now."""
        return self._run["accuracy"][self.frame]

    def table(self) -> list[dict[str, Any]]:
        return [
            {
                "layer": layer,
                "site": kind,
                "size": float(np.linalg.norm(values)),
                "largest": float(values[0]),
                "smallest": float(values[-1]),
            }
            for (layer, kind), values in zip(
                self.recording["sites"], self.singular()[self.frame], strict=True
            )
        ]

    def figure(self) -> "Figure":
        """Accuracy over the steps, and the singular values of the chosen matrix."""
        green = FAMILIES["low_rank"].colour
        steps, values = self.recording["steps"], self.singular()[:, self.site]
        layer, kind = self.recording["sites"][self.site]
        with style():
            figure, (left, right) = canvas(7.2, 3, columns=2)
            left.plot(steps, [100 * score for score in self._run["accuracy"]], color=green)
            left.set_ylabel("accuracy on the test texts, %")
            left.set_ylim(40, 100)
            right.plot(steps, values, color="#b3480b", linewidth=1)
            right.set_ylabel(f"singular values, {kind} of layer {layer}")
            for axes in (left, right):
                axes.grid(True)
                axes.axvline(self.step, color=GREY, linestyle="--", linewidth=1)
                axes.set_xlabel("step")
            figure.suptitle(f"LoRA at a learning rate of {self._run['lr']:g}", color=GREY)
        return figure

    def describe(self) -> str:
        return (
            f"{self.recording['base']['name']}, {len(self.recording['runs'])} runs, "
            f"rate {self._run['lr']:g}, step {self.step}"
        )
