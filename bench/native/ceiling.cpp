#include "ceiling.h"

#include <cstring>
#include <type_traits>
#include <utility>

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace logitloss::bench {
namespace {

struct Nothing {};

template <class Element>
constexpr int width = std::is_same_v<Element, Nothing> ? 0 : static_cast<int>(sizeof(Element));

// Sixteen lanes, in as many registers as the processor needs for them.
typedef std::uint32_t Lanes __attribute__((vector_size(64)));

// Four sums hide the latency of an addition. Integers are added whatever the dtype is: that costs
// nothing beside the loads and may be reordered freely.
class Sums {
 public:
  template <int BytesPerElement>
  void add_block(const std::byte* data) {
    for (int k = 0; k < BytesPerElement; ++k) {
      for (int j = 0; j < 4; ++j) {
        Lanes lanes;
        std::memcpy(&lanes, data + 256 * k + 64 * j, sizeof lanes);
        sums_[j] += lanes;
      }
    }
  }

  [[nodiscard]] std::uint64_t total() const {
    const Lanes all = sums_[0] + sums_[1] + sums_[2] + sums_[3];
    std::uint64_t total = 0;
    for (int j = 0; j < 16; ++j) {
      total += all[j];
    }
    return total;
  }

 private:
  Lanes sums_[4] = {};
};

template <class Logit, class Target, class Extra, int Step>
std::uint64_t read(const Streams& streams, std::size_t begin, std::size_t end) {
  Sums sums;
  for (std::size_t i = begin; i < end; i += ceiling_block) {
    sums.add_block<width<Logit> * Step>(streams.logits + i * sizeof(Logit) * Step);
    sums.add_block<width<Target> * Step>(streams.targets + i * sizeof(Target) * Step);
    if constexpr (!std::is_same_v<Extra, Nothing>) {
      sums.add_block<width<Extra>>(streams.extra + i * sizeof(Extra));
    }
  }
  return sums.total();
}

template <class Logit, class Target, class Extra, int Outputs, int Step>
std::uint64_t write(const Streams& streams, std::size_t begin, std::size_t end) {
  const auto* __restrict logits = reinterpret_cast<const Logit*>(streams.logits);
  const auto* __restrict targets = reinterpret_cast<const Target*>(streams.targets);
  [[maybe_unused]] const auto* __restrict extra = reinterpret_cast<const Extra*>(streams.extra);
  auto* __restrict first = reinterpret_cast<Logit*>(streams.outputs[0]);
  [[maybe_unused]] auto* __restrict second = reinterpret_cast<Logit*>(streams.outputs[1]);
  [[maybe_unused]] auto* __restrict third = reinterpret_cast<Logit*>(streams.outputs[2]);
  for (std::size_t i = begin; i < end; ++i) {
    auto x = logits[i * Step];
    if constexpr (!std::is_same_v<Extra, Nothing>) {
      x = static_cast<Logit>(x + static_cast<Logit>(extra[i]));
    }
    const auto y = static_cast<Logit>(targets[i * Step]);
    first[i] = static_cast<Logit>(x - y);
    if constexpr (Outputs > 1) {
      second[i] = static_cast<Logit>(x + y);
    }
    if constexpr (Outputs > 2) {
      third[i] = static_cast<Logit>(x * y);
    }
  }
  return 0;
}

struct Range {
  std::size_t begin;
  std::size_t end;
};

// The part of thread `index` of `count`, in whole blocks.
Range part(std::size_t length, std::size_t block, int index, int count) {
  const std::size_t blocks = length / block;
  const auto at = [&](int k) {
    return blocks * static_cast<std::size_t>(k) / static_cast<std::size_t>(count) * block;
  };
  return {at(index), index + 1 == count ? length : at(index + 1)};
}

template <class Body>
std::uint64_t over_threads(std::size_t length, std::size_t block, int threads, Body body) {
  std::uint64_t total = 0;
#if defined(_OPENMP)
  if (threads > 1) {
#pragma omp parallel num_threads(threads) reduction(+ : total)
    {
      const Range mine = part(length, block, omp_get_thread_num(), omp_get_num_threads());
      total += body(mine);
    }
    return total;
  }
#endif
  static_cast<void>(threads);
  total = body(part(length, block, 0, 1));
  return total;
}

template <class Logit, class Target, class Extra, int Outputs, int Step>
std::uint64_t run(const Streams& streams, std::size_t length, int threads) {
  return over_threads(length, ceiling_block, threads, [&](Range range) {
    if constexpr (Outputs == 0) {
      return read<Logit, Target, Extra, Step>(streams, range.begin, range.end);
    } else {
      return write<Logit, Target, Extra, Outputs, Step>(streams, range.begin, range.end);
    }
  });
}

template <class Logit, class Target, class Extra, int Step>
CeilingLoop with_outputs(const Traffic& traffic) {
  switch (traffic.outputs) {
    case 0:
      return run<Logit, Target, Extra, 0, Step>;
    case 1:
      return run<Logit, Target, Extra, 1, Step>;
    case 2:
      return run<Logit, Target, Extra, 2, Step>;
    case 3:
      return run<Logit, Target, Extra, 3, Step>;
    default:
      return nullptr;
  }
}

template <class Logit, class Target>
CeilingLoop with_extra(const Traffic& traffic) {
  using Integer = std::conditional_t<std::is_same_v<Logit, std::uint16_t>, std::uint32_t, float>;
  using Weight = std::conditional_t<std::is_same_v<Logit, double>, double, Integer>;
  if (traffic.step == 2) {
    return traffic.extra_bytes == 0 ? with_outputs<Logit, Target, Nothing, 2>(traffic) : nullptr;
  }
  if (traffic.extra_bytes == 1) {
    return with_outputs<Logit, Target, std::uint8_t, 1>(traffic);
  }
  if (traffic.extra_bytes == width<Weight>) {
    return with_outputs<Logit, Target, Weight, 1>(traffic);
  }
  return traffic.extra_bytes == 0 ? with_outputs<Logit, Target, Nothing, 1>(traffic) : nullptr;
}

template <class Logit>
CeilingLoop with_target(const Traffic& traffic) {
  if (traffic.target_bytes == 1) {
    return with_extra<Logit, std::uint8_t>(traffic);
  }
  if (traffic.target_bytes == width<Logit>) {
    return with_extra<Logit, Logit>(traffic);
  }
  if constexpr (std::is_same_v<Logit, std::uint16_t>) {
    if (traffic.target_bytes == 4) {
      return with_extra<Logit, std::uint32_t>(traffic);
    }
  }
  return nullptr;
}

}  // namespace

CeilingLoop find_ceiling(const Traffic& traffic) {
  switch (traffic.logit_bytes) {
    case 2:
      return with_target<std::uint16_t>(traffic);
    case 4:
      return with_target<float>(traffic);
    case 8:
      return with_target<double>(traffic);
    default:
      return nullptr;
  }
}

void first_touch(std::byte* data, std::size_t bytes, int threads) {
  over_threads(bytes, 4096, threads, [&](Range range) {
    std::memset(data + range.begin, 0, range.end - range.begin);
    return std::uint64_t{0};
  });
}

}  // namespace logitloss::bench
