// shapes.js: how each kind of node looks: its size, its outline and what is written on it.
// Coordinates are the node's own, (0, 0) is its centre.

import { svg, text, attr } from "./dom.js";
import * as fmt from "./format.js";
import { health } from "./model.js";

const SIZES = {
  service: [150, 54],
  topic: [172, 50],
  store: [122, 54],
  client: [92, 36],
  binding: [124, 42],
};
const SMALL = {
  service: [146, 36],
  topic: [148, 34],
  store: [116, 38],
  client: [84, 30],
  binding: [112, 32],
};
const MAX_DOTS = 5;
const QUEUE_BARS = 6;

export function sizeOf(node, compact) {
  const [w, h] = (compact ? SMALL : SIZES)[node.kind] || SIZES.service;
  return { w, h };
}

const OUTLINE = {
  service: (w, h) => rounded(w, h, 10),
  client: (w, h) => rounded(w, h, h / 2),
  binding: (w, h) => {
    const [x, y, c] = [w / 2, h / 2, 10];
    return `M${-x + c} ${-y}H${x - c}L${x} 0L${x - c} ${y}H${-x + c}L${-x} 0Z`;
  },
  topic: (w, h) => {
    const [x, y, r] = [w / 2, h / 2, 9];
    return `M${-x + r} ${-y}H${x - r}A${r} ${y} 0 0 1 ${x - r} ${y}H${-x + r}A${r} ${y} 0 0 1 ${-x + r} ${-y}Z`;
  },
  store: (w, h) => {
    const [x, y, r] = [w / 2, h / 2, 6];
    return `M${-x} ${-y + r}A${x} ${r} 0 0 1 ${x} ${-y + r}V${y - r}A${x} ${r} 0 0 1 ${-x} ${y - r}Z`;
  },
};

/** The inner line that makes the outline a pipe or a drum. */
const INNER = {
  topic: (w, h) => `M${w / 2 - 9} ${-h / 2}A9 ${h / 2} 0 0 0 ${w / 2 - 9} ${h / 2}`,
  store: (w, h) => `M${-w / 2} ${-h / 2 + 6}A${w / 2} 6 0 0 0 ${w / 2} ${-h / 2 + 6}`,
};

function rounded(w, h, r) {
  const [x, y] = [w / 2, h / 2];
  return (
    `M${-x + r} ${-y}H${x - r}A${r} ${r} 0 0 1 ${x} ${-y + r}V${y - r}A${r} ${r} 0 0 1 ${x - r} ${y}` +
    `H${-x + r}A${r} ${r} 0 0 1 ${-x} ${y - r}V${-y + r}A${r} ${r} 0 0 1 ${-x + r} ${-y}Z`
  );
}

/** The empty element of a node; drawNode() fills it. */
export function createNode(node) {
  const part = {
    shape: svg("path", { class: "shape" }),
    inner: svg("path", { class: "inner" }),
    title: svg("title"),
    name: svg("text", { class: "name" }),
    line: svg("text", { class: "line2" }),
    bad: svg("tspan", { class: "bad" }),
    main: svg("tspan"),
    marks: svg("g", { class: "marks" }),
  };
  part.line.append(part.main, part.bad);
  const g = svg(
    "g",
    { class: "node", role: "button", tabindex: "-1" },
    part.title,
    part.shape,
    part.inner,
    part.name,
    part.line,
    part.marks,
  );
  g.bits = part;
  g.dataset.id = node.id;
  return g;
}

/** Writes the node's present figures. */
export function drawNode(g, node, compact) {
  const { w, h } = sizeOf(node, compact);
  const p = g.bits;
  const key = `${node.kind} ${compact}`;
  if (g.shapeKey !== key) {
    g.shapeKey = key;
    attr(p.shape, "d", (OUTLINE[node.kind] || OUTLINE.service)(w, h));
    attr(p.inner, "d", INNER[node.kind] ? INNER[node.kind](w, h) : null);
    g.nameKey = "";
  }
  const marks = markRow(p.marks, node, w, h, compact);
  writeName(g, node, w, h, compact, marks);
  const [main, bad] = compact ? ["", ""] : secondLine(node);
  text(p.main, main);
  text(p.bad, bad);
  text(p.title, node.label);
  attr(g, "aria-label", describe(node));
  const state = node.kind === "service" ? health(node) : "none";
  g.setAttribute(
    "class",
    `node ${node.kind} h-${state} e-${fmt.severity(node.errorRate)}${g.flags || ""}`,
  );
}

function secondLine(node) {
  if (node.kind === "topic") {
    const depth = node.depth === null ? "" : `${fmt.count(node.depth)} waiting`;
    return [depth, node.dead ? `  ${fmt.count(node.dead)} dead` : ""];
  }
  if (node.kind === "client" || node.kind === "binding") return ["", ""];
  const bad = node.errorRate > 0 ? `  ${fmt.share(node.errorRate)}` : "";
  if (node.kind === "store")
    return [`${fmt.rate(node.rps)}  ${node.p99 === null ? "" : fmt.latency(node.p99)}`.trim(), bad];
  if (node.remote) return ["outside this run", ""];
  return [fmt.rate(node.rps), bad];
}

