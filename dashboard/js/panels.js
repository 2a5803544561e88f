// panels.js: how the system stays up. A panel is there once it has something to say, and from then on
// it stays, so that nothing below it jumps.

import { el, text, attr, style } from "./dom.js";
import * as fmt from "./format.js";
import { createTable, pick } from "./tables.js";
import { createFleet } from "./fleet.js";
import { createZones } from "./zones.js";

const some = (rates) => rates.filter((r) => r.rps > 0);
const spoken = (rates) =>
  some(rates)
    .map((r) => `${r.name} ${fmt.rate(r.rps)}`)
    .join(", ");

/** How full the app is: calls in it, of those that may be in it. */
function gauge(td, o) {
  if (!td.firstChild) td.append(el("span", "of"), el("span", "meter wide", el("i")));
  const full = o.limit > 0 && o.inflight !== null ? Math.min(1, o.inflight / o.limit) : 0;
  text(td.firstChild, `${fmt.count(o.inflight)} of ${fmt.count(o.limit)}`);
  style(td.lastChild.firstChild, "width", (full * 100).toFixed(1) + "%");
  attr(td.lastChild, "class", "meter wide" + (full >= 0.9 ? " full" : ""));
}

/** A bar with a part for each priority, and the same in words. */
function shedBar(td, o) {
  if (!td.firstChild)
    td.append(
      el("span", "stack", ...o.shed.map((r) => el("i", "p-" + r.name))),
      el("span", "words"),
    );
  const sum = o.shed.reduce((n, r) => n + (r.rps || 0), 0);
  o.shed.forEach((r, i) =>
    style(td.firstChild.children[i], "width", (sum ? ((r.rps || 0) / sum) * 100 : 0).toFixed(1) + "%"),
  );
  text(td.lastChild, spoken(o.shed));
}

const OVERLOAD = [
  ["App", "head", (td, o) => pick(td, o.app, o.app)],
  ["In flight", "gauge", gauge],
  ["Queued", "n", (td, o) => text(td, fmt.count(o.queued))],
  ["Admitted", "n", (td, o) => text(td, fmt.rate(o.admitted))],
  [
    "Shed",
    "n",
    (td, o) => {
      text(td, fmt.rate(o.shedRps));
      td.className = "n" + (o.shed[0].rps > 0 ? " e-bad" : o.shedRps > 0 ? " e-warn" : "");
    },
  ],
  ["Shed by priority", "shed", shedBar],
  ["Reason", "why-shed", (td, o) => text(td, spoken(o.reasons))],
];

const BREAKER_LOOK = { closed: "healthy", "half-open": "starting", open: "unhealthy" };

const BREAKERS = [
  ["Target", "head", (td, b) => text(td, b.name || b.target)],
  [
    "State",
    "",
    (td, b) => {
      if (!td.firstChild) td.append(el("span", "state", el("i"), el("span")));
      attr(td.firstChild, "class", "state i-" + BREAKER_LOOK[b.state]);
      text(td.firstChild.lastChild, b.state);
    },
  ],
  ["Callers", "", (td, b) => text(td, b.apps.join(", ") || fmt.DASH)],
];

function what(f) {
  if (f.fault === "delay" && f.delay !== null)
    return f.delayMax > f.delay
      ? `delay ${fmt.latency(f.delay)} to ${fmt.latency(f.delayMax)}`
      : `delay ${fmt.latency(f.delay)}`;
  return f.status ? `${f.fault} ${f.status}` : f.fault;
}

const where = (f) =>
  [
    f.app || "all apps",
    f.method,
    f.zone && `zone ${f.zone}`,
    f.some && `from ${f.callers.join(", ")}`,
  ]
    .filter(Boolean)
    .join(" · ");

const FAULTS = [
  ["Name", "head", (td, f) => text(td, f.name || fmt.DASH)],
  ["Fault", "", (td, f) => text(td, what(f))],
  ["Calls to", "", (td, f) => text(td, where(f))],
  [
    "Share",
    "n",
    (td, f) => text(td, fmt.share(f.percent === null ? null : f.percent / 100)),
  ],
  ["Hit", "n", (td, f) => text(td, fmt.count(f.injected))],
  ["Ends in", "n left", (td, f) => text(td, fmt.duration(f.left === null ? null : Math.ceil(f.left)))],
];

const byName = (key) => (a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0);

export function createPanels(doc) {
  const at = (id) => doc.getElementById(id);
  const heading = (id, s) => text(at(id).querySelector("h2 small"), s);
  const overload = createTable(at("overload"), OVERLOAD, (o) => o.app, "No app has a limit now.");
  const breakers = createTable(at("breakers"), BREAKERS, (b) => b.target, "No breaker now.");
  const faults = createTable(at("chaos"), FAULTS, (f) => f.key, "No fault is active.");
  const fleet = createFleet(at("fleet"));
  const zones = createZones(at("zones"));

  /** Shows the panel from the first time that there is something. */
  const seen = (id, something) => {
    if (something) at(id).hidden = false;
  };

  return {
    update(model, nowMs) {
      const r = model.resilience;
      seen("overload", r.overload.length);
      seen("breakers", r.breakers.length);
      seen("chaos", r.faults.length);
      seen("fleet", fleet.update(model, nowMs));
      seen("zones", zones.update(r.zones, model.uptime));
      overload([...r.overload].sort(byName((o) => o.app)));
      breakers([...r.breakers].sort(byName((b) => b.target)));
      const callers = model.services.length;
      faults(
        r.faults
          .map((f) => ({ ...f, some: f.callers.length > 0 && f.callers.length < Math.min(callers, 16) }))
          .sort(byName((f) => f.key)),
      );
      const shed = r.overload.reduce((n, o) => n + (o.shedRps || 0), 0);
      heading("overload", shed > 0 ? `${fmt.rate(shed)} shed` : "nothing is shed");
      const open = r.breakers.filter((b) => b.state !== "closed").length;
      heading("breakers", open ? `${open} not closed` : "all closed");
      heading("chaos", r.faults.length ? `${r.faults.length} active` : "");
      at("chaos").classList.toggle("on", r.faults.length > 0);
    },
  };
}
