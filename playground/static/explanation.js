/** The panel of one product: its scores and decisions, and which tokens made them. */

import { explain } from "./api.js";
import { scoreLine, verdict } from "./card.js";
import { byId, element, facts, three } from "./dom.js";

/**
 * @typedef {import("./api.js").Contribution} Contribution
 * @typedef {import("./card.js").Card} Card
 * @typedef {import("./student.js").Student} Student
 */

const SOURCES = { cache: "in the worker's memory", store: "in the store", encoded: "encoded for this answer" };
/** @type {[string, number][]} */
const UNITS = [["day", 86_400], ["hour", 3_600], ["minute", 60]];
/** @type {Record<string, string>} */
const NOTES = { unknown: "not in the vocabulary", cut: "beyond what is read" };

let opened = 0; // an explanation that comes after another product was opened is not shown

/** @param {string} query @param {Card} card @param {Student[]} students */
export async function openDetails(query, card, students) {
  const turn = ++opened;
  const dialog = byId("details");
  const { product, position } = card;
  dialog.querySelector("h2").textContent = product.title;
  dialog.querySelector(".facts").textContent = [product.product_id, facts(product)].filter(Boolean).join(" · ");
  dialog.querySelector(".decisions").replaceChildren(
    ...students.map((student) => scoreLine(student, position, students.length > 1)),
    element("p", { class: "verdict", text: verdict(students, position) }),
  );
  const place = dialog.querySelector(".explanations");
  place.replaceChildren(element("p", { text: "Asking /explain …" }));
  dialog.showModal();
  const panels = await Promise.all(students.map((student) => explained(query, card, student)));
  if (turn === opened) place.replaceChildren(...panels);
}

/** @param {string} query @param {Card} card @param {Student} student */
async function explained(query, { product }, student) {
  const { name } = student.model;
  const panel = element("section", {}, element("h3", { text: `Why ${name} says so` }));
  try {
    const answer = await explain(query, product, name);
    panel.append(
      element("p", { class: "how", text: "How far the score falls where a token is left out" }),
      tokens("Query", answer.query_tokens),
    );
    if (answer.title_tokens) panel.append(tokens("Title", answer.title_tokens));
    panel.append(element("p", { class: "row", text: rowText(answer.row) }));
  } catch (error) {
    panel.append(element("p", { class: "failed", text: error instanceof Error ? error.message : String(error) }));
  }
  return panel;
}

/** @param {string} what @param {Contribution[]} contributions */
function tokens(what, contributions) {
  const most = Math.max(0.001, ...contributions.map(({ contribution }) => Math.abs(contribution)));
  const items = contributions.map(({ token, contribution, status }) => {
    const bar = element("span", { class: "signed", attributes: { "aria-hidden": "true" } }, element("span"));
    const fill = /** @type {HTMLElement} */ (bar.firstElementChild);
    fill.style.inlineSize = `${(50 * Math.abs(contribution)) / most}%`;
    fill.className = contribution < 0 ? "against" : "for";
    const sign = contribution < 0 ? "−" : "+";
    const value = `${sign}${three(Math.abs(contribution))}`;
    const word = element("span", { class: "token", text: token });
    const note = status in NOTES ? [element("small", { text: NOTES[status] })] : [];
    return element("li", {}, element("span", {}, word, ...note), bar, element("span", { class: "number", text: value }));
  });
  return element("div", { class: "tokens" }, element("h4", { text: what }), element("ul", {}, ...items));
}

/** @param {import("./api.js").Explanation["row"]} row */
function rowText({ source, age_s: seconds, matches_title: matches }) {
  const from = /** @type {Record<string, string>} */ (SOURCES)[source] ?? source;
  const other = matches === false ? ", from another title than this one: index the catalogue again" : "";
  return `Its row: ${from}${source === "encoded" ? "" : `, encoded ${age(seconds)} ago`}${other}.`;
}

/** @param {number} seconds */
function age(seconds) {
  const [unit, size] = UNITS.find(([, least]) => seconds >= least) ?? ["second", 1];
  const count = Math.floor(seconds / size);
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}
