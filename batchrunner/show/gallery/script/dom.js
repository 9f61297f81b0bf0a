/* The DOM, built from text only: nothing here, or anywhere else, parses HTML. */

function byId(id) {
  return document.getElementById(id);
}

function make(tag, settings = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(settings)) apply(node, name, value);
  node.append(...children.filter((child) => child !== null));
  return node;
}

function apply(node, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name === "text") node.textContent = value;
  else if (name === "class") node.className = value;
  else if (name === "on") for (const [event, heard] of Object.entries(value)) node.addEventListener(event, heard);
  else node.setAttribute(name, value === true ? "" : value);
}

/* What a stranger wrote: its direction is its own, and ends where it ends. */
function quoted(text, className = "") {
  return make("bdi", { text, class: className || null, dir: "auto" });
}

function button(text, label, pressed, settings = {}) {
  const node = make("button", { type: "button", text, title: label, "aria-label": label, on: { click: pressed } });
  for (const [name, value] of Object.entries(settings)) apply(node, name, value);
  return node;
}

const toastNode = byId("toast");
let toastTimer = 0;

function toast(text) {
  (document.querySelector("dialog[open]") ?? document.body).append(toastNode);
  toastNode.textContent = text;
  toastNode.dataset.shown = "yes";
  clearTimeout(toastTimer);
  toastTimer = setTimeout(untoast, 2500);
}

function untoast() {
  delete toastNode.dataset.shown;
  document.body.append(toastNode);
}
