// SPDX-License-Identifier: Apache-2.0
// Reading side of omniserve's form.
#include "schemes/omniserve_form.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "schemes/tensor_checks.h"

namespace octavo {
namespace {

// Per-row numbers [n], finite.
Result<std::vector<float>> ReadRowScales(const StoredModule& module, const StoredTensor& tensor, int64_t n) {
  OCTAVO_RETURN_IF_ERROR(CheckTensor(tensor, {DType::kF16, DType::kBF16, DType::kF32}, Shape{n}));
  std::vector<float> scales(static_cast<size_t>(n));
  OCTAVO_RETURN_IF_ERROR(module.checkpoint->ReadRowsF32(tensor, 0, n, scales.data()));
  OCTAVO_RETURN_IF_ERROR(CheckFinite(tensor, 0, 1, scales));
  return scales;
}

WeightInfo InfoOf(const StoredModule& module, const StoredTensor& codes, const StoredTensor& scales) {
  return {.name = codes.name,
          .scheme = module.scheme->name,
          .activation = ActivationFormat::kInt8,
          .stored_bytes = codes.bytes + scales.bytes,
          .dequantized = scales.dtype,
          .note = {}};
}

// Nibbles in tiles.
class TiledCodes {
 public:
  static Result<TiledCodes> Open(const StoredModule& module) {
    TiledCodes codes;
    codes.checkpoint_ = module.checkpoint;
    OCTAVO_ASSIGN_OR_RETURN(codes.tensor_, FindTensor(*module.checkpoint, module.name + ".qweight"));
    OCTAVO_RETURN_IF_ERROR(CheckTensor(*codes.tensor_, {DType::kI8}, std::nullopt));
    const StoredTensor& tensor = *codes.tensor_;
    const bool matrix = tensor.shape.rank() == 2 && tensor.rows() > 0 && tensor.cols() > 0;
    if (!matrix || tensor.rows() % kOmniserveTile != 0 || tensor.cols() % (kOmniserveTile / 2) != 0) {
      return DataLoss(fmt::format(
          "{}: tensor '{}': shape {}, want [out, in / 2] with out and in multiples of {}",
          tensor.file->path(), tensor.name, tensor.shape.ToString(), kOmniserveTile));
    }
    return codes;
  }

  const StoredTensor& tensor() const { return *tensor_; }
  int64_t n() const { return tensor_->rows(); }
  int64_t k() const { return tensor_->cols() * 2; }

  // Codes of rows, [count, k].
  Status Read(int64_t row_begin, int64_t count, uint8_t* out) const {
    std::vector<uint8_t> band(static_cast<size_t>(kOmniserveTile * k() / 2));  // tiles side by side
    const int64_t row_end = row_begin + count;
    for (int64_t first = row_begin / kOmniserveTile * kOmniserveTile; first < row_end; first += kOmniserveTile) {
      OCTAVO_RETURN_IF_ERROR(checkpoint_->ReadRowsBytes(*tensor_, first, kOmniserveTile, band.data()));
      const auto put = [&](int64_t row, int64_t col, int code) {
        if (row < row_begin || row >= row_end) return;
        out[(row - row_begin) * k() + col] = static_cast<uint8_t>(code);
      };
      for (size_t i = 0; i < band.size(); ++i) {
        const auto at = static_cast<int64_t>(i);
        const OmniservePlace place = OmniservePlaceOf(static_cast<int>(at % kOmniserveTileBytes));
        const int64_t col = at / kOmniserveTileBytes * kOmniserveTile + place.col;
        put(first + place.row, col, band[i] & 15);
        put(first + place.row + 16, col, band[i] >> 4);
      }
    }
    return Status::Ok();
  }

