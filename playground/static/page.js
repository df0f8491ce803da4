/** Wires the page: what is chosen, what is asked of the service for it, and what is shown. */

import { readAddress, writeAddress } from "./address.js";
import * as api from "./api.js";
import { gradesOf, pageOrder, quality, sorting } from "./decisions.js";
import { byId, choose, element, fill, three } from "./dom.js";
import { openDetails } from "./explanation.js";
import { Results } from "./results.js";
import { Student } from "./student.js";
import { showTheme } from "./theme-button.js";
import { showTimings } from "./timings.js";

const EXAMPLES_SHOWN = 6;
const CONFIRM_AFTER_MS = 250; // since the last move of a slider

/** @type {{query: string, models: api.Model[], products: api.Product[], students: Student[]}} */
const state = { query: "", models: [], products: [], students: [] };
const results = new Results(show);
let asking = new AbortController();
let confirming = 0;

const chosenSorting = () => sorting(byId("sort").value, state.products);
const relevantFrom = () => Number(byId("relevant-from").value || Infinity);

/** What the service says of itself and of the shop, and the first page. */
async function start() {
  const address = readAddress();
  const [shop, models] = [await api.shop(), await api.models()];
  state.models = models;
  byId("forget-key").hidden = !api.key.isSet();
  showExamples(shop.examples);
  byId("note").textContent =
    `Candidates are found among ${shop.products.toLocaleString()} products by shared words (BM25), ` +
    "in place of the shop's search engine. Scores and pages come from /score and /filter.";
  for (const option of byId("count").options) option.disabled = Number(option.value) > shop.most_candidates;
  for (const name of ["sort", "count"]) choose(byId(name), address.get(name));
  const first = models.find((model) => model.default) ?? models[0];
  showModels(address.get("student") ?? first.name, address.get("other") ?? "");
  const students = chosenStudents();
  const threshold = Number(address.get("threshold") ?? NaN);
  if (threshold >= 0 && threshold <= 1) students[0].threshold = threshold;
  const query = address.get("query") ?? shop.examples[0] ?? "";
  byId("query").value = query;
  await search(students);
}

/** @param {string[]} examples */
function showExamples(examples) {
  const chips = examples.slice(0, EXAMPLES_SHOWN).map((query) => {
    const chip = element("button", { class: "chip", text: query, attributes: { type: "button" } });
    chip.addEventListener("click", () => {
      byId("query").value = query;
      guarded(search);
    });
    return chip;
  });
  byId("examples").replaceChildren(...chips);
  byId("all-examples").replaceChildren(...examples.map((query) => new Option(query)));
}

/** @param {string} student @param {string} other */
function showModels(student, other) {
  const options = state.models.map(({ name, ready, reason }) => ({
    value: name,
    text: ready ? name : `${name} (not ready: ${reason})`,
    disabled: !ready,
  }));
  fill(byId("student"), options, student);
  const others = options.filter(({ value }) => value !== student);
  fill(byId("other"), [{ value: "", text: "nobody" }, ...others], other === student ? "" : other);
  byId("other").closest("label").hidden = options.length < 2;
}

/** Those on the page already keep their thresholds. @returns {Student[]} */
function chosenStudents() {
  const chosen = [byId("student").value, byId("other").value].filter(Boolean);
  return chosen.map((name, index) => {
    const model = state.models.find((held) => held.name === name);
    if (model === undefined) throw new Error(`No student called ${name} is served`);
    const seated = state.students[index];
    if (seated?.model === model) return seated;
    return new Student(model, index ? "B" : "A", chosenSorting().mode, () => requestAnimationFrame(show));
  });
}

/** They are the page's from now on: with their scores, so that nothing shown is without.
 * @param {Student[]} students */
function seat(students) {
  const same = students.length === state.students.length && students.every((each, at) => each === state.students[at]);
  state.students = students;
  if (!same) byId("students").replaceChildren(...students.map(({ panel }) => panel));
}

/** Candidates of what stands in the box, scored by each student. */
async function search(students = chosenStudents()) {
  const query = byId("query").value.trim();
  if (!query) {
    if (!state.query) seat(students);
    return;
  }
  const signal = askAnew();
  const products = await api.candidates(query, Number(byId("count").value), signal);
  const scored = await scores(query, products, students, signal);
  Object.assign(state, { query, products });
  results.load(products, (card) => guarded(() => openDetails(state.query, card, state.students)));
  accept(students, scored);
  for (const { value, has } of [
    { value: "price", has: products.some(({ price }) => price !== null) },
    { value: "price-desc", has: products.some(({ price }) => price !== null) },
    { value: "sale", has: products.some(({ sales }) => sales !== null) },
  ]) byId("sort").querySelector(`[value="${value}"]`).disabled = products.length > 0 && !has;
  showGrades();
  show();
}

/** Other students, the same candidates. */
async function scoreAgain() {
  if (!state.query) return search();
  const students = chosenStudents();
  accept(students, await scores(state.query, state.products, students, askAnew()));
  show();
}

/** What was asked for before is wanted no more. */
function askAnew() {
  asking.abort();
  asking = new AbortController();
  byId("results").setAttribute("aria-busy", "true");
  return asking.signal;
}

/** One after the other, so that none waits for another and the stages say so.
 * @param {string} query @param {api.Product[]} products @param {Student[]} students @param {AbortSignal} signal */
async function scores(query, products, students, signal) {
  const ids = products.map(({ product_id: id }) => id);
  const answers = [];
  for (const { model } of students) answers.push(await api.score(query, ids, model.name, signal));
  return answers;
}

