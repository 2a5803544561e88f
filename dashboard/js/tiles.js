// tiles.js: the four headline numbers, each with its last two minutes.

import { el, text, attr } from "./dom.js";
import * as fmt from "./format.js";
import { readings } from "./history.js";
import { createSpark } from "./spark.js";

const unitAfter = (s, unit) => (s === fmt.DASH ? [s, ""] : [s, unit]);
const sharePair = (v) => fmt.share(v).split("\u202f");

/** floor is what fills the sparkline's height at least, so that noise near zero looks like zero. */
const TILES = [
  {
    key: "rps",
    name: "Requests",
    floor: 1,
    show: (t) => unitAfter(fmt.count(t.rps), "/s"),
    more: (t, peak) => `peak ${fmt.rate(peak)}`,
  },
  {
    key: "p99",
    name: "Latency p99",
    floor: 5,
    show: (t) => fmt.latencyParts(t.p99),
    more: (t) => `p50 ${fmt.latency(t.p50)}`,
  },
  {
    key: "errorRate",
    name: "Errors",
    floor: 0.02,
    show: (t) => sharePair(t.errorRate),
    more: (t, peak) => `peak ${fmt.share(peak)}`,
    grade: true,
  },
  {
    key: "inFlight",
    name: "In flight",
    floor: 4,
    show: (t) => [fmt.count(t.inFlight), ""],
    more: (t) => `${fmt.count(t.queued)} queued`,
  },
];

export function createTiles(section) {
  const tiles = TILES.map((spec) => {
    const value = el("b", "value");
    const unit = el("span", "unit");
    const more = el("span", "more");
    const spark = createSpark(`${spec.name}, last two minutes`);
    const root = el(
      "div",
      "tile",
      el("h2", "", spec.name),
      el("p", "figure", value, unit),
      more,
      spark.root,
    );
    root.dataset.tile = spec.key;
    section.append(root);
    return { spec, value, unit, more, spark, root };
  });
  return {
    update(totals, nowMs) {
      for (const t of tiles) {
        const line = readings("total " + t.spec.key);
        const known = line.map((r) => r[1]).filter((v) => v !== null);
        const peak = known.length ? Math.max(...known) : null;
        const [value, unit] = t.spec.show(totals);
        text(t.value, value);
        text(t.unit, unit || "");
        text(t.more, t.spec.more(totals, peak));
        attr(
          t.root,
          "class",
          "tile" + (t.spec.grade ? " e-" + fmt.severity(totals.errorRate) : ""),
        );
        t.spark.update(line, nowMs, t.spec.floor);
      }
    },
  };
}
