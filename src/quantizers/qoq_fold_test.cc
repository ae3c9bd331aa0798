// SPDX-License-Identifier: Apache-2.0
// What QoQ's folds lose before anything is rounded: the pipeline's own transforms, chosen from
// calibration as for quantization, are written as a checkpoint in f32 whose logits are compared.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "base/cpu_features.h"
#include "io/hf_config.h"
#include "quantizers/layer_quantizer.h"
#include "quantizers/quantize_fixture.h"
#include "quantizers/rotate_checkpoint.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::Not;
using testing::UnorderedElementsAreArray;

// New values by tensor name.
using Values = std::map<std::string, std::vector<float>>;

// The part of a tensor's name that tells what it does: "q_proj.weight", "embed_tokens.weight".
std::string RoleOf(const std::string& tensor) {
  const size_t last = tensor.rfind('.');
  const size_t dot = tensor.rfind('.', last - 1);
  return tensor.substr(dot == std::string::npos ? 0 : dot + 1);
}

class QoqFoldTest : public QuantizeFixture {
 protected:
  // max |difference| of a fold, as a share of the largest logit.
  static constexpr double kF32Error = 1e-4;

  // Of `checkpoint`'s tensors that `changed` does not have.
  static Values ValuesOf(const Checkpoint& checkpoint, Values changed = {}) {
    for (const StoredTensor& tensor : checkpoint.tensors()) {
      if (changed.contains(tensor.name)) continue;
      auto values = ReadOriginal(checkpoint, tensor.name);
      EXPECT_TRUE(values.ok()) << values.status().ToString();
      changed[tensor.name] = *std::move(values);
    }
    return changed;
  }

  // `checkpoint` with other values, all in F32.
  static void Write(const Checkpoint& checkpoint, const Values& values, const fs::path& folder) {
    fs::create_directories(folder);
    fs::copy_file(checkpoint.path() + "/config.json", folder / "config.json",
                  fs::copy_options::overwrite_existing);
    std::vector<TensorSpec> specs;
    for (const StoredTensor& tensor : checkpoint.tensors()) {
      specs.push_back({tensor.name, DType::kF32, tensor.shape});
    }
    auto writer = SafetensorsWriter::Create((folder / "model.safetensors").string(), specs, {});
    ASSERT_TRUE(writer.ok()) << writer.status().ToString();
    for (const TensorSpec& spec : specs) {
      ASSERT_TRUE((*writer)->WriteTensor(spec.name, std::as_bytes(std::span(values.at(spec.name)))).ok());
    }
    ASSERT_TRUE((*writer)->Finish().ok());
  }

  static std::shared_ptr<const Checkpoint> OpenAt(const fs::path& folder) {
    auto checkpoint = Checkpoint::Open(folder.string());
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().ToString();
    return checkpoint.ok() ? *std::move(checkpoint) : nullptr;
  }

  // A copy of the model in F32, so that no fold is rounded to 16 bit.
  static std::shared_ptr<const Checkpoint> InF32(const TestModel& model) {
    const auto checkpoint = OpenAt(model.path());
    Write(*checkpoint, ValuesOf(*checkpoint), model.root() / "f32");
    return OpenAt(model.root() / "f32");
  }

  // The weights of one layer as the quantizer would round them, and the biases that moved with them.
  static void AddLayer(const Checkpoint& checkpoint, const LayerModules& layer,
                       const LayerTransform& transform, Values& values) {
    for (const LayerModule& module : layer.modules) {
      if (!module.quantized()) continue;
      const StoredTensor& tensor = *module.tensor;
      std::vector<float>& rows = values[tensor.name];
      rows.resize(static_cast<size_t>(tensor.shape.NumElements()));
      const TransformedModule weight(checkpoint, transform, module.name, tensor);
      ASSERT_TRUE(weight.Read(0, tensor.rows(), RowStage::kClipped, rows.data()).ok());
    }
    for (const auto& [name, changed] : transform.dense) values[name] = changed;
  }

