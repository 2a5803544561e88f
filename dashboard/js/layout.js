// layout.js: where the nodes of the graph go. Pure: sizes in, coordinates out; nothing is random,
// so the same graph always looks the same.
//
// The layered method: turn the few edges that close a cycle, put each node one layer after those
// that call it, carry long edges through the layers between with placeholders, order each layer to
// cross few edges, then pull each node towards its neighbours. "Along" is the direction of calls
// (left to right; top to bottom on a narrow screen), "across" is the other one.

const SWEEPS = 16;
const MANY_CELLS = 500; // past this the order is searched for less long
const RELAX = 24;

/**
 * nodes: [{id, w, h}], edges: [{id, from, to}].
 * room: {along, across, minGap, maxGap, gapAcross, maxPerLayer, vertical}.
 * before: what layout() returned last, to keep the order readers know; or null.
 * Returns {nodes: Map id → {x, y, layer}, edges: Map id → points, width, height}; x and y are centres,
 * points is [[x, y], …] in the direction of the edge, two per layer that it passes.
 */
export function layout(nodes, edges, room, before) {
  const g = build(nodes, edges, room, before);
  assignLayers(g, room.maxPerLayer);
  addPlaceholders(g, room, before);
  orderLayers(g);
  placeAcross(g, room);
  placeAlong(g, room);
  return finish(g, room);
}

function build(nodes, edges, room, before) {
  const sorted = [...nodes].sort((a, b) => rank(a) - rank(b) || (a.id < b.id ? -1 : 1));
  const cells = new Map();
  for (const n of sorted) {
    const old = before?.nodes.get(n.id);
    cells.set(n.id, {
      id: n.id,
      real: true,
      along: room.vertical ? n.h : n.w,
      across: room.vertical ? n.w : n.h,
      layer: 0,
      pos: 0,
      at: 0,
      hint: old ? (room.vertical ? old.x : old.y) : null,
      next: [],
      prev: [],
    });
  }
  const links = edges.filter((e) => e.from !== e.to && cells.has(e.from) && cells.has(e.to));
  const loops = edges.filter((e) => e.from === e.to && cells.has(e.from));
  return { cells, links: orient(cells, links), loops, layers: [], routes: new Map() };
}

const rank = (n) => (n.id === "client" ? 0 : 1);

/** Walks from the callers nobody calls; an edge back to a node still on the walk gets turned. */
function orient(cells, links) {
  const out = new Map([...cells.keys()].map((id) => [id, []]));
  const into = new Map([...cells.keys()].map((id) => [id, 0]));
  for (const l of [...links].sort((a, b) => (a.id < b.id ? -1 : 1))) {
    out.get(l.from).push(l);
    into.set(l.to, into.get(l.to) + 1);
  }
  const roots = [...cells.keys()].sort(
    (a, b) =>
      (into.get(a) ? 1 : 0) - (into.get(b) ? 1 : 0) ||
      out.get(b).length - into.get(b) - (out.get(a).length - into.get(a)),
  );
  const state = new Map();
  const turned = new Set();
  for (const root of roots) {
    if (state.has(root)) continue;
    const stack = [[root, 0]];
    state.set(root, "open");
    while (stack.length) {
      const top = stack[stack.length - 1];
      const l = out.get(top[0])[top[1]++];
      if (!l) {
        state.set(top[0], "done");
        stack.pop();
      } else if (state.get(l.to) === "open") turned.add(l);
      else if (!state.has(l.to)) {
        state.set(l.to, "open");
        stack.push([l.to, 0]);
      }
    }
  }
  return links.map((l) =>
    turned.has(l)
      ? { id: l.id, a: cells.get(l.to), b: cells.get(l.from), turned: true }
      : { id: l.id, a: cells.get(l.from), b: cells.get(l.to), turned: false },
  );
}

