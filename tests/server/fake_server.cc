// SPDX-License-Identifier: Apache-2.0
// A whole server over FakeEngine, for end-to-end tests of HTTP, clients and the chat page that need
// no model: fake_server PORT [--key KEY] [--tick-us N] [--max-seqs N] [--queue N] [--load-ms N].
//
// A prompt that contains "SCRIPT:" is answered with what follows it (to the end of the line, with
// \n for line breaks); otherwise with a canned markdown text.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "server/serve.h"
#include "server/testing/fake_engine.h"

namespace {

std::atomic<bool> g_stop{false};
void OnSignal(int) { g_stop = true; }

constexpr const char* kCanned =
    "Here is a **short** answer with `code`, a list and a block:\n\n"
    "1. first *item*\n2. second item\n   - nested\n\n"
    "```python\ndef fib(n: int) -> int:\n    \"\"\"Fibonacci, the slow way.\"\"\"\n"
    "    return n if n < 2 else fib(n - 1) + fib(n - 2)  # <b>not bold</b>\n```\n\n"
    "| scheme | bits |\n|---|---:|\n| FP8 | 8 |\n| W4A16 | 4.25 |\n\n"
    "> Quoted, with a [link](https://example.org) and <script>alert(1)</script> as text.\n";

std::string Script(const octavo::GenerationRequest& request) {
  std::string prompt = request.prompt;
  const size_t last_user = prompt.rfind("user:");
  const size_t at = prompt.find("SCRIPT:", last_user == std::string::npos ? 0 : last_user);
  if (at == std::string::npos) return kCanned;
  std::string text = prompt.substr(at + 7, prompt.find('\n', at) - at - 7);
  for (size_t i = 0; (i = text.find("\\n", i)) != std::string::npos;) text.replace(i, 2, "\n");
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace octavo;
  using namespace octavo::server;
  ServeOptions options;
  FakeEngine::Options fake;
  long load_ms = 0;
  options.http.port = static_cast<uint16_t>(argc > 1 ? std::atoi(argv[1]) : 0);
  options.api.version = "test";
  options.api.served_model_names = {"fake"};
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const long number = std::atol(argv[i + 1]);
    if (name == "--key") options.api.access.api_keys = {argv[i + 1]};
    if (name == "--tick-us") fake.tick = std::chrono::microseconds(number);
    if (name == "--max-seqs") fake.max_num_seqs = static_cast<size_t>(number);
    if (name == "--queue") fake.max_num_queued_reqs = static_cast<size_t>(number);
    if (name == "--load-ms") load_ms = number;
    if (name == "--header-ms") options.http.header_timeout = std::chrono::milliseconds(number);
    if (name == "--write-ms") options.http.write_timeout = std::chrono::milliseconds(number);
    if (name == "--connections") options.http.max_connections = static_cast<size_t>(number);
    if (name == "--cert") options.http.ssl_certfile = argv[i + 1];
    if (name == "--certkey") options.http.ssl_keyfile = argv[i + 1];
    if (name == "--uds") options.http.unix_socket = argv[i + 1];
  }
  fake.script = &Script;
  options.shutdown_timeout_s = 3;
  ServeHooks hooks;
  hooks.load_engine = [&](ServeHooks::Progress progress) -> Result<std::unique_ptr<LlmEngine>> {
    progress({"weights", 1, 2});
    std::this_thread::sleep_for(std::chrono::milliseconds(load_ms));
    return std::unique_ptr<LlmEngine>(std::make_unique<FakeEngine>(fake));
  };
  hooks.on_listening = [](const std::string& address) {
    std::printf("listening %s\n", address.c_str());
    std::fflush(stdout);
  };
  hooks.on_progress = [](const LoadProgress&) {};
  hooks.on_ready = [](const LlmEngine&) {
    std::printf("ready\n");
    std::fflush(stdout);
  };
  hooks.log = [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); };
  std::signal(SIGTERM, &OnSignal);
  std::signal(SIGINT, &OnSignal);
  const Status status = Serve(options, hooks, g_stop);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
