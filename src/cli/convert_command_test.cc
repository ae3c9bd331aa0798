// SPDX-License-Identifier: Apache-2.0
// convert, dequantize, tokenize and detokenize end to end on a tiny random model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "cli/testing.h"
#include "engine/tiny_model.h"
#include "io/safetensors_reader.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::vector<float> Floats(const TensorView& view) {
  std::vector<float> values(static_cast<size_t>(view.shape().NumElements()));
  std::memcpy(values.data(), view.data(), values.size() * sizeof(float));
  return values;
}

// compressed-tensors rounds code times scale to the scale's type, bf16 here; the other forms do not.
void ExpectSameValues(const std::vector<float>& want, const std::vector<float>& have, const std::string& where) {
  ASSERT_EQ(want.size(), have.size()) << where;
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_NEAR(want[i], have[i], std::abs(want[i]) * 0x1p-8f) << where << " " << i;
  }
}

class ConvertCommandTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) const { return model_.path() + "/" + name; }

  void Run(const std::vector<std::string>& arguments) {
    const Outcome outcome = RunOctavo(arguments);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  }

  // The command with `input` as its standard input.
  Outcome RunWith(const std::string& input, const std::vector<std::string>& arguments) {
    const std::string path = Path("stdin");
    EXPECT_TRUE(WriteFileAtomically(path, input).ok());
    const int saved = ::dup(STDIN_FILENO);
    EXPECT_NE(std::freopen(path.c_str(), "r", stdin), nullptr);
    Outcome outcome = RunOctavo(arguments);
    ::dup2(saved, STDIN_FILENO);
    ::close(saved);
    std::clearerr(stdin);
    return outcome;
  }

  testing::TinyModel model_;
};

TEST_F(ConvertCommandTest, EveryFormDequantizesToTheSameValues) {
  // The model is f32; of a bf16 one the scales are half floats too, as the other forms store them.
  Run({"convert", model_.path(), "--to", "gguf-q8_0", "-o", Path("q8.gguf")});
  Run({"import", Path("q8.gguf"), "-o", Path("bf16")});
  Run({"quantize", Path("bf16"), "--scheme", "W4A16", "--group-size", "32", "-o", Path("w4")});
  Run({"dequantize", Path("w4"), "-o", Path("want.safetensors")});
  const auto want = SafetensorsReader::Open(Path("want.safetensors"));
  ASSERT_TRUE(want.ok()) << want.status().ToString();
  ASSERT_EQ((*want).tensors().size(), 2u * 7 + 1);
  for (const std::string form : {"gptq", "awq", "gguf-q4_0"}) {
    Run({"convert", Path("w4"), "--to", form, "-o", Path(form + (form == "gguf-q4_0" ? ".gguf" : ""))});
    Run({"dequantize", Path(form + (form == "gguf-q4_0" ? ".gguf" : "")), "-o", Path(form + ".safetensors")});
    const auto have = SafetensorsReader::Open(Path(form + ".safetensors"));
    ASSERT_TRUE(have.ok()) << have.status().ToString();
    for (const SafetensorsEntry& tensor : want->tensors()) {
      const SafetensorsEntry* other = have->Find(tensor.name);
      ASSERT_NE(other, nullptr) << form << " " << tensor.name;
      ASSERT_EQ(tensor.bytes, other->bytes);
      ExpectSameValues(Floats(want->View(tensor)), Floats(have->View(*other)), form + " " + tensor.name);
    }
  }
}

TEST_F(ConvertCommandTest, SaysWhatCannotBeConverted) {
  const Outcome dense = RunOctavo({"convert", model_.path(), "--to", "gptq", "-o", Path("out")});
  EXPECT_EQ(dense.exit_code, 1);
  EXPECT_THAT(dense.err, HasSubstr("is not quantized"));
  const Outcome form = RunOctavo({"convert", model_.path(), "--to", "exl2", "-o", Path("out")});
  EXPECT_NE(form.exit_code, 0);
  EXPECT_THAT(form.err, HasSubstr("exl2"));
  EXPECT_FALSE(fs::exists(Path("out")));
  const Outcome missing = RunOctavo({"dequantize", "/nosuchmodel", "-o", Path("out")});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_THAT(missing.err, HasSubstr("/nosuchmodel"));
}

TEST_F(ConvertCommandTest, TokenizeExplainsAndDetokenizeUndoes) {
  const Outcome lines = RunWith("hi\n", {"tokenize", model_.path(), "--explain"});
  ASSERT_EQ(lines.exit_code, 0) << lines.err;
  EXPECT_EQ(lines.out, "104\tmodel\th\n105\tmodel\ti\n10\tmodel\tĊ\n");
  const Outcome json = RunWith("a<s>", {"tokenize", model_.path(), "--explain", "--json", "-"});
  const auto report = ParseJson(json.out);
  ASSERT_TRUE(report.ok()) << json.out << json.err;
  EXPECT_EQ((*report)["token_ids"], Json({97, 256}));
  EXPECT_EQ((*report)["tokens"][1]["rule"], "added_token");
  EXPECT_EQ(RunWith(lines.out, {"detokenize", model_.path()}).out, "hi\n");
  EXPECT_EQ(RunWith("104 105", {"detokenize", model_.path(), "--ids"}).out, "hi");
  const Outcome outside = RunWith("999", {"detokenize", model_.path(), "--ids"});
  EXPECT_EQ(outside.exit_code, 1);
  EXPECT_THAT(outside.err, HasSubstr("999"));
}

}  // namespace
}  // namespace octavo
