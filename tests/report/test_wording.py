import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldmark.images.names import duration
from fieldmark.report.wording import NAME_LENGTH, sentence, shorten, visible


def test_visible_leaves_writing_and_emoji_alone():
    for name in ("naïve", "שלום", "日本語", "👩\u200d🌾", "🏴\U000e0067\U000e0062\U000e007f", "a b", "1 %"):
        assert visible(name) == name
    assert visible("\ud800") == "\\ud800"


@given(st.text())
def test_visible_text_hides_nothing(text):
    shown = visible(text)
    assert len(shown) >= len(text)
    assert visible(shown) == shown
    assert "\n" not in shown


@given(st.text(max_size=300))
def test_names_are_cut_in_the_middle(name):
    short = shorten(name)
    assert short == name if len(name) <= NAME_LENGTH else len(short) == NAME_LENGTH
    assert short[:60] == name[:60]
    assert short[-59:] == name[-59:]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 0 s"),
        (60, "1 min 0 s"),
        (119.7, "2 min 0 s"),
        (3599.6, "1 h 0 min"),
        (7170, "2 h 0 min"),
    ],
)
def test_duration_carries_over(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a class is missing", "A class is missing."),
        ("Done.", "Done."),
        ("Is it?", "Is it?"),
        ("84.0 % of 5", "84.0\N{NO-BREAK SPACE}% of 5."),
    ],
)
def test_sentences_begin_large_and_end(text, shown):
    assert sentence(text) == shown
