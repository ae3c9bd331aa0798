// SPDX-License-Identifier: Apache-2.0
// Both models, layer by layer, over all windows of a text.
#include "quality/compare_models.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "quality/input_tap.h"
#include "quality/residual_stream.h"
#include "quality/transformed_modules.h"
#include "schemes/open_linear.h"

namespace octavo {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t kSampleRows = 64;  // inputs per linear whose outputs are compared

// One model of the pair and its residual streams.
struct Runner {
  LayerwiseModel model;
  ResidualStream stream;
  LinearLoader linears;
};

// Sums of per-token relative errors.
struct TokenErrors {
  double sum = 0;
  int64_t count = 0;

  // ||a - b|| / ||a - base|| of one token; base may be null for zeros.
  void Add(const float* a, const float* b, const float* base, int64_t size) {
    double difference = 0;
    double norm = 0;
    for (int64_t i = 0; i < size; ++i) {
      const auto d = static_cast<double>(a[i] - b[i]);
      const auto r = static_cast<double>(base == nullptr ? a[i] : a[i] - base[i]);
      difference += d * d;
      norm += r * r;
    }
    if (norm == 0) return;
    sum += std::sqrt(difference / norm);
    ++count;
  }
  double mean() const { return count == 0 ? kNaN : sum / static_cast<double>(count); }
};

class Comparer {
 public:
  Comparer(const CompareInput& input, ThreadPool& pool,
           const std::function<void(uint64_t, uint64_t)>& progress)
      : input_(input), pool_(pool), progress_(progress),
        windows_(std::ssize(input.tokens) / std::max<int64_t>(input.window, 1)) {}

  Result<ModelComparison> Run() {
    OCTAVO_RETURN_IF_ERROR(CheckTokens());
    OCTAVO_RETURN_IF_ERROR(Open(input_.reference, reference_));
    OCTAVO_RETURN_IF_ERROR(Open(input_.other, other_));
    OCTAVO_RETURN_IF_ERROR(CheckVocabularies());
    transformed_ =
        TransformedModules::Find(*input_.reference.checkpoint, *input_.other.checkpoint);
    const ModelConfig& a = reference_->model.config();
    const ModelConfig& b = other_->model.config();
    // Both output projections and a softmax take about as long as a third of both models' layers.
    head_units_ = std::max<uint64_t>(1, static_cast<uint64_t>(a.num_layers + b.num_layers) / 3);
    total_ = static_cast<uint64_t>((a.num_layers + b.num_layers) * windows_) +
             head_units_ * static_cast<uint64_t>(windows_);
    OCTAVO_RETURN_IF_ERROR(Embed(*reference_));
    OCTAVO_RETURN_IF_ERROR(Embed(*other_));
    if (a.architecture == b.architecture && a.num_layers == b.num_layers &&
        a.hidden_size == b.hidden_size) {
      for (int64_t i = 0; i < a.num_layers; ++i) OCTAVO_RETURN_IF_ERROR(RunPair(i));
    } else {
      OCTAVO_RETURN_IF_ERROR(RunAlone(*reference_));
      OCTAVO_RETURN_IF_ERROR(RunAlone(*other_));
    }
    OCTAVO_RETURN_IF_ERROR(CompareHeads());
    return std::move(result_);
  }

 private:
  Status CheckTokens() const {
    if (input_.window >= 2 && windows_ > 0 && std::ssize(input_.tokens) % input_.window == 0) {
      return Status::Ok();
    }
    return InvalidArgument(fmt::format("{} tokens in windows of {}, want whole windows of 2 or more",
                                       input_.tokens.size(), input_.window));
  }

  Status CheckVocabularies() const {
    const int64_t a = reference_->model.config().vocab_size;
    const int64_t b = other_->model.config().vocab_size;
    if (a == b) return Status::Ok();
    return InvalidArgument(fmt::format(
        "{} has a vocabulary of {} tokens, {} one of {}: their predictions cannot be compared",
        input_.reference.checkpoint->path(), a, input_.other.checkpoint->path(), b));
  }

