"""The search for cycles is off within the block, and as it was behind it, whatever happens."""

import gc

import pytest

from nas.core.garbage import no_search_for_cycles


@pytest.mark.parametrize("is_on", [True, False])
def test_the_search_is_as_it_was(is_on: bool) -> None:
    (gc.enable if is_on else gc.disable)()
    try:
        with pytest.raises(KeyError), no_search_for_cycles():
            with no_search_for_cycles():
                pass
            assert not gc.isenabled()
            raise KeyError
        assert gc.isenabled() == is_on
    finally:
        gc.enable()
