// SPDX-License-Identifier: Apache-2.0
// Timing oneDNN's matmul with weights that it has packed itself.
#include "kernels/onednn_speed.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "kernels/roofline.h"

#ifdef OCTAVO_HAVE_ONEDNN
#include <dnnl.hpp>

// Of the OpenMP that oneDNN was built with, if it was.
extern "C" [[gnu::weak]] void omp_set_num_threads(int);
#endif

namespace octavo {

#ifdef OCTAVO_HAVE_ONEDNN

namespace {

constexpr double kBurstSeconds = 0.04;
using Memory = dnnl::memory;

PeakLoop PeakFor(OneDnnType type, IsaLevel isa) {
  const bool amx = isa >= IsaLevel::kAmx;
  if (type == OneDnnType::kInt8) return amx ? PeakLoop::kAmxInt8 : PeakLoop::kInt8;
  if (amx) return PeakLoop::kAmxBf16;
  return isa >= IsaLevel::kAvx512Bf16 ? PeakLoop::kBf16 : PeakLoop::kF32;
}

dnnl::matmul::primitive_desc Describe(const dnnl::engine& engine, const Memory::desc& src,
                                      const Memory::desc& weights, const Memory::desc& dst) {
#if DNNL_VERSION_MAJOR >= 3
  return {engine, src, weights, dst};
#else
  return {dnnl::matmul::desc(src, weights, dst), engine};
#endif
}

// Bytes of any value do: neither type has slow ones among these.
void Fill(const Memory& memory, unsigned char byte) {
  std::fill_n(static_cast<unsigned char*>(memory.get_data_handle()), memory.get_desc().get_size(), byte);
}

}  // namespace

struct OneDnnSpeed::Impl {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  dnnl::matmul product;
  Memory src, dst;
  std::vector<Memory> weights;
  PeakLoop peak = PeakLoop::kF32;
  int64_t peak_iterations = 0;
  double operations = 0, weight_bytes = 0;
  size_t calls = 0;

  void Multiply() {
    product.execute(stream, {{DNNL_ARG_SRC, src}, {DNNL_ARG_WEIGHTS, weights[calls++ % weights.size()]},
                             {DNNL_ARG_DST, dst}});
    stream.wait();
  }
};

std::string OneDnnVersion() {
  const dnnl_version_t* v = dnnl_version();
  return fmt::format("oneDNN {}.{}.{}", v->major, v->minor, v->patch);
}

bool HasOneDnn() { return true; }

Result<OneDnnSpeed> OneDnnSpeed::Create(OneDnnType type, int64_t rows, int64_t n, int64_t k, size_t cold_bytes,
                                        IsaLevel isa) {
  if (omp_set_num_threads != nullptr) omp_set_num_threads(1);
  try {
    auto impl = std::make_unique<Impl>();
    const auto dtype = type == OneDnnType::kInt8 ? Memory::data_type::s8 : Memory::data_type::bf16;
    using Tag = Memory::format_tag;
    const auto any = Memory::desc({k, n}, dtype, Tag::any);
    const auto pd = Describe(impl->engine, {{rows, k}, dtype, Tag::ab}, any,
                             {{rows, n}, Memory::data_type::f32, Tag::ab});
    impl->product = dnnl::matmul(pd);
    impl->src = Memory(pd.src_desc(), impl->engine);
    impl->dst = Memory(pd.dst_desc(), impl->engine);
    Fill(impl->src, 0x3c);
    const size_t bytes = pd.weights_desc().get_size();
    const size_t copies = rows > 64 ? 4 : std::max<size_t>(1, cold_bytes / std::max<size_t>(bytes, 1));
    for (size_t i = 0; i < copies; ++i) {
      impl->weights.emplace_back(pd.weights_desc(), impl->engine);
      Fill(impl->weights.back(), 0x3c);
    }
    impl->peak = PeakFor(type, isa);
    impl->operations = 2.0 * static_cast<double>(rows * n * k);
    impl->weight_bytes = static_cast<double>(bytes);
    constexpr int64_t kProbe = 20000;
    const double probe = ThreadSeconds([&] { RunPeakLoop(impl->peak, kProbe); });
    impl->peak_iterations = static_cast<int64_t>(static_cast<double>(kProbe) * kBurstSeconds / probe) + 1;
    impl->Multiply();
    return OneDnnSpeed(std::move(impl));
  } catch (const dnnl::error& e) {
    return Internal(fmt::format("oneDNN: [{}, {}] x {} rows: {}", n, k, rows, e.what()));
  }
}

SpeedRound OneDnnSpeed::Round() {
  SpeedRound round;
  round.operations = impl_->operations;
  round.bytes = impl_->weight_bytes;
  double operations = 0;
  const double peak = ThreadSeconds([&] { operations = RunPeakLoop(impl_->peak, impl_->peak_iterations); });
  round.peak_rate = operations / peak;
  int64_t calls = 0;
  double seconds = 0;
  for (; seconds < kBurstSeconds; ++calls) seconds += ThreadSeconds([&] { impl_->Multiply(); });
  round.seconds = seconds / static_cast<double>(calls);
  return round;
}

#else

struct OneDnnSpeed::Impl {};

std::string OneDnnVersion() {
  return "oneDNN: not in this build (configure with -DOCTAVO_ONEDNN=ON; Debian's libdnnl-dev has it)";
}

bool HasOneDnn() { return false; }

Result<OneDnnSpeed> OneDnnSpeed::Create(OneDnnType, int64_t, int64_t, int64_t, size_t, IsaLevel) {
  return Unimplemented(OneDnnVersion());
}

SpeedRound OneDnnSpeed::Round() { return {}; }

#endif

OneDnnSpeed::OneDnnSpeed(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
OneDnnSpeed::OneDnnSpeed(OneDnnSpeed&&) noexcept = default;
OneDnnSpeed::~OneDnnSpeed() = default;

}  // namespace octavo
