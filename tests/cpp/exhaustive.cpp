// The error of loss, gradient and hessian at every float32 logit, for both hard labels.
//
// Usage: exhaustive [--isa NAME|all] [--stride N] [--threads N] [--output FILE]
//
// The reference is computed in double. exp, log1p, one sum, one quotient and one product each err
// by at most 2^-52 of their result, so together by less than 2^-49 of the reference, and an ulp of
// float32 is at least 2^-24 of it: the reference is good to 2^-25 ulp. Where results are subnormal
// in float32 they are normal in double, so this holds there too. Exit status 1 says that an error
// exceeds what is promised.
#include <logitloss/logitloss.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "reference.h"

namespace logitloss::tests {
namespace {

constexpr std::uint64_t patterns = std::uint64_t{1} << 32;
constexpr std::size_t chunk = 8192;
constexpr const char* output_names[] = {"loss", "gradient", "hessian"};

struct Settings {
  std::vector<std::string> isas;
  std::uint64_t stride = 1;
  unsigned threads = 2;
  const char* output = nullptr;
};

// By output, then by label.
using Table = std::array<std::array<Worst, 2>, 3>;

// error_in_ulps for float and double, without branches. NaN where one is infinite or NaN and the
// other is not the same.
inline double quick_error(float computed, double exact) {
  if (static_cast<double>(computed) == exact) {
    return 0.0;
  }
  const std::uint64_t exponent = std::bit_cast<std::uint64_t>(exact) >> 52 & 0x7FFU;
  constexpr std::uint64_t smallest_normal = 1023 - 126;
  const std::uint64_t bounded = exponent < smallest_normal ? smallest_normal : exponent;
  // 2^(23 - e), where e is the exponent of `exact` without its bias.
  const double ulps_per_unit = std::bit_cast<double>((2 * 1023 + 23 - bounded) << 52);
  return std::fabs(static_cast<double>(computed) - exact) * ulps_per_unit;
}

class Scan {
 public:
  explicit Scan(std::uint64_t stride) : stride_(stride) {}

  // Takes chunks of patterns until none is left.
  void run(std::atomic<std::uint64_t>& next) {
    const std::uint64_t step = chunk * stride_;
    for (;;) {
      const std::uint64_t first = next.fetch_add(step);
      if (first >= patterns) {
        return;
      }
      fill(first);
      for (const std::size_t label : {std::size_t{0}, std::size_t{1}}) {
        compute(label);
        compare(label);
      }
    }
  }

  const Table& worst() const { return worst_; }

 private:
  void fill(std::uint64_t first) {
    count_ = 0;
    for (std::uint64_t bits = first; bits < patterns && count_ < chunk; bits += stride_) {
      const auto x = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
      logits_[count_] = x;
      const double a = std::fabs(static_cast<double>(x));
      const double e = std::exp(-a);
      magnitudes_[count_] = a;
      tails_[count_] = std::log1p(e);
      smaller_[count_] = e / (1.0 + e);
      larger_[count_] = 1.0 / (1.0 + e);
      ++count_;
    }
  }

  void compute(std::size_t label) {
    const auto length = static_cast<std::int64_t>(count_);
    const auto target = static_cast<std::int8_t>(label);
    const std::ptrdiff_t repeat = 0;
    logitloss_bce_request request{};
    request.struct_size = sizeof request;
    request.ndim = 1;
    request.shape = &length;
    request.logits = {logits_.data(), nullptr, LOGITLOSS_FLOAT32};
    request.targets = {&target, &repeat, LOGITLOSS_INT8};
    request.reduction = LOGITLOSS_NONE;
    request.num_threads = 1;
    request.value = {results_[0].data(), nullptr, LOGITLOSS_FLOAT32};
    request.gradient = {results_[1].data(), nullptr, LOGITLOSS_FLOAT32};
    request.hessian = {results_[2].data(), nullptr, LOGITLOSS_FLOAT32};
    logitloss_report report;
    if (logitloss_bce_with_logits(&request, &report) != LOGITLOSS_OK) {
      std::fprintf(stderr, "%s\n", report.message);
      std::exit(2);
    }
  }

  void compare(std::size_t label) {
    for (std::size_t i = 0; i < count_; ++i) {
      const bool is_positive = label == 1;
      const bool below = std::signbit(logits_[i]);
      // Whether the logit speaks against the label.
      const bool is_against = below == is_positive;
      const double loss = is_against ? magnitudes_[i] + tails_[i] : tails_[i];
      const double slope = is_against ? larger_[i] : smaller_[i];
      see(0, label, i, loss);
      see(1, label, i, is_positive ? -slope : slope);
      see(2, label, i, smaller_[i] * larger_[i]);
    }
  }

  void see(std::size_t output, std::size_t label, std::size_t i, double exact) {
    const float computed = results_[output][i];
    double error = quick_error(computed, exact);
    if (std::isnan(exact) && std::isnan(computed)) {
      error = 0.0;
    }
    worst_[output][label].see(error, static_cast<double>(logits_[i]));
  }

