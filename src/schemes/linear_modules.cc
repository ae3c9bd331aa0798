// SPDX-License-Identifier: Apache-2.0
// Which tensors of a checkpoint are linear layers, told by name and shape.
//
// Deliberately without a model architecture: a checkpoint can be quantized before Octavo can run it.
#include <algorithm>
#include <array>
#include <string_view>

#include "schemes/open_linear.h"

namespace octavo {
namespace {

constexpr std::string_view kWeight = ".weight";

// Last components of module names that hold matrices without being linear layers: embeddings, and
// the routers of mixtures of experts, which no recipe quantizes.
constexpr std::array<std::string_view, 9> kNotLinear = {
    "embed_tokens", "embed_positions", "embed_in", "wte", "wpe", "word_embeddings", "shared", "gate",
    "router"};

bool IsFloat(const StoredTensor& tensor) {
  return tensor.dtype == DType::kF32 || tensor.dtype == DType::kF16 ||
         tensor.dtype == DType::kBF16;
}

}  // namespace

std::vector<std::string> LinearModules(const Checkpoint& checkpoint) {
  std::vector<std::string> modules;
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    const std::string_view name = tensor.name;
    if (!name.ends_with(kWeight) || tensor.shape.rank() != 2 || !IsFloat(tensor)) continue;
    if (tensor.rows() == 0 || tensor.cols() == 0) continue;
    const std::string_view module = name.substr(0, name.size() - kWeight.size());
    const std::string_view last = module.substr(module.rfind('.') + 1);
    if (std::find(kNotLinear.begin(), kNotLinear.end(), last) != kNotLinear.end()) continue;
    modules.emplace_back(module);
  }
  return modules;
}

int ChooseGroupSize(const Checkpoint& checkpoint, const std::vector<std::string>& modules,
                    int wanted) {
  for (const int size : {wanted, 128, 64, 32}) {
    if (size > wanted) continue;
    const auto divides = [&](const std::string& module) {
      const StoredTensor* tensor = checkpoint.Find(module + std::string(kWeight));
      return tensor == nullptr || tensor->cols() % size == 0;
    };
    if (std::all_of(modules.begin(), modules.end(), divides)) return size;
  }
  return 0;
}

}  // namespace octavo
