// graph.js: the live picture of the system. Keeps the layout while the structure stays the same,
// glides to the new one when it changes, and writes the figures of each second.

import { svg, text, attr, style } from "./dom.js";
import * as fmt from "./format.js";
import { layout } from "./layout.js";
import { createNode, drawNode, sizeOf, widthOf } from "./shapes.js";
import { createParticles } from "./particles.js";
import { place, go } from "./place.js";

const GLIDE_MS = 520;
const FORGET_MS = 30000; // an edge without traffic stays drawn this long: no flicker of the layout
const COMPACT_FROM = 27; // nodes
const LABELS_UP_TO = 24; // edges: past it a label shows when its edge is picked or failing
const PAD = 26;
const LEAST_FIT = 0.62; // smaller can't be read: then the graph scrolls sideways

export function createGraph(card) {
  const scene = card.querySelector("#scene");
  const world = svg("g", { class: "world" });
  const layer = {
    edges: svg("g", { class: "edges" }),
    labels: svg("g", { class: "labels" }),
    nodes: svg("g", { class: "nodes" }),
  };
  world.append(layer.edges, layer.labels, layer.nodes);
  scene.append(world);
  const g = {
    card,
    scene,
    world,
    layer,
    stage: card.querySelector(".stage"),
    particles: createParticles(card.querySelector("#particles")),
    nodes: new Map(),
    edges: new Map(),
    memory: new Map(),
    shown: { nodes: [], edges: [] },
    at: { nodes: new Map(), edges: new Map() },
    goal: null,
    glide: 0,
    structure: "",
    compact: false,
    hover: "",
    focusId: "",
    still: matchMedia("(prefers-reduced-motion: reduce)"),
  };
  listen(g);
  new ResizeObserver(() => relayout(g, true)).observe(card);
  return {
    update: (model, nowMs) => update(g, model, nowMs),
    choose: () => {
      relayout(g, true);
      mark(g);
    },
    run: (on) => g.particles.run(on),
    comets: () => g.particles.count(),
  };
}

/* ---- a new second ---- */

function update(g, model, nowMs) {
  const [nodes, edges] = remember(g, model, nowMs);
  g.shown = { nodes, edges };
  const structure = JSON.stringify([
    nodes.map((n) => [n.id, n.kind]).sort(),
    edges.map((e) => e.id).sort(),
  ]);
  syncNodes(g, nodes);
  syncEdges(g, edges);
  if (structure !== g.structure) {
    g.structure = structure;
    relayout(g, false);
  }
  const compact = g.compact;
  for (const n of nodes) drawNode(g.nodes.get(n.id), n, compact);
  for (const e of edges) drawEdge(g.edges.get(e.id), e);
  feedParticles(g);
  mark(g);
}

/** Adds the edges of the last half minute, and the outside nodes that only they name. */
function remember(g, model, nowMs) {
  for (const e of model.edges)
    g.memory.set(e.id, {
      edge: e,
      from: model.nodes.get(e.from),
      to: model.nodes.get(e.to),
      seen: nowMs,
    });
  const nodes = new Map(model.nodes);
  const edges = [];
  for (const [id, m] of g.memory) {
    const present = m.seen === nowMs;
    const keep = [m.from, m.to].every(
      (n) => nodes.has(n.id) || n.kind === "client" || n.kind === "binding",
    );
    if (!keep || nowMs - m.seen > FORGET_MS) {
      g.memory.delete(id);
      continue;
    }
    for (const n of [m.from, m.to]) if (!nodes.has(n.id)) nodes.set(n.id, n);
    edges.push(present ? m.edge : { ...m.edge, rps: 0, p50: null, p99: null, errorRate: null });
  }
  return [[...nodes.values()], edges];
}

function syncNodes(g, nodes) {
  const ids = new Set(nodes.map((n) => n.id));
  for (const [id, e] of g.nodes) {
    if (ids.has(id)) continue;
    g.nodes.delete(id);
    fade(g, e);
  }
  for (const n of nodes) {
    if (g.nodes.has(n.id)) continue;
    const e = createNode(n);
    g.nodes.set(n.id, e);
    g.layer.nodes.append(e);
  }
}

