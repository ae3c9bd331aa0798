// The page's state and what happens on every action.

const $ = (id) => document.getElementById(id);
const app = { conversation: null, abort: null, streamingIndex: -1, status: null, layers: null, defaults: {}, follow: true };
const narrow = () => matchMedia("(max-width: 860px)").matches;
const panelFloats = () => matchMedia("(max-width: 1180px)").matches;

function toast(text, undoLabel, undo) {
  const node = $("toast");
  node.replaceChildren(text);
  if (undo) {
    const button = el("button", "", undoLabel);
    button.onclick = () => { undo(); node.hidden = true; };
    node.append(button);
  }
  node.hidden = false;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => { node.hidden = true; }, undo ? 6000 : 1800);
}

async function copyText(text) {
  try { await navigator.clipboard.writeText(text); } catch {
    // Plain http on another machine has no clipboard API.
    const area = el("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast("Copied");
}

// --- drawing ---

function drawConversations() {
  renderConversations($("conversations"), store.conversations, app.conversation && app.conversation.id, $("search").value);
}

function drawMessages() {
  const root = $("messages");
  const messages = app.conversation.messages;
  if (!messages.length) { root.replaceChildren(welcomeView($("model-name").textContent)); return; }
  root.replaceChildren(...messages.map((message, index) => {
    const node = el("article");
    renderMessage(node, message, index, index === app.streamingIndex);
    return node;
  }));
  document.title = (app.conversation.title || "New chat") + " \u00b7 Octavo";
}

function drawMessage(index) {
  const node = $("messages").children[index];
  if (node) renderMessage(node, app.conversation.messages[index], index, index === app.streamingIndex);
  if (app.follow) toBottom();
}

function drawComposer() {
  const input = $("input"), send = $("send");
  input.style.height = "auto";
  input.style.height = input.scrollHeight + "px";
  const busy = app.abort !== null;
  send.replaceChildren(icon(busy ? "stop" : "send"));
  send.classList.toggle("stop", busy);
  send.setAttribute("aria-label", busy ? "Stop" : "Send");
  const ready = app.status && app.status.state === "ready";
  send.disabled = !busy && (!input.value.trim() || !ready);
}

function toBottom() {
  const scroll = $("scroll");
  scroll.scrollTop = scroll.scrollHeight;
}

function drawDrawers() {
  const open = (narrow() && !document.body.classList.contains("no-sidebar")) ||
    (panelFloats() && !document.body.classList.contains("no-panel"));
  $("shade").hidden = !open;
}

function showTab(name) {
  for (const tab of ["settings", "live"]) {
    $(tab).hidden = tab !== name;
    $("tab-" + tab).setAttribute("aria-selected", String(tab === name));
  }
  keep("octavo.tab", name);
  if (name === "live") drawLive();
}

function drawSettings() {
  settingsView($("settings"), store.settings, app.defaults, (key, value) => {
    store.settings[key] = value;
    store.saveSettings();
  });
}

function drawLive() {
  if (app.status && !$("live").hidden && !document.body.classList.contains("no-panel")) liveView($("live"), app.status, app.layers);
}

function drawStatus() {
  const { status } = app;
  const banner = $("banner");
  const state = status ? status.state : "unreachable";
  const busy = status && status.stats && status.stats.num_running > 0;
  $("dot").className = "dot " + (state === "unreachable" ? "failed" : state === "ready" && busy ? "busy" : state);
  $("dot").title = state;
  banner.hidden = state === "ready";
  banner.className = state === "failed" || state === "unreachable" ? "bad" : "";
  if (state === "loading") {
    const { stage, done, total } = status.load;
    banner.replaceChildren("Loading the model" + (stage ? ": " + stage : "") + "...");
    if (total) banner.append(Object.assign(el("progress"), { max: total, value: done }));
  } else if (state === "failed") banner.replaceChildren(status.error || "The model could not be loaded.");
  else if (state === "draining") banner.replaceChildren("The server is shutting down.");
  else if (state === "unreachable") banner.replaceChildren("The server cannot be reached. Trying again...");
  if (status) {
    const named = $("model-name").textContent !== status.model_name;
    $("model-name").textContent = status.model_name;
    $("version").textContent = "Octavo " + status.version;
    if (named && app.conversation && !app.conversation.messages.length) drawMessages();
  }
  $("speed").textContent = busy && status.stats.generation_tok_s > 0 ? status.stats.generation_tok_s.toFixed(1) + " tok/s" : "";
  drawComposer();
}

// --- the server's state, once a second; slower in the background ---

async function poll() {
  try {
    const status = await getJson("octavo/status", AbortSignal.timeout(5000));
    const wasReady = app.status && app.status.state === "ready";
    app.status = status;
    if (status.stats) remember(status.stats);
    if (status.state === "ready" && !wasReady) {
      app.defaults = status.defaults || {};
      drawSettings();
      app.layers = (await getJson("octavo/layers")).layers;
    }
  } catch { app.status = null; }
  drawStatus();
  drawLive();
  setTimeout(poll, document.hidden ? 10000 : 1000);
}

// --- chatting ---

function openConversation(conversation) {
  stop();
  app.conversation = conversation;
  app.follow = true;
  keep("octavo.current", conversation.id);
  drawMessages();
  drawConversations();
  toBottom();
  if (narrow()) document.body.classList.add("no-sidebar");
  drawDrawers();
}

function stop() {
  if (app.abort) app.abort.abort();
}

function send(text) {
  const { conversation } = app;
  if (!text.trim() || app.abort) return;
  if (!conversation.messages.length) $("messages").replaceChildren();
  conversation.messages.push({ role: "user", text });
  if (!conversation.title) conversation.title = titleOf(text);
  conversation.messages.push({ role: "assistant", variants: [], variant: 0 });
  answer(conversation.messages.length - 1);
}

// Streams a new variant of the assistant message at `index`.
async function answer(index) {
  const { conversation } = app;
  const message = conversation.messages[index];
  const variant = { text: "", reasoning: "", error: "", meta: null, finish: "" };
  message.variant = message.variants.push(variant) - 1;
  const abort = app.abort = new AbortController();
  app.streamingIndex = index;
  app.follow = true;
  store.put(conversation);
  drawMessages();
  drawConversations();
  drawComposer();
  toBottom();
  const started = performance.now();
  let first = 0;
  let scheduled = false;
  let saved = started;
  try {
    const result = await streamChat(requestMessages(conversation, index), store.settings, abort.signal, (delta) => {
      if (!first) first = performance.now();
      variant.text += delta.content;
      variant.reasoning += delta.reasoning;
      if (performance.now() - saved > 2000) { saved = performance.now(); store.save(); }
      if (scheduled) return;
      scheduled = true;
      requestAnimationFrame(() => {
        scheduled = false;
        if (app.conversation === conversation && app.streamingIndex === index) drawMessage(index);
      });
    });
    variant.finish = result.finish;
    const tokens = result.usage ? result.usage.completion_tokens : 0;
    const span = (performance.now() - first) / 1000;
    if (first) variant.meta = { tokens, ttft_s: (first - started) / 1000, tok_s: tokens > 1 && span > 0 ? (tokens - 1) / span : 0 };
  } catch (error) {
    if (error.name === "AbortError") variant.finish = "stopped";
    else variant.error = error.message;
  }
  if (app.abort === abort) {
    app.abort = null;
    app.streamingIndex = -1;
  }
  store.put(conversation);
  if (app.conversation === conversation) drawMessage(index);
  drawConversations();
  drawComposer();
}

function regenerate(index) {
  if (app.abort) return;
  app.conversation.messages.length = index + 1;
  answer(index);
}

function editMessage(index) {
  if (app.abort) return;
  const node = $("messages").children[index];
  node.replaceChildren(editView(app.conversation.messages[index], index));
  const area = node.querySelector("textarea");
  area.style.height = Math.min(area.scrollHeight + 4, innerHeight / 2) + "px";
  area.focus();
}

function saveEdit(index) {
  const text = $("messages").children[index].querySelector("textarea").value;
  if (!text.trim()) return;
  app.conversation.messages.length = index;
  send(text);
}

function deleteConversation(id) {
  const removed = store.find(id);
  if (!removed) return;
  if (app.conversation.id === id) openConversation(store.create());
  store.remove(id);
  drawConversations();
  toast("Deleted", "Undo", () => {
    store.conversations.push(removed);
    store.save();
    drawConversations();
  });
}

// --- actions and keys ---

function toggle(className) {
  document.body.classList.toggle(className);
  drawDrawers();
  const stored = className === "no-panel" ? !panelFloats() : !narrow();
  if (stored) keep("octavo." + className, document.body.classList.contains(className) ? "1" : "");
  drawLive();
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
}

const lastOf = (role) => app.conversation.messages.map((m) => m.role).lastIndexOf(role);

const ACTIONS = {
  "new-chat": () => { openConversation(store.create()); $("input").focus(); },
  "open": ({ id }) => openConversation(store.find(id)),
  "delete": ({ id }) => deleteConversation(id),
  "starter": ({ prompt }) => { $("input").value = prompt; drawComposer(); $("input").focus(); },
  "toggle-sidebar": () => toggle("no-sidebar"),
  "toggle-panel": () => toggle("no-panel"),
  "close-drawers": () => {
    if (narrow()) document.body.classList.add("no-sidebar");
    document.body.classList.add("no-panel");
    drawDrawers();
  },
  "toggle-theme": () => {
    const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    keep("octavo.theme", theme);
    setTheme(theme);
  },
  "to-bottom": () => { app.follow = true; toBottom(); },
  "tab-settings": () => showTab("settings"),
  "tab-live": () => showTab("live"),
  "reset-settings": () => { store.settings = { ...DEFAULTS }; store.saveSettings(); drawSettings(); },
  "copy-message": ({ index }) => {
    const message = app.conversation.messages[index];
    copyText(message.role === "user" ? message.text : current(message).text);
  },
  "edit-message": ({ index }) => editMessage(Number(index)),
  "cancel-edit": ({ index }) => drawMessage(Number(index)),
  "save-edit": ({ index }) => saveEdit(Number(index)),
  "regenerate": ({ index }) => regenerate(Number(index)),
  "retry": ({ index }) => regenerate(Number(index)),
  "variant": ({ index, step }) => {
    const message = app.conversation.messages[index];
    message.variant = Math.max(0, Math.min(message.variants.length - 1, message.variant + Number(step)));
    store.save();
    drawMessage(Number(index));
  },
};

function onKey(event) {
  const typing = /^(TEXTAREA|INPUT)$/.test(event.target.tagName);
  const alt = event.altKey && !event.ctrlKey && !event.metaKey;
  const run = (action) => { event.preventDefault(); action(); };
  if (event.key === "Escape") {
    if (app.abort) return run(stop);
    if (event.target.closest && event.target.closest(".edit")) return run(() => drawMessage(Number(event.target.closest(".message").dataset.index)));
    if (!$("shade").hidden) return run(ACTIONS["close-drawers"]);
  }
  if (alt && event.code === "KeyN") return run(ACTIONS["new-chat"]);
  if (alt && event.code === "KeyB") return run(ACTIONS["toggle-sidebar"]);
  if (alt && event.code === "KeyP") return run(ACTIONS["toggle-panel"]);
  if (alt && event.code === "KeyR" && lastOf("assistant") >= 0) return run(() => regenerate(lastOf("assistant")));
  if (alt && event.code === "KeyE" && lastOf("user") >= 0) return run(() => editMessage(lastOf("user")));
  if (!typing && event.key === "/") return run(() => $("input").focus());
  if (!typing && event.key === "?") return run(() => $("keys").showModal());
}

function onSubmit(event) {
  if (event) event.preventDefault();
  if (app.abort) return stop();
  const input = $("input");
  if ($("send").disabled) return;
  const text = input.value;
  input.value = "";
  send(text);
}

function start() {
  setTheme(recall("octavo.theme"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTheme(recall("octavo.theme")));
  for (const node of document.querySelectorAll("[data-icon]")) node.prepend(icon(node.dataset.icon));
  if (narrow() || recall("octavo.no-sidebar")) document.body.classList.add("no-sidebar");
  if (panelFloats() || recall("octavo.no-panel") !== "") document.body.classList.add("no-panel");
  store.load();
  document.addEventListener("click", (event) => {
    const copy = event.target.closest("[data-copy]");
    if (copy) return copyText(copy.closest(".code").querySelector("code").textContent);
    const target = event.target.closest("[data-action]");
    if (target && ACTIONS[target.dataset.action]) ACTIONS[target.dataset.action](target.dataset);
  });
  $("shade").addEventListener("click", ACTIONS["close-drawers"]);
  document.addEventListener("keydown", onKey);
  $("composer").addEventListener("submit", onSubmit);
  $("input").addEventListener("input", drawComposer);
  $("input").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing && !matchMedia("(pointer: coarse)").matches) onSubmit(event);
  });
  $("search").addEventListener("input", drawConversations);
  $("scroll").addEventListener("scroll", () => {
    const scroll = $("scroll");
    const gap = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight;
    app.follow = gap < 60;
    $("to-bottom").hidden = gap < 200;
  });
  addEventListener("resize", drawDrawers);
  drawSettings();
  showTab(recall("octavo.tab") || "settings");
  openConversation(store.find(recall("octavo.current")) || store.create());
  poll();
  if (!narrow()) $("input").focus();
}

start();
