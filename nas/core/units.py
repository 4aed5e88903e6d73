"""Amounts to words. Units are in every name (`_bytes _cycles _s _pj _bits`); this file is how people read them."""

import math

_SI = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"), (1e-12, "p"))


def bits_to_bytes(bits: int) -> int:
    """The whole bytes that hold `bits` bits."""
    return -(-bits // 8)


def ceil_div(value: int, divisor: int) -> int:
    """value / divisor, rounded up; both are integers and divisor > 0."""
    return -(-value // divisor)


def si(value: float, unit: str = "") -> str:
    """Three significant digits with an SI prefix: 0.00123 and "s" is "1.23 ms"."""
    if value == 0:
        return f"0 {unit}".rstrip()
    rounded = abs(float(f"{value:.3g}"))  # 999.7 is a thousand
    for scale, prefix in _SI:
        if rounded >= scale:
            return f"{value / scale:.3g} {prefix}{unit}".rstrip()
    return f"{value:.3g} {unit}".rstrip()


def binary(size_bytes: float) -> str:
    """A number of bytes with a binary prefix: 524288 is "512 KiB"."""
    for scale, prefix in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size_bytes >= scale:
            return f"{size_bytes / scale:.4g} {prefix}"
    return f"{size_bytes:.0f} B"


def amount(value: float, unit: str) -> str:
    """An amount of any unit, short: bytes with a binary prefix, seconds with an SI one, all else in whole numbers where it is one."""
    if unit == "bytes":
        return binary(value)
    if unit == "s":
        return si(value, unit)
    return f"{value:,.0f} {unit}" if value == int(value) else f"{value:g} {unit}"


def rounded_up(value: float) -> float:
    """`value` > 0 with two significant digits, none less than before: 0.0004163 is 0.00042."""
    digits = 1 - math.floor(math.log10(value))
    rounded: float = round(math.ceil(round(value * 10**digits, 6)) / 10**digits, digits)
    return rounded
