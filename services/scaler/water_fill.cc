#include "services/scaler/water_fill.h"

#include <algorithm>
#include <cstddef>

namespace cloudscale::scaler {
namespace {

// Gives `room` to the claims named by `members`; returns what is left.
double FillClass(double room, const std::vector<Claim>& claims, std::vector<size_t> members,
                 std::vector<double>& granted) {
  const auto need = [&](size_t i) { return std::max(0.0, claims[i].wish - granted[i]); };
  // Those whose need per weight is smallest are filled first; the level only rises from there.
  std::sort(members.begin(), members.end(), [&](size_t a, size_t b) {
    const double left = need(a) / claims[a].weight;
    const double right = need(b) / claims[b].weight;
    return left != right ? left < right : a < b;
  });
  double weights = 0;
  for (const size_t i : members) {
    weights += claims[i].weight;
  }
  for (const size_t i : members) {
    const double share = weights > 0 ? room * (claims[i].weight / weights) : 0;
    const double given = std::min(need(i), share);
    granted[i] += given;
    room = std::max(0.0, room - given);
    weights -= claims[i].weight;
  }
  return room;
}

}  // namespace

std::vector<double> WaterFill(double capacity, const std::vector<Claim>& claims) {
  std::vector<double> granted;
  granted.reserve(claims.size());
  double room = capacity;
  for (const Claim& claim : claims) {
    granted.push_back(claim.floor);
    room -= claim.floor;
  }
  for (const ServiceClass service_class :
       {ServiceClass::kGuaranteed, ServiceClass::kStandard, ServiceClass::kBestEffort}) {
    if (room <= 0) {
      break;
    }
    std::vector<size_t> members;
    for (size_t i = 0; i < claims.size(); ++i) {
      if (claims[i].service_class == service_class) {
        members.push_back(i);
      }
    }
    room = FillClass(room, claims, std::move(members), granted);
  }
  return granted;
}

}  // namespace cloudscale::scaler
