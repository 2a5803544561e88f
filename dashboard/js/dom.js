// dom.js: the few helpers that write to the page. Text goes in as text and nothing else does:
// no markup is ever built from the feed.

const SVG = "http://www.w3.org/2000/svg";

/** <tag class="…">text or children</tag>. */
export function el(tag, className, ...children) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  e.append(...children);
  return e;
}

export function svg(tag, attributes, ...children) {
  const e = document.createElementNS(SVG, tag);
  for (const name in attributes) e.setAttribute(name, attributes[name]);
  e.append(...children);
  return e;
}

/** Sets the text if it differs, so an unchanged number costs no layout. */
export function text(e, value) {
  const s = String(value);
  if (e.textContent !== s) e.textContent = s;
}

export function attr(e, name, value) {
  if (value === null || value === undefined || value === false) {
    if (e.hasAttribute(name)) e.removeAttribute(name);
  } else if (e.getAttribute(name) !== String(value)) e.setAttribute(name, value);
}

/** Sets a custom property or style through the CSSOM, which the page's policy allows. */
export function style(e, name, value) {
  if (e.style.getPropertyValue(name) !== value) e.style.setProperty(name, value);
}

/**
 * Makes the children of parent match items, in order, keeping the elements of keys that stay.
 * create(item) → element; update(element, item) runs for all.
 */
export function keyed(parent, items, key, create, update) {
  const old = parent.keyedChildren || new Map();
  const now = new Map();
  let at = parent.firstChild;
  for (const item of items) {
    const k = key(item);
    if (now.has(k)) continue;
    const e = old.get(k) || create(item);
    now.set(k, e);
    update(e, item);
    if (e === at) at = at.nextSibling;
    else parent.insertBefore(e, at);
  }
  for (const [k, e] of old) if (now.get(k) !== e) e.remove();
  parent.keyedChildren = now;
}
