"""How much memory training took."""

import psutil
import torch


class PeakMemory:
    """The peak since it was made, in bytes.

    On a GPU: the most that tensors took at once, the model included; exact. Elsewhere: by how
    much the process grew, looked at in each step after the forward pass, when activations take
    most. It is coarser: what an earlier run left with the allocator is used again and not seen.
    """

    def __init__(self, device: torch.device):
        self._cuda = device if device.type == "cuda" else None
        self._process = psutil.Process()
        self._start = self._highest = self._process.memory_info().rss
        if self._cuda:
            torch.cuda.reset_peak_memory_stats(self._cuda)

    def sample(self) -> None:
        """Look now."""
        if not self._cuda:
            self._highest = max(self._highest, self._process.memory_info().rss)

    @property
    def peak(self) -> int:
        """The peak so far."""
        if self._cuda:
            return torch.cuda.max_memory_allocated(self._cuda)
        return self._highest - self._start
