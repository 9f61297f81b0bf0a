/* The picks: what `batchrunner promote` reads. Seeds are texts: a number here has 53 bits, a seed 64. */

function picks() {
  return {
    batchrunner: VERSION,
    batch: store.data.batch,
    manifest: store.data.manifest,
    notes: noted().map((cell) => ({ job: cell.id, note: markOf(cell.id).note })),
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

/* Served by `gallery --serve`, stars and notes are kept in the batch's folder too: another browser finds them there. */
let inFolder = false;
let saving = 0;

async function fetchPicks() {
  if (!location.protocol.startsWith("http")) return;
  const answer = await fetch("picks.json", { cache: "no-store" }).catch(() => null);
  inFolder = answer?.headers.get("X-Picks") === "kept";
  if (!inFolder) return;
  if (answer.status !== 200) {
    if (Object.keys(marks).length) savePicks();
    return;
  }
  const found = await answer.json().catch(() => ({}));
  const notes = (found.notes ?? []).map(({ job, note }) => [job, { star: false, note }]);
  const stars = (found.picks ?? []).map(({ job, note }) => [job, { star: true, note: note ?? "" }]);
  marks = Object.fromEntries([...notes, ...stars]);
  keep("marks", marks);
  for (const id of tiles.keys()) showMark(id);
  if (store.data) drawPicks();
}

function savePicks() {
  if (!inFolder) return;
  clearTimeout(saving);
  saving = setTimeout(putPicks, 300);
}

async function putPicks() {
  if (!store.data) return savePicks();
  const body = new Blob([`${JSON.stringify(picks(), null, 2)}\n`]);
  const keepalive = body.size < 60_000; /* a browser refuses more of what may outlive its page */
  const settings = { method: "PUT", headers: { "Content-Type": "application/json" }, keepalive };
  const answer = await fetch("picks.json", { ...settings, body }).catch(() => null);
  if (answer?.ok) return;
  toast("The stars could not be saved in the batch's folder: export them");
}
