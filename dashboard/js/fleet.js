// fleet.js: the instances of each app, as they come and go, and how many there should be. A place in the
// row keeps its size, a row its height; an instance that went stays for a while, so that eyes can follow.

import { el, text, attr, keyed } from "./dom.js";
import * as fmt from "./format.js";
import { go } from "./place.js";

const LINGER_MS = 8000;
const SLOTS_MAX = 60;
const WORDS = { "slow-start": "slow start", ejected: "ejected", draining: "draining" };
const LOOK = { ok: "healthy", "slow-start": "starting", ejected: "unhealthy", draining: "draining" };
const natural = new Intl.Collator("en", { numeric: true }).compare;

/** What the run says of its process first, then what callers see. */
function chipOf(app, inst, peer) {
  const up = !inst || inst.state === "healthy";
  const state = up && peer ? LOOK[peer.state] : inst ? inst.state : "unknown";
  const word = up ? (peer && WORDS[peer.state]) || "" : inst.state;
  const doubt =
    word && up && peer.callers > 1 && peer.agree < peer.callers
      ? ` by ${peer.agree} of ${peer.callers}`
      : "";
  const name = inst ? inst.name : peer.name || peer.address;
  const zone = (inst && inst.zone) || (peer && peer.zone) || "";
  const flow = peer && peer.rps !== null ? `${fmt.rate(peer.rps)}` : "";
  const bad = peer && fmt.severity(peer.errorRate) !== "ok";
  const latency = peer && peer.latency !== null && !bad ? fmt.latency(peer.latency) : "";
  const errors = bad ? `${fmt.share(peer.errorRate)} errors` : "";
  return {
    key: `${app}\n${name}`,
    name,
    state,
    zone,
    line: word ? word + doubt : [flow, latency, errors].filter(Boolean).join(" · "),
    bad: !word && bad,
    gone: false,
  };
}

/** [{app, scale, chips}], by name: of the run's services, of apps that scale, of apps called elsewhere. */
export function rowsOf(model) {
  const { peers, scale } = model.resilience;
  const rows = new Map();
  const row = (app) => {
    if (!rows.has(app)) rows.set(app, { app, scale: null, chips: [] });
    return rows.get(app);
  };
  const met = new Set();
  for (const s of model.services)
    for (const inst of s.instances) {
      const peer = peers.find((p) => p.app === s.id && p.name !== "" && p.name === inst.name);
      met.add(peer);
      row(s.id).chips.push(chipOf(s.id, inst, peer));
    }
  for (const p of peers) if (!met.has(p)) row(p.app).chips.push(chipOf(p.app, null, p));
  for (const s of scale) row(s.app).scale = s;
  return [...rows.values()].sort((a, b) => natural(a.app, b.app));
}

function scaleWords(s) {
  if (!s) return "";
  const range = `${fmt.count(s.min)} to ${fmt.count(s.max)}`;
  return s.desired !== null && s.desired !== s.instances
    ? `${fmt.count(s.instances)} → ${fmt.count(s.desired)} (${range})`
    : `${fmt.count(s.instances)} (${range})`;
}

function reasonWords(s) {
  if (!s) return "";
  const measured = s.metric && s.value !== null ? `${s.metric} ${fmt.count(s.value)}` : "";
  const wanted = measured && s.target !== null ? ` of ${fmt.count(s.target)}` : "";
  return [measured + wanted, s.reason].filter(Boolean).join(" · ");
}

function createRow() {
  const pick = el("button", "pick", el("bdi"));
  pick.type = "button";
  pick.addEventListener("click", () => go({ sel: pick.target }));
  const chips = el("ul", "chips");
  return el("li", "fleet-row", el("div", "who", pick, el("span", "scale"), el("span", "reason")), chips);
}

const createChip = () =>
  el("li", "chip", el("span", "state", el("i"), el("bdi")), el("small", "zone"), el("span", "flow"));

function writeChip(li, c) {
  attr(li, "aria-hidden", c.slot ? "true" : null);
  if (c.slot) return attr(li, "class", "chip " + c.slot);
  attr(li, "class", "chip" + (c.gone ? " gone" : " i-" + c.state + (c.bad ? " failing" : "")));
  attr(li.children[0], "class", "state i-" + (c.gone ? "unknown" : c.state));
  text(li.children[0].lastChild, c.name);
  attr(li, "title", c.name);
  text(li.children[1], c.zone);
  attr(li.children[1], "aria-label", c.zone ? `zone ${c.zone}` : null);
  text(li.children[2], c.gone ? "gone" : c.line || (c.state === "healthy" ? "ok" : c.state));
}

export function createFleet(section) {
  const rows = el("ul", "fleet");
  const known = new Map(); // key of a chip → {chip, app, at}: when it was last in the feed
  const most = new Map(); // app → the most chips its row had
  let uptime = 0;
  section.querySelector(".scroll").append(rows);

  function withGone(list, nowMs) {
    const byApp = new Map(list.map((r) => [r.app, r]));
    for (const r of list) for (const c of r.chips) known.set(c.key, { chip: c, app: r.app, at: nowMs });
    for (const [key, k] of known) {
      if (k.at === nowMs) continue;
      if (nowMs - k.at > LINGER_MS || !byApp.has(k.app)) known.delete(key);
      else byApp.get(k.app).chips.push({ ...k.chip, gone: true });
    }
    for (const r of list) r.chips.sort((a, b) => natural(a.name, b.name));
    return list;
  }

  /** Empty places for instances that are wanted, and room for as many as there once were. */
  function slots(r) {
    const n = r.chips.length;
    const wanted = Math.min(SLOTS_MAX, (r.scale && r.scale.desired) || 0);
    const room = Math.max(n, most.get(r.app) || 0);
    most.set(r.app, Math.min(SLOTS_MAX, room));
    return Array.from({ length: Math.max(0, Math.max(wanted, room) - n) }, (_, i) => ({
      key: `\n${i}`,
      slot: n + i < wanted ? "wanted" : "room",
    }));
  }

  return {
    /** Returns whether there is more to say than the table of services does. */
    update(model, nowMs) {
      if (model.uptime < uptime) known.clear(), most.clear();
      uptime = model.uptime;
      const list = withGone(rowsOf(model), nowMs);
      keyed(
        rows,
        list,
        (r) => r.app,
        createRow,
        (li, r) => {
          const [pick, scale, reason] = li.firstChild.children;
          pick.target = r.app;
          text(pick.firstChild, r.app);
          text(scale, r.scale ? scaleWords(r.scale) : fmt.count(r.chips.filter((c) => !c.gone).length));
          text(reason, reasonWords(r.scale));
          attr(reason, "title", reasonWords(r.scale) || null);
          attr(li.lastChild, "aria-label", `Instances of ${r.app}`);
          keyed(li.lastChild, [...r.chips, ...slots(r)], (c) => c.key, createChip, writeChip);
        },
      );
      const n = list.reduce((sum, r) => sum + r.chips.filter((c) => !c.gone).length, 0);
      text(section.querySelector("h2 small"), n || "");
      const { peers, scale } = model.resilience;
      return peers.length > 0 || scale.length > 0;
    },
  };
}