function syncEdges(g, edges) {
  const ids = new Set(edges.map((e) => e.id));
  for (const [id, e] of g.edges) {
    if (ids.has(id)) continue;
    g.edges.delete(id);
    fade(g, e.root);
    e.label.remove();
  }
  for (const e of edges) if (!g.edges.has(e.id)) g.edges.set(e.id, createEdge(g, e));
}

function fade(g, element) {
  if (g.still.matches) return element.remove();
  element.classList.add("leaving");
  setTimeout(() => element.remove(), 400);
}

/* ---- edges ---- */

function createEdge(g, e) {
  const hit = svg("path", { class: "hit" });
  const line = svg("path", { class: "line" });
  const head = svg("path", { class: "head" });
  const title = svg("title");
  const root = svg("g", { class: "edge" }, title, hit, line, head);
  const rows = [
    svg("tspan", { class: "l1" }),
    svg("tspan", { class: "le" }),
    svg("text", { class: "l2", y: 12 }),
  ];
  const back = svg("rect", { rx: 5, y: -11 });
  const label = svg("g", { class: "label" }, back, svg("text", {}, rows[0], rows[1]), rows[2]);
  root.dataset.id = label.dataset.id = e.id;
  root.dataset.from = e.from;
  root.dataset.to = e.to;
  g.layer.edges.append(root);
  g.layer.labels.append(label);
  return {
    root,
    hit,
    line,
    head,
    title,
    label,
    back,
    rows,
    labelAt: [0, 0],
    polyline: [],
    model: e,
  };
}

function drawEdge(v, e) {
  v.model = e;
  const idle = !(e.rps > 0);
  const severity = fmt.severity(e.errorRate);
  v.classes = `edge k-${e.kind} e-${severity}${idle ? " idle" : ""}`;
  v.labelClasses = `label e-${severity}${idle ? " idle" : ""}`;
  const width = idle ? 1.2 : Math.min(3.6, 1.4 + 0.6 * Math.log10(1 + e.rps));
  style(v.line, "stroke-width", width.toFixed(2));
  text(v.rows[0], fmt.rate(e.rps));
  text(v.rows[1], e.errorRate > 0 ? "  " + fmt.share(e.errorRate) : "");
  text(v.rows[2], e.p50 === null && e.p99 === null ? "" : latencies(e));
  backLabel(v);
  text(
    v.title,
    `${e.from} → ${e.to}\n${e.kind}, ${fmt.rate(e.rps)}, p50 ${fmt.latency(e.p50)}, p99 ${fmt.latency(e.p99)}, errors ${fmt.share(e.errorRate)}`,
  );
}

/** A plate behind the label, so that neither line nor comet runs through the figures. */
function backLabel(v) {
  const [first, errors, second] = v.rows.map((r) => r.textContent);
  const key = `${first}|${errors}|${second}`;
  if (v.backKey === key) return;
  v.backKey = key;
  const w = Math.max(widthOf(first + errors, 11, 550), second ? widthOf(second, 10, 400) : 0) + 9;
  attr(v.back, "width", w.toFixed(1));
  attr(v.back, "x", (-w / 2).toFixed(1));
  attr(v.back, "height", second ? 27 : 15);
}

/** "3 · 8 ms": the unit once if it is the same. */
function latencies(e) {
  const a = fmt.latencyParts(e.p50);
  const b = fmt.latencyParts(e.p99);
  const left = a[1] === b[1] || !a[1] ? a[0] : a.join("\u202f");
  return `${left} · ${b.join("\u202f")}`.trim();
}

/* ---- layout ---- */

const rootScale = () => parseFloat(getComputedStyle(document.documentElement).fontSize) / 14;