  std::uint64_t stride_;
  std::size_t count_ = 0;
  Table worst_{};
  std::vector<float> logits_ = std::vector<float>(chunk);
  std::vector<double> magnitudes_ = std::vector<double>(chunk);
  std::vector<double> tails_ = std::vector<double>(chunk);
  std::vector<double> smaller_ = std::vector<double>(chunk);
  std::vector<double> larger_ = std::vector<double>(chunk);
  std::array<std::vector<float>, 3> results_ = {
      std::vector<float>(chunk), std::vector<float>(chunk), std::vector<float>(chunk)};
};

// Threads take chunks as they come, so of equal errors the one at the least pattern is kept.
void merge(Worst& into, const Worst& other) {
  const auto pattern = [](const Worst& worst) {
    return std::bit_cast<std::uint32_t>(static_cast<float>(worst.input));
  };
  if (!(other.error <= into.error) ||
      (other.error == into.error && pattern(other) < pattern(into))) {
    into = other;
  }
}

Table scan_all(const Settings& settings) {
  std::atomic<std::uint64_t> next{0};
  std::vector<Scan> scans(settings.threads, Scan(settings.stride));
  std::vector<std::thread> threads;
  threads.reserve(scans.size());
  for (Scan& scan : scans) {
    threads.emplace_back([&scan, &next] { scan.run(next); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  Table table = scans[0].worst();
  for (const Scan& scan : scans) {
    for (std::size_t k = 0; k < 6; ++k) {
      merge(table[k / 2][k % 2], scan.worst()[k / 2][k % 2]);
    }
  }
  return table;
}

// The numbers tell processors apart where a virtual machine hides the name.
std::string processor_model() {
  std::ifstream file("/proc/cpuinfo");
  std::string model;
  std::string line;
  while (std::getline(file, line) && !line.empty()) {
    const std::string value = line.substr(std::min(line.size(), line.find(':') + 1));
    if (line.starts_with("model name")) {
      model += value;
    } else if (line.starts_with("cpu family") || line.starts_with("model\t") ||
               line.starts_with("stepping") || line.starts_with("CPU part")) {
      model.append(" ").append(line, 0, line.find('\t')).append(value);
    }
  }
  return model.empty() ? " unknown" : model;
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  char buffer[16] = "";
  std::strftime(buffer, sizeof buffer, "%Y-%m-%d", std::gmtime(&now));
  return buffer;
}

std::string row(const std::string& isa, std::size_t output, std::size_t label, const Worst& worst,
                const char* format) {
  char buffer[160];
  std::snprintf(buffer, sizeof buffer, format, isa.c_str(), output_names[output],
                static_cast<int>(label), worst.error, worst.input);
  return buffer;
}

[[noreturn]] void explain_usage() {
  std::fputs("usage: exhaustive [--isa NAME|all] [--stride N] [--threads N] [--output FILE]\n",
             stderr);
  std::exit(2);
}

Settings parse(int argc, char** argv) {
  Settings settings;
  std::string isa = "all";
  for (int k = 1; k < argc; k += 2) {
    const std::string option = argv[k];
    if (k + 1 == argc) {
      explain_usage();
    }
    const char* value = argv[k + 1];
    if (option == "--isa") {
      isa = value;
    } else if (option == "--stride") {
      settings.stride = std::strtoull(value, nullptr, 10);
    } else if (option == "--threads") {
      settings.threads = static_cast<unsigned>(std::strtoul(value, nullptr, 10));
    } else if (option == "--output") {
      settings.output = value;
    } else {
      explain_usage();
    }
  }
  if (settings.stride == 0 || settings.stride > patterns || settings.threads == 0) {
    explain_usage();
  }
  for (std::int32_t k = 0; logitloss_available_isa(k) != nullptr; ++k) {
    if (isa == "all" || isa == logitloss_available_isa(k)) {
      settings.isas.emplace_back(logitloss_available_isa(k));
    }
  }
  if (settings.isas.empty()) {
    std::fprintf(stderr, "this processor cannot run %s\n", isa.c_str());
    std::exit(2);
  }
  return settings;
}

std::string header(const Settings& settings) {
  std::ostringstream text;
  text << "# Largest errors of float32 results, by `exhaustive --stride " << settings.stride
       << "`, over " << (patterns - 1) / settings.stride + 1 << " of all 2^32 logits.\n"
       << "# processor:" << processor_model() << "\n# compiler: " << logitloss_compiler()
       << "\n# date: " << today() << "\nisa\toutput\tlabel\tlargest_error_ulp\tlogit\n";
  return text.str();
}

int run_program(int argc, char** argv) {
  const Settings settings = parse(argc, argv);
  std::string lines = header(settings);
  bool is_kept = true;
  std::printf("%-10s %-10s %5s %10s  %s\n", "isa", "output", "label", "error/ulp", "logit");
  for (const std::string& isa : settings.isas) {
    logitloss_select_isa(isa.c_str());
    const Table table = scan_all(settings);
    for (std::size_t k = 0; k < 6; ++k) {
      const Worst& worst = table[k / 2][k % 2];
      std::fputs(row(isa, k / 2, k % 2, worst, "%-10s %-10s %5d %10.4f  %a\n").c_str(), stdout);
      lines += row(isa, k / 2, k % 2, worst, "%s\t%s\t%d\t%.6f\t%a\n");
      const Limits limits = limits_of(isa);
      const double by_output[] = {limits.loss, limits.gradient, limits.hessian};
      is_kept = is_kept && worst.error <= by_output[k / 2];
    }
    std::fflush(stdout);
  }
  if (settings.output != nullptr) {
    std::ofstream(settings.output) << lines;
  }
  return is_kept ? 0 : 1;
}

}  // namespace
}  // namespace logitloss::tests

int main(int argc, char** argv) { return logitloss::tests::run_program(argc, argv); }
