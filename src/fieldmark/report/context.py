"""Context: what a panel may look at."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from fieldmark.report.contents import Contents
from fieldmark.report.overlays import Drawn, Layers, Look, no_layers, nothing_drawn
from fieldmark.report.thumbnails import Thumbnail

Data = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Context:
    """The run folder's contents, and pictures of the images it names.

    `overlays` show what the network looks at, `layers` the feature maps of one image after every layer.
    """

    contents: Contents
    thumbnails: Callable[[Sequence[str]], list[Thumbnail | None]]
    overlays: Callable[[Sequence[Look]], Drawn] = nothing_drawn
    layers: Callable[[str], Layers] = no_layers
