/* What a person thinks of the jobs: stars and notes, kept in this browser, and by `gallery --serve` in the folder. */

let marks = {};

function loadMarks() {
  marks = kept("marks", {});
}

function markOf(id) {
  return marks[id] ?? { star: false, note: "" };
}

function mark(id, change) {
  const changed = { ...markOf(id), ...change };
  if (changed.star || changed.note) marks[id] = changed;
  else delete marks[id];
  keep("marks", marks);
  showMark(id);
  drawPicks();
  savePicks();
}

function toggleStar(id) {
  mark(id, { star: !markOf(id).star });
}

function starred() {
  return store.data.cells.filter((cell) => markOf(cell.id).star);
}

function noted() {
  return store.data.cells.filter((cell) => markOf(cell.id).note && !markOf(cell.id).star);
}

/* Another tab of the same batch may have changed them. */
addEventListener("storage", (event) => {
  if (!event.key?.endsWith("/marks") || !store.data) return;
  loadMarks();
  for (const id of tiles.keys()) showMark(id);
  drawPicks();
});
