// SPDX-License-Identifier: Apache-2.0
// The registry of schemes: expands the list of files in scheme/.
#include "schemes/scheme.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace octavo {

#define OCTAVO_SCHEME(stem) extern const Scheme kScheme_##stem;
#include "scheme_list.inc"
#undef OCTAVO_SCHEME

namespace {

#define OCTAVO_SCHEME(stem) &kScheme_##stem,
constexpr std::array kSchemes = {
#include "scheme_list.inc"
};
#undef OCTAVO_SCHEME

template <typename Name>
std::string JoinNames(const Name& name) {
  std::string text;
  for (const Scheme* scheme : AllSchemes()) {
    if (name(*scheme).empty()) continue;
    text += fmt::format("{}{}", text.empty() ? "" : ", ", name(*scheme));
  }
  return text;
}

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool SameName(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, {}, Lower, Lower);
}

}  // namespace

std::span<const Scheme* const> AllSchemes() {
  static const auto sorted = [] {
    auto schemes = kSchemes;
    std::sort(schemes.begin(), schemes.end(),
              [](const Scheme* a, const Scheme* b) { return a->name < b->name; });
    return schemes;
  }();
  return sorted;
}

const Scheme* FindScheme(std::string_view name) {
  for (const Scheme* scheme : kSchemes) {
    if (SameName(scheme->name, name)) return scheme;
  }
  return nullptr;
}

const Scheme* FindOnlineScheme(std::string_view name) {
  for (const Scheme* scheme : kSchemes) {
    if (scheme->online_name.empty()) continue;
    if (SameName(scheme->online_name, name) || SameName(scheme->name, name)) return scheme;
  }
  return nullptr;
}

Result<const Scheme*> MatchScheme(const SchemeArgs& args) {
  for (const Scheme* scheme : kSchemes) {
    if (scheme->matches != nullptr && scheme->matches(args)) return scheme;
  }
  return Unimplemented(fmt::format("no scheme for {}", Describe(args)));
}

std::string WritableSchemeNames() {
  return JoinNames([](const Scheme& s) { return s.writable() ? s.name : std::string_view(); });
}

std::string OnlineSchemeNames() {
  return JoinNames([](const Scheme& s) { return s.online_name; });
}

std::string OutlierNote(const SchemeArgs& args) {
  if (args.outlier_threshold == 0) return "";
  return fmt::format("activations from {:g} on in 16 bit, chosen per token and not per batch",
                     args.outlier_threshold);
}

Result<ActivationChoice> ChooseActivation(const SchemeArgs& args) {
  ActivationChoice choice;
  if (!args.input) return choice;
  const QuantArgs& input = *args.input;
  if (args.weights.type == QuantType::kFloat && args.weights.num_bits == 4) {
    choice.note = "4-bit weights run as bf16, with 16-bit activations";
    return choice;
  }
  if (input.num_bits != 8) {
    return Unimplemented(fmt::format("{} activations", Describe(input)));
  }
  choice.format = input.type == QuantType::kInt ? ActivationFormat::kInt8 : ActivationFormat::kFp8;
  if (input.strategy == Strategy::kGroup) {
    if (input.type == QuantType::kInt || input.group_size != 128) {
      return Unimplemented(fmt::format("{} activations", Describe(input)));
    }
    choice.format = ActivationFormat::kFp8Group128;
  } else if (!input.dynamic) {
    choice.static_scale = input.symmetric && input.strategy == Strategy::kTensor;
  } else if (input.strategy == Strategy::kTensor) {
    choice.note = "dynamic per-tensor activations: run per token, independent of the batch";
  }
  choice.note += OutlierNote(args);
  if (!input.symmetric) {
    choice.note += choice.note.empty() ? "" : "; ";
    choice.note += "asymmetric activations: run symmetric with a scale per token";
  }
  return choice;
}

}  // namespace octavo
