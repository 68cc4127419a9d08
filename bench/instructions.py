#!/usr/bin/env python3
"""Instructions of one step of the default forecaster, counted by callgrind: unlike times they do not depend on what else
the machine does.

instructions.py [FORECASTER_COST]     default: build/bench/bin/forecaster_cost, else build/dev/bin/forecaster_cost
"""
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The difference of two runs leaves out starting and training.
FEW, MANY = 200, 1200


def collected(program, steps):
    """Instructions of a whole run with so many steps."""
    with tempfile.TemporaryDirectory() as directory:
        result = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={directory}/out", program, "--series", "1",
             "--steps", str(steps), "--quiet", "1"], capture_output=True, text=True, check=False)
    found = re.search(r"Collected : (\d+)", result.stderr)
    if result.returncode != 0 or not found:
        sys.exit(f"instructions.py: valgrind ended with {result.returncode}:\n{result.stderr}")
    return int(found.group(1))


def main():
    candidates = [Path(a) for a in sys.argv[1:]] or [ROOT / f"build/{p}/bin/forecaster_cost" for p in ("bench", "dev")]
    program = next((c for c in candidates if c.exists()), None)
    if program is None:
        sys.exit(f"instructions.py: there is no {' or '.join(map(str, candidates))}; build it first")
    per_step = (collected(str(program), MANY) - collected(str(program), FEW)) / (MANY - FEW)
    print(f"instructions_per_step,{per_step:.0f}")


if __name__ == "__main__":
    main()
