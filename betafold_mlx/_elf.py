"""Where a loaded shared library keeps the addresses of the functions that it calls in others (Linux, 64 bits).

A library calls a function of another one through a slot in its memory: the dynamic linker looks the name up and writes
the address there. Whoever writes another address lets all later calls go there. The slots are listed in the library's
relocations (System V ABI, chapter 5, "Dynamic Linking").
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Iterator

_STRTAB, _SYMTAB, _RELA, _RELASZ, _PLTRELSZ, _JMPREL = 5, 6, 7, 8, 2, 23  # DT_* of <elf.h>
_LINKMAP = 2  # RTLD_DI_LINKMAP of <dlfcn.h>
_SYMBOL_BYTES = 24  # of an Elf64_Sym, which begins with the offset of its name


class _LinkMap(ctypes.Structure):
    """The beginning of ``struct link_map`` of <link.h>."""

    _fields_ = (("base", ctypes.c_size_t), ("name", ctypes.c_char_p), ("dynamic", ctypes.c_size_t))


def imported_functions(library: ctypes.CDLL) -> Iterator[tuple[str, int]]:
    """Yield the names that a loaded library looks up, in itself or in others, and the addresses of their slots.

    Parameters
    ----------
    library : ctypes.CDLL
        A library of this process.

    Yields
    ------
    name : str
        A name may come several times.
    slot : int
        Address of the eight bytes that hold the function's address.
    """
    pointer = ctypes.POINTER(_LinkMap)()
    if ctypes.CDLL(None).dlinfo(ctypes.c_void_p(library._handle), _LINKMAP, ctypes.byref(pointer)):
        return
    base, table = pointer.contents.base, _dynamic_section(pointer.contents.dynamic)
    for start, size in ((_JMPREL, _PLTRELSZ), (_RELA, _RELASZ)):
        relocations = ctypes.string_at(table[start], table[size]) if start in table else b""
        for offset, info, _ in struct.iter_unpack("=QQq", relocations):
            symbol = info >> 32
            if symbol:  # else an address in the library itself
                name = ctypes.c_uint32.from_address(table[_SYMTAB] + symbol * _SYMBOL_BYTES).value
                yield ctypes.string_at(table[_STRTAB] + name).decode(), base + offset


def _dynamic_section(address: int) -> dict[int, int]:
    """Return the values of a dynamic section by their tags; glibc has made its offsets addresses."""
    table = {}
    while tag := ctypes.c_size_t.from_address(address).value:
        table[tag] = ctypes.c_size_t.from_address(address + 8).value
        address += 16
    return table


def write_slot(slot: int, function: int) -> bool:
    """Let calls through a slot go to a function; return whether the system allows to write there."""
    page = slot - slot % mmap.PAGESIZE
    access = mmap.PROT_READ | mmap.PROT_WRITE
    if ctypes.CDLL(None).mprotect(ctypes.c_void_p(page), ctypes.c_size_t(mmap.PAGESIZE), access):
        return False
    ctypes.c_size_t.from_address(slot).value = function
    return True
