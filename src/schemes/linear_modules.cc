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

// Last components of the names of modules that hold matrices without being linear layers.
constexpr std::array<std::string_view, 7> kEmbeddings = {
    "embed_tokens", "embed_positions", "embed_in", "wte", "wpe", "word_embeddings", "shared"};
constexpr std::array<std::string_view, 3> kRouters = {"gate", "router", "shared_expert_gate"};

enum class ModuleKind { kNone, kLinear, kRouter };

template <size_t N>
bool Contains(const std::array<std::string_view, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

ModuleKind KindOf(const StoredTensor& tensor) {
  const std::string_view name = tensor.name;
  const bool plain = tensor.dtype == DType::kF32 || tensor.dtype == DType::kF16 ||
                     tensor.dtype == DType::kBF16;
  if (!name.ends_with(kWeight) || tensor.shape.rank() != 2 || !plain) return ModuleKind::kNone;
  if (tensor.rows() == 0 || tensor.cols() == 0) return ModuleKind::kNone;
  const std::string_view module = name.substr(0, name.size() - kWeight.size());
  const std::string_view last = module.substr(module.rfind('.') + 1);
  if (Contains(kEmbeddings, last)) return ModuleKind::kNone;
  return Contains(kRouters, last) ? ModuleKind::kRouter : ModuleKind::kLinear;
}

std::vector<std::string> ModulesOfKind(const Checkpoint& checkpoint, ModuleKind kind) {
  std::vector<std::string> modules;
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    if (KindOf(tensor) != kind) continue;
    modules.push_back(tensor.name.substr(0, tensor.name.size() - kWeight.size()));
  }
  return modules;
}

}  // namespace

std::vector<std::string> LinearModules(const Checkpoint& checkpoint) {
  return ModulesOfKind(checkpoint, ModuleKind::kLinear);
}

std::vector<std::string> RouterModules(const Checkpoint& checkpoint) {
  return ModulesOfKind(checkpoint, ModuleKind::kRouter);
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