 private:
  const Checkpoint* checkpoint_ = nullptr;
  const StoredTensor* tensor_ = nullptr;
};

// The second level of all groups, [n, groups].
struct SecondLevel {
  const StoredTensor* scale_tensor = nullptr;
  const StoredTensor* zero_tensor = nullptr;
  int64_t groups = 0;
  std::vector<uint8_t> scales;  // 1 to 127
  std::vector<int8_t> zeros;    // -(z * scale) modulo 256
};

// z of a zero of `scale`, with which codes lo to hi stay within int8; nullopt: there is none.
std::optional<uint8_t> WholeZero(int scale, int zero, int lo, int hi) {
  for (int z = 0; z < 16; ++z) {
    const bool stored = ((z * scale + zero) & 255) == 0;
    if (stored && (lo - z) * scale >= -128 && (hi - z) * scale <= 127) return static_cast<uint8_t>(z);
  }
  return std::nullopt;
}

// Whether every zero is a multiple of its scale, as QoQ's are.
bool HasWholeZeros(const SecondLevel& level) {
  for (size_t i = 0; i < level.scales.size(); ++i) {
    bool whole = false;
    for (int z = 0; z < 16; ++z) whole |= ((z * level.scales[i] + level.zeros[i]) & 255) == 0;
    if (!whole) return false;
  }
  return true;
}

Result<SecondLevel> ReadSecondLevel(const StoredModule& module, int64_t n, int64_t k) {
  SecondLevel level;
  OCTAVO_ASSIGN_OR_RETURN(level.scale_tensor, FindTensor(*module.checkpoint, module.name + ".s2_scales"));
  OCTAVO_ASSIGN_OR_RETURN(level.zero_tensor, FindTensor(*module.checkpoint, module.name + ".s2_zeros"));
  const StoredTensor& stored = *level.scale_tensor;
  OCTAVO_RETURN_IF_ERROR(CheckTensor(stored, {DType::kI8}, std::nullopt));
  level.groups = stored.shape.rank() == 2 ? stored.rows() : 0;
  if (level.groups == 0 || stored.cols() != n || k % level.groups != 0 ||
      k / level.groups % kOmniserveTile != 0) {
    return DataLoss(fmt::format("{}: tensor '{}': shape {}, want [{} / group size, {}] with groups of 32 n columns",
                                stored.file->path(), stored.name, stored.shape.ToString(), k, n));
  }
  OCTAVO_RETURN_IF_ERROR(CheckTensor(*level.zero_tensor, {DType::kI8}, stored.shape));
  const auto size = static_cast<size_t>(level.groups * n);
  std::vector<int8_t> scales(size), zeros(size);
  OCTAVO_RETURN_IF_ERROR(module.checkpoint->ReadBytes(stored, scales.data()));
  OCTAVO_RETURN_IF_ERROR(module.checkpoint->ReadBytes(*level.zero_tensor, zeros.data()));
  level.scales.resize(size);
  level.zeros.resize(size);
  for (int64_t row = 0; row < n; ++row) {
    const int64_t column = OmniserveColumnOf(row);
    for (int64_t group = 0; group < level.groups; ++group) {
      const auto from = static_cast<size_t>(group * n + column);
      const auto to = static_cast<size_t>(row * level.groups + group);
      if (scales[from] < 1) {
        return BadValue(stored, group, column, fmt::format("is {}, want 1 to 127", scales[from]));
      }
      level.scales[to] = static_cast<uint8_t>(scales[from]);
      level.zeros[to] = zeros[from];
    }
  }
  return level;
}

class GroupSource final : public WeightSource {
 public:
  GroupSource(const StoredModule& module, const TiledCodes& codes, std::vector<float> scales,
              const StoredTensor& scale_tensor, SecondLevel level)
      : codes_(codes), scales_(std::move(scales)), level_(std::move(level)) {
    info_ = InfoOf(module, codes.tensor(), scale_tensor);
    info_.stored_bytes += level_.scale_tensor->bytes + level_.zero_tensor->bytes;
    whole_zeros_ = HasWholeZeros(level_);
    spec_ = {.code = CodeType::kInt, .bits = 8, .scales = ScaleLayout::kChannel, .n = codes.n(), .k = codes.k()};
    if (!whole_zeros_) {
      info_.note = "zeros are no multiples of their group's scale: runs as int8 per channel";
      return;
    }
    spec_.bits = 4;
    spec_.scales = ScaleLayout::kTwoLevel;
    spec_.group_size = static_cast<int>(group_size());
  }

