// detail.js: all that the feed says about the picked node or edge.

import { el, text, attr, keyed } from "./dom.js";
import * as fmt from "./format.js";
import { place, go } from "./place.js";
import { readings } from "./history.js";
import { createSpark } from "./spark.js";
import { create as createEvent, write as writeEvent } from "./events.js";

const KIND_NAME = {
  service: "Service",
  topic: "Topic",
  store: "State store",
  client: "Outside callers",
  binding: "Binding",
  edge: "Connection",
};

export function createDetail(panel, events) {
  const v = build(panel);
  let shown = "";
  v.close.addEventListener("click", () => go({ sel: "" }));
  addEventListener("keydown", (e) => {
    if (e.key === "Escape" && place().sel) go({ sel: "" });
  });
  v.more.addEventListener("click", () => {
    go({ app: v.more.app });
    document.getElementById("events").scrollIntoView({ block: "nearest" });
  });

  /** Returns whether the panel came or went: then the graph has other room. */
  function update(model, nowMs) {
    const id = place().sel;
    const subject = model ? find(model, id) : null;
    const was = panel.hidden;
    panel.hidden = !id;
    if (!id) return was !== panel.hidden;
    if (id !== shown) panel.scrollTop = 0;
    shown = id;
    if (!subject) {
      fill(v, {
        kind: "Not here now",
        name: id,
        facts: [["", "This part of the system isn't in the feed at the moment."]],
      });
      return was !== panel.hidden;
    }
    fill(v, subject.from ? ofEdge(subject, model) : ofNode(subject, model, events), nowMs);
    return was !== panel.hidden;
  }
  return { update };
}

function build(panel) {
  const v = {
    kind: el("p", "kind"),
    name: el("h2", "", el("bdi")),
    close: el("button", "close", "×"),
    facts: el("dl", "facts"),
    chart: el("div", "chart"),
    parts: el("div", "parts"),
    edges: el("ul", "links"),
    logHead: el("h3", "", "Latest events"),
    log: el("ol", "events"),
    more: el("button", "pick more", "show all"),
  };
  v.close.type = v.more.type = "button";
  attr(v.close, "aria-label", "Close the details");
  v.spark = createSpark("Calls per second, last two minutes");
  v.chartName = el("h3");
  v.chart.append(v.chartName, v.spark.root);
  v.logHead.append(" ", v.more);
  panel.append(
    el("header", "", el("div", "", v.kind, v.name), v.close),
    v.facts,
    v.chart,
    v.parts,
    v.edges,
    v.logHead,
    v.log,
  );
  return v;
}

const find = (model, id) => model.nodes.get(id) || model.edges.find((e) => e.id === id) || null;
const nameOf = (model, id) => model.nodes.get(id)?.label || id;

function ofEdge(e, model) {
  return {
    kind: `${KIND_NAME.edge} · ${e.kind}`,
    name: `${nameOf(model, e.from)} → ${nameOf(model, e.to)}`,
    facts: [
      ["calls", fmt.rate(e.rps)],
      ["errors", fmt.share(e.errorRate), fmt.severity(e.errorRate)],
      ["p50", fmt.latency(e.p50)],
      ["p99", fmt.latency(e.p99)],
      ["in all", fmt.count(e.total)],
    ],
    chart: ["Calls per second", "rps " + e.id],
    parts: [],
    log: null,
    edges: [e.from, e.to].map((id, i) => ({
      id,
      label: nameOf(model, id),
      way: i ? "to" : "from",
      facts: "",
    })),
  };
}

function ofNode(n, model, events) {
  const edges = model.edges
    .filter((e) => e.from === n.id || e.to === n.id)
    .map((e) => {
      const out = e.from === n.id;
      return {
        id: e.id,
        way: out ? "to" : "from",
        label: nameOf(model, out ? e.to : e.from),
        facts: fmt.rate(e.rps) + (e.p99 === null ? "" : ` · p99 ${fmt.latency(e.p99)}`),
        errors: e.errorRate > 0 ? fmt.share(e.errorRate) : "",
        severity: fmt.severity(e.errorRate),
      };
    })
    .sort((a, b) => (a.way < b.way ? -1 : a.way > b.way ? 1 : 0));
  return {
    kind: KIND_NAME[n.kind],
    name: n.label,
    facts: facts(n),
    edges,
    parts: parts(n),
    chart:
      "rps" in n
        ? ["Requests per second", "rps " + n.id]
        : n.kind === "topic"
          ? ["Messages waiting", "depth " + n.id]
          : null,
    log: n.kind === "service" ? { app: n.id, rows: events.of(n.id, 6) } : null,
  };
}

