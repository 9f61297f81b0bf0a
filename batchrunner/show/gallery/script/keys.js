/* Keys. */

const KEYS = [
  ["arrows", "go from tile to tile"],
  ["Enter", "open it large"],
  ["Space", "play or pause it"],
  ["s", "star it"],
  ["n", "write a note"],
  ["m", "its sound, the only one"],
  ["c", "compare it; again on another one"],
  ["r", "play its row together"],
  ["a", "play everything on the screen together"],
  ["e", "save picks.json"],
  ["b", "while comparing: slider or side by side"],
  ["Esc", "close, stop"],
  ["?", "these keys"],
];

function openHelp() {
  const rows = KEYS.map(([key, does]) => [make("dt", {}, make("kbd", { text: key })), make("dd", { text: does })]);
  byId("help").replaceChildren(
    make("header", {}, make("h2", { text: "Keys" }), button("×", "Close (Esc)", () => byId("help").close(), { class: "round" })),
    make("dl", { class: "keys" }, ...rows.flat()),
  );
  byId("help").showModal();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("textarea, select")) return;
  const table = byId("detail").open ? detailKeys : byId("compare").open ? compareKeys : gridKeys;
  if (event.target.matches("input") && event.key.startsWith("Arrow")) return;
  const act = store.data && !byId("help").open && Object.hasOwn(table, event.key) ? table[event.key] : null;
  if (act && act(document.activeElement?.closest(".tile"), event) !== false) event.preventDefault();
}

const detailKeys = {
  ArrowLeft: () => turnDetail(-1),
  ArrowRight: () => turnDetail(1),
  s: () => starDetail(detailed),
  n: () => byId("note").focus(),
  c: () => compareDetail(detailed),
  m: () => toggleLoud(byId("detail").querySelector("video, audio")),
};

const compareKeys = { b: () => turnLayout() };

const gridKeys = {
  ArrowLeft: (tile) => move(tile, -1, 0),
  ArrowRight: (tile) => move(tile, 1, 0),
  ArrowUp: (tile) => move(tile, 0, -1),
  ArrowDown: (tile) => move(tile, 0, 1),
  Enter: (tile, event) => (tile && event.target === tile ? openDetail(tile.cell.id) : false),
  " ": (tile, event) => (tile && event.target === tile ? togglePlay(tile) : false),
  s: (tile) => tile && toggleStar(tile.cell.id),
  n: (tile) => tile && noteOf(tile),
  m: (tile) => tile && toggleLoud(tile.media),
  c: (tile) => tile && toggleCompared(tile.cell.id),
  r: (tile) => tile?.closest(".row").querySelector(".play").click(),
  a: () => playAll(),
  e: () => exportPicks(),
  Escape: () => stopTogether(),
  "?": () => openHelp(),
};

function togglePlay(tile) {
  if (!isPlayable(tile.media)) return;
  if (tile.media.paused) play(tile.media);
  else tile.media.pause();
}

function noteOf(tile) {
  openDetail(tile.cell.id);
  byId("note").focus();
}

/* The tile next to this one on the screen; from nowhere, the first. */
function move(tile, right, down) {
  const all = [...document.querySelectorAll("#grid .tile")];
  if (!tile) return focusOn(all[0]);
  if (right) return focusOn(all[all.indexOf(tile) + right]);
  return focusOn(nearest(tile, all, down));
}

function focusOn(tile) {
  tile?.focus({ preventScroll: true });
  tile?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function nearest(tile, all, down) {
  const from = tile.getBoundingClientRect();
  const distance = (other) => {
    const to = other.getBoundingClientRect();
    const apart = (to.top - from.top) * down;
    return apart > 1 ? apart * 10 + Math.abs(to.left - from.left) : Infinity;
  };
  const place = all.indexOf(tile);
  const near = all.slice(Math.max(0, place - 200), place + 200);
  const best = near.reduce((found, other) => (distance(other) < distance(found) ? other : found), tile);
  return distance(best) < Infinity ? best : null;
}
