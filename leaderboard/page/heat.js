/* The heat map is a real table: it can be read aloud, copied and searched, and needs no second form. */

function heatFigure(protocol, view) {
  const cell = (score) => html("td", { class: score == null ? "heat-none" : `heat-${level(score)}` }, fixed(score));
  const kept = protocol.variants.map((name, i) => [name, i]).filter(([name]) => view.family === "all" || name.startsWith(`${view.family}/`));
  const shown = chartedRows(view).flatMap(({ row }) => kept.map(([, i]) => row.variants[i][view.shots])).filter((score) => score != null);
  const low = Math.min(...shown), high = Math.max(...shown), level = (score) => Math.min(8, Math.floor((9 * (score - low)) / (high - low || 1)));
  return {
    title: "Score by variant", wide: true, about: `Interquartile means over sites at ${protocol.shots[view.shots]} shots; shaded from the lowest score shown to the highest.`,
    draw: () => html("div", { class: "overflow", tabindex: 0, role: "region", "aria-label": "Score by variant" },
      html("table", { class: "heat" },
        html("thead", {}, html("tr", {}, html("th", { scope: "col" }, "agent"), kept.map(([name]) => html("th", { scope: "col" }, name.replace("/", "/\u200b"))))),
        html("tbody", {}, chartedRows(view).map(({ row, name }) => html("tr", {}, html("th", { scope: "row" }, name), kept.map(([, i]) => cell(row.variants[i][view.shots]))))))),
  };
}
