/* What the page knows: the batch as it was last written, and how one person looks at it. */

const VERSION = 1;
const store = {
  data: null,
  cells: new Map(),
  view: { rows: null, columns: null, filters: {}, show: "all", size: 220 },
};

function keep(name, value) {
  try {
    localStorage.setItem(`batchrunner/${document.body.dataset.batch}/${name}`, JSON.stringify(value));
  } catch {
    /* Private windows keep nothing; the page works without. */
  }
}

function kept(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(`batchrunner/${document.body.dataset.batch}/${name}`)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function loadView() {
  Object.assign(store.view, kept("view", {}));
}

function changeView(change) {
  Object.assign(store.view, change);
  keep("view", store.view);
}

function setData(data) {
  store.data = data;
  store.cells = new Map(data.cells.map((cell) => [cell.id, cell]));
}

function paramAt(name) {
  return store.data.params.findIndex((param) => param.name === name);
}

/* The chosen rows or columns, if the batch still has such a parameter; else what suits it. */
function chosen(side) {
  const wanted = store.view[side];
  const has = (name) => name === "" || store.data.params.some((param) => param.name === name);
  return wanted !== null && has(wanted) ? wanted : store.data[side];
}

function valueOf(cell, place) {
  const index = cell.at[place];
  return index < 0 ? "–" : store.data.params[place].values[index];
}

/* Every parameter of a job, as (name, value). */
function paramsOf(cell) {
  const swept = store.data.params.map((param, place) => [param.name, valueOf(cell, place)]);
  return [...swept.filter((_, place) => cell.at[place] >= 0), ...store.data.fixed];
}

/* What tells a job apart, in few words. */
function titleOf(cell) {
  const axes = store.data.params.map((param, place) => [param, place]).filter(([param]) => param.axis);
  const parts = axes.map(([param, place]) => labelled(param.name, valueOf(cell, place)));
  return parts.join(", ") || cell.file;
}

function labelled(name, value) {
  return /^[-\d.]+$/.test(value) ? `${name.replace(/^_/, "")} ${value}` : value;
}
