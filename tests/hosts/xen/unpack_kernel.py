#!/usr/bin/env python3
"""Unpacks the kernel of a bzImage into the ELF file inside. Usage: unpack_kernel.py BZIMAGE OUT"""
import gzip
import lzma
import struct
import sys

SETUP_SECTORS = 0x1F1
PAYLOAD_OFFSET = 0x248  # counted from the protected-mode code; the length follows
SECTOR = 512


def main():
    with open(sys.argv[1], "rb") as file:
        image = file.read()
    start = (image[SETUP_SECTORS] + 1) * SECTOR
    offset, length = struct.unpack_from("<II", image, PAYLOAD_OFFSET)
    payload = image[start + offset:start + offset + length]
    if payload.startswith(b"\xfd7zXZ"):
        kernel = lzma.LZMADecompressor().decompress(payload)  # stops at its end: the size follows
    elif payload.startswith(b"\x1f\x8b"):
        kernel = gzip.decompress(payload[:-4])
    else:
        sys.exit(f"{sys.argv[1]}: compressed in an unknown way ({payload[:6].hex()})")
    if not kernel.startswith(b"\x7fELF"):
        sys.exit(f"{sys.argv[1]}: what is inside is no ELF file")
    with open(sys.argv[2], "wb") as file:
        file.write(kernel)


if __name__ == "__main__":
    main()
