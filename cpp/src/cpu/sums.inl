// Sums of a tile of values into slots of float64. Included by kernels.inl alone.

// Whether all magnitudes can be summed as they are. Without their signs, numbers are ordered as
// their bits are, infinities and then NaNs last, and integers have a maximum that vectorises.
template <class Real>
LOGITLOSS_INLINE bool can_be_summed(const Real* values, std::size_t length) {
  using Integer = typename Bits<Real>::Integer;
  Integer largest = 0;
  for (std::size_t i = 0; i < length; ++i) {
    const Integer size = bit_cast<Integer>(magnitude(values[i]));
    largest = size > largest ? size : largest;
  }
  return bit_cast<Real>(largest) <= largest_summed<Real>;
}

// What is summed: losses, each in two parts of a slot, or terms, a sum and a product.
template <class Real>
struct Losses {
  const Real* values;

  LOGITLOSS_INLINE void add(std::size_t i, double& high, double& low) const {
    add_to(high, low, values[i]);
  }

  static LOGITLOSS_INLINE void join(double& high, double& low, double other_high,
                                    double other_low) {
    if constexpr (sizeof(Real) == sizeof(double)) {
      add_to(high, low, other_high);
      low += other_low;
    } else {
      high += other_high;
    }
  }
};

struct Terms {
  const float* linear;
  const float* exponential;

  LOGITLOSS_INLINE void add(std::size_t i, double& sum, double& product) const {
    join(sum, product, static_cast<double>(linear[i]), static_cast<double>(exponential[i]));
  }

  static LOGITLOSS_INLINE void join(double& sum, double& product, double other_sum,
                                    double other_product) {
    sum += other_sum;
    multiply_into(product, other_product);
  }
};

// Slot i mod lane_count, with a whole row of lanes in one step.
template <class Summands>
LOGITLOSS_INLINE void sum_lanes(const Summands& summands, std::size_t length,
                                double* __restrict first, double* __restrict second) {
  const std::size_t whole = length - length % lane_count;
  for (std::size_t i = 0; i < whole; i += lane_count) {
    for (std::size_t lane = 0; lane < lane_count; ++lane) {
      summands.add(i + lane, first[lane], second[lane]);
    }
  }
  for (std::size_t lane = 0; lane < length - whole; ++lane) {
    summands.add(whole + lane, first[lane], second[lane]);
  }
}

template <class Summands, std::size_t half>
LOGITLOSS_INLINE void fold_lanes(double* __restrict first, double* __restrict second,
                                 std::size_t rows) {
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t lane = row * row_lane_count; lane < row * row_lane_count + half; ++lane) {
      Summands::join(first[lane], second[lane], first[lane + half], second[lane + half]);
    }
  }
}

// One slot a row: row_lane_count lanes, then a tree over them. The trees of several rows are
// climbed together, since each alone is a long chain of dependent operations.
template <class Summands>
LOGITLOSS_INLINE void sum_rows(const Summands& summands, std::size_t rows, std::size_t length,
                               double* first, double* second) {
  constexpr std::size_t together = 16;
  static_assert(row_lane_count == 8);
  const std::size_t whole = length - length % row_lane_count;
  for (std::size_t begin = 0; begin < rows; begin += together) {
    const std::size_t count = rows - begin < together ? rows - begin : together;
    double lane_first[together * row_lane_count] = {};
    double lane_second[together * row_lane_count] = {};
    for (std::size_t row = 0; row < count; ++row) {
      double* const __restrict row_first = lane_first + row * row_lane_count;
      double* const __restrict row_second = lane_second + row * row_lane_count;
      const std::size_t start = (begin + row) * length;
      for (std::size_t i = 0; i < whole; i += row_lane_count) {
        for (std::size_t lane = 0; lane < row_lane_count; ++lane) {
          summands.add(start + i + lane, row_first[lane], row_second[lane]);
        }
      }
      for (std::size_t lane = 0; lane < length - whole; ++lane) {
        summands.add(start + whole + lane, row_first[lane], row_second[lane]);
      }
    }
    fold_lanes<Summands, 4>(lane_first, lane_second, count);
    fold_lanes<Summands, 2>(lane_first, lane_second, count);
    fold_lanes<Summands, 1>(lane_first, lane_second, count);
    for (std::size_t row = 0; row < count; ++row) {
      first[begin + row] = lane_first[row * row_lane_count];
      second[begin + row] = lane_second[row * row_lane_count];
    }
  }
}

// Slot i mod columns; a tile starts at column 0.
template <class Summands>
LOGITLOSS_INLINE void sum_columns(const Summands& summands, std::size_t length, std::size_t columns,
                                  double* __restrict first, double* __restrict second) {
  for (std::size_t begin = 0; begin < length; begin += columns) {
    const std::size_t rest = length - begin;
    const std::size_t count = rest < columns ? rest : columns;
    for (std::size_t column = 0; column < count; ++column) {
      summands.add(begin + column, first[column], second[column]);
    }
  }
}

template <class Real>
bool add_lanes(const Real* __restrict values, std::size_t length, double* __restrict high,
               double* __restrict low) {
  if (!can_be_summed(values, length)) {
    return false;
  }
  sum_lanes(Losses<Real>{values}, length, high, low);
  return true;
}

template <class Real>
bool add_rows(const Real* __restrict values, std::size_t rows, std::size_t row_length,
              double* __restrict high, double* __restrict low) {
  if (!can_be_summed(values, rows * row_length)) {
    return false;
  }
  sum_rows(Losses<Real>{values}, rows, row_length, high, low);
  return true;
}

template <class Real>
bool add_columns(const Real* __restrict values, std::size_t length, std::size_t columns,
                 double* __restrict high, double* __restrict low) {
  if (!can_be_summed(values, length)) {
    return false;
  }
  sum_columns(Losses<Real>{values}, length, columns, high, low);
  return true;
}

void add_term_lanes(const float* __restrict linear, const float* __restrict exponential,
                    std::size_t length, double* __restrict sum, double* __restrict product) {
  sum_lanes(Terms{linear, exponential}, length, sum, product);
}

void add_term_rows(const float* __restrict linear, const float* __restrict exponential,
                   std::size_t rows, std::size_t row_length, double* __restrict sum,
                   double* __restrict product) {
  sum_rows(Terms{linear, exponential}, rows, row_length, sum, product);
}

void add_term_columns(const float* __restrict linear, const float* __restrict exponential,
                      std::size_t length, std::size_t columns, double* __restrict sum,
                      double* __restrict product) {
  sum_columns(Terms{linear, exponential}, length, columns, sum, product);
}

bool add_logarithms(double* __restrict products, std::size_t count, double* __restrict high,
                    double* __restrict low) {
  constexpr double infinity = __builtin_huge_val();
  int finite = 1;
  for (std::size_t k = 0; k < count; ++k) {
    const double logarithm = log1p_of_product(products[k]);
    double sum = high[k];
    double rest = low[k];
    add_to(sum, rest, logarithm);
    const bool is_finite = magnitude(sum) < infinity;
    high[k] = is_finite ? sum : high[k];
    low[k] = is_finite ? rest : low[k];
    products[k] = is_finite ? 0.0 : logarithm;
    finite &= is_finite ? 1 : 0;
  }
  return finite != 0;
}
