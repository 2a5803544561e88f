// zones.js: calls from zone to zone, as a table: a row is where the caller stands. A zone that was seen
// keeps its row and column, so that the table doesn't change its shape when one is lost.

import { el, text, attr, style, keyed } from "./dom.js";
import * as fmt from "./format.js";

const MAX = 32;
const natural = new Intl.Collator("en", { numeric: true }).compare;
const nameOf = (zone) => zone || "no zone";

function th(scope) {
  const e = el("th", "", el("bdi"));
  e.scope = scope;
  return e;
}

export function createZones(section) {
  const corner = th("col");
  const headRow = el("tr", "", corner);
  const body = el("tbody");
  const table = el("table", "matrix", el("thead", "", headRow), body);
  let seenFrom = new Set();
  let seenTo = new Set();
  let uptime = 0;
  corner.className = "corner";
  text(corner.firstChild, "from ↓ to →");
  attr(table, "aria-labelledby", section.querySelector("h2").id);
  section.querySelector(".scroll").append(table);

  function remember(pairs) {
    for (const p of pairs) {
      if (!(p.rps > 0)) continue;
      if (seenFrom.size < MAX) seenFrom.add(p.from);
      for (const zone of [p.from, p.to]) if (zone && seenTo.size < MAX) seenTo.add(zone);
      if (!p.to && seenTo.size < MAX) seenTo.add(""); // whose zone isn't known
    }
  }

  function writeRow(tr, from, columns, pairs) {
    const of = new Map(pairs.filter((p) => p.from === from).map((p) => [p.to, p.rps || 0]));
    const sum = [...of.values()].reduce((a, b) => a + b, 0);
    const cells = columns.map((to) => ({ to, rps: of.get(to) ?? null }));
    keyed(
      tr,
      [{ to: "\n" }, ...cells],
      (c) => c.to,
      (c) => (c.to === "\n" ? th("row") : el("td", "n")),
      (e, c) => {
        if (c.to === "\n") return text(e.firstChild, nameOf(from));
        const share = sum > 0 && c.rps ? c.rps / sum : 0;
        text(e, c.rps === null ? fmt.DASH : fmt.rate(c.rps));
        attr(e, "class", "n " + (c.to === from ? "own" : from ? "cross" : "free"));
        style(e, "--share", (share * 100).toFixed(0) + "%");
      },
    );
  }

  return {
    /** Returns whether calls are known of more than one zone. */
    update(zones, up) {
      if (up < uptime) (seenFrom = new Set()), (seenTo = new Set());
      uptime = up;
      remember(zones.pairs);
      const rows = [...seenFrom].sort(natural);
      const columns = [...seenTo].sort(natural);
      keyed(
        headRow,
        ["\n", ...columns],
        (z) => z,
        (z) => (z === "\n" ? corner : th("col")),
        (e, z) => z === "\n" || text(e.firstChild, nameOf(z)),
      );
      keyed(
        body,
        rows,
        (z) => z,
        () => el("tr"),
        (tr, z) => writeRow(tr, z, columns, zones.pairs),
      );
      text(
        section.querySelector("h2 small"),
        zones.crossing === null ? "" : `${fmt.share(zones.crossing)} of the calls cross`,
      );
      const all = new Set([...rows, ...columns].filter(Boolean));
      return all.size > 1;
    },
  };
}
