"""cloudscaled on the experiment's VMs: the product as it is, at ten times its usual pace."""
import contextlib
import datetime
import json
import signal
import subprocess
import time

START_LIMIT = 30


def watching(args, stack, mode="recommend"):
    # A day passes in a minute or two, so everything is quicker than the defaults. Lean, since the objective tells when it was too little:
    # a cap that is passed for a step only delays.
    return f"""host_id: webapp
state_directory: {stack.directory}/state
hypervisor: {{cgroup: {{parent_group: {stack.groups.parent}}}}}
monitor: {{sampling_period: 0.5s}}
predictor: {{step: 1s, horizons: [1s, 5s, 30s]}}
scaler:
  mode: {mode}
  step: 1s
  cpu_correction: {{threshold_ratio: 0.95, alpha_max: 1.2}}
  limits: {{warm_up_samples: 5, max_actions_per_minute: 600, max_actions_per_vm_per_minute: 100}}
  default_policy:
    mode: {mode}
    target_violation_ratio: 0.4
    cpu: {{min: {args.floor}, max: {args.ceiling}, cool_down_down: 0s, quiet_steps: 0, dead_band_ratio: 0.05}}
    memory: {{is_managed: false}}
"""


def acting(args, stack):
    uuids = known_uuids(stack.directory)
    return watching(args, stack, "auto") + f"""sla:
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
  follow_capacity:
    - {{backend: web, dead_band_ratio: 0.2, min_interval: 5s}}
"""


def known_uuids(directory):
    """By name, from the daemon that watched before."""
    return json.loads((directory / "uuids.json").read_text())


def violations(directory, origin):
    """What cloudscaled saw of missed objectives and did about them; seconds since `origin`, a wall-clock time."""
    def since(text):
        # Fractions of any length, which older versions of Python do not read.
        whole, _, fraction = text.rstrip("Z").partition(".")
        moment = datetime.datetime.fromisoformat(whole).replace(tzinfo=datetime.timezone.utc).timestamp() + float(f"0.{fraction or 0}")
        return moment - origin

    found = json.loads((directory / "violations.json").read_text()).get("violations", [])
    return sorted(({"started_seconds": since(one["started_at"]), "ended_seconds": since(one["ended_at"]) if "ended_at" in one else None,
                    "observed_ms": 1000 * one["observed"], "threshold_ms": 1000 * one["threshold"], "requests": int(one["request_count"]),
                    "effects": one.get("effects", [])} for one in found), key=lambda one: one["started_seconds"])


@contextlib.contextmanager
def daemon(binaries, directory, mode, configuration):
    """cloudscaled while inside. Whoever acts starts with what the one before has learnt."""
    config, address = directory / f"cloudscaled-{mode}.yaml", directory / "address"
    (directory / "state").mkdir(exist_ok=True)
    config.write_text(configuration)
    address.unlink(missing_ok=True)
    log_path = directory / f"cloudscaled-{mode}.log"
    with open(log_path, "ab") as log:
        process = subprocess.Popen([binaries / "cloudscaled", "--config", config, "--listen", "127.0.0.1:0", f"--port-file={address}"],
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def check():
        if process.poll() is not None:
            raise SystemExit(f"webapp: cloudscaled ended: {log_path.read_text()[-3000:]}")

    def control(*words):
        done = subprocess.run([binaries / "cloudscalectl", f"--address={address.read_text().strip()}", "--json", *words], capture_output=True,
                              text=True, timeout=30, check=False)
        if done.returncode != 0:
            raise SystemExit(f"webapp: cloudscalectl {' '.join(words)}: {done.stderr}")
        return json.loads(done.stdout)

    try:
        deadline = time.monotonic() + START_LIMIT
        while not (address.exists() and address.read_text().strip()):
            check()
            if time.monotonic() > deadline:
                raise SystemExit(f"webapp: cloudscaled not up after {START_LIMIT} s; see {directory}")
            time.sleep(0.05)
        yield check
        check()
        (directory / "uuids.json").write_text(json.dumps({vm["name"]: vm["vm_uuid"] for vm in control("vms")["vms"]}))
        if mode == "auto":
            for what, *more in (("status",), ("violations",), ("decisions", "--limit", "3000")):
                (directory / f"{what}.json").write_text(json.dumps(control(what, *more), indent=1))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
