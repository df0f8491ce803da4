/** The scores of a page as bars; those below the threshold are grey. */

import { svg, three } from "./dom.js";

const BINS = 50;
const HEIGHT = 64;
const LEAST = 2; // so that one product among hundreds is seen

export class Histogram {
  /** @param {Element} place */
  constructor(place) {
    this.bars = Array.from({ length: BINS }, (_, bin) =>
      svg("rect", { x: (bin * 100) / BINS + 0.15, width: 100 / BINS - 0.3 }),
    );
    this.mark = svg("line", { class: "mark", y1: 0, y2: HEIGHT });
    this.own = svg("line", { class: "own", y1: 0, y2: HEIGHT });
    this.picture = svg(
      "svg",
      { viewBox: `0 0 100 ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
      ...this.bars, this.own, this.mark,
    );
    place.replaceChildren(this.picture);
  }

  /**
   * @param {(number | null)[]} scores @param {number} threshold
   * @param {number} own threshold of the bundle
   */
  show(scores, threshold, own) {
    const counts = new Array(BINS).fill(0);
    for (const score of scores) {
      if (score !== null) counts[Math.min(BINS - 1, Math.floor(score * BINS))] += 1;
    }
    const most = Math.max(1, ...counts);
    this.bars.forEach((bar, bin) => {
      const height = counts[bin] && Math.max(LEAST, (counts[bin] / most) * HEIGHT);
      bar.setAttribute("y", String(HEIGHT - height));
      bar.setAttribute("height", String(height));
      bar.setAttribute("class", (bin + 0.5) / BINS < threshold ? "below" : "above");
    });
    for (const [line, at] of /** @type {const} */ ([[this.mark, threshold], [this.own, own]])) {
      line.setAttribute("x1", String(at * 100));
      line.setAttribute("x2", String(at * 100));
    }
    const scored = scores.filter((score) => score !== null);
    const above = scored.filter((score) => score >= threshold).length;
    this.picture.setAttribute(
      "aria-label",
      `Histogram of ${scored.length} scores: ${above} are ${three(threshold)} or more`,
    );
  }
}
