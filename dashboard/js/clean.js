// clean.js: one value of the feed → one the page can trust.

export const MAX_TEXT = 2000;
const MAX_ID = 300;

export const num = (v) => (typeof v === "number" && Number.isFinite(v) ? v : null);
export const str = (v, max = MAX_ID) =>
  typeof v === "string" ? v.slice(0, max) : typeof v === "number" ? String(v) : "";
export const obj = (v) => (v && typeof v === "object" && !Array.isArray(v) ? v : {});
export const list = (v, max) => (Array.isArray(v) ? v.slice(0, max).map(obj) : []);
export const share = (v) => (num(v) === null ? null : Math.min(1, Math.max(0, v)));
export const time = (v) => {
  const ms = typeof v === "string" ? Date.parse(v) : NaN;
  return Number.isFinite(ms) ? ms : null;
};
export const oneOf = (known, v, otherwise) => (known.includes(v) ? v : otherwise);
export const texts = (v, max) =>
  Array.isArray(v)
    ? v
        .slice(0, max)
        .map((a) => str(a))
        .filter(Boolean)
    : [];
