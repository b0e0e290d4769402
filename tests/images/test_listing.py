"""Listing: what a person names is yielded, whatever the system says to it."""

from fieldmark.images.listing import list_images


def test_a_name_too_long_is_reported_in_its_place() -> None:
    assert list(list_images(["a" * 4_000])) == ["a" * 4_000]
