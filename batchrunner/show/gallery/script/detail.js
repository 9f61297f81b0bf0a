/* One job, large, with everything there is to know of it. */

let detailed = "";

function openDetail(id) {
  const cell = store.cells.get(id);
  if (!cell) return;
  detailed = id;
  stopTogether();
  setLoud(null);
  const dialog = byId("detail");
  dismiss(dialog);
  dialog.replaceChildren(detailHead(cell), stage(cell), about(cell));
  if (!dialog.open) dialog.showModal();
  play(dialog.querySelector("video, audio"));
}

function detailHead(cell) {
  return make(
    "header",
    {},
    button("‹", "The one before (←)", () => turnDetail(-1), { class: "round" }),
    button("›", "The next one (→)", () => turnDetail(1), { class: "round" }),
    make("h2", {}, quoted(titleOf(cell))),
    button("★", "Star (s)", () => starDetail(cell.id), { class: "star", "aria-pressed": String(markOf(cell.id).star) }),
    button("×", "Close (Esc)", () => byId("detail").close(), { class: "round" }),
  );
}

function stage(cell) {
  const node = make("div", { class: "stage" });
  for (const file of cell.files) {
    const media = mediaFor(file, { controls: true });
    if (isPlayable(media)) media.addEventListener("volumechange", () => media.muted || setLoud(media));
    else media.alt = titleOf(cell);
    node.append(media);
  }
  if (!cell.files.length) node.append(make("p", { class: "state" }, ...stateWords(cell)));
  return node;
}

function about(cell) {
  const note = make("textarea", { rows: "2", placeholder: "Note", "aria-label": "Note", id: "note" });
  note.value = markOf(cell.id).note;
  note.addEventListener("input", () => mark(cell.id, { note: note.value }));
  const rows = [...paramsOf(cell), ...historyOf(cell)];
  const list = rows.map(([name, value]) => [make("dt", {}, quoted(name)), make("dd", {}, quoted(value))]);
  return make("div", { class: "about" }, copies(cell), note, make("dl", {}, ...list.flat()), links(cell));
}

function historyOf(cell) {
  const rows = [["state", STATES[cell.state]], ["job", cell.id]];
  if (cell.why) rows.push(["why", cell.why]);
  if (cell.took !== null) rows.push(["rendered in", spokenDuration(cell.took)]);
  else if (expected(cell)) rows.push(["ready", expected(cell)]);
  if (cell.attempts > 1) rows.push(["attempts", String(cell.attempts)]);
  return rows;
}

function links(cell) {
  const one = (file) => make("a", { href: file.url, target: "_blank", rel: "noopener", text: `${file.name} · ${spokenSize(file.bytes)}` });
  return make("p", { class: "links" }, ...cell.files.map(one));
}

function copies(cell) {
  const wanted = [
    ["Copy seed", cell.seed],
    ["Copy parameters", JSON.stringify(Object.fromEntries(paramsOf(cell)), null, 2)],
    ["Copy command", commandFor(cell)],
  ];
  const nodes = wanted.filter(([, text]) => text).map(([label, text]) => button(label, label, () => copy(label, text)));
  if (cell.files.length) nodes.push(button("Compare", "Compare with another one (c)", () => compareDetail(cell.id)));
  return make("p", { class: "copies" }, ...nodes);
}

function commandFor(cell) {
  return store.data.commands[cell.state === "failed" ? "retry" : "run"] + cell.id;
}

async function copy(label, text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyBySelection(text);
  }
  toast(`${label.replace("Copy ", "")} copied`);
}

/* Where a page may not use the clipboard by itself, a selection may. */
function copyBySelection(text) {
  const area = make("textarea", {});
  area.value = text;
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

function starDetail(id) {
  toggleStar(id);
  byId("detail").querySelector(".star").setAttribute("aria-pressed", String(markOf(id).star));
}

function compareDetail(id) {
  byId("detail").close();
  toggleCompared(id);
}

function turnDetail(step) {
  const order = [...document.querySelectorAll("#grid .tile")].map((tile) => tile.dataset.job);
  const next = order[order.indexOf(detailed) + step];
  if (next) openDetail(next);
}

/* Empties a dialog: what plays in it stops, and gives its decoder back. */
function dismiss(dialog) {
  for (const media of dialog.querySelectorAll("video, audio")) release(media);
  dialog.replaceChildren();
}

function closedDetail() {
  dismiss(byId("detail"));
  tiles.get(detailed)?.focus();
}
