#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/args/options.h"
#include "cli/io.h"
#include "cli/render/text.h"
#include "common/random/rng.h"
#include "common/time/clock.h"
#include "google/protobuf/message.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/sync_stream.h"

namespace cloudscale::cli {

// One run of the tool: options, terminal, clock, and the channels that commands use. Every error
// of a call carries the address and the method (see exit_code.h).
// Thread safety: confined to the main thread.
class Session {
 public:
  // Pages that one listing reads at most; with 1000 entries each this is more than a screen holds.
  static constexpr int kMaxPages = 100;
  static constexpr int kPageSize = 1000;

  // `io` and `clock` outlive the session.
  Session(GlobalOptions options, Io& io, Clock& clock, Rng rng);

  [[nodiscard]] const GlobalOptions& options() const { return options_; }
  [[nodiscard]] Io& io() { return io_; }
  [[nodiscard]] Clock& clock() { return clock_; }
  [[nodiscard]] Style style() const;
  // Width for tables: the terminal's, or 0 (no limit) where there is none.
  [[nodiscard]] int width() const;

  // Connects lazily; the same address gives the same channel. INVALID_ARGUMENT for a bad address
  // or bad TLS files.
  absl::StatusOr<std::shared_ptr<grpc::Channel>> ChannelTo(const std::string& address);

  // A random UUID for requests that change something.
  [[nodiscard]] std::string NewRequestId();

  // Waits longer for the answers from now on: for calls that take their time by their nature.
  void ExtendTimeout(absl::Duration by) { extension_ += by; }

  // Sets the deadline of one call: `--timeout` from now.
  void Prepare(grpc::ClientContext& context) const;

  // One unary call of `method`, for example `&ScalerService::Stub::GetStatus`.
  template <typename Stub, typename Request, typename Response>
  absl::Status Call(Peer peer,
                    grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response) {
    const std::string& address = options_.AddressOf(peer);
    absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = ChannelTo(address);
    if (!channel.ok()) {
      return channel.status();
    }
    Stub stub(*channel);
    grpc::ClientContext context;
    Prepare(context);
    return Finish((stub.*method)(&context, request, response), address, NameOf(request));
  }

  // Reads pages of a listing until the last one, or until there are `limit` entries, merged into
  // `*all`; servers may answer with shorter pages than asked for.
  template <typename Stub, typename Request, typename Response>
  absl::Status CallAllPages(Peer peer,
                            grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                         Response*),
                            Request request, Response* all, int limit = kMaxPages * kPageSize) {
    request.set_page_size(limit < kPageSize ? limit : kPageSize);
    for (int page = 0; page < kMaxPages && EntryCount(*all) < limit; ++page) {
      Response response;
      if (absl::Status status = Call(peer, method, request, &response); !status.ok()) {
        return status;
      }
      request.set_page_token(response.next_page_token());
      all->MergeFrom(response);
      if (request.page_token().empty()) {
        break;
      }
    }
    all->clear_next_page_token();
    return absl::OkStatus();
  }

  // Reads a server stream until it ends or `on_message` returns false. No deadline.
  template <typename Stub, typename Request, typename Response>
  absl::Status Stream(Peer peer,
                      std::unique_ptr<grpc::ClientReader<Response>> (Stub::*method)(
                          grpc::ClientContext*, const Request&),
                      const Request& request,
                      const std::function<bool(const Response&)>& on_message) {
    const std::string& address = options_.AddressOf(peer);
    absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = ChannelTo(address);
    if (!channel.ok()) {
      return channel.status();
    }
    Stub stub(*channel);
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<Response>> reader = (stub.*method)(&context, request);
    Response response;
    bool is_stopped = false;
    while (!is_stopped && reader->Read(&response)) {
      is_stopped = !on_message(response);
    }
    if (is_stopped) {
      context.TryCancel();
      (void)reader->Finish();
      return absl::OkStatus();
    }
    return Finish(reader->Finish(), address, NameOf(request));
  }

  // `status` with address and method attached; OK stays OK.
  [[nodiscard]] static absl::Status Finish(const grpc::Status& status, const std::string& address,
                                           const std::string& method);

  // Prints a message as JSON: in many lines, or in one for streams.
  void PrintJson(const google::protobuf::Message& message, bool is_one_line = false);

 private:
  // Size of the first repeated field, which is what a listing lists.
  [[nodiscard]] static int EntryCount(const google::protobuf::Message& listing);
  // `cloudscale.scaler.v1.GetStatusRequest` → `scaler GetStatus`.
  [[nodiscard]] static std::string NameOf(const google::protobuf::Message& request);

  const GlobalOptions options_;
  absl::Duration extension_;
  Io& io_;
  Clock& clock_;
  Rng rng_;
  std::map<std::string, std::shared_ptr<grpc::Channel>> channels_;
};

// Stable form of a message: names as in the proto, enums by name, fields of zero value present.
[[nodiscard]] std::string MessageToJson(const google::protobuf::Message& message, bool is_one_line);

}  // namespace cloudscale::cli
