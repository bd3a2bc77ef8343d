// What makes the page quicker than its links and forms are by themselves. Without it everything but drawing still works.
"use strict";
document.documentElement.classList.add("js");

const $ = (id) => document.getElementById(id);
const kept = {
  get: (key, otherwise) => { try { return JSON.parse(sessionStorage.getItem(key)) ?? otherwise; } catch { return otherwise; } },
  set: (key, value) => { try { sessionStorage.setItem(key, JSON.stringify(value)); } catch { /* private windows */ } },
};

// As engine/server/addresses.py: what clients and proxies would resolve or decode in a path stands in the query.
const addressOf = (name, start = "", rest = "") => {
  const encoded = encodeURIComponent(name);
  return /^\.*$|[/\\]/.test(name) ? `${start}/model${rest}?name=${encoded}` : `${start}/models/${encoded}${rest}`;
};

// --- searching: the address holds the query, answers are swapped in

const form = $("ask");
let asking = null;

function addressOfForm() {
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(form)) {
    if (value === "" || (name === "method" && value === "auto") || (name.startsWith("w.") && value === "1")) continue;
    query.set(name, value);
  }
  const text = query.toString();
  return text ? `/?${text}` : "/";
}

async function ask(url, { push = true, keep = false } = {}) {
  asking?.abort();
  const mine = (asking = new AbortController());
  const results = $("results");
  results.setAttribute("aria-busy", "true");
  document.body.classList.remove("empty");
  const waiting = setTimeout(() => {
    if (!keep) results.replaceChildren($("skeleton").content.cloneNode(true));
  }, 120);
  try {
    const answer = await fetch(url, { signal: mine.signal, headers: { Accept: "text/html" } });
    const text = await answer.text();
    clearTimeout(waiting);
    if (mine.signal.aborted) return;
    if (answer.redirected && new URL(answer.url).pathname !== "/") return void location.assign(url);
    const next = new DOMParser().parseFromString(text, "text/html");
    if (!next.getElementById("results")) return void location.assign(url);
    if (push) history.pushState(null, "", url);
    show(next);
  } catch (error) {
    clearTimeout(waiting);
    if (error.name === "AbortError") return;
    say(results, "The server does not answer.", "Is it still running? Try again in a moment.");
  } finally {
    if (asking === mine) results.setAttribute("aria-busy", "false");
  }
}

function show(next) {
  document.title = next.title;
  document.body.className = next.body.className;
  $("parts").replaceWith(next.getElementById("parts"));
  $("results").replaceWith(next.getElementById("results"));
  const heading = next.querySelector(".ask h1");
  document.querySelector(".ask h1").replaceWith(heading);
  $("q").value = next.getElementById("q").value;
  form.elements.method.value = next.querySelector("[name=method]").value;
  kept.set("asked", location.search);
  markCompared();
}

function say(results, what, hint) {
  const box = document.createElement("div");
  box.className = "problem";
  box.setAttribute("role", "alert");
  for (const line of [what, hint].filter(Boolean)) box.append(Object.assign(document.createElement("p"), { textContent: line }));
  results.replaceChildren(box);
}

