// The bits of results over a fixed corpus, as hashes, against those of a committed file.
//
// All instruction sets with a fused multiply-add share one hash a case, on every processor, with
// every compiler; the baseline has its own. `test_bits --write` rewrites the file.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "call.h"

namespace logitloss::tests {
namespace {

constexpr std::int64_t shape[] = {97, 521, 5};
constexpr std::size_t size = 97 * 521 * 5;

struct Format {
  const char* name;
  logitloss_dtype dtype;
  int bytes;
  int mantissa_bits;
  int exponent_bits;
};

constexpr Format formats[] = {
    {"float16", LOGITLOSS_FLOAT16, 2, 10, 5},
    {"bfloat16", LOGITLOSS_BFLOAT16, 2, 7, 8},
    {"float32", LOGITLOSS_FLOAT32, 4, 23, 8},
    {"float64", LOGITLOSS_FLOAT64, 8, 52, 11},
};
constexpr Format float64_format = formats[3];

using Bytes = std::vector<unsigned char>;

void append(Bytes& bytes, std::uint64_t bits, int count) {
  unsigned char buffer[8];
  if (count == 2) {
    const auto element = static_cast<std::uint16_t>(bits);
    std::memcpy(buffer, &element, sizeof element);
  } else if (count == 4) {
    const auto element = static_cast<std::uint32_t>(bits);
    std::memcpy(buffer, &element, sizeof element);
  } else {
    std::memcpy(buffer, &bits, sizeof bits);
  }
  bytes.insert(bytes.end(), buffer, buffer + count);
}

std::uint64_t element_bits(const Bytes& bytes, std::size_t index, int count) {
  const unsigned char* source = bytes.data() + index * static_cast<std::size_t>(count);
  if (count == 2) {
    std::uint16_t element;
    std::memcpy(&element, source, sizeof element);
    return element;
  }
  if (count == 4) {
    std::uint32_t element;
    std::memcpy(&element, source, sizeof element);
    return element;
  }
  std::uint64_t element;
  std::memcpy(&element, source, sizeof element);
  return element;
}

// Every bit pattern alike: infinities, NaNs and subnormal numbers are among them.
Bytes any_logits(const Format& format) {
  Random random(1);
  Bytes bytes;
  for (std::size_t i = 0; i < size; ++i) {
    append(bytes, random.bits() >> (64 - 8 * format.bytes), format.bytes);
  }
  return bytes;
}

// Magnitudes from 2^-14 to 2^8, where results are neither constant nor trivial.
Bytes ordinary_logits_of(const Format& format) {
  Random random(2);
  Bytes bytes;
  const std::uint64_t bias = (std::uint64_t{1} << (format.exponent_bits - 1)) - 1;
  for (std::size_t i = 0; i < size; ++i) {
    const std::uint64_t exponent = bias - 14 + random.below(22);
    const std::uint64_t mantissa = random.bits() >> (64 - format.mantissa_bits);
    const std::uint64_t sign = random.below(2) << (8 * format.bytes - 1);
    append(bytes, sign | exponent << format.mantissa_bits | mantissa, format.bytes);
  }
  return bytes;
}

// What is the same for all formats. The quotients are exact.
struct Operands {
  std::vector<std::int8_t> hard;
  std::vector<float> soft;
  std::vector<float> weight;
  std::vector<float> pos_weight;
  std::vector<std::uint8_t> where;

  Operands() {
    Random random(3);
    for (std::size_t i = 0; i < size; ++i) {
      hard.push_back(static_cast<std::int8_t>(random.below(2)));
      soft.push_back(static_cast<float>(random.below(1025)) / 1024.0F);
      weight.push_back(static_cast<float>(random.below(256)) / 16.0F);
      pos_weight.push_back(static_cast<float>(random.below(256)) / 32.0F);
      where.push_back(static_cast<std::uint8_t>(random.below(8) != 0));
    }
  }
};

// Fowler, Noll and Vo's hash (FNV-1a), of the bytes from the lowest up.
class Hash {
 public:
  void add(std::uint64_t bits, int bytes) {
    for (int k = 0; k < bytes; ++k) {
      state_ = (state_ ^ (bits >> (8 * k) & 0xFFU)) * 0x100000001B3U;
    }
  }
  std::string text() const {
    char buffer[17];
    std::snprintf(buffer, sizeof buffer, "%016llx", static_cast<unsigned long long>(state_));
    return buffer;
  }

 private:
  std::uint64_t state_ = 0xCBF29CE484222325U;
};

// IEEE 754 leaves the sign and payload of a NaN result to the processor, and x86 and Arm differ;
// all NaNs count as one.
std::uint64_t canonical(const Format& format, std::uint64_t bits) {
  const std::uint64_t infinity = ((std::uint64_t{1} << format.exponent_bits) - 1)
                                 << format.mantissa_bits;
  const std::uint64_t magnitude = bits & ((std::uint64_t{1} << (8 * format.bytes - 1)) - 1);
  return magnitude > infinity ? infinity | 1U : bits;
}

std::string hash_of(const Format& format, const Bytes& results) {
  Hash hash;
  const std::size_t count = results.size() / static_cast<std::size_t>(format.bytes);
  for (std::size_t i = 0; i < count; ++i) {
    hash.add(canonical(format, element_bits(results, i, format.bytes)), format.bytes);
  }
  return hash.text();
}

using Hashes = std::map<std::string, std::string>;

class Corpus {
 public:
  Hashes hashes() {
    Hashes result;
    for (const Format& format : formats) {
      add_format(format, result);
    }
    return result;
  }

