// Computes a loss and its gradient through the C++ face, and checks them against known values.
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <logitloss/logitloss.hpp>
#include <span>

namespace {

bool differs(float got, float wanted) { return std::fabs(got - wanted) > 1e-6F; }

bool refuses_bad_targets() {
  const std::array logits = {1.0F, 2.0F};
  const std::array<std::int8_t, 2> targets = {0, 2};
  try {
    logitloss::bce_with_logits(std::span<const float>(logits),
                               std::span<const std::int8_t>(targets));
  } catch (const logitloss::InvalidTarget& error) {
    return error.index() == 1;
  }
  return false;
}

}  // namespace

int main() {
  const std::array logits = {0.0F, 2.0F};
  const std::array targets = {1.0F, 0.0F};
  std::array<float, 2> gradient{};
  logitloss::Options options;
  options.reduction = LOGITLOSS_SUM;
  const double value =
      logitloss::bce_with_logits(std::span<const float>(logits), std::span<const float>(targets),
                                 options, std::span<float>(gradient));
  const double wanted = 0.69314718055994531 + 2.12692801104297249;
  if (std::fabs(value - wanted) > 1e-6 || differs(gradient[0], -0.5F) ||
      differs(gradient[1], 0.880797078F) || !refuses_bad_targets()) {
    std::fprintf(stderr, "wrong: value %.9g, gradient %.9g %.9g\n", value,
                 static_cast<double>(gradient[0]), static_cast<double>(gradient[1]));
    return 1;
  }
  std::printf("C++: logitloss %s, %s, value %.7f\n", logitloss_version(), logitloss_isa(), value);
  return 0;
}
