"""cloudscaled on the experiment's VMs: the product as it is, at ten times its usual pace."""
import contextlib
import json
import signal
import subprocess
import time

START_LIMIT = 30


def configuration(args, stack):
    return f"""host_id: webapp
hypervisor: {{cgroup: {{parent_group: {stack.groups.parent}}}}}
monitor: {{sampling_period: 0.25s}}
predictor: {{step: 1s, horizons: [1s, 5s, 30s]}}
scaler:
  mode: auto
  step: 1s
  limits: {{warm_up_samples: 5, max_actions_per_minute: 600, max_actions_per_vm_per_minute: 100}}
  default_policy:
    mode: auto
    cpu: {{min: {args.floor}, max: {args.ceiling}, cool_down_down: 1s}}
    memory: {{is_managed: false}}
"""


@contextlib.contextmanager
def daemon(args, stack):
    directory = stack.directory
    config, address = directory / "cloudscaled.yaml", directory / "address"
    config.write_text(configuration(args, stack))
    address.unlink(missing_ok=True)
    with open(directory / "cloudscaled.log", "ab") as log:
        process = subprocess.Popen([args.bin / "cloudscaled", "--config", config, "--listen", "127.0.0.1:0", f"--port-file={address}"],
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def check():
        if process.poll() is not None:
            raise SystemExit(f"webapp: cloudscaled ended: {(directory / 'cloudscaled.log').read_text()[-3000:]}")

    try:
        deadline = time.monotonic() + START_LIMIT
        while not (address.exists() and address.read_text().strip()):
            check()
            if time.monotonic() > deadline:
                raise SystemExit(f"webapp: cloudscaled not up after {START_LIMIT} s; see {directory}")
            time.sleep(0.05)
        yield check
        check()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def control(args, address, *words):
    done = subprocess.run([args.bin / "cloudscalectl", f"--address={address}", "--json", *words], capture_output=True, text=True, timeout=30,
                          check=True)
    return json.loads(done.stdout)
