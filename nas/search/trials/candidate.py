"""One point of the search as a value: which network, on which hardware. Its key is its identity.

Two candidates with the same content have the same key, wherever and whenever they were made, so "never evaluate the same
thing twice" is a comparison of keys.
"""

import hashlib
import json
from typing import Any

import msgspec


class Candidate(msgspec.Struct, frozen=True):
    """network: the plain JSON description that a builder understands, such as `{"model": "searchable", ...}`;
    hardware: the fields of the processor that differ from the configured one, empty for none.
    """

    network: dict[str, Any]
    hardware: dict[str, Any] = {}

    @property
    def key(self) -> str:
        """16 hexadecimal digits of the SHA-256 of the canonical JSON: 10 million candidates collide with odds of 1:370,000."""
        text = json.dumps({"network": self.network, "hardware": self.hardware}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]
