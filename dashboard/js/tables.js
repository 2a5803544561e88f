// tables.js: services, topics, stores and resources as rows. A column is a heading and a function
// that writes one cell; on a narrow screen a row turns into a card, labelled by the headings.

import { el, text, attr, keyed, style } from "./dom.js";
import * as fmt from "./format.js";
import { go, place } from "./place.js";

const plain = (get) => (td, r) => text(td, get(r) || fmt.DASH);
const graded = (td, value, shown) => {
  text(td, shown);
  td.className = "n e-" + fmt.severity(value);
};

/** A button that picks a node of the graph. */
export function pick(td, id, label, aside) {
  if (!td.firstChild) {
    const b = el("button", "pick", el("bdi"));
    b.type = "button";
    b.addEventListener("click", () => go({ sel: b.target === place().sel ? "" : b.target }));
    td.append(b, el("small"));
  }
  td.firstChild.target = id;
  text(td.firstChild.firstChild, label);
  text(td.lastChild, aside ? " " + aside : "");
}

function stateCell(td, { inst }) {
  if (!td.firstChild) td.append(el("span", "state", el("i"), el("span")));
  attr(td.firstChild, "class", "state i-" + (inst ? inst.state : "unknown"));
  text(td.firstChild.lastChild, inst ? inst.state : "no instance");
}

function cpuCell(td, { inst }) {
  if (!td.firstChild) td.append(el("span"), el("span", "meter", el("i")));
  const cpu = inst ? inst.cpu : null;
  text(td.firstChild, cpu === null ? fmt.DASH : (cpu * 100).toFixed(cpu < 0.1 ? 1 : 0) + "\u202f%");
  style(td.lastChild.firstChild, "width", Math.min(100, (cpu || 0) * 100).toFixed(1) + "%");
}

const ports = (i) => [i.appPort, i.httpPort].map((p) => (p === null ? fmt.DASH : p)).join(" · ");
const ofInstance = (get) => (td, r) => text(td, r.inst ? get(r.inst) : fmt.DASH);

const SERVICES = [
  [
    "Service",
    "head",
    (td, r) => (r.first ? pick(td, r.service.id, r.service.label) : td.replaceChildren()),
  ],
  ["Requests", "n", (td, r) => text(td, r.first ? fmt.rate(r.service.rps) : "")],
  [
    "Errors",
    "n",
    (td, r) =>
      graded(
        td,
        r.first ? r.service.errorRate : null,
        r.first ? fmt.share(r.service.errorRate) : "",
      ),
  ],
  [
    "Instance",
    "",
    (td, r) =>
      two(
        td,
        r.inst ? r.inst.name || fmt.DASH : fmt.DASH,
        r.inst && r.inst.zone ? `zone ${r.inst.zone}` : "",
      ),
  ],
  ["State", "", stateCell],
  [
    "Restarts",
    "n",
    (td, r) => {
      text(td, r.inst ? fmt.count(r.inst.restarts) : fmt.DASH);
      td.className = "n" + (r.inst && r.inst.restarts > 0 ? " e-warn" : "");
    },
  ],
  ["CPU", "n cpu", cpuCell],
  ["Memory", "n", ofInstance((i) => fmt.bytes(i.rss))],
  ["Uptime", "n", ofInstance((i) => fmt.duration(i.uptime))],
  ["PID", "n", ofInstance((i) => (i.pid === null ? fmt.DASH : i.pid))],
  ["Ports", "n", ofInstance(ports)],
];

const TOPICS = [
  [
    "Topic",
    "head",
    (td, r) =>
      r.first ? pick(td, r.topic.id, r.topic.label, r.topic.pubsub) : td.replaceChildren(),
  ],
  ["Published", "n", (td, r) => text(td, r.first ? fmt.rate(r.topic.publishRps) : "")],
  ["Delivered", "n", (td, r) => text(td, r.first ? fmt.rate(r.topic.deliverRps) : "")],
  ["Consumer", "", plain((r) => r.consumer && r.consumer.app)],
  ["Depth", "n", (td, r) => text(td, r.consumer ? fmt.count(r.consumer.depth) : fmt.DASH)],
  [
    "Oldest",
    "n",
    (td, r) => {
      const age = r.consumer ? r.consumer.oldest : null;
      text(td, fmt.duration(age));
      td.className = "n" + (age > 30 ? " e-bad" : age > 5 ? " e-warn" : "");
    },
  ],
  [
    "Dead",
    "n",
    (td, r) => {
      const dead = r.consumer ? r.consumer.dead : null;
      text(td, fmt.count(dead));
      td.className = "n" + (dead > 0 ? " e-bad" : "");
    },
  ],
];

