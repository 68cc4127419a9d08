#!/usr/bin/env bash
# Installs the packages of the named lists (run, test, ci, fuzz, xen, webapp) that are missing. Says what it does; does nothing when all
# are there. Needs root or sudo only when something is missing.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

wanted=()
for list in "$@"; do
  while read -r name; do
    [[ -z $name || $name == \#* ]] || wanted+=("$name")
  done <"$here/packages/$list.txt"
done

missing=()
for name in "${wanted[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null || true)
  # A command that came another way (say npm with its own Node.js) serves as well as the package.
  [[ $status == installed ]] || { [[ $name == npm ]] && command -v npm >/dev/null; } || missing+=("$name")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

as_root=()
if [[ $(id -u) -ne 0 ]]; then
  if ! command -v sudo >/dev/null; then
    echo "These packages are missing and need root to install: ${missing[*]}" >&2
    echo "As root: apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "Installing ${#missing[@]} packages: ${missing[*]}" >&2
"${as_root[@]}" apt-get update -qq >&2
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
