/* The picks: what `batchrunner promote` reads. Seeds are texts: a number here has 53 bits, a seed 64. */

function picks() {
  return {
    batchrunner: VERSION,
    batch: store.data.batch,
    manifest: store.data.manifest,
    picks: starred().map((cell) => ({
      job: cell.id,
      file: cell.file,
      seed: cell.seed,
      params: Object.fromEntries(paramsOf(cell)),
      note: markOf(cell.id).note,
    })),
  };
}

function exportPicks() {
  if (!starred().length) return toast("Star some first: s");
  const file = new Blob([`${JSON.stringify(picks(), null, 2)}\n`], { type: "application/json" });
  const link = make("a", { href: URL.createObjectURL(file), download: "picks.json" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return toast("picks.json saved: batchrunner promote picks.json");
}
