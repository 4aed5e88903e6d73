"""The numbers on the bytes of a memory, against a plain list of bytes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from nas.check.marks import Numbers
from nas.ir.tensor import Region


@st.composite
def regions(draw: st.DrawFn) -> Region:
    """Boxes of a few bytes, some with gaps, of which many overlap."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    strides = tuple(draw(st.integers(1, 12)) for _ in shape)
    return Region("sram", draw(st.integers(0, 4)) * draw(st.sampled_from([1, 8, 64])), shape, strides, 8)


def touched(region: Region) -> set[int]:
    places = {region.offset_bytes}
    for size, stride in zip(region.shape, region.strides, strict=True):
        places = {place + index * stride for place in places for index in range(size)}
    return places


@given(st.lists(st.tuples(regions(), st.integers(0, 3), st.booleans()), max_size=30))
@settings(max_examples=200, deadline=None)
def test_numbers_are_those_put_last(steps: list[tuple[Region, int, bool]]) -> None:
    numbers, plain = Numbers(512, 1, 3), [0] * 512
    for region, number, is_put in steps:
        if is_put:
            numbers.put(region, number)
            for place in touched(region):
                plain[place] = number
        assert numbers.of(region) == tuple(sorted({plain[place] for place in touched(region)}))