  Status Open(const ModelSide& side, std::optional<Runner>& runner) {
    LoadOptions load = side.load;
    load.max_model_len = input_.window;
    OCTAVO_ASSIGN_OR_RETURN(const IsaLevel isa, ActiveIsa());
    OCTAVO_ASSIGN_OR_RETURN(
        LayerwiseModel model,
        LayerwiseModel::Open(side.checkpoint, load, side.kv_dtype, isa, pool_));
    OCTAVO_ASSIGN_OR_RETURN(ResidualStream stream,
                            ResidualStream::Create(input_.scratch_folder, input_.window,
                                                   model.config().hidden_size));
    OCTAVO_ASSIGN_OR_RETURN(LinearLoader linears,
                            LinearLoader::Create(*side.checkpoint, load.quantization, &pool_));
    runner.emplace(Runner{std::move(model), std::move(stream), std::move(linears)});
    return Status::Ok();
  }

  std::span<const int32_t> Window(int64_t w) const {
    return std::span(input_.tokens)
        .subspan(static_cast<size_t>(w * input_.window), static_cast<size_t>(input_.window));
  }

  Status Embed(Runner& runner) {
    std::vector<float> hidden(runner.stream.size());
    for (int64_t w = 0; w < windows_; ++w) {
      OCTAVO_RETURN_IF_ERROR(runner.model.Embed(Window(w), hidden.data()));
      OCTAVO_RETURN_IF_ERROR(runner.stream.Write(w, hidden.data()));
    }
    return Status::Ok();
  }

  Status Step(uint64_t units) {
    if (input_.cancel != nullptr && input_.cancel->load(std::memory_order_relaxed)) {
      return Cancelled("interrupted");
    }
    done_ += units;
    if (progress_) progress_(done_, total_);
    return Status::Ok();
  }

  // Models that are not alike: nothing but their logits can be compared.
  Status RunAlone(Runner& runner) {
    std::vector<float> hidden(runner.stream.size());
    for (int64_t i = 0; i < runner.model.config().num_layers; ++i) {
      OCTAVO_RETURN_IF_ERROR(runner.model.LoadLayer(i));
      for (int64_t w = 0; w < windows_; ++w) {
        OCTAVO_RETURN_IF_ERROR(runner.stream.Read(w, hidden.data()));
        OCTAVO_RETURN_IF_ERROR(runner.model.RunLayer(hidden.data(), input_.window, nullptr));
        OCTAVO_RETURN_IF_ERROR(runner.stream.Write(w, hidden.data()));
        OCTAVO_RETURN_IF_ERROR(Step(1));
      }
    }
    runner.model.Unload();
    return Status::Ok();
  }

