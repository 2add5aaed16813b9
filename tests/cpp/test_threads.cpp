// The number of threads, concurrent callers and fork change no bit of a result.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "call.h"

namespace logitloss::tests {
namespace {

constexpr std::int64_t rows = 700;
constexpr std::int64_t columns = 501;
constexpr auto size = static_cast<std::size_t>(rows * columns);
constexpr std::int64_t shape[] = {rows, columns};

struct Problem {
  std::vector<float> logits = ordinary_logits<float>(size);
  std::vector<float> targets = soft_targets<float>(size);
  std::vector<float> weight = soft_targets<float>(size, 7);
};

struct Outcome {
  std::vector<double> value = std::vector<double>(size);
  std::vector<float> gradient = std::vector<float>(size);
  std::vector<float> hessian = std::vector<float>(size);

  friend bool operator==(const Outcome& a, const Outcome& b) {
    return same_bits(a.value, b.value) && same_bits(a.gradient, b.gradient) &&
           same_bits(a.hessian, b.hessian);
  }
};

// Without doctest's macros, so that any thread or child process may call it.
Outcome solve(const Problem& problem, std::uint64_t axes, std::int32_t threads) {
  Outcome outcome;
  logitloss_bce_request request = request_for(shape);
  request.logits = input(problem.logits.data());
  request.targets = input(problem.targets.data());
  request.weight = input(problem.weight.data());
  request.reduction = LOGITLOSS_WEIGHTED_MEAN;
  request.reduced_axes = axes;
  request.num_threads = threads;
  request.value = output(outcome.value.data());
  request.gradient = output(outcome.gradient.data());
  request.hessian = output(outcome.hessian.data());
  logitloss_report report;
  if (logitloss_bce_with_logits(&request, &report) != LOGITLOSS_OK) {
    outcome.value.clear();
  }
  return outcome;
}

TEST_CASE("the number of threads") {
  const Problem problem;
  for (const std::string& isa : available_isas()) {
    const SelectedIsa selected(isa);
    for (const std::uint64_t axes : {0b00U, 0b01U, 0b10U, 0b11U}) {
      const Outcome expected = solve(problem, axes, 1);
      REQUIRE_FALSE(expected.value.empty());
      for (const std::int32_t threads : {2, 3, 7}) {
        INFO(isa, ", axes ", axes, ", threads ", threads);
        CHECK(solve(problem, axes, threads) == expected);
      }
    }
  }
}

TEST_CASE("two threads of the caller at once") {
  const Problem problem;
  const Outcome expected = solve(problem, 0b11, 1);
  int wrong[2] = {0, 0};
  const auto work = [&](int* count) {
    for (int k = 0; k < 20; ++k) {
      *count += solve(problem, 0b11, 2) == expected ? 0 : 1;
    }
  };
  std::thread first(work, &wrong[0]);
  std::thread second(work, &wrong[1]);
  first.join();
  second.join();
  CHECK(wrong[0] == 0);
  CHECK(wrong[1] == 0);
}

TEST_CASE("the setting of the library") {
  const std::int32_t before = logitloss_get_num_threads();
  CHECK(before >= 1);
  logitloss_set_num_threads(5);
  CHECK(logitloss_get_num_threads() == 5);
  const Problem problem;
  CHECK(solve(problem, 0b11, 0) == solve(problem, 0b11, 1));
  logitloss_set_num_threads(0);
  CHECK(logitloss_get_num_threads() == before);
}

// Runs in the child: 0 where the results are right. A child that hangs is ended by its alarm.
int compute_in_child(const Problem& problem, const Outcome& expected) {
  constexpr unsigned seconds = 120;
  alarm(seconds);
  return solve(problem, 0b11, 2) == expected ? 0 : 1;
}

TEST_CASE("a child after fork, whose parent has used threads") {
  const Problem problem;
  const Outcome expected = solve(problem, 0b11, 2);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    _exit(compute_in_child(problem, expected));
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  // The parent goes on in threads.
  CHECK(solve(problem, 0b11, 2) == expected);
}

}  // namespace
}  // namespace logitloss::tests
