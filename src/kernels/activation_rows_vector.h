// SPDX-License-Identifier: Apache-2.0
// The row encoders over 16 f32 lanes, for the translation units that define `V` (one per ISA level).
// What is faster than the reference: two passes over a row in L1, the first an integer maximum of the
// magnitude bits, the second scale, round, narrow and sum in registers.
//
// Include inside an anonymous namespace after defining
//   struct V { using F = ...; using I = ...; Load LoadFirst Store Zero ZeroI MaxBits ReduceMaxBits Set
//              Mul Div Add Clamp ToInt AddI StoreInt8 StoreBf16 LoadBf16 RoundE4M3 FoldSum ReduceSum };

// Lanes beyond the row come as zeros, so every loop runs in whole vectors.
inline V::F LoadAt(const float* x, int64_t i, int64_t cols) {
  return i + 16 <= cols ? V::Load(x + i) : V::LoadFirst(x + i, cols - i);
}

inline float AbsMax(const float* x, int64_t count) {
  V::I bits = V::ZeroI();
  for (int64_t i = 0; i < count; i += 16) bits = V::MaxBits(bits, LoadAt(x, i, count));
  return V::ReduceMaxBits(bits);
}

inline bool IsFinite(float amax) { return amax <= 3.40282347e+38f; }

// `value(i, count)` loads up to 16 encoded values as f32.
template <typename Value>
inline void SumGroupsF32(const ActivationRow& r, const Value& value) {
  if (r.sum_group == 0) return;
  for (int64_t begin = 0, g = 0; begin < r.cols; begin += r.sum_group, ++g) {
    const int64_t end = begin + r.sum_group < r.cols ? begin + r.sum_group : r.cols;
    V::F sum = V::Zero();
    for (int64_t i = begin; i < end; i += 16) sum = V::Add(sum, value(i, end - i));
    r.group_sums_f32[g] = V::FoldSum(sum);
  }
}

inline void SumGroupsBf16(const ActivationRow& r) {
  const auto* q = static_cast<const uint16_t*>(r.out);
  SumGroupsF32(r, [q](int64_t i, int64_t count) {
    return count >= 16 ? V::LoadBf16(q + i) : V::LoadFirstBf16(q + i, count);
  });
}

inline void EncodeF32(const ActivationRow& r) {
  auto* out = static_cast<float*>(r.out);
  for (int64_t i = 0; i < r.cols; i += 16) V::Store(out + i, LoadAt(r.x, i, r.cols));
  SumGroupsF32(r, [out](int64_t i, int64_t count) {
    return count >= 16 ? V::Load(out + i) : V::LoadFirst(out + i, count);
  });
}

inline void EncodeBf16(const ActivationRow& r) {
  auto* out = static_cast<uint16_t*>(r.out);
  for (int64_t i = 0; i < r.cols; i += 16) V::StoreBf16(out + i, LoadAt(r.x, i, r.cols));
  SumGroupsBf16(r);
}

// Rounds [begin, end) to int8 and returns the sum. Only a static scale can leave the range.
template <bool kClamp>
inline int32_t RoundInt8(const ActivationRow& r, int64_t begin, int64_t end, V::F inverse) {
  auto* out = static_cast<int8_t*>(r.out);
  V::I sum = V::ZeroI();
  for (int64_t i = begin; i < end; i += 16) {
    V::F scaled = V::Mul(LoadAt(r.x, i, r.cols), inverse);
    if constexpr (kClamp) scaled = V::Clamp(scaled, V::Set(127.0f));
    const V::I q = V::ToInt(scaled);
    V::StoreInt8(out + i, q);
    sum = V::AddI(sum, q);
  }
  return V::ReduceSum(sum);
}

inline void ZeroCodes(const ActivationRow& r, int64_t begin, int64_t end) {
  auto* out = static_cast<uint16_t*>(r.out);
  for (int64_t i = begin; i < end; i += 16) V::StoreBf16(out + i, V::Zero());
}

