"""Stand-in until the guard's own."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    file_bytes: int = 50_000_000
    files: int = 100
    pixels: int = 50_000_000
    queue: int = 256
    request_seconds: float = 30.0
    decode_seconds: float = 10.0
    decode_memory_bytes: int = 2**31
    budget_bytes: int = 128_000_000