/** Longest path, but a layer that is full passes the node on to the next one. */
function assignLayers(g, maxPerLayer) {
  const waiting = new Map();
  const after = new Map();
  const before = new Map();
  for (const c of g.cells.values())
    (waiting.set(c, new Set()), after.set(c, new Set()), before.set(c, waiting.get(c)));
  for (const l of g.links) (waiting.get(l.b).add(l.a), after.get(l.a).add(l.b));
  const linked = (c) => after.get(c).size || callers.get(c).length;
  const callers = new Map([...g.cells.values()].map((c) => [c, [...before.get(c)]]));
  const filled = [];
  const put = (c, layer) => {
    while ((filled[layer] || 0) >= maxPerLayer) layer++;
    c.layer = layer;
    filled[layer] = (filled[layer] || 0) + 1;
  };
  let ready = [...g.cells.values()].filter((c) => !callers.get(c).length && after.get(c).size);
  while (ready.length) {
    const next = [];
    for (const c of ready) {
      put(
        c,
        callers.get(c).reduce((m, p) => Math.max(m, p.layer + 1), 0),
      );
      for (const s of after.get(c)) {
        waiting.get(s).delete(c);
        if (!waiting.get(s).size) next.push(s);
      }
    }
    ready = next;
  }
  pullForward(g, callers, after, filled, maxPerLayer);
  for (const c of g.cells.values()) if (!linked(c)) putLonely(c, filled, maxPerLayer);
}

/** A caller that nobody calls moves next to the first that it calls: shorter lines. */
function pullForward(g, callers, after, filled, maxPerLayer) {
  for (const c of g.cells.values()) {
    if (callers.get(c).length || !after.get(c).size) continue;
    const want = Math.min(...[...after.get(c)].map((s) => s.layer)) - 1;
    if (want <= c.layer || (filled[want] || 0) >= maxPerLayer) continue;
    filled[c.layer]--;
    filled[want]++;
    c.layer = want;
  }
}

function putLonely(c, filled, maxPerLayer) {
  let best = 0;
  for (let i = 0; i < filled.length; i++) if ((filled[i] || 0) < (filled[best] || 0)) best = i;
  const wide = Math.max(1, Math.min(5, maxPerLayer));
  if ((filled[best] || 0) >= Math.min(maxPerLayer, 2 + filled.length) && filled.length < wide)
    best = filled.length;
  if ((filled[best] || 0) >= maxPerLayer) best = filled.length;
  c.layer = best;
  filled[best] = (filled[best] || 0) + 1;
}

function addPlaceholders(g, room, before) {
  for (const c of g.cells.values()) (g.layers[c.layer] ||= []).push(c);
  g.layers = Array.from(g.layers, (l) => l || []).filter((l) => l.length);
  g.layers.forEach((l, i) => l.forEach((c) => (c.layer = i)));
  for (const l of g.links) {
    const route = [l.a];
    const old = oldTrack(l, room, before);
    for (let i = l.a.layer + 1; i < l.b.layer; i++) {
      const hint =
        old.length === 2 * (l.b.layer - l.a.layer) ? old[2 * (i - l.a.layer)] : midway(l, i);
      const p = {
        real: false,
        along: 0,
        across: 6,
        layer: i,
        pos: 0,
        at: 0,
        hint,
        next: [],
        prev: [],
      };
      g.layers[i].push(p);
      route.push(p);
    }
    route.push(l.b);
    for (let i = 1; i < route.length; i++)
      (route[i - 1].next.push(route[i]), route[i].prev.push(route[i - 1]));
    g.routes.set(l.id, { route, turned: l.turned });
  }
}

/** Where the edge ran in the last layout, across the layers. */
function oldTrack(l, room, before) {
  const points = before?.edges.get(l.id) || [];
  const across = points.map((p) => (room.vertical ? p[0] : p[1]));
  return l.turned ? across.reverse() : across;
}

function midway(l, layer) {
  if (l.a.hint === null || l.b.hint === null) return null;
  return l.a.hint + ((l.b.hint - l.a.hint) * (layer - l.a.layer)) / (l.b.layer - l.a.layer);
}

/* ---- order within the layers ---- */

/** Keeps the order that readers know unless another one saves crossings; a tie changes nothing. */
function orderLayers(g) {
  for (const layer of g.layers) {
    if (layer.some((c) => c.hint !== null)) seedFromHints(layer);
    number(layer);
  }
  const start = snapshot(g);
  const best = { layers: start, cost: crossings(g) };
  const large = g.layers.reduce((n, l) => n + l.length, 0) > MANY_CELLS;
  for (const forward of large ? [true] : [true, false])
    for (const turned of large ? [false] : [false, true]) {
      g.layers = start.map((l) => (turned ? [...l].reverse() : [...l]));
      g.layers.forEach(number);
      search(g, best, forward, large ? 3 : SWEEPS);
    }
  g.layers = best.layers;
  g.layers.forEach(number);
}