function relayout(g, jump) {
  const { nodes, edges } = g.shown;
  const box = g.card.clientWidth;
  if (!nodes.length || !box) return;
  const unit = rootScale();
  const narrow = box / unit < 620;
  const panel = g.card.querySelector("#detail"); // null while it is in the side column
  const taken = panel && !panel.hidden && !narrow ? panel.offsetWidth + 12 * unit : 0;
  const base =
    (parseFloat(getComputedStyle(g.card).getPropertyValue("--graph-h")) * innerHeight) / 100 || 400;
  const wide = (box - taken) / unit - 2 * PAD;
  const tall = Math.max(300, base / unit - 2 * PAD - 16);
  g.compact = nodes.length >= COMPACT_FROM;
  const sized = nodes.map((n) => ({ id: n.id, ...sizeOf(n, g.compact) }));
  const attempt = (vertical) => {
    const before = g.goal && g.vertical === vertical ? g.goal : null;
    const found = layout(
      sized,
      edges,
      roomFor(g.compact, vertical, wide, tall, nodes.length, taken > 0),
      before,
    );
    return { found, vertical, fit: wide / Math.max(1, found.width) };
  };
  let best = attempt(narrow);
  if (!narrow && best.fit < 0.6) {
    // a long chain reads better from top to bottom
    const down = attempt(true);
    if (down.fit > best.fit * 1.3 && down.found.height < 2200) best = down;
  }
  const { found, vertical } = best;
  g.vertical = vertical;
  g.goal = { ...found, sizes: new Map(sized.map((s) => [s.id, s])) };
  for (const n of nodes) drawNode(g.nodes.get(n.id), n, g.compact);
  aimView(g, found, { unit, wide, tall, taken, vertical, base });
  placeLabels(g);
  if (!g.at.nodes.size) g.stage.parentNode.scrollLeft = (g.stage.offsetWidth - box) / 2;
  startGlide(g, jump);
}

function roomFor(compact, vertical, wide, tall, n, tight) {
  const across = vertical ? wide : tall;
  const cell = vertical ? (compact ? 148 : 160) + 14 : compact ? 48 : 72;
  const fits = Math.floor((across + 14) / cell);
  const most = vertical ? Math.max(2, fits) : Math.max(4, fits, Math.ceil(n / 7));
  return {
    along: vertical ? 0 : wide,
    across,
    vertical,
    maxPerLayer: most,
    minGap: vertical ? (compact ? 34 : 70) : compact ? (tight ? 38 : 54) : tight ? 58 : 92,
    maxGap: vertical ? 76 : 210,
    gapAcross: vertical ? 14 : compact ? 12 : 20,
  };
}

/** Scale and offset that fit the layout into the card, and the card's height. */
function aimView(g, found, room) {
  const fitWidth = Math.max(LEAST_FIT, Math.min(1, room.wide / Math.max(1, found.width)));
  const need = found.height * fitWidth;
  const calm = room.vertical ? need : Math.max(360, need * 1.7); // no more air than this above and below
  const tall = Math.max(Math.min(calm, room.tall), need);
  const k = fitWidth * room.unit;
  const w = Math.max(
    g.card.clientWidth,
    Math.ceil(found.width * k + 2 * PAD * room.unit + room.taken),
  );
  const h = Math.round((tall + 2 * PAD + 16) * room.unit);
  style(g.card, "height", h + g.card.offsetHeight - g.card.clientHeight + "px"); // and its border
  style(g.stage, "width", w + "px");
  const dx = (w - room.taken - found.width * k) / 2;
  const dy = (h - (12 + found.height) * k) / 2;
  g.world.setAttribute(
    "transform",
    `translate(${dx.toFixed(1)} ${dy.toFixed(1)}) scale(${k.toFixed(4)})`,
  );
  g.particles.resize({ k, dx, dy, w, h });
}

function startGlide(g, jump) {
  const from = g.at;
  const goal = g.goal;
  const begin = performance.now();
  cancelAnimationFrame(g.glide);
  const quick = jump || g.still.matches || document.hidden || !from.nodes.size;
  const frame = (now) => {
    const t = quick ? 1 : Math.min(1, Math.max(0, (now - begin) / GLIDE_MS));
    const f = 1 - (1 - t) ** 3;
    apply(g, from, goal, f);
    if (t < 1) g.glide = requestAnimationFrame(frame);
    else feedParticles(g);
  };
  if (quick) frame(begin);
  else g.glide = requestAnimationFrame(frame);
}

const mix = (a, b, f) => a + (b - a) * f;

