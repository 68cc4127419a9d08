// Keeping, finding and changing series; what needs no samples.
#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/macros.h"
#include "services/predictor/engine.h"

namespace cloudscale::predictor {
namespace {

constexpr absl::Duration kCleaningPeriod = absl::Minutes(1);

std::vector<size_t> IndicesOf(std::optional<Resource> resource) {
  if (resource) {
    return {static_cast<size_t>(*resource)};
  }
  return {0, 1};
}

}  // namespace

absl::StatusOr<PredictorEngine::Host*> PredictorEngine::FindOrAddHost(absl::string_view host_id) {
  const auto it = hosts_.find(host_id);
  if (it != hosts_.end()) {
    return it->second.get();
  }
  if (static_cast<int64_t>(hosts_.size()) >= options_.max_series) {
    ++refused_count_;
    return absl::ResourceExhaustedError(absl::StrCat("host ", host_id, ": ", hosts_.size(),
                                                     " hosts are known already, at most ",
                                                     options_.max_series, " are taken"));
  }
  auto host = std::make_unique<Host>();
  host->id = std::string(host_id);
  host->last_seen = absl::InfinitePast();
  Host* const result = host.get();
  hosts_.emplace(host->id, std::move(host));
  return result;
}

PredictorEngine::Vm* PredictorEngine::FindOrAddVm(absl::string_view uuid) {
  const auto it = vms_.find(uuid);
  if (it != vms_.end()) {
    return it->second.get();
  }
  if (static_cast<int64_t>(vms_.size()) >= options_.max_series) {
    return nullptr;
  }
  auto vm = std::make_unique<Vm>();
  vm->uuid = std::string(uuid);
  Vm* const result = vm.get();
  vms_.emplace(vm->uuid, std::move(vm));
  return result;
}

std::shared_ptr<Series> PredictorEngine::MakeSeries(SeriesId id, const Choice& choice) {
  if (series_count_ >= options_.max_series) {
    return nullptr;
  }
  ++series_count_;
  const Choice& fallback = defaults_[static_cast<size_t>(id.resource)];
  auto series = std::make_shared<Series>(
      std::move(id), choice.model != nullptr ? choice.model : fallback.model, options_);
  series->is_model_chosen = choice.model != nullptr;
  UseShadowOf(choice, fallback, *series);
  return series;
}

void PredictorEngine::UseShadowOf(const Choice& choice, const Choice& fallback, Series& series) {
  const Choice& chosen = choice.shadow != nullptr ? choice : fallback;
  // A host's sum has no choice of its own, so nothing could keep a promotion.
  series.UseShadow(chosen.shadow, chosen.may_promote && !series.id().vm_uuid.empty());
  series.is_shadow_chosen = choice.shadow != nullptr;
}

void PredictorEngine::ForgetOld(MonoTime now) {
  if (last_cleaning_ && now - *last_cleaning_ < kCleaningPeriod) {
    return;
  }
  last_cleaning_ = now;
  bool has_forgotten = false;
  const auto forget = [&](auto& map, auto& series_of) {
    for (auto it = map.begin(); it != map.end();) {
      std::optional<MonoTime>& last_received = it->second->last_received;
      if (!last_received) {
        last_received = now;
      }
      // Not against `now` less the time to live: that may be before the clock's start.
      if (now - *last_received <= options_.series_ttl) {
        ++it;
        continue;
      }
      for (const auto& series : series_of(*it->second)) {
        series_count_ -= series != nullptr ? 1 : 0;
      }
      it = map.erase(it);
      has_forgotten = true;
    }
  };
  const auto of_vm = [](Vm& vm) -> auto& { return vm.series; };
  const auto of_host = [](Host& host) -> auto& { return host.sum; };
  forget(vms_, of_vm);
  forget(hosts_, of_host);
  if (has_forgotten) {
    for (auto& [id, host] : hosts_) {
      host->order.clear();
    }
  }
}

std::shared_ptr<Series> PredictorEngine::FindShared(absl::string_view vm_uuid,
                                                    absl::string_view host_id,
                                                    Resource resource) const {
  const auto r = static_cast<size_t>(resource);
  if (vm_uuid.empty()) {
    const auto it = hosts_.find(host_id);
    return it == hosts_.end() ? nullptr : it->second->sum[r];
  }
  const auto it = vms_.find(vm_uuid);
  return it == vms_.end() ? nullptr : it->second->series[r];
}

const Series* PredictorEngine::Find(absl::string_view vm_uuid, absl::string_view host_id,
                                    Resource resource) const {
  return FindShared(vm_uuid, host_id, resource).get();
}

void PredictorEngine::NotePromotion(Series& series, Vm& vm) {
  ++promotion_count_;
  series.is_model_chosen = true;
  series.is_shadow_chosen = true;
  series.is_promotion_untold = true;
  vm.choice[static_cast<size_t>(series.id().resource)] = {.model = series.tracks()[0].model(),
                                                          .shadow = series.tracks()[1].model(),
                                                          .may_promote = series.may_promote()};
}

void PredictorEngine::Visit(const Position& position,
                            const std::function<bool(const Series&)>& visit) const {
  const auto visit_all = [&](const auto& series_of, bool is_at_position) {
    for (int r = is_at_position ? position.resource + 1 : 0; r < kResourceCount; ++r) {
      if (series_of[r] != nullptr && !visit(*series_of[r])) {
        return false;
      }
    }
    return true;
  };
  if (position.vm_uuid.empty()) {
    for (auto it = hosts_.lower_bound(position.host_id); it != hosts_.end(); ++it) {
      if (!visit_all(it->second->sum, it->first == position.host_id)) {
        return;
      }
    }
  }
  for (auto it = vms_.lower_bound(position.vm_uuid); it != vms_.end(); ++it) {
    if (!visit_all(it->second->series, it->first == position.vm_uuid)) {
      return;
    }
  }
}

int64_t PredictorEngine::ApplyChoice(Vm& vm, size_t resource) {
  Series* const series = vm.series[resource].get();
  if (series == nullptr) {
    return 0;
  }
  const Choice& choice = vm.choice[resource];
  const Choice& fallback = defaults_[resource];
  series->UseModel(choice.model != nullptr ? choice.model : fallback.model);
  series->is_model_chosen = choice.model != nullptr;
  UseShadowOf(choice, fallback, *series);
  return 1;
}

absl::StatusOr<PredictorEngine::Selection> PredictorEngine::SelectModel(
    absl::string_view vm_uuid, std::optional<Resource> resource, absl::string_view model,
    bool is_shadow, bool apply, bool may_promote) {
  const ForecastModel* const chosen = model.empty() ? nullptr : registry_.Find(model);
  if (!model.empty() && chosen == nullptr) {
    return absl::NotFoundError(absl::StrCat("there is no model \"", model, "\""));
  }
  const auto name_of = [](const ForecastModel* m) {
    return m == nullptr ? std::string() : std::string(m->name());
  };
  const auto slot_of = [is_shadow](Choice& choice) -> const ForecastModel*& {
    return is_shadow ? choice.shadow : choice.model;
  };
  const std::vector<size_t> indices = IndicesOf(resource);
  Selection selection;
  Choice& first_default = defaults_[indices.front()];
  if (!vm_uuid.empty()) {
    const auto it = vms_.find(vm_uuid);
    if (it == vms_.end() && static_cast<int64_t>(vms_.size()) >= options_.max_series) {
      ++refused_count_;
      return absl::ResourceExhaustedError(
          absl::StrCat("vm_uuid ", vm_uuid, ": no room for another VM"));
    }
    const ForecastModel* before =
        it == vms_.end() ? nullptr : slot_of(it->second->choice[indices.front()]);
    selection.previous_model = name_of(before != nullptr ? before : slot_of(first_default));
    selection.model = name_of(chosen != nullptr ? chosen : slot_of(first_default));
    for (const size_t r : indices) {
      selection.series_count += it != vms_.end() && it->second->series[r] != nullptr ? 1 : 0;
    }
    if (apply) {
      Vm* const vm = FindOrAddVm(vm_uuid);
      vm->last_received.reset();
      for (const size_t r : indices) {
        slot_of(vm->choice[r]) = chosen;
        vm->choice[r].may_promote = is_shadow ? may_promote : vm->choice[r].may_promote;
        ApplyChoice(*vm, r);
      }
    }
    return selection;
  }
  // Back to the default of the configuration; no shadow by default.
  const ForecastModel* const fallback =
      chosen != nullptr || is_shadow ? chosen : registry_.Find(options_.model);
  selection.previous_model = name_of(slot_of(first_default));
  selection.model = name_of(fallback);
  if (apply) {
    // Those that wait still come first, lest choosing often keeps the last ones waiting for ever.
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(next_waiting_));
    next_waiting_ = 0;
  }
  std::set<const Series*> known;
  for (const std::weak_ptr<Series>& waiting : waiting_) {
    known.insert(waiting.lock().get());
  }
  const auto wait = [&](const std::shared_ptr<Series>& series) {
    if (apply && known.count(series.get()) == 0) {
      waiting_.push_back(series);
    }
  };
  for (const size_t r : indices) {
    if (apply) {
      slot_of(defaults_[r]) = fallback;
      defaults_[r].may_promote = is_shadow ? may_promote : defaults_[r].may_promote;
    }
    for (auto& [uuid, vm] : vms_) {
      if (slot_of(vm->choice[r]) == nullptr && vm->series[r] != nullptr) {
        ++selection.series_count;
        wait(vm->series[r]);
      }
    }
    for (auto& [id, host] : hosts_) {
      if (host->sum[r] != nullptr) {
        wait(host->sum[r]);
      }
    }
  }
  if (apply) {
    ChangeWaiting(kChangedAtOnce);
  }
  return selection;
}

