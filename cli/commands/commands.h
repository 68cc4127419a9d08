#pragma once

#include <memory>

#include "cli/command.h"

namespace cloudscale::cli {

// One function per command (or family of commands), each in the file that its comment names.
std::unique_ptr<Command> MakeStatusCommand();      // status.cc
std::unique_ptr<Command> MakeHostsCommand();       // inventory.cc
std::unique_ptr<Command> MakeVmsCommand();         // inventory.cc
std::unique_ptr<Command> MakeTopCommand();         // top.cc
std::unique_ptr<Command> MakeForecastCommand();    // forecast.cc
std::unique_ptr<Command> MakeDecisionsCommand();   // decisions.cc
std::unique_ptr<Command> MakeActionsCommand();     // actions.cc
std::unique_ptr<Command> MakeWhyCommand();         // why.cc
std::unique_ptr<Command> MakePolicyCommand();      // policy.cc
std::unique_ptr<Command> MakeModeCommand();        // control.cc
std::unique_ptr<Command> MakePauseCommand();       // control.cc
std::unique_ptr<Command> MakeResumeCommand();      // control.cc
std::unique_ptr<Command> MakeRestoreCommand();     // restore.cc
std::unique_ptr<Command> MakeAccuracyCommand();    // models.cc
std::unique_ptr<Command> MakeModelsCommand();      // models.cc
std::unique_ptr<Command> MakeRetrainCommand();     // models.cc
std::unique_ptr<Command> MakeModelCommand();       // model.cc
std::unique_ptr<Command> MakeBacktestCommand();    // backtest.cc
std::unique_ptr<Command> MakeObjectivesCommand();  // sla.cc
std::unique_ptr<Command> MakeViolationsCommand();  // sla.cc
std::unique_ptr<Command> MakeSlaCommand();         // sla_report.cc
std::unique_ptr<Command> MakeBackendsCommand();    // backends.cc
std::unique_ptr<Command> MakeLbCommand();          // lb.cc
std::unique_ptr<Command> MakeListCommand();        // reflection.cc
std::unique_ptr<Command> MakeDescribeCommand();    // reflection.cc
std::unique_ptr<Command> MakeCallCommand();        // call.cc
std::unique_ptr<Command> MakeHealthCommand();      // health.cc
std::unique_ptr<Command> MakeVersionCommand();     // health.cc
std::unique_ptr<Command> MakeCompletionCommand();  // completion.cc

}  // namespace cloudscale::cli
