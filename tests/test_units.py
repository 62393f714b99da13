"""Amounts are read exactly, written back readably, and refused with what is allowed."""

import contextlib
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.core.values import units

SIZES = st.integers(0, units.AMOUNT_MAX)


@pytest.mark.parametrize(
    ("text", "cpu_millis"),
    [
        ("1", 1000),
        ("0.25", 250),
        (".5", 500),
        ("2.", 2000),
        ("250m", 250),
        (" 250 M ", 250),
        ("0.29", 290),
        ("0.2509", 250),
        ("0.99999999999999999999999999999999999", 999),
    ],
)
def test_cpu_is_cores_or_millicores(text: str, cpu_millis: int) -> None:
    assert units.parse_cpu(text) == cpu_millis


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("512", 512),
        ("1Gb", 10**9),
        ("1g", 10**9),
        ("1 GiB", 2**30),
        ("1gi", 2**30),
        ("100mb", 10**8),
        ("1.5KB", 1500),
        ("0.5KiB", 512),
        ("1.0005kb", 1000),
        ("0", 0),
        ("4T", 4 * 10**12),
        ("1pib", 2**50),
    ],
)
def test_sizes_have_decimal_and_binary_units_in_any_case(text: str, size_bytes: int) -> None:
    assert units.parse_bytes(text) == size_bytes


@pytest.mark.parametrize(
    ("text", "duration_s"),
    [("0", 0), ("301", 301), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("1H 1s", 3601), ("2h", 7200)],
)
def test_durations_are_seconds_or_have_units(text: str, duration_s: int) -> None:
    assert units.parse_duration(text) == duration_s


@pytest.mark.parametrize(
    ("parse", "texts", "allowed"),
    [
        (units.parse_cpu, ["", "1.5m", "0", "0.0001", "-1", "1e3", "1 core", "0x1", "١", "9" * 99], "250m"),
        (units.parse_bytes, ["", "GB", "1.5.5GB", "-1", "1XB", "1bb", "1kbi", "9" * 99], "2GiB"),
        (units.parse_gpus, ["", "-1", "1.5", "two", "٣"], "whole number"),
        (units.parse_duration, ["", "-10", "1.5h", "1h30", "1m1h", "s", "5 minutes", "9" * 99], "1h30m"),
        (units.parse_price, ["", "-1", ".5", "1.", "0.0000001", "1e3", "€1", "9" * 99], "such as 0.05"),
    ],
)
def test_anything_else_is_refused_with_what_is_allowed(
    parse: Callable[[str], int], texts: list[str], allowed: str
) -> None:
    for text in texts:
        with pytest.raises(ValueError, match="is not a") as refusal:
            parse(text)
        assert allowed in str(refusal.value)


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (units.parse_bytes, "9EB"),
        (units.parse_gpus, "99999"),
        (units.parse_duration, "99999999999"),
        (units.parse_cpu, "9" * 30),
    ],
)
def test_amounts_beyond_every_machine_are_refused(parse: Callable[[str], int], text: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        parse(text)


@given(whole=st.integers(0, 10**6), digits=st.text("0123456789", max_size=20), unit=st.sampled_from("kmgt"))
def test_sizes_equal_exact_fractions(whole: int, digits: str, unit: str) -> None:
    for suffix, base in ((unit, 1000), (f"{unit}i", 1024)):
        exact = Fraction(f"{whole}.{digits}0") * base ** ("kmgt".index(unit) + 1)
        if exact <= units.AMOUNT_MAX:
            assert units.parse_bytes(f"{whole}.{digits}{suffix.upper()}B") == int(exact)


@given(SIZES)
def test_a_size_survives_being_written(size_bytes: int) -> None:
    assert units.parse_bytes(units.format_bytes(size_bytes)) == size_bytes


@given(st.integers(1, units.AMOUNT_MAX))
def test_cpu_survives_being_written(cpu_millis: int) -> None:
    assert units.parse_cpu(units.format_cpu(cpu_millis)) == cpu_millis


@given(st.integers(0, units.AMOUNT_MAX))
def test_a_price_survives_being_written(micros: int) -> None:
    assert units.parse_price(units.format_price(micros)) == micros


@given(st.integers(0, units.DURATION_S_MAX))
def test_a_duration_survives_being_written(duration_s: int) -> None:
    assert units.parse_duration(units.format_duration(duration_s)) == duration_s


@pytest.mark.parametrize(
    ("size_bytes", "exact", "about"),
    [
        (0, "0B", "0 B"),
        (10**9, "1GB", "1 GB"),
        (2**30, "1GiB", "1.07 GB"),
        (1_500_000, "1.5MB", "1.5 MB"),
        (1_234_567, "1234567B", "1.23 MB"),
        (999_999, "999999B", "1 MB"),
    ],
)
def test_sizes_are_written_for_people(size_bytes: int, exact: str, about: str) -> None:
    assert (units.format_bytes(size_bytes), units.about_bytes(size_bytes)) == (exact, about)


@given(st.text(max_size=60))
def test_any_text_is_an_amount_or_a_value_error(text: str) -> None:
    readers = (units.parse_cpu, units.parse_bytes, units.parse_gpus, units.parse_duration, units.parse_price)
    for parse in readers:
        with contextlib.suppress(ValueError):
            assert parse(text) >= 0
