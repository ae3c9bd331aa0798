// SPDX-License-Identifier: Apache-2.0
// From token updates to what callers see: detokenizes, finds stop strings, adds texts to
// log-probabilities, counts, and makes the outputs. Lives on the output thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/model_text.h"
#include "engine/sequence.h"
#include "engine/step_report.h"
#include "engine/stop_matcher.h"
#include "octavo/engine.h"
#include "tokenizer/detokenizer.h"

namespace octavo {

// A choice whose text hit a stop string; the step thread need not go on with it.
struct StoppedChoice {
  RequestId request_id = 0;
  int32_t index = 0;
};

// A request that got its last output.
struct FinishedRequest {
  RequestId id = 0;
  FinishReason reason = FinishReason::kStop;  // of its first choice
  Usage usage;
  RequestTimings timings;
};

class OutputProcessor {
 public:
  explicit OutputProcessor(const ModelText& text) : text_(text) {}

  // Before the first update of the request.
  void Register(std::shared_ptr<const EngineRequest> request, OutputCallback callback,
                SteadyTime submitted);

  // Turns one step's updates into outputs, and says what others have to know.
  struct News {
    std::vector<StoppedChoice> stopped;
    std::vector<FinishedRequest> finished;
    std::vector<double> gaps_s;  // between two deliveries of tokens of one choice
    // Callbacks to run, in this order.
    std::vector<std::pair<OutputCallback, RequestOutput>> deliveries;
  };
  void Process(StepReport& report, News& news);

 private:
  struct ChoiceStream {
    std::unique_ptr<StreamingDetokenizer> detokenizer;  // null: no text wanted
    std::string prompt_rest;  // prompt text the detokenizer still holds; not to be shown
    StopMatcher stops;
    int64_t num_tokens = 0;
    double cumulative_logprob = 0;
    std::optional<FinishReason> finish_reason;
    std::optional<SteadyTime> last_token;
  };
  struct Stream {
    std::shared_ptr<const EngineRequest> request;
    OutputCallback callback;
    std::vector<ChoiceStream> choices;
    size_t num_open = 0;
    Usage usage;
    RequestTimings timings;
    SteadyTime submitted;
    SteadyTime scheduled;
    std::optional<SteadyTime> first_token;
    SteadyTime last_token;
    Status status;
    RequestOutput output;  // being filled in this step
    bool touched = false;
  };

  ChoiceStream MakeChoice(const EngineRequest& request) const;
  void StartText(const EngineRequest& request, ChoiceStream& choice) const;
  void AddPrompt(Stream& stream, PromptUpdate& update, SteadyTime begin);
  void AddChoice(Stream& stream, ChoiceUpdate& update, SteadyTime now, News& news);
  bool AddToken(Stream& stream, ChoiceStream& choice, ChoiceUpdate& update, size_t i,
                CompletionDelta& delta);
  PositionLogprobs WithTexts(const PositionScores& scores) const;
  void Deliver(Stream& stream, SteadyTime now, News& news);

  const ModelText& text_;
  std::unordered_map<RequestId, Stream> streams_;
};

}  // namespace octavo