void PredictorEngine::ChangeWaiting(int count) {
  while (count > 0 && next_waiting_ < waiting_.size()) {
    const std::shared_ptr<Series> series = waiting_[next_waiting_++].lock();
    // What has been forgotten, or replaced by what was imported, is not known any more.
    if (series == nullptr ||
        FindShared(series->id().vm_uuid, series->id().host_id, series->id().resource) != series) {
      continue;
    }
    --count;
    const auto resource = static_cast<size_t>(series->id().resource);
    if (const auto vm = vms_.find(series->id().vm_uuid); vm != vms_.end()) {
      ApplyChoice(*vm->second, resource);
    } else {
      series->UseModel(defaults_[resource].model);
      UseShadowOf({}, defaults_[resource], *series);
    }
  }
  if (next_waiting_ == waiting_.size()) {
    waiting_.clear();
    next_waiting_ = 0;
  }
}

PredictorEngine::RetrainResult PredictorEngine::Retrain(const std::vector<std::string>& vm_uuids,
                                                        std::optional<Resource> resource,
                                                        absl::Time now, bool apply) {
  RetrainResult result;
  const auto train = [&](Series* series) {
    const bool is_trained =
        series != nullptr && (apply ? series->Retrain(now) : series->CanRetrain(now));
    ++(is_trained ? result.trained_count : result.skipped_count);
  };
  const std::vector<size_t> indices = IndicesOf(resource);
  if (vm_uuids.empty()) {
    for (auto& [uuid, vm] : vms_) {
      for (const size_t r : indices) {
        if (vm->series[r] != nullptr) {
          train(vm->series[r].get());
        }
      }
    }
    return result;
  }
  for (const std::string& uuid : vm_uuids) {
    const auto it = vms_.find(uuid);
    if (it == vms_.end()) {
      ++result.skipped_count;
      continue;
    }
    for (const size_t r : indices) {
      if (it->second->series[r] != nullptr || resource) {
        train(it->second->series[r].get());
      }
    }
  }
  return result;
}

