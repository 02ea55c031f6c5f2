"""What the device does at most, by torch: products of matrices in bf16 and fp32, and copies in its memory."""
import json
import sys

import torch
from device import wait
from serve import serve


def main(options: dict) -> None:
    device, size, bytes_ = options["device"], options["size"], options["bytes"]
    products = {}
    for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        a = torch.randn(size, size, device=device).to(dtype)
        products[name] = (a, a.clone(), torch.empty_like(a))
    source = torch.zeros(bytes_, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)

    def product(name: str):
        a, b, out = products[name]
        return lambda: torch.mm(a, b, out=out)

    def seconds(work) -> float:
        """The fastest of seven, after three."""
        times = []
        for i in range(10):
            if device.startswith("cuda"):
                begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                begin.record()
                work()
                end.record()
                end.synchronize()
                times.append(begin.elapsed_time(end) / 1e3)
            else:
                import time
                start = time.perf_counter()
                work()
                times.append(time.perf_counter() - start)
        return min(times[3:])

    def once() -> dict:
        said = {f"{name}_flops": 2 * size**3 / seconds(product(name)) for name in products}
        said["read_bytes"] = 2 * bytes_ / seconds(lambda: target.copy_(source))  # read and written
        wait(device)
        return said

    serve(once)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