function search(g, best, forward, sweeps) {
  for (let s = 0; s < sweeps && best.cost > 0; s++) {
    sweep(g, (s % 2 === 0) === forward);
    exchange(g);
    const cost = crossings(g);
    if (cost < best.cost) Object.assign(best, { cost, layers: snapshot(g) });
  }
}

const number = (layer) => layer.forEach((c, i) => (c.pos = i));
const snapshot = (g) => g.layers.map((l) => [...l]);

function seedFromHints(layer) {
  const near = (c) => {
    if (c.hint !== null) return c.hint;
    const known = [...c.prev, ...c.next].map((n) => n.hint).filter((h) => h !== null);
    return known.length ? known.reduce((a, b) => a + b, 0) / known.length : 1e9;
  };
  const keys = new Map(layer.map((c) => [c, near(c)]));
  layer.sort((a, b) => keys.get(a) - keys.get(b));
}

function sweep(g, forward) {
  const layers = forward ? g.layers : [...g.layers].reverse();
  for (const layer of layers) {
    const keys = new Map(
      layer.map((c) => {
        const n = forward ? c.prev : c.next;
        return [c, n.length ? n.reduce((s, p) => s + p.pos, 0) / n.length : c.pos];
      }),
    );
    layer.sort((a, b) => keys.get(a) - keys.get(b) || a.pos - b.pos);
    number(layer);
  }
}

/** Swaps neighbours as long as that saves crossings. */
function exchange(g) {
  for (const layer of g.layers)
    for (let round = 0, better = true; better && round < 4; round++) {
      better = false;
      for (let i = 1; i < layer.length; i++) {
        const [a, b] = [layer[i - 1], layer[i]];
        if (
          pairCost(a.prev, b.prev) + pairCost(a.next, b.next) <=
          pairCost(b.prev, a.prev) + pairCost(b.next, a.next)
        )
          continue;
        [layer[i - 1], layer[i]] = [b, a];
        b.pos = i - 1;
        a.pos = i;
        better = true;
      }
    }
}

function pairCost(upper, lower) {
  let n = 0;
  for (const u of upper) for (const l of lower) if (u.pos > l.pos) n++;
  return n;
}

function crossings(g) {
  let n = 0;
  for (const layer of g.layers)
    for (let i = 0; i < layer.length; i++)
      for (let j = i + 1; j < layer.length; j++) n += pairCost(layer[i].next, layer[j].next);
  return n;
}

/* ---- coordinates ---- */

function placeAcross(g, room) {
  const sizes = g.layers.map((l) =>
    l.reduce((s, c, i) => s + c.across + (i ? gapOf(l[i - 1], c, room) : 0), 0),
  );
  const widest = Math.max(0, ...sizes);
  const most = g.layers[sizes.indexOf(widest)] || [];
  const spare = Math.max(0, room.across - widest) / (most.length + 1);
  g.extra = Math.min(spare, room.gapAcross * 1.6);
  for (const layer of g.layers) {
    let at = 0;
    layer.forEach((c, i) => {
      at += i ? step(layer[i - 1], c, room, g.extra) : 0;
      c.at = at;
    });
    const middle = at / 2;
    layer.forEach((c) => (c.at -= middle));
  }
  for (let i = 0; i < RELAX; i++)
    for (const layer of i % 2 ? [...g.layers].reverse() : g.layers) relax(layer, room, g.extra);
}

const gapOf = (a, b, room) => (a.real && b.real ? room.gapAcross : room.gapAcross * 0.6);
const step = (a, b, room, extra) =>
  (a.across + b.across) / 2 + gapOf(a, b, room) + (a.real && b.real ? extra : extra * 0.3);

/**
 * Moves each cell of a layer to the mean of its neighbours, as near as order and distance allow:
 * the least-squares answer, by merging blocks that would overlap (isotonic regression).
 */