void PredictorEngine::ApplyTarget(const Target& target, absl::Time now, Series& series) {
  if (target.target_violation_ratio) {
    series.target_violation_ratio = target.target_violation_ratio;
  }
  if (target.price_factor) {
    series.price_factor = *target.price_factor;
    series.price_factor_until = now + target.price_factor_duration;
  }
  series.PassTarget();
}

int64_t PredictorEngine::UpdateTarget(const Target& target, absl::Time now) {
  Vm* const vm = FindOrAddVm(target.vm_uuid);
  if (vm == nullptr) {
    ++refused_count_;
    return 0;
  }
  vm->last_received.reset();
  for (const size_t r : IndicesOf(target.resource)) {
    if (vm->series[r] != nullptr) {
      ApplyTarget(target, now, *vm->series[r]);
    } else {
      vm->target[r] = target;
    }
  }
  return 1;
}

absl::StatusOr<bool> PredictorEngine::Import(const SeriesId& id, const SeriesState& state,
                                             bool apply) {
  const auto r = static_cast<size_t>(id.resource);
  // Into a series of its own first, so that a refused state changes nothing.
  auto series = std::make_shared<Series>(id, defaults_[r].model, options_);
  CS_RETURN_IF_ERROR(series->FromState(state, registry_));
  const Series* const own = Find(id.vm_uuid, id.host_id, id.resource);
  if (own != nullptr && own->last_sample_time() >= series->last_sample_time()) {
    return false;
  }
  if (own == nullptr && series_count_ >= options_.max_series) {
    ++refused_count_;
    return absl::ResourceExhaustedError(
        absl::StrCat("no room for another series, ", series_count_, " are known"));
  }
  if (!apply) {
    return true;
  }
  if (id.vm_uuid.empty()) {
    CS_ASSIGN_OR_RETURN(Host * host, FindOrAddHost(id.host_id));
    host->sum[r] = series;
    host->last_seen = std::max(host->last_seen, series->last_sample_time());
    host->last_received.reset();
  } else {
    Vm* const vm = FindOrAddVm(id.vm_uuid);
    if (vm == nullptr) {
      ++refused_count_;
      return absl::ResourceExhaustedError("no room for another VM");
    }
    vm->series[r] = series;
    vm->host_id.clear();  // the first sample says where it is, and on which time line
    vm->last_received.reset();
    Choice& choice = vm->choice[r];
    // A choice made here stands above one that comes with the state.
    if (choice.model == nullptr && series->is_model_chosen) {
      choice.model = series->tracks().front().model();
    }
    if (choice.shadow == nullptr && series->is_shadow_chosen && series->tracks().size() > 1) {
      choice.shadow = series->tracks()[1].model();
      choice.may_promote = series->may_promote();
    }
    ApplyChoice(*vm, r);
    if (vm->target[r]) {
      ApplyTarget(*vm->target[r], series->last_sample_time(), *series);
      vm->target[r].reset();
    }
  }
  series_count_ += own == nullptr ? 1 : 0;
  return true;
}

absl::Status PredictorEngine::CheckRoomFor(
    const std::vector<std::pair<SeriesId, SeriesState>>& states) const {
  std::set<std::pair<std::string, Resource>> new_series;
  std::set<std::string> new_vms;
  for (const auto& [id, state] : states) {
    if (Find(id.vm_uuid, id.host_id, id.resource) == nullptr) {
      new_series.emplace(id.vm_uuid, id.resource);
    }
    if (vms_.find(id.vm_uuid) == vms_.end()) {
      new_vms.insert(id.vm_uuid);
    }
  }
  if (series_count_ + static_cast<int64_t>(new_series.size()) > options_.max_series ||
      static_cast<int64_t>(vms_.size() + new_vms.size()) > options_.max_series) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no room for ", new_series.size(), " more series: ", series_count_,
                     " are known, at most ", options_.max_series, " are kept"));
  }
  return absl::OkStatus();
}

}  // namespace cloudscale::predictor
