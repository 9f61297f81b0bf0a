/* The grid: rows of tiles. Drawn anew only when a job moves; otherwise tile by tile. */

const MOVING = /[.](mp4|webm|mov|mkv)$/i;
let drawn = "";

function drawGrid() {
  const table = tableOf(store.view);
  store.columns = table.columns.length;
  const signature = JSON.stringify([table.columns, table.rows.map((row) => [row.label, row.picture, row.cells.map(ids)])]);
  if (signature !== drawn) {
    drawn = signature;
    rebuild(table);
  }
  drawStanding();
}

function ids(cells) {
  return cells.map((cell) => cell.id).join();
}

function rebuild(table) {
  const grid = byId("grid");
  const focused = document.activeElement?.closest(".tile")?.dataset.job;
  stopTogether();
  grid.style.setProperty("--columns", Math.max(1, table.columns.length));
  grid.classList.toggle("flow", table.columns.length === 0);
  /* Rows of one tile stand side by side: below each other they would leave the screen empty. */
  grid.classList.toggle("single", table.rows.length > 1 && table.rows.every((row) => row.cells.flat().length === 1));
  grid.replaceChildren(...(table.columns.length ? [heads(table.columns)] : []), ...table.rows.map(drawRow));
  if (!table.rows.length) grid.append(make("p", { class: "empty", text: "Nothing here matches." }));
  forget(table);
  for (const tile of grid.querySelectorAll(".tile")) {
    fillCaption(tile);
    watch(tile);
  }
  if (focused) tiles.get(focused)?.focus({ preventScroll: true });
  const first = grid.querySelector(".tile");
  if (first && !grid.querySelector('.tile[tabindex="0"]')) first.tabIndex = 0;
}

/* Tiles that are no longer shown give their decoders back. */
function forget(table) {
  const shown = new Set(table.rows.flatMap((row) => row.cells.flat().map((cell) => cell.id)));
  for (const [id, tile] of tiles) {
    if (shown.has(id)) continue;
    nearby.unobserve(tile);
    unmount(tile);
    tiles.delete(id);
  }
}

function heads(columns) {
  const shown = columns.map(({ label, picture }) => make("span", {}, inputPicture(picture), quoted(label)));
  return make("div", { class: "heads", "aria-hidden": "true" }, ...shown);
}

/* A picture, or the first frame of a video. Gone where there is none: the copy of an input is made when its first job is due. */
function inputPicture(url) {
  if (!url) return null;
  const settings = { src: url, class: "input", on: { error: (event) => event.target.remove() } };
  if (MOVING.test(url)) return make("video", { ...settings, muted: "", preload: "metadata", "aria-hidden": "true" });
  return make("img", { ...settings, alt: "", loading: "lazy", decoding: "async", draggable: "false" });
}

function drawRow(row, place) {
  const name = `row ${place}`;
  const cells = row.cells.map((group) => make("div", { class: "cell" }, ...group.map(fillTile)));
  const section = make("section", { class: "row", "aria-label": row.label || "All" });
  const playing = button("▶", "Play the row together (r)", () => playRow(section, name), { class: "play", "data-choir": name });
  const label = row.label ? quoted(row.label, "label") : make("span", { class: "label", text: counted(row.cells.flat().length, "job") });
  if (row.label) label.setAttribute("title", row.label);
  section.append(make("h2", {}, playing, inputPicture(row.picture), label), make("div", { class: "cells" }, ...cells));
  return section;
}

function playRow(section, name) {
  toggleTogether(() => mediaOf([...section.querySelectorAll(".tile")].slice(0, 24)), name);
}

function playAll() {
  toggleTogether(() => mediaOf([...document.querySelectorAll(".tile")].filter(isOnScreen)), "all");
}

function mediaOf(some) {
  return some.map((tile) => {
    mount(tile);
    return tile.media;
  });
}

function isOnScreen(tile) {
  const { top, bottom } = tile.getBoundingClientRect();
  return bottom > 0 && top < innerHeight;
}

function drawPlaying() {
  for (const node of document.querySelectorAll("[data-choir]")) {
    const on = node.dataset.choir === choir.name;
    node.setAttribute("aria-pressed", String(on));
    node.classList.toggle("on", on);
  }
}

function drawStanding() {
  const { counts, total } = store.data;
  const parts = [`${counts.done} of ${total} done`];
  if (counts.failed) parts.push(`${counts.failed} failed`);
  if (isAlive() && store.data.left > 0) parts.push(`about ${spokenDuration(store.data.left)} left, ${spokenEnd(store.data)}`);
  const text = parts.join(" · ");
  if (byId("standing").textContent !== text) byId("standing").textContent = text;
  const going = counts.sending + counts.queued + counts.fetching;
  const lengths = [["done", counts.done], ["going", going], ["failed", counts.failed], ["waiting", counts.waiting]];
  byId("progress").replaceChildren(...lengths.filter(([, count]) => count).map(bar));
}

function spokenEnd({ at, left, until }) {
  return until ? `done between ${until.map(spokenClock).join(" and ")}` : `until ${spokenClock(at + left)}`;
}

function bar([name, count]) {
  const part = make("i", { class: name });
  part.style.setProperty("flex-grow", count);
  return part;
}
