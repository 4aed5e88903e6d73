"""Values <-> files: atomic, versioned, never half-written, never unpickled.

A JSON artifact is one object `{"kind": ..., "version": ..., "value": ...}`. Reading checks all three, and a file that
does not fit gets an `InputError` with the file and the field.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from nas.core.errors import InputError, invalid
from nas.core.json_field import exact_field

Value = TypeVar("Value")


class _Envelope(msgspec.Struct):
    kind: str
    version: int
    value: msgspec.Raw


def write_bytes(path: Path, data: bytes) -> None:
    """Write the whole file or nothing: a reader, or a crash, sees the old file or the new one."""
    write_with(path, lambda temporary: temporary.write_bytes(data))


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Where the system refuses inside what writing `path` takes, that is the user's to mend: an `InputError` with its reason."""
    try:
        yield
    except OSError as error:
        raise InputError(path, "", "a place where a file can be written", error.strerror or str(error)) from error


def write_with(path: Path, writer: Callable[[Path], Any]) -> None:
    """Like `write_bytes` for a library that writes files itself: `writer` gets the temporary path."""
    with writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            writer(temporary)
            temporary.chmod(0o644)  # mkstemp's files are the owner's alone, and so are some libraries'
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object, kind: str, version: int) -> None:
    """Write `value` (structs, dataclasses, plain data) as the artifact `kind` of schema `version`."""
    envelope = {"kind": kind, "version": version, "value": value}
    write_bytes(path, msgspec.json.format(msgspec.json.encode(envelope), indent=1) + b"\n")


def read_json(path: Path, value_type: type[Value], kind: str, version: int) -> Value:
    """Read an artifact back; anything that does not fit is an `InputError` naming the file and the field."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(path, "", f"a readable {kind} file", error.strerror or str(error)) from error
    return decode_json(data, value_type, kind, version, path)


def decode_json(data: bytes, value_type: type[Value], kind: str, version: int, where: object) -> Value:
    """`read_json` for bytes that are already here; `where` names their origin in errors."""
    try:
        envelope = msgspec.json.decode(data, type=_Envelope)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InputError(where, "", f"a {kind} file", str(error)) from error
    if envelope.kind != kind:
        raise InputError(where, "kind", repr(kind), repr(envelope.kind))
    if envelope.version != version:
        raise InputError(where, "version", str(version), envelope.version, "written by another version of Coevo")
    try:
        return msgspec.json.decode(envelope.value, type=value_type)
    except msgspec.ValidationError as error:
        raise invalid(where, error, exact_field(envelope.value, value_type)) from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise invalid(where, error) from error
