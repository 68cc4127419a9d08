#include "cli/rpc/dynamic_call.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/rpc/session.h"
#include "common/status/macros.h"
#include "common/sync/mutex.h"
#include "google/protobuf/dynamic_message.h"
#include "google/protobuf/util/json_util.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/client_callback.h"

namespace cloudscale::cli {
namespace {

using google::protobuf::Message;
using google::protobuf::MethodDescriptor;

// Any method as a stream of bytes in both directions; on the wire they are all the same. Answers
// are handled on the library's thread, one after the other.
class ByteStream : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  ByteStream(const std::shared_ptr<grpc::Channel>& channel, grpc::ClientContext& context,
             const std::string& method, std::function<void(grpc::ByteBuffer&)> on_response)
      : stub_(channel), on_response_(std::move(on_response)) {
    stub_.PrepareBidiStreamingCall(&context, method, grpc::StubOptions(), this);
    AddHold();  // for the writes that come from outside
    StartRead(&incoming_);
    StartCall();
  }

  // Blocks until it is written. False when the call is over.
  bool Write(grpc::ByteBuffer request) {
    outgoing_ = std::move(request);
    StartWrite(&outgoing_);
    return WaitForWrite();
  }

  // No more requests; blocks until the call is over.
  grpc::Status Finish() {
    StartWritesDone();
    WaitForWrite();
    RemoveHold();
    MutexLock lock(&mutex_);
    while (!is_done_) {
      changed_.Wait(&mutex_, std::stop_token());
    }
    return status_;
  }

 private:
  bool WaitForWrite() {
    MutexLock lock(&mutex_);
    while (!is_written_) {
      changed_.Wait(&mutex_, std::stop_token());
    }
    is_written_ = false;
    return is_write_ok_;
  }

  void OnWritten(bool is_ok) {
    // Notified under the lock: the waiter may be the one who destroys this object.
    MutexLock lock(&mutex_);
    is_written_ = true;
    is_write_ok_ = is_ok;
    changed_.NotifyAll();
  }

  void OnWriteDone(bool ok) override { OnWritten(ok); }
  void OnWritesDoneDone(bool ok) override { OnWritten(ok); }

  void OnReadDone(bool ok) override {
    if (!ok) {
      return;
    }
    on_response_(incoming_);
    StartRead(&incoming_);
  }

  void OnDone(const grpc::Status& status) override {
    MutexLock lock(&mutex_);
    status_ = status;
    is_done_ = true;
    changed_.NotifyAll();
  }

  grpc::GenericStub stub_;
  const std::function<void(grpc::ByteBuffer&)> on_response_;
  grpc::ByteBuffer incoming_;
  grpc::ByteBuffer outgoing_;
  Mutex mutex_;
  CondVar changed_;
  bool is_written_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_write_ok_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_done_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::Status status_ ABSL_GUARDED_BY(mutex_);
};

absl::StatusOr<grpc::ByteBuffer> ToBytes(const std::string& json, Message& message) {
  message.Clear();
  const auto parsed = google::protobuf::util::JsonStringToMessage(json, &message);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("the request is not a ",
                                                   message.GetDescriptor()->full_name(),
                                                   " in JSON: ", std::string(parsed.message())));
  }
  const grpc::Slice slice(message.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

bool FromBytes(grpc::ByteBuffer& bytes, Message& message) {
  std::vector<grpc::Slice> slices;
  if (!bytes.Dump(&slices).ok()) {
    return false;
  }
  std::string flat;
  for (const grpc::Slice& slice : slices) {
    flat.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return message.ParseFromString(flat);
}

// The only request of a method that does not take a stream.
absl::StatusOr<std::string> OnlyRequest(const NextRequest& next_request) {
  CS_ASSIGN_OR_RETURN(const std::optional<std::string> request, next_request());
  CS_ASSIGN_OR_RETURN(const std::optional<std::string> second, next_request());
  if (second.has_value()) {
    return absl::InvalidArgumentError("this method takes one request, not several");
  }
  return request.value_or("{}");
}

}  // namespace

absl::Status CallDynamic(Session& session, const std::string& address,
                         const MethodDescriptor& method, const NextRequest& next_request,
                         const OnResponse& on_response) {
  google::protobuf::DynamicMessageFactory factory;
  const std::unique_ptr<Message> request(factory.GetPrototype(method.input_type())->New());
  const std::unique_ptr<Message> response(factory.GetPrototype(method.output_type())->New());
  std::optional<grpc::ByteBuffer> only;
  if (!method.client_streaming()) {
    CS_ASSIGN_OR_RETURN(const std::string json, OnlyRequest(next_request));
    CS_ASSIGN_OR_RETURN(only, ToBytes(json, *request));
  }
  CS_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, session.ChannelTo(address));
  grpc::ClientContext context;
  if (!method.client_streaming() && !method.server_streaming()) {
    session.Prepare(context);
  }
  const bool is_one_line = method.server_streaming();
  ByteStream stream(channel, context,
                    absl::StrCat("/", method.service()->full_name(), "/", method.name()),
                    [&](grpc::ByteBuffer& bytes) {
                      if (FromBytes(bytes, *response)) {
                        on_response(MessageToJson(*response, is_one_line));
                      }
                    });
  absl::Status input_error;
  if (only.has_value()) {
    stream.Write(*only);
  } else {
    while (true) {
      const absl::StatusOr<std::optional<std::string>> json = next_request();
      if (!json.ok() || !json->has_value()) {
        input_error = json.status();
        break;
      }
      const absl::StatusOr<grpc::ByteBuffer> bytes = ToBytes(**json, *request);
      if (!bytes.ok()) {
        input_error = bytes.status();
        break;
      }
      if (!stream.Write(*bytes)) {
        break;  // the server has ended the call; its status says why
      }
    }
  }
  if (!input_error.ok()) {
    context.TryCancel();
  }
  const absl::Status status = Session::Finish(
      stream.Finish(), address, absl::StrCat(method.service()->name(), "/", method.name()));
  return input_error.ok() ? status : input_error;
}

}  // namespace cloudscale::cli
