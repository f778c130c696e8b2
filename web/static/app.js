"use strict";
// A reader of the event stream. What counts is in the log; what is here is only drawn.

const $ = (id) => document.getElementById(id);
const state = { me: null, session: null, source: null, turns: new Map(), turn: null, steps: new Map(), nodes: new Map(), active: new Map(),
  picture: null, calls: 0, tokens: 0, streamed: 0, budget: 0, began: 0, ended: 0, working: false, question: null, dirty: new Set(), hits: [], shown: new Set(),
  asked: new Map(), items: new Map(), opening: null };

async function call(path, body) {
  const given = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path, given);
  if (answer.status === 401) { location.replace("/login" + location.hash); throw new Error("logged out"); }
  const text = await answer.text();
  let read = null;
  try { read = JSON.parse(text); } catch { read = { error: text }; }
  if (!answer.ok) throw new Error(read.error || answer.statusText);
  return read;
}

const here = (what) => `/api/sessions/${state.session.id}${what}`;

/** Do it, and say below the request what went wrong. */
async function trying(work) {
  $("problem").textContent = "";
  try { return await work(); } catch (err) { $("problem").textContent = visible(err.message); return undefined; }
}

function when(at) { return new Date(at * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }); }

// ---- conversations

async function listed() {
  const found = await call("/api/sessions?search=" + encodeURIComponent($("search").value));
  placed($("list"), found.map((s) => {
    const item = state.items.get(s.id) || el("li", {}, button("", () => { location.hash = s.id; }));
    state.items.set(s.id, item);
    const current = Boolean(state.session) && s.id === state.session.id;
    item.firstChild.setAttribute("aria-current", String(current));
    item.firstChild.title = visible(s.title);
    redrawn(item.firstChild, s, () => [visible(s.title), el("small", {}, when(s.at) + (s.folder ? " · " + s.folder.split("/").pop() : ""))]);
    return item;
  }));
}

/** What is about one conversation is there once there is one. */
function within(session) {
  state.session = session;
  for (const box of document.querySelectorAll(".of-one")) box.hidden = !session;
  $("nothing").hidden = Boolean(session);
}

function emptied() {
  clearTimeout(state.later);
  if (state.source) state.source.close();
  for (const map of [state.turns, state.steps, state.nodes, state.active, state.asked]) map.clear();
  Object.assign(state, { source: null, turn: null, question: null, calls: 0, tokens: 0, streamed: 0, began: 0, ended: 0, working: false, hits: [], shown: new Set() });
  $("turns").replaceChildren();
  $("plan").textContent = "none yet";
  $("memory").textContent = "it said nothing";
  $("problem").textContent = "";
}

async function opened(session) {
  emptied();
  within(session);
  if (location.hash.slice(1) !== session.id) history.replaceState(null, "", "#" + session.id);
  state.picture = await call(here("/graph"));
  told(session);
  state.source = new EventSource(here("/events"));
  state.source.onmessage = (message) => see(JSON.parse(message.data), Number(message.lastEventId) < (session.events || 0) && !session.working);
  $("text").focus();
  closeMenu();
}

async function openHash() {
  const id = location.hash.slice(1);
  if (!id || (state.session && state.session.id === id)) return;
  await trying(async () => { await opened(await call("/api/sessions/" + encodeURIComponent(id))); await listed(); });
}

async function fresh() {
  await ready;
  $("send").disabled = true;
  $("status").textContent = "the engine is starting";
  await trying(async () => opened(await call("/api/sessions", { folder: $("infolder").checked })));
  $("send").disabled = false;
  await listed();
}

/** What the log knows by now: results, ratings, settings. */
async function refreshed(settled) {
  const id = state.session && state.session.id;
  if (!id) return;
  const session = await call(here(settled ? "?settled=1" : ""));
  if (!state.session || state.session.id !== id) return;
  state.session = session;
  told(session);
  if (session.problem) $("problem").textContent = visible(session.problem);
}

