"""Has every tensor of a checkpoint been used or dropped for a reason, and is it fit to be a weight?"""

import math
import re
from collections.abc import Iterable, Mapping

import torch

from .original_key_rules import MARKERS, DropRule

NAMES_IN_MESSAGE = 3


class OriginalWeights:
    """
    The tensors of one file, each of which has to be used or dropped.

    Args:
        weights (`Mapping[str, torch.Tensor]`): the tensors by their names in the file.
        drop_rules (`Iterable[DropRule]`): which ones are not needed. The first rule that matches counts.
    """

    def __init__(self, weights: Mapping[str, torch.Tensor], drop_rules: Iterable[DropRule] = ()):
        self.weights = weights
        self.dropped: dict[str, list[str]] = {}
        self._unused = dict.fromkeys(weights)
        self._used_memory: set[int] = set()
        for name in weights:
            rule = next((rule for rule in drop_rules if re.fullmatch(rule.pattern, name)), None)
            if rule is not None:
                self.dropped.setdefault(rule.reason, []).append(name)
                del self._unused[name]

    def __contains__(self, name: str) -> bool:
        return name in self.weights

    def check_kind(self, kind: str) -> None:
        """
        Raises:
            ValueError: if the tensors are not those of a checkpoint of `kind`.
        """
        if any(name in self for name in MARKERS[kind]):
            return
        others = [other for other, markers in MARKERS.items() if any(name in self for name in markers)]
        hint = f"; use --kind {others[0]}" if others else ""
        raise ValueError(
            f"The checkpoint has no tensor {MARKERS[kind][0]!r}, so it is not of --kind {kind}{hint}. It begins with "
            f"{_shown(list(self.weights))}."
        )

    def shape(self, name: str, num_axes: int) -> tuple[int, ...]:
        """
        Sizes of a tensor along its `num_axes` axes.

        Raises:
            ValueError: if it is missing, has another number of axes, or is no usable weight.
        """
        shape = tuple(self._usable(name).shape)
        if len(shape) != num_axes or 0 in shape:
            raise ValueError(f"{name!r} has the shape {shape}; {num_axes} axes, none of them empty, are expected.")
        return shape

    def count(self, pattern: str) -> int:
        """How many different texts the first group of `pattern` matches at the beginning of the names."""
        return len({match[1] for name in self.weights if (match := re.match(pattern, name))})

    def take(self, name: str) -> torch.Tensor:
        """
        A tensor in float32, which counts as used from then on. If possible it is the tensor of the file itself, which
        may still be on the disk.

        Raises:
            ValueError: if it is missing, or is no usable weight.
        """
        tensor = self._usable(name).detach()
        if not tensor.is_floating_point():
            raise ValueError(f"{name!r} holds {tensor.dtype}; weights are floating-point numbers.")
        storage = tensor.untyped_storage()
        owns_memory = storage.nbytes() == tensor.nbytes and storage.data_ptr() not in self._used_memory
        self._used_memory.add(storage.data_ptr())
        self._unused.pop(name, None)
        # Weights that share memory would be saved as one.
        weight = tensor.to(torch.float32, memory_format=torch.contiguous_format, copy=not owns_memory)
        # The sum of finite numbers is finite in float64; unlike `isfinite(weight)` it needs no memory.
        if not math.isfinite(weight.sum(dtype=torch.float64)):
            raise ValueError(f"{name!r} holds NaN or infinite values; the training that wrote it had failed.")
        return weight

    def check_all_used(self) -> None:
        """
        Raises:
            ValueError: if a tensor was neither used nor dropped.
        """
        if self._unused:
            raise ValueError(
                f"The checkpoint holds tensors that no rule knows, {len(self._unused)} in all: "
                f"{_shown(list(self._unused))}. It is of another model, or of another version of it."
            )

    def _usable(self, name: str) -> torch.Tensor:
        """A tensor that is dense, lies in memory, and has as many numbers as it has places."""
        if name not in self:
            raise ValueError(f"The checkpoint has no tensor {name!r}; it is of another model, or incomplete.")
        tensor = self.weights[name]
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise ValueError(f"{name!r} is sparse, quantized or without values; only plain weights can be converted.")
        if tensor.nbytes > tensor.untyped_storage().nbytes():
            raise ValueError(f"{name!r} has the shape {tuple(tensor.shape)}, but the file holds fewer numbers.")
        return tensor


def _shown(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names[:NAMES_IN_MESSAGE]) + (
        ", ..." if len(names) > NAMES_IN_MESSAGE else ""
    )
