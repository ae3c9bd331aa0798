// SPDX-License-Identifier: Apache-2.0
// Memory of the paged KV cache: groups of layers over one pool of equal pages.
//
// A page holds one block of tokens for every layer of one group:
//
//   pool: [page 0][page 1]...          page: [layer 0 of the group][layer 1]...   (KvLayout per layer)
//
// Layers with the same window, types and head shape form a group; each group has a block table of its
// own per sequence, so a sliding-window group can free what left its window. Who owns which page is
// the block manager's business (engine/); this class only knows addresses.
#pragma once

#include <cstdint>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/attention/attention.h"
#include "octavo/status.h"

namespace octavo {

// What one layer's attention needs from the cache; a model lists one per layer.
struct KvLayerSpec {
  int num_kv_heads = 0;
  int head_dim = 0;
  int64_t window = 0;  // 0: full attention
  float k_scale = 1.0f;  // E4M3 only: value ~= stored * scale
  float v_scale = 1.0f;
};

struct KvGroup {
  std::vector<int> layers;
  int64_t window = 0;
  KvLayout layout;
};

// Groups layers by (window, head shape), in order of first appearance.
std::vector<KvGroup> MakeKvGroups(const std::vector<KvLayerSpec>& layers, KvDType dtype,
                                  int block_size);

// Bytes of one page of the pool: the largest group's.
size_t KvPoolPageBytes(const std::vector<KvGroup>& groups);

class KvCache {
 public:
  // Reserves `num_blocks` pages (memory is touched on first use). ResourceExhausted when the machine
  // refuses.
  static Result<KvCache> Create(const std::vector<KvLayerSpec>& layers, KvDType dtype,
                                int block_size, int64_t num_blocks);

  const std::vector<KvGroup>& groups() const { return groups_; }
  int64_t num_blocks() const { return num_blocks_; }
  int block_size() const { return block_size_; }
  size_t bytes() const { return pool_.size(); }

  // Group of a layer, and where its pages are.
  int GroupOf(int layer) const { return slots_[static_cast<size_t>(layer)].group; }
  const KvLayout& LayoutOf(int layer) const {
    return groups_[static_cast<size_t>(GroupOf(layer))].layout;
  }
  KvPages PagesOf(int layer) const;

  // Copies one page to another (copy-on-write).
  void CopyBlock(int32_t from, int32_t to);

 private:
  struct Slot {
    int group = 0;
    size_t offset = 0;  // of the layer inside a page
    float k_scale = 1.0f;
    float v_scale = 1.0f;
  };
  std::vector<KvGroup> groups_;
  std::vector<Slot> slots_;  // per layer
  int block_size_ = 0;
  int64_t num_blocks_ = 0;
  size_t page_bytes_ = 0;
  mutable HugeBuffer pool_;
};

}  // namespace octavo
