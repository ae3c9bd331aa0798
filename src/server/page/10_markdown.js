"use strict";
// Markdown to DOM nodes. Model text only ever becomes text nodes and a fixed set of elements: nothing is
// parsed as HTML, links go to http(s) and mailto only, and images are links, because loading one would
// tell its host about the conversation.

const el = (tag, className, ...children) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
};

const KEYWORDS = new Set(("abstract and as assert async await auto bool boolean break byte case catch char class const constexpr " +
  "continue def default del delete do double elif else end enum except export extends extern false final finally float fn for " +
  "foreach from func function global go goto if implements import in inline instanceof int interface is lambda let long " +
  "match mod mut namespace new nil none None not null nullptr of operator or override package pass private protected pub public " +
  "raise readonly return select self Self short signed sizeof static string struct super switch template then this throw throws trait " +
  "true True False try type typedef typename typeof union unsigned unsafe use using val var virtual void volatile where while with yield " +
  "SELECT FROM WHERE INSERT INTO VALUES UPDATE SET CREATE TABLE JOIN LEFT INNER ON GROUP BY ORDER LIMIT AND OR NOT NULL AS " +
  "echo fi done esac local").split(" "));
const HASH_COMMENTS = new Set(["python", "py", "bash", "sh", "shell", "zsh", "ruby", "rb", "yaml", "yml", "toml", "r", "perl", "make", "makefile", "dockerfile", "cmake", "ini", "console"]);
const DASH_COMMENTS = new Set(["sql", "lua", "haskell", "hs", "ada"]);
const PLAIN = new Set(["", "text", "txt", "plain", "plaintext", "markdown", "md", "output", "log", "diff"]);

// Appends `source` to `parent` with spans for comments, strings, numbers, keywords and calls.
function highlight(parent, source, language) {
  language = language.toLowerCase();
  if (PLAIN.has(language) || source.length > 60000) { parent.append(source); return; }
  const comment = HASH_COMMENTS.has(language) ? "#[^\\n]*" : DASH_COMMENTS.has(language) ? "--[^\\n]*"
    : language === "html" || language === "xml" ? "<!--[^]*?(?:-->|$)" : "\\/\\/[^\\n]*|\\/\\*[^]*?(?:\\*\\/|$)";
  const token = new RegExp("(" + comment + ")|(\"\"\"[^]*?(?:\"\"\"|$)|'''[^]*?(?:'''|$)|\"(?:\\\\.|[^\"\\\\\\n])*\"?|'(?:\\\\.|[^'\\\\\\n])*'?|`(?:\\\\.|[^`\\\\])*`?)" +
    "|(\\b(?:0[xX][0-9a-fA-F_]+|\\d[\\d_]*(?:\\.\\d+)?(?:[eE][+-]?\\d+)?)\\b)|([A-Za-z_$][\\w$]*)", "g");
  let at = 0;
  for (const match of source.matchAll(token)) {
    const [text, isComment, isString, isNumber, word] = match;
    const kind = isComment ? "c" : isString ? "s" : isNumber ? "n" : KEYWORDS.has(word) ? "k"
      : source[match.index + text.length] === "(" ? "f" : "";
    if (!kind) continue;
    parent.append(source.slice(at, match.index), el("span", kind, text));
    at = match.index + text.length;
  }
  parent.append(source.slice(at));
}

function codeBlock(source, language) {
  const copy = el("button", "", icon("copy"), "Copy");
  copy.type = "button";
  copy.dataset.copy = "code";
  const code = el("code");
  highlight(code, source, language);
  return el("div", "code", el("div", "code-head", el("span", "", language || "text"), copy), el("pre", "", code));
}

function safeHref(url) {
  return /^(https?:\/\/|mailto:)/i.test(url) ? url : null;
}

function link(url, children) {
  const href = safeHref(url);
  if (!href) return el("span", "", ...children);
  const node = el("a", "", ...children);
  node.href = href;
  node.target = "_blank";
  node.rel = "noopener noreferrer nofollow";
  return node;
}

