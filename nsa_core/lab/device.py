"""The device a command runs on, by the name its user gives."""

import torch


def device_named(name: str | None) -> torch.device:
    """A torch device by name; None for the GPU if there is one, else the CPU. ValueError for one that is not here."""
    here = torch.cuda.device_count()
    device = torch.device(("cuda" if here else "cpu") if name is None else name)
    if device.type == "cuda" and (device.index or 0) >= here:
        raise ValueError(f"device {name!r} is not here: this machine has {here} CUDA devices; name one or cpu")
    return device
