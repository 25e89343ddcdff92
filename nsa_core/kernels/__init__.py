"""Triton lives here and nowhere else; its modules are imported when a strategy is bound, never before."""

import importlib.util
import os

import torch


def missing(device: torch.device) -> str | None:
    """Why Triton kernels cannot run on tensors of `device`, and the way out; None when they can."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed; pip install triton (Linux)"
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if device.type == "cuda" and interpreted:
        return "TRITON_INTERPRET=1 interprets CPU tensors only; unset it to compile for the GPU"
    if device.type == "cuda" or (device.type == "cpu" and interpreted):
        return None
    return (
        f"Triton cannot compile for {device.type}; put req_to_token on an NVIDIA GPU, "
        "or set TRITON_INTERPRET=1 before the first kernel is used to interpret it on the CPU"
    )
