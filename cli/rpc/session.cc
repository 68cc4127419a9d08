#include "cli/rpc/session.h"

#include <chrono>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "cli/exit_code.h"
#include "common/rpc/channel.h"
#include "common/rpc/status_conversion.h"
#include "google/protobuf/util/json_util.h"

namespace cloudscale::cli {

Session::Session(GlobalOptions options, Io& io, Clock& clock, Rng rng)
    : options_(std::move(options)), io_(io), clock_(clock), rng_(rng) {}

Style Session::style() const {
  return Style{.is_coloured =
                   io_.is_out_terminal && io_.is_colour_wanted && !options_.is_colour_off};
}

int Session::width() const { return io_.is_out_terminal ? io_.size().first : 0; }

absl::StatusOr<std::shared_ptr<grpc::Channel>> Session::ChannelTo(const std::string& address) {
  if (const auto it = channels_.find(address); it != channels_.end()) {
    return it->second;
  }
  if (address.empty() || (!absl::StrContains(address, ':'))) {
    return absl::InvalidArgumentError(absl::StrCat(
        "address '", address, "' has no port; allowed: HOST:PORT, [IPV6]:PORT or unix:PATH"));
  }
  config::v1::TlsConfig tls;
  tls.set_ca_file(options_.tls_ca);
  tls.set_cert_file(options_.tls_cert);
  tls.set_key_file(options_.tls_key);
  const bool has_tls = !options_.tls_cert.empty();
  absl::StatusOr<std::shared_ptr<grpc::Channel>> channel =
      rpc::MakeChannel(address, has_tls ? &tls : nullptr);
  if (!channel.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(channel.status().message(), "; give --tls-ca, --tls-cert and --tls-key"));
  }
  channels_[address] = *channel;
  return channel;
}

std::string Session::NewRequestId() {
  const uint64_t high = (rng_.Next() & 0xFFFF'FFFF'FFFF'0FFFULL) | 0x4000ULL;  // version 4
  const uint64_t low = (rng_.Next() & 0x3FFF'FFFF'FFFF'FFFFULL) | 0x8000'0000'0000'0000ULL;
  return absl::StrFormat("%08x-%04x-%04x-%04x-%012x", high >> 32, (high >> 16) & 0xFFFF,
                         high & 0xFFFF, low >> 48, low & 0xFFFF'FFFF'FFFFULL);
}

void Session::Prepare(grpc::ClientContext& context) const {
  context.set_deadline(absl::ToChronoTime(clock_.WallNow() + options_.timeout + extension_));
}

absl::Status Session::Finish(const grpc::Status& status, const std::string& address,
                             const std::string& method) {
  absl::Status result = rpc::FromGrpcStatus(status);
  if (!result.ok()) {
    result.SetPayload(kAddressPayload, absl::Cord(address));
    result.SetPayload(kMethodPayload, absl::Cord(method));
  }
  return result;
}

int Session::EntryCount(const google::protobuf::Message& listing) {
  const auto* type = listing.GetDescriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    if (type->field(i)->is_repeated()) {
      return listing.GetReflection()->FieldSize(listing, type->field(i));
    }
  }
  return 0;
}

std::string Session::NameOf(const google::protobuf::Message& request) {
  const std::string& full = request.GetDescriptor()->full_name();
  const std::vector<absl::string_view> parts = absl::StrSplit(full, '.');
  return parts.size() < 4 ? full
                          : absl::StrCat(parts[1], " ", absl::StripSuffix(parts.back(), "Request"));
}

void Session::PrintJson(const google::protobuf::Message& message, bool is_one_line) {
  io_.out << MessageToJson(message, is_one_line) << "\n" << std::flush;
}

std::string MessageToJson(const google::protobuf::Message& message, bool is_one_line) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = !is_one_line;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(message, &text, options).ok()) {
    // Only an `Any` of an unknown type can do this.
    return absl::StrCat("{\"unprintable\": \"", message.GetDescriptor()->full_name(), "\"}");
  }
  return std::string(absl::StripTrailingAsciiWhitespace(text));
}

}  // namespace cloudscale::cli
