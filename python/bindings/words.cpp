#include "words.h"

namespace bindings {

Dimensions unravelled(std::int64_t position, const Dimensions& shape) {
  Dimensions index;
  index.ndim = shape.ndim;
  for (int k = shape.ndim - 1; k >= 0; --k) {
    index.value[k] = position % shape.value[k];
    position /= shape.value[k];
  }
  return index;
}

std::string bad_target_text(const Dimensions& index, const std::string& value) {
  std::string text;
  for (int k = 0; k < index.ndim; ++k) {
    text += (k > 0 ? ", " : "[") + std::to_string(index.value[k]);
  }
  text += index.ndim > 0 ? "]" : "";
  return "targets must lie in [0, 1], but targets" + text + " is " + value +
         "; pass ignore_index=" + value +
         " if it marks a missing label, or validate=False to apply the formula to it";
}

}  // namespace bindings
