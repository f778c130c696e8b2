"use strict";
// The person in the loop: what the team asks, what came of a request, and what is said of it.
// A card is made once and changed in place, so that open forms, what is typed, focus and selection outlive every redraw.

/** Let children stand in a place; those that stand there already are not touched. */
function placed(parent, children) {
  children.forEach((child, i) => { if (parent.children[i] !== child) parent.insertBefore(child, parent.children[i] || null); });
  while (parent.children.length > children.length) parent.lastChild.remove();
}

/** Draw into a place what is shown there, if it is another thing than before. */
function redrawn(place, shown, draw) {
  const now = JSON.stringify(shown);
  if (place.shown === now) return;
  place.shown = now;
  place.replaceChildren(...draw().filter((part) => part !== null));
}

/** A field whose text follows what is given, until somebody types. */
function followed(field, text) {
  if (field.value === (field.given || "")) field.value = text;
  field.given = text;
}

function button(name, work, kind = "button") { return el(kind, { type: "button", onclick: work }, name); }

// ---- questions

function ask(turn, e) {
  if (!state.working || state.shown.has(`${e.run} answered ${e.key}`)) return;
  const asked = e.question || {};
  const box = state.asked.get(e.key) || question(asked);
  state.asked.set(e.key, box);
  state.question = { key: e.key, box, question: asked };
  box.hidden = false;
  turn.work.append(box);
}

/** The run has ended; what was typed in answer to it is there again when the team asks again. */
function unasked() {
  if (state.question) state.question.box.hidden = true;
  state.question = null;
}

function question(asked) {
  const send = (said) => trying(() => call(here("/answer"), said));
  const box = el("div.card.question", { "data-kind": asked.kind, role: "group", "aria-label": "The team waits for you" });
  if (asked.kind === "question") {
    const field = el("input", { "aria-label": "Your answer" });
    field.addEventListener("keydown", (k) => { if (k.key === "Enter") send({ text: field.value }); });
    box.append(el("h3", {}, "The team asks"), el("p.said", {}, asked.text), field, el("div.row", {}, button("Answer", () => send({ text: field.value }), "button.main")));
    return box;
  }
  const isPlan = asked.kind === "plan";
  box.append(el("h3", {}, isPlan ? "Is this plan right?" : "Write this change?"));
  if (isPlan) box.append(...answer(asked.plan || "(no plan was made)"));
  else {
    box.append(diff(asked.diff || ""));
    for (const [path, why] of Object.entries(asked.refused || {})) box.append(el("p.problem", {}, `left out: ${path} (${why})`));
    if (asked.verdict) box.append(tests(asked.verdict, "your tests"));
  }
  const fields = Object.entries(isPlan ? { plan: asked.plan } : asked.files).map(([path, text]) => {
    const field = el("textarea.code", { rows: "8", "aria-label": path });
    field.value = text;
    return [path, field];
  });
  const mine = () => (isPlan ? { text: fields[0][1].value } : { files: Object.fromEntries(fields.map(([path, field]) => [path, field.value])) });
  const edited = el("div", { hidden: true }, fields.map(([path, field]) => [isPlan ? null : el("p.path", {}, path), field]).flat(),
    el("div.row", {}, button("Use mine", () => send({ decision: "edit", ...mine() }), "button.main")));
  const edit = () => { edited.hidden = false; fields[0][1].focus(); edited.scrollIntoView({ block: "nearest" }); };
  const otherwise = el("input", { placeholder: "or say what to do otherwise", "aria-label": "What to do otherwise" });
  const reject = () => send({ decision: "reject", text: otherwise.value });
  otherwise.addEventListener("keydown", (k) => { if (k.key === "Enter" && otherwise.value.trim()) reject(); });
  box.append(el("div.row", {}, button("Approve", () => send({ decision: "approve" }), "button.main"), fields.length ? button("Edit", edit) : null, button("Reject", reject), otherwise), edited);
  return box;
}

function answered(e) {
  const said = e.answer && e.answer.decision ? e.answer.decision + (e.answer.text ? ": " + e.answer.text : "") : String(e.answer || "");
  const card = el("p.fine", { "data-answered": "true" }, `you said: ${said}`);
  if (state.question && state.question.key === e.key) { state.question.box.replaceWith(card); state.question = null; }
  else if (state.turns.has(e.run)) state.turns.get(e.run).work.append(card);
}

// ---- answers

