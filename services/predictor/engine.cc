#include "services/predictor/engine.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check/check.h"
#include "common/status/macros.h"
#include "common/status/violations.h"

namespace cloudscale::predictor {
namespace {

constexpr absl::string_view kResourceFields[kResourceCount] = {"cpu", "memory"};

absl::Status CheckBatch(const ObservationBatch& batch) {
  const auto is_good = [](double value) { return value >= 0 && std::isfinite(value); };
  for (const VmObservation& vm : batch.vms) {
    for (const Observation& observation : vm.resource) {
      if (observation.is_fresh && !(is_good(observation.usage) && is_good(observation.demand))) {
        Violations violations;
        for (size_t i = 0; i < batch.vms.size(); ++i) {
          for (size_t r = 0; r < kResourceCount; ++r) {
            const Observation& o = batch.vms[i].resource[r];
            if (o.is_fresh && !is_good(o.usage)) {
              violations.Add(absl::StrCat("vms[", i, "].", kResourceFields[r], ".usage"),
                             absl::StrCat(o.usage), "finite, >= 0");
            }
            if (o.is_fresh && !is_good(o.demand)) {
              violations.Add(absl::StrCat("vms[", i, "].", kResourceFields[r], ".demand"),
                             absl::StrCat(o.demand), "finite, >= 0");
            }
          }
        }
        return violations.ToStatus();
      }
    }
  }
  return absl::OkStatus();
}

// From this part of a host's demand on, VMs at their caps make it a lower bound.
constexpr double kCensoredPart = 0.5;

int64_t StepIndex(absl::Time time, absl::Duration step) {
  return absl::ToUnixNanos(time) / absl::ToInt64Nanoseconds(step);
}

}  // namespace

absl::StatusOr<std::unique_ptr<PredictorEngine>> PredictorEngine::Create(PredictorOptions options) {
  Violations violations;
  ValidateOptions(options, violations);
  if (ModelRegistry(options.parameters).Find(options.model) == nullptr) {
    violations.Add("model", options.model, "a name of the model list");
  }
  CS_RETURN_IF_ERROR(violations.ToStatus());
  return std::unique_ptr<PredictorEngine>(new PredictorEngine(std::move(options)));
}

PredictorEngine::PredictorEngine(PredictorOptions options)
    : options_(std::move(options)),
      registry_(options_.parameters),
      workspace_(options_.parameters) {
  for (Choice& choice : defaults_) {
    choice.model = registry_.Find(options_.model);
  }
}

absl::StatusOr<PredictorEngine::IngestResult> PredictorEngine::Ingest(const ObservationBatch& batch,
                                                                      MonoTime received_at) {
  CS_RETURN_IF_ERROR(CheckBatch(batch));
  CS_ASSIGN_OR_RETURN(Host * host, FindOrAddHost(batch.host_id));
  IngestResult result;
  absl::Time time = batch.time;
  if (!batch.boot_id.empty()) {
    if (host->boot_id != batch.boot_id) {
      // A boot never starts before the last sample of the one before, whatever the wall clock says.
      host->boot_time = std::max(batch.time - batch.monotonic_time,
                                 host->last_seen - batch.monotonic_time + absl::Nanoseconds(1));
      host->boot_id = std::string(batch.boot_id);
    } else if (batch.monotonic_time <= host->last_monotonic_time) {
      // Not by the sequence: it counts sampling periods, so it falls when these get longer.
      result.is_repeated = true;
      return result;
    }
    time = host->boot_time + batch.monotonic_time;
  } else if (time <= host->last_seen) {
    result.is_repeated = true;
    return result;
  }
  host->last_monotonic_time = batch.monotonic_time;
  host->last_seen = time;
  host->last_received = received_at;
  ForgetOld(received_at);
  ChangeWaiting(kChangedPerBatch);

  const int64_t step = StepIndex(time, options_.step);
  Observation sums[kResourceCount];
  host->order.resize(batch.vms.size(), nullptr);
  for (size_t i = 0; i < batch.vms.size(); ++i) {
    if (!ObserveVm(batch.vms[i], batch, received_at, time, step, i, *host, sums)) {
      ++result.refused_vm_count;
    }
  }
  refused_count_ += result.refused_vm_count;
  ObserveSums(batch, time, step, sums, *host);
  result.has_due = host->next_due < host->due.size();
  return result;
}

bool PredictorEngine::ObserveVm(const VmObservation& observation, const ObservationBatch& batch,
                                MonoTime received_at, absl::Time time, int64_t step,
                                size_t position, Host& host, Observation* sums) {
  Vm*& vm = host.order[position];
  if (vm == nullptr || vm->uuid != observation.vm_uuid) {
    vm = FindOrAddVm(observation.vm_uuid);
    if (vm == nullptr) {
      return false;
    }
  }
  vm->last_received = received_at;
  const bool has_moved = vm->host_id != host.id &&
                         (observation.resource[0].is_fresh || observation.resource[1].is_fresh);
  if (has_moved) {
    vm->host_id = host.id;
  }
  bool has_room = true;
  for (size_t r = 0; r < kResourceCount; ++r) {
    const Observation& o = observation.resource[r];
    std::shared_ptr<Series>& series = vm->series[r];
    if (series == nullptr) {
      if (!o.is_fresh) {
        continue;
      }
      series = MakeSeries({vm->uuid, host.id, static_cast<Resource>(r)}, vm->choice[r]);
      if (series == nullptr) {
        has_room = false;
        continue;
      }
      series->StartWith(experience_.Find(static_cast<Resource>(r), o.capacity));
      if (vm->target[r]) {
        ApplyTarget(*vm->target[r], time, *series);
        vm->target[r].reset();
      }
    } else if (has_moved) {
      series->MoveTo(host.id, step, time);
    }
    if (series->Observe(step, time, batch.sequence, batch.sampling_period, o)) {
      MarkDue(series, host);
    }
    if (series->TakePromotion()) {
      NotePromotion(*series, *vm);
    }
    // A missing sample counts with the demand known last: it must not make room on the host.
    sums[r].is_fresh = true;
    sums[r].demand += series->last_demand();
    // As the part of the sum that was held back; `ObserveSums` makes a yes or no of it.
    sums[r].usage += o.is_censored ? series->last_demand() : 0;
  }
  return has_room;
}

void PredictorEngine::ObserveSums(const ObservationBatch& batch, absl::Time time, int64_t step,
                                  Observation* sums, Host& host) {
  for (size_t r = 0; r < kResourceCount; ++r) {
    std::shared_ptr<Series>& series = host.sum[r];
    // One small VM at its cap does not make the sum of all of them a lower bound.
    sums[r].is_censored = sums[r].usage > kCensoredPart * sums[r].demand;
    sums[r].usage = sums[r].demand;
    if (series == nullptr) {
      if (!sums[r].is_fresh) {
        continue;
      }
      series = MakeSeries({"", host.id, static_cast<Resource>(r)}, {});
      if (series == nullptr) {
        ++refused_count_;
        continue;
      }
    }
    if (series->Observe(step, time, batch.sequence, batch.sampling_period, sums[r])) {
      MarkDue(series, host);
    }
  }
}

void PredictorEngine::MarkDue(const std::shared_ptr<Series>& series, Host& host) {
  if (!series->is_due) {
    if (host.next_due > host.due.size() / 2) {
      // Done with: without this a list that never runs empty would grow for ever.
      host.due.erase(host.due.begin(),
                     host.due.begin() + static_cast<std::ptrdiff_t>(host.next_due));
      host.next_due = 0;
    }
    series->is_due = true;
    host.due.push_back(series);
  }
}

size_t PredictorEngine::due_count(absl::string_view host_id) const {
  const auto it = hosts_.find(host_id);
  return it == hosts_.end() ? 0 : it->second->due.size() - it->second->next_due;
}

bool PredictorEngine::NextDue(absl::string_view host_id, Due& due) {
  const auto it = hosts_.find(host_id);
  if (it == hosts_.end()) {
    return false;
  }
  Host& host = *it->second;
  while (host.next_due < host.due.size()) {
    due.series = std::move(host.due[host.next_due++]);
    due.series->is_due = false;
    if (due.series->Prepare(due.job)) {
      return true;
    }
  }
  host.due.clear();
  host.next_due = 0;
  return false;
}

std::optional<PublishedForecast> PredictorEngine::Commit(Due& due, absl::Time now) {
  LearnFrom(*due.series);
  due.series->Commit(due.job, now);
  const std::optional<SeriesForecast>& forecast = due.series->forecast();
  if (!forecast || forecast->after_step != due.job.after_step) {
    return std::nullopt;
  }
  PublishedForecast published = Publish(*due.series, now);
  published.is_promotion = std::exchange(due.series->is_promotion_untold, false);
  return published;
}

void PredictorEngine::LearnFrom(Series& series) {
  if (series.id().vm_uuid.empty()) {
    return;  // a sum is of no kind
  }
  const Resource resource = series.id().resource;
  if (const std::vector<float> shapes = series.ShapesToShare(); !shapes.empty()) {
    experience_.AddShapes(resource, series.capacity(), shapes);
  }
  if (const auto outcome = series.TakeYouthOutcome()) {
    experience_.AddYouth(resource, series.capacity(), *outcome);
  }
}

std::vector<PublishedForecast> PredictorEngine::TakeForecasts(absl::string_view host_id,
                                                              absl::Time now) {
  std::vector<PublishedForecast> forecasts;
  Due due;
  while (NextDue(host_id, due)) {
    ComputeForecast(options_, workspace_, due.job);
    if (auto forecast = Commit(due, now)) {
      forecasts.push_back(*std::move(forecast));
    }
  }
  return forecasts;
}

double PredictorEngine::AdvisedAllocation(const PublishedForecast& published, const Series& series,
                                          absl::Time now) const {
  if (published.forecast.advised) {
    return *published.forecast.advised;
  }
  const double price = now < series.price_factor_until ? series.price_factor : 1;
  return QuantileAt(options_, published.forecast.quantiles, 0,
                    1 - published.target_violation_ratio / price);
}

PublishedForecast PredictorEngine::Publish(const Series& series, absl::Time now) const {
  PublishedForecast published;
  published.id = series.id();
  if (!series.forecast()) {
    return published;
  }
  published.forecast = *series.forecast();
  published.forecast.is_warm = series.is_warm();
  published.target_violation_ratio =
      series.target_violation_ratio.value_or(options_.target_violation_ratio);
  published.advised_allocation = AdvisedAllocation(published, series, now);
  return published;
}

absl::StatusOr<PublishedForecast> PredictorEngine::ForecastOf(absl::string_view vm_uuid,
                                                              absl::string_view host_id,
                                                              Resource resource,
                                                              absl::string_view model,
                                                              absl::Time now) {
  const std::shared_ptr<Series> found = FindShared(vm_uuid, host_id, resource);
  if (found == nullptr) {
    return absl::NotFoundError("there is no such series");
  }
  Series& series = *found;
  if (!series.forecast()) {
    return absl::NotFoundError("nothing has been forecast for this series yet");
  }
  if (model.empty() || model == series.forecast()->model->name()) {
    return Publish(series, now);
  }
  ForecastJob job;
  if (series.Prepare(job)) {
    for (size_t m = 0; m < job.models.size(); ++m) {
      if (job.models[m]->name() != model) {
        continue;
      }
      ComputeForecast(options_, workspace_, job);
      PublishedForecast published = Publish(series, now);
      published.forecast.model = job.models[m];
      published.forecast.reason = job.outputs[m].reason;
      published.forecast.made_at = now;
      published.forecast.expected = job.outputs[m].expected;
      published.forecast.quantiles = job.outputs[m].quantiles;
      published.forecast.advised = job.outputs[m].advised;
      published.forecast.violation_price = job.outputs[m].violation_price;
      published.forecast.padding = {};
      published.advised_allocation = AdvisedAllocation(published, series, now);
      return published;
    }
  }
  return absl::NotFoundError(absl::StrCat("model \"", model,
                                          "\" does not run on this series; in use is ",
                                          series.forecast()->model->name()));
}

}  // namespace cloudscale::predictor
