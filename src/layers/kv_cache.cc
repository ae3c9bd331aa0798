// SPDX-License-Identifier: Apache-2.0
// Grouping of layers and address arithmetic of the KV pool.
#include "layers/kv_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace octavo {

std::vector<KvGroup> MakeKvGroups(const std::vector<KvLayerSpec>& layers, KvDType dtype,
                                  int block_size) {
  std::vector<KvGroup> groups;
  for (size_t i = 0; i < layers.size(); ++i) {
    const KvLayerSpec& layer = layers[i];
    const auto same = [&](const KvGroup& g) {
      return g.window == layer.window && g.layout.num_kv_heads == layer.num_kv_heads &&
             g.layout.head_dim == layer.head_dim;
    };
    auto it = std::find_if(groups.begin(), groups.end(), same);
    if (it == groups.end()) {
      const KvLayout layout{.dtype = dtype,
                            .num_kv_heads = layer.num_kv_heads,
                            .head_dim = layer.head_dim,
                            .block_size = block_size};
      groups.push_back({.layers = {}, .window = layer.window, .layout = layout});
      it = groups.end() - 1;
    }
    it->layers.push_back(static_cast<int>(i));
  }
  return groups;
}

size_t KvPoolPageBytes(const std::vector<KvGroup>& groups) {
  size_t bytes = 0;
  for (const KvGroup& group : groups) {
    bytes = std::max(bytes, group.layers.size() * group.layout.page_bytes());
  }
  return bytes;
}

Result<KvCache> KvCache::Create(const std::vector<KvLayerSpec>& layers, KvDType dtype,
                                int block_size, int64_t num_blocks) {
  if (block_size <= 0 || block_size % 16 != 0) {
    return InvalidArgument(
        fmt::format("KV block size is {}, want a positive multiple of 16", block_size));
  }
  if (num_blocks <= 0) return InvalidArgument("the KV cache needs at least one block");
  KvCache cache;
  cache.groups_ = MakeKvGroups(layers, dtype, block_size);
  cache.block_size_ = block_size;
  cache.num_blocks_ = num_blocks;
  cache.page_bytes_ = KvPoolPageBytes(cache.groups_);
  cache.slots_.resize(layers.size());
  const bool scaled = dtype == KvDType::kFp8E4M3;
  for (size_t g = 0; g < cache.groups_.size(); ++g) {
    size_t offset = 0;
    for (const int layer : cache.groups_[g].layers) {
      const KvLayerSpec& spec = layers[static_cast<size_t>(layer)];
      cache.slots_[static_cast<size_t>(layer)] = {.group = static_cast<int>(g),
                                                  .offset = offset,
                                                  .k_scale = scaled ? spec.k_scale : 1.0f,
                                                  .v_scale = scaled ? spec.v_scale : 1.0f};
      offset += cache.groups_[g].layout.page_bytes();
    }
  }
  size_t bytes = 0;
  if (__builtin_mul_overflow(cache.page_bytes_, static_cast<size_t>(num_blocks), &bytes)) {
    return ResourceExhausted(fmt::format("a KV cache of {} blocks overflows", num_blocks));
  }
  OCTAVO_ASSIGN_OR_RETURN(cache.pool_, HugeBuffer::Allocate(bytes));
  return cache;
}

KvPages KvCache::PagesOf(int layer) const {
  const Slot& slot = slots_[static_cast<size_t>(layer)];
  return {.base = pool_.data() + slot.offset,
          .block_stride = page_bytes_,
          .k_scale = slot.k_scale,
          .v_scale = slot.v_scale};
}

void KvCache::CopyBlock(int32_t from, int32_t to) {
  std::memcpy(pool_.data() + static_cast<size_t>(to) * page_bytes_,
              pool_.data() + static_cast<size_t>(from) * page_bytes_, page_bytes_);
}

}  // namespace octavo
