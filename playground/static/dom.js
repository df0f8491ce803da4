/** Elements and numbers, the way the whole page writes them. */

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag @param {{class?: string, text?: string, attributes?: Record<string, string>}} [given]
 * @param {...Node} children @returns {HTMLElementTagNameMap[Tag]}
 */
export function element(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  if (given.class) made.className = given.class;
  if (given.text !== undefined) made.textContent = given.text;
  for (const [name, value] of Object.entries(given.attributes ?? {})) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** @param {string} tag @param {Record<string, string | number>} attributes @param {...Node} children */
export function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

/** @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);

/** A copy of a template's one element. @param {string} id @returns {HTMLElement} */
export const fromTemplate = (id) => byId(id).content.firstElementChild.cloneNode(true);

/** Puts options into a select; keeps what was chosen if it is still there.
 * @param {HTMLSelectElement} select
 * @param {{value: string, text: string, disabled?: boolean}[]} options @param {string} chosen */
export function fill(select, options, chosen) {
  select.replaceChildren(
    ...options.map(({ value, text, disabled }) => {
      const option = new Option(text, value, false, value === chosen);
      option.disabled = disabled ?? false;
      return option;
    }),
  );
}

/** What an address says, where there is such an option.
 * @param {HTMLSelectElement} select @param {string | null} value */
export function choose(select, value) {
  if ([...select.options].some((option) => option.value === value)) select.value = String(value);
}

const price = new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const whole = new Intl.NumberFormat();

/** @param {number} value a score or threshold */
export const three = (value) => value.toFixed(3);

/** A share as a percentage; of nothing there is none. @param {number} part @param {number} of */
export const percent = (part, of) => (of ? `${((100 * part) / of).toFixed(0)} %` : "–");

/** @param {import("./api.js").Product} product */
export function facts(product) {
  const known = [];
  if (product.price !== null) known.push(price.format(product.price));
  if (product.sales !== null) known.push(`${whole.format(product.sales)} sold`);
  return known.join(" · ");
}
