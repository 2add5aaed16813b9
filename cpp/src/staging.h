// Copies of transposed operands, so that each line of memory is fetched once.
//
// Where the innermost dimension of the walk is not the one that lies together in memory, as with
// arrays in Fortran order, a walk along it touches a new cache line with every element. Such an
// operand is copied, a chunk of many rows at a time, in small blocks that stay in the first-level
// cache, and the walk then goes over the copy: the order of every sum stays what it is.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "plan.h"

namespace logitloss {

class Staging {
 public:
  // Elements in a chunk, at most.
  static constexpr std::int64_t capacity = 16384;

  // Looks for operands of `call` to be staged. Where there are none, or no memory, `call()` is
  // the call itself.
  explicit Staging(const Call& call);

  // The call whose staged operands are the copies; its address stays.
  const Call& call() const { return local_ != nullptr ? *local_ : original_; }
  bool is_active() const { return local_ != nullptr; }

  // Fills the copies of inputs with elements [first, first + count).
  void load(std::int64_t first, std::int64_t count);

  // Writes the copies of outputs back.
  void store(std::int64_t first, std::int64_t count) const;

 private:
  struct Copy {
    const Operand* original = nullptr;
    Operand* local = nullptr;
    std::unique_ptr<char[]> buffer;
    bool is_input = true;
  };

  void add(Operand Call::* operand, bool is_input);

  const Call& original_;
  std::unique_ptr<Call> local_;
  std::array<Copy, 9> copies_;
  std::size_t count_ = 0;
};

}  // namespace logitloss
