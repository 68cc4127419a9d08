#include "cli/args/parser.h"

#include "CLI/CLI.hpp"
#include "cli/args/completion_script.h"
#include "cli/args/option_types.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::cli {
namespace {

using ::cloudscale::testing::StatusIs;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class FakeCommand : public Command {
 public:
  explicit FakeCommand(std::string name) : name_(std::move(name)) {}
  CommandInfo info() const override { return {name_, "Group", "does it", {name_ + " web-1"}}; }
  void Register(CLI::App& app) override {
    AddVm(app, "vm", &vm, "the VM");
    AddVm(app, "--other", &other, "another VM");
    AddChoice(app, "--colour", &colour, {"red", "green"}, "which");
    AddDuration(app, "--for", &duration, "how long");
    app.add_flag("--fast", is_fast, "quickly");
  }
  absl::Status Run(Session&) override { return absl::OkStatus(); }

  std::string vm;
  std::string other;
  std::string colour;
  absl::Duration duration = absl::Seconds(1);
  bool is_fast = false;

 private:
  std::string name_;
};

class ParserTest : public ::testing::Test {
 protected:
  ParserTest() {
    auto status = std::make_unique<FakeCommand>("status");
    command_ = status.get();
    commands_.push_back(std::move(status));
    commands_.push_back(std::make_unique<FakeCommand>("policy"));
  }
  absl::StatusOr<Invocation> Parse(std::vector<std::string> args) {
    return ParseArgs(args, commands_);
  }
  std::vector<std::string> CompleteWords(std::vector<std::string> words) {
    return CompleteArgs(words, commands_);
  }

  CommandList commands_;
  FakeCommand* command_;
};

TEST_F(ParserTest, GlobalOptionsStandBeforeOrAfterTheCommand) {
  for (const auto& args :
       {std::vector<std::string>{"--json", "--address", "h:1", "status", "web-1"},
        std::vector<std::string>{"status", "web-1", "--address=h:1", "--json"}}) {
    const auto invocation = Parse(args);
    CS_ASSERT_OK(invocation);
    EXPECT_EQ(invocation->command, command_);
    EXPECT_TRUE(invocation->options.is_json);
    EXPECT_EQ(invocation->options.AddressOf(Peer::kScaler), "h:1");
    EXPECT_EQ(command_->vm, "web-1");
  }
}

TEST_F(ParserTest, DefaultsAreTheLocalServerAndTenSeconds) {
  const auto invocation = Parse({"status"});
  CS_ASSERT_OK(invocation);
  EXPECT_EQ(invocation->options.address, "127.0.0.1:50551");
  EXPECT_EQ(invocation->options.timeout, absl::Seconds(10));
  EXPECT_FALSE(invocation->options.is_json);
}

TEST_F(ParserTest, AServiceMayHaveAnAddressOfItsOwn) {
  const auto invocation = Parse({"status", "--predictor-address", "p:2"});
  CS_ASSERT_OK(invocation);
  EXPECT_EQ(invocation->options.AddressOf(Peer::kPredictor), "p:2");
  EXPECT_EQ(invocation->options.AddressOf(Peer::kMonitor), kDefaultAddress);
}

TEST_F(ParserTest, OptionsOfACommandAreTyped) {
  CS_ASSERT_OK(Parse({"status", "--for", "2m", "--colour", "RED", "--fast"}));
  EXPECT_EQ(command_->duration, absl::Minutes(2));
  EXPECT_EQ(command_->colour, "red");
  EXPECT_TRUE(command_->is_fast);
}

TEST_F(ParserTest, MistakesNameWhatIsAllowedAndWhichHelpToRead) {
  EXPECT_THAT(Parse({"status", "--colour", "blue"}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("allowed: red|green")));
  EXPECT_THAT(Parse({"status", "--for", "soon"}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not a duration")));
  EXPECT_THAT(
      Parse({"status", "--nonsense"}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("Help: cloudscalectl status --help")));
  EXPECT_THAT(Parse({}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("command")));
}

TEST_F(ParserTest, SuggestsTheCommandThatWasMeant) {
  EXPECT_THAT(Parse({"polcy"}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("did you mean 'policy'?")));
  EXPECT_THAT(Parse({"entirely"}),
              StatusIs(absl::StatusCode::kInvalidArgument, Not(HasSubstr("did you mean"))));
}

TEST_F(ParserTest, TlsFilesGoTogether) {
  EXPECT_THAT(Parse({"status", "--tls-cert", "/dev/null"}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("all three or none")));
  EXPECT_THAT(Parse({"status", "--tls-ca", "/nonexistent/ca.pem"}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("/nonexistent/ca.pem")));
}

TEST_F(ParserTest, HelpListsCommandsAndExitCodesAndExamplesPerCommand) {
  const auto all = Parse({"--help"});
  CS_ASSERT_OK(all);
  EXPECT_EQ(all->command, nullptr);
  EXPECT_THAT(all->text, HasSubstr("Exit codes:"));
  EXPECT_THAT(all->text, HasSubstr("policy"));
  const auto one = Parse({"policy", "--help"});
  CS_ASSERT_OK(one);
  EXPECT_THAT(one->text, HasSubstr("Examples:\n  cloudscalectl policy web-1"));
}

TEST_F(ParserTest, CompletesCommandsOptionsAndValues) {
  EXPECT_THAT(CompleteWords({"sta"}), ElementsAre("status\tdoes it"));
  EXPECT_THAT(CompleteWords({"status", "--co"}), ElementsAre("--colour\twhich"));
  EXPECT_THAT(CompleteWords({"status", "--js"}), ElementsAre("--json\tanswer in JSON"));
  EXPECT_THAT(CompleteWords({"status", "--colour", ""}), ElementsAre("red", "green"));
  EXPECT_THAT(CompleteWords({"status", "--colour", "g"}), ElementsAre("green"));
}

TEST_F(ParserTest, CompletesVmsWhereOneIsExpectedAndOnlyThere) {
  EXPECT_THAT(CompleteWords({"status", ""}), Contains("@vm"));
  EXPECT_THAT(CompleteWords({"status", "--json", ""}), Contains("@vm"));
  EXPECT_THAT(CompleteWords({"status", "--other", ""}), ElementsAre("@vm"));
  EXPECT_THAT(CompleteWords({"status", "web-1", ""}), Not(Contains("@vm")));
}

TEST(CompletionScriptTest, EachShellAsksTheHiddenCommand) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const auto script = CompletionScript(shell);
    CS_ASSERT_OK(script);
    EXPECT_THAT(std::string(*script), HasSubstr(kCompleteCommand)) << shell;
  }
  EXPECT_THAT(CompletionScript("tcsh"), StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace cloudscale::cli
