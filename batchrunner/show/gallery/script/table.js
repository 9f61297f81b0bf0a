/* The table: which job stands where. Pure; it knows no DOM. */

function isShown(cell, view) {
  if (view.show === "starred" && !markOf(cell.id).star) return false;
  if (view.show === "done" && cell.state !== "done") return false;
  if (view.show === "failed" && cell.state !== "failed") return false;
  return Object.entries(view.filters).every(([name, value]) => {
    const place = paramAt(name);
    return place < 0 || valueOf(cell, place) === value;
  });
}

/* Rows with their cells: one group per column, or a single group where there are no columns. */
function tableOf(view) {
  const rows = paramAt(chosen("rows"));
  const columns = paramAt(chosen("columns"));
  const shown = store.data.cells.filter((cell) => isShown(cell, view));
  const used = columns < 0 ? [] : usedValues(shown, columns);
  const groups = new Map();
  for (const cell of shown) {
    const key = rows < 0 ? 0 : cell.at[rows];
    if (!groups.has(key)) groups.set(key, Array.from({ length: Math.max(1, used.length) }, () => []));
    groups.get(key)[columns < 0 ? 0 : used.indexOf(cell.at[columns])].push(cell);
  }
  const ordered = [...groups].sort(([left], [right]) => left - right);
  return {
    columns: used.map((index) => ({ label: nameAt(columns, index), picture: pictureAt(columns, index) })),
    rows: ordered.map(([index, cells]) => ({ label: rows < 0 ? "" : nameAt(rows, index), picture: pictureAt(rows, index), cells })),
  };
}

function usedValues(cells, place) {
  return [...new Set(cells.map((cell) => cell.at[place]))].sort((left, right) => left - right);
}

function nameAt(place, index) {
  const param = store.data.params[place];
  return index < 0 ? `no ${param.name}` : labelled(param.name, param.values[index]);
}

/* The input picture of a row or column, if all its jobs have the same. */
function pictureAt(place, index) {
  return store.data.params[place]?.pictures?.[index] ?? null;
}

/* What neither row nor column nor a filter says of a cell. */
function captionParts(cell, withColumn) {
  const said = new Set([chosen("rows"), ...(withColumn ? [] : [chosen("columns")]), ...Object.keys(store.view.filters)]);
  return store.data.params
    .map((param, place) => [param, place])
    .filter(([param, place]) => param.axis && !said.has(param.name) && cell.at[place] >= 0)
    .map(([param, place]) => labelled(param.name, valueOf(cell, place)));
}
