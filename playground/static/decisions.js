/**
 * What a threshold keeps, in which order, and how good that is. Pure functions: the same rules as
 * `/filter`, which the page asks afterwards to see that they are.
 *
 * @typedef {import("./api.js").Product} Product
 * @typedef {import("./api.js").SortMode} SortMode
 * @typedef {{mode: SortMode, values: (number | null)[] | null, order: "asc" | "desc"}} Sorting
 */

/**
 * Compared in float32, the precision of scores; what has no score is kept.
 * @param {number | null} score @param {number} threshold
 */
export const isKept = (score, threshold) =>
  score === null || Math.fround(score) >= Math.fround(threshold);

/**
 * What a choice of the page means to `/filter`.
 * @param {string} choice @param {Product[]} products @returns {Sorting}
 */
export function sorting(choice, products) {
  if (choice === "sale") {
    return { mode: "sale", values: products.map((product) => product.sales), order: "desc" };
  }
  if (choice.startsWith("price")) {
    const order = choice === "price" ? "asc" : "desc";
    return { mode: "price", values: products.map((product) => product.price), order };
  }
  return { mode: "default", values: null, order: "asc" };
}

/**
 * Positions 0..n-1 in page order: by value, equal ones in the engine's order, null last.
 * @param {number} n @param {Sorting} sorting @returns {number[]}
 */
export function pageOrder(n, { values, order }) {
  const positions = Array.from({ length: n }, (_, position) => position);
  if (values === null) return positions;
  const sign = order === "asc" ? 1 : -1;
  return positions.sort((left, right) => {
    const [a, b] = [values[left], values[right]];
    if (a === null || b === null) return Number(a === null) - Number(b === null);
    return sign * (a - b);
  });
}

/**
 * Counts over the judged candidates. Precision is keptRelevant of keptJudged, recall of relevant.
 * @param {Product[]} products @param {(position: number) => boolean} kept @param {number} from
 * @returns {{judged: number, relevant: number, keptJudged: number, keptRelevant: number}}
 */
export function quality(products, kept, from) {
  let [judged, relevant, keptJudged, keptRelevant] = [0, 0, 0, 0];
  products.forEach(({ grade }, position) => {
    if (grade === null) return;
    const good = grade >= from;
    judged += 1;
    relevant += Number(good);
    if (kept(position)) {
      keptJudged += 1;
      keptRelevant += Number(good);
    }
  });
  return { judged, relevant, keptJudged, keptRelevant };
}

/**
 * The grades that occur, and the lowest that counts as relevant unless one is chosen: the middle.
 * @param {Product[]} products @returns {{grades: number[], from: number}}
 */
export function gradesOf(products) {
  const found = products.flatMap(({ grade }) => (grade === null ? [] : [grade]));
  const grades = [...new Set(found)].sort((a, b) => a - b);
  const middle = (grades.at(-1) ?? 0) / 2;
  return { grades, from: grades.find((grade) => grade >= middle && grade > 0) ?? Infinity };
}
