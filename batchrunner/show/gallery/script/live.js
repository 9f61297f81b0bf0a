/* Updates: the data file is a script that calls us; reading it again is loading it again, which works without a server. */

const OFTEN = 2000;
const SELDOM = 15_000;
/* The page may spend a twentieth of its time on updates. */
const SHARE = 20;
const trusted = globalThis.trustedTypes?.createPolicy("batchrunner", { createScriptURL: (url) => url });
let cost = 0;
let lastText = "";

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

function receive(data) {
  const began = performance.now();
  if (data.version !== VERSION) {
    byId("standing").textContent = "This page is of another version: run batchrunner gallery again.";
    return;
  }
  if (JSON.stringify(data) === lastText) return;
  lastText = JSON.stringify(data);
  const before = store.cells;
  setData(data);
  drawBar();
  drawGrid();
  drawReport();
  for (const cell of data.cells) {
    const known = before.get(cell.id);
    if (known && tiles.has(cell.id) && JSON.stringify(known) !== JSON.stringify(cell)) fillTile(cell);
  }
  cost = performance.now() - began;
}
