// Sums of a tile of values into slots of float64. Included by kernels.inl alone.
//
// float values are summed in plain double, which leaves 29 bits to spare; double values are
// summed with the error of each addition kept (Knuth's two-sum), so that a sum is as good as
// one of its terms.

// Terms up to here cannot overflow a sum of 2^60 of them.
template <class Real>
constexpr Real largest_summed = Real(sizeof(Real) == sizeof(float) ? 0x1.fffffep127 : 0x1p960);

LOGITLOSS_INLINE void add_to(double& high, double&, float term) {
  high += static_cast<double>(term);
}

LOGITLOSS_INLINE void add_to(double& high, double& low, double term) {
  const double sum = high + term;
  const double part = sum - high;
  low += (high - (sum - part)) + (term - part);
  high = sum;
}

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

// Slot i mod lane_count, with a whole row of lanes in one step.
template <class Real>
bool add_lanes(const Real* __restrict values, std::size_t length, double* __restrict high,
               double* __restrict low) {
  if (!can_be_summed(values, length)) {
    return false;
  }
  const std::size_t whole = length - length % lane_count;
  for (std::size_t i = 0; i < whole; i += lane_count) {
    for (std::size_t lane = 0; lane < lane_count; ++lane) {
      add_to(high[lane], low[lane], values[i + lane]);
    }
  }
  for (std::size_t lane = 0; lane < length - whole; ++lane) {
    add_to(high[lane], low[lane], values[whole + lane]);
  }
  return true;
}

LOGITLOSS_INLINE void add_lane(double* high, double* low, std::size_t lane, std::size_t other,
                               double) {
  add_to(high[lane], low[lane], high[other]);
  low[lane] += low[other];
}

LOGITLOSS_INLINE void add_lane(double* high, double*, std::size_t lane, std::size_t other, float) {
  high[lane] += high[other];
}

// One slot a row: row_lane_count lanes, then a tree over them, spelled out because a loop over so
// few would be left in memory.
template <class Real>
LOGITLOSS_INLINE void add_row(const Real* values, std::size_t length, double& high, double& low) {
  double lane_high[row_lane_count] = {};
  double lane_low[row_lane_count] = {};
  const std::size_t whole = length - length % row_lane_count;
  for (std::size_t i = 0; i < whole; i += row_lane_count) {
    for (std::size_t lane = 0; lane < row_lane_count; ++lane) {
      add_to(lane_high[lane], lane_low[lane], values[i + lane]);
    }
  }
  for (std::size_t lane = 0; lane < length - whole; ++lane) {
    add_to(lane_high[lane], lane_low[lane], values[whole + lane]);
  }
  static_assert(row_lane_count == 8);
  constexpr Real kind{};
  add_lane(lane_high, lane_low, 0, 4, kind);
  add_lane(lane_high, lane_low, 1, 5, kind);
  add_lane(lane_high, lane_low, 2, 6, kind);
  add_lane(lane_high, lane_low, 3, 7, kind);
  add_lane(lane_high, lane_low, 0, 2, kind);
  add_lane(lane_high, lane_low, 1, 3, kind);
  add_lane(lane_high, lane_low, 0, 1, kind);
  high = lane_high[0];
  low = lane_low[0];
}

template <class Real>
bool add_rows(const Real* values, std::size_t rows, std::size_t row_length, double* high,
              double* low) {
  if (!can_be_summed(values, rows * row_length)) {
    return false;
  }
  for (std::size_t row = 0; row < rows; ++row) {
    add_row(values + row * row_length, row_length, high[row], low[row]);
  }
  return true;
}

// Slot i mod columns; a tile starts at column 0.
template <class Real>
bool add_columns(const Real* __restrict values, std::size_t length, std::size_t columns,
                 double* __restrict high, double* __restrict low) {
  if (!can_be_summed(values, length)) {
    return false;
  }
  for (std::size_t first = 0; first < length; first += columns) {
    const std::size_t rest = length - first;
    const std::size_t count = rest < columns ? rest : columns;
    for (std::size_t column = 0; column < count; ++column) {
      add_to(high[column], low[column], values[first + column]);
    }
  }
  return true;
}

