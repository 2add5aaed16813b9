// The functions that every instruction set provides, as plain tables of pointers.
//
// This header is included by files that are compiled for different processors, so what it defines
// are data types: an inline function could be compiled for one processor and be picked by the
// linker for all of them. Those of the mathematics have internal linkage.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../math/factor.h"

namespace logitloss {

// The element types of arrays, in the order of logitloss_dtype.
enum class Dtype : int {
  boolean,
  int8,
  uint8,
  int16,
  uint16,
  int32,
  uint32,
  int64,
  uint64,
  float16,
  bfloat16,
  float32,
  float64,
};

constexpr int dtype_count = 13;

// A tile is a run of elements whose operands all fit in the first-level cache.
template <class Real>
constexpr std::size_t tile_length = 4096 / sizeof(Real);

// What a kernel is asked for, as bits of an index into a table. The terms of a loss are what it
// is summed from where all weights are 1: the linear term a m, and exp(-a).
constexpr unsigned wants_loss = 1;
constexpr unsigned wants_gradient = 2;
constexpr unsigned wants_hessian = 4;
constexpr unsigned wants_terms = 8;
constexpr unsigned output_sets = 16;

// Where the weights of the two labels come from: they are y and 1 - y, with targets to be checked;
// they add up to 1; or they are any numbers.
enum class Labels : int { targets, unit, weighted };

constexpr int labels_count = 3;

// An array's part that the next tile will need.
struct Stream {
  const char* next;
  std::size_t item_size;
};

struct Streams {
  Stream stream[8];
  int count;
};

// Elements of a tile that a kernel takes through one loop after the other.
constexpr std::size_t chunk_length = 256;

// Contiguous operands of one tile. `positive` and `negative` hold the weights of the labels; for
// Labels::targets `positive` holds targets, and `negative` is not read. `exponential` and
// `exponential_low` are room for exp(-a) in two parts; the first is a result where terms are
// wanted.
template <class Real>
struct Tile {
  const Real* logits;
  const Real* negative;
  const Real* positive;
  Real* exponential;
  Real* exponential_low;
  Real* linear;
  Real* loss;
  Real* gradient;
  Real* hessian;
  Scale<Real> scale;
  std::size_t length;
  const Streams* streams;
};

// What turns targets into the weights of the two labels. `complements` (1 - y) and `exists` may be
// null; `weight` and `pos_weight` are read for Labels::weighted alone. An element is missing where
// `exists` is 0 or, with `has_ignored`, where its target is `ignored`, NaN included. It becomes an
// infinite logit on the right side, whose loss, gradient and hessian are 0. `masked_logits` is
// written only where elements can be missing.
template <class Real>
struct Preparation {
  const Real* logits;
  const Real* targets;
  const Real* complements;
  const Real* weight;
  const Real* pos_weight;
  const std::uint8_t* exists;
  bool has_ignored;
  Real ignored;
  Real smoothing_factor;
  Real smoothing_offset;
  Real* masked_logits;
  Real* negative;
  Real* positive;
  std::size_t length;
};

// Whether a target outside [0, 1] was seen, and how many elements exist.
struct Prepared {
  bool has_bad_target;
  std::size_t existing;
};

// Slots are running sums. The slot of element i of a tile is i modulo the number of slots (lanes,
// columns) or i divided by the row length (rows).
constexpr std::size_t lane_count = 64;
constexpr std::size_t row_lane_count = 8;
constexpr std::size_t slot_capacity = 512;

template <class Real>
struct Kernels {
  // Results of a tile. For Labels::targets they say whether one was outside [0, 1] or NaN.
  bool (*evaluate[labels_count][output_sets])(const Tile<Real>&);

  // Weights of the two labels. For Labels::targets only missing elements are replaced.
  Prepared (*prepare[labels_count])(const Preparation<Real>&);

  // Clears `exists` where the target equals `value`, or is NaN where `value` is.
  void (*ignore)(const Real* targets, double value, std::size_t length, std::uint8_t* exists);
  std::size_t (*count_existing)(const std::uint8_t* exists, std::size_t length);
  // How many targets differ from `value`, or are numbers where `value` is NaN.
  std::size_t (*count_others)(const Real* targets, double value, std::size_t length);
  // 1 where the element exists and `weight` is null, its weight where not, 0 where it does not.
  void (*denominators)(const Real* weight, const std::uint8_t* exists, std::size_t length,
                       Real* result);

  // Strided runs to and from contiguous tiles. Sources may be unaligned.
  void (*load[dtype_count])(const char* source, std::ptrdiff_t stride, std::size_t length,
                            Real* tile);
  void (*store[dtype_count])(const Real* tile, std::size_t length, char* target,
                             std::ptrdiff_t stride);
  // Targets of float64 and their complements, each rounded once.
  void (*load_with_complement)(const char* source, std::ptrdiff_t stride, std::size_t length,
                               Real* tile, Real* complements);

  // How large weights are, as a set of WeightSize. The second reads float64 weights before they are
  // rounded.
  unsigned (*sizes_of)(const Real* weights, std::size_t length);
  unsigned (*sizes_of_doubles)(const char* source, std::ptrdiff_t stride, std::size_t length);
  // Whether exp(-a) is subnormal, or 0 although the logit is finite, somewhere.
  bool (*holds_tail)(const Real* logits, std::size_t length);

  // Sums of a tile into slots in two parts, high + low. Rows are set, the others are added to. Each
  // returns false, with nothing added, where a magnitude is NaN or above `largest_summed`.
  bool (*add_lanes)(const Real* values, std::size_t length, double* high, double* low);
  bool (*add_rows)(const Real* values, std::size_t rows, std::size_t row_length, double* high,
                   double* low);
  bool (*add_columns)(const Real* values, std::size_t length, std::size_t columns, double* high,
                      double* low);

  // The same of terms: `linear` is summed, and `product` + 1 is multiplied by 1 + `exponential`. A
  // slot may take 512 elements. Absent for float64.
  void (*add_term_lanes)(const Real* linear, const Real* exponential, std::size_t length,
                         double* sum, double* product);
  void (*add_term_rows)(const Real* linear, const Real* exponential, std::size_t rows,
                        std::size_t row_length, double* sum, double* product);
  void (*add_term_columns)(const Real* linear, const Real* exponential, std::size_t length,
                           std::size_t columns, double* sum, double* product);
  // Adds log(1 + product) to each slot and clears the product. A slot whose sum would not be finite
  // is left as it is, with the logarithm in place of the product; then the result is false.
  bool (*add_logarithms)(double* products, std::size_t count, double* high, double* low);

  // numerator / denominator in two parts; 0 where the denominator is 0.
  Scale<Real> (*make_scale)(double numerator, double denominator);
  void (*scale)(Real* values, const double* numerators, const double* denominators,
                std::size_t length);
};

struct KernelTable {
  Kernels<float> float32;
  Kernels<double> float64;
};

}  // namespace logitloss
