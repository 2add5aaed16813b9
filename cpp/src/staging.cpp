#include "staging.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

namespace logitloss {
namespace {

// Rows and columns of a square that is copied at once; 16 float32 fill a cache line.
constexpr std::int64_t block = 16;
constexpr std::ptrdiff_t cache_line = 64;

// A line of memory across 16 rows is fetched once if as many rows are copied together. Copies of
// all threads together take `budget` bytes, or what the smallest ones take.
constexpr std::int64_t smallest_capacity = 16384;
constexpr std::int64_t largest_capacity = 262144;
constexpr std::int64_t budget = std::int64_t{1} << 23;

// Whether rows of the walk lie across the memory, and several of them fit in a chunk.
bool is_transposed(const Operand& operand) {
  if (!operand.is_present() || operand.ndim < 2) {
    return false;
  }
  const int inner = operand.ndim - 1;
  const std::ptrdiff_t step = std::abs(operand.stride[inner]);
  if (step < cache_line || operand.length[inner] > largest_capacity / 2) {
    return false;
  }
  return std::any_of(operand.stride, operand.stride + inner, [step](std::ptrdiff_t stride) {
    return stride != 0 && std::abs(stride) < step;
  });
}

// Rows that are copied together: a column of theirs is a run of several cache lines, and each page
// of the memory is visited once for all of them.
constexpr std::int64_t most_rows = 4 * block;

// One row of the walk, or the part of it that belongs to a chunk.
struct Row {
  char* data;
  std::int64_t first_column;
  std::int64_t last_column;
  // Offset in the chunk of where column 0 would be.
  std::int64_t offset;
};

// Columns [first, first + width) of `count` rows; both at most `block`.
struct Square {
  const Row* rows;
  std::int64_t count;
  std::int64_t first;
  std::int64_t width;
};

// Copies a square of elements through a small buffer, so that each line of the memory and of the
// chunk is touched once: rows that are a power of two apart would push each other out of the
// cache otherwise. The full square has loops of known length.
template <std::size_t size, bool is_load, bool is_full>
void copy_square(Square square, std::ptrdiff_t stride, char* chunk) {
  if constexpr (is_full) {
    square.count = block;
    square.width = block;
  }
  char buffer[block][block * size];
  const std::size_t width = static_cast<std::size_t>(square.width) * size;
  const auto in_chunk = [&](std::int64_t r) {
    return chunk + (square.rows[r].offset + square.first) * static_cast<std::int64_t>(size);
  };
  for (std::int64_t r = 0; !is_load && r < square.count; ++r) {
    std::memcpy(buffer[r], in_chunk(r), width);
  }
  for (std::int64_t column = 0; column < square.width; ++column) {
    const std::ptrdiff_t across = (square.first + column) * stride;
    for (std::int64_t r = 0; r < square.count; ++r) {
      char* in_memory = square.rows[r].data + across;
      char* in_buffer = buffer[r] + column * static_cast<std::int64_t>(size);
      std::memcpy(is_load ? in_buffer : in_memory, is_load ? in_memory : in_buffer, size);
    }
  }
  for (std::int64_t r = 0; is_load && r < square.count; ++r) {
    std::memcpy(in_chunk(r), buffer[r], width);
  }
}

// The same where rows lie side by side in memory, so that a column is one run of it.
template <std::size_t size, bool is_load>
void copy_adjacent_square(const Square& square, std::ptrdiff_t stride, char* chunk) {
  using Column = std::array<std::array<char, size>, block>;
  Column columns[block];
  const auto in_memory = [&](std::int64_t column) {
    return square.rows[0].data + (square.first + column) * stride;
  };
  // The next columns are asked for; past the end of an array that is ignored.
  for (std::int64_t column = 0; column < block; ++column) {
    __builtin_prefetch(in_memory(column + block));
  }
  for (std::int64_t column = 0; is_load && column < block; ++column) {
    std::memcpy(&columns[column], in_memory(column), sizeof(Column));
  }
  for (std::int64_t r = 0; r < block; ++r) {
    char* row = chunk + (square.rows[r].offset + square.first) * static_cast<std::int64_t>(size);
    for (std::int64_t column = 0; column < block; ++column) {
      char* element = columns[column][static_cast<std::size_t>(r)].data();
      char* in_row = row + column * static_cast<std::int64_t>(size);
      std::memcpy(is_load ? in_row : element, is_load ? element : in_row, size);
    }
  }
  for (std::int64_t column = 0; !is_load && column < block; ++column) {
    std::memcpy(in_memory(column), &columns[column], sizeof(Column));
  }
}

bool are_adjacent(const Row* rows, std::int64_t count, std::ptrdiff_t size) {
  for (std::int64_t r = 1; r < count; ++r) {
    if (rows[r].data - rows[0].data != r * size) {
      return false;
    }
  }
  return true;
}

// Copies between rows in memory, all with the same columns, and a contiguous chunk.
template <std::size_t size, bool is_load>
void copy_rows(const Row* rows, std::int64_t count, std::ptrdiff_t stride, char* chunk) {
  const bool adjacent = are_adjacent(rows, count, size);
  for (std::int64_t first = rows[0].first_column; first < rows[0].last_column; first += block) {
    const std::int64_t width = std::min(block, rows[0].last_column - first);
    for (std::int64_t r = 0; r < count; r += block) {
      const Square square{rows + r, std::min(block, count - r), first, width};
      const bool is_full = square.count == block && width == block;
      if (is_full && adjacent) {
        copy_adjacent_square<size, is_load>(square, stride, chunk);
      } else if (is_full) {
        copy_square<size, is_load, true>(square, stride, chunk);
      } else {
        copy_square<size, is_load, false>(square, stride, chunk);
      }
    }
  }
}

template <bool is_load>
void copy_rows_of_size(const Row* rows, std::int64_t count, const Operand& operand, char* chunk) {
  if (count == 0) {
    return;
  }
  const std::ptrdiff_t stride = operand.stride[operand.ndim - 1];
  switch (operand.item_size) {
    case 1:
      return copy_rows<1, is_load>(rows, count, stride, chunk);
    case 2:
      return copy_rows<2, is_load>(rows, count, stride, chunk);
    case 4:
      return copy_rows<4, is_load>(rows, count, stride, chunk);
    default:
      return copy_rows<8, is_load>(rows, count, stride, chunk);
  }
}

bool have_same_columns(const Row& a, const Row& b) {
  return a.first_column == b.first_column && a.last_column == b.last_column;
}

// Collects rows with the same columns: but for the first and the last one of a chunk, all.
template <bool is_load>
void copy_chunk(const Operand& operand, std::int64_t first, std::int64_t count, char* chunk) {
  Row rows[most_rows] = {};
  std::int64_t filled = 0;
  std::int64_t column = first % operand.length[operand.ndim - 1];
  for_each_run(operand, first, count,
               [&](char* data, std::ptrdiff_t stride, std::int64_t offset, std::int64_t length) {
                 const Row row{data - column * stride, column, column + length, offset - column};
                 column = 0;
                 if (filled == most_rows || (filled > 0 && !have_same_columns(row, rows[0]))) {
                   copy_rows_of_size<is_load>(rows, filled, operand, chunk);
                   filled = 0;
                 }
                 rows[filled++] = row;
               });
  copy_rows_of_size<is_load>(rows, filled, operand, chunk);
}

}  // namespace

Staging::Staging(const Call& call) : original_(call) {
  for (Operand Call::* input : {&Call::logits, &Call::targets, &Call::weight, &Call::pos_weight,
                                &Call::where, &Call::grad_output}) {
    choose(input, true);
  }
  choose(&Call::gradient, false);
  choose(&Call::hessian, false);
  if (!call.is_reduced()) {
    choose(&Call::value, false);
  }
  if (count_ != 0) {
    choose_capacity();
    if (!allocate()) {
      local_.reset();
    }
  }
}

void Staging::choose(Operand Call::* operand, bool is_input) {
  if (!is_transposed(original_.*operand)) {
    return;
  }
  if (local_ == nullptr) {
    local_.reset(new (std::nothrow) Call(original_));
  }
  if (local_ == nullptr) {
    return;
  }
  Copy& copy = copies_[count_++];
  copy.original = &(original_.*operand);
  copy.local = &((*local_).*operand);
  copy.is_input = is_input;
}

void Staging::choose_capacity() {
  std::int64_t row = 1;
  std::int64_t bytes = 0;
  for (std::size_t k = 0; k < count_; ++k) {
    const Operand& operand = *copies_[k].original;
    row = std::max(row, operand.length[operand.ndim - 1]);
    bytes += operand.item_size;
  }
  const std::int64_t affordable = budget / (bytes * original_.threads);
  const std::int64_t wanted = std::min({most_rows * row, largest_capacity, affordable});
  capacity_ = std::min(original_.size, std::max({smallest_capacity, 2 * row, wanted / row * row}));
}

bool Staging::allocate() {
  for (std::size_t k = 0; k < count_; ++k) {
    Copy& copy = copies_[k];
    const auto bytes = static_cast<std::size_t>(capacity_ * copy.original->item_size);
    copy.buffer.reset(new (std::nothrow) char[bytes]);
    if (copy.buffer == nullptr) {
      return false;
    }
    copy.local->ndim = 1;
    copy.local->length[0] = original_.size;
    copy.local->stride[0] = copy.original->item_size;
  }
  return true;
}

void Staging::require(std::int64_t first, std::int64_t count, std::int64_t limit) {
  if (first >= begin_ && first + count <= end_) {
    return;
  }
  flush();
  begin_ = first;
  end_ = std::max(first + count, std::min(first + capacity_, limit));
  written_ = first;
  for (std::size_t k = 0; k < count_; ++k) {
    const Copy& copy = copies_[k];
    copy.local->data = copy.buffer.get();
    copy.local->first = first;
    if (copy.is_input) {
      copy_chunk<true>(*copy.original, begin_, end_ - begin_, copy.buffer.get());
    }
  }
}

void Staging::flush() {
  for (std::size_t k = 0; k < count_ && written_ > begin_; ++k) {
    const Copy& copy = copies_[k];
    if (!copy.is_input) {
      copy_chunk<false>(*copy.original, begin_, written_ - begin_, copy.buffer.get());
    }
  }
  begin_ = end_ = written_;
}

}  // namespace logitloss
