// SPDX-License-Identifier: Apache-2.0
// `octavo chat`: a conversation in the terminal.
#include <errno.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "base/json.h"
#include "cli/command.h"
#include "cli/generation.h"

namespace octavo {
namespace {

struct ChatOptions {
  GenerationOptions generation{.max_tokens = 1024, .temperature = 0.6};
  std::string system;
};

constexpr const char* kHelp =
    "/reset forgets the conversation, /exit (or Ctrl-D) leaves, Ctrl-C stops an answer.\n";

// Lines from standard input. Reads the descriptor itself, so that Ctrl-C interrupts the waiting.
class LineReader {
 public:
  enum class Event { kLine, kInterrupted, kEnd };

  Event Next(std::string& line) {
    while (true) {
      if (const size_t end = buffer_.find('\n'); end != buffer_.npos) {
        line = buffer_.substr(0, end);
        buffer_.erase(0, end + 1);
        return Event::kLine;
      }
      std::array<char, 4096> chunk;
      const ssize_t count = read(STDIN_FILENO, chunk.data(), chunk.size());
      if (count > 0) {
        buffer_.append(chunk.data(), static_cast<size_t>(count));
        continue;
      }
      if (count < 0 && errno == EINTR) {
        buffer_.clear();
        return Event::kInterrupted;
      }
      line = std::exchange(buffer_, "");  // a last line without line break
      return line.empty() ? Event::kEnd : Event::kLine;
    }
  }

 private:
  std::string buffer_;
};

class Conversation {
 public:
  Conversation(LlmEngine& engine, const ChatOptions& options) : engine_(engine), options_(options) {
    Reset();
  }

  void Reset() {
    messages_ = Json::array();
    if (!options_.system.empty()) Say("system", options_.system);
  }

  // Prints the model's answer to `text` as it comes. On an error the conversation is as before.
  Status Ask(const std::string& text, InterruptScope& interrupt) {
    Say("user", text);
    auto answer = Complete(interrupt);
    if (!answer.ok()) {
      messages_.erase(messages_.size() - 1);
      return std::move(answer).status();
    }
    Say("assistant", answer->text);
    const bool stopped = answer->finish_reason == FinishReason::kAbort;
    fmt::print("{}\n", stopped ? " [stopped]" : "");
    interrupt.Reset();
    return Status::Ok();
  }

 private:
  void Say(const char* role, const std::string& text) {
    messages_.push_back({{"role", role}, {"content", text}});
  }

  Result<Answer> Complete(const InterruptScope& interrupt) {
    ChatRequest chat;
    chat.messages_json = DumpJson(messages_);
    GenerationRequest request;
    OCTAVO_ASSIGN_OR_RETURN(request.prompt, engine_.RenderChat(chat));
    request.add_special_tokens = false;  // the template has written them
    request.params = MakeSamplingParams(options_.generation);
    return RunRequest(engine_, std::move(request), interrupt, [](std::string_view text) {
      fmt::print("{}", text);
      std::fflush(stdout);
    });
  }

  LlmEngine& engine_;
  const ChatOptions& options_;
  Json messages_;
};

void PrintPrompt(bool terminal) {
  if (terminal) fmt::print(stderr, "\n> ");
}

Status RunChat(const ChatOptions& options) {
  OCTAVO_ASSIGN_OR_RETURN(const auto engine, CreateEngine(options.generation));
  if (!engine->model_info().has_chat_template) {
    return FailedPrecondition(options.generation.model.model +
                              ": the model has no chat template; use octavo generate");
  }
  const bool terminal = isatty(STDIN_FILENO) == 1;
  if (terminal) fmt::print(stderr, "{}", kHelp);
  Conversation conversation(*engine, options);
  InterruptScope interrupt;
  LineReader reader;
  std::string line;
  while (true) {
    PrintPrompt(terminal);
    const LineReader::Event event = reader.Next(line);
    if (event == LineReader::Event::kEnd) return Status::Ok();
    if (event == LineReader::Event::kInterrupted) {
      // The flag stays set: the next Ctrl-C ends the program.
      fmt::print(stderr, "\nCtrl-C again or /exit leaves.");
      continue;
    }
    interrupt.Reset();
    if (line == "/exit") return Status::Ok();
    if (line == "/help") {
      fmt::print(stderr, "{}", kHelp);
    } else if (line == "/reset") {
      conversation.Reset();
      fmt::print(stderr, "The conversation is forgotten.\n");
    } else if (!line.empty()) {
      const Status status = conversation.Ask(line, interrupt);
      if (!status.ok() && !terminal) return status;
      if (!status.ok()) fmt::print(stderr, "octavo: error: {}\n", status.message());
    }
  }
}

CommandAction Configure(CLI::App& app) {
  auto options = std::make_shared<ChatOptions>();
  AddGenerationOptions(app, options->generation);
  app.add_option("--system", options->system, "System message")->type_name("TEXT");
  return [options] { return RunChat(*options); };
}

}  // namespace

extern const Command kCommand_chat_command = {
    "chat", CommandGroup::kRun, "Talk with a model in the terminal", &Configure};

}  // namespace octavo
