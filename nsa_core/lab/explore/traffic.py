"""What a replay costs, counted while it runs: operations, copies among them, bytes that they read and write."""

from dataclasses import dataclass

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_NO_WORK = ("empty", "new_empty", "empty_like", "empty_strided")  # memory and no values
_OVERWRITE = ("copy_", "fill_", "zero_")  # read nothing of what they write


@dataclass(frozen=True)
class Cost:
    """Of one replay. launches: on a GPU every operation is at least one.

    written, read: bytes, those of intermediate tensors too; None where a kernel moves them unseen.
    """

    launches: int
    copies: int
    written: int | None
    read: int | None


class Traffic(TorchDispatchMode):
    """Counts the tensor operations that run inside of it; views are none."""

    def __init__(self) -> None:
        super().__init__()
        self.launches = self.copies = self.written = self.read = 0

    @property
    def cost(self) -> Cost:
        return Cost(self.launches, self.copies, self.written, self.read)

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result, name = operation(*args, **(kwargs or {})), operation.overloadpacket.__name__
        targets, inputs = _split(operation, args, kwargs or {})
        outputs = targets or _tensors(result)
        if name in _NO_WORK or (not targets and _addresses(outputs) <= _addresses(inputs)):  # a view
            return result
        gathered = name == "index_select"  # reads the rows it returns, not the whole table
        self.launches += 1
        self.copies += "copy_" in name
        self.written += _bytes(outputs)
        self.read += _bytes(inputs[1:] + outputs if gathered else inputs)
        if targets and not any(word in name for word in _OVERWRITE) and "out" not in operation._overloadname:
            self.read += _bytes(targets)
        return result


def _split(operation, args, kwargs) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The tensors an operation writes in place, and the others that it is given."""
    targets, inputs = [], []
    for at, argument in enumerate(operation._schema.arguments):
        value = args[at] if at < len(args) else kwargs.get(argument.name)
        writes = argument.alias_info is not None and argument.alias_info.is_write
        (targets if writes else inputs).extend(_tensors(value))
    return targets, inputs


def _tensors(value: object) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def _addresses(tensors: list[torch.Tensor]) -> set[int]:
    return {tensor.untyped_storage().data_ptr() for tensor in tensors}


def _bytes(tensors: list[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
