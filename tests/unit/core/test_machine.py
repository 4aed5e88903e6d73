"""What figures are labelled with."""

from pathlib import Path

import torch

from nas.core.machine import processor_name, this_machine, usable_cores


def test_the_processor_is_named_as_the_kernel_names_it(tmp_path: Path) -> None:
    listing = tmp_path / "cpuinfo"
    listing.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t: fpu\nmodel name\t: Another\n")
    assert processor_name(listing) == "Some CPU @ 2 GHz"


def test_a_system_without_such_a_listing_still_has_a_name(tmp_path: Path) -> None:
    assert processor_name(tmp_path / "missing")


def test_versions_and_cores_are_this_machines() -> None:
    here = this_machine()
    assert here.packages["torch"] == torch.__version__.partition("+")[0] or here.packages["torch"] == torch.__version__
    assert 1 <= usable_cores() <= here.cores