const INLINE = /(\\[\\`*_{}\[\]()#+\-.!|~<>])|(`+)([^]*?[^`])\2(?!`)|!?\[((?:[^\[\]\\]|\\.|\[[^\[\]]*\])*)\]\(\s*<?([^\s<>()]*(?:\([^\s()]*\)[^\s<>()]*)*)>?(?:\s+["'][^"']*["'])?\s*\)|<(https?:\/\/[^\s<>]+)>|(https?:\/\/[^\s<>"'`\])}]+[^\s<>"'`\])}.,;:!?])|(\*\*\*|___)(?=\S)([^]*?\S)\8|(\*\*|__)(?=\S)([^]*?\S)\10(?![*_])|(\*)(?=\S)((?:[^*]|\*\*[^*]+\*\*)*?[^\s*])\12(?!\*)|(?<![\w])(_)(?=\S)([^_]*[^\s_])_(?![\w])|(~~)(?=\S)([^]*?\S)~~|( {2,}|\\)\n/;

// Inline markup as an array of nodes and strings.
function inline(text, depth = 0) {
  const out = [];
  while (text) {
    const m = depth < 8 ? INLINE.exec(text) : null;
    if (!m) { out.push(text); break; }
    if (m.index) out.push(text.slice(0, m.index));
    const inner = (part) => inline(part, depth + 1);
    if (m[1]) out.push(m[1][1]);
    else if (m[2]) out.push(el("code", "", m[3].replace(/\n/g, " ").replace(/^ (.*) $/, "$1")));
    else if (m[4] !== undefined) out.push(link(m[5], inner(m[4] || m[5])));
    else if (m[6]) out.push(link(m[6], [m[6]]));
    else if (m[7]) out.push(link(m[7], [m[7]]));
    else if (m[8]) out.push(el("strong", "", el("em", "", ...inner(m[9]))));
    else if (m[10]) out.push(el("strong", "", ...inner(m[11])));
    else if (m[12]) out.push(el("em", "", ...inner(m[13])));
    else if (m[14]) out.push(el("em", "", ...inner(m[15])));
    else if (m[16]) out.push(el("s", "", ...inner(m[17])));
    else out.push(el("br"));
    text = text.slice(m.index + m[0].length);
  }
  return out;
}

const FENCE = /^( {0,3})(`{3,}|~{3,})\s*([^`\s]*)[^`]*$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])(\s+)(.*)$/;
const RULE = /^ {0,3}([-*_])( *\1){2,} *$/;
const DIVIDER = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;

// Cuts text into top-level blocks: [{kind, lines, ...}]. Never fails; what it does not know is a paragraph.
function blocksOf(lines) {
  const blocks = [];
  let i = 0;
  while (i < lines.length) {
    const line = lines[i];
    if (!line.trim()) { ++i; continue; }
    const start = i;
    const fence = FENCE.exec(line);
    let kind = "paragraph";
    if (fence) {
      kind = "code";
      const close = new RegExp("^ {0,3}" + (fence[2][0] === "`" ? "`" : "~") + "{" + fence[2].length + ",}\\s*$");
      ++i;
      while (i < lines.length && !close.test(lines[i])) ++i;
      const body = lines.slice(start + 1, i).map((l) => l.startsWith(fence[1]) ? l.slice(fence[1].length) : l);
      if (i < lines.length) ++i;
      blocks.push({ kind, language: fence[3], body, raw: lines.slice(start, i).join("\n") });
      continue;
    }
    if (/^ {0,3}#{1,6}\s/.test(line)) { kind = "heading"; ++i; }
    else if (RULE.test(line)) { kind = "rule"; ++i; }
    else if (/^ {0,3}>/.test(line)) {
      kind = "quote";
      while (i < lines.length && lines[i].trim() && !FENCE.test(lines[i])) ++i;
    } else if (ITEM.test(line)) {
      kind = "list";
      ++i;
      while (i < lines.length) {
        const blank = !lines[i].trim();
        const next = blank ? lines[i + 1] || "" : lines[i];
        if (blank && !next.trim()) break;
        if (!ITEM.test(next) && !/^\s{2,}/.test(next) && (blank || /^ {0,3}(#{1,6}\s|>|```|~~~)/.test(next))) break;
        if (blank && RULE.test(next)) break;
        ++i;
      }
    } else if (line.includes("|") && i + 1 < lines.length && DIVIDER.test(lines[i + 1]) && lines[i + 1].includes("-")) {
      kind = "table";
      while (i < lines.length && lines[i].includes("|")) ++i;
    } else {
      while (i < lines.length && lines[i].trim() && !FENCE.test(lines[i]) && !/^ {0,3}(#{1,6}\s|>)/.test(lines[i]) &&
             !(i > start && (ITEM.test(lines[i]) || RULE.test(lines[i])))) ++i;
      if (i === start) ++i;
    }
    blocks.push({ kind, lines: lines.slice(start, i), raw: lines.slice(start, i).join("\n") });
  }
  return blocks;
}

