// The functions that every instruction set provides, as plain tables of pointers.
//
// This header is included by files that are compiled for different processors, so it holds data
// types alone: an inline function here could be compiled for one processor and be picked by the
// linker for all of them.
#pragma once

#include <cstddef>
#include <cstdint>

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

// What a kernel is asked for, as bits of an index into a table.
constexpr unsigned wants_loss = 1;
constexpr unsigned wants_gradient = 2;
constexpr unsigned wants_hessian = 4;
constexpr unsigned output_sets = 8;

// A factor in two parts, so that multiplying by it costs one rounding and not two.
template <class Real>
struct Scale {
  Real high;
  Real low;
};

// Contiguous operands of one tile. `positive` holds targets in a plain kernel, where the weight
// of the negative label is 1 - y and `negative` is not read; in a weighted kernel both hold
// weights.
template <class Real>
struct Tile {
  const Real* logits;
  const Real* negative;
  const Real* positive;
  Real* loss;
  Real* gradient;
  Real* hessian;
  Scale<Real> scale;
  std::size_t length;
};

// What turns targets into the two weights of an element. `complements` (1 - y) and `exists` may
// be null. An element is missing where `exists` is 0 or, with `has_ignored`, where its target is
// `ignored`, NaN included; `masked_logits` is written only where elements can be missing.
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

// Slots are running sums in two parts, high + low. The slot of element i of a tile is i modulo
// the number of slots (lanes, columns) or i divided by the row length (rows).
constexpr std::size_t lane_count = 64;
constexpr std::size_t row_lane_count = 8;
constexpr std::size_t slot_capacity = 512;

template <class Real>
struct Kernels {
  // Losses, gradients and hessians of a tile. The plain one says whether a target was outside
  // [0, 1] or NaN.
  bool (*plain[output_sets])(const Tile<Real>&);
  void (*weighted[output_sets])(const Tile<Real>&);

  // Weights of the two labels.
  Prepared (*prepare)(const Preparation<Real>&);

  // Clears `exists` where the target equals `value`, or is NaN where `value` is.
  void (*ignore)(const Real* targets, double value, std::size_t length, std::uint8_t* exists);
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

  // Whether a float64 weight is above 2^60 or, but for 0, below 2^-60.
  bool (*holds_extreme_weight)(const char* source, std::ptrdiff_t stride, std::size_t length);

  // Sums of a tile into slots. Each returns false, with nothing added, where a magnitude is NaN
  // or above `largest_summed`.
  bool (*add_lanes)(const Real* values, std::size_t length, double* high, double* low);
  bool (*add_rows)(const Real* values, std::size_t rows, std::size_t row_length, double* high,
                   double* low);
  bool (*add_columns)(const Real* values, std::size_t length, std::size_t columns, double* high,
                      double* low);

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
