/* The beginning. */

loadView();
loadMarks();
fetchPicks();
showSize();
globalThis[document.body.dataset.receiver] = receive;
addEventListener("keydown", onKey);
byId("detail").addEventListener("close", closedDetail);
byId("compare").addEventListener("close", closedCompare);
matchMedia("(max-width: 640px)").addEventListener("change", () => {
  for (const tile of tiles.values()) fillCaption(tile);
});
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}
ask();