/** @param {Student[]} students @param {Awaited<ReturnType<typeof scores>>} answers */
function accept(students, answers) {
  const { mode } = chosenSorting(); // which may have changed meanwhile
  answers.forEach((answer, index) => Object.assign(students[index], answer).sortedBy(mode));
  seat(students);
  results.score(students);
}

function showGrades() {
  const { grades, from } = gradesOf(state.products);
  byId("relevant-choice").hidden = grades.length < 2;
  const options = grades.slice(1).map((grade) => ({ value: String(grade), text: String(grade) }));
  fill(byId("relevant-from"), options, String(from));
}

function show() {
  if (!state.students.length) return; // nobody has scored anything yet
  const from = relevantFrom();
  for (const student of state.students) {
    student.show(quality(state.products, (position) => student.keeps(position), from));
  }
  results.show(state.students, pageOrder(state.products.length, chosenSorting()), from);
  byId("results").setAttribute("aria-busy", "false");
  showTimings(byId("timings"), state.students.flatMap(({ timing }) => (timing ? [timing] : [])));
  problem(state.products.length || !state.query ? "" : `No product shares a word with “${state.query}”.`);
  remember();
  for (const student of state.students) student.toBeConfirmed();
  clearTimeout(confirming);
  confirming = window.setTimeout(() => guarded(confirm), CONFIRM_AFTER_MS);
}

function remember() {
  const [first, other] = state.students;
  writeAddress({
    query: state.query,
    sort: byId("sort").value,
    student: first.model.name,
    other: other?.model.name ?? "",
    count: byId("count").value,
    threshold: first.threshold === first.own ? "" : String(first.threshold),
  });
}

/** Asks `/filter` for the same pages, and says whether it keeps the same products. */
async function confirm() {
  const { signal } = asking;
  const turn = confirming;
  const { products, query, students } = state;
  const { mode, values, order } = chosenSorting();
  const asked = { query, product_ids: products.map(({ product_id: id }) => id), sort: mode };
  const sorted = values === null ? {} : { sort_values: values, order };
  const page = pageOrder(products.length, { mode, values, order });
  const timings = [];
  for (const student of students) {
    const { threshold } = student;
    const mine = page.filter((position) => student.keeps(position)).map((at) => products[at].product_id);
    const answer = await api.filter({ ...asked, ...sorted, threshold }, student.model.name, signal);
    if (turn !== confirming || threshold !== student.threshold) return; // moved on meanwhile
    timings.push(...(student.timing ? [student.timing] : []), answer.timing);
    const same = JSON.stringify(mine) === JSON.stringify(answer.kept);
    if (answer.passedThrough) student.confirm("/filter could not score in time: nothing removed", "other");
    else if (same) student.confirm(`/filter keeps the same ${mine.length} products`, "same");
    else student.confirm(`/filter keeps ${answer.kept.length} products, and others than shown`, "other");
  }
  showTimings(byId("timings"), timings);
  speak();
}

/** Once a slider rests: what is read out. */
function speak() {
  const kept = state.students.map(
    ({ model, kept: count, threshold }) => `${model.name} keeps ${count} at threshold ${three(threshold)}`,
  );
  byId("spoken").textContent = `${state.products.length} products: ${kept.join("; ")}`;
}

/** @param {string} text empty = none */
function problem(text) {
  byId("problem").hidden = text === "";
  byId("problem").textContent = text;
}

/** Runs what asks the service; what goes wrong is said on the page. @param {() => Promise<void>} work */
async function guarded(work) {
  try {
    await work();
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") return;
    byId("results").setAttribute("aria-busy", "false");
    if (error instanceof api.Refused && error.status === 401) {
      askForKey(error.message);
      return;
    }
    problem(error instanceof Error ? error.message : String(error));
  }
}

/** @param {string} why */
function askForKey(why) {
  const wasGiven = api.key.isSet();
  api.key.forget();
  byId("forget-key").hidden = true;
  byId("key").hidden = false;
  problem(wasGiven ? why : "");
  byId("key-value").focus();
}

byId("key").addEventListener("submit", (/** @type {Event} */ event) => {
  event.preventDefault();
  api.key.set(byId("key-value").value.trim());
  byId("key-value").value = "";
  byId("key").hidden = true;
  problem("");
  guarded(start);
});
byId("forget-key").addEventListener("click", () => {
  api.key.forget();
  location.reload();
});
byId("search").addEventListener("submit", (/** @type {Event} */ event) => {
  event.preventDefault();
  guarded(search);
});
byId("count").addEventListener("change", () => guarded(search));
byId("sort").addEventListener("change", () => {
  for (const student of state.students) student.sortedBy(chosenSorting().mode);
  show();
});
for (const id of ["student", "other"]) {
  byId(id).addEventListener("change", () => {
    showModels(byId("student").value, byId("other").value);
    guarded(scoreAgain);
  });
}
byId("relevant-from").addEventListener("change", show);
byId("skip").addEventListener("click", (/** @type {Event} */ event) => {
  event.preventDefault(); // the fragment is the page's own
  byId("results").focus();
});
window.addEventListener("hashchange", () => guarded(start));
document.addEventListener("keydown", (event) => {
  const typing = event.target instanceof Element && event.target.matches("input, select, textarea");
  if (event.key === "/" && !typing && !byId("details").open) {
    event.preventDefault();
    byId("query").select();
  }
});
showTheme(byId("theme"));
guarded(start);
