/* The bar: rows, columns, filters, what is shown, how large. */

const SHOWS = { all: "All", done: "Done", starred: "Starred", failed: "Failed" };
let barFor = "";

function drawBar() {
  const axes = store.data.params.filter((param) => param.axis);
  const signature = JSON.stringify([axes.map((param) => [param.name, param.values]), chosen("rows"), chosen("columns"), store.view.filters]);
  if (signature !== barFor) {
    barFor = signature;
    rebuildBar(axes);
  }
  drawPicks();
}

function rebuildBar(axes) {
  const names = axes.map((param) => param.name);
  const sides = axes.length > 1 ? [sideChoice("rows", names), sideChoice("columns", names)] : [];
  const filters = axes.filter((param) => param.name !== chosen("rows") && param.name !== chosen("columns")).map(filterChoice);
  byId("bar").replaceChildren(
    ...sides,
    ...filters,
    showChoice(),
    sizeChoice(),
    make("span", { class: "gap" }),
    button("▶ Play all", "Play everything on the screen together (a)", playAll, { "data-choir": "all" }),
    button("Export picks", "Save picks.json (e)", exportPicks, { id: "export" }),
    button("?", "Keys (?)", openHelp, { class: "round" }),
  );
}

function choice(label, options, value, changed) {
  const select = make("select", { "data-choice": label, on: { change: () => changed(select.value) } });
  select.append(...options.map(([key, text]) => make("option", { value: key, text: shortened(text) })));
  select.value = value;
  return make("label", {}, make("span", { text: label }), select);
}

function shortened(text) {
  return text.length > 48 ? `${text.slice(0, 47)}…` : text;
}

function sideChoice(side, names) {
  const options = [["", "none"], ...names.map((name) => [name, name])];
  return choice(side, options, chosen(side), (name) => changeSide(side, name));
}

/* A parameter is on one side only: the other one takes what this one had. */
function changeSide(side, name) {
  const other = side === "rows" ? "columns" : "rows";
  const change = { [side]: name };
  if (name && chosen(other) === name) change[other] = chosen(side);
  const filters = { ...store.view.filters };
  delete filters[name];
  changeView({ ...change, filters });
  redraw();
}

function filterChoice(param) {
  const options = [["", "any"], ...param.values.map((value) => [value, value])];
  const now = store.view.filters[param.name] ?? "";
  return choice(param.name, options, param.values.includes(now) ? now : "", (value) => {
    const filters = { ...store.view.filters };
    if (value) filters[param.name] = value;
    else delete filters[param.name];
    changeView({ filters });
    redraw();
  });
}

function showChoice() {
  return choice("show", Object.entries(SHOWS), store.view.show, (show) => {
    changeView({ show });
    redraw();
  });
}

function sizeChoice() {
  const range = make("input", { type: "range", min: "120", max: "480", step: "20", "aria-label": "Size of the tiles" });
  range.value = store.view.size;
  range.addEventListener("input", () => {
    changeView({ size: Number(range.value) });
    showSize();
  });
  return make("label", { class: "size" }, make("span", { text: "size" }), range);
}

function showSize() {
  byId("grid").style.setProperty("--tile", `${store.view.size}px`);
}

function drawPicks() {
  const node = byId("export");
  if (!node) return;
  const count = starred().length;
  node.textContent = count ? `Export ${counted(count, "pick")}` : "Export picks";
  node.disabled = count === 0;
}

function redraw() {
  drawBar();
  drawGrid();
}