const STORES = [
  ["Store", "head", (td, s) => pick(td, s.id, s.label)],
  ["App", "", plain((s) => s.app)],
  ["Type", "", plain((s) => s.type)],
  ["Operations", "n", (td, s) => text(td, fmt.rate(s.rps))],
  ["p99", "n", (td, s) => text(td, fmt.latency(s.p99))],
  ["Errors", "n", (td, s) => graded(td, s.errorRate, fmt.share(s.errorRate))],
];

const RESOURCES = [
  ["Name", "head", plain((r) => r.name)],
  ["Kind", "", plain((r) => r.kind)],
  ["Type", "", plain((r) => r.type)],
  ["Apps", "", plain((r) => r.apps.join(", "))],
  [
    "Status",
    "",
    (td, r) => {
      if (!td.firstChild) td.append(el("span", "state", el("i"), el("span")), el("p", "why"));
      attr(
        td.firstChild,
        "class",
        "state " +
          (r.status === "loaded"
            ? "i-healthy"
            : r.error || r.status === "failed"
              ? "i-unhealthy"
              : "i-unknown"),
      );
      text(td.firstChild.lastChild, r.status || fmt.DASH);
      text(td.lastChild, r.error);
    },
  ],
  ["File", "mono", plain((r) => r.file)],
];

function two(td, main, aside) {
  if (!td.firstChild) td.append(el("bdi"), el("small"));
  text(td.firstChild, main);
  text(td.lastChild, aside ? " " + aside : "");
}

/** Returns a function that shows rows, and total in the heading if it's given. */
export function createTable(section, columns, key, empty) {
  const head = el(
    "tr",
    "",
    ...columns.map(([name, cls]) => {
      const th = el("th", cls, name);
      th.scope = "col";
      return th;
    }),
  );
  const body = el("tbody");
  const table = el("table", "", el("thead", "", head), body);
  const none = el("p", "none", empty);
  attr(table, "aria-labelledby", section.querySelector("h2").id);
  section.querySelector(".scroll").append(table, none);
  const create = () =>
    el(
      "tr",
      "",
      ...columns.map(([name, cls]) => {
        const td = el("td", cls);
        td.dataset.label = name;
        return td;
      }),
    );
  const count = section.querySelector("h2 small");
  return (rows, total) => {
    keyed(body, rows, key, create, (tr, row) => {
      columns.forEach(([, , write], i) => write(tr.children[i], row));
      attr(
        tr,
        "class",
        (row.first === false ? "more" : "first") +
          (row.id !== undefined && row.id === place().sel ? " picked" : ""),
      );
    });
    table.hidden = !rows.length;
    none.hidden = rows.length > 0;
    if (total !== undefined) text(count, total || "");
  };
}

export function createTables(doc) {
  const at = (id) => doc.getElementById(id);
  const services = createTable(at("services"), SERVICES, (r) => r.key, "No service is running.");
  const topics = createTable(
    at("topics"),
    TOPICS,
    (r) => r.key,
    "No topic yet: one appears with its first subscription or publish.",
  );
  const stores = createTable(at("stores"), STORES, (r) => r.id, "No state store is loaded.");
  const resources = createTable(at("resources"), RESOURCES, (r) => r.key, "No resource is loaded.");
  return {
    update(model) {
      services(model.services.flatMap(serviceRows), model.services.length);
      topics(model.topics.flatMap(topicRows), model.topics.length);
      stores(model.stores, model.stores.length);
      resources(model.resources, model.resources.length);
    },
  };
}

function serviceRows(s) {
  const list = s.instances.length ? s.instances : [null];
  return list.map((inst, i) => ({
    key: `${s.id}\n${i}\n${inst ? inst.name : ""}`,
    id: s.id,
    service: s,
    inst,
    first: i === 0,
  }));
}

function topicRows(t) {
  const list = t.consumers.length ? t.consumers : [null];
  return list.map((c, i) => ({
    key: `${t.id}\n${i}\n${c ? c.app : ""}`,
    id: t.id,
    topic: t,
    consumer: c,
    first: i === 0,
  }));
}
