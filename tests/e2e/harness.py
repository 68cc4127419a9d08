"""Starts the real programs on loopback in temporary directories and ends them, whatever happens."""
import json
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

BIN = Path(os.environ.get("CLOUDSCALE_BIN", Path(__file__).resolve().parents[2] / "build" / "dev" / "bin"))


def wait_until(condition, what, seconds=30.0):
    """Polls until `condition()` is truthy and returns its value; fails with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.05)


class Daemon:
    """One process with its log; the address it serves on is known once it is ready."""

    def __init__(self, directory, program, *flags, name=None):
        self.name = name or program
        self.directory = Path(directory)
        self.log_path = self.directory / f"{self.name}.log"
        self.port_file = self.directory / f"{self.name}.address"
        self.arguments = [str(BIN / program), *flags, f"--port-file={self.port_file}"]
        self.process = None
        self.address = None

    def start(self, ready_seconds=30.0):
        self.port_file.unlink(missing_ok=True)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.arguments, stderr=log, stdout=log, stdin=subprocess.DEVNULL)

        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self.process.returncode}:\n{self.log()}")
            return self.port_file.exists() and self.port_file.read_text().strip()

        self.address = wait_until(ready, f"{self.name} ready:\n{self.log()}", ready_seconds)
        return self

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, seconds=20.0):
        if self.process is None or self.process.poll() is not None:
            return self.process.returncode if self.process else None
        self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.name} did not stop within {seconds:g} s:\n{self.log()}") from None


def ctl(*arguments, address=None, check=True, timeout=30):
    """Runs cloudscalectl; returns (exit code, stdout, stderr)."""
    command = [str(BIN / "cloudscalectl")]
    if address:
        command.append(f"--address={address}")
    result = subprocess.run(command + list(arguments), capture_output=True, text=True, timeout=timeout, check=False)
    if check and result.returncode != 0:
        raise AssertionError(f"{command + list(arguments)} ended with {result.returncode}:\n{result.stderr}")
    return result.returncode, result.stdout, result.stderr


def ctl_json(*arguments, address=None, timeout=30):
    return json.loads(ctl("--json", *arguments, address=address, timeout=timeout)[1])


def temporary_directory():
    return tempfile.TemporaryDirectory(prefix="cloudscale-e2e-")
