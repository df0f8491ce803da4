/** The result page: its cards in page order, which of them are shown, and the counts above them. */

import { Card } from "./card.js";
import { byId, element, percent } from "./dom.js";

/**
 * @typedef {import("./api.js").Product} Product
 * @typedef {import("./student.js").Student} Student
 * @typedef {{title: string, cards: Card[]}} Group
 */

const VIEWS = /** @type {const} */ ([
  ["all", "All"],
  ["kept", "Kept"],
  ["removed", "Removed"],
  ["disagree", "Disagreements"],
  ["wrong", "Against judgement"],
]);

export class Results {
  /** @param {() => void} viewChosen */
  constructor(viewChosen) {
    /** @type {Card[]} */
    this.cards = [];
    /** @type {string} */
    this.view = "all";
    this.written = ""; // the sequence of cards that stands on the page
    this.labels = new Map();
    for (const [view, text] of VIEWS) {
      const radio = element("input", { attributes: { type: "radio", name: "view", value: view } });
      radio.checked = view === this.view;
      radio.addEventListener("change", () => {
        this.view = view;
        viewChosen();
      });
      const count = element("span", { class: "count" });
      const label = element("label", {}, radio, element("span", { text }), count);
      this.labels.set(view, { label, radio, count });
      byId("views").append(label);
    }
  }

  /** @param {Product[]} products @param {(card: Card) => void} opened */
  load(products, opened) {
    this.cards = products.map((product, position) => new Card(product, position, opened));
  }

  /** @param {Student[]} students whose answers are new */
  score(students) {
    for (const card of this.cards) card.score(students);
  }

  /**
   * @param {Student[]} students @param {number[]} order positions as the page has them
   * @param {number} relevantFrom
   */
  show(students, order, relevantFrom) {
    let place = 0;
    for (const position of order) {
      const kept = students[0].keeps(position);
      this.cards[position].show(students, kept ? ++place : null, relevantFrom);
    }
    const groups = this.grouped(students, order.map((position) => this.cards[position]), relevantFrom);
    this.count(groups);
    const n = order.length;
    byId("overview").hidden = n === 0;
    byId("summary").textContent = `${place} of ${n} products stay (${percent(place, n)})`;
    this.place(groups.get(this.view) ?? []);
  }

  /** @param {Student[]} students @param {Card[]} cards @param {number} relevantFrom */
  grouped([first, other], cards, relevantFrom) {
    const keeps = (/** @type {Card} */ card) => first.keeps(card.position);
    const one = (/** @type {Card[]} */ chosen) => [{ title: "", cards: chosen }];
    /** @type {Map<string, Group[]>} */
    const groups = new Map([
      ["all", one(cards)],
      ["kept", one(cards.filter(keeps))],
      ["removed", one(cards.filter((card) => !keeps(card)))],
    ]);
    if (other) {
      const others = (/** @type {Card} */ card) => other.keeps(card.position);
      groups.set("disagree", [
        { title: `Only ${first.model.name} keeps`, cards: cards.filter((card) => keeps(card) && !others(card)) },
        { title: `Only ${other.model.name} keeps`, cards: cards.filter((card) => !keeps(card) && others(card)) },
      ]);
    }
    const judged = cards.filter(({ product }) => product.grade !== null);
    if (judged.length) {
      const relevant = (/** @type {Card} */ { product }) => Number(product.grade) >= relevantFrom;
      groups.set("wrong", [
        { title: "Relevant, but removed", cards: judged.filter((card) => relevant(card) && !keeps(card)) },
        { title: "Irrelevant, but kept", cards: judged.filter((card) => !relevant(card) && keeps(card)) },
      ]);
    }
    return groups;
  }

  /** @param {Map<string, Group[]>} groups */
  count(groups) {
    if (!groups.has(this.view)) this.view = "all";
    for (const [view, { label, radio, count }] of this.labels) {
      const held = groups.get(view);
      label.hidden = held === undefined;
      radio.checked = view === this.view;
      count.textContent = String((held ?? []).reduce((sum, { cards }) => sum + cards.length, 0));
    }
  }

  /** Moves cards only where the sequence has changed: a slider that moves in "All" moves none.
   * @param {Group[]} groups */
  place(groups) {
    const shown = groups.map(({ title, cards }) => [title, ...cards.map((card) => card.position)]);
    const written = JSON.stringify(shown);
    if (this.written === written && byId("groups").contains(this.cards[0]?.item ?? null)) return;
    this.written = written;
    byId("groups").replaceChildren(...groups.map(section));
    byId("groups").dataset.columns = String(groups.length);
  }
}

/** @param {Group} group */
function section({ title, cards }) {
  const list = element("ol", { class: "cards" }, ...cards.map((card) => card.item));
  if (!title) return element("section", {}, list);
  const heading = element("h2", { text: `${title} (${cards.length})` });
  return element("section", {}, heading, cards.length ? list : element("p", { text: "None" }));
}
