// The label page. Everything from the data goes into the page as text, never as HTML.
const find = (selector) => element.querySelector(selector);
const make = (tag, text, classes) => {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (classes) made.className = classes;
  return made;
};
const COLORS = ["#1f6feb", "#d9480f", "#2b8a3e", "#9c36b5", "#e67700", "#0b7285", "#c2255c", "#5f3dc4", "#846358"];
const KEYS = [..."123456789", ..."qwertyuiopadghjklzxcvbnm"]; // not s (skip) and f (flag)
const NAME = "hfal-name", UNSENT = "hfal-unsent";
const RETRY = 1000, LOOK = 2500;

let who = null, single = false, kind = "one", classes = [], row = null, since = 0, busy = false, loop = 0;
let typed = "", picked = new Set(), flagged = false, spans = [], at = 0, anchor = null, dragging = false;
// localStorage can be denied (a Space in a frame): the page then forgets names, not answers that were sent.
const remember = (key, value) => { try { value === null ? localStorage.removeItem(key) : localStorage.setItem(key, value); } catch { /* denied */ } };
const recall = (key) => { try { return localStorage.getItem(key); } catch { return null; } };
const color = (name) => COLORS[classes.indexOf(name) % COLORS.length];
const typing = () => kind === "answer" || kind === "text";
const wait = (time) => new Promise((done) => setTimeout(done, time));

function trouble(text) {
  const place = find(".trouble");
  place.hidden = !text;
  place.textContent = text || "";
}

// What the server says; it is asked again until it answers.
async function ask(name, given) {
  busy = true;
  for (let turn = 0; ; turn += 1) {
    try {
      const said = await server[name]({ who, said: given });
      if (!said || typeof said !== "object") throw new Error("no answer");
      trouble(said.error || "");
      busy = false;
      return said;
    } catch {
      if (await loggedOut()) trouble("You are logged out. Reload the page and log in: your answer is kept.");
      else if (turn) trouble("No connection. Your answer is kept here and sent again by itself.");
      await wait(RETRY);
    }
  }
}

// A server that was started again knows nobody; gradio's client does not say why a call failed.
async function loggedOut() {
  const { root = "", api_prefix: prefix = "" } = window.gradio_config || {};
  try { return (await fetch(`${root}${prefix}/login_check`)).status === 401; } catch { return false; }
}

async function begin(name) {
  who = name;
  const said = await ask("start");
  if (said.error) { find(".who").hidden = false; find(".work").hidden = true; alertName(said.error); return; }
  who = said.name;
  kind = said.kind;
  single = said.single === true;
  classes = said.classes;
  remember(NAME, who);
  find(".who").hidden = true;
  find(".work").hidden = false;
  find(".name").textContent = who;
  find(".help").textContent = help();
  const unsent = recall(UNSENT);
  if (unsent) {
    const kept = JSON.parse(unsent);
    if (kept.who === who) { await send(kept.said); return; }
  }
  show(said);
}

function alertName(text) {
  const field = find("#hfal-name");
  field.setCustomValidity(text);
  field.reportValidity();
  field.setCustomValidity("");
}

function help() {
  if (kind === "answer") return "Type the answer; enter sends it.";
  if (single) return "Mark the answer: ← → move, shift selects, 1 marks, delete unmarks; enter sends it, or that there is none.";
  if (kind === "text") return "Write the text; ctrl and enter send it.";
  const keys = { one: "1–9 answer", several: "1–9 choose, enter sends", words: "← → move, shift selects, 1–9 mark, delete unmarks, enter sends" };
  return `Keys: ${keys[kind]} · s skip · f flag · backspace undoes the last answer`;
}

function show(said) {
  progress(said);
  if (said.error) return;
  row = said.row;
  picked = new Set();
  typed = "";
  flagged = false;
  spans = [];
  at = 0;
  anchor = null;
  clearTimeout(loop);
  if (!row) { rest(said); return; }
  const before = row.before !== undefined && row.before !== null ? row.before : row.suggestion;
  if (before !== null && before !== undefined) {
    if (kind === "words") spans = before.map((span) => [...span]);
    else if (typing()) typed = row.before !== undefined && row.before !== null ? before : "";
    else picked = new Set(kind === "several" ? before : [before]);
  }
  find(".labels").hidden = find(".actions").hidden = false;
  const sure = row.sure !== undefined ? ` The model suggests ${row.suggestion === null ? "nothing" : "what is marked"} (${Math.round(100 * row.sure)}% sure).` : "";
  find(".why").textContent = `This row was ${row.why}.${sure}`;
  draw();
  since = performance.now();
  find(".row").scrollTop = 0;
  if (typing()) { find("#hfal-answer").focus(); return; }
  find(".row").focus({ preventScroll: true }); // so that page down and the arrows scroll a long text
}