  // Groups of 8: less than any head, so that o_proj's inputs are reordered too, and a divisor of the
  // 88 columns that `octavo quantize` has no groups for.
  static void MakeGroups(QuantizePlan& plan) {
    for (PlannedShard& shard : plan.shards) {
      for (PlannedTensor& tensor : shard.tensors) {
        if (!tensor.module) continue;
        tensor.module->args.weights.strategy = Strategy::kGroup;
        tensor.module->args.weights.group_size = 8;
      }
    }
  }

  // What calibration on `checkpoint` folds.
  Values FoldLayers(const std::shared_ptr<const Checkpoint>& checkpoint, const QuantizeOptions& options) {
    const Json json = *NormalizeConfig(checkpoint->config());
    const ModelArch* arch = *FindArch(json);
    const ModelConfig config = *arch->parse_config(json);
    auto plan = MakeQuantizePlan(options, *checkpoint);
    EXPECT_TRUE(plan.ok()) << plan.status().ToString();
    MakeGroups(*plan);
    const auto layers = FindLayerModules(*arch, config, *checkpoint, *plan);
    EXPECT_TRUE(layers.ok()) << layers.status().ToString();
    LayerRunner runner = LayerRunner::Create({.checkpoint = checkpoint,
                                              .arch = arch,
                                              .samples = samples_->samples,
                                              .isa = *ActiveIsa()},
                                             pool_)
                             .value();
    MatrixProduct product(*ActiveIsa(), pool_);
    LayerQuantizerOptions layer_options;
    layer_options.observer.config = &config;
    layer_options.observer.qoq = options.qoq;
    LayerQuantizer quantizer(layer_options, *checkpoint, runner, product, [](double) {});
    const auto boundary = [&](int which) {
      const std::string path = checkpoint->path() + "/boundary_" + std::to_string(which);
      return *BoundaryFile::Create(path, runner.num_tokens(), config.hidden_size);
    };
    BoundaryFile in = boundary(0);
    EXPECT_TRUE(runner.Embed(in).ok());
    Values values;
    for (const LayerModules& layer : *layers) {
      BoundaryFile out = boundary(1 + static_cast<int>(layer.layer));
      auto quantized = quantizer.Run(layer, in, &out);
      EXPECT_TRUE(quantized.ok()) << quantized.status().ToString();
      if (!quantized.ok()) break;
      AddLayer(*checkpoint, layer, quantized->transform, values);
      in = std::move(out);
    }
    return ValuesOf(*checkpoint, std::move(values));
  }

  struct Folded {
    std::shared_ptr<const Checkpoint> base;  // whose tensors `values` are: rotated models untie the head
    Values values;
  };

  Folded Fold(const TestModel& model, const std::shared_ptr<const Checkpoint>& original,
              const std::vector<std::string>& transforms) {
    QuantizeOptions options = Options(model, "W8A8", "qoq");
    EXPECT_TRUE(SetQoqTransforms(transforms, options.qoq).ok());
    std::shared_ptr<const Checkpoint> base = original;
    if (options.qoq.rotate || options.qoq.rotate_values) {
      const std::string folder = (model.root() / "rotated").string();
      const RotateOptions rotation{.residual = options.qoq.rotate, .values = options.qoq.rotate_values};
      fs::remove_all(folder);
      const auto rotated = RotateCheckpoint(*original, rotation, folder, pool_);
      EXPECT_TRUE(rotated.ok()) << rotated.status().ToString();
      base = OpenAt(folder);
    }
    return {base, FoldLayers(base, options)};
  }

  double LogitsError(const std::vector<float>& want, const Folded& folded, const TestModel& model) {
    const fs::path folder = model.root() / "folded";
    Write(*folded.base, folded.values, folder);
    const std::vector<float> have = Logits(folder.string(), ComputeDType::kFloat32);
    EXPECT_EQ(have.size(), want.size());
    float difference = 0, largest = 0;
    for (size_t i = 0; i < std::min(have.size(), want.size()); ++i) {
      difference = std::max(difference, std::fabs(have[i] - want[i]));
      largest = std::max(largest, std::fabs(want[i]));
    }
    return static_cast<double>(difference) / static_cast<double>(largest);
  }

