// SPDX-License-Identifier: Apache-2.0
// Hundreds of damaged files of each kind: each gives an error that names the file, or a model that
// can be read; never a crash, and never more memory than the file's size explains.
//
// This file replaces operator new for the whole test program, to measure live heap bytes.
#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <new>
#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "io/hf_config.h"
#include "io/io_test_util.h"
#include "io/shard_index.h"

namespace {

std::atomic<size_t> live_bytes{0};
std::atomic<size_t> peak_bytes{0};

void* Allocate(size_t size) {
  void* memory = std::malloc(size);
  if (memory == nullptr) return nullptr;
  const size_t now = live_bytes += ::malloc_usable_size(memory);
  size_t peak = peak_bytes.load();
  while (now > peak && !peak_bytes.compare_exchange_weak(peak, now)) {
  }
  return memory;
}

void Free(void* memory) {
  if (memory != nullptr) live_bytes -= ::malloc_usable_size(memory);
  std::free(memory);
}

}  // namespace

void* operator new(size_t size) {
  void* memory = Allocate(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void* operator new[](size_t size) { return operator new(size); }
void operator delete(void* memory) noexcept { Free(memory); }
void operator delete[](void* memory) noexcept { Free(memory); }
void operator delete(void* memory, size_t) noexcept { Free(memory); }
void operator delete[](void* memory, size_t) noexcept { Free(memory); }

namespace octavo {
namespace {

using testing::GgufBuilder;
using testing::SafetensorsFile;
using testing::TempFolder;
using testing::WriteText;

// Buffers, messages and table overhead, whatever the file's size. Far below what a believed count
// of 2^32 would take.
constexpr size_t kFixedBytes = size_t{1} << 20;
constexpr size_t kBytesPerFileByte = 64;

// Highest live heap while `run` runs, above what was live before.
size_t PeakBytes(const std::function<void()>& run) {
  const size_t before = live_bytes;
  peak_bytes = before;
  run();
  return peak_bytes - before;
}

struct Mutation {
  std::string what;
  std::string text;
};

// Every truncation, a flipped bit in every byte, and extreme numbers over every fourth position.
// `structure` limits flips and numbers to the first bytes, where the structure is.
std::vector<Mutation> Mutate(const std::string& file, size_t structure) {
  std::vector<Mutation> mutations;
  for (size_t size = 0; size < file.size(); ++size) {
    mutations.push_back({"cut to " + std::to_string(size), file.substr(0, size)});
  }
  structure = std::min(structure, file.size());
  for (size_t i = 0; i < structure; ++i) {
    Mutation flip{"bit flipped in byte " + std::to_string(i), file};
    flip.text[i] = static_cast<char>(flip.text[i] ^ (1 << (i * 5 % 8)));
    mutations.push_back(std::move(flip));
  }
  constexpr uint64_t kNumbers[] = {UINT64_MAX, uint64_t{1} << 63, uint64_t{1} << 40, 0xffffffff, 0};
  for (size_t i = 0; i + 8 <= structure; i += 4) {
    const uint64_t number = kNumbers[i / 4 % std::size(kNumbers)];
    Mutation huge{"number " + std::to_string(number) + " at byte " + std::to_string(i), file};
    std::memcpy(huge.text.data() + i, &number, sizeof number);
    mutations.push_back(std::move(huge));
  }
  return mutations;
}

// Swaps, repeats and removes each token of a JSON text, and puts extreme tokens in its place.
std::vector<Mutation> MutateJson(const std::string& text) {
  std::vector<Mutation> mutations;
  const std::vector<std::string> replacements = {"null",
                                                 "-1",
                                                 "1e999",
                                                 "18446744073709551616",
                                                 "\"../../x\"",
                                                 "{}",
                                                 "[[[[]]]]",
                                                 "\"\\ud800\"",
                                                 std::string(200, '['),
                                                 "\"" + std::string(5000, 'a') + "\""};
  size_t which = 0;
  for (size_t begin = 0; begin < text.size();) {
    const bool separator = std::strchr("{}[]:, \n", text[begin]) != nullptr;
    size_t end = begin + 1;
    while (!separator && end < text.size() && std::strchr("{}[]:, \n", text[end]) == nullptr) ++end;
    const std::string head = text.substr(0, begin);
    const std::string token = text.substr(begin, end - begin);
    const std::string tail = text.substr(end);
    const std::string at = " at byte " + std::to_string(begin);
    mutations.push_back({"token removed" + at, head + tail});
    mutations.push_back({"token repeated" + at, head + token + token + tail});
    for (int i = 0; i < 3; ++i) {
      const std::string& replacement = replacements[which++ % replacements.size()];
      mutations.push_back(
          {"token '" + replacement.substr(0, 20) + "'" + at, head + replacement + tail});
    }
    begin = end;
  }
  return mutations;
}

// Reads every tensor that claims a sane size, so that a wrongly accepted range would be touched.
void ReadAll(const Checkpoint& checkpoint) {
  std::vector<char> bytes;
  std::vector<float> values;
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    ASSERT_LE(tensor.bytes, tensor.file->size());
    bytes.resize(tensor.bytes);
    ASSERT_TRUE(checkpoint.ReadBytes(tensor, bytes.data()).ok()) << tensor.name;
    const auto count = static_cast<size_t>(tensor.shape.NumElements());
    if (count > 1 << 20) continue;
    values.resize(count);
    (void)checkpoint.ReadRowsF32(tensor, 0, tensor.rows(), values.data());
  }
  (void)NormalizeConfig(checkpoint.config());
  if (checkpoint.is_gguf()) (void)ReadGgufTokenizer(*checkpoint.gguf());
}

struct Tally {
  size_t errors = 0;
  size_t accepted = 0;
};

// Opens through `open` and checks errors and memory. `file`: what the error must name.
void Check(const Mutation& mutation, const std::string& file,
           const std::function<Result<std::unique_ptr<Checkpoint>>()>& open, Tally& tally) {
  const size_t bound = kFixedBytes + kBytesPerFileByte * mutation.text.size();
  const size_t peak = PeakBytes([&] {
    const auto checkpoint = open();
    if (checkpoint.ok()) {
      ++tally.accepted;
      ReadAll(**checkpoint);
      return;
    }
    ++tally.errors;
    const std::string& message = checkpoint.status().message();
    EXPECT_NE(message.find(file), std::string::npos) << mutation.what << ": " << message;
    EXPECT_GT(message.size(), file.size() + 10) << mutation.what << ": " << message;
    EXPECT_LT(message.size(), 2000u) << mutation.what;
  });
  EXPECT_LT(peak, bound) << mutation.what;
}

std::string SmallSafetensors() {
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"model.norm.weight":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},)"
      R"("lm_head.weight":{"dtype":"BF16","shape":[2,4],"data_offsets":[16,32]},)"
      R"("q":{"dtype":"I8","shape":[2,2],"data_offsets":[32,36]}})";
  return SafetensorsFile(header, std::string(36, '\x3f'));
}

std::string SmallGguf() {
  GgufBuilder builder;
  builder.Header(4, 13).KeyString("general.architecture", "llama");
  builder.KeyU32("llama.embedding_length", 32).KeyU32("llama.feed_forward_length", 32);
  builder.KeyU32("llama.block_count", 1).KeyU32("llama.attention.head_count", 2);
  builder.KeyU32("llama.context_length", 64).KeyF32("llama.rope.freq_base", 1e4f);
  builder.KeyU32("general.alignment", 32).KeyString("tokenizer.ggml.model", "gpt2");
  builder.String("tokenizer.ggml.tokens").Put(uint32_t{9}).Put(uint32_t{8}).Put(uint64_t{3});
  builder.String("a").String("bc").String("");
  builder.String("tokenizer.ggml.token_type").Put(uint32_t{9}).Put(uint32_t{5}).Put(uint64_t{3});
  builder.Put(int32_t{1}).Put(int32_t{1}).Put(int32_t{3});
  builder.KeyU32("tokenizer.ggml.bos_token_id", 2);
  builder.String("tokenizer.ggml.add_bos_token").Put(uint32_t{7}).Put(uint8_t{1});
  builder.Tensor("token_embd.weight", {32, 3}, 8, 0);       // Q8_0: 102 bytes
  builder.Tensor("output_norm.weight", {32}, 0, 128);       // F32: 128 bytes
  builder.Tensor("blk.0.attn_q.weight", {32, 4}, 2, 256);   // Q4_0: 72 bytes
  builder.Tensor("blk.0.ffn_up.weight", {32, 2}, 30, 352);  // BF16: 128 bytes
  builder.Pad().Raw(std::string(480, '\x3c'));
  return builder.text();
}

constexpr const char* kConfig =
    R"({"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":64,"torch_dtype":"bfloat16",)"
    R"("rope_theta":10000.0,"rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,)"
    R"("high_freq_factor":4.0,"original_max_position_embeddings":8192},)"
    R"("rope_parameters":{"full_attention":{"rope_theta":1.0,"rope_type":"linear"}},"eos_token_id":[1,2],)"
    R"("quantization_config":{"quant_method":"compressed-tensors","config_groups":{"group_0":{"targets":["Linear"]}}}})";

