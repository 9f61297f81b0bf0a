/* Videos, pictures and sounds: there while they are near the screen, silent but for one. */

const NEAR = "60% 0px";
/* Opening a film costs milliseconds: a few a frame, and one while somebody scrolls by. */
const AT_REST = 4;
const SCROLLING = 1;
const REST = 100;
let scrolled = -REST;
addEventListener("scroll", () => (scrolled = performance.now()), { passive: true });
const unsettled = new Set();
let settling = 0;
let loud = null;

const nearby = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      entry.target.near = entry.isIntersecting;
      unsettled.add(entry.target);
    }
    soon();
  },
  { rootMargin: NEAR },
);

function watch(tile) {
  nearby.observe(tile);
}

function soon() {
  if (!settling && unsettled.size) settling = requestAnimationFrame(settle);
}

function settle() {
  settling = 0;
  const most = performance.now() - scrolled < REST ? SCROLLING : AT_REST;
  const all = [...unsettled];
  const next = [...all.filter((tile) => tile.near), ...all.filter((tile) => !tile.near)].slice(0, most);
  for (const tile of next) {
    unsettled.delete(tile);
    if (tile.near) mount(tile);
    else if (!isSinging(tile.media)) unmount(tile);
  }
  soon();
}

function mediaFor(file, settings = {}) {
  if (file.kind === "image") {
    return make("img", { src: file.url, alt: "", decoding: "async", loading: "lazy", draggable: "false" });
  }
  const tag = file.kind === "audio" ? "audio" : "video";
  const media = make(tag, { loop: true, preload: file.poster ? "none" : "metadata", playsinline: true, poster: file.poster, ...settings });
  media.muted = true;
  /* Some browsers show no first frame unless they are sent there. */
  media.src = file.poster || tag === "audio" ? file.url : `${file.url}#t=0.001`;
  media.addEventListener("error", () => media.parentElement?.classList.add("broken"));
  return media;
}

function mount(tile) {
  const file = tile.cell.files[0];
  if (!file || tile.media) return;
  tile.media = mediaFor(file, { tabindex: "-1", "aria-hidden": "true" });
  tile.frame.prepend(tile.media);
}

function unmount(tile) {
  if (!tile.media) return;
  if (loud === tile.media) setLoud(null);
  release(tile.media);
  tile.media.remove();
  tile.media = null;
  tile.frame.classList.remove("broken");
}

/* Gives the decoder back at once, not when the garbage is collected. */
function release(media) {
  if (!isPlayable(media)) return;
  media.pause();
  media.removeAttribute("src");
  media.load();
}

function isPlayable(media) {
  return media instanceof HTMLMediaElement;
}

function play(media) {
  if (!isPlayable(media)) return;
  media.play().catch(() => {
    /* Left before it began, or a format this browser can't play: the frame says so. */
  });
}

function pause(media) {
  if (isPlayable(media) && !isSinging(media)) media.pause();
}

/* Only one is ever heard. */
function setLoud(media) {
  if (loud) loud.muted = true;
  loud = media;
  if (loud) loud.muted = false;
  for (const tile of tiles.values()) tile.classList.toggle("loud", tile.media !== null && tile.media === loud);
}

function toggleLoud(media) {
  if (!isPlayable(media)) return;
  setLoud(loud === media ? null : media);
  if (loud) play(media);
}