  // Layer `index` of both models over all windows.
  Status RunPair(int64_t index) {
    OCTAVO_RETURN_IF_ERROR(reference_->model.LoadLayer(index));
    OCTAVO_RETURN_IF_ERROR(other_->model.LoadLayer(index));
    InputTap reference_inputs(kSampleRows, windows_ * input_.window);
    InputTap other_inputs(0, 0);
    const LinearTap reference_tap = reference_inputs.AsTap();
    const LinearTap other_tap = other_inputs.AsTap();
    const int64_t size = reference_->model.config().hidden_size;
    const int64_t rows = input_.window;
    std::vector<float> a(reference_->stream.size());
    std::vector<float> b(a.size());
    TokenErrors own;
    TokenErrors total;
    for (int64_t w = 0; w < windows_; ++w) {
      OCTAVO_RETURN_IF_ERROR(reference_->stream.Read(w, a.data()));
      const std::vector<float> before(w == 0 ? a : std::vector<float>());
      OCTAVO_RETURN_IF_ERROR(reference_->model.RunLayer(a.data(), rows, &reference_tap));
      OCTAVO_RETURN_IF_ERROR(reference_->stream.Write(w, a.data()));
      OCTAVO_RETURN_IF_ERROR(Step(1));
      if (w == 0) {
        b = before;
        OCTAVO_RETURN_IF_ERROR(other_->model.RunLayer(b.data(), rows, nullptr));
        for (int64_t row = 0; row < rows; ++row) {
          const int64_t at = row * size;
          own.Add(a.data() + at, b.data() + at, before.data() + at, size);
        }
      }
      OCTAVO_RETURN_IF_ERROR(other_->stream.Read(w, b.data()));
      OCTAVO_RETURN_IF_ERROR(other_->model.RunLayer(b.data(), rows, &other_tap));
      OCTAVO_RETURN_IF_ERROR(other_->stream.Write(w, b.data()));
      for (int64_t row = 0; row < rows; ++row) {
        total.Add(a.data() + row * size, b.data() + row * size, nullptr, size);
      }
      OCTAVO_RETURN_IF_ERROR(Step(1));
    }
    result_.layers.push_back({own.mean(), total.mean()});
    OCTAVO_RETURN_IF_ERROR(CompareLinears(reference_inputs));
    for (const Linear* linear : reference_->model.linears()) {
      const auto a_slot = reference_inputs.slots().find(linear->slot());
      const auto b_slot = other_inputs.slots().find(linear->slot());
      if (a_slot == reference_inputs.slots().end()) continue;
      InputStats& stats = result_.inputs.emplace_back();
      stats.layer = index;
      stats.slot = linear->slot();
      stats.reference = std::move(a_slot->second.stats);
      if (b_slot != other_inputs.slots().end()) stats.other = std::move(b_slot->second.stats);
    }
    return Status::Ok();
  }

  // Linears of the loaded layers: weights, and outputs on sampled inputs.
  Status CompareLinears(InputTap& inputs) {
    std::map<std::string, const Linear*> others;
    for (const Linear* linear : other_->model.linears()) others[linear->slot()] = linear;
    for (const Linear* linear : reference_->model.linears()) {
      const auto slot = inputs.slots().find(linear->slot());
      const auto other = others.find(linear->slot());
      if (slot == inputs.slots().end() || other == others.end()) continue;
      if (linear->parts().size() != other->second->parts().size()) continue;
      std::vector<double> output_errors;
      OCTAVO_RETURN_IF_ERROR(
          CompareOutputs(*linear, *other->second, slot->second.sample, output_errors));
      for (size_t i = 0; i < linear->parts().size(); ++i) {
        const LinearPart& part = other->second->parts()[i];
        LinearQuality quality{.module = part.module,
                              .scheme = part.scheme,
                              .n = part.n,
                              .k = part.k,
                              .bits = part.stored_bits,
                              .reference_bits = linear->parts()[i].stored_bits,
                              .transformed = transformed_.Contains(part.module),
                              .weight = {kNaN, kNaN, kNaN},
                              .output_error = output_errors[i]};
        if (quality.transformed) {
          quality.output_error = kNaN;
        } else if (input_.weights) {
          const std::string& module = linear->parts()[i].module;
          OCTAVO_ASSIGN_OR_RETURN(const auto from, reference_->linears.OpenLinear(module));
          OCTAVO_ASSIGN_OR_RETURN(const auto to, other_->linears.OpenLinear(part.module));
          OCTAVO_ASSIGN_OR_RETURN(quality.weight, MeasureWeightError(*from, *to, pool_));
        }
        result_.linears.push_back(std::move(quality));
      }
    }
    return Status::Ok();
  }

