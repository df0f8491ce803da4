/** Light, dark, or as the system has it; theme.js puts it in force before the page is painted. */

const NEXT = { auto: "light", light: "dark", dark: "auto" };

/** @param {HTMLButtonElement} button */
export function showTheme(button) {
  const root = document.documentElement;
  const name = () => `Theme: ${root.dataset.theme ?? "auto"}`;
  button.textContent = name();
  button.addEventListener("click", () => {
    const next = NEXT[/** @type {keyof typeof NEXT} */ (root.dataset.theme ?? "auto")];
    if (next === "auto") {
      delete root.dataset.theme;
      localStorage.removeItem("winnow-theme");
    } else {
      root.dataset.theme = next;
      localStorage.setItem("winnow-theme", next);
    }
    button.textContent = name();
  });
}