function rest(said) {
  const place = find(".row");
  const done = said.done === said.rows;
  place.replaceChildren(make("p", done ? `Round ${said.round} is done. Thank you!` : "Others have the rows that are left."));
  find(".why").textContent = done ? "The next rows appear here by themselves, once they are chosen." : "If they stop, their rows come to you.";
  find(".labels").hidden = true;
  find(".actions").hidden = false;
  for (const button of element.querySelectorAll("[data-do]")) button.hidden = button.dataset.do !== "undo";
  loop = setTimeout(async () => { if (!busy && !row) show(await ask("next")); }, LOOK);
}

function progress(said) {
  if (said.rows === undefined) return;
  const bar = find(".bar");
  bar.setAttribute("aria-valuemax", said.rows);
  bar.setAttribute("aria-valuenow", said.done);
  find(".bar i").style.width = `${100 * said.done / said.rows}%`;
  const minutes = said.left === null || said.left === undefined ? "" : said.left < 90 ? " · about a minute left" : ` · about ${Math.round(said.left / 60)} minutes left`;
  find(".progress").textContent = `Round ${said.round}: ${said.done} of ${said.rows} rows${said.done < said.rows ? minutes : ""}`;
  find(".name").textContent = `${who} · ${said.mine}`;
  find(".figures").textContent = (said.figures || []).join(" · ");
  if (said.note) trouble(said.note);
}

function draw() {
  for (const button of element.querySelectorAll("[data-do]")) button.hidden = false;
  const place = find(".row");
  place.replaceChildren();
  for (const [name, source] of row.pictures || []) {
    const picture = make("img");
    if (source.startsWith("data:image/")) picture.src = source;
    picture.alt = source ? name : `${name} cannot be shown`;
    place.append(picture);
  }
  if (kind === "words") {
    for (const [, text] of row.texts || []) { const part = make("p", text, "asked"); part.dir = "auto"; place.append(part); }
    drawWords(place);
  }
  else for (const [name, text] of row.texts) {
    const part = make("p", undefined);
    part.dir = "auto";
    if (row.texts.length > 1) part.append(make("small", name));
    if (row.segments) for (const [piece, entity] of row.segments) {
      const shown = entity ? make("b", piece, "in") : document.createTextNode(piece);
      if (entity) shown.style.setProperty("--c", COLORS[entity - 1]);
      part.append(shown);
      if (entity) { const tag = make("i", String(entity), "kind"); tag.style.setProperty("--c", COLORS[entity - 1]); part.append(tag); }
    } else part.append(document.createTextNode(text));
    place.append(part);
  }
  drawLabels();
  find("[data-do=flag]").setAttribute("aria-pressed", flagged);
  find("[data-do=enter]").hidden = kind === "one" && picked.size === 0;
  for (const key of element.querySelectorAll(".actions kbd")) key.hidden = kind === "text" || kind === "answer" && key.textContent !== "enter";
}

function drawAnswer(place) {
  const field = make(kind === "text" ? "textarea" : "input");
  field.id = "hfal-answer";
  if (kind === "answer") field.type = "text";
  else field.rows = 4;
  field.maxLength = kind === "text" ? 20000 : 500;
  field.dir = "auto";
  field.autocomplete = "off";
  field.setAttribute("aria-label", "answer");
  field.setAttribute("list", "hfal-answers");
  field.value = typed;
  field.addEventListener("input", () => { typed = field.value; });
  field.addEventListener("keydown", (event) => { if (event.key === "Enter" && (kind === "answer" || event.ctrlKey || event.metaKey) && !event.isComposing && !event.repeat) { event.preventDefault(); enter(); } });
  const known = make("datalist");
  known.id = "hfal-answers";
  for (const name of classes) { const option = make("option"); option.value = name; known.append(option); }
  place.append(field, known);
  for (const text of row.candidates || (row.suggestion === null ? [] : [row.suggestion])) {
    const guess = make("button", text, "guess");
    guess.type = "button";
    guess.dir = "auto";
    guess.addEventListener("click", () => {
      typed = text;
      if (kind === "answer") { enter(); return; }
      field.value = typed; // to be changed before it is sent
      field.focus();
    });
    place.append(guess);
  }
}

function drawLabels() {
  const place = find(".labels");
  place.replaceChildren();
  if (typing()) { drawAnswer(place); return; }
  const guess = kind === "words" || row.suggestion === null ? [] : [].concat(row.suggestion);
  classes.forEach((name, index) => {
    const button = make("button", name, guess.includes(name) ? "guess" : "");
    button.type = "button";
    button.dir = "auto";
    if (KEYS[index]) button.append(make("kbd", KEYS[index]));
    button.setAttribute("aria-pressed", kind !== "words" && picked.has(name));
    if (kind === "words") button.style.borderColor = color(name);
    button.addEventListener("click", () => choose(name));
    place.append(button);
  });
}

