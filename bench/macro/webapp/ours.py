"""cloudscaled on the experiment's VMs: the product as it is, at ten times its usual pace."""
import contextlib
import json
import signal
import subprocess
import time

START_LIMIT = 30


def configuration(args, stack, mode, uuids):
    # Growth and shrinking as fast as cgroups allow, since the objective tells when it was too little.
    text = f"""host_id: webapp
state_directory: {stack.directory}/state
hypervisor: {{cgroup: {{parent_group: {stack.groups.parent}}}}}
monitor: {{sampling_period: 0.5s}}
predictor: {{step: 1s, horizons: [1s, 5s, 30s]}}
scaler:
  mode: {mode}
  step: 1s
  limits: {{warm_up_samples: 5, max_actions_per_minute: 600, max_actions_per_vm_per_minute: 100}}
  default_policy:
    mode: {mode}
    target_violation_ratio: 0.2
    cpu: {{min: {args.floor}, max: {args.ceiling}, cool_down_down: 0s, quiet_steps: 1, dead_band_ratio: 0.05}}
    memory: {{is_managed: false}}
"""
    if mode != "auto":
        return text
    return text + f"""sla:
  haproxy_log: {{is_enabled: true, listen_address: "{stack.log_address}", slice: 0.5s}}
  price: {{duration: 30s}}
  objectives:
    - objective_id: auction
      application: auction
      terms: {{latency: {{threshold: {args.threshold_ms / 1000}s, percentile_ratio: {args.percentile}}}, window: 5s, target_ratio: 0.99}}
      boost: {{duration: 5s}}
      members:
        - {{vm_uuid: {uuids["app-1"]}, backend: web, server: app-1}}
        - {{vm_uuid: {uuids["app-2"]}, backend: web, server: app-2}}
        - {{vm_uuid: {uuids["db"]}}}
lbctl:
  haproxy: {{socket_path: "{stack.admin_socket}"}}
  servers:
    - {{backend: web, server: app-1, vm_uuid: {uuids["app-1"]}}}
    - {{backend: web, server: app-2, vm_uuid: {uuids["app-2"]}}}
"""


@contextlib.contextmanager
def daemon(args, stack, mode):
    """cloudscaled in this mode while inside. Whoever acts starts with what the one before has learnt."""
    directory = stack.directory
    config, address = directory / f"cloudscaled-{mode}.yaml", directory / "address"
    (directory / "state").mkdir(exist_ok=True)
    uuids_file = directory / "uuids.json"
    config.write_text(configuration(args, stack, mode, json.loads(uuids_file.read_text()) if mode == "auto" else {}))
    address.unlink(missing_ok=True)
    log_path = directory / f"cloudscaled-{mode}.log"
    with open(log_path, "ab") as log:
        process = subprocess.Popen([args.bin / "cloudscaled", "--config", config, "--listen", "127.0.0.1:0", f"--port-file={address}"],
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def check():
        if process.poll() is not None:
            raise SystemExit(f"webapp: cloudscaled ended: {log_path.read_text()[-3000:]}")

    try:
        deadline = time.monotonic() + START_LIMIT
        while not (address.exists() and address.read_text().strip()):
            check()
            if time.monotonic() > deadline:
                raise SystemExit(f"webapp: cloudscaled not up after {START_LIMIT} s; see {directory}")
            time.sleep(0.05)
        yield check
        check()
        answer = control(args, address.read_text().strip(), "vms")
        uuids_file.write_text(json.dumps({vm["name"]: vm["vm_uuid"] for vm in answer["vms"]}))
        if mode == "auto":
            for what, *more in (("status",), ("violations",), ("decisions", "--limit", "3000")):
                (directory / f"{what}.json").write_text(json.dumps(control(args, address.read_text().strip(), what, *more), indent=1))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def control(args, address, *words):
    done = subprocess.run([args.bin / "cloudscalectl", f"--address={address}", "--json", *words], capture_output=True, text=True, timeout=30,
                          check=False)
    if done.returncode != 0:
        raise SystemExit(f"webapp: cloudscalectl {' '.join(words)}: {done.stderr}")
    return json.loads(done.stdout)
