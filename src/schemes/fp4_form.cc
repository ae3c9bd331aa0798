// SPDX-License-Identifier: Apache-2.0
// Reading side of NVFP4 and MXFP4.
#include "schemes/fp4_form.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "base/float16.h"
#include "schemes/dequantized_source.h"
#include "schemes/tensor_checks.h"

namespace octavo {
namespace {

constexpr std::array<float, 16> kE2M1 = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                         -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

struct Fp4Tensors {
  const StoredTensor* codes = nullptr;
  const StoredTensor* scales = nullptr;
  bool power_of_two = false;  // MXFP4
  float global_scale = 1;     // divides the scales
  int64_t group_size = 16;
};

class Fp4Source final : public FloatSource {
 public:
  Fp4Source(const StoredModule& module, const Fp4Tensors& tensors)
      : checkpoint_(*module.checkpoint), tensors_(tensors) {
    info_ = {.name = tensors.codes->name,
             .scheme = module.scheme->name,
             .stored_bytes = tensors.codes->bytes + tensors.scales->bytes,
             .dequantized = DType::kBF16,
             .note = "4-bit floats: expanded to bf16"};
    if (module.args.input) info_.note += ", activations stay in 16 bit, which is never less exact";
    SetFloatSpec(DType::kBF16, tensors.codes->rows(), tensors.codes->cols() * 2);
  }

  Status DequantizeRows(int64_t row_begin, int64_t count, float* out) const override {
    OCTAVO_RETURN_IF_ERROR(CheckRange(row_begin, count));
    const int64_t groups = spec_.k / tensors_.group_size;
    std::vector<uint8_t> codes(static_cast<size_t>(count * spec_.k / 2));
    std::vector<uint8_t> stored(static_cast<size_t>(count * groups));
    OCTAVO_RETURN_IF_ERROR(
        checkpoint_.ReadRowsBytes(*tensors_.codes, row_begin, count, codes.data()));
    OCTAVO_RETURN_IF_ERROR(
        checkpoint_.ReadRowsBytes(*tensors_.scales, row_begin, count, stored.data()));
    std::vector<float> scales(stored.size());
    for (size_t i = 0; i < stored.size(); ++i) scales[i] = Scale(stored[i]);
    OCTAVO_RETURN_IF_ERROR(CheckFinite(*tensors_.scales, row_begin, groups, scales));
    for (int64_t i = 0; i < count * spec_.k; ++i) {
      const uint8_t byte = codes[static_cast<size_t>(i / 2)];
      const float value = kE2M1[i % 2 == 0 ? byte & 15 : byte >> 4];
      out[i] = RoundToBf16(value * scales[static_cast<size_t>(i / tensors_.group_size)]);
    }
    return Status::Ok();
  }

 private:
  float Scale(uint8_t stored) const {
    if (!tensors_.power_of_two) return E4M3ToF32(stored) / tensors_.global_scale;
    return stored == 255 ? std::nanf("") : std::ldexp(1.0f, stored - 127);
  }

  const Checkpoint& checkpoint_;
  Fp4Tensors tensors_;
};

Status OpenGlobalScale(const StoredModule& module, Fp4Tensors& tensors) {
  OCTAVO_ASSIGN_OR_RETURN(const StoredTensor* global,
                          FindTensor(*module.checkpoint, module.name + ".weight_global_scale"));
  OCTAVO_RETURN_IF_ERROR(CheckTensor(*global, {DType::kF32}, std::nullopt));
  OCTAVO_RETURN_IF_ERROR(CheckShape(*global, {Shape{1}, Shape{}}));
  OCTAVO_RETURN_IF_ERROR(module.checkpoint->ReadBytes(*global, &tensors.global_scale));
  if (std::isfinite(tensors.global_scale) && tensors.global_scale > 0) return Status::Ok();
  return BadValue(*global, 0, 0,
                  fmt::format("is {}, want a positive number", tensors.global_scale));
}

}  // namespace

Result<std::unique_ptr<WeightSource>> OpenFp4(const StoredModule& module) {
  const Checkpoint& checkpoint = *module.checkpoint;
  Fp4Tensors tensors;
  tensors.group_size = module.args.weights.group_size;
  tensors.power_of_two = tensors.group_size == 32;
  OCTAVO_ASSIGN_OR_RETURN(tensors.codes, FindTensor(checkpoint, module.name + ".weight_packed"));
  OCTAVO_RETURN_IF_ERROR(CheckTensor(*tensors.codes, {DType::kU8}, std::nullopt));
  const int64_t k = tensors.codes->cols() * 2;
  if (tensors.codes->shape.rank() != 2 || k == 0 || k % tensors.group_size != 0) {
    return DataLoss(fmt::format("{}: tensor '{}': shape {}, want [out, in / 2] with in a multiple of {}",
                                tensors.codes->file->path(), tensors.codes->name,
                                tensors.codes->shape.ToString(), tensors.group_size));
  }
  OCTAVO_ASSIGN_OR_RETURN(tensors.scales, FindTensor(checkpoint, module.name + ".weight_scale"));
  const Shape shape{tensors.codes->rows(), k / tensors.group_size};
  if (tensors.power_of_two) {
    OCTAVO_RETURN_IF_ERROR(CheckTensor(*tensors.scales, {DType::kU8, DType::kF8E8M0}, shape));
  } else {
    OCTAVO_RETURN_IF_ERROR(CheckTensor(*tensors.scales, {DType::kF8E4M3}, shape));
    OCTAVO_RETURN_IF_ERROR(OpenGlobalScale(module, tensors));
  }
  return std::unique_ptr<WeightSource>(std::make_unique<Fp4Source>(module, tensors));
}

}  // namespace octavo
