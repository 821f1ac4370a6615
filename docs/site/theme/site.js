/* The menu on small screens, and the search: over SECTIONS of search-index.js, so it works from a folder as well. */
"use strict";
const menu = document.getElementById("menu"), nav = document.getElementById("nav");
menu.addEventListener("click", () => menu.setAttribute("aria-expanded", nav.classList.toggle("open")));
nav.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });

const query = document.getElementById("query"), found = document.getElementById("found");
const escaped = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

/* Sections with all the words; those of titles first. */
function search(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return null;
  const hits = [];
  for (const [page, title, place, body] of SECTIONS) {
    const head = `${page} ${title}`.toLowerCase(), low = body.toLowerCase();
    if (!words.every((word) => head.includes(word) || low.includes(word))) continue;
    const score = words.reduce((sum, word) => sum + (title.toLowerCase() === word ? 9 : 0) + (head.includes(word) ? 5 : 0) + Math.min(low.split(word).length - 1, 4), 0);
    hits.push({ page, title, place, body, score, at: Math.max(low.indexOf(words[0]), 0) });
  }
  return hits.sort((a, b) => b.score - a.score).slice(0, 12);
}

function show() {
  const hits = search(query.value);
  found.hidden = !hits;
  if (!hits) return;
  found.innerHTML = hits.length ? hits.map((h) => `<li><a href="${BASE}${h.place}">${escaped(h.title === h.page ? h.page : `${h.page}: ${h.title}`)}<small>${escaped(h.body.slice(Math.max(h.at - 30, 0), h.at + 110))}</small></a></li>`).join("") : "<p>Nothing has all these words.</p>";
}

query.addEventListener("input", show);
query.addEventListener("focus", show);
document.addEventListener("keydown", (event) => {
  const links = [...found.querySelectorAll("a")], at = links.indexOf(document.activeElement);
  if (event.key === "/" && document.activeElement !== query) { event.preventDefault(); query.focus(); }
  else if (event.key === "Escape") { found.hidden = true; query.blur(); }
  else if (event.key === "Enter" && document.activeElement === query && links[0]) location.href = links[0].href;
  else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && !found.hidden && links.length) {
    event.preventDefault();
    (links[at + (event.key === "ArrowDown" ? 1 : -1)] ?? query).focus();
  }
});
document.addEventListener("click", (event) => { if (!event.target.closest(".search")) found.hidden = true; });
