#include "hypervisor/xen/xen_move_record.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/status/macros.h"

namespace cloudscale::hypervisor::xen {
namespace {

constexpr absl::string_view kMark = "cloudscale-move 1 ";
constexpr absl::string_view kExitNote = "cloudscale: exit ";
constexpr size_t kMaxComplaint = 300;
constexpr size_t kMaxAddress = 253;

template <typename Number>
bool ReadField(const std::map<std::string, std::string>& fields, const std::string& name,
               Number& value) {
  const auto field = fields.find(name);
  return field != fields.end() && absl::SimpleAtoi(field->second, &value);
}

absl::StatusOr<MoveHeader> ParseHeader(absl::string_view head) {
  const size_t end = head.find('\n');
  if (end == absl::string_view::npos || !absl::ConsumePrefix(&head, kMark)) {
    return absl::InvalidArgumentError("not the record of a move");
  }
  std::map<std::string, std::string> fields;
  for (const absl::string_view field :
       absl::StrSplit(head.substr(0, end - kMark.size()), ' ', absl::SkipEmpty())) {
    fields.insert(absl::StrSplit(field, absl::MaxSplits('=', 1)));
  }
  MoveHeader header;
  int64_t begun_ms = 0;
  if (!ReadField(fields, "process", header.process_id) || header.process_id <= 1 ||
      !ReadField(fields, "start", header.process_start) ||
      !ReadField(fields, "domain", header.domain_id) || !ReadField(fields, "begun", begun_ms)) {
    return absl::InvalidArgumentError("not the record of a move");
  }
  header.begun = absl::Milliseconds(begun_ms);
  header.host_id = fields["host"];
  return header;
}

bool IsComplaint(absl::string_view line) {
  static constexpr std::array<absl::string_view, 9> kWords = {
      "error", "fail", "cannot", "refused", "denied", "unable", "no route", "not found", "timed"};
  const std::string lower = absl::AsciiStrToLower(line);
  return std::any_of(kWords.begin(), kWords.end(),
                     [&](absl::string_view word) { return absl::StrContains(lower, word); });
}

// Output may be anything; what is passed on is one line of text.
std::string Printable(absl::string_view line) {
  std::string text(line.substr(0, kMaxComplaint));
  std::replace_if(
      text.begin(), text.end(),
      [](char c) { return !absl::ascii_isprint(static_cast<unsigned char>(c)); }, '?');
  return text;
}

std::string HowItEnded(const MoveRecord& record) {
  const std::string exit = !record.exit_code.has_value() ? "xl ended, nobody heard how"
                           : *record.exit_code >= 128
                               ? absl::StrCat("xl was ended by signal ", *record.exit_code - 128)
                               : absl::StrCat("xl ended with exit code ", *record.exit_code);
  return record.complaint.empty() ? exit : absl::StrCat(exit, ": ", record.complaint);
}

MigrationProgress Failed(std::string error) {
  MigrationProgress progress;
  progress.stage = MigrationStage::kFailed;
  progress.error = std::move(error);
  return progress;
}

MigrationProgress JudgeEnded(const MoveRecord& record, SourceDomain source) {
  MigrationProgress progress;
  switch (source) {
    case SourceDomain::kRuns:
      if (record.is_cancelled) {
        progress.stage = MigrationStage::kCancelled;
        return progress;
      }
      return Failed(absl::StrCat("it still runs on the source; ",
                                 record.is_out_of_time ? "the move took too long; " : "",
                                 HowItEnded(record)));
    case SourceDomain::kAbsent:
      if (record.is_started || record.exit_code == 0) {
        progress.stage = MigrationStage::kDone;
        return progress;
      }
      return Failed(absl::StrCat("it is gone from the source, and nobody said that ",
                                 record.header.host_id, " runs it: look there; ",
                                 HowItEnded(record)));
    case SourceDomain::kSuspended:
      if (record.is_started) {
        progress.stage = MigrationStage::kDone;
        progress.error = absl::StrCat("the source still holds its old copy: xl destroy ",
                                      record.header.domain_id, " there");
        return progress;
      }
      if (record.is_permitted) {
        return Failed(absl::StrCat(
            "it is suspended on the source and may run on ", record.header.host_id,
            ": look at both, never resume one while the other runs; ", HowItEnded(record)));
      }
      return Failed(absl::StrCat(
          "it is suspended on the source and runs nowhere; cancelling the move lets it run on; ",
          HowItEnded(record)));
    case SourceDomain::kEnded:
      break;
  }
  return Failed(absl::StrCat("it shut down by itself on the source; ", HowItEnded(record)));
}

}  // namespace

std::string FormatHeader(const MoveHeader& header) {
  return absl::StrCat(kMark, "process=", header.process_id, " start=", header.process_start,
                      " domain=", header.domain_id,
                      " begun=", absl::ToInt64Milliseconds(header.begun), " host=", header.host_id,
                      "\n");
}

std::string FormatExit(int exit_code) { return absl::StrCat("\n", kExitNote, exit_code, "\n"); }

absl::StatusOr<MoveRecord> ParseMove(absl::string_view text, bool is_whole) {
  MoveRecord record;
  CS_ASSIGN_OR_RETURN(record.header, ParseHeader(text));
  record.is_permitted = !is_whole;
  absl::string_view last;
  bool has_complaint = false;
  for (absl::string_view line : absl::StrSplit(text, absl::ByAnyChar("\r\n"))) {
    line = absl::StripAsciiWhitespace(line);
    int exit_code = 0;
    if (line.empty() || absl::StartsWith(line, kMark)) {
      continue;
    }
    if (line == absl::StripAsciiWhitespace(kCancelNote)) {
      record.is_cancelled = true;
    } else if (line == absl::StripAsciiWhitespace(kTimeNote)) {
      record.is_out_of_time = true;
    } else if (absl::ConsumePrefix(&line, kExitNote)) {
      if (absl::SimpleAtoi(line, &exit_code)) {
        record.exit_code = exit_code;
      }
    } else {
      record.is_received |= absl::StrContains(line, "sender: Target has acknowledged transfer");
      record.is_permitted |= absl::StrContains(line, "sender: Giving target permission to start");
      record.is_started |= absl::StrContains(line, "sender: Target reports successful startup");
      // The first is the cause, later ones what came of it.
      if (!has_complaint && IsComplaint(line)) {
        record.complaint = Printable(line);
        has_complaint = true;
      }
      last = line;
    }
  }
  if (!has_complaint) {
    record.complaint = Printable(last);
  }
  return record;
}

MigrationProgress JudgeMove(const MoveRecord& record, bool is_xl_running, SourceDomain source) {
  if (!is_xl_running) {
    return JudgeEnded(record, source);
  }
  MigrationProgress progress;
  // `xl` takes the old copy away as the last thing that it does.
  progress.stage = source == SourceDomain::kRuns && !record.is_received
                       ? MigrationStage::kPreCopy
                       : MigrationStage::kStopAndCopy;
  return progress;
}

bool MayResume(const MoveRecord& record, bool is_xl_running, SourceDomain source) {
  return !is_xl_running && source == SourceDomain::kSuspended && !record.is_permitted &&
         !record.is_started;
}

std::string ShellQuoted(absl::string_view word) {
  return absl::StrCat("'", absl::StrReplaceAll(word, {{"'", "'\\''"}}), "'");
}

bool IsHostAddress(absl::string_view address) {
  return !address.empty() && address.size() <= kMaxAddress && address[0] != '-' &&
         address[0] != '.' && address[0] != '_' &&
         std::all_of(address.begin(), address.end(), [](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-' ||
                  c == ':' || c == '_';
         });
}

}  // namespace cloudscale::hypervisor::xen