/** Good, bad, and why. */
function thumbs(about) {
  const holder = el("span.row.thumbs"), said = el("span.fine", { role: "status" });
  const comment = el("input", { placeholder: "why? (Enter sends; empty will do)", "aria-label": "Comment" });
  let good = true;
  const form = el("span.row.comment", {}, comment, button("Log it", () => send()));
  const buttons = [["Good", true], ["Bad", false]].map(([name, means]) => button(name, () => {
    good = means;
    said.textContent = "";
    placed(holder, [...buttons, form, said]);
    pressed(good);
    comment.focus();
  }));
  const pressed = (which) => buttons.forEach((b, i) => b.setAttribute("aria-pressed", String(which === (i === 0))));
  const send = () => trying(async () => {
    await call(here("/rate"), { ...about, good, comment: comment.value });
    placed(holder, [...buttons, said]);
    comment.value = "";
    pressed(null);
    said.textContent = good ? "logged as good" : "logged as bad";
    await refreshed(false);
  });
  comment.addEventListener("keydown", (k) => { if (k.key === "Enter") { k.preventDefault(); send(); } });
  placed(holder, [...buttons, said]);
  return holder;
}

/** What came of a request: code, verdict, difference, candidates, and what people said of it. */
function result(turn) {
  const at = turnOf(turn.run);
  if (!at.asked.textContent) at.asked.textContent = visible(turn.text);
  if (turn.end !== "finished") {
    if (!state.working || state.turn !== at) at.result.replaceChildren(el("p.bad-end", {}, turn.end === "open" ? "not finished; 'Go on' continues" : `${turn.end} ${turn.why}`));
    return;
  }
  const card = at.card = at.card || answerCard(turn.run);
  placed(at.result, [card.box]);
  const files = Object.entries(turn.files), inFolder = Boolean(state.session.folder);
  redrawn(card.head, [turn.verdict && turn.verdict.status, turn.failure], () => ["Answer ", turn.verdict ? badge(turn.verdict.status) : null,
    turn.failure ? el("span.bad-end", {}, " " + turn.failure) : null]);
  redrawn(card.code, [turn.files, turn.answer], () => (files.length ? files.flatMap(([path, text]) => [files.length > 1 || inFolder ? el("p.path", {}, path) : null, code(text)])
    : answer(turn.answer)));
  redrawn(card.tests, turn.verdict, () => (turn.verdict ? [tests(turn.verdict, turn.verdict.tests === "person" ? "yours" : turn.verdict.tests)] : []));
  redrawn(card.changes, turn.diff, () => (turn.diff ? [el("details.changes", {}, el("summary", {}, "What has changed"), diff(turn.diff))] : []));
  redrawn(card.candidates, turn.candidates, () => (turn.candidates.length > 1 ? [candidates(turn)] : []));
  for (const can of [card.correct, card.check]) can.hidden = !files.length || inFolder;
  if (files.length) followed(card.corrected, files[0][1]);
  placed(card.feedback, turn.feedback.map((f) => card.said.get(f.id) || feedback(card, f)));
}

/** An empty card for the answer to a run, with its forms. */
function answerCard(run) {
  const card = { box: el("div.card.answer"), head: el("h3"), code: el("div"), tests: el("div"), changes: el("div"), candidates: el("div"), feedback: el("div"), said: new Map() };
  card.corrected = el("textarea.code", { rows: "8", "aria-label": "The answer as it should have been" });
  const correcting = el("div", { hidden: true }, card.corrected, el("div.row", {}, button("This is right", () => trying(async () => {
    await call(here("/correct"), { run, text: card.corrected.value });
    correcting.hidden = true;
    card.corrected.given = card.corrected.value;
    await refreshed(false);
  }), "button.main")));
  const wanted = el("textarea.code", { rows: "2", placeholder: "assert double(0) == 0", "aria-label": "Tests" }), found = el("div");
  const checking = el("div", { hidden: true }, wanted, el("div.row", {}, button("Run", () => trying(async () => {
    found.replaceChildren(tests(await call(here("/check"), { run, tests: wanted.value }), "yours"));
  }), "button.main")), found);
  const opens = (name, form, field) => button(name, () => { form.hidden = !form.hidden; if (!form.hidden) field.focus(); });
  card.correct = opens("Correct", correcting, card.corrected);
  card.check = opens("Run tests", checking, wanted);
  card.box.append(card.head, card.code, card.tests, card.changes, card.candidates, el("div.row", {}, thumbs({ run }), card.correct, card.check), correcting, checking, card.feedback);
  return card;
}

function candidates(turn) {
  return el("details.candidates", {}, el("summary", {}, `${turn.candidates.length} candidates to choose among`), turn.candidates.map((c, i) => el("div.card", {},
    el("h3", {}, `Candidate ${i + 1} `, badge(c.visible), c.chosen ? " chosen" : ""), Object.values(c.files).map(code),
    button("I prefer this one", () => trying(async () => { await call(here("/pick"), { run: turn.run, index: i }); await refreshed(false); })))));
}

function feedback(card, f) {
  const line = el("p.fine.feedback", {}, `${f.author}: ${f.kind}${f.comment ? ", " + f.comment : ""} · ${when(f.at)} `,
    button("take back", () => trying(async () => { await call(here("/revoke"), { id: f.id }); await refreshed(false); }), "button.bare"));
  card.said.set(f.id, line);
  return line;
}
