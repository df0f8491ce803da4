/**
 * What the page shows, in the fragment of its address: it can be kept and sent to somebody, and is
 * never sent to the server.
 */

/** @returns {URLSearchParams} */
export const readAddress = () => new URLSearchParams(location.hash.slice(1));

/** @param {Record<string, string>} shown empty values are left out */
export function writeAddress(shown) {
  const given = Object.entries(shown).filter(([, value]) => value !== "");
  history.replaceState(null, "", `#${new URLSearchParams(given)}`);
}