  Status ReadRows(int64_t row_begin, int64_t count, WeightRows& rows) const override {
    OCTAVO_RETURN_IF_ERROR(CheckRange(row_begin, count));
    rows.Resize(spec_, count);
    OCTAVO_RETURN_IF_ERROR(codes_.Read(row_begin, count, rows.codes.data()));
    std::copy_n(scales_.begin() + row_begin, count, rows.scales.begin());
    for (int64_t at = 0; at < count * level_.groups; ++at) {
      OCTAVO_RETURN_IF_ERROR(DecodeGroup(row_begin * level_.groups + at, at, rows));
    }
    return Status::Ok();
  }

 private:
  int64_t group_size() const { return codes_.k() / level_.groups; }

  // Group `index` of the matrix, which is number `at` of `rows`.
  Status DecodeGroup(int64_t index, int64_t at, WeightRows& rows) const {
    const int scale = level_.scales[static_cast<size_t>(index)];
    const int zero = level_.zeros[static_cast<size_t>(index)];
    uint8_t* codes = rows.codes.data() + at * group_size();
    const auto [lo, hi] = std::minmax_element(codes, codes + group_size());
    const std::optional<uint8_t> z = WholeZero(scale, zero, *lo, *hi);
    if (*hi * scale > 255 || (whole_zeros_ && !z)) {
      return BadValue(*level_.scale_tensor, index % level_.groups, OmniserveColumnOf(index / level_.groups),
                      fmt::format("is {} with zero {} and codes {} to {}: want products of 255 at most and values "
                                  "from -128 to 127", scale, zero, *lo, *hi));
    }
    if (whole_zeros_) {
      rows.scales2[static_cast<size_t>(at)] = static_cast<uint8_t>(scale);
      rows.zeros2[static_cast<size_t>(at)] = *z;
      return Status::Ok();
    }
    for (int64_t i = 0; i < group_size(); ++i) codes[i] = static_cast<uint8_t>(codes[i] * scale + zero);
    return Status::Ok();
  }

  const TiledCodes codes_;
  const std::vector<float> scales_;  // [n]
  const SecondLevel level_;
  bool whole_zeros_ = true;
};

class ChannelSource final : public WeightSource {
 public:
  // `zeros`: z of each row.
  ChannelSource(const StoredModule& module, const TiledCodes& codes, std::vector<float> scales,
                const StoredTensor& scale_tensor, std::vector<float> zeros)
      : codes_(codes), scales_(std::move(scales)), zeros_(std::move(zeros)) {
    spec_ = {.code = CodeType::kInt,
             .bits = 4,
             .scales = ScaleLayout::kGroup,
             .group_size = static_cast<int>(codes.k()),
             .has_min = true,
             .n = codes.n(),
             .k = codes.k()};
    info_ = InfoOf(module, codes.tensor(), scale_tensor);
    info_.stored_bytes += scale_tensor.bytes;
  }

  Status ReadRows(int64_t row_begin, int64_t count, WeightRows& rows) const override {
    OCTAVO_RETURN_IF_ERROR(CheckRange(row_begin, count));
    rows.Resize(spec_, count);
    OCTAVO_RETURN_IF_ERROR(codes_.Read(row_begin, count, rows.codes.data()));
    std::copy_n(scales_.begin() + row_begin, count, rows.scales.begin());
    for (int64_t i = 0; i < count; ++i) {
      const auto row = static_cast<size_t>(row_begin + i);
      rows.mins[static_cast<size_t>(i)] = -zeros_[row] * scales_[row];
    }
    return Status::Ok();
  }

 private:
  const TiledCodes codes_;
  const std::vector<float> scales_;
  const std::vector<float> zeros_;
};

class Int8Source final : public WeightSource {
 public:
  Int8Source(const StoredModule& module, const StoredTensor& codes, std::vector<float> scales,
             const StoredTensor& scale_tensor)
      : checkpoint_(*module.checkpoint), codes_(codes), scales_(std::move(scales)) {
    spec_ = {.code = CodeType::kInt,
             .bits = 8,
             .scales = ScaleLayout::kChannel,
             .n = codes.rows(),
             .k = codes.cols()};
    info_ = InfoOf(module, codes, scale_tensor);
  }

  Status ReadRows(int64_t row_begin, int64_t count, WeightRows& rows) const override {
    OCTAVO_RETURN_IF_ERROR(CheckRange(row_begin, count));
    rows.Resize(spec_, count);
    std::copy_n(scales_.begin() + row_begin, count, rows.scales.begin());
    return checkpoint_.ReadRowsBytes(codes_, row_begin, count, rows.codes.data());
  }

