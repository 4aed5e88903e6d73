"""Amounts as people read them, and what is said of something that does not fit."""

import pytest

from nas.core.errors import Violation
from nas.core.units import amount, rounded_up


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.66413e6, "bytes", "1.587 MiB"),
        (2.81635e-4, "s", "282 us"),
        (9.996e-4, "s", "1 ms"),
        (9.994e-4, "s", "999 us"),
        (999.7, "s", "1 ks"),
        (1664130, "weights", "1,664,130 weights"),
        (0.5, "share", "0.5 share"),
    ],
)
def test_an_amount_has_the_prefix_of_its_unit(value, unit, text):
    assert amount(value, unit) == text


def test_what_does_not_fit_is_told_in_units_that_differ():
    assert "needs 1.587 MiB, has 976.6 KiB" in str(Violation("sram_bytes", "net", 1.66413e6, 1e6, "bytes"))
    assert "needs 524,300 bytes, has 524,288 bytes" in str(Violation("sram_bytes", "net", 524300, 524288, "bytes"))


@pytest.mark.parametrize(
    ("value", "rounded"), [(4.163e-4, 4.2e-4), (5e-5, 5e-5), (5.01e-5, 5.1e-5), (1234, 1300), (9.96, 10)]
)
def test_rounding_up_keeps_two_digits(value, rounded):
    assert rounded_up(value) == pytest.approx(rounded, rel=1e-12)
    assert rounded_up(value) >= value
