"""What is freed inside the block stays with the process, and goes back after; counted in page faults, which no clock sees."""

import json
import subprocess
import sys

import pytest
import torch

from nas.train.machine.kept_memory import kept_memory

# In a process of its own, whose heap nobody has filled with holes.
COUNT = """
import json, pathlib, resource, torch
from nas.train.machine.kept_memory import kept_memory

BLOCK, BLOCKS = 64 << 20, 8

def work():
    blocks = [torch.zeros(BLOCK, dtype=torch.uint8) for _ in range(BLOCKS)]

def faulted():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt * resource.getpagesize() / (BLOCK * BLOCKS)

def resident():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / (BLOCK * BLOCKS)

before = resident()
with kept_memory():
    for _ in range(4):  # until the heap is as large as it needs to be
        work()
    faults = faulted()
    work()
    faults, kept = faulted() - faults, resident() - before
print(json.dumps([faults, kept, resident() - before]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of the C library of Linux")
def test_the_same_pages_are_used_again_inside_the_block_and_go_back_after():
    counted = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True)
    faults, kept, left = json.loads(counted.stdout)  # of the bytes of the work
    assert faults < 0.3
    assert kept > 0.9
    assert left < 0.1


def test_a_system_without_the_c_library_goes_on_as_it_is(monkeypatch):
    monkeypatch.setattr(sys, "platform", "elsewhere")
    with kept_memory():
        assert torch.zeros(3).sum() == 0
