// history.js: the last two minutes of each number that gets a sparkline. Times are this browser's,
// so a skewed clock on the other side can't bend the axis.

export const SPAN_MS = 120000;
const MAX_SERIES = 2000;
const series = new Map();

/** Adds one reading; null leaves a gap in the line. */
export function note(name, atMs, value) {
  let s = series.get(name);
  if (!s) {
    if (series.size >= MAX_SERIES) series.delete(series.keys().next().value);
    series.set(name, (s = []));
  }
  s.push([atMs, value]);
  while (s.length && s[0][0] < atMs - SPAN_MS - 2000) s.shift();
}

/** [[ms, value|null], …], oldest first. */
export const readings = (name) => series.get(name) || [];