function writeName(g, node, w, h, compact, marksWidth) {
  const centred = node.kind === "client" || node.kind === "binding";
  const oneLine = centred || compact;
  const inset = node.kind === "topic" ? 17 : 13;
  const room =
    w -
    inset * (centred ? 1 : 2) -
    (marksWidth ? marksWidth + 4 : 0) -
    (node.kind === "topic" ? 3 : 0);
  const key = `${node.label}|${room}|${oneLine}`;
  if (g.nameKey !== key) {
    g.nameKey = key;
    const p = g.bits;
    text(p.name, fit(node.label, room));
    attr(p.name, "text-anchor", centred ? "middle" : null);
    attr(p.name, "x", centred ? 0 : -w / 2 + inset);
    const drop = node.kind === "store" ? 3.5 : 0;
    attr(p.name, "y", (oneLine ? 4.5 : -5) + drop);
    attr(p.line, "x", -w / 2 + inset);
    attr(p.line, "y", 13 + drop);
  }
}

let pen = null;

/** The width of a text as the graph draws it, in its units. */
export function widthOf(s, px, weight) {
  pen ||= document.createElement("canvas").getContext("2d");
  pen.font = `${weight} ${px}px ${getComputedStyle(document.body).fontFamily}`;
  return pen.measureText(s).width;
}

/** Cuts a name to the room it has. */
function fit(s, room) {
  const wide = (t) => widthOf(t, 13, 600) > room;
  if (s.length < 200 && !wide(s)) return s;
  let cut = Math.min(s.length, 60);
  while (cut > 1 && wide(s.slice(0, cut) + "…")) cut--;
  return s.slice(0, cut) + "…";
}

/** A dot for each instance; a bar for each two doublings of a queue's depth. Returns the width taken. */
function markRow(g, node, w, h, compact) {
  if (node.kind === "service") return dots(g, node, w, h, compact);
  if (node.kind === "topic") return bars(g, node, w, h, compact);
  return 0;
}

function dots(g, node, w, h, compact) {
  const shown = node.instances.slice(0, MAX_DOTS);
  const more = node.instances.length - shown.length;
  resize(g, shown.length + (more ? 1 : 0), (i) =>
    i < MAX_DOTS ? svg("circle", { r: 3.5 }) : svg("text", { class: "more" }),
  );
  const y = compact ? 0 : -h / 2 + 17.5;
  const end = w / 2 - 14 - (more ? 16 : 0);
  shown.forEach((inst, i) => {
    const c = g.children[i];
    attr(c, "cx", end - (shown.length - 1 - i) * 10);
    attr(c, "cy", y);
    attr(c, "class", "i-" + inst.state);
  });
  if (more) {
    const t = g.children[MAX_DOTS];
    text(t, "+" + more);
    attr(t, "x", end + 8);
    attr(t, "y", y + 3.5);
  }
  return shown.length * 10 + (more ? 16 : 0);
}

function bars(g, node, w, h, compact) {
  resize(g, QUEUE_BARS, () => svg("rect", { width: 2.5, rx: 1.25 }));
  const lit = node.depth > 0 ? Math.min(QUEUE_BARS, 1 + Math.floor(Math.log2(node.depth) / 2)) : 0;
  const late = node.oldest > 30 ? " bad" : node.oldest > 5 ? " warn" : "";
  const tall = 11;
  for (let i = 0; i < QUEUE_BARS; i++) {
    const r = g.children[i];
    attr(r, "x", w / 2 - 24 - i * 4.5);
    attr(r, "y", compact ? -tall / 2 : -h / 2 + 10.5);
    attr(r, "height", tall);
    attr(r, "class", i < lit ? "lit" + late : "");
  }
  return QUEUE_BARS * 4.5 + 8;
}

function resize(g, n, create) {
  while (g.children.length > n) g.lastChild.remove();
  while (g.children.length < n) g.append(create(g.children.length));
  for (let i = 0; i < n; i++) {
    const want = create(i).tagName;
    if (g.children[i].tagName !== want) g.replaceChild(create(i), g.children[i]);
  }
}

/** The node in one sentence, for a screen reader. */
function describe(node) {
  const errors = node.errorRate > 0 ? `, ${fmt.share(node.errorRate)} errors` : "";
  switch (node.kind) {
    case "service": {
      const ok = node.instances.filter((i) => i.state === "healthy").length;
      return `service ${node.label}, ${fmt.rate(node.rps)}, ${ok} of ${node.instances.length} instances healthy${errors}`;
    }
    case "topic":
      return `topic ${node.label}, ${fmt.count(node.depth)} waiting`;
    case "store":
      return `state store ${node.label}, ${fmt.rate(node.rps)}${errors}`;
    default:
      return `${node.kind} ${node.label}`;
  }
}
