/* Figures: axes, curves with bands, and what each figure shows. Numbers come with the data; here they only get a place. */

const HEIGHT = 290, MARGIN = { top: 26, right: 18, bottom: 42, left: 46 };

/* An axis: `warp` maps a value to where it lies before scaling, `ticks` are values with their text. */
function axis(label, low, high, ticks, warp = (value) => value) {
  const from = warp(low), span = warp(high) - from || 1;
  return { label, ticks, place: (value) => (warp(value) - from) / span };
}

function niceTicks(low, high, about = 5) {
  const rough = (high - low) / about || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((factor) => power * factor >= rough);
  const count = Math.floor(high / step + 1e-9) - Math.ceil(low / step - 1e-9) + 1;
  return Array.from({ length: count }, (_, i) => (Math.ceil(low / step - 1e-9) + i) * step);
}

const scoreTicks = (low, high) => niceTicks(low, high).map((value) => [value, fixed(value, 0)]);

/* The empty plot: grid, tick labels, axis labels. Returns the SVG and the functions that place a value in it. */
function plot(width, x, y, title, description, { height = HEIGHT, top = MARGIN.top, left = MARGIN.left } = {}) {
  const inner = width - left - MARGIN.right, foot = height - MARGIN.bottom, tall = foot - top;
  const px = (value) => left + inner * x.place(value), py = (value) => top + tall * (1 - y.place(value));
  const id = `plot-${(plot.count = (plot.count ?? 0) + 1)}`;
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-labelledby": `${id}-title ${id}-text` },
    svg("title", { id: `${id}-title` }, title), svg("desc", { id: `${id}-text` }, description),
    y.ticks.map(([value, text]) => [
      svg("line", { class: "grid", x1: left, x2: width - MARGIN.right, y1: py(value), y2: py(value) }),
      svg("text", { x: left - 8, y: py(value) + 4, "text-anchor": "end" }, text)]),
    svg("line", { class: "axis", x1: left, x2: width - MARGIN.right, y1: foot, y2: foot }),
    x.ticks.map(([value, text]) => [
      svg("line", { class: "axis", x1: px(value), x2: px(value), y1: foot, y2: foot + 4 }),
      svg("text", { x: px(value), y: foot + 18, "text-anchor": "middle" }, text)]),
    svg("text", { x: width - MARGIN.right, y: height - 6, "text-anchor": "end" }, x.label),
    svg("text", { x: 0, y: 10 }, y.label));
  return { root, px, py };
}

