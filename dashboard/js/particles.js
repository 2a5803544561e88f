// particles.js: the traffic one can see. A comet is a handful of calls: more of them on a busy edge,
// slower ones on a slow edge, and as large a share of red ones as the edge has errors.

const MAX_COMETS = 500;
const MAX_PIXELS = 9e6;
const TAIL = 15;
const FRAME_MS = 30; // smooth at their pace, at half the cost

export function createParticles(canvas) {
  const pen = canvas.getContext("2d");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let tracks = [];
  let view = { k: 1, dx: 0, dy: 0, w: 0, h: 0 };
  let comets = [];
  let colours = readColours();
  let running = false;
  let wanted = true;
  let visible = true;
  let last = 0;

  function frame(now) {
    running = wanted && visible && !document.hidden && !still.matches;
    if (!running) return clear();
    requestAnimationFrame(frame);
    if (now - last < FRAME_MS) return;
    const dt = Math.min(0.1, (now - last) / 1000);
    last = now;
    emit(dt);
    move(dt);
    draw(pen, view, comets, colours);
  }

  function wake() {
    if (running) return;
    running = true;
    last = performance.now();
    requestAnimationFrame(frame);
  }

  function clear() {
    comets = [];
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
  }

  function emit(dt) {
    for (const t of tracks) {
      if (!t.perSecond || comets.length >= MAX_COMETS) continue;
      t.due = (t.due ?? Math.random()) + dt * t.perSecond;
      for (; t.due >= 1; t.due -= 1 + (Math.random() - 0.5) * 0.5)
        comets.push({ track: t, at: 0, colour: Math.random() < t.errorRate ? "bad" : t.kind });
    }
  }

  function move(dt) {
    for (const c of comets) c.at += dt * c.track.speed;
    comets = comets.filter((c) => c.at < c.track.length);
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    colours = readColours();
  });
  still.addEventListener("change", wake);
  document.addEventListener("visibilitychange", wake);
  new IntersectionObserver((e) => {
    visible = e[e.length - 1].isIntersecting;
    wake();
  }).observe(canvas);

  return {
    /** Fits the canvas to its box; k, dx, dy map the scene's units to CSS pixels. */
    resize(v) {
      view = v;
      const dpr = Math.min(
        2,
        devicePixelRatio || 1,
        Math.sqrt(MAX_PIXELS / Math.max(1, v.w * v.h)),
      );
      const [w, h] = [Math.round(v.w * dpr), Math.round(v.h * dpr)];
      if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
    },
    /** edges: [{id, kind, line: [[x, y], …], rps, p50, errorRate}]; comets under way stay on their edge. */
    update(edges) {
      const old = new Map(tracks.map((t) => [t.id, t]));
      tracks = edges.map((e) => aim(old.get(e.id) || { id: e.id }, e));
      const alive = new Set(tracks);
      comets = comets.filter((c) => alive.has(c.track));
      wake();
    },
    /** Comets of the edges that isDim(id) step back. */
    dim(isDim) {
      for (const t of tracks) t.dim = isDim(t.id);
    },
    run(on) {
      wanted = on;
      wake();
    },
    /** How many are drawn now: for the tests. */
    count: () => comets.length,
  };
}

function readColours() {
  const s = getComputedStyle(document.documentElement);
  const c = (name) => s.getPropertyValue(name).trim();
  const [call, message, state] = [c("--call"), c("--message"), c("--state")];
  return {
    invoke: call,
    publish: message,
    deliver: message,
    state,
    binding: state,
    bad: c("--bad"),
  };
}

function draw(pen, view, comets, colours) {
  const canvas = pen.canvas;
  const dpr = canvas.width / Math.max(1, view.w);
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.setTransform(dpr * view.k, 0, 0, dpr * view.k, dpr * view.dx, dpr * view.dy);
  pen.lineCap = "round";
  for (const c of comets) drawComet(pen, c, colours[c.colour]);
  pen.globalAlpha = 1;
}

function drawComet(pen, c, colour) {
  const head = pointAt(c.track, c.at);
  const middle = pointAt(c.track, Math.max(0, c.at - TAIL / 2));
  const tail = pointAt(c.track, Math.max(0, c.at - TAIL));
  const ends = Math.min(1, c.at / 14, (c.track.length - c.at) / 10); // fades in and out
  const alpha = ends * (c.track.dim ? 0.25 : 1);
  const thick = c.colour === "bad" ? 3.6 : 3;
  pen.strokeStyle = colour;
  stroke(pen, tail, head, thick * 0.6, alpha * 0.4);
  stroke(pen, middle, head, thick * 0.8, alpha * 0.6);
  stroke(pen, head, head, thick * 1.35, alpha);
}

function stroke(pen, from, to, width, alpha) {
  pen.globalAlpha = alpha;
  pen.lineWidth = width;
  pen.beginPath();
  pen.moveTo(from[0], from[1]);
  pen.lineTo(to[0], to[1]);
  pen.stroke();
}

function aim(track, e) {
  track.kind = e.kind;
  track.errorRate = e.errorRate || 0;
  const rps = e.rps || 0;
  track.perSecond =
    rps <= 0 ? 0 : rps < 1 ? Math.max(0.15, rps) : Math.min(4.5, 0.9 + 0.95 * Math.log10(rps));
  const ms = e.p50 ?? 5;
  track.speed = Math.max(34, 150 - 34 * Math.log10(Math.max(1, ms)));
  if (track.line !== e.line) {
    track.line = e.line;
    track.sums = [0];
    for (let i = 1; i < e.line.length; i++)
      track.sums.push(
        track.sums[i - 1] +
          Math.hypot(e.line[i][0] - e.line[i - 1][0], e.line[i][1] - e.line[i - 1][1]),
      );
    track.length = track.sums[track.sums.length - 1];
  }
  return track;
}

function pointAt(t, d) {
  let low = 0;
  let high = t.sums.length - 1;
  while (high - low > 1) {
    const mid = (low + high) >> 1;
    if (t.sums[mid] <= d) low = mid;
    else high = mid;
  }
  const span = t.sums[high] - t.sums[low] || 1;
  const f = Math.min(1, Math.max(0, (d - t.sums[low]) / span));
  const [a, b] = [t.line[low], t.line[high]];
  return [a[0] + (b[0] - a[0]) * f, a[1] + (b[1] - a[1]) * f];
}
