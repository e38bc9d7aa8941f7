"""Quantities are read exactly or refused with the rule they break."""

from contextlib import suppress
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.model.quantity import (
    BadQuantity,
    parse_bytes,
    parse_milli,
    parse_quantity,
    parse_share,
    show_bytes,
    show_milli,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", 2),
        (2, 2),
        (0, 0),
        (0.1, Fraction(1, 10)),
        ("500m", Fraction(1, 2)),
        ("1.5", Fraction(3, 2)),
        (".5", Fraction(1, 2)),
        ("5.", 5),
        ("4Gi", 4 * 2**30),
        ("0.5Ki", 512),
        ("1k", 1000),
        ("3M", 3_000_000),
        ("1E", 10**18),
        ("1e3", 1000),
        ("1E3", 1000),
        ("2e-3", Fraction(1, 500)),
        ("100n", Fraction(1, 10**7)),
    ],
)
def test_the_notation_of_kubernetes_is_read_exactly(text: object, value: Fraction) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize(
    "text",
    ["", " ", "two", "4 Gi", "4GiB", "4gi", "4GB", "1K", "-1", "+1", "1e", "1e999", "0x10", "1_000", "1,5", "nan",
     "\N{ARABIC-INDIC DIGIT THREE}", "1\n", "9" * 33, "9E" * 2, "10E", "8Ei", 2**63, 10**5000, -1, True, None, [], {},
     float("inf"), float("nan"), b"1"],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_everything_else_is_refused(text: object) -> None:
    with pytest.raises(BadQuantity) as caught:
        parse_quantity(text)
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("text", "hint"),
    [("4GB", '"Gi" counts in 1024s, "G" in 1000s'), ("4gi", '"Gi"'), ("1K", '"Ki" counts in 1024s, "k" in 1000s')],
)
def test_a_likely_slip_of_the_suffix_is_named(text: str, hint: str) -> None:
    with pytest.raises(BadQuantity) as caught:
        parse_quantity(text)
    assert hint in caught.value.next_step


def test_cpus_are_counted_in_thousandths() -> None:
    assert parse_milli("2") == 2000
    assert parse_milli("250m") == 250
    with pytest.raises(BadQuantity, match="finer than a thousandth"):
        parse_milli("0.5m")


def test_bytes_are_whole_and_the_classic_slip_is_explained() -> None:
    assert parse_bytes("1.5Gi") == 3 * 2**29
    with pytest.raises(BadQuantity) as caught:
        parse_bytes("512m")
    assert caught.value.next_step == '"m" means thousandths; "512Mi" are mebibytes'


@pytest.mark.parametrize(
    ("text", "share"),
    [("70%", Fraction(7, 10)), ("100%", 1), ("0.5%", Fraction(1, 200)), (0.7, Fraction(7, 10)), (1, 1)],
)
def test_shares_are_percentages_or_fractions(text: object, share: Fraction) -> None:
    assert parse_share(text) == share


@pytest.mark.parametrize("text", ["0%", "101%", "-1%", "%", "70", "70 %", 70, 0, -0.1, True, None, "9" * 40 + "%"])
def test_other_shares_are_refused(text: object) -> None:
    with pytest.raises(BadQuantity):
        parse_share(text)


@given(st.integers(0, 2**63 - 1))
def test_what_is_shown_reads_back_the_same(amount: int) -> None:
    assert parse_bytes(show_bytes(amount)) == amount
    if amount < 2**53:
        assert parse_milli(show_milli(amount)) == amount


@given(st.text(max_size=40) | st.integers() | st.floats())
def test_no_text_raises_anything_but_a_bad_quantity(text: object) -> None:
    for parse in (parse_quantity, parse_milli, parse_bytes, parse_share):
        with suppress(BadQuantity):
            assert parse(text) >= 0