function told(session) {
  $("title").textContent = visible(session.title);
  $("resume").hidden = !session.unfinished;
  $("undo").hidden = !session.can_undo;
  $("markdown").href = here("/export?format=markdown");
  $("json").href = here("/export?format=json");
  const form = $("settings"), now = session.settings;
  const graphs = session.folder ? ["edit"] : state.me.graphs;
  redrawn(form.graph, [graphs, now.graph], () => graphs.map((g) => el("option", { selected: g === now.graph }, g)));
  redrawn(form.model, [state.me.models, now.model], () => ["", ...state.me.models].map((m) => el("option", { value: m, selected: m === now.model }, m || "the champion")));
  for (const name of ["budget", "samples"]) if (form[name] !== document.activeElement) form[name].value = now[name];
  form.plan.checked = now.plan; form.memory.checked = now.memory;
  if (session.left_out.length) $("problem").textContent = "did not fit into the prompt: " + visible(session.left_out.slice(0, 5).join(", "));
  for (const turn of session.turns) result(turn);
  drawn();
}

// ---- the event stream

function turnOf(run) {
  let turn = state.turns.get(run);
  if (!turn) {
    turn = { run, asked: el("p.asked"), work: el("details.work", { open: true }, el("summary.fine", {}, "the team's steps")), result: el("div.result") };
    turn.box = el("article.turn", { "data-run": run }, turn.asked, turn.work, turn.result);
    state.turns.set(run, turn);
    $("turns").append(turn.box);
  }
  return turn;
}

function nodeOf(turn, name) {
  const key = turn.run + "/" + name;
  let box = state.nodes.get(key);
  if (!box) {
    box = el("details.node", { open: true, "data-node": name }, el("summary", {}, name || "model"));
    state.nodes.set(key, box);
    turn.work.append(box);
  }
  return box;
}

function near() { const t = $("turns"); return t.scrollHeight - t.scrollTop - t.clientHeight < 120; }

/** Draw an event; `dead`: of a run that nobody works on any more. */
function see(e, dead) {
  const follow = near(), turn = turnOf(e.run);
  const seers = {
    run_started: () => {
      turn.asked.textContent = visible(e.args.text || "");
      turn.work.open = true;
      Object.assign(state, { turn, calls: 0, tokens: 0, streamed: 0, began: e.at, ended: 0, budget: e.budget.tokens || 0, working: !dead });
      state.active.clear();
      if (state.turns.size === 1) $("title").textContent = visible(e.args.text || "");
    },
    step_started: () => {
      if (!dead) state.active.set(e.step, e.node || "model");
      stepOf(turn, e);
    },
    text_delta: () => {
      const step = stepOf(turn, e);
      if (e.attempt > step.attempt) { step.attempt = e.attempt; step.texts = []; }
      step.texts[e.choice] = (step.texts[e.choice] || "") + e.text;
      state.streamed += 1;
      state.dirty.add(step);
      requestAnimationFrame(paint);
    },
    step_finished: () => {
      const step = stepOf(turn, e);
      state.active.delete(e.step);
      state.calls += 1; state.tokens += e.prompt_tokens + e.completion_tokens; state.streamed = 0;
      step.texts = e.answers.map((a) => a.text);
      step.done = e;
      state.dirty.add(step);
      paint();
    },
    tool_call: () => {
      if (e.phase === "started" && dead) return;
      if (e.phase === "started") { state.active.set(e.call, e.node || e.tool); return; }
      state.active.delete(e.call);
      if (e.error) nodeOf(turn, e.node || e.tool).append(el("p.problem", {}, `${e.tool}: ${e.error}`));
    },
    state_delta: () => { if (e.name === "plan") $("plan").textContent = visible(e.value); },
    memory_hit: () => {
      state.hits.push(e);
      nodeOf(turn, "memory").append(el("details.step", {}, el("summary", {}, `${e.kind}: ${e.why}`), ...answer(e.text)));
      $("memory").replaceChildren(...state.hits.slice(-8).map((h) => el("details", {}, el("summary", {}, `${h.kind}: ${h.why}`), ...answer(h.text))));
    },
    test_result: () => nodeOf(turn, e.node || "tests").append(tests(e.verdict, e.node === "prune" ? "the team's own, on a program that is meant to fail"
      : { person: "yours", self_made: "the team's own" }[e.tests] || e.tests)),
    critique: () => nodeOf(turn, "review").append(el("div.card", {}, el("h3", {}, "critique"), el("p.said", {}, e.diagnosis), el("p.said", {}, e.advice),
      el("p.fine", {}, `confidence ${e.confidence}`))),
    interrupt: () => ask(turn, e),
    answered: () => answered(e),
    rollout_finished: () => { if (e.failure) turn.result.replaceChildren(el("p.bad-end", {}, e.failure)); },
    run_finished: () => ended(e, turn, ""),
    run_error: () => ended(e, turn, e.error === "Stopped" ? "stopped; what was done is kept" : e.message),
  };
  // A run that is gone on with tells again what the log holds of it.
  const once = { memory_hit: e.id, test_result: e.call, critique: e.step, answered: e.key }[e.type], key = once && `${e.run} ${e.type} ${once}`;
  if (seers[e.type] && !(key && state.shown.has(key) && !(state.question && state.question.key === e.key))) seers[e.type]();
  if (key) state.shown.add(key);
  drawn();
  if (follow) $("turns").scrollTop = $("turns").scrollHeight;
}

