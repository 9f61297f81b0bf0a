/* Updates: the data file is a script that calls us; reading it again is loading it again, which works without a server. */

const OFTEN = 2000;
const SELDOM = 15_000;
/* The page may spend a twentieth of its time on updates. */
const SHARE = 20;
const trusted = globalThis.trustedTypes?.createPolicy("batchrunner", { createScriptURL: (url) => url });
let cost = 0;
let lastText = "";
let alive = true;
/* Seconds by which a runner's sign of life may be late, or its clock differ from ours. */
const LATE = 60;

function sourceUrl() {
  const url = `${document.body.dataset.source}?${Date.now()}`;
  return trusted ? trusted.createScriptURL(url) : url;
}

function ask() {
  const script = document.createElement("script");
  script.addEventListener("load", () => asked(script));
  script.addEventListener("error", () => missed(script));
  script.src = sourceUrl();
  document.head.append(script);
}

function missed(script) {
  if (!store.data) byId("standing").textContent = "Nothing to show yet: the batch has not begun.";
  asked(script);
}

function asked(script) {
  script.remove();
  setTimeout(askIfSeen, Math.max(store.data && !store.data.live ? SELDOM : OFTEN, cost * SHARE));
}

/* A hidden page asks for nothing. */
function askIfSeen() {
  if (document.hidden) document.addEventListener("visibilitychange", ask, { once: true });
  else ask();
}

/* Whether a run is on, as far as its files tell: one that was killed says nothing any more. */
function isAlive() {
  const { live, next_at: next } = store.data;
  return live && (next === null || Date.now() / 1000 < next + LATE);
}

function drawTrouble() {
  const { at, counts, total, trouble, commands } = store.data;
  const lines = isAlive() ? trouble : [];
  const stopped = !isAlive() && counts.done + counts.failed < total;
  const node = byId("trouble");
  node.hidden = !lines.length && !stopped;
  node.replaceChildren(...lines.map((line) => make("p", {}, quoted(line))));
  if (!stopped) return;
  const copying = button("Copy", `Copy: ${commands.resume}`, () => copy("Copy command", commands.resume));
  const command = make("code", { text: commands.resume });
  node.append(make("p", { text: `Not running: last heard of at ${spokenClock(at)}. To go on:` }), make("p", {}, command, " ", copying));
}

function receive(data) {
  const began = performance.now();
  if (data.version !== VERSION) {
    byId("standing").textContent = "This page is of another version: run batchrunner gallery again.";
    return;
  }
  const died = alive && store.data && !isAlive();
  if (JSON.stringify(data) === lastText && !died) return;
  lastText = JSON.stringify(data);
  const before = store.cells;
  setData(data);
  alive = isAlive();
  drawTrouble();
  drawBar();
  drawGrid();
  drawReport();
  for (const cell of data.cells) {
    const known = before.get(cell.id);
    if (known && tiles.has(cell.id) && (died || JSON.stringify(known) !== JSON.stringify(cell))) fillTile(cell);
  }
  cost = performance.now() - began;
}