 private:
  const Checkpoint& checkpoint_;
  const StoredTensor& codes_;
  const std::vector<float> scales_;
};

// The product z * s1 was rounded to a half float, so that it lies near a whole number of steps.
Result<std::vector<float>> ReadZeros(const StoredModule& module, const StoredTensor& tensor,
                                     const std::vector<float>& scales) {
  constexpr float kRounding = 0x1p-6f;  // of z: twice the half step of a half float near 15
  OCTAVO_ASSIGN_OR_RETURN(std::vector<float> zeros,
                          ReadRowScales(module, tensor, static_cast<int64_t>(scales.size())));
  for (size_t row = 0; row < zeros.size(); ++row) {
    const float product = zeros[row];
    const float ratio = scales[row] == 0 ? (product == 0 ? 0 : -1) : product / scales[row];
    zeros[row] = std::nearbyint(ratio) + 0.0f;
    if (zeros[row] >= 0 && zeros[row] <= 15 && std::fabs(ratio - zeros[row]) <= kRounding) continue;
    return BadValue(tensor, static_cast<int64_t>(row), 0,
                    fmt::format("is {}: no multiple of its scale {} from 0 to 15", product, scales[row]));
  }
  return zeros;
}

Result<std::unique_ptr<WeightSource>> OpenInt8(const StoredModule& module) {
  OCTAVO_ASSIGN_OR_RETURN(const StoredTensor* codes, FindTensor(*module.checkpoint, module.name + ".weight"));
  OCTAVO_RETURN_IF_ERROR(CheckTensor(*codes, {DType::kI8}, std::nullopt));
  if (codes->shape.rank() != 2 || codes->rows() == 0 || codes->cols() == 0) {
    return DataLoss(fmt::format("{}: tensor '{}': shape {}, want a matrix [out, in]", codes->file->path(),
                                codes->name, codes->shape.ToString()));
  }
  OCTAVO_ASSIGN_OR_RETURN(const StoredTensor* scale,
                          FindTensor(*module.checkpoint, module.name + ".dequant_scale"));
  OCTAVO_ASSIGN_OR_RETURN(std::vector<float> scales, ReadRowScales(module, *scale, codes->rows()));
  return std::unique_ptr<WeightSource>(
      std::make_unique<Int8Source>(module, *codes, std::move(scales), *scale));
}

}  // namespace

bool HasOmniserveTensors(const Checkpoint& checkpoint) {
  const auto& tensors = checkpoint.tensors();
  return std::any_of(tensors.begin(), tensors.end(), [](const StoredTensor& tensor) {
    return tensor.name.ends_with(".s1_scales") || tensor.name.ends_with(".dequant_scale");
  });
}

Result<std::unique_ptr<WeightSource>> OpenOmniserve(const StoredModule& module) {
  const Checkpoint& checkpoint = *module.checkpoint;
  if (checkpoint.Find(module.name + ".qweight") == nullptr) return OpenInt8(module);
  OCTAVO_ASSIGN_OR_RETURN(const TiledCodes codes, TiledCodes::Open(module));
  OCTAVO_ASSIGN_OR_RETURN(const StoredTensor* scale, FindTensor(checkpoint, module.name + ".s1_scales"));
  OCTAVO_ASSIGN_OR_RETURN(std::vector<float> scales, ReadRowScales(module, *scale, codes.n()));
  if (const StoredTensor* products = checkpoint.Find(module.name + ".s1_szeros")) {
    OCTAVO_ASSIGN_OR_RETURN(std::vector<float> zeros, ReadZeros(module, *products, scales));
    return std::unique_ptr<WeightSource>(
        std::make_unique<ChannelSource>(module, codes, std::move(scales), *scale, std::move(zeros)));
  }
  OCTAVO_ASSIGN_OR_RETURN(SecondLevel level, ReadSecondLevel(module, codes.n(), codes.k()));
  return std::unique_ptr<WeightSource>(
      std::make_unique<GroupSource>(module, codes, std::move(scales), *scale, std::move(level)));
}

}  // namespace octavo
