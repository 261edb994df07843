"""What a shared library says of itself in its headers: ELF (Linux), Mach-O (macOS), PE (Windows), of 64 bits each."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Binary(NamedTuple):
    processor: str
    exports: set[str]
    imports: set[str]
    libraries: set[str]
    system: tuple[int, ...]
    """The oldest glibc or macOS that it runs on, (2, 17); () where nothing tells."""


def read(path: Path) -> Binary:
    data = path.read_bytes()
    return {b"\x7fEL": _elf, b"\xcf\xfa\xed": _mach_o}.get(data[:3], _pe)(data)


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode()


def _elf(data: bytes) -> Binary:
    processor, begin, n = (struct.unpack_from(kind, data, at)[0] for kind, at in (("<H", 18), ("<Q", 40), ("<H", 60)))
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, begin + 64 * i) for i in range(n)]

    def section(kind: int) -> tuple[range, int]:
        """Where the entries of the first section of a kind lie, and its strings."""
        for _, found, _, _, at, size, strings, _, _, each in sections:
            if found == kind:
                return range(at, at + size, each or size), sections[strings][4]
        return range(0), 0

    exports, imports, libraries, versions = set(), set(), set(), [()]
    entries, strings = section(11)  # .dynsym
    for at in entries:
        name, kind, visibility, where = struct.unpack_from("<IBBH", data, at)
        if kind >> 4 and visibility & 3 == 0:
            (exports if where else imports).add(_text(data, strings + name))
    entries, strings = section(6)  # .dynamic
    for at in entries:
        tag, value = struct.unpack_from("<QQ", data, at)
        if tag == 1:
            libraries.add(_text(data, strings + value))
    entries, strings = section(0x6FFFFFFE)  # .gnu.version_r
    names = " ".join(_versions(data, entries.start, strings) if entries else ())
    versions += [tuple(map(int, found.split("."))) for found in re.findall(r"\bGLIBC_([\d.]+)", names)]
    return Binary({62: "x86-64", 183: "arm64"}[processor], exports, imports, libraries, max(versions))


def _versions(data: bytes, at: int, strings: int) -> Iterator[str]:
    further = 1
    while further:
        _, n, _, first, further = struct.unpack_from("<HHIII", data, at)
        of_library = at + first
        for _ in range(n):
            name, step = struct.unpack_from("<II", data, of_library + 8)
            yield _text(data, strings + name)
            of_library += step
        at += further


def _mach_o(data: bytes) -> Binary:
    processor, n = struct.unpack_from("<I", data, 4)[0], struct.unpack_from("<I", data, 16)[0]
    exports, imports, libraries, system, at = set(), set(), set(), (), 32
    for _ in range(n):
        command, size = struct.unpack_from("<II", data, at)
        if command == 0x32:  # LC_BUILD_VERSION; platform 1 is macOS
            platform, oldest = struct.unpack_from("<II", data, at + 8)
            assert platform == 1
            system = (oldest >> 16, oldest >> 8 & 255)
        elif command == 0x24:  # LC_VERSION_MIN_MACOSX
            oldest = struct.unpack_from("<I", data, at + 8)[0]
            system = (oldest >> 16, oldest >> 8 & 255)
        elif command == 0xC:  # LC_LOAD_DYLIB
            libraries.add(_text(data, at + struct.unpack_from("<I", data, at + 8)[0]))
        elif command == 2:  # LC_SYMTAB
            symbols, many, strings, _ = struct.unpack_from("<IIII", data, at + 8)
            for i in range(many):
                name, kind = struct.unpack_from("<IB", data, symbols + 16 * i)
                if kind & 0xE0 == 0 and kind & 1 and not kind & 0x10:  # external, not private
                    (exports if kind & 0xE else imports).add(_text(data, strings + name).removeprefix("_"))
        at += size
    return Binary({0x1000007: "x86-64", 0x100000C: "arm64"}[processor], exports, imports, libraries, system)


def _pe(data: bytes) -> Binary:
    assert data[:2] == b"MZ", "neither ELF, nor Mach-O, nor PE"
    head = struct.unpack_from("<I", data, 0x3C)[0]
    assert data[head : head + 4] == b"PE\0\0"
    processor, n, optional = (struct.unpack_from("<H", data, head + at)[0] for at in (4, 6, 20))
    sections = [struct.unpack_from("<IIII", data, head + 24 + optional + 40 * i + 8) for i in range(n)]

    def place(address: int) -> int:
        return next(at + address - begin for size, begin, _, at in sections if begin <= address < begin + size)

    def number(address: int, kind: str = "<I") -> int:
        return struct.unpack_from(kind, data, place(address))[0]

    exported, _, imported, _ = struct.unpack_from("<IIII", data, head + 24 + 112)
    names = number(exported + 32)
    exports = {_text(data, place(number(names + 4 * i))) for i in range(number(exported + 24))}
    imports, libraries = set(), set()
    while number(imported + 12):
        libraries.add(_text(data, place(number(imported + 12))))
        entry = number(imported)
        while named := number(entry, "<Q"):
            imports.add(_text(data, place(named + 2)))
            entry += 8
        imported += 20
    return Binary({0x8664: "x86-64", 0xAA64: "arm64"}[processor], exports, imports, libraries, ())
