"""The protocol of the peers that work on request: see served.py."""
import json
import sys
import time
from typing import Callable


def say(line: dict) -> None:
    print(json.dumps(line), flush=True)


def wait_for_request() -> bool:
    return bool(sys.stdin.readline())


def serve(once: Callable[[], dict]) -> None:
    say({"ready": True})
    while wait_for_request():
        begin = time.perf_counter()
        said = once()
        say(said | {"seconds": time.perf_counter() - begin})
