"""Cache limit: which shards of the cache go when it is larger than it may be."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterable
from pathlib import Path

DEFAULT_LIMIT_BYTES = 20 * 10**9
# What has no manifest after this time was left by a process that was killed.
LEFT_OVER_SECONDS = 24 * 3600


def limit_cache(folder: Path, limit_bytes: int, *, keep: frozenset[str] = frozenset()) -> list[str]:
    """Remove the least recently used shards below `folder` until it holds at most `limit_bytes`; return their ids.

    Shards whose id is in `keep` (those of the running training) stay, also above the limit; a process that holds a
    removed shard goes on reading it. What a killed process left unfinished is removed after a day.
    """
    files = {path: status for path in folder.rglob("*") if (status := _status(path)) and stat.S_ISREG(status.st_mode)}
    _remove(path for path in files if _is_left_over(path, files[path].st_mtime))
    total = sum(status.st_size for path, status in files.items() if path.exists())
    shards = [path for path in files if path.suffix == ".json" and path.with_suffix(".rows") in files]
    removed = []
    for path in sorted(shards, key=lambda path: files[path].st_mtime):
        if total <= limit_bytes:
            break
        if path.stem in keep:
            continue
        # The manifest goes first: rows without one never existed.
        both = (path, path.with_suffix(".rows"))
        _remove(both)
        removed.append(path.stem)
        total -= sum(files[file].st_size for file in both)
    return removed


def _status(path: Path) -> os.stat_result | None:
    # Another process may remove files at the same time.
    try:
        return path.stat()
    except OSError:
        return None


def _is_left_over(path: Path, changed: float) -> bool:
    unfinished = path.suffix == ".tmp" or (path.suffix == ".rows" and not path.with_suffix(".json").exists())
    return unfinished and time.time() - changed > LEFT_OVER_SECONDS


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()
