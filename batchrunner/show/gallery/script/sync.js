/* Together: several videos that keep step. A common clock says where each should be; small errors are made good by
   playing a little faster or slower, which nobody sees, large ones by a jump. */

const STEP = 150;
const JUMP = 0.35;
const READY = 4000;
const choir = { voices: new Set(), began: 0, timer: 0, name: "" };

function isSinging(media) {
  return choir.voices.has(media);
}

async function playTogether(media, name) {
  stopTogether();
  const voices = media.filter(isPlayable);
  if (!voices.length) return;
  choir.voices = new Set(voices);
  choir.name = name;
  drawPlaying();
  await Promise.all(voices.map(rewound));
  if (choir.name !== name) return;
  await Promise.all(voices.map((voice) => voice.play().catch(() => choir.voices.delete(voice))));
  choir.began = performance.now();
  choir.timer = setInterval(keepStep, STEP);
  keepStep();
}

function stopTogether() {
  clearInterval(choir.timer);
  for (const voice of choir.voices) {
    voice.playbackRate = 1;
    voice.pause();
  }
  choir.voices = new Set();
  choir.name = "";
  drawPlaying();
}

function toggleTogether(media, name) {
  if (choir.name === name) stopTogether();
  else playTogether(media(), name);
}

/* Resolves when the video stands at its beginning with enough to go on, or when waiting longer makes no sense. */
function rewound(voice) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      for (const event of ["canplay", "seeked", "error"]) voice.removeEventListener(event, look);
      resolve();
    };
    const look = () => {
      if (voice.error || (voice.readyState >= 3 && !voice.seeking)) done();
    };
    const timer = setTimeout(done, READY);
    for (const event of ["canplay", "seeked", "error"]) voice.addEventListener(event, look);
    voice.preload = "auto";
    voice.pause();
    if (voice.readyState >= 1) voice.currentTime = 0;
    look();
  });
}

function keepStep() {
  const voices = [...choir.voices].filter((voice) => voice.readyState >= 2 && voice.duration > 0 && !voice.seeking);
  const errors = voices.map((voice) => behind(voice));
  /* The clock follows the middle of the choir, so that a slow machine does not chase an ideal. */
  const middle = [...errors].sort((left, right) => left - right)[Math.floor(errors.length / 2)] ?? 0;
  choir.began += middle * 1000;
  voices.forEach((voice, place) => correct(voice, errors[place] - middle));
}

/* Seconds a video is behind the clock; negative if it is ahead. Both go round in circles. */
function behind(voice) {
  const length = voice.duration;
  const wanted = ((performance.now() - choir.began) / 1000) % length;
  const error = wanted - voice.currentTime;
  return error - length * Math.round(error / length);
}

function correct(voice, error) {
  if (Math.abs(error) > JUMP) {
    const length = voice.duration;
    voice.currentTime = (((voice.currentTime + error) % length) + length) % length;
    voice.playbackRate = 1;
  } else {
    voice.playbackRate = Math.abs(error) < 0.015 ? 1 : 1 + Math.max(-0.2, Math.min(0.2, error));
  }
  if (voice.paused) play(voice);
}
