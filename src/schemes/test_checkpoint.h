// SPDX-License-Identifier: Apache-2.0
// For tests: a Hugging Face folder built in memory, written to a temporary place and opened.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/float16.h"
#include "io/checkpoint.h"
#include "io/safetensors_writer.h"
#include "schemes/scheme.h"

namespace octavo {

// Owns the folder and removes it.
class TestCheckpoint {
 public:
  TestCheckpoint() {
    static int counter = 0;
    folder_ = std::filesystem::path(::testing::TempDir()) /
              ("octavo_schemes_" + std::to_string(::getpid()) + "_" + std::to_string(counter++));
    std::filesystem::create_directories(folder_);
  }
  ~TestCheckpoint() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  Json config = Json::object();

  template <typename T>
  void Add(const std::string& name, DType dtype, const Shape& shape, const std::vector<T>& values) {
    Entry& entry = entries_[name];
    entry.spec = {name, dtype, shape};
    entry.bytes.resize(values.size() * sizeof(T));
    std::memcpy(entry.bytes.data(), values.data(), entry.bytes.size());
  }
  void AddBf16(const std::string& name, const Shape& shape, const std::vector<float>& values) {
    std::vector<uint16_t> bits;
    for (const float value : values) bits.push_back(F32ToBf16(value));
    Add(name, DType::kBF16, shape, bits);
  }
  void Remove(const std::string& name) { entries_.erase(name); }

  // Quantizes `x` [module.n, module.k] in row ranges and adds the scheme's tensors.
  void AddQuantized(const Scheme& scheme, const TargetModule& module, const std::vector<float>& x) {
    const std::vector<TensorSpec> specs = scheme.tensors(module);
    for (const TensorSpec& spec : specs) {
      Entry& entry = entries_[spec.name];
      entry.spec = spec;
      entry.bytes.assign(*BytesOf(spec.dtype, static_cast<uint64_t>(spec.shape.NumElements())),
                         std::byte{0xee});
    }
    for (int64_t row = 0; row < module.n; row += kRowAlignment) {
      QuantizedRows rows;
      const int64_t count = std::min(kRowAlignment, module.n - row);
      const Status status = scheme.quantize(module, x.data() + row * module.k, row, count, rows);
      ASSERT_TRUE(status.ok()) << status.ToString();
      std::vector<TensorPiece> pieces;
      scheme.encode(module, rows, row, pieces);
      ASSERT_EQ(pieces.size(), specs.size());
      for (size_t i = 0; i < specs.size(); ++i) {
        auto& bytes = entries_[specs[i].name].bytes;
        ASSERT_LE(pieces[i].offset + pieces[i].bytes.size(), bytes.size()) << specs[i].name;
        std::copy(pieces[i].bytes.begin(), pieces[i].bytes.end(),
                  bytes.begin() + static_cast<int64_t>(pieces[i].offset));
      }
    }
  }

  // Writes everything and opens it; the result lives until the next Open.
  const Checkpoint& Open() {
    EXPECT_TRUE(WriteFileAtomically((folder_ / "config.json").string(), DumpJson(config, 1)).ok());
    std::vector<TensorSpec> specs;
    for (const auto& [name, entry] : entries_) specs.push_back(entry.spec);
    auto writer = SafetensorsWriter::Create((folder_ / "model.safetensors").string(), specs, {});
    EXPECT_TRUE(writer.ok()) << writer.status().ToString();
    for (const auto& [name, entry] : entries_) {
      EXPECT_TRUE((*writer)->WriteTensor(name, entry.bytes).ok());
    }
    EXPECT_TRUE((*writer)->Finish().ok());
    auto opened = Checkpoint::Open(folder_.string());
    EXPECT_TRUE(opened.ok()) << opened.status().ToString();
    checkpoint_ = std::move(opened).value();
    return *checkpoint_;
  }
  std::vector<std::byte>& bytes(const std::string& name) { return entries_.at(name).bytes; }
  TensorSpec& spec(const std::string& name) { return entries_.at(name).spec; }

 private:
  struct Entry {
    TensorSpec spec;
    std::vector<std::byte> bytes;
  };
  std::filesystem::path folder_;
  std::map<std::string, Entry> entries_;
  std::unique_ptr<Checkpoint> checkpoint_;
};

// Weights as models have them: normal, bf16, with a few large values.
inline std::vector<float> RandomWeights(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = RoundToBf16(normal(random) * (i % 97 == 0 ? 8.0f : 1.0f));
  }
  return values;
}

// Expects scales and mins to be exactly what spec.scale_type can hold.
inline void ExpectScalesFitTheirType(const WeightSpec& spec, const WeightRows& rows) {
  const auto fits = [&](const std::vector<float>& values, const std::vector<float>& supers) {
    for (size_t i = 0; i < values.size(); ++i) {
      const float v = values[i];
      float held = v;
      if (spec.scale_type == ScaleType::kF16) held = F16ToF32(F32ToF16(v));
      if (spec.scale_type == ScaleType::kBf16) held = Bf16ToF32(F32ToBf16(v));
      if (spec.scale_type == ScaleType::kF16TimesI8) {
        const auto groups = static_cast<size_t>(spec.groups());
        const float super = supers.at(i / groups * static_cast<size_t>(spec.supers()) +
                                      i % groups / static_cast<size_t>(spec.super_group));
        const float sub = super == 0.0f ? 0.0f : std::round(v / super);
        held = sub >= -128 && sub <= 127 && F16ToF32(F32ToF16(super)) == super ? super * sub : NAN;
      }
      ASSERT_EQ(held, v) << "scale or min " << i;
    }
  };
  fits(rows.scales, rows.super_scales);
  fits(rows.mins, rows.super_mins);
}

}  // namespace octavo
