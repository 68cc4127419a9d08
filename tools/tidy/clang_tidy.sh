#!/usr/bin/env bash
# Runs clang-tidy over the project's own sources with the compile commands of build directory $1. A file whose text and
# includes have not changed since it last passed is skipped (key: hash of the preprocessed file and of .clang-tidy).
set -euo pipefail
build=${1:?usage: clang_tidy.sh BUILD_DIRECTORY [FILE...]}
shift
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
files=("$@")
if [[ ${#files[@]} -eq 0 ]]; then
  listed=$(git ls-files '*.cc')
  mapfile -t files < <(grep -vE '_(test|bench|fuzz)\.cc$' <<<"$listed")
fi
[[ ${#files[@]} -gt 0 ]] || { echo "clang-tidy: no files to check" >&2; exit 1; }
cache=${XDG_CACHE_HOME:-$HOME/.cache}/cloudscale-tidy
mkdir -p "$cache"
export build cache

check_one() {
  set -o pipefail
  local file=$1 key
  key=$({ clang-tidy-19 --version; cat .clang-tidy; python3 tools/tidy/preprocess.py "$build" "$file"; } | sha256sum | cut -c1-40) || return 1
  [[ -e $cache/$key ]] && return 0
  if clang-tidy-19 -p "$build" --quiet --warnings-as-errors='*' "$file" 2>/dev/null; then
    : >"$cache/$key"
  else
    echo "clang-tidy: $file has findings" >&2
    return 1
  fi
}
export -f check_one
printf '%s\n' "${files[@]}" | xargs -P "$(nproc)" -I{} bash -c 'check_one "$@"' _ {}
echo "clang-tidy: ${#files[@]} files clean"
