// main.js: from the feed to the page. One snapshot a second comes in; everything else draws it.

import { text, attr } from "./dom.js";
import * as fmt from "./format.js";
import { parse } from "./model.js";
import { note } from "./history.js";
import { onPlace } from "./place.js";
import { connect } from "./connection.js";
import { createGraph } from "./graph.js";
import { createTiles } from "./tiles.js";
import { createTables } from "./tables.js";
import { createPanels } from "./panels.js";
import { createEvents } from "./events.js";
import { createDetail } from "./detail.js";

const at = (id) => document.getElementById(id);
const tiles = createTiles(at("tiles"));
const tables = createTables(document);
const panels = createPanels(document);
const events = createEvents(at("events"));
const detail = createDetail(at("detail"), events);
const graph = createGraph(at("graph"));

let model = null;
let atMs = 0;
let lostSince = null;

function receive(json) {
  let next;
  try {
    next = parse(json);
  } catch {
    return text(at("line-text"), "unreadable data from the runtime");
  }
  model = next;
  atMs = Date.now();
  record();
  if (!document.hidden) draw();
}

/** Keeps the sparklines going even while the page is in the background. */
function record() {
  for (const k of ["rps", "p99", "errorRate", "inFlight"])
    note("total " + k, atMs, model.totals[k]);
  for (const n of model.nodes.values()) {
    if (n.kind === "topic") note("depth " + n.id, atMs, n.depth);
    else if ("rps" in n) note("rps " + n.id, atMs, n.rps);
  }
  for (const e of model.edges) note("rps " + e.id, atMs, e.rps);
}

function draw() {
  if (!model) return;
  header();
  tiles.update(model.totals, atMs);
  events.update(model);
  detail.update(model, atMs);
  at("graph-empty").hidden = model.nodes.size > 0;
  graph.update(model, atMs);
  panels.update(model, atMs);
  tables.update(model);
  document.body.classList.remove("waiting");
  document.body.dataset.time = String(model.at ?? "");
}

function header() {
  text(at("run-name"), model.name || "unnamed run");
  text(at("run-version"), model.version);
  text(at("uptime"), fmt.duration(model.uptime));
  document.title =
    (lostSince === null ? "" : "stopped · ") + (model.name ? `${model.name} · Proa` : "Proa");
  const p = model.progress;
  at("progress").hidden = !p;
  if (!p) return;
  text(at("progress-text"), p.text);
  attr(at("progress-bar"), "max", p.total > 0 ? p.total : null);
  attr(
    at("progress-bar"),
    "value",
    p.total > 0 && p.done !== null ? Math.min(p.done, p.total) : null,
  );
}

/** The line went or came back; sinceMs is when the runtime was last heard. */
function connection(state, sinceMs) {
  const lost = state === "lost";
  lostSince = lost ? sinceMs : null;
  document.body.classList.toggle("lost", lost);
  text(at("line-text"), lost ? "reconnecting" : "live");
  at("banner").hidden = !lost;
  if (lost)
    text(
      at("banner-text"),
      model ? `Runtime stopped at ${fmt.clock(sinceMs)}` : "No runtime answers here",
    );
  graph.run(!lost);
  tick();
  if (model) header();
}

/** While the line is down: for how long, and that we keep trying. */
function tick() {
  if (lostSince === null) return;
  const ago = fmt.duration(Math.floor((Date.now() - lostSince) / 1000));
  text(
    at("banner-more"),
    model
      ? `The page shows its last state, ${ago} old, and reconnects by itself.`
      : "Start it with: proa run -f dapr.yaml. The page connects by itself.",
  );
}

/** With room for a side column the details stand there, above the events; else over the graph. */
const wide = matchMedia("(min-width: 1500px)");
function seat() {
  if (wide.matches) at("side").prepend(at("detail"));
  else at("graph").append(at("detail"));
  graph.choose();
}
wide.addEventListener("change", seat);
seat();

setInterval(tick, 1000);
document.addEventListener("visibilitychange", () => document.hidden || draw());
onPlace(() => {
  if (!model) return;
  const moved = detail.update(model, atMs);
  if (moved) graph.choose();
  graph.update(model, atMs);
  tables.update(model);
});
document.querySelector("[data-skip]").addEventListener("click", (e) => {
  e.preventDefault(); // the hash holds the page's state
  at("services").focus();
  at("services").scrollIntoView();
});
at("graph-empty").hidden = false;
connect(receive, connection);
window.proa = { comets: graph.comets }; // for the tests