inline void EncodeInt8(const ActivationRow& r) {
  auto* out = static_cast<int8_t*>(r.out);
  float amax = AbsMax(r.x, r.cols);
  amax = amax > kInt8MinAmax ? amax : (amax != amax ? amax : kInt8MinAmax);
  const bool finite = IsFinite(amax);
  r.scales[0] = finite ? amax / 127.0f : __builtin_nanf("");
  const int64_t groups = r.sum_group == 0 ? 0 : (r.cols + r.sum_group - 1) / r.sum_group;
  if (!finite) {
    for (int64_t i = 0; i < r.cols; i += 16) V::StoreInt8(out + i, V::ZeroI());
    for (int64_t g = 0; g < groups; ++g) r.group_sums[g] = 0;
    r.row_sum[0] = 0;
    return;
  }
  V::F inverse = V::Set(127.0f / amax);
  auto round = &RoundInt8<false>;
  if (r.static_scale > 0) {
    r.scales[0] = r.static_scale;
    inverse = V::Set(1.0f / r.static_scale);
    round = &RoundInt8<true>;
  }
  if (r.sum_group == 0 || r.sum_group % 16 != 0) {
    r.row_sum[0] = round(r, 0, r.cols, inverse);
    for (int64_t g = 0; g < groups; ++g) r.group_sums[g] = 0;
    for (int64_t i = 0; i < (groups > 0 ? r.cols : 0); ++i) r.group_sums[i / r.sum_group] += out[i];
    return;
  }
  int32_t row_sum = 0;
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t begin = g * r.sum_group;
    const int64_t end = begin + r.sum_group < r.cols ? begin + r.sum_group : r.cols;
    r.group_sums[g] = round(r, begin, end, inverse);
    row_sum += r.group_sums[g];
  }
  r.row_sum[0] = row_sum;
}

inline void EncodeInt8Group32(const ActivationRow& r) {
  auto* out = static_cast<int8_t*>(r.out);
  const int64_t step = r.sum_group == 16 ? 16 : 32;
  for (int64_t begin = 0; begin < r.cols; begin += 32) {
    const int64_t end = begin + 32 < r.cols ? begin + 32 : r.cols;
    float amax = AbsMax(r.x + begin, end - begin);
    amax = amax > kInt8MinAmax ? amax : (amax != amax ? amax : kInt8MinAmax);
    const bool finite = IsFinite(amax);
    const float scale = finite ? amax / 127.0f : __builtin_nanf("");
    const V::F inverse = V::Set(127.0f / amax);
    r.scales[begin / 32] = scale;
    for (int64_t i = begin; i < end; i += step) {
      const int64_t stop = i + step < end ? i + step : end;
      int32_t sum = 0;
      if (finite) {
        sum = RoundInt8<false>(r, i, stop, inverse);
      } else {
        for (int64_t j = i; j < stop; j += 16) V::StoreInt8(out + j, V::ZeroI());
      }
      if (r.sum_group == 0) continue;
      r.group_sums[i / r.sum_group] = sum;
      r.group_sums_f32[i / r.sum_group] = static_cast<float>(sum) * scale;
    }
  }
}

inline void EncodeFp8(const ActivationRow& r) {
  auto* out = static_cast<uint16_t*>(r.out);
  const float amax = AbsMax(r.x, r.cols);
  const bool finite = IsFinite(amax);
  const float raw = amax / 448.0f;
  const float dynamic = raw > kFp8MinScale ? raw : kFp8MinScale;
  const float scale = r.static_scale > 0 ? r.static_scale : dynamic;
  r.scales[0] = finite ? scale : __builtin_nanf("");
  if (finite) {
    const V::F inverse = V::Set(1.0f / scale);
    for (int64_t i = 0; i < r.cols; i += 16) {
      V::StoreBf16(out + i, V::RoundE4M3(V::Mul(LoadAt(r.x, i, r.cols), inverse)));
    }
  } else {
    ZeroCodes(r, 0, r.cols);
  }
  SumGroupsBf16(r);
}

inline void EncodeFp8Group128(const ActivationRow& r) {
  auto* out = static_cast<uint16_t*>(r.out);
  for (int64_t begin = 0; begin < r.cols; begin += 128) {
    const int64_t end = begin + 128 < r.cols ? begin + 128 : r.cols;
    const float amax = AbsMax(r.x + begin, end - begin);
    const bool finite = IsFinite(amax);
    const float raw = amax / 448.0f;
    const float scale = raw > kFp8MinScale ? raw : kFp8MinScale;
    r.scales[begin / 128] = finite ? scale : __builtin_nanf("");
    if (!finite) {
      ZeroCodes(r, begin, end);
      continue;
    }
    const V::F divisor = V::Set(scale);
    for (int64_t i = begin; i < end; i += 16) {
      V::StoreBf16(out + i, V::RoundE4M3(V::Div(LoadAt(r.x, i, r.cols), divisor)));
    }
  }
  SumGroupsBf16(r);
}
