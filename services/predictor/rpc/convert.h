#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cloudscale/common/v1/forecast.pb.h"
#include "cloudscale/predictor/v1/predictor.pb.h"
#include "common/status/violations.h"
#include "services/predictor/engine.h"

namespace cloudscale::predictor {

// Turns the batches of one stream into observations. Keeps its buffers, and what a batch may leave
// out because it has not changed. Thread safety: thread-compatible.
class BatchReader {
 public:
  // INVALID_ARGUMENT with every faulty field of the batch. The result points into `batch` and into
  // this object; it is valid until the next call.
  absl::StatusOr<ObservationBatch> Read(const v1::TelemetryBatch& batch);

 private:
  absl::Duration sampling_period_ = absl::Seconds(1);
  std::vector<VmObservation> vms_;
};

// `field` is the name in the request, for the error. Unspecified = both resources = nullopt.
[[nodiscard]] std::optional<Resource> ResourceFromProto(common::v1::Resource resource,
                                                        absl::string_view field,
                                                        Violations& violations);
[[nodiscard]] common::v1::Resource ToProto(Resource resource);

void ToProto(const PredictorOptions& options, const PublishedForecast& forecast,
             common::v1::Forecast* proto);

// One message per model and horizon, in that order.
[[nodiscard]] std::vector<v1::Accuracy> AccuraciesOf(const PredictorOptions& options,
                                                     const Series& series);

// Position of a series in the order of PredictorEngine::Visit.
[[nodiscard]] PredictorEngine::Position PositionOf(const SeriesId& id);

// Where a listing goes on: a position and how many rows of the series after it are done. The text
// is opaque to clients; INVALID_ARGUMENT for one that was not given out.
struct PageToken {
  PredictorEngine::Position position;
  int64_t rows_done = 0;
};
[[nodiscard]] std::string EncodePageToken(const PageToken& token);
[[nodiscard]] absl::StatusOr<PageToken> DecodePageToken(const std::string& text);

}  // namespace cloudscale::predictor
