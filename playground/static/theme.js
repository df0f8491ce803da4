/* Runs before the page is painted, so that a chosen theme does not flash the other one. */
(() => {
  const stored = localStorage.getItem("winnow-theme");
  if (stored === "light" || stored === "dark") document.documentElement.dataset.theme = stored;
})();
