/* A tile: one job. It is built once, and filled again when its job has changed. */

const tiles = new Map();

function tileFor(cell) {
  const known = tiles.get(cell.id);
  if (known) return known;
  const tile = make("article", { class: "tile", tabindex: "-1", "data-job": cell.id });
  tile.frame = make("div", { class: "frame" });
  tile.media = null;
  tile.state = make("div", { class: "state" });
  tile.star = button("★", "Star (s)", (event) => pressed(event, () => toggleStar(cell.id)), { class: "star", tabindex: "-1" });
  tile.sound = button("♪", "Sound (m)", (event) => pressed(event, () => toggleLoud(tile.media)), { class: "sound", tabindex: "-1" });
  tile.pick = button("◧", "Compare (c)", (event) => pressed(event, () => toggleCompared(cell.id)), { class: "pick", tabindex: "-1" });
  tile.caption = make("p", { class: "caption" });
  tile.frame.append(tile.state, tile.star, tile.sound, tile.pick);
  tile.append(tile.frame, tile.caption);
  listen(tile);
  tiles.set(cell.id, tile);
  return tile;
}

function pressed(event, act) {
  event.stopPropagation();
  act();
}

function listen(tile) {
  tile.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && play(tile.media));
  tile.addEventListener("pointerleave", () => loud !== tile.media && pause(tile.media));
  tile.addEventListener("click", () => openDetail(tile.cell.id));
  tile.addEventListener("focus", () => remember(tile));
}

/* The tab key enters and leaves the table at one place; within it, arrows move. */
function remember(tile) {
  for (const other of document.querySelectorAll('.tile[tabindex="0"]')) other.tabIndex = -1;
  tile.tabIndex = 0;
}

function fillTile(cell) {
  const tile = tileFor(cell);
  const before = tile.cell;
  tile.cell = cell;
  if (before && before.files[0]?.url !== cell.files[0]?.url) unmount(tile);
  tile.dataset.state = cell.state;
  tile.dataset.kind = cell.files[0]?.kind ?? "none";
  if (cell.ratio) tile.style.setProperty("--ratio", cell.ratio);
  tile.state.replaceChildren(...stateWords(cell));
  fillCaption(tile);
  showMark(cell.id);
  if (tile.near) mount(tile);
  return tile;
}

function stateWords(cell) {
  if (cell.files.length) return cell.files.length > 1 ? [make("span", { class: "count", text: `+${cell.files.length - 1}` })] : [];
  if (cell.state === "failed") return [make("strong", { text: "failed" }), quoted(cell.why ?? "", "why")];
  return [make("strong", { text: STATES[cell.state] }), make("span", { text: expected(cell) })];
}

function fillCaption(tile) {
  const narrow = matchMedia("(max-width: 640px)").matches;
  const parts = captionParts(tile.cell, narrow || !store.columns);
  tile.caption.replaceChildren(...parts.map((part) => quoted(part)));
  tile.setAttribute("aria-label", spoken(tile.cell));
}

/* All of it, for those who listen. */
function spoken(cell) {
  const { star, note } = markOf(cell.id);
  const extra = [STATES[cell.state], cell.state === "failed" ? cell.why : expected(cell), star ? "starred" : "", note];
  return [titleOf(cell), ...(cell.state === "done" ? [extra[0], ...extra.slice(2)] : extra)].filter(Boolean).join(", ");
}

function showMark(id) {
  const tile = tiles.get(id);
  if (!tile) return;
  const { star, note } = markOf(id);
  tile.star.setAttribute("aria-pressed", String(star));
  tile.classList.toggle("starred", star);
  tile.classList.toggle("noted", note !== "");
  tile.setAttribute("aria-label", spoken(tile.cell));
}
