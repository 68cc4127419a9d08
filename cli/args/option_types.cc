#include "cli/args/option_types.h"

#include "cli/args/values.h"

namespace cloudscale::cli {

CLI::Option* AddDuration(CLI::App& app, const std::string& flags, absl::Duration* out,
                         const std::string& help) {
  const CLI::Validator is_duration(
      [](std::string& text) { return std::string(ParseDuration(text).status().message()); }, "");
  return app
      .add_option_function<std::string>(
          flags, [out](const std::string& text) { *out = ParseDuration(text).value_or(*out); },
          help)
      ->type_name("DURATION")
      ->check(is_duration);
}

CLI::Option* AddVm(CLI::App& app, const std::string& flags, std::string* out,
                   const std::string& help) {
  return app.add_option(flags, *out, help)->type_name(kVmType);
}

CLI::Option* AddChoice(CLI::App& app, const std::string& flags, std::string* out,
                       const std::vector<std::string>& choices, const std::string& help) {
  std::string names;
  for (const std::string& choice : choices) {
    names += (names.empty() ? "" : "|") + choice;
  }
  const CLI::Validator is_choice(
      [choices, names](std::string& text) -> std::string {
        const std::string lower = CLI::detail::to_lower(text);
        for (const std::string& choice : choices) {
          if (choice == lower) {
            text = lower;
            return "";
          }
        }
        return "'" + text + "' is not allowed; allowed: " + names;
      },
      "");
  return app.add_option(flags, *out, help)->type_name(names)->transform(is_choice);
}

CLI::Option* AddLimit(CLI::App& app, int* out, const std::string& help) {
  return app.add_option("--limit,-n", *out, help)
      ->type_name("COUNT")
      ->check(CLI::Range(1, 100'000));
}

}  // namespace cloudscale::cli