/* A series: {slot, name, points: [[x, y, low, high], ...]}. Its band is drawn where it has an interval. */
function curves({ root, px, py }, series, markers = true) {
  const path = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${px(x)} ${py(y)}`).join("");
  for (const { slot, name, points } of series) {
    const banded = points.filter((point) => point[2] != null);
    const edge = [...banded.map(([x, , low]) => [x, low]), ...banded.map(([x, , , high]) => [x, high]).reverse()];
    root.append(svg("g", { class: `series series-${slot}`, "data-slot": slot },
      banded.length > 1 ? svg("path", { class: "ribbon", d: `${edge.map(([x, y], i) => `${i ? "L" : "M"}${px(x)} ${py(y)}`).join("")}Z` }) : null,
      svg("path", { class: "curve", d: path(points), "stroke-dasharray": DASHES[slot] }),
      markers ? points.map(([x, y, low, high]) => marker(slot, px(x), py(y), `${name}: ${interval([y, low, high])}`)) : null));
  }
}

/* As tall as the scores that are shown, and ten points at least. */
function scoreAxis(series, label = "score") {
  const values = series.flatMap(({ points }) => points.flatMap(([, ...ys]) => ys.filter((y) => y != null)));
  const middle = (Math.min(...values) + Math.max(...values)) / 2;
  const low = Math.min(middle - 5, ...values), high = Math.max(middle + 5, ...values), pad = (high - low) * 0.06;
  return axis(label, low - pad, high + pad, scoreTicks(low - pad, high + pad));
}

/* Random and genie, the two ends of the scale. */
function anchors({ root, py }, width) {
  const inside = (value) => py(value) >= MARGIN.top && py(value) <= HEIGHT - MARGIN.bottom;
  for (const value of [0, 100].filter(inside)) root.append(svg("line", { class: "anchor", x1: MARGIN.left, x2: width - MARGIN.right, y1: py(value), y2: py(value) }));
}

const chartedRows = (view) => [...view.charted].map(([row, slot]) => ({ row, slot, name: row.agent }));

function scoreSeries(view, xs) {
  return chartedRows(view).map(({ row, slot, name }) => ({
    slot, name, points: (row.scores[view.family] ?? []).map((score, k) => score && [xs(row)[k], ...score]).filter(Boolean),
  })).filter(({ points }) => points.length);
}

/* Rules that know the family: without shots, with them, and told the site. They stand behind the agents that are ticked. */
const GUIDES = ["belief", "estimator", "oracle"];

/* The genie needs no row: it is what 100 means. */
function guides(protocol, view) {
  const rows = GUIDES.map((name) => protocol.rows.find((row) => row.agent === name && row.tier !== "reported"));
  const lines = rows.filter((row) => row && !view.charted.has(row)).map((row) => ({
    name: row.agent, points: (row.scores[view.family] ?? []).map((score, k) => score && [protocol.shots[k], score[0]]).filter(Boolean),
  }));
  return [...lines, { name: "genie", points: protocol.shots.map((k) => [k, 100]) }].filter(({ points }) => points.length);
}

function drawGuides({ root, px, py }, lines) {
  for (const { points } of lines) root.append(svg("path", { class: "guide", d: points.map(([x, y], i) => `${i ? "L" : "M"}${px(x)} ${py(y)}`).join("") }));
}

/* Names stand above the ends of their lines, from the top down, and make room for each other. */
function nameGuides({ root, px, py }, lines, width) {
  let last = -Infinity;
  for (const { name, points } of [...lines].sort((a, b) => b.points.at(-1)[1] - a.points.at(-1)[1])) {
    const [x, y] = points.at(-1);
    last = Math.max(py(y) - 5, last + 12);
    root.append(svg("text", { class: "over", x: Math.min(px(x), width - MARGIN.right), y: last, "text-anchor": "end" }, name));
  }
}

function shotsFigure(protocol, view) {
  const series = scoreSeries(view, () => protocol.shots), lines = guides(protocol, view);
  return {
    title: "Score against shots", wide: true,
    about: `Interquartile mean after K logged episodes of a site that the agent has not been trained at, with 95 % intervals.${lines.length ? ` Dashed: ${lines.map(({ name }) => name).join(", ")}.` : ""}`,
    draw(width) {
      const x = axis("shots K", protocol.shots[0], protocol.shots.at(-1), protocol.shots.map((k) => [k, k]), (k) => Math.log2(1 + k));
      const area = plot(width, x, scoreAxis([...series, ...lines]), this.title, this.about);
      anchors(area, width);
      drawGuides(area, lines);
      curves(area, series);
      nameGuides(area, lines, width);
      return area.root;
    },
    data: () => dataTable("Score against shots", ["agent", ...protocol.shots.map((k) => `${k} shots`)], chartedRows(view).map(({ row, name }) => [name, ...(row.scores[view.family] ?? []).map(interval)])),
  };
}

function samplesFigure(protocol, view) {
  const series = scoreSeries(view, (row) => row.samples);
  const most = Math.max(10, ...series.flatMap(({ points }) => points.map(([x]) => x)));
  const least = Math.min(most, ...series.flatMap(({ points }) => points.map(([x]) => x).filter((x) => x > 0)));
  const base = 10 ** Math.floor(Math.log10(least)), tens = [];
  for (let value = base; value <= most * 1.0001; value *= 10) tens.push([value, short(value)]);
  return {
    title: "Sample efficiency", about: "Score against what was seen of the unseen site: agent transitions a cell, logged or played. The left edge is none.",
    draw(width) {
      const x = axis("agent transitions, log scale", 0, most, [[0, "0"], ...tens], (value) => (value < base ? (value / base) * 0.6 - 0.6 : Math.log10(value / base)));
      const area = plot(width, x, scoreAxis(series), this.title, this.about);
      anchors(area, width);
      curves(area, series);
      return area.root;
    },
    data: () => dataTable("Sample efficiency", ["agent", ...protocol.shots.map((k) => `${k} shots: transitions, score`)],
      chartedRows(view).map(({ row, name }) => [name, ...row.samples.map((x, k) => `${short(x)}, ${fixed(row.scores[view.family]?.[k]?.[0])}`)])),
  };
}

function profileFigure(protocol, view) {
  const taus = protocol.thresholds;
  const series = chartedRows(view).map(({ row, slot, name }) => {
    const [value, low, high] = row.profiles?.[view.family]?.[view.shots] ?? [[], [], []];
    return { slot, name, points: value.map((share, i) => [taus[i], share, low?.[i], high?.[i]]) };
  }).filter(({ points }) => points.length);
  const without = chartedRows(view).filter(({ row }) => !row.profiles).map(({ name }) => name);
  return {
    title: "Performance profiles",
    note: without.length ? `Not drawn: ${without.join(", ")}. Only the first ${protocol.profiled} rows of a board have profiles.` : null,
    about: `Share of runs (variant and site) at ${protocol.shots[view.shots]} shots that score more than τ, with 95 % bands. Higher is better everywhere; where curves cross, neither is.`,
    draw(width) {
      if (!series.length) return html("p", { class: "empty" }, "No profile of these agents.");
      const open = taus.filter((tau, i) => series.some(({ points }) => (points[i][3] ?? points[i][1]) > 0 && (points[i][2] ?? points[i][1]) < 1));
      const low = Math.max(taus[0], open[0] - 5), high = Math.min(taus.at(-1), open.at(-1) + 5);
      const x = axis("score τ", low, high, scoreTicks(low, high));
      const y = axis("share of runs", 0, 1, [0, 0.25, 0.5, 0.75, 1].map((share) => [share, `${100 * share}${THIN}%`]));
      const inside = series.map((each) => ({ ...each, points: each.points.filter(([tau]) => tau >= low && tau <= high) }));
      const area = plot(width, x, y, this.title, this.about);
      curves(area, inside, false);
      return area.root;
    },
    data: () => dataTable("Performance profiles", ["τ", ...series.map(({ name }) => name)], taus.map((tau, i) => [fixed(tau, 0), ...series.map(({ points }) => fixed(points[i][1], 2))])),
  };
}

function paretoFigure(protocol, view) {
  const families = view.family === "all" ? protocol.families : [view.family];
  const point = (row, family) => row.qos[family][view.shots];
  const idle = (row) => families.filter((family) => row.scores[family][view.shots] && !point(row, family));
  const named = chartedRows(view).filter(({ row }) => idle(row).length).map(({ row, name }) => `${name} (${idle(row).join(", ")})`);
  return {
    title: "Delay against energy", wide: true,
    about: "Of what was delivered: its mean delay, and energy over goodput, both means over variants; nearer to the lower left is better. The line joins rows that no other beats in both; small dots are other rows of the board, where they lie within.",
    note: named.length ? `Not drawn, for they delivered nothing in a variant: ${named.join(", ")}.` : null,
    draw: (width, family) => paretoPlot(width, family, protocol, view, (row) => point(row, family)),
    parts: families,
    data: () => dataTable("Delay and energy", ["agent", ...families.flatMap((family) => [`${family}: delay (slots)`, `${family}: energy / goodput`])],
      chartedRows(view).map(({ row, name }) => [name, ...families.flatMap((family) => (point(row, family) ?? [null, null]).map(short))])),
  };
}

/* An axis around values: by their logarithm where they lie decades apart. */
function around(label, values) {
  const low = Math.min(...values), high = Math.max(...values);
  if (low <= 0 || high / low < 20) {
    const pad = (high - low || 1) * 0.08;
    return axis(label, low - pad, high + pad, niceTicks(Math.max(low - pad, Math.min(low, 0)), high + pad, 4).map((value) => [value, short(value)]));
  }
  const pad = (high / low) ** 0.08, powers = niceTicks(Math.ceil(Math.log10(low / pad)), Math.floor(Math.log10(high * pad)), 4);
  return axis(`${label}, log scale`, low / pad, high * pad, powers.filter(Number.isInteger).map((power) => [10 ** power, short(10 ** power)]), Math.log10);
}

/* The frame goes around the front and the ticked rows, so that a row far off does not press all others together. */
function paretoPlot(width, family, protocol, view, point) {
  const front = protocol.fronts[family][view.shots].map((id) => protocol.rows[id]), charted = chartedRows(view).filter(({ row }) => point(row));
  const framed = [...front, ...charted.map(({ row }) => row)];
  if (!framed.length) return html("p", { class: "empty" }, "No row has delivered something in every variant.");
  const x = around("energy / goodput", framed.map((row) => point(row)[1])), y = around("mean delay (slots)", framed.map((row) => point(row)[0]));
  const { root, px, py } = plot(width, x, y, `Delay against energy in ${family}`, `${charted.length} rows; ${front.length} rows of the board on the front.`);
  const at = (row) => { const [delay, energy] = point(row); return [px(energy), py(delay)]; };
  const within = ([delay, energy]) => [x.place(energy), y.place(delay)].every((place) => place >= 0 && place <= 1);
  root.append(svg("path", { class: "front", d: front.map(at).map(([x, y], i) => (i ? `H${x}V${y}` : `M${x} ${y}`)).join("") }));
  for (const row of new Set([...front, ...protocol.rows.slice(0, 300)])) {
    if (view.charted.has(row) || !point(row) || !within(point(row))) continue;
    const [cx, cy] = at(row);
    root.append(svg("circle", { class: "dot", cx, cy, r: 2.5 }, svg("title", {}, row.agent)));
  }
  for (const { row, slot, name } of charted) {
    const [x, y] = at(row), [delay, energy] = point(row);
    root.append(svg("g", { class: `series series-${slot}`, "data-slot": slot }, marker(slot, x, y, `${name}: delay ${short(delay)}, energy / goodput ${short(energy)}`)));
  }
  return root;
}
