#!/usr/bin/env python3
"""Prints one source as the compiler of BUILD/compile_commands.json sees it, for use as a cache key."""
import json
import os
import shlex
import subprocess
import sys

build, path = sys.argv[1], os.path.realpath(sys.argv[2])
with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
    entries = [e for e in json.load(file) if os.path.realpath(os.path.join(e["directory"], e["file"])) == path]
if not entries:
    sys.exit(f"{path} is compiled by no target")
arguments = shlex.split(entries[0]["command"])
arguments = [a for a in arguments if not a.endswith("ccache")]
out = arguments.index("-o")
del arguments[out:out + 2]
arguments[arguments.index("-c")] = "-E"
sys.exit(subprocess.run(arguments + ["-P"], cwd=entries[0]["directory"], check=False).returncode)
