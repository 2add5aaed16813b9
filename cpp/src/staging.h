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
  // Looks for operands of `call` to be staged. Where there are none, or no memory, `call()` is
  // the call itself.
  explicit Staging(const Call& call);

  // The call whose staged operands are the copies; its address stays.
  const Call& call() const { return local_ != nullptr ? *local_ : original_; }
  bool is_active() const { return local_ != nullptr; }

  // Makes elements [first, first + count) available, and as many more before `limit` as there is
  // room for. Results that were written to the copies go to where they belong.
  void require(std::int64_t first, std::int64_t count, std::int64_t limit);

  // Says that results up to element `end` have been written.
  void set_written(std::int64_t end) { written_ = end; }

  // Writes results to where they belong.
  void flush();

 private:
  struct Copy {
    const Operand* original = nullptr;
    Operand* local = nullptr;
    std::unique_ptr<char[]> buffer;
    bool is_input = true;
  };

  void choose(Operand Call::* operand, bool is_input);
  void choose_capacity();
  bool allocate();

  const Call& original_;
  std::unique_ptr<Call> local_;
  std::array<Copy, 9> copies_;
  std::size_t count_ = 0;
  // Elements that there is room for.
  std::int64_t capacity_ = 0;
  // The elements in the copies, and the end of those whose results were written.
  std::int64_t begin_ = 0;
  std::int64_t end_ = 0;
  std::int64_t written_ = 0;
};

}  // namespace logitloss
