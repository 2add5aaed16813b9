#include "bad_target.h"

#include <algorithm>
#include <atomic>

#include "cpu/parallel.h"
#include "tile_loader.h"

namespace logitloss {
namespace {

struct Search {
  const Call& call;
  std::atomic<std::int64_t> first_bad;
};

// float64 holds every target well enough to tell which side of 0 and 1 it is on.
void search_range(void* context, std::int64_t first_unit, std::int64_t last_unit) {
  Search& search = *static_cast<Search*>(context);
  TileLoader<double> loader(search.call);
  constexpr std::int64_t step = TileLoader<double>::capacity;
  const std::int64_t end = std::min(last_unit * unit_length, search.call.size);
  for (std::int64_t first = first_unit * unit_length; first < end; first += step) {
    if (first > search.first_bad.load(std::memory_order_relaxed)) {
      return;
    }
    const std::int64_t count = std::min(step, end - first);
    const std::uint8_t* exists = loader.load_mask(first, count);
    const double* targets = loader.load_targets(first, count);
    for (std::int64_t i = 0; i < count; ++i) {
      const bool is_good = targets[i] >= 0.0 && targets[i] <= 1.0;
      if (!is_good && (exists == nullptr || exists[i] != 0)) {
        std::int64_t known = search.first_bad.load();
        while (first + i < known && !search.first_bad.compare_exchange_weak(known, first + i)) {
        }
        return;
      }
    }
  }
}

}  // namespace

void find_bad_target(const Call& call, Outcome& outcome) {
  Call ordered = call;
  ordered.targets = call.ordered_targets;
  ordered.where = call.ordered_where;
  Search search{ordered, {call.size}};
  const std::int64_t units = (call.size + unit_length - 1) / unit_length;
  for_each_range(units, call.threads, search_range, &search);
  const std::int64_t index = search.first_bad.load();
  if (index < call.size) {
    TileLoader<double> loader(ordered);
    outcome.bad_index = index;
    outcome.bad_target = *loader.load_targets(index, 1);
  }
}

}  // namespace logitloss
