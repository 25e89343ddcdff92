"""Triton lives here and nowhere else; its modules are imported when a kernel is about to be needed, never before."""

import importlib.util
import os
import re
import sys
from importlib import metadata

import torch

_OLDEST = (3, 3)  # 3.2 compiles `refresh` to a wrong paged-MQA schedule and corrupts memory; 3.3.1 to 3.8 are right


def missing(device: torch.device) -> str | None:
    """Why Triton kernels cannot run on tensors of `device`, and the way out; None when they can."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed; pip install 'triton>=3.3' (Linux)"
    version = _version()
    number = re.match(r"(\d+)\.(\d+)", version)
    if number and tuple(map(int, number.groups())) < _OLDEST:
        return f"Triton {version} is installed, and its kernels go wrong before 3.3; pip install 'triton>=3.3'"
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if device.type == "cuda" and interpreted:
        return "TRITON_INTERPRET=1 interprets CPU tensors only; unset it to compile for the GPU"
    if device.type == "cuda":
        return None
    if device.type == "cpu" and interpreted:
        return _imported_to_compile()
    return (
        f"Triton cannot compile for {device.type}; put req_to_token on an NVIDIA GPU, "
        "or set TRITON_INTERPRET=1 before triton is imported to interpret it on the CPU"
    )


def _version() -> str:
    """Of the installed Triton; empty for one that came under another name."""
    try:
        return metadata.version("triton")
    except metadata.PackageNotFoundError:
        return ""


def _imported_to_compile() -> str | None:
    """Triton decides when it is imported whether its own functions are compiled or interpreted."""
    language = sys.modules.get("triton.language")
    if language is None or type(language.sum).__name__ != "JITFunction":
        return None
    return "TRITON_INTERPRET=1 was set after triton was imported; set it before, or start Python with it"
