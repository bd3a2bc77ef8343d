// The map: every model a dot, those with room around them a picture, drawn on a canvas.
"use strict";
(() => {
  const canvas = document.getElementById("sky"), pen = canvas.getContext("2d");
  const $ = (id) => document.getElementById(id);
  const CELL = 66, PICTURE = 60, PICTURES = 160, REACH = 14, COLOURS = 8;
  let data = null, view = { x: 0, y: 0, scale: 1 }, size = { w: 1, h: 1, dpr: 1 }, base = 1;
  let chosen = null, wanted = "", colours = null, groups = [], over = -1, stale = true, seen = [], pictured = null;
  const images = new Map(), queue = [];
  let loading = 0;

  const toScreen = (i) => [(data.x[i] - view.x) * view.scale + size.w / 2, (view.y - data.y[i]) * view.scale + size.h / 2];
  const soon = () => { if (!stale) { stale = true; requestAnimationFrame(current); } };
  const current = () => { if (stale) draw(); }; // what is pointed at is asked of what was last wanted, not of the frame before it

  function fit() {
    const box = canvas.getBoundingClientRect();
    size = { w: box.width, h: box.height, dpr: Math.min(devicePixelRatio || 1, 2) };
    canvas.width = Math.round(size.w * size.dpr);
    canvas.height = Math.round(size.h * size.dpr);
    soon();
  }
  const least = (values) => values.reduce((a, b) => Math.min(a, b), Infinity), most = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);
  function all() {
    if (!data.ids.length) return;
    const box = { l: least(data.x), r: most(data.x), t: most(data.y), b: least(data.y) };
    const panel = document.querySelector(".panel").offsetWidth, aside = panel < size.w / 3 ? panel : 0;
    base = Math.max(Math.min((size.w - aside - 2 * PICTURE) / (box.r - box.l || 1), (size.h - 2 * PICTURE) / (box.t - box.b || 1)), 1);
    view = { x: (box.l + box.r) / 2 - aside / 2 / base, y: (box.t + box.b) / 2, scale: base };
    pictured = null;
    soon();
  }

  // --- colours: the commonest kinds or tags have one each
  function group() {
    const by = $("colour-by").value, names = by === "kind" ? data.kinds : data.allTags;
    const counts = new Array(names.length).fill(0);
    const of = (i) => (by === "kind" ? [data.kind[i]] : data.tags[i]);
    for (let i = 0; i < data.ids.length; i++) for (const g of of(i)) counts[g] += 1;
    const common = [...names.keys()].sort((a, b) => counts[b] - counts[a]).slice(0, COLOURS);
    const place = new Map(common.map((g, c) => [g, by === "kind" ? data.kindColours[g] : c]));
    colours = Int8Array.from(data.ids, (_, i) => of(i).map((g) => place.get(g)).find((c) => c !== undefined) ?? -1);
    groups = common.map((g, c) => ({ name: names[g], count: counts[g], has: (i) => of(i).includes(g), c: place.get(g) }));
    chosen = pictured = null;
    legend();
    soon();
  }
  function legend() {
    $("legend").replaceChildren(...groups.map((one) => {
      const item = document.createElement("li"), button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", chosen === one);
      button.innerHTML = `<svg class="dot c${one.c}" viewBox="0 0 10 10" aria-hidden="true"><circle cx="5" cy="5" r="5"/></svg>`;
      button.append(one.name, Object.assign(document.createElement("span"), { className: "n", textContent: one.count }));
      button.addEventListener("click", () => { chosen = chosen === one ? null : one; pictured = null; legend(); soon(); $("legend").children[groups.indexOf(one)].firstChild.focus(); });
      item.append(button);
      return item;
    }));
  }
  const fits = (i) => (!chosen || chosen.has(i)) && (!wanted || data.names[i].toLowerCase().includes(wanted) || data.tags[i].some((t) => data.allTags[t].toLowerCase().includes(wanted)));

  // --- pictures: those that have room around them at this zoom, whatever is in sight, so that none comes or goes in moving
  function withRoom() {
    const zoom = Math.round(2 * Math.log2(view.scale / base)) / 2;
    if (pictured?.zoom === zoom) return pictured.those;
    const room = CELL / (base * 2 ** zoom), cells = new Map(), those = [];
    for (let i = 0; i < data.ids.length; i++) {
      if (!fits(i)) continue;
      const cx = Math.floor(data.x[i] / room), cy = Math.floor(data.y[i] / room);
      let free = true;
      for (let dx = -1; free && dx <= 1; dx++) for (let dy = -1; free && dy <= 1; dy++) {
        for (const j of cells.get((cx + dx) * 1000003 + cy + dy) ?? []) {
          if (Math.max(Math.abs(data.x[i] - data.x[j]), Math.abs(data.y[i] - data.y[j])) < room) { free = false; break; }
        }
      }
      if (!free) continue;
      const cell = cx * 1000003 + cy;
      cells.has(cell) ? cells.get(cell).push(i) : cells.set(cell, [i]);
      those.push(i);
    }
    pictured = { zoom, those };
    return those;
  }
  function picture(i) {
    let one = images.get(i);
    if (!one) { one = { state: "waiting", image: new Image() }; images.set(i, one); queue.push(i); next(); }
    return one.state === "there" ? one.image : null;
  }
  function next() {
    while (loading < 6 && queue.length) {
      const i = queue.pop(), one = images.get(i);
      loading += 1;
      const ended = (state) => { one.state = state; loading -= 1; soon(); next(); };
      one.image.onload = () => ended("there");
      one.image.onerror = () => ended("none");
      one.image.src = `/mosaics/${data.ids[i]}/map?pictures=1`;
    }
  }

  function draw() {
    stale = false;
    if (!data) return;
    const began = performance.now(), style = getComputedStyle(document.documentElement);
    pen.setTransform(size.dpr, 0, 0, size.dpr, 0, 0);
    pen.clearRect(0, 0, size.w, size.h);
    const palette = Array.from({ length: COLOURS }, (_, c) => style.getPropertyValue(`--c${c}`));
    const rest = style.getPropertyValue("--soft"), dots = Array.from({ length: COLOURS + 1 }, () => []), faint = [];
    const margin = PICTURE;
    seen = [];
    for (let i = 0; i < data.ids.length; i++) {
      const sx = (data.x[i] - view.x) * view.scale + size.w / 2, sy = (view.y - data.y[i]) * view.scale + size.h / 2;
      if (sx < -margin || sy < -margin || sx > size.w + margin || sy > size.h + margin) continue;
      if (!fits(i)) { faint.push(sx, sy); continue; }
      seen.push(i);
      dots[colours[i] < 0 ? COLOURS : colours[i]].push(sx, sy);
    }
    const r = data.ids.length > 2000 ? 2 : 3.5;
    const spots = (points, colour, alpha) => {
      pen.fillStyle = colour;
      pen.globalAlpha = alpha;
      for (let p = 0; p < points.length; p += 2) pen.fillRect(points[p] - r, points[p + 1] - r, 2 * r, 2 * r);
    };
    spots(faint, rest, 0.18);
    dots.forEach((points, c) => spots(points, c === COLOURS ? rest : palette[c], 0.85));
    pen.globalAlpha = 1;
    const side = PICTURE - 8;
    let shown = 0;
    for (const i of withRoom()) {
      const [sx, sy] = toScreen(i);
      if (sx < -side || sy < -side || sx > size.w + side || sy > size.h + side || (shown += 1) > PICTURES) continue;
      const image = picture(i);
      if (!image) continue;
      pen.fillStyle = colours[i] < 0 ? rest : palette[colours[i]];
      pen.fillRect(sx - side / 2 - 2, sy - side / 2 - 2, side + 4, side + 4);
      pen.drawImage(image, sx - side / 2, sy - side / 2, side, side);
    }
    if (over >= 0) {
      const [sx, sy] = toScreen(over), image = picture(over), large = 96;
      pen.fillStyle = style.getPropertyValue("--accent");
      pen.fillRect(sx - large / 2 - 3, sy - large / 2 - 3, large + 6, large + 6);
      if (image) pen.drawImage(image, sx - large / 2, sy - large / 2, large, large);
    }
    canvas.dataset.drawn = (performance.now() - began).toFixed(2);
    canvas.dataset.frames = 1 + +(canvas.dataset.frames ?? 0);
  }

  // --- moving
  function zoom(by, sx = size.w / 2, sy = size.h / 2) {
    const scale = Math.min(Math.max(view.scale * by, base / 2), base * 400), x = (sx - size.w / 2), y = (sy - size.h / 2);
    view = { x: view.x + x / view.scale - x / scale, y: view.y - y / view.scale + y / scale, scale };
    soon();
  }
  function nearest(sx, sy) {
    let best = -1, far = Infinity;
    current();
    for (const i of seen) {
      const [x, y] = toScreen(i), d = Math.hypot(x - sx, y - sy);
      if (d < far) [best, far] = [i, d];
    }
    return far <= Math.max(REACH, PICTURE / 2) ? best : -1;
  }
  function hover(i) {
    if (i === over) return;
    over = i;
    $("over").textContent = i < 0 ? "" : `${data.names[i]} · ${data.kinds[data.kind[i]]}${data.tags[i].length ? " · " + data.tags[i].slice(0, 4).map((t) => data.allTags[t]).join(", ") : ""}`;
    canvas.style.cursor = i < 0 ? "" : "pointer";
    soon();
  }
  const open = (i) => { if (i >= 0) location.assign(addressOf(data.names[i])); };

  const fingers = new Map();
  let moved = 0;
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); fingers.set(event.pointerId, [event.offsetX, event.offsetY]); if (fingers.size === 1) moved = 0; });
  canvas.addEventListener("pointermove", (event) => {
    const here = [event.offsetX, event.offsetY], was = fingers.get(event.pointerId);
    if (!was) { if (data) hover(nearest(...here)); return; }
    if (fingers.size === 1) {
      view = { ...view, x: view.x - (here[0] - was[0]) / view.scale, y: view.y + (here[1] - was[1]) / view.scale };
      moved += Math.hypot(here[0] - was[0], here[1] - was[1]);
      soon();
    } else {
      const [, other] = [...fingers].find(([id]) => id !== event.pointerId);
      moved += REACH;
      zoom(Math.hypot(here[0] - other[0], here[1] - other[1]) / (Math.hypot(was[0] - other[0], was[1] - other[1]) || 1), (here[0] + other[0]) / 2, (here[1] + other[1]) / 2);
    }
    fingers.set(event.pointerId, here);
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => {
    if (fingers.delete(event.pointerId) && end === "pointerup" && !fingers.size && moved < 5 && data) open(nearest(event.offsetX, event.offsetY));
  });
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(Math.exp(-event.deltaY * 0.0015), event.offsetX, event.offsetY); }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const far = 60 / view.scale, step = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, far], ArrowDown: [0, -far] }[event.key];
    if (step) { view = { ...view, x: view.x + step[0], y: view.y + step[1] }; soon(); }
    else if (event.key === "+" || event.key === "=") zoom(1.5);
    else if (event.key === "-") zoom(1 / 1.5);
    else if (event.key === "0") all();
    else if (event.key === "Enter") open(over);
    else if (event.key === "Escape") hover(-1);
    else if (event.key === "Tab" && data) {
      current();
      const order = seen.filter((i) => { const [x, y] = toScreen(i); return x >= 0 && y >= 0 && x <= size.w && y <= size.h; });
      const to = over < 0 ? (event.shiftKey ? -1 : 0) : order.indexOf(over) + (event.shiftKey ? -1 : 1);
      if (to < 0 || to >= order.length) { hover(-1); return; } // and leave the map
      hover(order[to]);
    } else return;
    event.preventDefault();
  });
  $("in").addEventListener("click", () => zoom(1.6));
  $("out").addEventListener("click", () => zoom(1 / 1.6));
  $("all").addEventListener("click", all);
  $("colour-by").addEventListener("change", group);
  $("find").addEventListener("input", () => { wanted = $("find").value.trim().toLowerCase(); pictured = null; soon(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", soon);
  new ResizeObserver(fit).observe(canvas);

  fetch("/explore.json").then(async (answer) => {
    if (!answer.ok) throw new Error("the map could not be read");
    data = await answer.json();
    $("count").textContent = `${data.ids.length.toLocaleString("en")} models, laid out by ${data.method === "umap" ? "UMAP" : "two principal components"}.`;
    stale = false;
    fit();
    all();
    group();
  }).catch((error) => { $("over").textContent = error.message; });
})();
