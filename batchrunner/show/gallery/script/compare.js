/* Two jobs, one over the other with a slider between them, or side by side; always in step. */

let compared = [];
let beside = false;

function toggleCompared(id) {
  const cell = store.cells.get(id);
  if (!cell?.files.length) return toast("Nothing to compare yet: it has no file");
  compared = compared.includes(id) ? compared.filter((other) => other !== id) : [...compared.slice(-1), id];
  showCompared();
  if (compared.length === 2) return openCompare();
  return toast(compared.length ? "Pick another one to compare it with" : "Comparison dropped");
}

function showCompared() {
  for (const [id, tile] of tiles) {
    tile.classList.toggle("picked", compared.includes(id));
    tile.pick.setAttribute("aria-pressed", String(compared.includes(id)));
  }
}

function openCompare() {
  const cells = compared.map((id) => store.cells.get(id));
  const sides = cells.map((cell, place) => compareSide(cell, "AB"[place]));
  const dialog = byId("compare");
  const split = make("input", { type: "range", min: "0", max: "100", value: "50", step: "0.5", class: "split", "aria-label": "How much of A is seen" });
  split.addEventListener("input", () => showSplit(split.value));
  dialog.replaceChildren(compareHead(), make("div", { class: "wipe" }, ...sides, split), compareNames(cells));
  showLayout();
  showSplit(50);
  stopTogether();
  setLoud(null);
  untoast();
  dialog.showModal();
  split.focus();
  playTogether([...dialog.querySelectorAll("video, audio")], "compare");
}

function compareHead() {
  return make(
    "header",
    {},
    make("h2", { text: "Compare" }),
    button("Side by side", "Slider or side by side (b)", () => turnLayout(), { id: "layout" }),
    button("♪ A", "Hear A", () => hear(0)),
    button("♪ B", "Hear B", () => hear(1)),
    button("×", "Close (Esc)", () => byId("compare").close(), { class: "round" }),
  );
}

function compareSide(cell, name) {
  return make("figure", { class: `side ${name}` }, mediaFor(cell.files[0]), make("figcaption", { text: name }));
}

function compareNames(cells) {
  const different = cells.map((cell, place) => paramsOf(cell).filter(([name, value]) => differs(cells[1 - place], name, value)));
  const lists = different.map((pairs, place) =>
    make("p", {}, make("strong", { text: `${"AB"[place]} ` }), quoted(pairs.map(([name, value]) => labelled(name, value)).join(", "))),
  );
  return make("div", { class: "names" }, ...lists);
}

function differs(other, name, value) {
  return !paramsOf(other).some(([its, theirs]) => its === name && theirs === value);
}

function showSplit(percent) {
  byId("compare").querySelector(".wipe").style.setProperty("--split", `${percent}%`);
}

function turnLayout() {
  beside = !beside;
  showLayout();
}

function showLayout() {
  byId("compare").querySelector(".wipe").classList.toggle("beside", beside);
  byId("layout").textContent = beside ? "Slider" : "Side by side";
}

function hear(place) {
  toggleLoud(byId("compare").querySelectorAll(".side")[place].querySelector("video, audio"));
}

function closedCompare() {
  const last = compared.at(-1);
  stopTogether();
  setLoud(null);
  dismiss(byId("compare"));
  compared = [];
  showCompared();
  tiles.get(last)?.focus();
}