function listNode(lines, depth) {
  const first = ITEM.exec(lines[0]);
  const indent = first[1].length;
  const ordered = /\d/.test(first[2]);
  const list = el(ordered ? "ol" : "ul");
  if (ordered && parseInt(first[2], 10) !== 1) list.start = parseInt(first[2], 10);
  let item = null;
  const close = () => {
    if (!item) return;
    const node = el("li");
    const task = /^\[([ xX])\]\s+/.exec(item[0]);
    if (task) {
      node.className = "task";
      const box = el("input");
      box.type = "checkbox";
      box.disabled = true;
      box.checked = task[1] !== " ";
      node.append(box, " ");
      item[0] = item[0].slice(task[0].length);
    }
    const blocks = blocksOf(item);
    blocks.forEach((block, i) => {
      // A tight item's text needs no paragraph of its own.
      if (block.kind === "paragraph" && (i === 0 || blocks.length === 1)) node.append(...inline(block.lines.join("\n").trim()));
      else node.append(blockNode(block, depth + 1));
    });
    list.append(node);
  };
  let inset = 0;
  for (const line of lines) {
    const match = ITEM.exec(line);
    if (match && match[1].length <= indent + 1) {
      close();
      inset = match[1].length + match[2].length + Math.min(match[3].length, 4);
      item = [match[4]];
    } else {
      item.push(line.replace(new RegExp("^\\s{0," + inset + "}"), ""));
    }
  }
  close();
  return list;
}

function tableNode(lines) {
  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((c) => c.trim().replace(/\\\|/g, "|"));
  const align = cells(lines[1]).map((c) => /^:-+:$/.test(c) ? "center" : /-:$/.test(c) ? "right" : "");
  const row = (line, tag) => el("tr", "", ...cells(line).slice(0, align.length).map((c, i) => el(tag, align[i] || "", ...inline(c))));
  return el("div", "table", el("table", "", el("thead", "", row(lines[0], "th")),
    el("tbody", "", ...lines.slice(2).map((line) => row(line, "td")))));
}

function blockNode(block, depth) {
  if (depth > 12) return el("p", "", block.raw);
  switch (block.kind) {
    case "code": return codeBlock(block.body.join("\n"), block.language);
    case "rule": return el("hr");
    case "heading": {
      const match = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/.exec(block.lines[0]);
      return match ? el("h" + match[1].length, "", ...inline(match[2])) : el("p", "", block.raw);
    }
    case "quote": {
      const quote = el("blockquote");
      for (const inner of blocksOf(block.lines.map((l) => l.replace(/^ {0,3}> ?/, "")))) quote.append(blockNode(inner, depth + 1));
      return quote;
    }
    case "list": return listNode(block.lines, depth);
    case "table": return tableNode(block.lines);
    default: return el("p", "", ...inline(block.lines.join("\n")));
  }
}

// Renders into `parent`, touching only blocks that changed since the last call: while an answer streams in,
// that is the last one.
function renderMarkdown(parent, text) {
  const blocks = blocksOf(text.replace(/\r\n?/g, "\n").split("\n"));
  const old = parent.renderedBlocks || [];
  let same = 0;
  while (same < blocks.length && same < old.length && blocks[same].raw === old[same]) ++same;
  while (parent.childNodes.length > same) parent.lastChild.remove();
  for (const block of blocks.slice(same)) parent.append(blockNode(block, 0));
  parent.renderedBlocks = blocks.map((block) => block.raw);
}