function drawWords(place) {
  const part = make("p");
  part.dir = "auto";
  let end = 0;
  const [low, high] = anchor === null ? [at, at] : [Math.min(anchor, at), Math.max(anchor, at)];
  const letters = Array.from(row.text);  // bounds count characters, strings of a browser count halves of emoji
  const cut = (from, to) => letters.slice(from, to).join("");
  row.bounds.forEach(([start, stop], index) => {
    const span = spans.find(([first, last]) => first <= index && index < last);
    const joined = span && span[0] < index;
    const gap = cut(end, start);
    if (joined) { const between = make("b", gap, "in"); between.style.setProperty("--c", color(span[2])); part.append(between); }
    else part.append(document.createTextNode(gap));
    const word = make("b", cut(start, stop), span ? "in" : "");
    word.dataset.word = index;
    if (span) word.style.setProperty("--c", color(span[2]));
    if (anchor !== null && low <= index && index <= high) word.classList.add("picked");
    if (index === at) word.classList.add("at");
    part.append(word);
    if (span && span[1] - 1 === index) { const tag = make("i", span[2], "kind"); tag.style.setProperty("--c", color(span[2])); part.append(tag); }
    end = stop;
  });
  part.append(document.createTextNode(cut(end)));
  place.append(part);
  const here = place.querySelector("b.at");
  if (here) here.scrollIntoView({ block: "nearest" });
}

function choose(name) {
  if (!row || busy || name === undefined) return;
  if (kind === "one") { picked = new Set([name]); enter(); return; }
  if (kind === "several") { picked.has(name) ? picked.delete(name) : picked.add(name); draw(); return; }
  const [low, high] = anchor === null ? [at, at] : [Math.min(anchor, at), Math.max(anchor, at)];
  if (single) spans = []; else unmark(low, high);
  spans.push([low, high + 1, name]);
  anchor = null;
  at = Math.min(high + 1, row.bounds.length - 1);
  draw();
}

function unmark(low, high) {
  spans = spans.filter(([first, last]) => last <= low || first > high);
}

function enter() {
  if (kind === "one" && picked.size === 0 || typing() && !typed.trim()) return;
  const label = typing() ? typed.trim() : kind === "one" ? [...picked][0] : kind === "several" ? [...picked] : spans;
  give({ label });
}

function give(said) {
  if (!row || busy) return;
  const answer = { id: row.id, seconds: (performance.now() - since) / 1000, flagged, nonce: `${Date.now()}-${Math.random()}`, ...said };
  remember(UNSENT, JSON.stringify({ who, said: answer }));
  return send(answer);
}

async function send(answer) {
  const said = await ask("answer", answer);
  remember(UNSENT, null);
  show(said.error ? { ...said, ...(await ask("next")), error: undefined, note: said.error } : said);
}

async function undo() {
  if (!busy) show(await ask("undo"));
}

const doing = {
  enter, undo,
  skip: () => give({ skipped: true }),
  flag: () => { if (row) { flagged = !flagged; draw(); } },
};

function move(step, extend) {
  if (extend && anchor === null) anchor = at;
  if (!extend) anchor = null;
  at = Math.max(0, Math.min(row.bounds.length - 1, at + step));
  draw();
}

function onKey(event) {
  if (!element.isConnected) { document.removeEventListener("keydown", onKey); return; }
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || event.repeat && event.key.length === 1 || find(".work").hidden) return;
  if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key === "Backspace") { event.preventDefault(); undo(); return; }
  if (!row) return;
  if (kind === "words" && (key === "ArrowLeft" || key === "ArrowRight")) {
    const rtl = getComputedStyle(find(".row p")).direction === "rtl";
    move((key === "ArrowRight") === !rtl ? 1 : -1, event.shiftKey);
  } else if (kind === "words" && (key === "Delete" || key === "0")) {
    unmark(Math.min(anchor ?? at, at), Math.max(anchor ?? at, at));
    draw();
  } else if (key === "Enter") {
    if (event.target.tagName === "BUTTON") return; // the button has been chosen with tab: it acts
    enter();
  } else if (key === "s") doing.skip();
  else if (key === "f") doing.flag();
  else if (KEYS.includes(key) && KEYS.indexOf(key) < classes.length) choose(classes[KEYS.indexOf(key)]);
  else return;
  event.preventDefault();
}

const wordAt = (event) => {
  const under = document.elementFromPoint(event.clientX, event.clientY);
  const word = under && under.closest ? under.closest("b[data-word]") : null;
  return word ? Number(word.dataset.word) : null;
};
find(".row").addEventListener("pointerdown", (event) => {
  const word = kind === "words" && row ? wordAt(event) : null;
  if (word === null) return;
  event.preventDefault();
  anchor = event.shiftKey ? (anchor ?? at) : word;
  at = word;
  dragging = true;
  draw();
});
find(".row").addEventListener("pointermove", (event) => {
  const word = dragging ? wordAt(event) : null;
  if (word !== null && word !== at) { at = word; draw(); }
});
document.addEventListener("pointerup", () => { dragging = false; });
document.addEventListener("keydown", onKey);
for (const button of element.querySelectorAll("[data-do]")) button.addEventListener("click", () => doing[button.dataset.do]());
find(".who").addEventListener("submit", (event) => { event.preventDefault(); begin(find("#hfal-name").value); });

const name = (window.gradio_config && window.gradio_config.username) || recall(NAME); // a login's name comes first
if (name) begin(name);
else { find(".who").hidden = false; find("#hfal-name").focus(); }
