/** Where the time of the last requests went, as their `Server-Timing` says. */

import { element } from "./dom.js";

/** @param {HTMLElement} section @param {import("./api.js").Timing[]} timings */
export function showTimings(section, timings) {
  section.hidden = timings.length === 0;
  const list = /** @type {HTMLElement} */ (section.querySelector("ul"));
  list.replaceChildren(...timings.map(request));
}

/** @param {import("./api.js").Timing} timing */
function request({ endpoint, model, stages, roundTripMs }) {
  const total = stages.reduce((sum, { ms }) => sum + ms, 0);
  const bar = element("div", { class: "stages", attributes: { "aria-hidden": "true" } });
  for (const { ms } of stages) {
    const part = element("span");
    part.style.flexGrow = String(ms);
    bar.append(part);
  }
  const spelt = stages.map(({ stage, ms }) => `${stage} ${ms.toFixed(2)}`).join(" · ");
  return element(
    "li",
    {},
    element("p", { class: "endpoint" },
      element("span", { text: `POST ${endpoint} ` }, element("small", { text: model })),
      element("strong", { text: `${total.toFixed(2)} ms` })),
    bar,
    element("p", { class: "spelt", text: `${spelt}; ${roundTripMs.toFixed(1)} to and from the browser` }),
  );
}