TEST(DamagedFilesTest, TheMeterSeesAllocations) {
  const size_t peak =
      PeakBytes([] { EXPECT_EQ(std::vector<char>(size_t{3} << 20, 'x').back(), 'x'); });
  EXPECT_GE(peak, size_t{3} << 20);
  EXPECT_LT(peak, size_t{4} << 20);
}

TEST(DamagedFilesTest, Safetensors) {
  const std::string good = SmallSafetensors();
  const TempFolder folder;
  WriteText(folder / "config.json", "{}");
  const std::string path = folder / "model.safetensors";
  std::vector<Mutation> mutations = Mutate(good, good.size());
  const std::string json = good.substr(8, good.size() - 8 - 36);
  for (Mutation& mutation : MutateJson(json)) {
    mutation.text = SafetensorsFile(mutation.text, good.substr(good.size() - 36));
    mutations.push_back(std::move(mutation));
  }
  ASSERT_GE(mutations.size(), 200u);
  Tally tally;
  for (const Mutation& mutation : mutations) {
    WriteText(path, mutation.text);
    Check(mutation, path, [&] { return Checkpoint::Open(folder.path()); }, tally);
    if (mutation.what.starts_with("cut")) {
      EXPECT_EQ(tally.accepted, 0u) << mutation.what;
    }
  }
  EXPECT_GT(tally.errors, mutations.size() / 2);
  EXPECT_GT(tally.accepted, 0u);  // Flipped data bits and names are no damage the format can see.
}

