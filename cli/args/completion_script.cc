#include "cli/args/completion_script.h"

#include "absl/strings/str_cat.h"

namespace cloudscale::cli {
namespace {

constexpr absl::string_view kBash = R"(# bash completion for cloudscalectl:
#   source <(cloudscalectl completion bash)
_cloudscalectl() {
  local line
  COMPREPLY=()
  while IFS= read -r line; do
    COMPREPLY+=("${line%%$'\t'*}")
  done < <("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _cloudscalectl cloudscalectl
)";

constexpr absl::string_view kZsh = R"(#compdef cloudscalectl
# zsh completion for cloudscalectl:
#   cloudscalectl completion zsh > "${fpath[1]}/_cloudscalectl"
_cloudscalectl() {
  local line
  local -a candidates
  for line in "${(@f)$(${words[1]} __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
    [[ -n $line ]] || continue
    if [[ $line == *$'\t'* ]]; then
      candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    else
      candidates+=("${line//:/\\:}")
    fi
  done
  if (( ${#candidates} )); then
    _describe 'cloudscalectl' candidates
  else
    _files
  fi
}
if [[ $funcstack[1] == _cloudscalectl ]]; then
  _cloudscalectl "$@"
else
  compdef _cloudscalectl cloudscalectl
fi
)";

constexpr absl::string_view kFish = R"(# fish completion for cloudscalectl:
#   cloudscalectl completion fish | source
function __cloudscalectl_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    $words[1] __complete $words[2..-1] "$current" 2>/dev/null
end
complete -c cloudscalectl -f -a '(__cloudscalectl_complete)'
)";

}  // namespace

absl::StatusOr<absl::string_view> CompletionScript(absl::string_view shell) {
  if (shell == "bash") {
    return kBash;
  }
  if (shell == "zsh") {
    return kZsh;
  }
  if (shell == "fish") {
    return kFish;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("no completion for '", shell, "'; allowed: bash, zsh, fish"));
}

}  // namespace cloudscale::cli
