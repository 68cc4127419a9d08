#!/usr/bin/env python3
"""The static guest agent in a real VM without a network: its virtio-serial port, QEMU's unix socket, the monitor."""
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
from harness import BIN, Daemon, ctl_json, temporary_directory, wait_until  # noqa: E402

QEMU = shutil.which("qemu-system-x86_64")
MEMORY_MIB = 256


def image():
    """Directory of the test guest; None where it cannot be made."""
    made = subprocess.run([HERE / "guest" / "build_image"], capture_output=True, text=True, check=False)
    if made.returncode == 77:
        return None
    if made.returncode != 0:
        raise AssertionError(made.stderr)
    return Path(made.stdout.strip())


def archive(directory, vm_uuid, target):
    """An initial file system that adds the agent, which the guest's init starts, to the image's own."""
    root = Path(directory) / "root"
    (root / "test" / "libraries").mkdir(parents=True)
    shutil.copy(BIN / "cloudscale-guest-agent", root / "test" / "program")
    (root / "test" / "arguments").write_text(f"--device=org.cloudscale.agent.0\n--vm-uuid={vm_uuid}\n")
    packed = subprocess.run("find . | cpio --quiet -o -H newc -R 0:0 | gzip -1", shell=True, cwd=root,
                            capture_output=True, check=True).stdout
    target.write_bytes((IMAGE / "initrd").read_bytes() + packed)


IMAGE = image() if QEMU else None


@unittest.skipUnless(IMAGE, "no QEMU, or no image for it")
class GuestAgentInAVm(unittest.TestCase):
    def start_vm(self, directory, vm_uuid, socket):
        initrd = Path(directory) / "initrd"
        archive(directory, vm_uuid, initrd)
        console = Path(directory) / "console"
        vm = subprocess.Popen(
            [QEMU, "-accel", "tcg,thread=multi", "-machine", "pc", "-cpu", "qemu64", "-m", str(MEMORY_MIB), "-display",
             "none", "-nodefaults", "-no-reboot", "-serial", f"file:{console}", "-kernel", IMAGE / "kernel",
             "-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1 mitigations=off tsc=unstable no_timer_check psi=1",
             "-chardev", f"socket,id=agent,path={socket},server=on,wait=off", "-device", "virtio-serial",
             "-device", "virtserialport,chardev=agent,name=org.cloudscale.agent.0"], stdin=subprocess.DEVNULL)
        self.addCleanup(lambda: (vm.kill(), vm.wait()))
        return console

    def test_reports_reach_the_monitor_and_go_on_after_it_was_killed(self):
        with temporary_directory() as directory, tempfile.TemporaryDirectory() as sockets:
            config = Path(directory) / "monitor.yaml"
            config.write_text("hypervisor: {fake: {}}\n"
                              "guest_channels: {path_template: \"" + sockets + "/{uuid}.sock\", scan_period: 200ms}\n")
            monitor = Daemon(directory, "cloudscale-monitor", f"--config={config}").start()
            self.addCleanup(monitor.stop)

            def newest():
                vms = ctl_json("call", "cloudscale.monitor.v1.MonitorService/ListVms", "{}", address=monitor.address)
                return {vm["vmUuid" if "vmUuid" in vm else "vm_uuid"]: vm for vm in vms.get("vms", [])}

            uuid = sorted(wait_until(newest, "VMs"))[0]
            console = self.start_vm(directory, uuid, Path(sockets) / f"{uuid}.sock")

            def reported():
                sample = str(ctl_json("call", "cloudscale.monitor.v1.MonitorService/GetVm",
                                      "{\"vm_uuid\": \"" + uuid + "\"}", address=monitor.address))
                return sample if "GUEST_SOURCE_AGENT" in sample else None

            try:
                sample = wait_until(reported, "a report of the agent", 90)
                monitor.kill()
                monitor.start()
                wait_until(reported, "a report after the monitor came back", 60)
            except AssertionError as fault:
                raise AssertionError(f"{fault}\n{console.read_text(errors='replace')}\n{monitor.log()}") from None
            self.assertIn("memory_guest_total_bytes", sample)
            self.assertIn("memory_pressure_some_ratio", sample)


if __name__ == "__main__":
    if IMAGE is None:
        print("skipped: no QEMU, or no image for it")
        sys.exit(77)
    unittest.main()
