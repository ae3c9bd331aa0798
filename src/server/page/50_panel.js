// The right-hand panel: sampling settings, and the server's live figures.

const SLIDERS = [
  ["temperature", "Temperature", 0, 2, 0.05, "0 always takes the likeliest token."],
  ["top_p", "Top p", 0.05, 1, 0.01, "Smallest set of tokens that holds this much probability."],
  ["min_p", "Min p", 0, 0.5, 0.01, "Drops tokens less likely than this times the best one."],
  ["repetition_penalty", "Repetition penalty", 0.8, 1.5, 0.01, ""],
];

// null means: as the server says. Then the server's default is shown.
function settingsView(root, settings, defaults, onChange) {
  root.replaceChildren();
  const field = (label, control, help, output) => {
    control.id = "set-" + label.toLowerCase().replace(/ /g, "-");
    const title = el("label", "", label, ...(output ? [output] : []));
    title.htmlFor = control.id;
    return el("div", "field", title, control, ...(help ? [el("small", "", help)] : []));
  };
  const system = el("textarea");
  system.rows = 3;
  system.value = settings.system;
  system.placeholder = "You are a helpful assistant.";
  system.oninput = () => onChange("system", system.value);
  root.append(field("System prompt", system, "Goes in front of every chat."));
  for (const [key, label, min, max, step, help] of SLIDERS) {
    const slider = el("input");
    Object.assign(slider, { type: "range", min, max, step });
    const output = el("output");
    const show = () => {
      const value = settings[key] ?? defaults[key];
      if (value !== undefined) slider.value = value;
      output.textContent = value === undefined ? "" : Number(value).toFixed(2) + (settings[key] === null ? " (default)" : "");
    };
    slider.oninput = () => { onChange(key, Number(slider.value)); show(); };
    show();
    root.append(field(label, slider, help, output));
  }
  const numbers = el("div", "pair");
  for (const [key, label, placeholder] of [["top_k", "Top k", "all"], ["max_tokens", "Max tokens", "no limit"], ["seed", "Seed", "random"]]) {
    const input = el("input");
    Object.assign(input, { type: "number", step: 1, placeholder, inputMode: "numeric" });
    if (key !== "seed") input.min = key === "top_k" ? -1 : 1;
    input.value = settings[key] ?? "";
    input.oninput = () => onChange(key, input.value === "" || !input.checkValidity() ? null : Math.trunc(Number(input.value)));
    numbers.append(field(label, input, ""));
  }
  root.append(numbers, textButton("Back to the defaults", "reset-settings"));
}

const bytes = (n) => {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) { n /= 1024; ++unit; }
  return n.toFixed(n < 10 && unit > 0 ? 2 : n < 100 && unit > 0 ? 1 : 0) + " " + units[unit];
};
const count = (n) => Number(n).toLocaleString("en-US").replace(/,/g, "\u2009");
const HISTORY = 60;
const history = [];

function chartView(values) {
  const ns = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(ns, "svg");
  svg.setAttribute("class", "chart");
  svg.setAttribute("viewBox", "0 0 300 64");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "Generated tokens per second over the last minute");
  const max = Math.max(1, ...values);
  const points = values.map((v, i) => (300 - (values.length - 1 - i) * 300 / (HISTORY - 1)).toFixed(1) + " " + (61 - v / max * 56).toFixed(1));
  const path = (d, name) => {
    const node = document.createElementNS(ns, "path");
    node.setAttribute("d", d);
    if (name) node.setAttribute("class", name);
    node.setAttribute("vector-effect", "non-scaling-stroke");
    svg.append(node);
  };
  if (points.length > 1) {
    path("M" + points.join("L") + "L300 64L" + points[0].split(" ")[0] + " 64Z", "area");
    path("M" + points.join("L"));
  }
  return svg;
}

function rowsView(pairs) {
  const list = el("dl", "rows");
  for (const [name, value] of pairs) if (value !== undefined && value !== "") list.append(el("dt", "", name), el("dd", "", String(value)));
  return list;
}

function layersView(layers) {
  const table = el("table", "layers", el("thead", "", el("tr", "", el("th", "", "Weights"), el("th", "", "Computed as"), el("th", "", "Bits"))));
  const body = el("tbody");
  for (const layer of layers) {
    body.append(el("tr", "", el("td", "", layer.module, el("small", "", layer.count > 1 ? "\u00d7 " + layer.count : "")),
      el("td", "", layer.scheme, el("small", "", layer.activation + " \u2192 " + layer.accumulator), el("small", "", layer.kernel)),
      el("td", "", Number(layer.bits_per_weight).toFixed(2))));
  }
  table.append(body);
  return table;
}

function remember(stats) {
  history.push(stats.generation_tok_s);
  if (history.length > HISTORY) history.shift();
}

function liveView(root, status, layers) {
  const { stats, model } = status;
  if (!stats) { root.replaceChildren(el("p", "none", "The model is not loaded yet.")); return; }
  const tile = (value, label) => el("div", "tile", el("b", "", value), el("span", "", label));
  const hits = stats.prefix_cache_queries ? Math.round(100 * stats.prefix_cache_hits / stats.prefix_cache_queries) + " %" : "\u2013";
  const used = el("i"), cached = el("i", "cached");
  const total = Math.max(1, stats.kv_blocks_total);
  used.style.width = 100 * stats.kv_blocks_used / total + "%";
  cached.style.width = 100 * stats.kv_blocks_cached / total + "%";
  const scrolled = root.scrollTop;
  root.replaceChildren(
    el("div", "tiles", tile(stats.generation_tok_s.toFixed(1), "tokens/s out"), tile(stats.prompt_tok_s.toFixed(0), "tokens/s in"),
      tile(String(stats.num_running), "running"), tile(String(stats.num_waiting), "waiting")),
    chartView(history),
    el("h3", "", "KV cache"), el("div", "meter", used, cached),
    rowsView([["In use", (100 * stats.kv_cache_usage).toFixed(1) + " %"], ["Kept for reuse", count(stats.kv_blocks_cached) + " blocks"],
      ["Prefix hits", hits], ["Size", bytes(model.kv_cache_bytes) + ", " + model.kv_cache_dtype]]),
    el("h3", "", "Model"),
    rowsView([["Architecture", model.architecture], ["Parameters", (model.num_parameters / 1e6).toFixed(0) + " M"],
      ["Weights in memory", bytes(model.weight_bytes)], ["Context", count(model.max_model_len) + " tokens"],
      ["Step", stats.step_ms.toFixed(1) + " ms"], ["CPU level", model.isa], ["Threads", model.num_threads]]),
    el("h3", "", "Precision by layer"), layers ? layersView(layers) : el("p", "none", "..."),
  );
  root.scrollTop = scrolled;
}
