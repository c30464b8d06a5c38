// Search, filter and sort of the claims. Without scripts the page shows them all, in the order of the papers.
"use strict";
const form = document.getElementById("instrument");
const index = document.querySelector("#claims-index tbody");
const rows = [...index.rows];
const headers = [...document.querySelectorAll("#claims-index button[data-sort]")];
const sections = [...document.querySelectorAll("section.paper")];

function kept(row) {
  const asked = new FormData(form);
  const words = asked.get("words").toLowerCase().split(/\s+/).filter(Boolean);
  const share = row.dataset.agreement;
  const agreement = { "": true, full: share === "1", below: share !== "" && share !== "1", none: share === "" };
  return asked.getAll("verdict").includes(row.dataset.verdict)
    && (!asked.get("paper") || asked.get("paper") === row.dataset.paper)
    && (!asked.get("setting") || asked.get("setting") === row.dataset.setting)
    && agreement[asked.get("agreement")]
    && words.every(word => row.dataset.text.includes(word));
}

function show() {
  let shown = 0;
  for (const row of rows) {
    row.hidden = !kept(row);
    shown += !row.hidden;
    document.getElementById(row.dataset.target).hidden = row.hidden;
  }
  for (const section of sections)
    section.hidden = ![...section.querySelectorAll(".scoreboard tbody tr")].some(row => !row.hidden);
  form.elements.found.value = `${shown} of ${rows.length} claims`;
}

function sort(button) {
  const header = button.closest("th");
  const down = header.getAttribute("aria-sort") === "ascending";
  for (const other of headers) other.closest("th").removeAttribute("aria-sort");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = row => row.dataset[button.dataset.sort];
  const numbers = button.dataset.sort === "order" || button.dataset.sort === "agreement";
  const compare = numbers
    ? (a, b) => (key(a) === "") - (key(b) === "") || key(a) - key(b)  // what is not known comes last
    : (a, b) => key(a).localeCompare(key(b));
  const sorted = [...rows].sort((a, b) => (down ? -1 : 1) * compare(a, b) || rows.indexOf(a) - rows.indexOf(b));
  index.append(...sorted);
}

form.addEventListener("input", show);
form.addEventListener("reset", () => setTimeout(show));
form.addEventListener("submit", event => event.preventDefault());
for (const button of headers) button.addEventListener("click", () => sort(button));
document.documentElement.classList.add("scripted");
form.hidden = false;
show();
