"""Where tests put their tensors: the GPU where there is one, so that kernels run compiled; else the CPU."""

import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
