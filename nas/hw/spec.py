"""A processor as data: engines, memories, energies. One to eight equal inference-only cores beside a small host.

Units are in the names. Matrix, vector, two DMA engines and sram are those of one core, and so is the static power; the
dram with its bandwidth is shared by the DMA engines of all cores, and the host is one. Rates that a person knows in seconds (clock, bandwidth, latency) are kept
in seconds, and `nas.timing` turns them into cycles.
"""

import math

import msgspec

MOST_CORES = 8


class Dram(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Off-chip memory, shared by the two DMA engines of every core."""

    size_bytes: int
    bandwidth_bytes_per_s: float
    latency_s: float


class Sram(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """On-chip memory of a core: `banks` equal banks, each with one port of `port_bytes` a cycle.

    The banks are shared out to `pages`, equal and contiguous ranges of addresses. Within a page words are interleaved over
    its banks, so that whoever touches a page has the ports of all its banks, and shares them with all others who touch it.
    """

    size_bytes: int
    banks: int
    port_bytes: int
    pages: int = 1

    @property
    def page_count(self) -> int:
        """The pages of whole banks that there are: `pages`, or fewer where the banks can't be shared out to so many."""
        return math.gcd(self.pages, self.banks)

    @property
    def page_port_bytes(self) -> int:
        """The bytes that the ports of one page move a cycle."""
        return self.banks // self.page_count * self.port_bytes


class Matrix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A systolic array of rows x columns multiply-add cells.

    cell_bits: operands up to this width take one pass; wider ones take ceil(bits / cell_bits) passes per operand.
    bit_serial: a cell also gains from narrower operands: passes scale with weight_bits * activation_bits / cell_bits^2.
    """

    rows: int
    columns: int
    cell_bits: int = 8
    bit_serial: bool = False


class Vector(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lanes that each do one element (up to 32 bits) or one multiply-add a cycle."""

    lanes: int


class Host(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The general processor beside the accelerator, for operators that no engine knows."""

    operations_per_s: float
    call_s: float


class Energies(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Energy by event, in pJ; `source` says where the numbers are from."""

    source: str
    mac_pj: float
    vector_pj: float
    host_pj: float
    sram_byte_pj: float
    dram_byte_pj: float
    static_w: float


class Processor(msgspec.Struct, frozen=True, cache_hash=True, forbid_unknown_fields=True):
    """All that the compiler and the simulators know of the hardware.

    issue_cycles: between the start of a command and its first useful cycle, on any engine. cores: at most `MOST_CORES`.
    """

    name: str
    clock_hz: float
    issue_cycles: int
    dram: Dram
    sram: Sram
    matrix: Matrix
    vector: Vector
    host: Host
    energies: Energies
    cores: int = 1

    def memory_bytes(self) -> dict[str, int]:
        """The size of each memory by its name; those of the cores as `nas.ir.cores` names them."""
        srams = {f"sram{core or ''}": self.sram.size_bytes for core in range(self.cores)}
        return {"dram": self.dram.size_bytes, **srams}