if (form) {
  kept.set("asked", location.search);
  form.addEventListener("submit", (event) => { event.preventDefault(); ask(addressOfForm()); });
  form.addEventListener("change", (event) => { if (event.target.matches("select")) ask(addressOfForm()); });
  addEventListener("popstate", () => ask(location.pathname + location.search, { push: false }));
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    const url = new URL(link.href, location);
    if (url.origin !== location.origin || url.pathname !== "/" || !link.closest("main")) return;
    event.preventDefault();
    ask(url.pathname + url.search, { keep: "keep" in link.dataset }).then(() => {
      if (!("keep" in link.dataset)) scrollTo({ top: 0 });
    });
  });
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.matches("input, select, textarea")) { event.preventDefault(); $("q").focus(); }
  });

  // pictures: uploaded, dropped, pasted
  $("upload").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => { if ($("file").files[0]) askWith($("file").files[0], "image"); $("file").value = ""; });
  addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
    if (file) { event.preventDefault(); askWith(file, "image"); }
  });
  let inside = 0;
  const carries = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  addEventListener("dragenter", (event) => { if (carries(event)) { inside += 1; $("dropping").hidden = false; } });
  addEventListener("dragleave", (event) => { if (carries(event) && (inside -= 1) <= 0) { inside = 0; $("dropping").hidden = true; } });
  addEventListener("dragover", (event) => { if (carries(event)) event.preventDefault(); });
  addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    inside = 0;
    $("dropping").hidden = true;
    if (event.dataTransfer.files[0]) askWith(event.dataTransfer.files[0], "image");
  });
  sketchpad();
}

async function askWith(blob, as) {
  const results = $("results");
  document.body.classList.remove("empty");
  results.replaceChildren($("skeleton").content.cloneNode(true));
  const body = new FormData();
  body.append("picture", blob, "picture");
  body.append("as", as);
  try {
    const answer = await fetch("/pictures", { method: "POST", body, headers: { Accept: "application/json" } });
    const said = await answer.json();
    if (!answer.ok) return say(results, said.detail ?? "The picture cannot be used.", said.hint);
    const url = new URL(addressOfForm(), location);
    url.searchParams.set(as, said.name);
    await ask(url.pathname + url.search);
  } catch {
    say(results, "The picture could not be sent.", "Is the server still running?");
  }
}

function sketchpad() {
  const pad = $("sketchpad"), canvas = $("canvas"), pen = canvas.getContext("2d", { willReadFrequently: true });
  let strokes = [], drawing = null;
  const clear = () => { pen.fillStyle = "#fff"; pen.fillRect(0, 0, canvas.width, canvas.height); };
  const line = (stroke, from) => {
    pen.strokeStyle = stroke.erases ? "#fff" : "#000";
    pen.lineWidth = stroke.width * (stroke.erases ? 3 : 1);
    pen.lineCap = pen.lineJoin = "round";
    pen.beginPath();
    const points = stroke.points.slice(from);
    pen.moveTo(...points[0]);
    for (const point of points.length > 1 ? points.slice(1) : points) pen.lineTo(...point);
    pen.stroke();
  };
  const redraw = () => { clear(); strokes.forEach((stroke) => line(stroke, 0)); $("use").disabled = !strokes.length; };
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * canvas.width / box.width, (event.clientY - box.top) * canvas.height / box.height];
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    drawing = { points: [at(event)], width: +$("brush").value, erases: $("eraser").getAttribute("aria-pressed") === "true" };
    strokes.push(drawing);
    line(drawing, 0);
    $("use").disabled = false;
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drawing) return;
    for (const one of event.getCoalescedEvents?.() ?? [event]) drawing.points.push(at(one));
    line(drawing, Math.max(0, drawing.points.length - 4));
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { drawing = null; });
  $("eraser").addEventListener("click", () => $("eraser").setAttribute("aria-pressed", $("eraser").getAttribute("aria-pressed") !== "true"));
  $("undo").addEventListener("click", () => { strokes.pop(); redraw(); });
  $("clear").addEventListener("click", () => { strokes = []; redraw(); });
  pad.addEventListener("keydown", (event) => { if (event.key === "z" && (event.ctrlKey || event.metaKey)) { strokes.pop(); redraw(); } });
  $("draw").addEventListener("click", () => { redraw(); pad.showModal(); });
  pad.addEventListener("close", () => {
    if (pad.returnValue === "use" && strokes.length) canvas.toBlob((blob) => askWith(blob, "sketch"), "image/png");
    pad.returnValue = "";
  });
}

// --- comparing: the models chosen on cards