TEST(DamagedFilesTest, ShardIndex) {
  const TempFolder folder;
  WriteText(folder / "config.json", "{}");
  WriteText(folder / "a.safetensors", SmallSafetensors());
  const std::string good = MakeShardIndexJson({{"model.norm.weight", "a.safetensors"},
                                               {"lm_head.weight", "a.safetensors"},
                                               {"q", "a.safetensors"}},
                                              36);
  const std::string path = folder / "model.safetensors.index.json";
  std::vector<Mutation> mutations = Mutate(good, good.size());
  for (Mutation& mutation : MutateJson(good)) mutations.push_back(std::move(mutation));
  ASSERT_GE(mutations.size(), 200u);
  Tally tally;
  for (Mutation& mutation : mutations) {
    WriteText(path, mutation.text);
    // The shard belongs to what is opened, so its bytes count for the memory bound too.
    mutation.text += SmallSafetensors();
    Check(mutation, path, [&] { return Checkpoint::Open(folder.path()); }, tally);
  }
  EXPECT_GT(tally.errors, mutations.size() / 2);
}

TEST(DamagedFilesTest, Config) {
  const TempFolder folder;
  WriteText(folder / "model.safetensors", SmallSafetensors());
  const std::string path = folder / "config.json";
  std::vector<Mutation> mutations = Mutate(kConfig, std::strlen(kConfig));
  for (Mutation& mutation : MutateJson(kConfig)) mutations.push_back(std::move(mutation));
  ASSERT_GE(mutations.size(), 200u);
  Tally tally;
  for (Mutation& mutation : mutations) {
    WriteText(path, mutation.text);
    mutation.text += SmallSafetensors();
    Check(mutation, path, [&] { return Checkpoint::Open(folder.path()); }, tally);
  }
  EXPECT_GT(tally.errors, mutations.size() / 3);
  EXPECT_GT(tally.accepted, 0u);
}

TEST(DamagedFilesTest, Gguf) {
  const std::string good = SmallGguf();
  std::vector<Mutation> mutations = Mutate(good, good.size() - 480);
  ASSERT_GE(mutations.size(), 200u);
  Tally tally;
  const auto open = [](const std::string& text) -> Result<std::unique_ptr<Checkpoint>> {
    auto gguf = GgufReader::FromFile(MmapFile::FromMemory("m.gguf", text));
    if (!gguf.ok()) return std::move(gguf).status();
    return Checkpoint::FromGguf(std::move(gguf).value());
  };
  const auto undamaged = open(good);
  ASSERT_TRUE(undamaged.ok()) << undamaged.status().ToString();
  for (const Mutation& mutation : mutations) {
    Check(mutation, "m.gguf", [&] { return open(mutation.text); }, tally);
    if (mutation.what.starts_with("cut")) {
      EXPECT_EQ(tally.accepted, 0u) << mutation.what;
    }
  }
  EXPECT_GT(tally.errors, mutations.size() / 2);
  EXPECT_GT(tally.accepted, 0u);
}

// Sizes that a small file claims, one field at a time, in the places where they would be believed.
TEST(DamagedFilesTest, HugeCountsInGgufArraysAndStrings) {
  Tally tally;
  for (const uint32_t type : {0u, 4u, 7u, 8u, 12u}) {
    for (const uint64_t count :
         {uint64_t{1} << 20, uint64_t{1} << 32, uint64_t{1} << 61, UINT64_MAX}) {
      GgufBuilder builder;
      builder.Header(0, 2).KeyString("general.architecture", "llama");
      builder.String("k").Put(uint32_t{9}).Put(type).Put(count).Raw(std::string(100, '\0'));
      const Mutation mutation{"array of " + std::to_string(count), builder.text()};
      Check(
          mutation, "m.gguf",
          [&]() -> Result<std::unique_ptr<Checkpoint>> {
            auto gguf = GgufReader::FromFile(MmapFile::FromMemory("m.gguf", mutation.text));
            if (!gguf.ok()) return std::move(gguf).status();
            return Checkpoint::FromGguf(std::move(gguf).value());
          },
          tally);
    }
  }
  EXPECT_EQ(tally.accepted, 0u);
}

}  // namespace
}  // namespace octavo
