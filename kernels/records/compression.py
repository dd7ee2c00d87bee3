"""The compressed records of a batch as they were, with a bound on what may come out."""

import pyarrow as pa

RECORDS_MAX_BYTES = 1 << 28  # of one batch; what is larger is a bomb, not telemetry
_CHUNK_BYTES = 1 << 20
_STREAMED = {1: "gzip", 3: "lz4", 4: "zstd"}
_SNAPPY = 2
_XERIAL = b"\x82SNAPPY\0"  # how Java frames snappy: 16 bytes, then blocks with their sizes
_XERIAL_BYTES = 16


def decompress(codec: int, block: memoryview) -> bytes:
    """The records of a batch with this codec. Raises ValueError that says what is wrong."""
    try:
        if codec == _SNAPPY:
            return b"".join(_snappy(block))
        if codec not in _STREAMED:
            raise ValueError(f"compression {codec} is not known")
        return _streamed(_STREAMED[codec], block)
    except (OSError, pa.ArrowException, IndexError) as error:
        raise ValueError(f"its compressed records cannot be read: {error}") from None


def _streamed(name: str, block: memoryview) -> bytes:
    parts, size = [], 0
    with pa.CompressedInputStream(pa.BufferReader(pa.py_buffer(block)), name) as stream:
        while part := stream.read(_CHUNK_BYTES):
            size = _bounded(size + len(part))
            parts.append(part)
    return b"".join(parts)


def _snappy(block: memoryview) -> list[bytes]:
    if bytes(block[: len(_XERIAL)]) != _XERIAL:
        return [_snappy_block(block, 0)]
    parts, at, size = [], _XERIAL_BYTES, 0
    while at < len(block):
        end = at + 4 + int.from_bytes(block[at : at + 4], "big")
        parts.append(_snappy_block(block[at + 4 : end], size))
        size += len(parts[-1])
        at = end
    return parts


def _snappy_block(block: memoryview, before: int) -> bytes:
    """One raw block: its size when decompressed stands first, 7 bits a byte."""
    size = 0
    for place in range(5):
        size |= (block[place] & 127) << 7 * place
        if block[place] < 128:
            break
    _bounded(before + size)
    return bytes(pa.decompress(block, decompressed_size=size, codec="snappy", asbytes=True))


def _bounded(size: int) -> int:
    if size > RECORDS_MAX_BYTES:
        raise ValueError(f"its records are more than {RECORDS_MAX_BYTES} bytes when decompressed")
    return size
