// place.js: what the reader chose, kept in the URL's hash so that a reload or a link restores it.

const listeners = new Set();
const KEYS = ["sel", "app", "level", "find"];
let now = read();

function read() {
  const p = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(KEYS.map((k) => [k, (p.get(k) || "").slice(0, 300)]));
}

/** The current choice: {sel, app, level, find}; empty string = none. */
export const place = () => now;

/** Changes some of it, writes the hash and tells the listeners. */
export function go(change) {
  const next = { ...now, ...change };
  if (KEYS.every((k) => next[k] === now[k])) return;
  now = next;
  const p = new URLSearchParams();
  for (const k of KEYS) if (now[k]) p.set(k, now[k]);
  const hash = p.toString();
  history.replaceState(null, "", hash ? "#" + hash : location.pathname + location.search);
  listeners.forEach((f) => f(now));
}

export function onPlace(f) {
  listeners.add(f);
}

addEventListener("hashchange", () => {
  now = read();
  listeners.forEach((f) => f(now));
});
