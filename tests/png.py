"""Reads PNG images of eight bits a channel, by the specification: those that the package and `browser` make."""

import struct
import zlib

import numpy as np

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def read_png(data):
    """Return the pixels (rows, columns, channels); those of an indexed image as red, green, blue, alpha."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, place = {}, 8
    while place < len(data):
        (size,) = struct.unpack_from(">I", data, place)
        name, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + size]
        (checksum,) = struct.unpack_from(">I", data, place + 8 + size)
        assert checksum == zlib.crc32(name + body), name
        chunks[name] = chunks.get(name, b"") + body
        place += 12 + size
    assert b"IEND" in chunks
    columns, rows, depth, kind, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert depth == 8 and rest == [0, 0, 0]
    channels = CHANNELS[kind]
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(rows, 1 + columns * channels)
    pixels = np.zeros((rows, columns, channels), dtype=int)
    for row in range(rows):
        line = lines[row, 1:].reshape(columns, channels).astype(int)
        above = pixels[row - 1] if row else np.zeros_like(line)
        pixels[row] = _unfiltered(lines[row, 0], line, above)
    if kind != 3:
        return pixels
    colours = np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(-1, 3)
    alpha = np.full(len(colours), 255)
    given = np.frombuffer(chunks.get(b"tRNS", b""), np.uint8)
    alpha[: len(given)] = given
    return np.concatenate([colours, alpha[:, None]], axis=1)[pixels[..., 0]]


def _unfiltered(kind, line, above):
    assert kind in (0, 2), "the other filters are not read here"
    return line if kind == 0 else (line + above) % 256