function apply(g, from, goal, f) {
  g.at = { nodes: new Map(), edges: new Map() };
  for (const [id, to] of goal.nodes) {
    const was = from.nodes.get(id) || [to.x, to.y];
    const now = [mix(was[0], to.x, f), mix(was[1], to.y, f)];
    g.at.nodes.set(id, now);
    g.nodes
      .get(id)
      ?.setAttribute("transform", `translate(${now[0].toFixed(1)} ${now[1].toFixed(1)})`);
  }
  for (const [id, to] of goal.edges) {
    const was = from.edges.get(id);
    const points =
      was && was.length === to.length
        ? to.map((p, i) => [mix(was[i][0], p[0], f), mix(was[i][1], p[1], f)])
        : to;
    g.at.edges.set(id, points);
    const v = g.edges.get(id);
    if (v) drawPath(v, pieces(points, g.vertical), g.vertical);
  }
  for (const id of goal.loops) {
    const v = g.edges.get(id);
    if (v) drawPath(v, loop(g.at.nodes.get(v.model.from), goal.sizes.get(v.model.from)), true);
  }
  for (const v of g.edges.values()) {
    const [x, y] = v.labelAt;
    attr(v.label, "transform", `translate(${x.toFixed(1)} ${y.toFixed(1)})`);
  }
}

/** Cubic pieces through the points: curves between layers, straight across one. */
function pieces(points, vertical) {
  const out = [];
  for (let i = 1; i < points.length; i++) {
    const [a, b] = [points[i - 1], points[i]];
    const half = vertical ? (b[1] - a[1]) / 2 : (b[0] - a[0]) / 2;
    out.push(
      vertical
        ? [a, [a[0], a[1] + half], [b[0], b[1] - half], b]
        : [a, [a[0] + half, a[1]], [b[0] - half, b[1]], b],
    );
  }
  return out;
}

function loop([x, y], { w, h }) {
  const top = y - h / 2;
  return [
    [
      [x + w / 2 - 16, top],
      [x + w / 2 - 12, top - 30],
      [x + w / 2 - 52, top - 30],
      [x + w / 2 - 44, top],
    ],
  ];
}

function drawPath(v, curves, vertical) {
  const end = curves[curves.length - 1];
  const sign = Math.sign(vertical ? end[3][1] - end[2][1] : end[3][0] - end[2][0]) || 1;
  const back = 7 * sign;
  const [x, y] = end[3];
  const tip = vertical ? [x, y - back] : [x - back, y];
  const drawn = [...curves.slice(0, -1), [end[0], end[1], end[2], tip]];
  const d =
    "M" + xy(drawn[0][0]) + drawn.map((c) => `C${xy(c[1])} ${xy(c[2])} ${xy(c[3])}`).join("");
  attr(v.line, "d", d);
  attr(v.hit, "d", d);
  attr(
    v.head,
    "d",
    vertical
      ? `M${xy([x, y - sign])}L${xy([x - 4, y - back])}L${xy([x + 4, y - back])}Z`
      : `M${xy([x - sign, y])}L${xy([x - back, y - 4])}L${xy([x - back, y + 4])}Z`,
  );
  v.polyline = sample(drawn);
}

const xy = (p) => `${p[0].toFixed(1)} ${p[1].toFixed(1)}`;

function sample(curves) {
  const line = [curves[0][0]];
  for (const [a, b, c, d] of curves)
    for (let i = 1; i <= 16; i++) {
      const t = i / 16;
      const [u, s] = [1 - t, t];
      line.push(
        [0, 1].map(
          (k) => u * u * u * a[k] + 3 * u * u * s * b[k] + 3 * u * s * s * c[k] + s * s * s * d[k],
        ),
      );
    }
  return line;
}

/* ---- labels: beside the middle of the edge, where nothing else is ---- */

function placeLabels(g) {
  const boxes = [];
  for (const [id, p] of g.goal.nodes) {
    const s = g.goal.sizes.get(id);
    boxes.push([p.x - s.w / 2, p.y - s.h / 2, p.x + s.w / 2, p.y + s.h / 2]);
  }
  for (const [id, points] of [...g.goal.edges].sort((a, b) => (a[0] < b[0] ? -1 : 1))) {
    const v = g.edges.get(id);
    if (!v) continue;
    const line = sample(pieces(points, g.vertical));
    const spots = [0.5, 0.42, 0.58, 0.34, 0.66, 0.27, 0.73, 0.2, 0.8].map(
      (f) => line[Math.round(f * (line.length - 1))],
    );
    const cost = (p) =>
      boxes.reduce((sum, b) => sum + overlap([p[0] - 35, p[1] - 13, p[0] + 35, p[1] + 13], b), 0);
    let best = spots[0];
    let least = cost(best);
    for (const p of spots) if (cost(p) < least - 1) ((best = p), (least = cost(p)));
    boxes.push([best[0] - 35, best[1] - 13, best[0] + 35, best[1] + 13]);
    v.labelAt = [best[0], best[1] - 2];
  }
}