function markCompared() {
  const chosen = kept.get("compare", []);
  for (const button of document.querySelectorAll("[data-compare]")) button.setAttribute("aria-pressed", chosen.includes(button.dataset.compare));
  const tray = $("tray");
  tray.hidden = !chosen.length;
  tray.querySelector("ul").replaceChildren(...chosen.map((name) => Object.assign(document.createElement("li"), { textContent: name, title: name })));
  tray.querySelector("a").href = `/compare?${new URLSearchParams(chosen.map((name) => ["model", name]))}`;
}
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-compare]");
  if (button) {
    const name = button.dataset.compare, chosen = kept.get("compare", []);
    kept.set("compare", chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name].slice(-3));
    markCompared();
  } else if (event.target.closest("[data-clear]")) {
    kept.set("compare", []);
    markCompared();
  }
});
addEventListener("pageshow", markCompared);
markCompared();

for (const select of document.querySelectorAll("[data-submit]")) select.addEventListener("change", () => select.form.submit());

// --- one model: its samples at large, more of them, and into the query

for (const link of document.querySelectorAll("[data-add]")) {
  const url = new URL("/", location);
  url.search = kept.get("asked", "");
  url.searchParams.delete("n");
  url.searchParams.set("model", link.dataset.add);
  link.href = url.pathname + url.search;
}

const light = $("light");
if (light) {
  let place = 0;
  const all = () => [...document.querySelectorAll("[data-light]")];
  const lit = (to) => {
    place = (to + all().length) % all().length;
    $("lit").src = all()[place].href;
    $("lit").alt = all()[place].querySelector("img").alt;
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-light]");
    if (!link || event.metaKey || event.ctrlKey) return;
    event.preventDefault();
    lit(all().indexOf(link));
    light.showModal();
  });
  $("before").addEventListener("click", () => lit(place - 1));
  $("after").addEventListener("click", () => lit(place + 1));
  light.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") lit(place - 1);
    if (event.key === "ArrowRight") lit(place + 1);
  });
  light.addEventListener("click", (event) => { if (event.target === light) light.close(); });
}

const more = $("draw-more");
if (more) {
  let stopped = null;
  $("stop").addEventListener("click", () => stopped?.abort());
  more.addEventListener("submit", async (event) => {
    event.preventDefault();
    stopped?.abort();
    const mine = (stopped = new AbortController());
    const told = more.querySelector(".status"), grid = $("drawn");
    const count = +more.elements.count.value, seed = +more.elements.seed.value;
    grid.replaceChildren();
    $("stop").hidden = false;
    told.textContent = "Drawing …";
    let come = 0;
    try {
      const answer = await fetch(addressOf(more.dataset.name, "/v1", "/samples"), {
        method: "POST", signal: mine.signal, headers: { "Content-Type": "application/json" }, body: JSON.stringify({ count, seed }),
      });
      if (!answer.ok) throw new Error((await answer.json()).detail);
      for await (const line of lines(answer.body)) {
        const one = JSON.parse(line);
        if (one.problem) throw new Error(one.problem.detail);
        const image = Object.assign(new Image(), { src: `data:${one.media_type};base64,${one.data}`, alt: `Drawn ${come + 1}, seed ${seed}` });
        const link = Object.assign(document.createElement("a"), { href: image.src });
        link.dataset.light = "";
        link.append(image);
        const item = document.createElement("li");
        item.append(link);
        grid.append(item);
        told.textContent = `${(come += 1)} of ${count}`;
      }
      told.textContent = `${come} drawn with seed ${seed}`;
      more.elements.seed.value = seed + 1;
    } catch (error) {
      told.textContent = error.name === "AbortError" ? `Stopped after ${come}.` : error.message;
    } finally {
      if (stopped === mine) $("stop").hidden = true;
    }
  });
}

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const found = (rest + value).split("\n");
    rest = found.pop();
    yield* found.filter(Boolean);
  }
  if (rest.trim()) yield rest;
}