 private:
  void add_format(const Format& format, Hashes& result) {
    const std::string name = format.name;
    const Bytes any = any_logits(format);
    const Bytes ordinary = ordinary_logits_of(format);
    logitloss_bce_request request = request_for(shape);
    request.num_threads = 1;

    request.targets = input(operands_.hard.data());
    add_elements(format, name + "/any/hard", any, request, result);
    request.targets = input(operands_.soft.data());
    add_elements(format, name + "/any/soft", any, request, result);
    add_elements(format, name + "/ordinary/soft", ordinary, request, result);
    add_reductions(format, name + "/ordinary/plain", ordinary, request, result);
    request.weight = input(operands_.weight.data());
    request.pos_weight = input(operands_.pos_weight.data());
    request.where = {operands_.where.data(), nullptr, LOGITLOSS_BOOL};
    request.label_smoothing = 0.0625;
    add_elements(format, name + "/ordinary/weighted", ordinary, request, result);
    add_reductions(format, name + "/ordinary/weighted", ordinary, request, result);
  }

  void add_elements(const Format& format, const std::string& name, const Bytes& logits,
                    logitloss_bce_request request, Hashes& result) {
    Bytes loss(logits.size());
    Bytes gradient(logits.size());
    Bytes hessian(logits.size());
    request.logits = {logits.data(), nullptr, format.dtype};
    request.reduction = LOGITLOSS_NONE;
    request.value = {loss.data(), nullptr, format.dtype};
    request.gradient = {gradient.data(), nullptr, format.dtype};
    request.hessian = {hessian.data(), nullptr, format.dtype};
    run(request);
    result[name + "/loss"] = hash_of(format, loss);
    result[name + "/gradient"] = hash_of(format, gradient);
    result[name + "/hessian"] = hash_of(format, hessian);
  }

  // Each set of axes is summed in another order.
  void add_reductions(const Format& format, const std::string& name, const Bytes& logits,
                      logitloss_bce_request request, Hashes& result) {
    request.logits = {logits.data(), nullptr, format.dtype};
    const std::pair<const char*, logitloss_reduction> reductions[] = {
        {"sum", LOGITLOSS_SUM},
        {"mean", LOGITLOSS_MEAN},
        {"weighted_mean", LOGITLOSS_WEIGHTED_MEAN}};
    for (const auto& [reduction_name, reduction] : reductions) {
      for (const std::uint64_t axes : {0b111U, 0b100U, 0b001U, 0b010U, 0b110U}) {
        Bytes value(size * sizeof(double));
        Bytes gradient(logits.size());
        request.reduction = reduction;
        request.reduced_axes = axes;
        request.value = {value.data(), nullptr, LOGITLOSS_FLOAT64};
        request.gradient = {gradient.data(), nullptr, format.dtype};
        run(request);
        const std::string prefix = name + "/" + reduction_name + "/axes" + std::to_string(axes);
        result[prefix + "/value"] = hash_of(float64_format, value);
        result[prefix + "/gradient"] = hash_of(format, gradient);
      }
    }
  }

  Operands operands_;
};

bool has_fma(const std::string& isa) { return isa != "baseline"; }

struct Recorded {
  Hashes with_fma;
  Hashes baseline;
};

Recorded read_file(const char* path) {
  Recorded recorded;
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string name;
    if (line.empty() || line[0] == '#' || !(words >> name)) {
      continue;
    }
    words >> recorded.with_fma[name] >> recorded.baseline[name];
  }
  return recorded;
}

TEST_CASE("the bits of every instruction set are those recorded") {
  const Recorded recorded = read_file(LOGITLOSS_BITS_FILE);
  REQUIRE_FALSE(recorded.with_fma.empty());
  MESSAGE("chosen for this processor: " << std::string(logitloss_isa()));
  Corpus corpus;
  for (const std::string& isa : available_isas()) {
    const SelectedIsa selected(isa);
    const Hashes& expected = has_fma(isa) ? recorded.with_fma : recorded.baseline;
    const Hashes got = corpus.hashes();
    CHECK(got.size() == expected.size());
    MESSAGE(isa << ": " << got.size() << " hashes");
    for (const auto& [name, hash] : got) {
      INFO(isa, ", ", name);
      const auto found = expected.find(name);
      REQUIRE(found != expected.end());
      CHECK(hash == found->second);
    }
  }
}

int write_file(const char* path) {
  Corpus corpus;
  Recorded recorded;
  for (const std::string& isa : available_isas()) {
    const SelectedIsa selected(isa);
    const Hashes hashes = corpus.hashes();
    Hashes& kept = has_fma(isa) ? recorded.with_fma : recorded.baseline;
    if (!kept.empty() && kept != hashes) {
      std::fprintf(stderr, "%s has other bits than the set before it; nothing was written\n",
                   isa.c_str());
      return 1;
    }
    kept = hashes;
  }
  if (recorded.with_fma.empty() || recorded.baseline.empty()) {
    std::fprintf(stderr, "this processor lacks fused multiply-add, or a baseline without it\n");
    return 1;
  }
  std::ofstream file(path);
  file << "# Hashes of results over a fixed corpus: case, with fused multiply-add, baseline.\n"
          "# Written by `test_bits --write`.\n";
  for (const auto& [name, hash] : recorded.with_fma) {
    file << name << ' ' << hash << ' ' << recorded.baseline[name] << '\n';
  }
  return file.good() ? 0 : 1;
}

}  // namespace
}  // namespace logitloss::tests

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "--write") == 0) {
    return logitloss::tests::write_file(LOGITLOSS_BITS_FILE);
  }
  return doctest::Context(argc, argv).run();
}