  // Relative output error of each part. A row of zeros at the end yields the bias, which would make
  // errors look small.
  Status CompareOutputs(const Linear& a, const Linear& b, const std::vector<float>& sample,
                        std::vector<double>& errors) {
    errors.assign(a.parts().size(), kNaN);
    if (sample.empty() || a.n() != b.n() || a.k() != b.k()) return Status::Ok();
    std::vector<float> x = sample;
    x.resize(x.size() + static_cast<size_t>(a.k()));
    const int64_t rows = std::ssize(sample) / a.k();
    std::vector<float> y_a(static_cast<size_t>((rows + 1) * a.n()));
    std::vector<float> y_b(y_a.size());
    OCTAVO_RETURN_IF_ERROR(reference_->model.RunLinear(a, x.data(), rows + 1, y_a.data()));
    OCTAVO_RETURN_IF_ERROR(other_->model.RunLinear(b, x.data(), rows + 1, y_b.data()));
    const float* bias_a = y_a.data() + rows * a.n();
    const float* bias_b = y_b.data() + rows * a.n();
    int64_t begin = 0;
    for (size_t part = 0; part < errors.size(); ++part) {
      const int64_t end = begin + a.parts()[part].n;
      ErrorSums sums;
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t i = begin; i < end; ++i) {
          sums.Add(static_cast<double>(y_a[static_cast<size_t>(row * a.n() + i)] - bias_a[i]),
                   static_cast<double>(y_b[static_cast<size_t>(row * a.n() + i)] - bias_b[i]));
        }
      }
      errors[part] = sums.relative();
      begin = end;
    }
    return Status::Ok();
  }

  Status CompareHeads() {
    OCTAVO_RETURN_IF_ERROR(reference_->model.LoadHead());
    OCTAVO_RETURN_IF_ERROR(other_->model.LoadHead());
    std::vector<float> a(reference_->stream.size());
    std::vector<float> b(other_->stream.size());
    for (int64_t w = 0; w < windows_; ++w) {
      OCTAVO_RETURN_IF_ERROR(reference_->stream.Read(w, a.data()));
      OCTAVO_RETURN_IF_ERROR(other_->stream.Read(w, b.data()));
      OCTAVO_RETURN_IF_ERROR(CompareWindow(Window(w), a, b));
      OCTAVO_RETURN_IF_ERROR(Step(head_units_));
    }
    return Status::Ok();
  }

  // All positions of a window that have a next token.
  Status CompareWindow(std::span<const int32_t> tokens, const std::vector<float>& a,
                       const std::vector<float>& b) {
    const auto vocab_size = static_cast<size_t>(reference_->model.config().vocab_size);
    const int64_t size_a = reference_->model.config().hidden_size;
    const int64_t size_b = other_->model.config().hidden_size;
    const int64_t step = std::min(LayerwiseModel::kMaxLogitRows, input_.window);
    std::vector<float> logits_a(static_cast<size_t>(step) * vocab_size);
    std::vector<float> logits_b(logits_a.size());
    for (int64_t begin = 0; begin + 1 < input_.window; begin += step) {
      const int64_t count = std::min(step, input_.window - 1 - begin);
      OCTAVO_RETURN_IF_ERROR(
          reference_->model.Logits(a.data() + begin * size_a, count, logits_a.data()));
      OCTAVO_RETURN_IF_ERROR(
          other_->model.Logits(b.data() + begin * size_b, count, logits_b.data()));
      const size_t first = result_.tokens.size();
      result_.tokens.resize(first + static_cast<size_t>(count));
      pool_.ParallelFor(count, 1, [&](int64_t from, int64_t to, int /*thread*/) {
        for (auto row = static_cast<size_t>(from); row < static_cast<size_t>(to); ++row) {
          result_.tokens[first + row] =
              CompareLogits(std::span(logits_a).subspan(row * vocab_size, vocab_size),
                            std::span(logits_b).subspan(row * vocab_size, vocab_size),
                            tokens[static_cast<size_t>(begin) + row + 1]);
        }
      });
    }
    return Status::Ok();
  }

  const CompareInput& input_;
  ThreadPool& pool_;
  const std::function<void(uint64_t, uint64_t)>& progress_;
  const int64_t windows_;
  std::optional<Runner> reference_;
  std::optional<Runner> other_;
  uint64_t done_ = 0;
  uint64_t total_ = 0;
  uint64_t head_units_ = 1;
  TransformedModules transformed_;
  ModelComparison result_;
};

}  // namespace

Result<ModelComparison> CompareModels(const CompareInput& input, ThreadPool& pool,
                                      const std::function<void(uint64_t, uint64_t)>& progress) {
  return Comparer(input, pool, progress).Run();
}

}  // namespace octavo
