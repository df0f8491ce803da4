/** One student's panel: its threshold, what that keeps, and how good that is. */

import { isKept } from "./decisions.js";
import { element, fromTemplate, percent, three } from "./dom.js";
import { Histogram } from "./histogram.js";

/**
 * @typedef {import("./api.js").Model} Model
 * @typedef {import("./api.js").SortMode} SortMode
 * @typedef {ReturnType<typeof import("./decisions.js").quality>} Quality
 */

export class Student {
  /**
   * @param {Model} model @param {"A" | "B"} tag @param {SortMode} mode
   * @param {() => void} moved called at every move of the slider
   */
  constructor(model, tag, mode, moved) {
    this.model = model;
    this.own = 0; // the bundle's threshold
    this.threshold = 0;
    /** @type {SortMode | null} */
    this.mode = null;
    this.tag = tag;
    this.moved = moved;
    /** @type {(number | null)[]} */
    this.scores = [];
    /** @type {import("./api.js").Timing | null} */
    this.timing = null;
    this.panel = fromTemplate("student-panel");
    this.panel.dataset.tag = tag;
    this.part(".tag").textContent = tag;
    this.part(".name").textContent = model.name;
    this.part("small").textContent = `version ${model.version}`;
    this.histogram = new Histogram(this.part(".plot"));
    this.slider = /** @type {HTMLInputElement} */ (this.part(".slider"));
    this.exact = /** @type {HTMLInputElement} */ (this.part(".exact"));
    this.reset = this.part(".reset");
    this.slider.setAttribute("aria-label", `Threshold of ${model.name}`);
    this.exact.setAttribute("aria-label", `Threshold of ${model.name}, as a number`);
    this.slider.addEventListener("input", () => this.moveTo(this.slider.valueAsNumber));
    this.exact.addEventListener("change", () => {
      const typed = this.exact.valueAsNumber;
      this.moveTo(Number.isNaN(typed) ? this.threshold : Math.min(1, Math.max(0, typed)));
    });
    this.reset.addEventListener("click", () => this.moveTo(this.own));
    this.sortedBy(mode);
  }

  /** The threshold of another sort mode comes into force. @param {SortMode} mode */
  sortedBy(mode) {
    if (mode === this.mode) return;
    this.mode = mode;
    this.own = this.model.thresholds?.[mode] ?? 0;
    this.threshold = this.own;
    this.reset.textContent = `Default ${three(this.own)}`;
    this.reset.title = `The bundle's threshold for pages sorted by ${mode}`;
  }

  /** @param {number} threshold */
  moveTo(threshold) {
    this.threshold = threshold;
    this.toBeConfirmed();
    this.moved();
  }

  /** @param {number} position of a candidate */
  keeps(position) {
    return isKept(this.scores[position], this.threshold);
  }

  /** @returns {number} */
  get kept() {
    return this.scores.filter((score) => isKept(score, this.threshold)).length;
  }

  /** @param {Quality} quality */
  show(quality) {
    this.slider.value = String(this.threshold);
    this.slider.setAttribute("aria-valuetext", `${three(this.threshold)}, keeps ${this.kept} products`);
    // The number itself stays exact: only what is shown is rounded.
    if (document.activeElement !== this.exact) this.exact.value = three(this.threshold);
    this.reset.toggleAttribute("disabled", this.threshold === this.own);
    document.documentElement.style.setProperty(`--threshold-${this.tag}`, String(this.threshold));
    this.histogram.show(this.scores, this.threshold, this.own);
    this.share(".kept", this.kept, this.scores.length);
    this.share(".precision", quality.keptRelevant, quality.keptJudged);
    this.share(".recall", quality.keptRelevant, quality.relevant);
    this.part(".judged").textContent = quality.judged
      ? `${quality.judged} of the candidates are judged`
      : "This query is not judged";
  }

  /** @param {string} selector @param {number} part @param {number} of */
  share(selector, part, of) {
    const counts = element("small", { text: of ? `${part} of ${of}` : "" });
    this.part(selector).replaceChildren(percent(part, of), counts);
  }

  /** What `/filter` said of this page. @param {string} text @param {"same" | "other" | "asking"} state */
  confirm(text, state) {
    const place = this.part(".confirmed");
    place.textContent = text;
    place.dataset.state = state;
  }

  toBeConfirmed() {
    this.confirm("Asking /filter …", "asking");
  }

  /** @param {string} selector @returns {HTMLElement} */
  part(selector) {
    return /** @type {HTMLElement} */ (this.panel.querySelector(selector));
  }
}
