/* The table: what its columns are, how rows are sorted, filtered and cut into pages. */

const PAGE = 100;
const TIERS = ["reported", "arithmetic", "rerun"];
const TIER_NAMES = { reported: "does not hold", arithmetic: "arithmetic checked", rerun: "rerun" };
const TIER_MARKS = ["", "M6 1a5 5 0 0 0 0 10Z", "M6 1a5 5 0 0 0 0 10a5 5 0 0 0 0-10Z"];

/* A column: `value` is what it is sorted by (null goes last, whichever way), `cell` what it shows. `first` is the direction of a
   first click: 1 for what is best when small. */
function columns(protocol, view) {
  const score = (row, scope) => row.scores[scope]?.[view.shots] ?? null;
  const cost = (key, title, unit = "") => ({ key, title, first: 1, value: (row) => row[key], cell: (row) => costCell(row[key], unit) });
  return [
    { key: "rank", title: "Rank", first: 1, value: (row) => rank(row, view)?.[0], cell: (row) => rankText(rank(row, view)) },
    { key: "agent", title: "Agent", first: 1, value: (row) => row.agent.toLowerCase(), cell: null },
    { key: "score", title: "IQM", first: -1, value: (row) => score(row, view.family)?.[0], cell: (row) => scoreCell(score(row, view.family), protocol.domain) },
    { key: "gain", title: `Gain at ${protocol.shots[view.shots]}`, first: -1, value: (row) => gain(row, view)?.[0], cell: (row) => gainCell(gain(row, view)) },
    ...protocol.families.map((family) => ({
      key: `in ${family}`, title: family, first: -1, scope: family === view.family,
      value: (row) => score(row, family)?.[0], cell: (row) => fixed(score(row, family)?.[0]),
    })),
    ...protocol.controls.map((logs) => ({
      key: `${logs} logs`, title: `${logs[0].toUpperCase()}${logs.slice(1)} logs`, first: -1,
      value: (row) => control(row, logs, view)?.[0], cell: (row) => controlCell(control(row, logs, view)),
    })),
    { key: "tier", title: "Check", first: -1, value: (row) => TIERS.indexOf(row.tier), cell: (row) => tierCell(row.tier) },
    cost("trainings", "Trainings"),
    cost("parameters", "Params"),
    cost("latency", "Latency", "ms"),
    cost("environment_steps", "Env steps"),
    cost("bits", "Bits a slot"),
    { key: "privileged", title: "Privileged training", first: -1, value: (row) => Number(row.privileged_training),
      cell: (row) => (row.privileged_training ? html("span", { class: "flag" }, "yes") : html("span", { class: "none" }, "no")) },
  ];
}

const rank = (row, view) => row.ranks[view.family]?.[view.shots] ?? null;
const gain = (row, view) => row.gains[view.family]?.[view.shots] ?? null;
const control = (row, logs, view) => row.controls?.[logs]?.scores[view.family]?.[view.shots] ?? null;
const rankText = (places) => (places ? (places[0] === places[1] ? String(places[0]) : `${places[0]}–${places[1]}`) : NONE);

/* Nothing consumed is said quietly. */
function costCell(value, unit) {
  return html("span", { class: value ? null : "none" }, value && unit ? `${short(value)}${THIN}${unit}` : short(value));
}

function scoreCell(score, [low, high]) {
  if (!score) return html("span", { class: "none" }, NONE);
  const place = (value) => (120 * (Math.min(Math.max(value, low), high) - low)) / (high - low);
  const [iqm, from, to] = score, zero = place(0), point = place(iqm), told = ends(score);
  return html("span", { class: "score", title: told },
    svg("svg", { class: "bar", viewBox: "0 0 120 20", "aria-hidden": "true" },
      svg("rect", { class: "fill", x: Math.min(zero, point), y: 5, width: Math.abs(point - zero), height: 10, rx: 1.5 }),
      svg("line", { class: "zero", x1: zero, x2: zero, y1: 2, y2: 18 }),
      from == null ? null : svg("path", { class: "whisker", fill: "none", d: `M${place(from)} 10H${place(to)}M${place(from)} 6v8M${place(to)} 6v8` })),
    html("b", {}, fixed(iqm)),
    html("span", { class: "unseen" }, `, ${told}`));
}

const ends = ([, from, to]) => (from == null ? "no interval: fewer than three sites" : `95 % interval ${fixed(from)} to ${fixed(to)}`);

/* The score with logs of another site, or of random play. */
function controlCell(score) {
  return score ? html("span", { title: ends(score) }, fixed(score[0]), html("span", { class: "unseen" }, `, ${ends(score)}`)) : html("span", { class: "none" }, NONE);
}

/* What the shots added to the same agent's scores without any. */
function gainCell(gain) {
  if (!gain) return html("span", { class: "none" }, NONE);
  const told = ends(gain);
  return html("span", { title: told }, signed(gain[0]), html("span", { class: "unseen" }, `, ${told}`));
}

