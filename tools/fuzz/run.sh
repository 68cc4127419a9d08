#!/usr/bin/env bash
# Builds the libFuzzer targets and runs each for SECONDS (default 60): run.sh [SECONDS] [TARGET...]. Inputs that reach new
# code are kept in build/fuzz/corpus. A finding is written to build/fuzz/findings, made as small as it gets, and ends the
# run with an error: mend the fault and add that file to tests/fuzz/corpus/TARGET.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
seconds=${1:-60}
shift || true
targets=("$@")
if [[ ${#targets[@]} -eq 0 ]]; then
  mapfile -t targets < <(cd tests/fuzz && ls ./*_fuzz.cc | sed 's#^./##; s#_fuzz.cc$##')
fi
[[ $seconds =~ ^[1-9][0-9]*$ ]] || { echo "run.sh: SECONDS is '$seconds', allowed: a number above 0" >&2; exit 2; }

tools/install_packages.sh test fuzz
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz
failed=0
for target in "${targets[@]}"; do
  binary=build/fuzz/bin/${target}_fuzz
  [[ -x $binary ]] || { echo "run.sh: no target '$target'" >&2; exit 2; }
  grown=build/fuzz/corpus/$target
  findings=build/fuzz/findings/$target/
  mkdir -p "$grown" "$findings"
  echo "=== $target, $seconds s"
  if ! "$binary" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 \
      -artifact_prefix="$findings" "$grown" "tests/fuzz/corpus/$target" 2>"$findings/log"; then
    failed=1
    tail -n 40 "$findings/log" >&2
    for finding in "$findings"{crash,timeout,oom}-*; do
      [[ -e $finding && $finding != *.small ]] || continue
      "$binary" -minimize_crash=1 -runs=10000 -exact_artifact_path="$finding.small" "$finding" >/dev/null 2>&1 || true
      echo "finding: $([[ -e $finding.small ]] && echo "$finding.small" || echo "$finding")" >&2
    done
  else
    grep -E '^(stat::number_of_executed_units|stat::new_units_added|Done)|DONE' "$findings/log"
  fi
done
exit $failed
