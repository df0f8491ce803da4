/**
 * Asks the service what any caller may ask, and says how long each stage took.
 *
 * @typedef {{product_id: string, title: string, price: number | null, sales: number | null,
 *   image: string | null, grade: number | null}} Product
 * @typedef {"default" | "price" | "sale"} SortMode
 * @typedef {{name: string, version: string | null, default: boolean, ready: boolean,
 *   reason: string | null, thresholds: Record<SortMode, number> | null}} Model
 * @typedef {{stage: string, ms: number}} Stage
 * @typedef {{endpoint: string, model: string, stages: Stage[], roundTripMs: number}} Timing
 * @typedef {{token: string, contribution: number, status: "known" | "unknown" | "cut"}} Contribution
 * @typedef {{score: number, row: {source: string, age_s: number, matches_title: boolean | null},
 *   query_tokens: Contribution[], title_tokens: Contribution[] | null}} Explanation
 */

const KEY = "winnow-api-key";
const EXPLAIN_WITHIN_MS = 5_000; // it encodes the texts once per word

/** The service refused: `message` is what its problem document says. */
export class Refused extends Error {
  /** @param {number} status @param {{detail?: string}} problem */
  constructor(status, { detail }) {
    super(detail ?? `The service answered ${status}`);
    this.status = status;
  }
}

export const key = {
  /** @returns {boolean} */
  isSet: () => sessionStorage.getItem(KEY) !== null,
  /** @param {string} value */
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/** @returns {Promise<{products: number, examples: string[], most_candidates: number}>} */
export const shop = async () => (await get("/playground/shop")).json();

/** @returns {Promise<Model[]>} */
export const models = async () => (await (await get("/v1/models")).json()).models;

/**
 * Candidates of a query, best first, found by shared words.
 * @param {string} query @param {number} count @param {AbortSignal} signal
 * @returns {Promise<Product[]>}
 */
export async function candidates(query, count, signal) {
  const asked = new URLSearchParams({ query, count: String(count) });
  return (await (await get(`/playground/candidates?${asked}`, signal)).json()).products;
}

/**
 * Scores aligned with the ids; null = not scored.
 * @param {string} query @param {string[]} ids @param {string} model @param {AbortSignal} signal
 * @returns {Promise<{scores: (number | null)[], timing: Timing}>}
 */
export async function score(query, ids, model, signal) {
  const { answer, timing } = await timed("/score", { query, product_ids: ids, model }, signal);
  return { scores: answer.scores, timing };
}

/**
 * The ids that `/filter` keeps and removes, in answer order.
 * @param {object} body @param {string} model @param {AbortSignal} signal
 * @returns {Promise<{kept: string[], removed: string[], passedThrough: boolean, timing: Timing}>}
 */
export async function filter(body, model, signal) {
  const { answer, timing } = await timed("/filter", { ...body, model }, signal);
  const { kept, removed, passed_through: passedThrough } = answer;
  return { kept, removed, passedThrough, timing };
}

/**
 * Why a product has its score.
 * @param {string} query @param {Product} product @param {string} model
 * @returns {Promise<Explanation>}
 */
export async function explain(query, product, model) {
  const { product_id, title } = product;
  const body = { query, product_id, title, model, deadline_ms: EXPLAIN_WITHIN_MS };
  return (await post("/explain", body)).json();
}

/** @param {string} endpoint @param {{model: string, [field: string]: unknown}} body @param {AbortSignal} signal */
async function timed(endpoint, body, signal) {
  const began = performance.now();
  const response = await post(endpoint, body, signal);
  const answer = await response.json();
  const roundTripMs = performance.now() - began;
  const stages = stagesOf(response.headers.get("Server-Timing") ?? "");
  return { answer, timing: { endpoint, model: body.model, stages, roundTripMs } };
}

/**
 * The stages of a `Server-Timing` header: `decode;dur=0.1, wait;dur=0.2`.
 * @param {string} header @returns {Stage[]}
 */
export function stagesOf(header) {
  return header
    .split(",")
    .map((part) => part.trim().split(";dur="))
    .filter(([stage, ms]) => stage && ms)
    .map(([stage, ms]) => ({ stage, ms: Number(ms) }));
}

/** @param {string} path @param {AbortSignal} [signal] */
const get = (path, signal) => ask(path, { signal });

/** @param {string} path @param {object} body @param {AbortSignal} [signal] */
const post = (path, body, signal) =>
  ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });

/** @param {string} path @param {RequestInit} options */
async function ask(path, options) {
  const headers = new Headers(options.headers);
  const held = sessionStorage.getItem(KEY);
  if (held !== null) headers.set("Authorization", `Bearer ${held}`);
  const response = await fetch(path, { ...options, headers });
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  throw new Refused(response.status, problem);
}
