/* Numbers in words. */

const STATES = {
  waiting: "waiting",
  queued: "in the queue",
  rendering: "rendering",
  fetching: "downloading",
  done: "done",
  failed: "failed",
};

function spokenDuration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.round(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  const rest = minutes % 60;
  return `${Math.floor(minutes / 60)} h${rest ? ` ${rest} min` : ""}`;
}

/* With the date, unless it is today. */
function spokenClock(epoch) {
  const at = new Date(epoch * 1000);
  const clock = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  if (at.toDateString() === new Date().toDateString()) return clock;
  return `${at.toLocaleDateString([], { weekday: "short", day: "numeric", month: "short" })} ${clock}`;
}

function spokenSize(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit ? value.toFixed(1) : value} ${units[unit]}`;
}

function counted(count, word) {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}

/* When a job that is not rendered yet will be, by the forecast. */
function expected(cell) {
  if (cell.ready !== null && isAlive()) return `about ${spokenClock(cell.ready)}`;
  if (cell.seconds !== null) return `takes ${spokenDuration(cell.seconds)}`;
  return "";
}
