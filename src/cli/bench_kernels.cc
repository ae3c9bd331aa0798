// SPDX-License-Identifier: Apache-2.0
// Kernels x shapes for `octavo bench kernels`.
#include "cli/bench_kernels.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <utility>

#include "kernels/attention/attention_kernel.h"
#include "kernels/attention_speed.h"
#include "kernels/gemm_speed.h"
#include "kernels/onednn_speed.h"

namespace octavo {
namespace {

constexpr int64_t kMaxSide = int64_t{1} << 20;
constexpr int64_t kDecodeContext = 8192, kPrefillTokens = 512;
constexpr AttentionShape kAttentionShapes[] = {{12, 2, 128}, {9, 3, 64}, {8, 8, 128}};

struct WeightShape {
  int64_t n = 0, k = 0;
};

std::optional<int64_t> ParseSide(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1 || value > kMaxSide) {
    return std::nullopt;
  }
  return value;
}

Result<WeightShape> ParseShape(std::string_view text) {
  const size_t x = text.find('x');
  const auto n = ParseSide(text.substr(0, x));
  const auto k = x == std::string_view::npos ? std::nullopt : ParseSide(text.substr(x + 1));
  if (!n || !k) {
    return InvalidArgument(fmt::format("--shape '{}': want NxK with sides from 1 to {}, like 8960x1536", text,
                                       kMaxSide));
  }
  return WeightShape{*n, *k};
}

template <typename Speed>
Json Measure(Speed& speed, int rounds) {
  std::vector<SpeedRound> measured;
  for (int i = 0; i < rounds; ++i) measured.push_back(speed.Round());
  const KernelSpeed s = Summarize(measured);
  return {{"us", s.seconds * 1e6}, {"gop_s", s.gop_s}, {"gb_s", s.gb_s}, {"pct_peak", s.pct_peak},
          {"pct_read", s.pct_read}};
}

void AddGemm(const BenchKernelsOptions& options, const GemmKernel& kernel, const GemmSpeedCase& c,
             std::vector<KernelBench>& out) {
  for (const int64_t rows : options.rows) {
    const auto run = [&kernel, c, rows, rounds = options.rounds, mib = options.cold_mib]() -> Result<Json> {
      OCTAVO_ASSIGN_OR_RETURN(GemmSpeed speed,
                              GemmSpeed::Create(kernel, c, rows, static_cast<size_t>(mib) << 20));
      return Measure(speed, rounds);
    };
    out.push_back({fmt::format("gemm/{}/{}", c.scheme, kernel.name),
                   fmt::format("m {} n {} k {}", rows, c.weight.n, c.weight.k), run});
  }
}

void AddOneDnn(const BenchKernelsOptions& options, const WeightShape& shape, IsaLevel isa,
               std::vector<KernelBench>& out) {
  if (!HasOneDnn()) return;
  for (const auto& [type, name] : {std::pair(OneDnnType::kBf16, "gemm/bf16/onednn"),
                                   std::pair(OneDnnType::kInt8, "gemm/w8a8/onednn")}) {
    for (const int64_t rows : options.rows) {
      const auto run = [type = type, rows, shape, isa, rounds = options.rounds,
                        mib = options.cold_mib]() -> Result<Json> {
        OCTAVO_ASSIGN_OR_RETURN(
            OneDnnSpeed speed,
            OneDnnSpeed::Create(type, rows, shape.n, shape.k, static_cast<size_t>(mib) << 20, isa));
        return Measure(speed, rounds);
      };
      out.push_back({name, fmt::format("m {} n {} k {}", rows, shape.n, shape.k), run});
    }
  }
}

void AddAttention(const BenchKernelsOptions& options, const AttentionKernel& kernel, KvDType dtype,
                  std::vector<KernelBench>& out) {
  const std::string name =
      fmt::format("attention/{}/{}", kKvTypeNames[static_cast<size_t>(dtype)], kernel.name);
  for (const AttentionShape& shape : kAttentionShapes) {
    for (const bool decode : {true, false}) {
      const auto run = [isa = kernel.isa, dtype, shape, decode, rounds = options.rounds,
                        mib = options.cold_mib]() -> Result<Json> {
        const int64_t context = decode ? kDecodeContext : kPrefillTokens;
        OCTAVO_ASSIGN_OR_RETURN(
            AttentionSpeed speed,
            AttentionSpeed::Create(isa, dtype, shape, context, decode ? 1 : kPrefillTokens,
                                   decode ? static_cast<size_t>(mib) << 20 : 1));
        return Measure(speed, rounds);
      };
      out.push_back({name,
                     fmt::format("{} heads {} kv {} dim, {} {}", shape.num_heads, shape.num_kv_heads,
                                 shape.head_dim, decode ? "decode at" : "prefill of",
                                 decode ? kDecodeContext : kPrefillTokens),
                     run});
    }
  }
}

}  // namespace

