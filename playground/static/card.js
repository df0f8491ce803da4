/** One product of the result page: what it is, its scores, and what becomes of it. */

import { element, facts, fromTemplate, three } from "./dom.js";

/**
 * @typedef {import("./api.js").Product} Product
 * @typedef {import("./student.js").Student} Student
 */

export class Card {
  /**
   * @param {Product} product @param {number} position in the engine's order
   * @param {(card: Card) => void} opened
   */
  constructor(product, position, opened) {
    this.product = product;
    this.position = position;
    this.item = fromTemplate("card");
    /** @type {HTMLElement[]} */
    this.lines = [];
    this.item.dataset.id = product.product_id;
    const title = this.part("h3 button");
    title.textContent = product.title;
    title.addEventListener("click", () => opened(this));
    this.part(".facts").textContent = facts(product);
    if (product.image !== null) {
      this.part(".picture").hidden = false;
      /** @type {HTMLImageElement} */ (this.part("img")).src = product.image;
    }
  }

  /**
   * @param {Student[]} students the first one decides
   * @param {number | null} place on the filtered page, from 1; null = removed
   * @param {number} relevantFrom
   */
  show(students, place, relevantFrom) {
    const kept = place !== null;
    this.item.dataset.state = kept ? "kept" : "removed";
    this.write(".place", kept ? `${place}` : "–");
    this.write(".verdict", verdict(students, this.position));
    this.showGrade(kept, relevantFrom);
    students.forEach((student, index) => {
      this.lines[index].dataset.kept = String(student.keeps(this.position));
    });
  }

  /** Once per answer of `/score`: a slider that moves changes none of it. @param {Student[]} students */
  score(students) {
    this.lines = students.map((student) => scoreLine(student, this.position, students.length > 1));
    this.part(".scores").replaceChildren(...this.lines);
  }

  /** @param {boolean} kept @param {number} relevantFrom */
  showGrade(kept, relevantFrom) {
    const { grade } = this.product;
    const place = this.part(".grade");
    place.hidden = grade === null;
    if (grade === null) return;
    const relevant = grade >= relevantFrom;
    place.dataset.wrong = String(relevant !== kept);
    this.write(".grade", `Judged ${relevant ? "relevant" : "irrelevant"} (${grade})`);
  }

  /** Only where it differs: a page has hundreds of cards, and a slider moves often.
   * @param {string} selector @param {string} text */
  write(selector, text) {
    const place = this.part(selector);
    if (place.textContent !== text) place.textContent = text;
  }

  /** @param {string} selector @returns {HTMLElement} */
  part(selector) {
    return /** @type {HTMLElement} */ (this.item.querySelector(selector));
  }
}

/** @param {Student} student @param {number} position @param {boolean} tagged */
export function scoreLine(student, position, tagged) {
  const score = student.scores[position];
  const line = element("div", { class: "score", attributes: { "data-tag": student.tag } });
  line.dataset.kept = String(student.keeps(position));
  if (tagged) line.append(element("span", { class: "tag", text: student.tag }));
  const fill = element("span", { class: "fill" });
  fill.style.inlineSize = `${100 * (score ?? 0)}%`;
  const mark = element("span", { class: "mark" }); // stands where the student's panel says
  line.append(
    element("span", { class: "bar", attributes: { "aria-hidden": "true" } }, fill, mark),
    element("span", { class: "number", text: score === null ? "no score" : three(score) }),
  );
  return line;
}

/** @param {Student[]} students @param {number} position */
export function verdict(students, position) {
  const [first, other] = students;
  const kept = first.keeps(position);
  if (other && other.keeps(position) !== kept) {
    const keeper = kept ? first : other;
    return `Only ${keeper.tag} keeps it`;
  }
  if (first.scores[position] === null) return "Kept: has no score";
  return kept ? "Kept" : "Removed";
}
