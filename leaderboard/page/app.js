/* The page: what is chosen, and what happens when something else is. */

const { protocols } = JSON.parse(byId("data").textContent);
const view = { protocol: 0, family: "all", track: "all", shots: 0, text: "", sort: "rank", direction: 1, page: 0, open: new Set(), charted: new Map() };
const current = () => protocols[view.protocol];

for (const { rows } of protocols) {
  rows.forEach((row, id) => {
    row.id = id;
    row.haystack = `${row.agent} ${row.track} ${row.tier}${row.complete ? "" : " incomplete"}`.toLowerCase();
  });
}

function chooseProtocol(index) {
  const protocol = protocols[index];
  Object.assign(view, { protocol: index, family: "all", track: "all", shots: protocol.shots.indexOf(protocol.headline), page: 0 });
  view.open.clear();
  const scored = protocol.rows.filter((row) => row.unranked !== "reference" && row.scores.all[view.shots]); // rows come best first
  view.charted = new Map(scored.slice(0, 6).map((row, slot) => [row, slot]));
}

/* The address carries what is chosen, so that a link shows the same; words that mean nothing here are passed over. */
function readAddress() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const index = protocols.findIndex(({ hash }) => hash.startsWith(wanted.get("protocol") ?? "?"));
  chooseProtocol(Math.max(0, index));
  const protocol = current(), shots = protocol.shots.findIndex((k) => String(k) === wanted.get("shots"));
  if (protocol.families.includes(wanted.get("family"))) view.family = wanted.get("family");
  if (protocol.tracks.includes(wanted.get("track"))) view.track = wanted.get("track");
  if (shots >= 0) view.shots = shots;
  view.text = wanted.get("filter") ?? "";
}

function writeAddress() {
  const protocol = current(), chosen = new URLSearchParams({ protocol: protocol.hash.slice(0, 12), shots: protocol.shots[view.shots] });
  if (view.family !== "all") chosen.set("family", view.family);
  if (view.track !== "all") chosen.set("track", view.track);
  if (view.text) chosen.set("filter", view.text);
  history.replaceState(null, "", `#${chosen}`);
}

const actions = {
  sort(column) {
    view.direction = view.sort === column.key ? -view.direction : column.first;
    Object.assign(view, { sort: column.key, page: 0 });
    drawBoard();
    document.querySelector(`thead [data-key="${CSS.escape(column.key)}"]`).focus();
  },
  open(row) {
    view.open[view.open.has(row) ? "delete" : "add"](row);
    drawBoard();
    document.querySelector(`[data-row="${row.id}"]`).focus();
  },
  chart(row) {
    const used = new Set(view.charted.values()), free = Array.from({ length: SERIES }, (_, slot) => slot).find((slot) => !used.has(slot));
    if (view.charted.has(row)) view.charted.delete(row);
    else if (free === undefined) byId("notice").textContent = `The figures show ${SERIES} agents at most: take one out first.`;
    else view.charted.set(row, free);
    drawBoard();
    drawFigures();
    document.querySelector(`[data-tick="${row.id}"]`)?.focus();
  },
};

function drawBoard() {
  const protocol = current(), { count, first, last, pages } = drawTable(protocol, view, actions);
  const where = view.family === "all" ? "all families" : view.family;
  byId("caption").textContent = `${protocol.name}, ${where}, ${protocol.shots[view.shots]} shots`;
  byId("position").textContent = count ? `${grouped(first + 1)}–${grouped(last)} of ${grouped(count)}` : "no rows";
  byId("previous").disabled = view.page === 0;
  byId("next").disabled = view.page >= pages - 1;
  byId("previous").hidden = byId("next").hidden = pages === 1;
  byId("board").hidden = count === 0;
  byId("empty").hidden = count > 0;
  byId("empty").textContent = protocol.rows.length ? `No row${view.track === "all" ? "" : ` of the track ${view.track}`} matches “${view.text}”.` : "No results yet. Be the first: wbench submit FILE";
  fit();
  writeAddress();
}

/* Whether the table needs to scroll sideways depends on its content, so no media query can know. */
function fit() {
  const board = byId("board");
  board.classList.remove("fits");
  board.classList.toggle("fits", board.scrollWidth <= board.clientWidth);
}

