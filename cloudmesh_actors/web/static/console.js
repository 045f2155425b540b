// Keeps a page live, checks what is typed, and writes ages. Everything works without it, only not by itself.
"use strict";

// -- live: one stream a page, closed while nobody sees the page

const mark = document.getElementById("live");
const trouble = document.getElementById("trouble");
let source = null;
let first = true; // the first message of a stream is the whole page

function element(html) {
  const template = document.createElement("template");
  template.innerHTML = html.trim();
  return template.content.firstElementChild;
}

function replacePart(id, html) {
  const old = document.getElementById(id);
  if (!old) return;
  const opened = [...old.querySelectorAll("details")].map((details) => details.open);
  const pre = old.querySelector("pre");
  const atEnd = pre && pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 8;
  const place = pre ? pre.scrollTop : 0;
  const fresh = element(html);
  old.replaceWith(fresh);
  fresh.querySelectorAll("details").forEach((details, n) => { details.open = opened[n] || details.open; });
  const newPre = fresh.querySelector("pre");
  if (newPre) newPre.scrollTop = atEnd ? newPre.scrollHeight : place;
}

function updateList(id, change) {
  const list = document.querySelector(`[data-list="${CSS.escape(id)}"]`);
  if (!list) return;
  const tail = "tail" in list.dataset && list.scrollTop + list.clientHeight >= list.scrollHeight - 8;
  // lines of a log have no key of their own: they are numbered in the order in which they stand
  const known = new Map([...list.children].map((child) => [child.dataset.key, child]));
  for (const [key, html] of Object.entries(change.rows)) {
    const fresh = element(html);
    fresh.dataset.key = key;
    if (known.has(key)) {
      const focused = known.get(key).contains(document.activeElement);
      known.get(key).replaceWith(fresh);
      if (focused) fresh.querySelector("a")?.focus();
    }
    if (!first) fresh.classList.add("fresh");
    known.set(key, fresh);
  }
  if (change.order) {
    const wanted = change.order.map((key) => known.get(key)).filter(Boolean);
    let place = list.firstElementChild;
    for (const child of wanted) {
      if (child === place) place = place.nextElementSibling;
      else list.insertBefore(child, place);
    }
    while (place) { const next = place.nextElementSibling; place.remove(); place = next; }
  }
  if (tail) list.scrollTop = list.scrollHeight;
}

function told(event) {
  const news = JSON.parse(event.data);
  for (const [id, html] of Object.entries(news.parts || {})) replacePart(id, html);
  for (const [id, change] of Object.entries(news.lists || {})) updateList(id, change);
  if ("trouble" in news) { trouble.textContent = news.trouble; trouble.hidden = !news.trouble; }
  first = false;
  document.documentElement.dataset.told = String(Number(document.documentElement.dataset.told || 0) + 1);
  writeAges();
}

function show(isLive, text) {
  mark.hidden = false;
  mark.classList.toggle("off", !isLive);
  mark.textContent = text;
}

function open() {
  if (source || !document.body.dataset.live) return;
  first = true;
  source = new EventSource(document.body.dataset.live);
  source.onopen = () => { first = true; show(true, "live"); };
  source.onmessage = told;
  source.onerror = () => {
    const ended = source.readyState === EventSource.CLOSED;
    show(false, ended ? "not live; load the page again" : "connecting…");
  };
}

function close() {
  if (source) source.close();
  source = null;
}

document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
window.addEventListener("pagehide", close);
if (!document.hidden) open();

// -- ages and durations, in the browser's clock

function words(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d`;
}

function write(node, text) { if (node.textContent !== text) node.textContent = text; }

function writeAges() {
  const now = Date.now();
  for (const node of document.querySelectorAll("time[data-age]")) {
    write(node, `${words((now - Date.parse(node.dateTime)) / 1000)} ago`);
  }
  for (const node of document.querySelectorAll("[data-since]")) {
    write(node, words((now - Date.parse(node.dataset.since)) / 1000));
  }
}

setInterval(() => { if (!document.hidden) writeAges(); }, 1000);
writeAges();
for (const list of document.querySelectorAll("[data-tail]")) list.scrollTop = list.scrollHeight;

// -- the form of a launch: checked as it is typed; the server checks again

const form = document.getElementById("launch");
let timer = 0;
let asked = 0;

function wish() {
  const data = new FormData(form);
  const recipe = data.get("recipe") || "";
  const parameters = {};
  for (const [name, value] of data.entries()) {
    if (recipe && name.startsWith(`${recipe}.`)) parameters[name.slice(recipe.length + 1)] = value;
  }
  return { recipe, servers: data.get("servers"), ticks: data.getAll("tick"), parameters };
}

function say(name, text) {
  const place = form.querySelector(`[data-said="${name}"]`);
  if (place) place.textContent = text;
}

function showErrors(errors, touched) {
  for (const place of form.querySelectorAll("[data-wrong]")) {
    const name = place.dataset.wrong;
    const text = touched.has(name) ? errors[name] || "" : place.textContent && errors[name] ? errors[name] : "";
    place.textContent = text;
    const field = form.elements.namedItem(name);
    if (field && field.setAttribute) {
      if (text) field.setAttribute("aria-invalid", "true"); else field.removeAttribute("aria-invalid");
    }
  }
}

const touched = new Set();

async function check() {
  const mine = ++asked;
  const wanted = wish();
  try {
    const answer = await fetch(form.dataset.check, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(wanted),
    });
    if (mine !== asked || !answer.ok) return;
    const verdict = await answer.json();
    showErrors(verdict.errors, touched);
    say("servers", verdict.count ? `${verdict.count} server${verdict.count === 1 ? "" : "s"}: ${verdict.servers}` : "");
    say("press", verdict.ok ? `${wanted.recipe} on ${verdict.count} server${verdict.count === 1 ? "" : "s"}` : "");
  } catch { /* the server checks when the button is pressed */ }
}

function later(event) {
  if (event && event.target.name) touched.add(event.target.name === "tick" ? "servers" : event.target.name);
  clearTimeout(timer);
  timer = setTimeout(check, 200);
}

if (form) {
  form.addEventListener("input", later);
  form.addEventListener("submit", () => {
    const button = document.getElementById("press");
    setTimeout(() => { if (button) button.disabled = true; }, 0); // once, however often it is clicked
  });
  window.addEventListener("pageshow", () => { const button = document.getElementById("press"); if (button) button.disabled = false; });
  if (form.elements.namedItem("servers").value || form.querySelector("input[name=recipe]:checked")) later(null);
  form.querySelector("[aria-invalid]")?.focus();
}
