// resilience.js: the part of the model that tells how the system stays up: overload control, instances
// as their callers see them, breakers, zones, scale, and faults on purpose. Trusted as model.js is.

import { MAX_TEXT, num, str, obj, list, share, oneOf, texts } from "./clean.js";

/** Most important first. */
export const PRIORITIES = ["critical", "high", "normal", "low", "background"];
const REASONS = ["limit", "queue", "deadline", "priority", "rate"];
const PEER_STATES = ["ok", "slow-start", "draining", "ejected"];
const BREAKER_STATES = ["closed", "half-open", "open"];

const rates = (o, names) => names.map((name) => ({ name, rps: num(obj(o)[name]) }));

function overload(o) {
  return {
    app: str(o.app),
    limit: num(o.limit),
    inflight: num(o.inflight),
    queued: num(o.queued),
    load: share(o.load),
    admitted: num(o.admitted_rps),
    shedRps: num(o.shed_rps),
    shed: rates(o.shed, PRIORITIES),
    reasons: rates(o.reasons, REASONS),
  };
}

function peer(o) {
  return {
    app: str(o.app),
    address: str(o.address, 120),
    name: str(o.name),
    zone: str(o.zone, 60),
    state: oneOf(PEER_STATES, o.state, "ok"),
    callers: num(o.callers),
    agree: num(o.agree),
    inflight: num(o.inflight),
    latency: num(o.latency_ms),
    rps: num(o.rps),
    errorRate: share(o.error_rate),
  };
}

function breaker(o) {
  return {
    target: str(o.target),
    name: str(o.name),
    state: oneOf(BREAKER_STATES, o.state, "closed"),
    apps: texts(o.apps, 20),
  };
}

function scale(o) {
  return {
    app: str(o.app),
    instances: num(o.instances),
    desired: num(o.desired),
    min: num(o.min),
    max: num(o.max),
    metric: str(o.metric, 60),
    value: num(o.value),
    target: num(o.target),
    reason: str(o.reason, MAX_TEXT),
  };
}

function fault(o) {
  return {
    key: `${str(o.name)}\n${str(o.fault, 40)}`,
    name: str(o.name),
    fault: str(o.fault, 40),
    app: str(o.app),
    method: str(o.method),
    zone: str(o.zone, 60),
    status: str(o.status, 60),
    percent: num(o.percent),
    delay: num(o.delay_ms),
    delayMax: num(o.delay_max_ms),
    left: num(o.left_s),
    injected: num(o.injected),
    callers: texts(o.apps, 20),
  };
}

/** Names without the region that all of them share. */
function zones(o) {
  const pairs = list(o.pairs, 1024).map((p) => ({
    from: str(p.from, 130),
    to: str(p.to, 130),
    rps: num(p.rps),
  }));
  const names = pairs.flatMap((p) => [p.from, p.to]).filter((n) => n && n !== "unknown");
  const region = names.length ? names[0].slice(0, names[0].indexOf("/") + 1) : "";
  const short = (n) => (n === "unknown" ? "" : n.slice(n.startsWith(region) ? region.length : 0));
  const common = names.every((n) => n.startsWith(region));
  return {
    pairs: pairs.map((p) => ({
      from: common ? short(p.from) : p.from,
      to: common ? short(p.to) : p.to === "unknown" ? "" : p.to,
      rps: p.rps,
    })),
    crossing: share(o.crossing),
  };
}

export function resilience(o) {
  return {
    overload: list(o.overload, 200).map(overload).filter((v) => v.app),
    peers: list(o.peers, 512).map(peer).filter((p) => p.app),
    breakers: list(o.breakers, 256).map(breaker).filter((b) => b.target),
    scale: list(o.scale, 200).map(scale).filter((s) => s.app),
    faults: list(o.chaos, 64).map(fault).filter((f) => f.fault),
    zones: zones(obj(o.zones)),
  };
}
