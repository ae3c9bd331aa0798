// Pieces of the page that show something; no state of their own.

const ICONS = {
  book: "M12 6.500C10 5.2 7.5 4.5 4.5 4.500v13.500c3 0 5.5.7 7.5 2 2-1.3 4.5-2 7.5-2V4.500c-3 0-5.5.7-7.5 2zm0 0V20",
  plus: "M12 5v14M5 12h14", search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM20 20l-4-4", close: "M6 6l12 12M18 6L6 18",
  sidebar: "M4 5h16v14H4zM9.5 5v14", theme: "M12 3v2M12 19v2M3 12h2M19 12h2M5.6 5.600l1.4 1.400M17 17l1.4 1.400M5.6 18.400L7 17M17 7l1.4-1.400M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8z",
  panel: "M4 7h9M17 7h3M4 17h3M11 17h9M15 9.500a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5zM9 19.500a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5z",
  send: "M12 19V5M6 11l6-6 6 6", stop: "M8 8h8v8H8z", down: "M12 5v14M6 13l6 6 6-6",
  copy: "M9 9h10v11H9zM5 15V4h10", check: "M5 12.500l4.5 4.500L19 7.5", redo: "M4 12a8 8 0 1 0 2.5-5.800L4 8.500M4 4v4.500h4.5",
  edit: "M4 20l1-4L16.5 4.500l3 3L8 19zM14 7l3 3", trash: "M5 7h14M10 7V4.500h4V7M7 7l1 13h8l1-13", left: "M14 6l-6 6 6 6", right: "M10 6l6 6-6 6",
};

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

function iconButton(name, label, action, data = {}) {
  const button = el("button", "icon", icon(name));
  button.type = "button";
  button.title = label;
  button.setAttribute("aria-label", label);
  button.dataset.action = action;
  Object.assign(button.dataset, data);
  return button;
}

function textButton(label, action, data = {}, className = "text-button") {
  const button = el("button", className, label);
  button.type = "button";
  button.dataset.action = action;
  Object.assign(button.dataset, data);
  return button;
}

const STARTERS = [
  ["Explain something", "Explain how a paged KV cache works, as to a new colleague"],
  ["Write some code", "Write a Python function that merges overlapping intervals, with tests"],
  ["Draft a text", "Draft a short, friendly note that moves a meeting to Thursday"],
  ["Compare options", "Compare INT8, FP8 and INT4 quantization in a small table"],
];

function welcomeView(modelName) {
  const starters = el("div", "starters", ...STARTERS.map(([title, prompt]) => {
    const button = el("button", "", el("b", "", title), el("span", "", prompt));
    button.type = "button";
    button.dataset.action = "starter";
    button.dataset.prompt = prompt;
    return button;
  }));
  return el("div", "welcome", el("h1", "", "What shall we look into?"),
    el("p", "", modelName ? "You are talking to " + modelName + ", which runs on this machine." : "The model runs on this machine."), starters);
}

const seconds = (s) => s < 1 ? Math.round(s * 1000) + " ms" : s.toFixed(1) + " s";

function metaText(meta) {
  if (!meta) return "";
  const parts = [];
  if (meta.tokens) parts.push(meta.tokens + " tokens");
  if (meta.tok_s) parts.push(meta.tok_s.toFixed(1) + " tok/s");
  if (meta.ttft_s) parts.push("first after " + seconds(meta.ttft_s));
  return parts.join(" \u00b7 ");
}

