#!/usr/bin/env python3
"""A program with a working set of known size, like a cache or a database's buffers: working_set.py MEBIBYTES_PER_SECOND_FILE START

Follows the file's sizes, one a second from START (CLOCK_MONOTONIC) on. Ten times a second it writes to every page of the set and prints a line:
when the round was due (seconds since START), how long it took from then, and in MiB the size and what of the process is in memory. A round that
is late delays the next, and that counts for those: nobody's waiting is hidden. Rounds more than LOST_SECONDS late are left out. Ends with the file.
"""
import mmap
import sys
import time
from pathlib import Path

ROUND_SECONDS = 0.1
LOST_SECONDS = 10.0
MEBIBYTE = 1 << 20


def main():
    sizes = [float(line) for line in Path(sys.argv[1]).read_text().split()]
    start = float(sys.argv[2])
    # Of shared memory nothing is given back.
    memory = mmap.mmap(-1, (int(max(sizes)) + 1) * MEBIBYTE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    # Of a huge page that is given back in part, nothing comes back for long.
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    ones = b"\1" * (len(memory) // mmap.PAGESIZE)
    held, number = 0, max(0, int((time.monotonic() - start) / ROUND_SECONDS))
    while number * ROUND_SECONDS < len(sizes):
        due = number * ROUND_SECONDS
        time.sleep(max(0.0, start + due - time.monotonic()))
        pages = int(sizes[int(due)] * MEBIBYTE) // mmap.PAGESIZE
        if pages < held:
            memory.madvise(mmap.MADV_DONTNEED, pages * mmap.PAGESIZE, (held - pages) * mmap.PAGESIZE)
        held = pages
        memory[0:pages * mmap.PAGESIZE:mmap.PAGESIZE] = ones[:pages]
        now = time.monotonic() - start
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE / MEBIBYTE
        print(f"{due:.1f} {now - due:.4f} {sizes[int(due)]:.1f} {resident:.1f}", flush=True)
        number = max(number + 1, int((now - LOST_SECONDS) / ROUND_SECONDS))


if __name__ == "__main__":
    main()