function stepOf(turn, e) {
  let step = state.steps.get(e.step);
  if (!step) {
    const name = e.node || "model", body = el("div");
    step = { id: e.step, attempt: 0, texts: [], done: null, body, summary: el("summary", {}, "answering"), row: el("div.row"), turn };
    step.box = el("details.step", { open: true, "data-step": e.step }, step.summary, body, step.row);
    nodeOf(turn, name).append(step.box);
    state.steps.set(e.step, step);
  }
  return step;
}

function isSelected(box) {
  const chosen = getSelection();
  return !chosen.isCollapsed && box.contains(chosen.anchorNode);
}

function paint() {
  const follow = near();
  for (const step of state.dirty) {
    if (isSelected(step.body)) continue;  // the selection would be lost; it is painted when that ends
    state.dirty.delete(step);
    const texts = step.texts.filter((t) => t !== undefined);
    step.body.replaceChildren(...texts.flatMap((text, i) => i === 0 ? answer(text) : [el("details", {}, el("summary", {}, `candidate ${i + 1}`), ...answer(text))]));
    if (step.done) {
      const d = step.done;
      step.summary.textContent = visible(`${d.agent} · ${d.prompt_tokens + d.completion_tokens} tokens · ${d.seconds.toFixed(1)} s · ${d.model}`);
      if (d.error) step.body.append(el("p.problem", {}, d.error));
      if (!step.row.firstChild) step.row.append(thumbs({ step: step.id }));
    }
  }
  if (follow) $("turns").scrollTop = $("turns").scrollHeight;
}

function ended(e, turn, why) {
  Object.assign(state, { ended: e.at, working: false, streamed: 0 });
  state.active.clear();
  unasked();
  if (why) turn.result.replaceChildren(el("p.bad-end", {}, why));
  else turn.work.open = false;
  clearTimeout(state.later);
  state.later = setTimeout(() => trying(async () => { await refreshed(true); await listed(); }), 60);
}

function drawn() {
  const names = new Set(state.active.values());
  for (const [key, box] of state.nodes) box.classList.toggle("active", state.working && names.has(key.slice(key.indexOf("/") + 1)));
  const seen = [...names].sort().join();
  if (state.picture && (seen !== state.drawn || !$("graph").firstChild)) { $("graph").replaceChildren(graph(state.picture, names)); state.drawn = seen; }
  $("stop").hidden = !state.working;
  $("send").textContent = state.question && state.question.question.kind === "question" ? "Answer" : state.working ? "Add a note" : "Send";
  ticked();
}

function ticked() {
  const s = state;
  if (!s.began) { $("status").textContent = "ready"; return; }
  const spent = `${s.calls} call${s.calls === 1 ? "" : "s"} · ${s.tokens.toLocaleString("en")}${s.streamed ? " +" + s.streamed : ""} tokens${s.budget ? " of " + s.budget.toLocaleString("en") : ""}`;
  const took = Math.max(0, (s.ended || Date.now() / 1000) - s.began);
  $("status").textContent = visible(`${s.question ? "waits for you" : [...new Set(s.active.values())].join(", ") || (s.working ? "working" : "done")} · ${spent} · ${took.toFixed(0)} s`);
  $("spent").textContent = spent;
  $("meter").hidden = !s.budget;
  if (s.budget) $("meter").value = Math.min(1, s.tokens / s.budget);
}

// ---- what is typed and pressed

async function sent() {
  const text = $("text").value;
  if (!text.trim()) return;
  await ready;
  await state.opening;  // it is meant for the conversation that was chosen
  await trying(async () => {
    if (!state.session) await fresh();
    if (!state.session) return;
    if (state.question && state.question.question.kind === "question") await call(here("/answer"), { text });
    else if (state.question) await call(here("/answer"), { decision: "reject", text });
    else if (state.working) { await call(here("/note"), { text }); state.turn.work.append(el("p.fine", {}, `your note, which the coder hears next: ${text}`)); }
    else { await call(here("/say"), { text }); listed().catch(() => null); }  // the next time will do
    $("text").value = "";
  });
}

