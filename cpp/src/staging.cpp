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

// Whether rows of the walk lie across the memory, and several of them fit in a chunk.
bool is_transposed(const Operand& operand) {
  if (!operand.is_present() || operand.ndim < 2) {
    return false;
  }
  const int inner = operand.ndim - 1;
  const std::ptrdiff_t step = std::abs(operand.stride[inner]);
  if (step < cache_line || operand.length[inner] > Staging::capacity / 2) {
    return false;
  }
  return std::any_of(operand.stride, operand.stride + inner, [step](std::ptrdiff_t stride) {
    return stride != 0 && std::abs(stride) < step;
  });
}

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
// cache otherwise.
// The full square has loops of known length.
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

// Copies between rows in memory, all with the same columns, and a contiguous chunk.
template <std::size_t size, bool is_load>
void copy_rows(const Row* rows, std::int64_t count, std::ptrdiff_t stride, char* chunk) {
  for (std::int64_t first = rows[0].first_column; first < rows[0].last_column; first += block) {
    const std::int64_t width = std::min(block, rows[0].last_column - first);
    if (count == block && width == block) {
      copy_square<size, is_load, true>({rows, count, first, width}, stride, chunk);
    } else {
      copy_square<size, is_load, false>({rows, count, first, width}, stride, chunk);
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
  Row rows[block] = {};
  std::int64_t filled = 0;
  std::int64_t column = first % operand.length[operand.ndim - 1];
  for_each_run(operand, first, count,
               [&](char* data, std::ptrdiff_t stride, std::int64_t offset, std::int64_t length) {
                 const Row row{data - column * stride, column, column + length, offset - column};
                 column = 0;
                 if (filled == block || (filled > 0 && !have_same_columns(row, rows[0]))) {
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
    add(input, true);
  }
  add(&Call::gradient, false);
  add(&Call::hessian, false);
  if (!call.is_reduced()) {
    add(&Call::value, false);
  }
}

void Staging::add(Operand Call::* operand, bool is_input) {
  const Operand& original = original_.*operand;
  if (!is_transposed(original)) {
    return;
  }
  if (local_ == nullptr) {
    local_.reset(new (std::nothrow) Call(original_));
  }
  const auto bytes = static_cast<std::size_t>(capacity * original.item_size);
  std::unique_ptr<char[]> buffer(new (std::nothrow) char[bytes]);
  if (local_ == nullptr || buffer == nullptr) {
    return;
  }
  Operand& local = (*local_).*operand;
  local.ndim = 1;
  local.length[0] = original_.size;
  local.stride[0] = original.item_size;
  copies_[count_++] = {&original, &local, std::move(buffer), is_input};
}

void Staging::load(std::int64_t first, std::int64_t count) {
  for (std::size_t k = 0; k < count_; ++k) {
    const Copy& copy = copies_[k];
    // Elements are found from the operand's beginning, which lies before the chunk.
    copy.local->data = copy.buffer.get() - first * copy.original->item_size;
    if (copy.is_input) {
      copy_chunk<true>(*copy.original, first, count, copy.buffer.get());
    }
  }
}

void Staging::store(std::int64_t first, std::int64_t count) const {
  for (std::size_t k = 0; k < count_; ++k) {
    const Copy& copy = copies_[k];
    if (!copy.is_input) {
      copy_chunk<false>(*copy.original, first, count, copy.buffer.get());
    }
  }
}

}  // namespace logitloss