function relax(layer, room, extra) {
  const blocks = [];
  let offset = 0;
  layer.forEach((c, i) => {
    if (i) offset += step(layer[i - 1], c, room, extra);
    const [want, weight] = wanted(c);
    blocks.push({ sum: (want - offset) * weight, weight, n: 1 });
    while (blocks.length > 1) {
      const b = blocks[blocks.length - 1];
      const a = blocks[blocks.length - 2];
      if (a.sum / a.weight <= b.sum / b.weight) break;
      a.sum += b.sum;
      a.weight += b.weight;
      a.n += b.n;
      blocks.pop();
    }
  });
  let i = 0;
  offset = 0;
  for (const b of blocks)
    for (let k = 0; k < b.n; k++, i++) {
      if (i) offset += step(layer[i - 1], layer[i], room, extra);
      layer[i].at = b.sum / b.weight + offset;
    }
}

function wanted(c) {
  let sum = 0;
  let weight = 0;
  for (const n of [...c.prev, ...c.next]) {
    const w = c.real || n.real ? 1 : 4;
    sum += n.at * w;
    weight += w;
  }
  return weight ? [sum / weight, c.real ? 1 : 2] : [c.at, 0.2];
}

function placeAlong(g, room) {
  const thick = g.layers.map((l) => Math.max(0, ...l.map((c) => c.along)));
  const total = thick.reduce((a, b) => a + b, 0);
  const gaps = Math.max(1, g.layers.length - 1);
  g.gap = Math.min(room.maxGap, Math.max(room.minGap, (room.along - total) / gaps));
  let at = 0;
  g.begin = [];
  g.thick = thick;
  thick.forEach((t, i) => {
    g.begin[i] = at;
    at += t + g.gap;
  });
  g.length = Math.max(0, at - g.gap);
}

function finish(g, room) {
  let low = Infinity;
  let high = -Infinity;
  for (const layer of g.layers)
    for (const c of layer) {
      low = Math.min(low, c.at - c.across / 2);
      high = Math.max(high, c.at + c.across / 2);
    }
  if (low > high) low = high = 0;
  const turn = (along, across) => (room.vertical ? [across - low, along] : [along, across - low]);
  const nodes = new Map();
  for (const c of g.cells.values()) {
    const [x, y] = turn(g.begin[c.layer] + g.thick[c.layer] / 2, c.at);
    nodes.set(c.id, { x, y, layer: c.layer });
  }
  const edges = new Map();
  const ports = portTable(g);
  for (const [id, { route, turned }] of g.routes) {
    const points = trace(g, route, ports.get(id)).map(([along, across]) => turn(along, across));
    edges.set(id, turned ? points.reverse() : points);
  }
  const [width, height] = room.vertical ? [high - low, g.length] : [g.length, high - low];
  return { nodes, edges, loops: g.loops.map((l) => l.id), width, height };
}

/** Where on the node's side each edge starts and ends: in the order of the other ends. */
function portTable(g) {
  const ports = new Map([...g.routes.keys()].map((id) => [id, [0, 0]]));
  for (const side of [0, 1]) {
    const groups = new Map();
    for (const [id, { route }] of g.routes) {
      const here = side ? route[route.length - 1] : route[0];
      const there = side ? route[route.length - 2] : route[1];
      if (!groups.has(here)) groups.set(here, []);
      groups.get(here).push({ id, there: there.at, turned: g.routes.get(id).turned });
    }
    for (const [here, list] of groups) {
      list.sort((a, b) => a.there - b.there || a.turned - b.turned);
      const pitch = Math.min(11, (here.across * 0.62) / Math.max(1, list.length - 1));
      list.forEach((p, i) => (ports.get(p.id)[side] = (i - (list.length - 1) / 2) * pitch));
    }
  }
  return ports;
}

function trace(g, route, [portA, portB]) {
  const points = [];
  route.forEach((c, i) => {
    const middle = g.begin[c.layer] + g.thick[c.layer] / 2;
    const [near, far] = c.real
      ? [middle - c.along / 2, middle + c.along / 2]
      : [g.begin[c.layer], g.begin[c.layer] + g.thick[c.layer]];
    if (i === 0) points.push([far, c.at + portA]);
    else if (i === route.length - 1) points.push([near, c.at + portB]);
    else points.push([near, c.at], [far, c.at]);
  });
  return points;
}