const overlap = (a, b) =>
  Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0])) *
  Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));

/* ---- what is picked, and the reader's hands ---- */

/** Marks the picked node or edge and its neighbours; the rest steps back. */
function mark(g) {
  const picked = g.hover || place().sel;
  const touching = new Set();
  for (const e of g.shown.edges)
    if (e.id === picked || e.from === picked || e.to === picked)
      [e.id, e.from, e.to].forEach((id) => touching.add(id));
  if (g.nodes.has(picked)) touching.add(picked);
  const any = touching.size > 0;
  const few = g.shown.edges.length <= LABELS_UP_TO && !g.compact;
  for (const [id, e] of g.nodes) {
    const flags = (any && !touching.has(id) ? " dim" : "") + (id === place().sel ? " picked" : "");
    if (e.flags !== flags) {
      e.setAttribute(
        "class",
        (e.getAttribute("class") || "node").replace(e.flags || "", "") + flags,
      );
      e.flags = flags;
    }
    attr(e, "aria-pressed", id === place().sel ? "true" : "false");
    attr(e, "tabindex", id === tabStop(g) ? "0" : "-1");
  }
  for (const [id, v] of g.edges) {
    const on = touching.has(id);
    const flags = any ? (on ? " on" : " dim") : "";
    attr(v.root, "class", v.classes + flags + (id === place().sel ? " picked" : ""));
    const show = on || (few && !any) || (!any && v.model.errorRate >= 0.05);
    attr(v.label, "class", v.labelClasses + flags + (show ? "" : " off"));
  }
  g.particles.dim((id) => any && !touching.has(id));
}

/** One node is in the tab order: the picked one, else the last focused, else the first. */
function tabStop(g) {
  if (g.nodes.has(g.focusId)) return g.focusId;
  if (g.nodes.has(place().sel)) return place().sel;
  return g.nodes.keys().next().value;
}

function feedParticles(g) {
  g.particles.update(
    g.shown.edges
      .map((e) => ({ ...e, line: g.edges.get(e.id).polyline }))
      .filter((e) => e.line.length > 1),
  );
}

function listen(g) {
  const target = (event) => event.target.closest?.("[data-id]");
  g.scene.addEventListener("click", (event) => {
    const t = target(event);
    const id = t ? t.dataset.id : "";
    go({ sel: id === place().sel ? "" : id });
  });
  g.scene.addEventListener("pointerover", (event) => hover(g, target(event)?.dataset.id || ""));
  g.scene.addEventListener("pointerleave", () => hover(g, ""));
  // On the card: a browser makes an SVG with focus listeners a tab stop of its own.
  g.card.addEventListener("focusin", (event) => {
    g.focusId = target(event)?.dataset.id || "";
    mark(g);
  });
  g.card.addEventListener("keydown", (event) => onKey(g, event));
}

function hover(g, id) {
  if (g.hover === id) return;
  g.hover = id;
  mark(g);
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function onKey(g, event) {
  const id = event.target.closest?.("[data-id]")?.dataset.id;
  if (id === undefined) return;
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    go({ sel: id === place().sel ? "" : id });
  } else if (ARROWS[event.key]) {
    event.preventDefault();
    const next = nearest(g, id, ARROWS[event.key]);
    if (next) g.nodes.get(next)?.focus();
  }
}

/** The nearest node in a direction; what lies aside counts double. */
function nearest(g, id, [dx, dy]) {
  const [x, y] = g.at.nodes.get(id);
  let best = "";
  let least = Infinity;
  for (const [other, [ox, oy]] of g.at.nodes) {
    const ahead = (ox - x) * dx + (oy - y) * dy;
    const aside = Math.abs((ox - x) * dy) + Math.abs((oy - y) * dx);
    if (other === id || ahead < 8) continue;
    const cost = ahead + 2 * aside;
    if (cost < least) ((least = cost), (best = other));
  }
  return best;
}
