// Loops that move the bytes of a call and do next to nothing with them: the time below which no
// kernel of that traffic can come, measured on the same arrays in the same run.
//
// A call that writes nothing is held against a loop that adds up its inputs. A call that writes
// one array is held against `g = x - y`; further outputs are `x + y` and `x y`, and a third input
// is added to the first. Inputs keep the widths of the call's dtypes; 16-bit logits are taken as
// integers, because only their bytes matter here.
#pragma once

#include <cstddef>
#include <cstdint>

namespace logitloss::bench {

// What a call moves for each element.
struct Traffic {
  int logit_bytes = 4;   // 2, 4 or 8; outputs have the same width.
  int target_bytes = 4;  // That of the logits, 4 beside 16-bit logits, or 1.
  int extra_bytes = 0;   // Of a third input: none, 1, or a weight's 4 (8 beside 64-bit logits).
  int outputs = 0;       // Up to 3.
  int step = 1;          // 2: every second element of logits and targets is used, all are fetched.

  // Cache lines that are written are read beforehand, unless the program avoids that.
  [[nodiscard]] int read() const { return (logit_bytes + target_bytes) * step + extra_bytes; }
  [[nodiscard]] int written() const { return logit_bytes * outputs; }
};

struct Streams {
  const std::byte* logits = nullptr;
  const std::byte* targets = nullptr;
  const std::byte* extra = nullptr;
  std::byte* outputs[3] = {};
};

// Lengths of arrays are multiples of this, so that the loops need no remainder.
inline constexpr std::size_t ceiling_block = 256;

// Moves `length` elements and returns a number that depends on all that was read, for the caller
// to keep alive.
using CeilingLoop = std::uint64_t (*)(const Streams& streams, std::size_t length, int threads);

// The loop for a traffic, or nullptr where there is none.
CeilingLoop find_ceiling(const Traffic& traffic);

// Writes each page from the thread that a loop of `threads` uses it in.
void first_touch(std::byte* data, std::size_t bytes, int threads);

}  // namespace logitloss::bench