// The sum of log1p(e) is the logarithm of the product of all 1 + e, one logarithm for many
// elements. The product less 1 is what is kept: it does not lose small e beside 1. Each step rounds
// by 2^-52 of it at most, and 512 elements keep it below 2^512.
LOGITLOSS_INLINE void add_terms_to(double& sum, double& product, float linear, float e) {
  sum += static_cast<double>(linear);
  product = multiply_add(static_cast<double>(e), 1.0 + product, product);
}

void add_term_lanes(const float* __restrict linear, const float* __restrict exponential,
                    std::size_t length, double* __restrict sum, double* __restrict product) {
  const std::size_t whole = length - length % lane_count;
  for (std::size_t i = 0; i < whole; i += lane_count) {
    for (std::size_t lane = 0; lane < lane_count; ++lane) {
      add_terms_to(sum[lane], product[lane], linear[i + lane], exponential[i + lane]);
    }
  }
  for (std::size_t lane = 0; lane < length - whole; ++lane) {
    add_terms_to(sum[lane], product[lane], linear[whole + lane], exponential[whole + lane]);
  }
}

LOGITLOSS_INLINE void add_term_lane(double* sum, double* product, std::size_t lane,
                                    std::size_t other) {
  sum[lane] += sum[other];
  product[lane] = multiply_add(product[other], 1.0 + product[lane], product[lane]);
}

LOGITLOSS_INLINE void add_term_row(const float* linear, const float* exponential,
                                   std::size_t length, double& sum, double& product) {
  double lane_sum[row_lane_count] = {};
  double lane_product[row_lane_count] = {};
  const std::size_t whole = length - length % row_lane_count;
  for (std::size_t i = 0; i < whole; i += row_lane_count) {
    for (std::size_t lane = 0; lane < row_lane_count; ++lane) {
      add_terms_to(lane_sum[lane], lane_product[lane], linear[i + lane], exponential[i + lane]);
    }
  }
  for (std::size_t lane = 0; lane < length - whole; ++lane) {
    add_terms_to(lane_sum[lane], lane_product[lane], linear[whole + lane],
                 exponential[whole + lane]);
  }
  static_assert(row_lane_count == 8);
  add_term_lane(lane_sum, lane_product, 0, 4);
  add_term_lane(lane_sum, lane_product, 1, 5);
  add_term_lane(lane_sum, lane_product, 2, 6);
  add_term_lane(lane_sum, lane_product, 3, 7);
  add_term_lane(lane_sum, lane_product, 0, 2);
  add_term_lane(lane_sum, lane_product, 1, 3);
  add_term_lane(lane_sum, lane_product, 0, 1);
  sum = lane_sum[0];
  product = lane_product[0];
}

void add_term_rows(const float* linear, const float* exponential, std::size_t rows,
                   std::size_t row_length, double* sum, double* product) {
  for (std::size_t row = 0; row < rows; ++row) {
    const std::size_t first = row * row_length;
    add_term_row(linear + first, exponential + first, row_length, sum[row], product[row]);
  }
}

void add_term_columns(const float* __restrict linear, const float* __restrict exponential,
                      std::size_t length, std::size_t columns, double* __restrict sum,
                      double* __restrict product) {
  for (std::size_t first = 0; first < length; first += columns) {
    const std::size_t rest = length - first;
    const std::size_t count = rest < columns ? rest : columns;
    for (std::size_t column = 0; column < count; ++column) {
      add_terms_to(sum[column], product[column], linear[first + column],
                   exponential[first + column]);
    }
  }
}

void take_logarithms(double* products, std::size_t count) {
  for (std::size_t k = 0; k < count; ++k) {
    products[k] = log1p_of_product(products[k]);
  }
}