  // Roles of the tensors that differ from `original`'s, and of new ones.
  static std::set<std::string> ChangedRoles(const Values& original, const Folded& folded) {
    std::set<std::string> roles;
    for (const auto& [name, values] : folded.values) {
      const auto before = original.find(name);
      if (before == original.end() || before->second != values) roles.insert(RoleOf(name));
    }
    return roles;
  }

  void SetUp() override {
    // gqa_tied knows 131 tokens only, and folds need no more than a few samples.
    auto samples = std::make_shared<CalibrationData>(*Samples(8, 48));
    for (auto& sample : samples->samples) {
      for (int32_t& token : sample) token %= 128;
    }
    samples_ = samples;
  }
};

struct FoldCase {
  std::string transform;
  std::set<std::string> weights;  // roles of all weights that it changes, of models without experts
};

const std::vector<FoldCase>& FoldCases() {
  static const std::vector<FoldCase> cases = {
      {"rotate",
       {"embed_tokens", "input_layernorm", "q_proj", "k_proj", "v_proj", "o_proj",
        "post_attention_layernorm", "gate_proj", "up_proj", "down_proj", "norm", "lm_head"}},
      {"rotate-values", {"v_proj", "o_proj"}},
      {"smooth-attention", {"q_proj", "k_proj"}},
      {"reorder", {"v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}},
      {"smooth-output", {"up_proj", "down_proj"}}};
  return cases;
}

TEST_F(QoqFoldTest, EachTransformKeepsTheF32Logits) {
  // Biases everywhere and odd heads; tied heads; grouped queries; experts.
  for (const std::string name :
       {"llama/wide_heads_biases", "llama/gqa_tied", "llama/plain", "qwen2/tied", "mixtral/four_experts"}) {
    const TestModel model(name);
    const auto original = InF32(model);
    const Values before = ValuesOf(*original);
    const std::vector<float> want = Logits(original->path(), ComputeDType::kFloat32);
    for (const FoldCase& fold : FoldCases()) {
      SCOPED_TRACE(name + " " + fold.transform);
      const Folded folded = Fold(model, original, {fold.transform});
      EXPECT_LE(LogitsError(want, folded, model), kF32Error);
      const std::set<std::string> changed = ChangedRoles(before, folded);
      EXPECT_FALSE(changed.empty());
      if (name == "mixtral/four_experts") continue;
      std::set<std::string> weights;
      for (const std::string& role : changed) {
        if (role.ends_with(".weight")) weights.insert(role.substr(0, role.rfind('.')));
      }
      EXPECT_THAT(weights, UnorderedElementsAreArray(fold.weights));
    }
    SCOPED_TRACE(name + " all five");
    std::vector<std::string> all;
    for (const FoldCase& fold : FoldCases()) all.push_back(fold.transform);
    EXPECT_LE(LogitsError(want, Fold(model, original, all), model), kF32Error);
  }
}

// The bound above notices when any one side of any fold is missing.
TEST_F(QoqFoldTest, HalfAFoldIsNoticed) {
  for (const std::string name : {"llama/wide_heads_biases", "mixtral/four_experts"}) {
    const TestModel model(name);
    const auto original = InF32(model);
    const Values before = ValuesOf(*original);
    const std::vector<float> want = Logits(original->path(), ComputeDType::kFloat32);
    for (const FoldCase& fold : FoldCases()) {
      const Folded folded = Fold(model, original, {fold.transform});
      for (const std::string& role : ChangedRoles(before, folded)) {
        SCOPED_TRACE(name + " " + fold.transform + " without " + role);
        Folded half = folded;
        for (auto& [tensor, values] : half.values) {
          if (RoleOf(tensor) == role && before.contains(tensor)) values = before.at(tensor);
        }
        EXPECT_GT(LogitsError(want, half, model), 10 * kF32Error);
      }
    }
  }
}

}  // namespace
}  // namespace octavo
