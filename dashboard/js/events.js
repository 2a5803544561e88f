// events.js: what happened, newest first, by app, level and text.

import { el, text, attr, keyed } from "./dom.js";
import * as fmt from "./format.js";
import { place, go, onPlace } from "./place.js";

const WEIGHT = { info: 0, warn: 1, error: 2 };
const KEEP = 400; // the feed has the last 200; older ones that we saw stay a while

export function createEvents(section) {
  const list = section.querySelector("#event-list");
  const app = section.querySelector("#filter-app");
  const level = section.querySelector("#filter-level");
  const find = section.querySelector("#filter-find");
  const count = section.querySelector("h2 small");
  const known = new Map();
  let apps = [];
  let newest = -Infinity;
  let uptime = 0;

  section.querySelector("#filters").addEventListener("submit", (e) => e.preventDefault());
  app.addEventListener("change", () => go({ app: app.value }));
  level.addEventListener("change", () => go({ level: level.value }));
  find.addEventListener("input", () => go({ find: find.value }));
  onPlace(draw);

  function draw() {
    const want = place();
    const needle = want.find.toLowerCase();
    const least = WEIGHT[want.level] || 0;
    const rows = [...known.values()]
      .sort((a, b) => b.id - a.id)
      .filter(
        (e) =>
          (!want.app || e.app === want.app) &&
          WEIGHT[e.level] >= least &&
          (!needle ||
            e.text.toLowerCase().includes(needle) ||
            e.app.toLowerCase().includes(needle)),
      );
    options(want.app);
    if (level.value !== want.level) level.value = WEIGHT[want.level] ? want.level : "";
    if (find.value !== want.find) find.value = want.find;
    const shown = rows.length
      ? rows.slice(0, 200)
      : [
          {
            id: "none",
            level: "none",
            at: null,
            app: "",
            text: known.size ? "No event matches the filter." : "Nothing happened yet.",
          },
        ];
    keyed(list, shown, (e) => e.id, create, write);
    text(count, rows.length === known.size ? known.size || "" : `${rows.length} of ${known.size}`);
  }

  function options(chosen) {
    const names = chosen && !apps.includes(chosen) ? [...apps, chosen] : apps;
    keyed(
      app,
      ["", ...names],
      (n) => n,
      () => el("option"),
      (o, n) => {
        o.value = n;
        text(o, n || "all apps");
      },
    );
    if (app.value !== chosen) app.value = chosen;
  }

  return {
    update(model) {
      const highest = model.events.reduce((m, e) => Math.max(m, e.id), -Infinity);
      if (highest < newest || model.uptime < uptime) known.clear(); // a new run counts from the start
      newest = highest;
      uptime = model.uptime;
      for (const e of model.events) known.set(e.id, e);
      while (known.size > KEEP) known.delete(known.keys().next().value);
      apps = [
        ...new Set([...model.services.map((s) => s.id), ...[...known.values()].map((e) => e.app)]),
      ]
        .filter(Boolean)
        .sort();
      draw();
    },
    of: (id, n) =>
      [...known.values()]
        .filter((e) => e.app === id)
        .sort((a, b) => b.id - a.id)
        .slice(0, n),
  };
}

export function create() {
  return el("li", "", el("time"), el("span", "level"), el("bdi", "app"), el("bdi", "text"));
}

export function write(li, e) {
  const [time, level, app, body] = li.children;
  attr(li, "class", "l-" + e.level);
  text(time, e.at === null ? "" : fmt.clock(e.at));
  text(level, e.level === "none" ? "" : e.level);
  text(app, e.app);
  text(body, e.text);
}
