"""Where PyTorch computes, and the memory that is there."""

import torch

from rungwise.config import Device
from rungwise.errors import UserError
from rungwise.util.machine import memory


def choose_device(name: Device) -> str:
    """Where PyTorch trains: auto takes a GPU where it has one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("There is no CUDA device that this torch can use; leave device cuda out.")
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def device_memory(device: str) -> float:
    """Bytes that the device has; that we may have of this machine's where it is the CPU."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[1]
    return memory()
