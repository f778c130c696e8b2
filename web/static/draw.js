"use strict";
// Everything that a model wrote gets onto the page here, as text: no line of this server's scripts reads HTML.

const SVG = "http://www.w3.org/2000/svg";
const KEYWORDS = new Set(("False None True and as assert async await break class continue def del elif else except finally for from "
  + "global if import in is lambda nonlocal not or pass raise return try while with yield match case").split(" "));
const TOKEN = /("""[\s\S]*?(?:"""|$)|'''[\s\S]*?(?:'''|$)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?)|(#[^\n]*)|\b(\d[\w.]*)\b|([A-Za-z_]\w*)/g;
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]/g;

/** The text with control characters and direction marks as codes; whole surrogate pairs stay. */
function visible(text) {
  return String(text).replace(/[\ud800-\udbff][\udc00-\udfff]|[^]/g, (c) => c.length > 1 ? c
    : c.replace(UNSEEN, (u) => "\\u" + u.charCodeAt(0).toString(16).padStart(4, "0")));
}

/** An element: `el("p.fine", {title: "x"}, "text", child)`. */
function el(what, given = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const made = document.createElement(tag);
  if (classes.length) made.className = classes.join(" ");
  for (const [name, value] of Object.entries(given)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null) made.setAttribute(name, value);
  }
  for (const child of children.flat()) if (child !== null && child !== undefined) made.append(typeof child === "string" ? visible(child) : child);
  return made;
}

/** Code with its keywords, texts, numbers and remarks in colour. */
function code(text) {
  const inside = el("code");
  let at = 0;
  text = visible(text);
  for (const found of text.matchAll(TOKEN)) {
    const kind = found[1] ? "str" : found[2] ? "com" : found[3] ? "num" : KEYWORDS.has(found[4]) ? "key" : "";
    if (!kind) continue;
    inside.append(text.slice(at, found.index));
    const span = document.createElement("span");
    span.className = kind;
    span.textContent = found[0];
    inside.append(span);
    at = found.index + found[0].length;
  }
  inside.append(text.slice(at));
  return el("pre.code", { tabindex: "0" }, inside);
}

/** An answer: its fenced blocks as code, the rest as it was written. Links and pictures stay text. */
function answer(text) {
  const parts = [];
  let plain = [], block = null;
  const flush = () => { if (plain.join("").trim()) parts.push(el("p.said", {}, plain.join("\n").trim())); plain = []; };
  for (const line of String(text).split("\n")) {
    const fence = /^\s*(`{3,}|~{3,})(.*)$/.exec(line);
    if (block === null && fence) { flush(); block = { mark: fence[1], name: fence[2].trim(), lines: [] }; }
    else if (block !== null && fence && fence[1].startsWith(block.mark) && !fence[2].trim()) { parts.push(...fenced(block)); block = null; }
    else (block === null ? plain : block.lines).push(line);
  }
  if (block !== null) parts.push(...fenced(block));
  flush();
  return parts;
}

function fenced(block) {
  const path = block.name.split(/\s+/).slice(1).join(" ");
  return [path ? el("p.path", {}, path) : null, code(block.lines.join("\n"))].filter(Boolean);
}

/** A unified diff, the old side on the left and the new one on the right. */
function diff(text) {
  const body = el("tbody");
  let left = [], right = [], a = 0, b = 0;
  const flush = () => {
    for (let i = 0; i < Math.max(left.length, right.length); i++) {
      const [l, r] = [left[i], right[i]];
      body.append(el("tr", {}, el("td.no", {}, l ? String(l[0]) : ""), el(l ? "td.old" : "td", {}, l ? l[1] : ""),
        el("td.no", {}, r ? String(r[0]) : ""), el(r ? "td.new" : "td", {}, r ? r[1] : "")));
    }
    left = []; right = [];
  };
  for (const line of String(text).replace(/\n$/, "").split("\n")) {
    const hunk = /^@@ -(\d+)(?:,\d+)? \+(\d+)/.exec(line);
    if (line.startsWith("--- ")) { flush(); }
    else if (line.startsWith("+++ ")) { body.append(el("tr.file", {}, el("th", { colspan: "4", scope: "colgroup" }, line.slice(4).replace(/^b\//, "")))); }
    else if (hunk) { flush(); a = +hunk[1]; b = +hunk[2]; }
    else if (line.startsWith("-")) left.push([a++, line.slice(1)]);
    else if (line.startsWith("+")) right.push([b++, line.slice(1)]);
    else if (line.startsWith("\\")) { /* no newline at the end */ }
    else {
      flush();
      body.append(el("tr", {}, el("td.no", {}, String(a++)), el("td", {}, line.slice(1)), el("td.no", {}, String(b++)), el("td", {}, line.slice(1))));
    }
  }
  flush();
  return el("div.scroll", { tabindex: "0", role: "region", "aria-label": "Changes, before and after" }, el("table.diff", {}, el("colgroup", {}, el("col.no"), el("col"), el("col.no"), el("col")), body));
}

function badge(status) {
  return el("span.badge" + (status === "passed" ? ".pass" : status === "failed" || status === "error" ? ".fail" : ""), {}, status || "no verdict");
}

/** What tests said: the sum in one line, and behind it each of them. */
function tests(verdict, whose) {
  const passed = verdict.outcomes.filter((o) => o.status === "passed").length;
  if (!verdict.outcomes.length) return el("p.fine", {}, badge(verdict.status), " ", verdict.reason || "there were no tests");
  return el("details.tests", {}, el("summary", {}, badge(verdict.status), ` ${passed} of ${verdict.outcomes.length} tests (${whose || verdict.tests})`,
    verdict.reason ? `: ${verdict.reason}` : ""),
  el("table", {}, el("tbody", {}, verdict.outcomes.map((o) => el("tr", {}, el("th", { scope: "row" }, o.id), el("td", {}, badge(o.status)), el("td", {}, o.detail))))),
  el("p.fine", {}, `walls: ${verdict.isolation}`));
}

/** The graph with what works in it filled. */
function graph(picture, active) {
  const make = (tag, given, text) => {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(given)) made.setAttribute(name, value);
    if (text) made.textContent = text;
    return made;
  };
  const root = make("svg", { viewBox: `0 0 ${picture.width} ${picture.height}`, role: "img", "aria-label": "The graph; " + (active.size ? "at work: " + [...active].join(", ") : "nothing works"), class: "graph" });
  for (const arrow of picture.arrows) root.append(make("path", { d: arrow.path, class: arrow.choice ? "choice" : "" }));
  for (const a of picture.arrows.filter((x) => x.label)) root.append(make("text", { x: a.x, y: a.y, class: "label", "text-anchor": a.back ? "start" : "middle" }, visible(a.label)));
  const [w, h] = picture.box;
  for (const node of picture.nodes) {
    const group = make("g", { class: active.has(node.name) ? "active" : "", "data-node": node.name });
    group.append(make("rect", { x: node.x - w / 2, y: node.y - h / 2, width: w, height: h, rx: node.end ? h / 2 : 8 }));
    group.append(make("text", { x: node.x, y: node.y + 4, "text-anchor": "middle" }, node.name));
    root.append(group);
  }
  return root;
}
