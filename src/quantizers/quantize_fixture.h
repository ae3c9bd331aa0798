// SPDX-License-Identifier: Apache-2.0
// For tests: quantizes tiny models and compares what becomes of their logits.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/cpu_features.h"
#include "models/load_model.h"
#include "models/teacher_forcing.h"
#include "quantizers/quantize_checkpoint.h"
#include "quantizers/test_model.h"

namespace octavo {

class QuantizeFixture : public testing::Test {
 protected:
  static std::shared_ptr<const CalibrationData> Samples(int count, int length) {
    auto data = std::make_shared<CalibrationData>();
    std::mt19937 random(11);
    std::uniform_int_distribution<int32_t> token(3, 150);
    for (int i = 0; i < count; ++i) {
      auto& sample = data->samples.emplace_back();
      for (int j = 0; j < length; ++j) sample.push_back(token(random));
      data->num_tokens += length;
    }
    data->source = "random";
    return data;
  }

  // Into a folder of the model's own.
  QuantizeOptions Options(const TestModel& model, const std::string& scheme,
                          const std::string& algorithm = "rtn") {
    QuantizeOptions options;
    options.model = model.path();
    options.output = (model.root() / (scheme + "_" + algorithm)).string();
    options.scheme = scheme;
    options.algorithm = algorithm;
    options.calibration = samples_;
    options.overwrite = true;
    options.threads = 2;
    return options;
  }

  // Runs the quantizer in a child that kills itself at the `calls`-th report of progress. Returns
  // whether it came that far.
  static bool RunKilledAt(const QuantizeOptions& options, int calls) {
    const pid_t child = ::fork();
    if (child == 0) {
      int seen = 0;
      (void)QuantizeCheckpoint(options, [&](uint64_t, uint64_t) {
        if (++seen == calls) ::raise(SIGKILL);
      });
      ::_exit(0);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return WIFSIGNALED(status);
  }

  QuantizeResult Quantize(const QuantizeOptions& options) {
    auto result = QuantizeCheckpoint(options);
    EXPECT_TRUE(result.ok()) << result.status().ToString();
    return result.ok() ? *std::move(result) : QuantizeResult();
  }

  // Logits of the first two samples.
  std::vector<float> Logits(const std::string& path,
                            ComputeDType dtype = ComputeDType::kBfloat16,
                            KvDType kv_dtype = KvDType::kF32) {
    LoadOptions load;
    load.dtype = dtype;
    auto model = LoadModel(path, load, *ActiveIsa(), pool_);
    EXPECT_TRUE(model.ok()) << model.status().ToString();
    if (!model.ok()) return {};
    const int64_t vocab_size = (*model)->config().vocab_size;
    auto forcing = TeacherForcing::Create(*model, 64, kv_dtype, *ActiveIsa(), pool_);
    EXPECT_TRUE(forcing.ok()) << forcing.status().ToString();
    std::vector<float> all;
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_TRUE(forcing->Run(samples_->samples[i], [&](int64_t, int64_t count, const float* logits) {
        all.insert(all.end(), logits, logits + count * vocab_size);
        return Status::Ok();
      }).ok());
    }
    return all;
  }

  // |a - b| / |a|
  static double Distance(const std::vector<float>& a, const std::vector<float>& b) {
    EXPECT_EQ(a.size(), b.size());
    double difference = 0, size = 0;
    for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
      difference += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
      size += std::pow(static_cast<double>(a[i]), 2);
    }
    return std::sqrt(difference / size);
  }

  // Every file but the report, which holds times.
  static std::map<std::string, std::string> Contents(const std::string& folder) {
    std::map<std::string, std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      auto content = ReadFile(entry.path().string());
      EXPECT_TRUE(content.ok());
      files[entry.path().filename().string()] = *content;
    }
    EXPECT_EQ(files.erase("octavo_quantize.json"), 1u);
    return files;
  }

  std::shared_ptr<const CalibrationData> samples_ = Samples(100, 48);
  ThreadPool pool_{2};
};

}  // namespace octavo
