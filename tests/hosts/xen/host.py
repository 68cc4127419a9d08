#!/usr/bin/env python3
"""A Xen host in QEMU: real hypervisor and Dom-0 under emulation, reached over loopback alone.

Usage: host.py boot DIR IMAGE [--scheduler credit2] [--memory MIB] [--pair SOCKETS NUMBER]
                                                                     boots, returns when Dom-0 is up
       host.py exec DIR [--limit SECONDS] COMMAND...                 runs a shell command in Dom-0
       host.py copy DIR FILE... DIRECTORY                            copies into Dom-0
       host.py snapshot DIR save|load NAME                           memory and disk of the running host
       host.py pause DIR / host.py continue DIR                      between two commands, so that it costs no CPU time
       host.py stop DIR
IMAGE is what build_image prints. DIR is made when missing and holds overlay, console log, sockets and process id; keep its
path short, sockets live there. `--pair` joins host 1 and host 2 by a cable of their own, eth1, through sockets in SOCKETS. Facts about the emulation that this relies on: docs/ops/xen.md.
"""
import argparse
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

BOOT_LIMIT = 300
# One CPU: a second one doubles the work of emulation and makes shares inexact. The CPU model is the one that never
# corrupted Dom-0; "max" does. Nested paging lets PVH guests run.
CPU = "qemu64,+rdrand,+npt"
DOM0_MIB = 512


def _end_with_parent():
    ctypes.CDLL("libc.so.6").prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


