"""Colour profiles: pixels that an ICC profile describes, turned into sRGB (ICC.1:2022).

Phones save Display P3, cameras Adobe RGB, scanners and printers CMYK. Without the conversion one and the same
colour reaches the network as different numbers.
"""

from __future__ import annotations

import functools
import io

from PIL import Image, ImageCms

from fieldmark.images.containers import MAX_PROFILE_BYTES
from fieldmark.preprocessing import eight_bit

# the colour space a profile speaks of -> the mode whose values it explains
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}


def to_srgb(image: Image.Image, profile: bytes, *, enough: tuple[int, int] | None = None) -> Image.Image:
    """Convert `image` from `profile` to sRGB; alpha stays as it is.

    Converting takes 40 ns a pixel, more than decoding: with `enough` (width, height), pixels are averaged in
    blocks before it, so far as that many remain.

    The image comes back unchanged if there is no profile, if it is sRGB already, or if it is broken or speaks
    of another colour space than the image has.
    """
    if not profile or len(profile) > MAX_PROFILE_BYTES or image.mode in ("I", "F"):
        return image
    try:
        found = _transform(profile)
        if found is None:
            return image
        mode, transform = found
        colors, alpha = _separated(image)
        if colors.mode != mode:
            return image
        if enough is not None and alpha is None:
            block = min(image.width // enough[0], image.height // enough[1])
            smaller = (image.width // max(1, block), image.height // max(1, block))
            colors = colors.resize(smaller, Image.Resampling.BOX) if block > 1 else colors
        converted = transform.apply(colors)
    except (OSError, ValueError, TypeError, ImageCms.PyCMSError):
        return image
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


def _separated(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The colours as L, RGB or CMYK, and the alpha channel if there is transparency."""
    image = eight_bit(image)
    gray = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        image = image.convert("LA" if gray else "RGBA")
        return image.convert("L" if gray else "RGB"), image.getchannel("A")
    if image.mode == "CMYK":
        return image, None
    return image.convert("L" if gray else "RGB"), None


# A folder usually has one or two profiles; building a transform takes 2-10 ms, as long as a photograph
@functools.lru_cache(maxsize=16)
def _transform(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform] | None:
    """The mode that the profile explains, and the way to sRGB; None if it is sRGB or explains none."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    description = source.profile.profile_description or ""
    mode = _MODES.get(source.profile.xcolor_space.strip())
    if mode is None or (mode == "RGB" and "srgb" in description.lower()):
        return None
    # Without its one-pixel cache, threads may share a transform (Little CMS manual, "Multithreading")
    flags = ImageCms.Flags.NOCACHE
    target = ImageCms.createProfile("sRGB")
    return mode, ImageCms.ImageCmsTransform(source, ImageCms.ImageCmsProfile(target), mode, "RGB", flags=flags)
