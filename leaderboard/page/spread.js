/* What the shots added against what an agent costs, and the scores of single sites. */

const COSTS = [["parameters", "parameters", "log scale"], ["latency", "milliseconds a slot", "log scale"]];
const LANE = 42;

/* Where 0 is among powers of ten: a step to the left of the least. */
function fromZero(label, values) {
  const some = values.filter((value) => value > 0), least = Math.min(...some), most = Math.max(...some);
  if (!some.length) return axis(label, 0, 1, [[0, "0"]]);
  const base = 10 ** Math.floor(Math.log10(least)), top = 10 ** Math.ceil(Math.log10(most)), tens = [];
  for (let value = base; value <= top * 1.0001; value *= 10) tens.push([value, short(value)]);
  const zero = values.includes(0) ? [[0, "0"]] : [];
  return axis(label, zero.length ? 0 : base, Math.max(top, base * 10), [...zero, ...tens], (value) => (value < base ? (value / base) * 0.6 - 0.6 : Math.log10(value / base)));
}

function gainFigure(protocol, view) {
  const known = (row, key) => gain(row, view) && row[key] != null;
  const chosen = chartedRows(view), lost = chosen.filter(({ row }) => !gain(row, view)).map(({ name }) => name);
  const shots = protocol.shots[view.shots];
  return {
    title: "Gain against cost", wide: true,
    about: `What ${counted(shots, "shot")} added to the same agent's score without any, with 95 % intervals, against its parameters and the time of a slot; rules have no parameters. Nearer to the upper left is better, but a poor start gains easily: read it beside the score.`,
    note: shots && lost.length ? `Not drawn, for no gain of theirs is known here: ${lost.join(", ")}.` : null,
    parts: COSTS.map(([, title]) => title),
    draw(width, part) {
      const [key, title, scale] = COSTS.find(([, title]) => title === part), drawn = chosen.filter(({ row }) => known(row, key));
      if (!drawn.length) return html("p", { class: "empty" }, shots ? "No gain of these agents is known." : "At 0 shots there is no gain. Choose more.");
      const x = fromZero(`${title}, ${scale}`, drawn.map(({ row }) => row[key])), y = scoreAxis(drawn.map(({ row }) => ({ points: [[0, ...gain(row, view)]] })), "gain");
      const { root, px, py } = plot(width, x, y, `Gain at ${shots} shots against ${title}`, this.about);
      for (const { row, slot, name } of drawn) {
        const [iqm, low, high] = gain(row, view), at = px(row[key]);
        root.append(svg("g", { class: `series series-${slot}`, "data-slot": slot },
          low == null ? null : svg("path", { class: "curve", d: `M${at} ${py(low)}V${py(high)}` }),
          marker(slot, at, py(iqm), `${name}: ${interval([iqm, low, high])} at ${short(row[key])} ${title}`)));
      }
      return root;
    },
    data: () => dataTable("Gain against cost", ["agent", `gain at ${shots} shots`, ...COSTS.map(([, title]) => title)],
      chosen.map(({ row, name }) => [name, interval(gain(row, view)), ...COSTS.map(([key]) => short(row[key]))])),
  };
}

/* A lane an agent, in it a line of points a variant, a point a site. */
function spreadFigure(protocol, view) {
  const families = view.family === "all" ? protocol.families : [view.family];
  const cells = (row) => row.strip?.[view.shots] ?? null, chosen = chartedRows(view).filter(({ row }) => cells(row));
  const lost = chartedRows(view).filter(({ row }) => !cells(row)).map(({ name }) => name);
  const numbers = (family) => protocol.variants.flatMap((name, i) => (name.startsWith(`${family}/`) ? [i] : []));
  const values = chosen.flatMap(({ row }) => families.flatMap(numbers).flatMap((i) => cells(row)[i]));
  return {
    title: "Score site by site", wide: true,
    about: `A point is a variant at a site, at ${counted(protocol.shots[view.shots], "shot")}; a line of points is a variant, in the order of the table of numbers. The bar is the interquartile mean of the family.`,
    note: lost.length ? `Not drawn: ${lost.join(", ")}. Cells are missing, or they are not among the first ${protocol.profiled} rows of the board.` : null,
    parts: families,
    draw(width, family) {
      if (!chosen.length) return html("p", { class: "empty" }, "No scores of these agents.");
      const low = Math.min(...values), high = Math.max(...values), pad = (high - low || 10) * 0.04, lines = numbers(family);
      const x = axis("score", low - pad, high + pad, scoreTicks(low - pad, high + pad)), height = LANE * chosen.length + 20 + MARGIN.bottom;
      const { root, px } = plot(width, x, axis("", 0, 1, []), `Score site by site in ${family}`, `${counted(chosen.length, "agent")}; ${lines.length * protocol.sites.length} points each.`, { height, top: 20, left: 8 });
      for (const [value] of x.ticks) root.append(svg("line", { class: "grid", x1: px(value), x2: px(value), y1: 8, y2: height - MARGIN.bottom }));
      chosen.forEach(({ row, slot, name }, lane) => {
        const top = 20 + lane * LANE, mean = row.scores[family][view.shots][0], step = (LANE - 20) / (lines.length + 1);
        root.append(svg("text", { class: "label", x: 8, y: top }, name.slice(0, Math.floor(width / 8))),
          svg("g", { class: `series series-${slot}`, "data-slot": slot },
            lines.flatMap((i, line) => cells(row)[i].map((score, at) =>
              svg("circle", { class: "point", cx: px(score), cy: top + 4 + step * (line + 1), r: 3 }, svg("title", {}, `${name}, ${protocol.variants[i]}, ${protocol.sites[at]}: ${fixed(score)}`)))),
            svg("path", { class: "curve", d: `M${px(mean)} ${top + 4}v${LANE - 20}` }, svg("title", {}, `${name}: ${fixed(mean)}`))));
      });
      return root;
    },
    data: () => dataTable("Score site by site", ["variant, site", ...chosen.map(({ name }) => name)], families.flatMap((family) => [
      [`${family}, interquartile mean`, ...chosen.map(({ row }) => fixed(row.scores[family][view.shots][0]))],
      ...numbers(family).flatMap((i) => protocol.sites.map((site, at) => [`${protocol.variants[i]}, ${site}`, ...chosen.map(({ row }) => fixed(cells(row)[i][at]))]))])),
  };
}