function tierCell(tier) {
  const level = TIERS.indexOf(tier);
  return html("span", { class: `tier tier-${tier}` },
    svg("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, svg("circle", { cx: 6, cy: 6, r: 5 }), svg("path", { class: "full", d: TIER_MARKS[level] })), TIER_NAMES[tier]);
}

/* Rows that hold every word of the filter, in the order of the chosen column; ties stay in the order of score. */
function arrange(protocol, view) {
  const words = view.text.toLowerCase().split(/\s+/).filter(Boolean);
  const column = columns(protocol, view).find((each) => each.key === view.sort) ?? columns(protocol, view)[0];
  const found = protocol.rows.filter((row) => (view.track === "all" || row.track === view.track) && words.every((word) => row.haystack.includes(word)));
  const keyed = found.map((row) => [column.value(row), row.scores[view.family]?.[view.shots]?.[0] ?? null, row]);
  const last = (a, b) => (a == null) - (b == null);
  const compare = (a, b) => (typeof a === "string" ? (a < b ? -1 : a > b ? 1 : 0) : a - b);
  keyed.sort(([a, s], [b, t]) => last(a, b) || (a == null ? 0 : view.direction * compare(a, b)) || last(s, t) || t - s);
  const rows = keyed.map(([, , row]) => row);
  return { ranked: rows.filter((row) => rank(row, view)), unranked: rows.filter((row) => !rank(row, view)) };
}

function headRow(protocol, view, onSort) {
  return html("tr", {}, columns(protocol, view).map((column) => {
    const sorted = column.key === view.sort ? (view.direction > 0 ? "ascending" : "descending") : false;
    const title = column.scope ? html("span", { class: "scope" }, column.title) : column.title;
    return html("th", { scope: "col", class: `col-${column.key.split(" ")[0]}`, "aria-sort": sorted },
      html("button", { type: "button", "data-key": column.key, onclick: () => onSort(column) }, title));
  }));
}

function agentCell(row, view, actions) {
  const slot = view.charted.get(row);
  const mark = slot === undefined
    ? svg("svg", { viewBox: "-10 -10 20 20", "aria-hidden": "true" }, svg("circle", { class: "off", r: 3.6 }))
    : svg("svg", { viewBox: "-10 -10 20 20", class: `series-${slot}`, "aria-hidden": "true" }, marker(slot, 0, 0));
  return html("th", { scope: "row", class: "col-agent" }, html("div", { class: "name" },
    html("label", { class: "tick" },
      html("input", { type: "checkbox", checked: slot !== undefined, "aria-label": `${row.agent} in the figures`, "data-tick": row.id, onchange: () => actions.chart(row) }), mark),
    html("button", { type: "button", "aria-expanded": String(view.open.has(row)), "aria-controls": `details-${row.id}`, "data-row": row.id, title: row.agent, onclick: () => actions.open(row) }, row.agent),
    row.unranked ? html("span", { class: "why" }, row.unranked) : null));
}

function bodyRows(rows, protocol, view, actions) {
  const shown = columns(protocol, view);
  return rows.flatMap((row) => {
    const places = rank(row, view);
    const line = html("tr", { class: "row" }, shown.map((column) => {
      if (column.key === "agent") return agentCell(row, view, actions);
      const tie = places && places[0] !== places[1] ? " tie" : "";
      return html("td", { class: `col-${column.key.split(" ")[0]}${column.key === "rank" ? tie : ""}` }, column.cell(row));
    }));
    if (!view.open.has(row)) return [line];
    return [line, html("tr", { class: "details", id: `details-${row.id}` }, html("td", { colspan: shown.length }, sheet(row, protocol)))];
  });
}

/* One page of the table. Returns how many rows there are and which of them are shown. */
function drawTable(protocol, view, actions) {
  const { ranked, unranked } = arrange(protocol, view), all = [...ranked, ...unranked];
  const pages = Math.max(1, Math.ceil(all.length / PAGE));
  view.page = Math.min(view.page, pages - 1);
  const first = view.page * PAGE, shown = all.slice(first, first + PAGE);
  const cut = Math.min(Math.max(ranked.length - first, 0), shown.length);
  const wide = columns(protocol, view).length;
  const band = html("tr", { class: "band" }, html("th", { colspan: wide, scope: "colgroup" }, html("span", {}, `Not ranked: ${unranked.length}`)));
  byId("table").tHead.replaceChildren(headRow(protocol, view, actions.sort));
  byId("ranked").replaceChildren(...bodyRows(shown.slice(0, cut), protocol, view, actions));
  byId("unranked").replaceChildren(...(cut < shown.length ? [band, ...bodyRows(shown.slice(cut), protocol, view, actions)] : []));
  return { count: all.length, first, last: first + shown.length, pages };
}
