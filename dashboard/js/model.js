// model.js: turns whatever the feed said into a model the page can trust: every number is a finite
// number or null, every text a bounded string, every list a list of bounded length.
// Ids are only ever used as keys of a Map, never in a selector or as a property name.

import { MAX_TEXT, num, str, obj, list, share, time, texts } from "./clean.js";
import { resilience } from "./resilience.js";

const STATES = new Set([
  "starting",
  "healthy",
  "unhealthy",
  "restarting",
  "draining",
  "asleep",
  "stopped",
]);
const KINDS = new Set(["invoke", "publish", "deliver", "state", "binding"]);
const LEVELS = new Set(["info", "warn", "error"]);

function instance(o) {
  const state = str(o.state, 20);
  return {
    name: str(o.name),
    pid: num(o.pid),
    appPort: num(o.app_port),
    httpPort: num(o.http_port),
    state: STATES.has(state) ? state : "unknown",
    restarts: num(o.restarts),
    cpu: num(o.cpu),
    rss: num(o.rss_bytes),
    uptime: num(o.uptime_s),
    zone: str(o.zone, 60),
  };
}

function service(o) {
  return {
    id: str(o.id),
    kind: "service",
    label: str(o.id),
    rps: num(o.rps),
    errorRate: share(o.error_rate),
    instances: list(o.instances, 200).map(instance),
  };
}

function edge(o) {
  const kind = KINDS.has(o.kind) ? o.kind : "invoke";
  const from = str(o.from);
  const to = str(o.to);
  return {
    id: `${kind} ${from} → ${to}`,
    from,
    to,
    kind,
    rps: num(o.rps),
    p50: num(o.p50_ms),
    p99: num(o.p99_ms),
    errorRate: share(o.error_rate),
    total: num(o.total),
  };
}

function topic(o) {
  const consumers = list(o.consumers, 100).map((c) => ({
    app: str(c.app),
    depth: num(c.depth),
    oldest: num(c.oldest_s),
    dead: num(c.dead),
  }));
  const depths = consumers.map((c) => c.depth).filter((v) => v !== null);
  const ages = consumers.map((c) => c.oldest).filter((v) => v !== null);
  const dead = consumers.map((c) => c.dead).filter((v) => v !== null);
  return {
    id: str(o.id),
    kind: "topic",
    label: str(o.topic) || str(o.id),
    pubsub: str(o.pubsub),
    consumers,
    depth: depths.length ? depths.reduce((a, b) => a + b, 0) : null,
    oldest: ages.length ? Math.max(...ages) : null,
    dead: dead.length ? dead.reduce((a, b) => a + b, 0) : null,
    publishRps: num(o.publish_rps),
    deliverRps: num(o.deliver_rps),
  };
}

function store(o) {
  return {
    id: str(o.id),
    kind: "store",
    label: str(o.name) || str(o.id),
    app: str(o.app),
    type: str(o.type, 80),
    rps: num(o.rps),
    p99: num(o.p99_ms),
    errorRate: share(o.error_rate),
  };
}

function resource(o, i) {
  return {
    key: `${i} ${str(o.kind)} ${str(o.name)} ${str(o.file)}`,
    kind: str(o.kind, 60),
    name: str(o.name),
    type: str(o.type, 80),
    apps: texts(o.apps, 60),
    status: str(o.status, 60),
    file: str(o.file),
    error: str(o.error, MAX_TEXT),
  };
}

function event(o) {
  return {
    id: num(o.id),
    at: time(o.time),
    level: LEVELS.has(o.level) ? o.level : "info",
    app: str(o.app),
    text: str(o.text, MAX_TEXT),
  };
}

/** What a node id that only an edge names must be; the id's own prefix tells. */
function implied(id) {
  if (id === "client") return { id, kind: "client", label: "client" };
  if (id.startsWith("topic:"))
    return { ...topic({ id }), label: id.slice(id.indexOf("/") + 1) || id };
  if (id.startsWith("store:")) return { ...store({ id }), label: id.slice(6).split("@")[0] || id };
  if (id.startsWith("binding:")) return { id, kind: "binding", label: id.slice(8) || id };
  return { ...service({ id }), remote: true };
}

const MAX_NODES = 200;

/** One snapshot of the feed → the model. Throws only if it isn't JSON. */
export function parse(json) {
  const o = obj(JSON.parse(json));
  const t = obj(o.totals);
  const run = obj(o.run);
  const services = unique(list(o.services, MAX_NODES).map(service));
  const topics = unique(list(o.topics, MAX_NODES).map(topic));
  const stores = unique(list(o.stores, MAX_NODES).map(store));
  const edges = unique(list(o.edges, 1000).map(edge)).filter((e) => e.from && e.to);
  const nodes = new Map([...services, ...topics, ...stores].map((n) => [n.id, n]));
  for (const e of edges)
    for (const id of [e.from, e.to])
      if (!nodes.has(id) && nodes.size < MAX_NODES) nodes.set(id, implied(id));
  const events = unique(
    list(o.events, 200)
      .map(event)
      .filter((e) => e.id !== null),
  );
  const progress = obj(o.progress);
  return {
    at: time(o.time),
    uptime: num(o.uptime_s),
    name: str(run.name, 80),
    version: str(run.version, 40),
    totals: {
      rps: num(t.rps),
      p50: num(t.p50_ms),
      p99: num(t.p99_ms),
      errorRate: share(t.error_rate),
      inFlight: num(t.in_flight),
      queued: num(t.queued),
    },
    services,
    topics,
    stores,
    nodes,
    edges: edges.filter((e) => nodes.has(e.from) && nodes.has(e.to)),
    resources: list(o.resources, 500).map(resource),
    resilience: resilience(o),
    events,
    progress: o.progress
      ? { text: str(progress.text, 200), done: num(progress.done), total: num(progress.total) }
      : null,
  };
}

function unique(items) {
  const seen = new Map();
  for (const i of items) if (i.id !== "" && !seen.has(i.id)) seen.set(i.id, i);
  return [...seen.values()];
}

const BAD = new Set(["unhealthy", "stopped", "restarting"]);

/** "ok", "warn" (some instances down), "bad" (all down), "idle" (starting or unknown). */
export function health(node) {
  if (node.kind !== "service" || !node.instances.length) return "idle";
  const bad = node.instances.filter((i) => BAD.has(i.state)).length;
  if (bad === node.instances.length) return "bad";
  if (bad) return "warn";
  return node.instances.every((i) => i.state === "healthy") ? "ok" : "idle";
}