Result<std::vector<KernelBench>> PlanKernelBenches(const BenchKernelsOptions& options, IsaLevel isa) {
  std::vector<KernelBench> all;
  for (const std::string& text : options.shapes) {
    OCTAVO_ASSIGN_OR_RETURN(const WeightShape shape, ParseShape(text));
    for (const GemmSpeedCase& c : GemmSpeedCases(shape.n, shape.k)) {
      for (const GemmKernel* kernel : AllGemmKernels()) {
        const bool wanted = options.all_levels
                                ? kernel->isa <= isa && kernel->isa != IsaLevel::kReference &&
                                      kernel->accepts(c.weight, c.format)
                                : kernel == FindGemmKernel(c.weight, c.format, isa);
        if (wanted) AddGemm(options, *kernel, c, all);
      }
    }
    AddOneDnn(options, shape, isa, all);
  }
  for (int level = 0; level <= static_cast<int>(isa); ++level) {
    const AttentionKernel& kernel = FindAttentionKernel(static_cast<IsaLevel>(level));
    const bool wanted = options.all_levels
                            ? kernel.isa == static_cast<IsaLevel>(level) && kernel.isa != IsaLevel::kReference
                            : level == static_cast<int>(isa);
    if (!wanted) continue;
    for (size_t type = 0; type < std::size(kKvTypeNames); ++type) {
      AddAttention(options, kernel, static_cast<KvDType>(type), all);
    }
  }
  std::erase_if(all, [&](const KernelBench& b) { return b.name.find(options.filter) == std::string::npos; });
  if (all.empty()) {
    return InvalidArgument(fmt::format("no kernel's name holds '{}'; `octavo list kernels` shows them",
                                       options.filter));
  }
  return all;
}

std::string KernelTable(const Json& report) {
  const Json& m = report["machine"];
  std::string text = fmt::format(
      "{}, one thread, {}; measured limits: int8 {:.0f} GOPS, bf16 {:.0f} GFLOPS, f32 {:.0f} GFLOPS, "
      "read {:.1f} GB/s\n\n"
      "| kernel | shape | us | GOP/s | GB/s | % of peak | % of read |\n"
      "|---|---|---:|---:|---:|---:|---:|\n",
      m["cpu"].get<std::string>(), m["isa"].get<std::string>(), m["int8_gops"].get<double>(),
      m["bf16_gflops"].get<double>(), m["f32_gflops"].get<double>(), m["dram_gb_s"].get<double>());
  for (const Json& r : report["results"]) {
    const double read = r["pct_read"].get<double>();
    text += fmt::format("| {} | {} | {:.1f} | {:.0f} | {:.1f} | {:.0f} | {} |\n", r["kernel"].get<std::string>(),
                        r["shape"].get<std::string>(), r["us"].get<double>(), r["gop_s"].get<double>(),
                        r["gb_s"].get<double>(), r["pct_peak"].get<double>(),
                        read > 0 ? fmt::format("{:.0f}", read) : "-");
  }
  return text + fmt::format("\nBeside them: {}\n", m["onednn"].get<std::string>());
}

}  // namespace octavo
