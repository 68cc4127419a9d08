#include <algorithm>
#include <optional>

#include "cli/args/option_types.h"
#include "cli/commands/commands.h"
#include "cli/exit_code.h"
#include "cli/rpc/live_source.h"
#include "cli/rpc/session.h"
#include "cli/top/terminal_screen.h"
#include "cli/top/top_summary.h"
#include "cli/top/top_view.h"
#include "common/status/macros.h"

namespace cloudscale::cli {
namespace {

class TopCommand : public Command {
 public:
  CommandInfo info() const override {
    return {"top",
            "Watching",
            "live view of the host and its VMs",
            {"top", "top --for 60s", "top --for 60s --json", "top --once --no-color"}};
  }

  void Register(CLI::App& app) override {
    AddDuration(app, "--interval,-i", &interval_, "between two looks (default 1s)");
    AddDuration(app, "--for", &duration_, "end after this time and print a summary");
    app.add_flag("--once", is_once_, "one look, then end");
  }

  absl::Status Run(Session& session) override {
    if (is_once_) {
      return RunOnce(session);
    }
    const bool is_drawing = session.io().is_out_terminal && !session.options().is_json;
    TerminalInput input(is_drawing && session.io().is_in_terminal);
    const MonoTime start = session.clock().MonoNow();
    {
      std::optional<TerminalScreen> screen;
      if (is_drawing) {
        screen.emplace(session.io());
      }
      Loop(session, input, screen ? &*screen : nullptr, start);
    }
    if (builder_.empty()) {
      return last_error_;
    }
    return PrintSummary(session, session.clock().MonoNow() - start);
  }

 private:
  absl::Status RunOnce(Session& session) {
    CS_ASSIGN_OR_RETURN(sample_, ReadLiveSample(session));
    if (session.options().is_json) {
      builder_.Add(*sample_);
      return PrintSummary(session, absl::ZeroDuration());
    }
    history_.Add(*sample_);
    for (const std::string& line :
         RenderTop(Frame(session, absl::InfiniteDuration()), &*sample_, history_,
                   {.width = session.width()}, session.style())) {
      session.io().out << line << "\n";
    }
    return absl::OkStatus();
  }

  void Loop(Session& session, TerminalInput& input, TerminalScreen* screen, MonoTime start) {
    MonoTime next_look = start;
    while (true) {
      const MonoTime now = session.clock().MonoNow();
      if (now >= next_look) {
        Look(session);
        if (ExitCodeOf(last_error_) == ExitCode::kUsage) {
          return;  // trying again would not help
        }
        if (screen == nullptr && !session.options().is_json) {
          session.io().out << RenderTopLine(Frame(session, absl::InfiniteDuration()),
                                            sample_ ? &*sample_ : nullptr)
                           << "\n"
                           << std::flush;
        }
        // Looks that took too long are left out, not made up for.
        next_look = std::max(next_look + interval_, session.clock().MonoNow());
      }
      const absl::Duration remaining = start + duration_ - session.clock().MonoNow();
      if (remaining <= absl::ZeroDuration()) {
        return;
      }
      if (screen != nullptr) {
        const auto [width, height] = session.io().size();
        screen->Draw(RenderTop(Frame(session, remaining), sample_ ? &*sample_ : nullptr, history_,
                               {.width = width, .height = height}, session.style()));
      }
      const absl::Duration until_look = next_look - session.clock().MonoNow();
      if (input.Wait(std::min(until_look, remaining) + absl::Milliseconds(1)) == Wake::kQuit) {
        return;
      }
    }
  }

  void Look(Session& session) {
    absl::StatusOr<LiveSample> sample = ReadLiveSample(session);
    last_error_ = sample.status();
    if (!sample.ok()) {
      builder_.CountFailedLook();
      return;
    }
    sample_ = *std::move(sample);
    history_.Add(*sample_);
    builder_.Add(*sample_);
  }

  TopFrame Frame(Session& session, absl::Duration remaining) const {
    return {.now = session.clock().WallNow(),
            .address = session.options().AddressOf(Peer::kScaler),
            .error = last_error_.ok() ? "" : std::string(last_error_.message()),
            .remaining = duration_ == absl::InfiniteDuration() ? duration_ : remaining};
  }

  absl::Status PrintSummary(Session& session, absl::Duration real_duration) {
    TopSummary summary = builder_.Build(real_duration);
    // The server may be gone by now; what was seen is worth printing all the same.
    const absl::Status counted =
        ReadActionCounts(session, builder_.first_step_time().value_or(absl::UnixEpoch()), &summary);
    summary.are_actions_complete = summary.are_actions_complete && counted.ok();
    if (session.options().is_json) {
      session.io().out << SummaryToJson(summary) << "\n";
    } else {
      session.io().out << RenderSummary(summary, session.width(), session.style());
    }
    return absl::OkStatus();
  }

  absl::Duration interval_ = absl::Seconds(1);
  absl::Duration duration_ = absl::InfiniteDuration();
  bool is_once_ = false;

  std::optional<LiveSample> sample_;
  DemandHistory history_;
  SummaryBuilder builder_;
  absl::Status last_error_;
};

}  // namespace

std::unique_ptr<Command> MakeTopCommand() { return std::make_unique<TopCommand>(); }

}  // namespace cloudscale::cli