function facts(n) {
  if (n.kind === "service")
    return [
      ["requests", fmt.rate(n.rps)],
      ["errors", fmt.share(n.errorRate), fmt.severity(n.errorRate)],
      ["instances", n.instances.length || fmt.DASH],
    ];
  if (n.kind === "topic")
    return [
      ["waiting", fmt.count(n.depth)],
      ["oldest", fmt.duration(n.oldest)],
      ["dead", fmt.count(n.dead), n.dead > 0 ? "bad" : "ok"],
      ["published", fmt.rate(n.publishRps)],
      ["delivered", fmt.rate(n.deliverRps)],
      ["pub/sub", n.pubsub || fmt.DASH],
    ];
  if (n.kind === "store")
    return [
      ["operations", fmt.rate(n.rps)],
      ["p99", fmt.latency(n.p99)],
      ["errors", fmt.share(n.errorRate), fmt.severity(n.errorRate)],
      ["app", n.app || fmt.DASH],
      ["type", n.type || fmt.DASH],
    ];
  return [];
}

/** Instances of a service, consumers of a topic. */
function parts(n) {
  if (n.kind === "service")
    return n.instances.map((i) => ({
      name: i.name,
      state: i.state,
      aside: [i.state, i.zone && `zone ${i.zone}`, i.restarts ? `${i.restarts} restarts` : ""]
        .filter(Boolean)
        .join(" · "),
      line:
        i.state === "stopped"
          ? `not running${i.pid === null ? "" : ` · was pid ${i.pid}`}`
          : [
              i.pid === null ? "" : `pid ${i.pid}`,
              i.appPort === null ? "" : `port ${i.appPort}`,
              i.cpu === null ? "" : `cpu ${fmt.share(i.cpu)}`,
              i.rss === null ? "" : fmt.bytes(i.rss),
              i.uptime === null ? "" : `up ${fmt.duration(i.uptime)}`,
            ]
              .filter(Boolean)
              .join(" · "),
    }));
  if (n.kind === "topic")
    return n.consumers.map((c) => ({
      name: c.app,
      state: c.dead > 0 ? "unhealthy" : "healthy",
      aside: "consumer",
      line: `${fmt.count(c.depth)} waiting · oldest ${fmt.duration(c.oldest)} · ${fmt.count(c.dead)} dead`,
    }));
  return [];
}

function fill(v, d, nowMs) {
  text(v.kind, d.kind);
  text(v.name.firstChild, d.name);
  keyed(
    v.facts,
    d.facts,
    (f) => f[0],
    () => el("div", "", el("dt"), el("dd")),
    (e, [name, value, severity]) => {
      text(e.firstChild, name);
      text(e.lastChild, value);
      attr(e, "class", severity ? "e-" + severity : "");
    },
  );
  v.chart.hidden = !d.chart;
  if (d.chart) {
    text(v.chartName, d.chart[0]);
    v.spark.update(readings(d.chart[1]), nowMs, 1);
  }
  keyed(
    v.parts,
    (d.parts || []).map((p, i) => ({ ...p, i })),
    (p) => p.i,
    createPart,
    writePart,
  );
  keyed(v.edges, d.edges || [], (e) => e.id, createLink, writeLink);
  v.logHead.hidden = v.log.hidden = !d.log || !d.log.rows.length;
  if (d.log) v.more.app = d.log.app;
  keyed(v.log, d.log ? d.log.rows : [], (e) => e.id, createEvent, writeEvent);
}

const createPart = () =>
  el("div", "part", el("p", "state", el("i"), el("bdi"), el("small")), el("p", "line"));

function writePart(e, p) {
  attr(e.firstChild, "class", "state i-" + p.state);
  text(e.firstChild.children[1], p.name);
  text(e.firstChild.children[2], " " + p.aside);
  text(e.lastChild, p.line);
}

function createLink() {
  const b = el("button", "pick", el("small"), el("bdi"), el("span", "facts"), el("span", "bad"));
  b.type = "button";
  b.addEventListener("click", () => go({ sel: b.target }));
  return el("li", "", b);
}

function writeLink(li, e) {
  const b = li.firstChild;
  b.target = e.id;
  text(b.children[0], e.way);
  text(b.children[1], e.label);
  text(b.children[2], e.facts);
  text(b.children[3], e.errors || "");
  attr(b.children[3], "class", "bad e-" + (e.severity || "ok"));
}