function closeMenu() { $("threads").classList.remove("open"); $("menu").setAttribute("aria-expanded", "false"); }

function wired() {
  $("ask").addEventListener("submit", (event) => { event.preventDefault(); sent(); });
  $("text").addEventListener("keydown", (k) => { if (k.key === "Enter" && !k.shiftKey && !k.isComposing) { k.preventDefault(); sent(); } });
  $("stop").addEventListener("click", () => trying(() => call(here("/stop"), {})));
  $("resume").addEventListener("click", () => trying(async () => { $("resume").hidden = true; await call(here("/resume"), {}); }));
  $("undo").addEventListener("click", () => trying(async () => { await call(here("/undo"), {}); await refreshed(false); }));
  const sure = (open) => { $("sure").hidden = !open; $("forget").hidden = open; $(open ? "keep" : "forget").focus(); };
  $("forget").addEventListener("click", () => { if (state.session) sure(true); });
  $("keep").addEventListener("click", () => sure(false));
  $("really").addEventListener("click", () => { sure(false); trying(forgotten); });
  $("new").addEventListener("click", () => { history.replaceState(null, "", "/"); fresh(); });
  let typing;
  $("search").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(() => trying(listed), 200); });
  $("logout").addEventListener("click", async () => { await trying(() => call("/api/logout", {})); location.replace("/login"); });
  const narrow = () => matchMedia("(max-width: 1000px)").matches;
  $("menu").addEventListener("click", () => {
    if (narrow() && !$("panel").classList.contains("closed")) $("side").click();
    $("menu").setAttribute("aria-expanded", String($("threads").classList.toggle("open")));
  });
  $("side").addEventListener("click", () => { closeMenu(); $("side").setAttribute("aria-expanded", String(!$("panel").classList.toggle("closed"))); });
  $("settings").addEventListener("change", (event) => {
    const field = event.target, value = field.type === "checkbox" ? field.checked : field.type === "number" ? Number(field.value) : field.value;
    if (!state.session) return;
    trying(async () => { state.session.settings = await call(here("/set"), { [field.name]: field.name === "model" && !value ? "base" : value }); state.picture = await call(here("/graph")); state.drawn = null; drawn(); });
  });
  document.addEventListener("keydown", (k) => { if (k.key === "Escape") { closeMenu(); $("text").focus(); } });
  document.addEventListener("selectionchange", () => { if (state.dirty.size) requestAnimationFrame(paint); });
  window.addEventListener("hashchange", () => { state.opening = openHash(); });
  setInterval(ticked, 1000);
  setInterval(improving, 5000);
  if (narrow()) $("side").click();
  for (const id of ["text", "send", "new"]) $(id).disabled = false;
  $("text").focus();
}

/** Remove the conversation, and say what went. */
async function forgotten() {
  const where = here("/forget");
  emptied();
  within(null);
  history.replaceState(null, "", "/");
  $("title").textContent = "";
  $("turns").append(el("p.fine", { role: "status" }, "forgetting it"));
  try {
    const done = await call(where, {});
    $("turns").replaceChildren(el("div.card", { role: "status" }, el("h3", {}, "Forgotten"), done.said.map((line) => el("p.said", {}, line))));
  } catch (err) {
    $("turns").replaceChildren();
    throw err;
  } finally { await listed(); }
}

/** How an improve run beside this goes, of whatever process. */
async function improving() {
  const now = await call("/api/improve").catch(() => null);  // the next time will do
  if (!now) return;
  $("improvebox").hidden = !now.stages.length;
  $("improving").textContent = visible(now.title);
  redrawn($("stages"), now.stages, () => now.stages.map((s) => el("label.stage", {}, `${s.name}: ${s.passed} of ${s.done} passed`, el("progress", { max: s.done, value: s.passed }))));
}

wired();
const ready = (async () => {
  state.me = await call("/api/me");
  $("user").textContent = visible(state.me.user);
  if (state.me.folder) { $("folderline").hidden = false; $("folder").textContent = visible(state.me.folder.split("/").pop()); $("infolder").checked = true; }
  await trying(listed);
  await openHash();
  improving();
})();
