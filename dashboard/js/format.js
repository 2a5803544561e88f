// format.js: numbers and times as people read them. Pure; an unknown value is shown as a dash.

export const DASH = "–";

const known = (v) => typeof v === "number" && Number.isFinite(v);

/** Two or three significant digits, thousands as k, M, G: 0.31, 4.2, 42, 1.25k. */
export function count(v) {
  if (!known(v)) return DASH;
  const a = Math.abs(v);
  if (a < 999.5) return digits(v);
  const step = a < 999500 ? [1e3, "k"] : a < 999.5e6 ? [1e6, "M"] : [1e9, "G"];
  const scaled = v / step[0];
  return (
    trim(scaled.toFixed(Math.abs(scaled) < 9.995 ? 2 : Math.abs(scaled) < 99.95 ? 1 : 0)) + step[1]
  );
}

function digits(v) {
  const a = Math.abs(v);
  if (a === 0) return "0";
  if (a < 0.005) return "<0.01";
  if (a < 1) return trim(v.toFixed(2));
  if (a < 10) return trim(v.toFixed(a < 9.95 ? 1 : 0));
  return v.toFixed(0);
}

const trim = (s) => (s.includes(".") ? s.replace(/\.?0+$/, "") : s);

/** A rate with its unit: "42/s". */
export const rate = (v) => (known(v) ? count(v) + "/s" : DASH);

/** A latency in milliseconds as [number, unit]. */
export function latencyParts(v) {
  if (!known(v)) return [DASH, ""];
  if (v < 0.995) return [digits(v), "ms"];
  if (v < 999.5) return [digits(v), "ms"];
  if (v < 99950) return [trim((v / 1000).toFixed(v < 9950 ? 2 : 1)), "s"];
  return [digits(v / 60000), "min"];
}

export const latency = (v) => (known(v) ? latencyParts(v).join("\u202f") : DASH);

/** A share 0..1 as percent: "0.4 %"; a small share that isn't nothing never reads as 0. */
export function share(v) {
  if (!known(v)) return DASH;
  const p = v * 100;
  if (p === 0) return "0\u202f%";
  if (p < 0.1) return "<0.1\u202f%";
  return trim(p.toFixed(p < 9.95 ? 1 : 0)) + "\u202f%";
}

export function bytes(v) {
  if (!known(v)) return DASH;
  if (v < 1024 * 1024) return Math.round(v / 1024) + "\u202fKiB";
  if (v < 1024 ** 3) return trim((v / 1024 ** 2).toFixed(v < 10 * 1024 ** 2 ? 1 : 0)) + "\u202fMiB";
  return trim((v / 1024 ** 3).toFixed(1)) + "\u202fGiB";
}

/** A length of time in seconds: "0.4 s", "12 s", "3 min 20 s", "2 h 5 min". */
export function duration(v) {
  if (!known(v) || v < 0) return DASH;
  if (v < 0.9995) return Math.round(v * 1000) + "\u202fms";
  if (v < 9.95) return trim(v.toFixed(1)) + "\u202fs";
  const s = Math.round(v);
  if (s < 60) return s + "\u202fs";
  if (s < 3600) return pair(Math.floor(s / 60), "min", s % 60, "s");
  if (s < 86400) return pair(Math.floor(s / 3600), "h", Math.floor((s % 3600) / 60), "min");
  return pair(Math.floor(s / 86400), "d", Math.floor((s % 86400) / 3600), "h");
}

function pair(a, unitA, b, unitB) {
  return b ? `${a}\u202f${unitA} ${b}\u202f${unitB}` : `${a}\u202f${unitA}`;
}

/** Wall clock, 24 hours, in the reader's zone: "15:02:11". */
export function clock(ms) {
  if (!known(ms)) return DASH;
  const d = new Date(ms);
  return [d.getHours(), d.getMinutes(), d.getSeconds()]
    .map((n) => String(n).padStart(2, "0"))
    .join(":");
}

/** How bad an error share is; one rule for edges, nodes, tables and tiles. */
export function severity(errorRate) {
  if (!known(errorRate) || errorRate < 0.005) return "ok";
  return errorRate < 0.05 ? "warn" : "bad";
}
