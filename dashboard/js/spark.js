// spark.js: a line of the last two minutes, its right edge is now. A gap in the feed is a gap here.

import { svg, attr } from "./dom.js";
import { SPAN_MS } from "./history.js";

const W = 240;
const H = 40;

export function createSpark(label) {
  const area = svg("path", { class: "area" });
  const line = svg("path", { class: "stroke" });
  const root = svg(
    "svg",
    { class: "spark", viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: "none", role: "img" },
    area,
    line,
  );
  attr(root, "aria-label", label);
  return {
    root,
    /** readings: [[ms, value|null], …]; floor is the least value that fills the height. */
    update(readings, nowMs, floor) {
      const top = Math.max(floor, ...readings.map((r) => r[1] ?? 0)) * 1.08;
      const runs = split(readings).map((run) =>
        run.map(([t, v]) =>
          [((t - nowMs) / SPAN_MS + 1) * W, H - 1.5 - (v / top) * (H - 4)].map(
            (n) => Math.round(n * 10) / 10,
          ),
        ),
      );
      attr(line, "d", runs.map((r) => "M" + r.map((p) => p.join(" ")).join("L")).join(""));
      attr(
        area,
        "d",
        runs
          .map(
            (r) =>
              `M${r[0][0]} ${H}L${r.map((p) => p.join(" ")).join("L")}L${r[r.length - 1][0]} ${H}Z`,
          )
          .join(""),
      );
    },
  };
}

/** Runs without a gap: a missing value or four silent seconds end one. */
function split(readings) {
  const runs = [];
  let run = [];
  let before = 0;
  for (const r of readings) {
    if (r[1] === null || r[0] - before > 4000) {
      if (run.length) runs.push(run);
      run = [];
    }
    if (r[1] !== null) run.push(r);
    before = r[0];
  }
  if (run.length) runs.push(run);
  return runs;
}
