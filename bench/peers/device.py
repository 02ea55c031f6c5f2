"""What the peers that may work on a GPU share: the device, inputs made there, waiting, peak memory. The numbers are those
of bench/ours/device.cpp: one library, one generator, one seed."""
import torch


def normal(device: str, seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator(device).manual_seed(seed), device=device)


def below(device: str, seed: int, high: int, *shape: int) -> torch.Tensor:
    return torch.randint(high, shape, generator=torch.Generator(device).manual_seed(seed), device=device)


def wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def watch_memory(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_mib(device: str) -> float:
    return torch.cuda.max_memory_allocated() / 2**20 if device.startswith("cuda") else 0.0
