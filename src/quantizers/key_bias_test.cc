// SPDX-License-Identifier: Apache-2.0
// Models with large key biases (Qwen2.5's reach hundreds) on 8- and 4-bit KV caches.
#include <gtest/gtest.h>

#include "quantizers/quantize_fixture.h"

namespace octavo {
namespace {

class KeyBiasTest : public QuantizeFixture {
 protected:
  double ErrorOf(const TestModel& model, KvDType kv_dtype) {
    const std::vector<float> whole = Logits(model.path(), ComputeDType::kFloat32, KvDType::kF32);
    return Distance(whole, Logits(model.path(), ComputeDType::kFloat32, kv_dtype));
  }
};

// Without rotation (OPT) and with it: the error is that of the same model with small biases.
TEST_F(KeyBiasTest, CostsNoCodes) {
  for (const std::string name : {"qwen2/tied", "qwen2/window_from_layer_1", "opt/pre_norm"}) {
    for (const KvDType dtype : {KvDType::kInt8, KvDType::kInt4}) {
      SCOPED_TRACE(name);
      TestModel model(name);
      const double before = ErrorOf(model, dtype);
      const std::string layer = name.starts_with("opt") ? "model.decoder.layers.0" : "model.layers.0";
      model.Edit(layer + ".self_attn.k_proj.bias", [](std::vector<float>& bias) {
        for (size_t i = 0; i < bias.size(); i += 5) bias[i] += i % 2 == 0 ? 24.0f : -32.0f;
      });
      const double after = ErrorOf(model, dtype);
      EXPECT_GT(before, 0);
      // Also the products with the bias are rounded to bf16, and a sharper softmax shows more.
      EXPECT_LT(after, std::max(2 * before, 0.02));
    }
  }
}

}  // namespace
}  // namespace octavo
