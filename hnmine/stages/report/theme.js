"use strict";
// Light or dark, as the system has it or as was chosen, before anything is seen; what a page keeps for the next visit.
const kept = {
  get(key) { try { return localStorage.getItem(key); } catch { return null; } },
  set(key, value) { try { localStorage.setItem(key, value); } catch { /* a page of a file may have no storage */ } },
};
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const paint = () => { root.dataset.theme = kept.get("hnmine-theme") || (dark.matches ? "dark" : "light"); };
  paint();
  dark.addEventListener("change", paint);
  document.addEventListener("DOMContentLoaded", () => document.getElementById("theme").addEventListener("click", () => {
    const next = root.dataset.theme === "dark" ? "light" : "dark";
    kept.set("hnmine-theme", next);
    root.dataset.theme = next;
  }));
})();