function drawFigures() {
  const protocol = current(), chosen = chartedRows(view);
  const hint = "The agents ticked in the table, eight at most.";
  byId("legend-hint").textContent = chosen.length ? hint : "Tick agents in the table to see them here.";
  byId("legend").replaceChildren(...chosen.map(({ row, slot, name }) => html("li", { onpointerenter: () => focusOn(slot), onpointerleave: () => focusOn(null), onfocusin: () => focusOn(slot), onfocusout: () => focusOn(null) },
    swatch(slot), html("span", { title: name }, name), html("button", { type: "button", "aria-label": `Take ${name} out of the figures`, onclick: () => actions.chart(row) }, "×"))));
  const makers = chosen.length ? [shotsFigure, gainFigure, spreadFigure, samplesFigure, profileFigure, paretoFigure, heatFigure] : [];
  byId("figures").replaceChildren(...makers.map((maker) => maker(protocol, view)).map(frame));
  paintAll();
}

/* A figure's frame; the drawing comes once its width is known, and again when that changes. */
function frame(figure) {
  const parts = figure.parts ?? [null];
  const plots = parts.map((part) => {
    const place = html("div", { class: "plot" });
    place.paint = (width) => place.replaceChildren(figure.draw(width, part));
    return part === null ? place : html("div", {}, html("h4", {}, part), place);
  });
  return html("figure", { class: figure.wide ? "wide" : null },
    html("figcaption", {}, html("h3", {}, figure.title), html("p", {}, figure.about)),
    figure.parts ? html("div", { class: "plots" }, plots) : plots,
    figure.note ? html("p", { class: "note" }, figure.note) : null,
    figure.data ? html("details", {}, html("summary", {}, "Numbers"), figure.data()) : null);
}

function paintAll() {
  for (const place of document.querySelectorAll(".plot")) place.paint(Math.max(240, Math.round(place.clientWidth)));
}

function focusOn(slot) {
  byId("figures").classList.toggle("focus", slot !== null);
  for (const group of document.querySelectorAll("#figures .series")) group.classList.toggle("chosen", group.dataset.slot === String(slot));
}

function drawControls() {
  const protocol = current();
  const radio = (name, value, text, checked, choose) => html("label", {}, html("input", { type: "radio", name, value, checked, onchange: choose }), html("span", {}, text));
  const set = (change) => () => { Object.assign(view, change, { page: 0 }); drawBoard(); drawFigures(); };
  byId("protocol").replaceChildren(...protocols.map(({ name, hash, rows }, index) =>
    html("option", { value: index, selected: index === view.protocol }, `${name} · ${hash.slice(0, 8)} · ${counted(rows.length, "row")}`)));
  byId("families").replaceChildren(...["all", ...protocol.families].map((family) => radio("family", family, family, family === view.family, set({ family }))));
  byId("tracks").replaceChildren(...["all", ...protocol.tracks].map((track) => radio("track", track, track, track === view.track, set({ track }))));
  byId("track-choice").hidden = protocol.tracks.length < 2;
  byId("shots").replaceChildren(...protocol.shots.map((k, index) => radio("shots", k, k, index === view.shots, set({ shots: index }))));
  byId("filter").value = view.text;
  byId("facts").replaceChildren(`${protocol.version} ${protocol.name}: ${counted(protocol.variants.length, "variant")}, ${counted(protocol.sites.length, "site")}, ${counted(protocol.episodes, "query episode")} a cell. Hash `, html("code", {}, protocol.hash.slice(0, 16)), protocol.ranked ? "." : ". None of its rows is ranked.");
}

function drawAll() {
  drawControls();
  drawBoard();
  drawFigures();
}

function themeButton() {
  const root = document.documentElement, button = byId("theme"), system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const label = () => {
    button.textContent = dark() ? "Light" : "Dark";
    button.setAttribute("aria-label", dark() ? "Light colours" : "Dark colours");
  };
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; label(); });
  system.addEventListener("change", label);
  label();
}

function start() {
  themeButton();
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  if (!protocols.length) {
    for (const id of ["controls", "board", "pager", "figures-section"]) byId(id).hidden = true;
    Object.assign(byId("empty"), { hidden: false, textContent: "No results yet. Be the first: wbench submit FILE" });
    return;
  }
  readAddress();
  byId("protocol").addEventListener("change", (event) => { chooseProtocol(Number(event.target.value)); drawAll(); });
  byId("filter").addEventListener("input", (event) => { Object.assign(view, { text: event.target.value, page: 0 }); drawBoard(); });
  for (const [id, step] of [["previous", -1], ["next", 1]]) {
    byId(id).addEventListener("click", () => { view.page += step; drawBoard(); byId("board").scrollIntoView(); });
  }
  drawAll();
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; requestAnimationFrame(() => { fit(); paintAll(); }); } });
}

start();
