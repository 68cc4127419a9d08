#include "tools/worker/worker.h"

#include <ctime>
#include <thread>
#include <utility>

#include "common/check/check.h"

namespace cloudscale::worker {
namespace {

absl::Duration ThreadCpuTime() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return absl::DurationFromTimespec(time);
}

}  // namespace

void BurnCpu(absl::Duration cpu_time) {
  const absl::Duration end = ThreadCpuTime() + cpu_time;
  volatile uint64_t sink = 0;
  while (ThreadCpuTime() < end) {
    for (int i = 0; i < 2000; ++i) {
      sink = sink + 1;
    }
  }
}

Worker::Worker(Clock& clock, Arrivals arrivals, Config config)
    : clock_(clock),
      config_(config),
      arrivals_(std::move(arrivals)),
      queue_(static_cast<size_t>(config.max_backlog)) {
  CS_CHECK(config.thread_count > 0 && config.max_backlog > 0);
  CS_CHECK(config.report_period > absl::ZeroDuration());
}

void Worker::Run(std::stop_token stop, const std::function<void(Interval)>& on_interval) {
  const MonoTime start = clock_.MonoNow();
  std::vector<std::jthread> threads;
  for (int64_t i = 0; i < config_.thread_count; ++i) {
    threads.emplace_back([this, start](std::stop_token own) { Serve(own, start); });
  }
  Interval last;
  MonoTime next_report = start + config_.report_period;
  bool running = true;
  while (running) {
    running = clock_.SleepUntil(clock_.MonoNow() + config_.tick, stop);
    for (const absl::Duration arrival : arrivals_.Until(clock_.MonoNow() - start)) {
      if (!queue_.TryPush(arrival)) {
        ++dropped_units_;
      }
    }
    if (clock_.MonoNow() >= next_report || !running) {
      last = EndInterval(start, last);
      on_interval(last);
      while (next_report <= clock_.MonoNow()) {
        next_report = next_report + config_.report_period;
      }
    }
  }
}

void Worker::Serve(std::stop_token stop, MonoTime start) {
  while (true) {
    const std::optional<absl::Duration> arrival = queue_.Pop(stop);
    if (!arrival.has_value() || stop.stop_requested()) {
      return;
    }
    {
      MutexLock lock(&mutex_);
      ++under_way_;
    }
    BurnCpu(config_.unit_cpu);
    const absl::Duration latency = clock_.MonoNow() - start - *arrival;
    MutexLock lock(&mutex_);
    --under_way_;
    finished_.latencies.push_back(latency);
    finished_.cpu_seconds += absl::ToDoubleSeconds(config_.unit_cpu);
  }
}

Interval Worker::EndInterval(MonoTime start, const Interval& last) {
  Interval result;
  Finished finished;
  {
    MutexLock lock(&mutex_);
    finished = std::exchange(finished_, Finished());
    result.backlog = under_way_;
  }
  result.backlog += static_cast<int64_t>(queue_.size());
  result.end = clock_.WallNow();
  result.elapsed = clock_.MonoNow() - start;
  result.total_demanded_cpu_seconds = arrivals_.demanded_cpu_seconds();
  result.demanded_cpu_seconds = result.total_demanded_cpu_seconds - last.total_demanded_cpu_seconds;
  result.done_cpu_seconds = finished.cpu_seconds;
  result.total_done_cpu_seconds = last.total_done_cpu_seconds + finished.cpu_seconds;
  result.dropped_units = std::exchange(dropped_units_, 0);
  result.latencies = std::move(finished.latencies);
  return result;
}

}  // namespace cloudscale::worker
