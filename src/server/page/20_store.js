// Conversations and settings, kept in this browser's localStorage and nowhere else.
//
// conversation: {id, title, created, updated, messages: [{role, text, variants?, variant?, ...}]}
// An assistant message has variants [{text, reasoning, error, meta, finish}], one per regeneration.

const DEFAULTS = { system: "", temperature: null, top_p: null, top_k: null, min_p: null, repetition_penalty: null, max_tokens: null, seed: null };
const MAX_CONVERSATIONS = 300;

// localStorage throws where the browser has turned it off: then nothing is kept.
function recall(key) {
  try { return localStorage.getItem(key); } catch { return null; }
}
function keep(key, value) {
  try { localStorage.setItem(key, value); } catch { /* nothing is kept */ }
}

const store = {
  conversations: [],
  settings: { ...DEFAULTS },

  load() {
    const read = (key, fallback) => {
      try { return JSON.parse(recall(key)) ?? fallback; } catch { return fallback; }
    };
    const list = read("octavo.conversations", []);
    this.conversations = Array.isArray(list) ? list.filter((c) => c && c.id && Array.isArray(c.messages)) : [];
    this.settings = { ...DEFAULTS, ...read("octavo.settings", {}) };
  },

  save() {
    this.conversations.sort((a, b) => b.updated - a.updated);
    this.conversations.length = Math.min(this.conversations.length, MAX_CONVERSATIONS);
    // Over the browser's quota the oldest conversations go.
    for (let keep = this.conversations.length; keep > 0; keep = Math.floor(keep * 0.8)) {
      try {
        localStorage.setItem("octavo.conversations", JSON.stringify(this.conversations.slice(0, keep)));
        return;
      } catch { /* try with fewer */ }
    }
    keep("octavo.conversations", "[]");
  },

  saveSettings() {
    keep("octavo.settings", JSON.stringify(this.settings));
  },

  create() {
    const now = Date.now();
    return { id: now.toString(36) + Math.random().toString(36).slice(2, 8), title: "", created: now, updated: now, messages: [] };
  },

  find(id) { return this.conversations.find((c) => c.id === id); },

  put(conversation) {
    conversation.updated = Date.now();
    if (!this.find(conversation.id)) this.conversations.unshift(conversation);
    this.save();
  },

  remove(id) {
    this.conversations = this.conversations.filter((c) => c.id !== id);
    this.save();
  },
};

const current = (message) => message.variants[message.variant];

// What goes to the server: the system prompt and the messages up to `end`.
function requestMessages(conversation, end) {
  const messages = [];
  if (store.settings.system.trim()) messages.push({ role: "system", content: store.settings.system });
  for (const message of conversation.messages.slice(0, end)) {
    if (message.role === "user") messages.push({ role: "user", content: message.text });
    else if (current(message).text) messages.push({ role: "assistant", content: current(message).text });
  }
  return messages;
}

function titleOf(text) {
  const line = text.trim().split("\n")[0].replace(/[#*`_>]/g, "").trim();
  return line.length > 60 ? line.slice(0, 57).trimEnd() + "..." : line || "Untitled";
}