class Host:
    def __init__(self, directory):
        self.directory = Path(directory)
        self.state_file = self.directory / "state.json"
        self.process = None

    # -- life

    def boot(self, image, scheduler="credit", memory_mib=1536, end_with_parent=False, pair=None):
        """Seconds until Dom-0 was up. `pair`: (directory of sockets, 1 or 2), for two hosts with a cable between them."""
        started = time.monotonic()
        image = Path(image)
        self.directory.mkdir(parents=True, exist_ok=True)
        overlay = self.directory / "overlay.qcow2"
        overlay.unlink(missing_ok=True)
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", image.resolve() / "root.ext4", "-F", "raw", overlay],
                       check=True, timeout=60)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        console = self.directory / "console.log"
        console.unlink(missing_ok=True)
        (self.directory / "qmp").unlink(missing_ok=True)
        command = [
            "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", CPU, "-smp", "1", "-m", str(memory_mib), "-machine", "pc",
            "-nodefaults", "-display", "none", "-no-reboot", "-serial", f"file:{console}",
            "-qmp", f"unix:{self.directory / 'qmp'},server=on,wait=off",
            "-kernel", str(image / "xen"),
            "-append", f"com1=115200,8n1 console=com1 dom0_mem={DOM0_MIB}M,max:{DOM0_MIB}M dom0_max_vcpus=1 "
                       f"sched={scheduler} spec-ctrl=no",
            "-initrd", f"{image / 'vmlinux'} console=hvc0 quiet loglevel=4 mitigations=off random.trust_cpu=on,"
                       f"{image / 'initramfs'}",
            "-drive", f"file={overlay},if=virtio,format=qcow2,cache=unsafe",
            "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22",
            "-device", "virtio-net-pci,netdev=net,romfile=",
        ]
        if pair is not None:
            sockets, number = pair
            cable = Path(sockets) / f"cable{number}"
            cable.unlink(missing_ok=True)
            command += [
                "-netdev", f"dgram,id=cable,local.type=unix,local.path={cable},"
                           f"remote.type=unix,remote.path={Path(sockets) / f'cable{3 - number}'}",
                "-device", f"virtio-net-pci,netdev=cable,mac=52:54:00:98:00:0{number},romfile=",
            ]
        with open(self.directory / "qemu.log", "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                            preexec_fn=_end_with_parent if end_with_parent else None)
        self.state_file.write_text(json.dumps({"pid": self.process.pid, "port": port, "key": str(image.resolve() / "key")}))
        while True:
            text = console.read_text(errors="replace") if console.exists() else ""
            if "DOM0 FAILED" in text or self.process.poll() is not None:
                reason = "failed" if self.process.poll() is None else "QEMU ended"
            elif "DOM0 READY" in text:
                return time.monotonic() - started
            elif time.monotonic() - started > BOOT_LIMIT:
                reason = f"not up after {BOOT_LIMIT} s"
            else:
                time.sleep(0.2)
                continue
            tail = "\n".join(((self.directory / "qemu.log").read_text() + text).splitlines()[-15:])
            self.stop()
            raise RuntimeError(f"Dom-0: {reason}\n{tail}")

    def stop(self):
        """Ends the QEMU that `boot` started, and nothing else."""
        if not self.state_file.exists():
            return
        pid = self._state()["pid"]
        self._close_connection()
        if self._is_ours(pid):
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + 20
            while self._is_ours(pid) and time.monotonic() < deadline:
                if self.process is not None:
                    self.process.poll()
                time.sleep(0.1)
            if self._is_ours(pid):
                os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
        self.state_file.unlink()

    def remove(self):
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _is_ours(self, pid):
        # A process id is reused; the overlay's path is not.
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False
        return str(self.directory / "overlay.qcow2").encode() in words

    # -- Dom-0

    def execute(self, command, limit=60, check=True, output=subprocess.PIPE):
        """Runs a shell command in Dom-0; the limit holds for the whole of it. Returns the completed process, text output."""
        # `timeout` there ends the command too: the end of ssh alone would leave it running.
        guarded = f"timeout -k 5 {limit} sh -c {_quote(command)}"
        state = self._state()
        done = subprocess.run(["ssh", "-p", str(state["port"]), *self._options(), "root@127.0.0.1", guarded],
                              stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT if output else None, text=True,
                              timeout=limit + 30, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"in Dom-0: {command}: exit code {done.returncode}\n{done.stdout or ''}")
        return done

    def copy(self, files, directory, limit=120):
        subprocess.run(["scp", "-q", "-P", str(self._state()["port"]), *self._options(), *map(str, files),
                        f"root@127.0.0.1:{directory}"], stdin=subprocess.DEVNULL, timeout=limit, check=True)

    def fetch(self, path, directory, limit=120):
        subprocess.run(["scp", "-q", "-P", str(self._state()["port"]), *self._options(), f"root@127.0.0.1:{path}",
                        str(directory)], stdin=subprocess.DEVNULL, timeout=limit, check=True)

    def snapshot(self, action, name):
        """`save` or `load`: memory and disk of the running host, in its overlay."""
        if action not in ("save", "load"):
            raise ValueError(action)
        answer = self._monitor(f"{action}vm {name}")
        if answer.strip():
            raise RuntimeError(f"snapshot {action} {name}: {answer.strip()}")
        if action == "load":
            self._close_connection()  # Dom-0 knows nothing of it any more
            self.execute(f"date -s @{int(time.time())}")

    def pause(self):
        self._monitor("stop")

    def resume(self):
        self._monitor("cont")

    def _state(self):
        return json.loads(self.state_file.read_text())

    def _options(self):
        # One connection for all commands: a handshake costs a second under emulation.
        return ["-q", "-i", self._state()["key"], "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                "-o", "ConnectTimeout=30", "-o", "ControlMaster=auto", "-o", f"ControlPath={self.directory / 'ssh'}",
                "-o", "ControlPersist=300", "-F", "none"]

    def _close_connection(self):
        if (self.directory / "ssh").exists():
            subprocess.run(["ssh", "-O", "exit", *self._options(), "root@127.0.0.1"], stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20, check=False)

    def _monitor(self, command, limit=300):
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(limit)
            monitor.connect(str(self.directory / "qmp"))
            stream = monitor.makefile("rw")
            stream.readline()  # greeting
            for request in ({"execute": "qmp_capabilities"},
                            {"execute": "human-monitor-command", "arguments": {"command-line": command}}):
                stream.write(json.dumps(request) + "\n")
                stream.flush()
                while True:
                    answer = json.loads(stream.readline())
                    if "error" in answer:
                        raise RuntimeError(answer["error"]["desc"])
                    if "return" in answer:
                        break
            return answer["return"]


def _quote(text):
    return "'" + text.replace("'", "'\\''") + "'"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    boot = actions.add_parser("boot")
    boot.add_argument("directory")
    boot.add_argument("image")
    boot.add_argument("--scheduler", default="credit")
    boot.add_argument("--memory", type=int, default=1536)
    boot.add_argument("--pair", nargs=2, metavar=("SOCKETS", "NUMBER"))
    execute = actions.add_parser("exec")
    execute.add_argument("directory")
    execute.add_argument("--limit", type=int, default=60)
    execute.add_argument("command", nargs="+")
    copy = actions.add_parser("copy")
    copy.add_argument("directory")
    copy.add_argument("files", nargs="+")
    copy.add_argument("to")
    snapshot = actions.add_parser("snapshot")
    snapshot.add_argument("directory")
    snapshot.add_argument("what", choices=("save", "load"))
    snapshot.add_argument("name")
    for action in ("pause", "continue", "stop"):
        actions.add_parser(action).add_argument("directory")
    args = parser.parse_args()
    host = Host(args.directory)
    if args.action == "boot":
        pair = (args.pair[0], int(args.pair[1])) if args.pair else None
        print(f"Dom-0 up after {host.boot(args.image, args.scheduler, args.memory, pair=pair):.0f} s")
    elif args.action == "exec":
        return host.execute(" ".join(args.command), args.limit, check=False, output=None).returncode
    elif args.action == "copy":
        host.copy(args.files, args.to)
    elif args.action == "snapshot":
        host.snapshot(args.what, args.name)
    elif args.action == "pause":
        host.pause()
    elif args.action == "continue":
        host.resume()
    else:
        host.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
