// SPDX-License-Identifier: Apache-2.0
// What the tests of this folder share: golden files, real models, and mutations of a file.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>

#include "base/file.h"
#include "base/json.h"

namespace octavo::testing {

inline std::string GoldenPath(const std::string& name) {
  return std::string(OCTAVO_SOURCE_DIR) + "/tests/golden/tokenizer/" + name;
}

inline Json GoldenJson(const std::string& name) {
  auto json = ParseJsonFile(GoldenPath(name));
  EXPECT_TRUE(json.ok()) << json.status().ToString();
  return json.ok() ? std::move(json).value() : Json();
}

// A folder of real model files, or an empty string.
inline std::string ModelFolder(const std::string& name) {
  const char* models = std::getenv("OCTAVO_MODELS");
  const char* home = std::getenv("HOME");
  const std::string root = models != nullptr ? models
                           : home != nullptr ? std::string(home) + "/.cache/octavo-models"
                                             : std::string();
  const std::string folder = root + "/hf/" + name;
  return std::filesystem::is_directory(folder) ? folder : "";
}

// A file of the folder that development machines share, or an empty string.
inline std::string SharedPath(const std::string& name) {
  const char* shared = std::getenv("OCTAVO_SHARED");
  const std::string root =
      shared != nullptr ? shared : std::string(OCTAVO_SOURCE_DIR) + "/../shared";
  return std::filesystem::exists(root + "/" + name) ? root + "/" + name : "";
}

// One of several kinds of damage: cut, flipped bits, a repeated or removed stretch, huge numbers.
inline std::string Mutate(std::string text, std::mt19937* rng) {
  const auto pick = [rng](size_t bound) { return bound == 0 ? 0 : (*rng)() % bound; };
  for (size_t rounds = 1 + pick(4); rounds > 0 && !text.empty(); --rounds) {
    const size_t at = pick(text.size());
    const size_t length = 1 + pick(std::min<size_t>(64, text.size() - at));
    switch (pick(6)) {
      case 0:
        text.resize(at);
        break;
      case 1:
        text[at] = static_cast<char>(text[at] ^ (1 << pick(8)));
        break;
      case 2:
        text.insert(pick(text.size()), text.substr(at, length));
        break;
      case 3:
        text.erase(at, length);
        break;
      case 4:
        text.replace(at, std::min<size_t>(1, length), "99999999999");
        break;
      default:
        text.insert(at, std::string(1 + pick(40), "[{(\"\\\xFF\0<%"[pick(9)]));
        break;
    }
  }
  return text;
}

}  // namespace octavo::testing
