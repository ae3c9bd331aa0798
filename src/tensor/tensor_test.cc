// SPDX-License-Identifier: Apache-2.0
// Shapes, views and owners: products, bounds, rows and typed access.
#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

namespace octavo {
namespace {

TEST(ShapeTest, ProductsAndMatrixForm) {
  EXPECT_EQ(Shape{}.NumElements(), 1);
  EXPECT_EQ((Shape{2, 3, 4}).NumElements(), 24);
  EXPECT_EQ((Shape{2, 3, 4}).rows(), 6);
  EXPECT_EQ((Shape{2, 3, 4}).cols(), 4);
  EXPECT_EQ((Shape{7}).rows(), 7);
  EXPECT_EQ((Shape{7}).cols(), 1);
  EXPECT_EQ(Shape{}.rows(), 1);
  EXPECT_EQ((Shape{5, 0}).NumElements(), 0);
  EXPECT_EQ((Shape{32000, 2048}).ToString(), "[32000, 2048]");
  EXPECT_EQ(Shape{}.ToString(), "[]");
  EXPECT_FALSE((Shape{2, 3}) == (Shape{2, 3, 1}));
}

TEST(ShapeTest, RefusesOverflowEvenBesideZero) {
  const uint64_t huge = uint64_t{1} << 40;
  EXPECT_FALSE(Shape::FromDims(std::vector<uint64_t>{huge, huge}).ok());
  EXPECT_FALSE(Shape::FromDims(std::vector<uint64_t>{huge, huge, 0}).ok());
  EXPECT_FALSE(Shape::FromDims(std::vector<uint64_t>{UINT64_MAX}).ok());
  EXPECT_FALSE(Shape::FromDims(std::vector<uint64_t>(7, 1)).ok());
  EXPECT_TRUE(Shape::FromDims(std::vector<uint64_t>{huge, 0}).ok());
  EXPECT_EQ((Shape{int64_t{1} << 40, int64_t{1} << 40}).CheckedNumElements(), std::nullopt);
}

TEST(TensorTest, OwnsAlignedMemoryAndGivesRows) {
  auto result = Tensor::Zeros(DType::kF32, Shape{3, 5});
  ASSERT_TRUE(result.ok());
  Tensor& tensor = *result;
  EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.data()) % 64, 0u);
  EXPECT_EQ(tensor.SizeBytes(), 60u);
  tensor.As<float>()[7] = 2.5f;
  const TensorView row = tensor.view().Row(1);
  EXPECT_EQ(row.As<float>()[2], 2.5f);
  EXPECT_EQ(row.NumElements(), 5);
}

TEST(TensorTest, RefusesWhatDoesNotFit) {
  EXPECT_EQ(Tensor::Allocate(DType::kF4, Shape{3}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Tensor::Allocate(DType::kF64, Shape{int64_t{1} << 61}).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_TRUE(Tensor::Allocate(DType::kF4, Shape{4}).ok());
  EXPECT_TRUE(Tensor::Allocate(DType::kF32, Shape{0, 4}).ok());
}

TEST(TensorDeathTest, TypedAccessChecksTheType) {
  auto tensor = Tensor::Zeros(DType::kF32, Shape{4});
  ASSERT_TRUE(tensor.ok());
  EXPECT_DEATH((void)tensor->As<double>(), "IsStorageOf");
}

}  // namespace
}  // namespace octavo