function actionsView(message, index, streaming) {
  const actions = el("div", "actions");
  if (streaming) return actions;
  const at = { index };
  if (message.role === "user") {
    actions.append(iconButton("copy", "Copy", "copy-message", at), iconButton("edit", "Edit", "edit-message", at));
    return actions;
  }
  const variant = current(message);
  if (variant.text) actions.append(iconButton("copy", "Copy", "copy-message", at));
  actions.append(iconButton("redo", "Regenerate", "regenerate", at));
  if (message.variants.length > 1) {
    const back = iconButton("left", "Earlier answer", "variant", { index, step: -1 });
    const next = iconButton("right", "Later answer", "variant", { index, step: 1 });
    back.disabled = message.variant === 0;
    next.disabled = message.variant === message.variants.length - 1;
    actions.append(el("span", "variants", back, (message.variant + 1) + " / " + message.variants.length, next));
  }
  const notes = [metaText(variant.meta)];
  if (variant.finish === "stopped") notes.push("stopped");
  if (variant.finish === "length") notes.push("cut at the length limit");
  actions.append(el("span", "meta", notes.filter(Boolean).join(" \u00b7 ")));
  return actions;
}

// Fills (or refreshes) the node of one message.
function renderMessage(node, message, index, streaming) {
  node.className = "message " + message.role;
  node.dataset.index = index;
  if (message.role === "user") {
    node.replaceChildren(el("div", "body", message.text), actionsView(message, index, false));
    return;
  }
  const variant = current(message);
  let body = node.querySelector(".body");
  if (!body || node.variant !== variant) {
    body = el("div", "body md");
    node.replaceChildren(body);
    node.variant = variant;
  }
  renderReasoning(node, body, variant, streaming);
  renderMarkdown(body, variant.text);
  for (const extra of node.querySelectorAll(":scope > .thinking, :scope > .failure, :scope > .actions")) extra.remove();
  if (streaming && !variant.text) node.append(el("div", "thinking", el("i"), el("i"), el("i")));
  if (variant.error) node.append(el("div", "failure", el("span", "", variant.error), textButton("Try again", "retry", { index })));
  node.append(actionsView(message, index, streaming));
}

function renderReasoning(node, body, variant, streaming) {
  let details = node.querySelector(":scope > .reasoning");
  if (!variant.reasoning) { if (details) details.remove(); return; }
  if (!details) {
    details = el("details", "reasoning", el("summary"), el("div", "md"));
    details.open = streaming;
    body.before(details);
  }
  details.firstChild.textContent = streaming && !variant.text ? "Thinking..." : "Thoughts";
  renderMarkdown(details.lastChild, variant.reasoning);
}

function editView(message, index) {
  const area = el("textarea");
  area.value = message.text;
  area.setAttribute("aria-label", "Edit your message");
  return el("div", "edit", area, el("div", "", textButton("Cancel", "cancel-edit", { index }),
    textButton("Send", "save-edit", { index }, "text-button primary")));
}

function dayOf(time) {
  const days = Math.floor((new Date().setHours(0, 0, 0, 0) - new Date(time).setHours(0, 0, 0, 0)) / 86400000);
  return days <= 0 ? "Today" : days === 1 ? "Yesterday" : days < 7 ? "This week" : days < 31 ? "This month" : "Earlier";
}

function renderConversations(nav, list, currentId, filter) {
  nav.replaceChildren();
  const wanted = filter.trim().toLowerCase();
  const shown = list.filter((c) => !wanted || c.title.toLowerCase().includes(wanted) ||
    c.messages.some((m) => (m.role === "user" ? m.text : current(m).text).toLowerCase().includes(wanted)));
  if (!shown.length) nav.append(el("div", "none", wanted ? "Nothing found." : "Your chats will be listed here."));
  let day = "";
  for (const conversation of shown) {
    if (dayOf(conversation.updated) !== day) nav.append(el("h3", "", day = dayOf(conversation.updated)));
    const open = textButton(conversation.title || "New chat", "open", { id: conversation.id }, "");
    open.title = conversation.title;
    if (conversation.id === currentId) open.setAttribute("aria-current", "true");
    nav.append(el("div", "conversation" + (conversation.id === currentId ? " current" : ""), open,
      iconButton("trash", "Delete", "delete", { id: conversation.id })));
  }
}
