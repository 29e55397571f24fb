/* Elements, SVG and numbers. Text enters the page as text nodes only, so that a name can be anything and stays a name. */

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child != null));
  return node;
}

const html = (tag, attributes = {}, ...children) => build(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) =>
  build(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
const byId = (id) => document.getElementById(id);

const MINUS = "\u2212", THIN = "\u202f", NONE = "–";
const PREFIXES = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];

/* 71.24 -> "71.2", -3 -> "−3.0", -0.04 -> "0.0", null -> "–". */
function fixed(value, digits = 1) {
  return value == null ? NONE : value.toFixed(digits).replace(/^-(?=[0.]*$)/, "").replace("-", MINUS);
}

/* 3.02 -> "+3.0", 0 -> "0.0", -3 -> "−3.0". */
const signed = (value) => (fixed(value).match(/^[1-9]|^0\.0*[1-9]/) ? `+${fixed(value)}` : fixed(value));

/* Three significant digits with a prefix: 2856066 -> "2.86 M", 512 -> "512", 0.0421 -> "0.0421". */
function short(value) {
  if (value == null) return NONE;
  const digits = (x) => String(Number(x.toPrecision(3))).replace("-", MINUS);
  const [scale, prefix] = PREFIXES.find(([scale]) => Math.abs(value) >= scale * 0.9995) ?? [1, ""];
  return prefix ? `${digits(value / scale)}${THIN}${prefix}` : digits(value);
}

/* 12345678 -> "12 345 678", in thin spaces. */
function grouped(value) {
  return String(value).replace(/\B(?=(\d{3})+(?!\d))/g, THIN);
}

/* (1, "row") -> "1 row", (2, "row") -> "2 rows". */
function counted(count, noun) {
  return `${grouped(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/* [iqm, low, high] -> "71.2 [68.0, 74.1]". */
function interval(score) {
  if (!score) return NONE;
  const [iqm, low, high] = score;
  return low == null ? fixed(iqm) : `${fixed(iqm)} [${fixed(low)}, ${fixed(high)}]`;
}

/* A plain table: the first cell of each row heads it. */
function dataTable(caption, head, rows) {
  const cells = (row) => row.map((cell, i) => (i ? html("td", {}, cell) : html("th", { scope: "row" }, cell)));
  return html("div", { class: "overflow", tabindex: 0, role: "region", "aria-label": caption },
    html("table", { class: "plain" },
      html("caption", { class: "unseen" }, caption),
      html("thead", {}, html("tr", {}, head.map((cell) => html("th", { scope: "col" }, cell)))),
      html("tbody", {}, rows.map((row) => html("tr", {}, cells(row))))));
}

/* Series 0..7: colour by class, and again by dash and by marker, for eyes and printers without colour. */
const SERIES = 8;
const DASHES = ["", "7 4", "2 4", "10 3 2 3", "12 4", "4 2", "8 3 2 3 2 3", "1 5"];
const MARKERS = [
  "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0Z", // disc
  "M-3.6-3.6H3.6V3.6H-3.6Z", // square
  "M0-4.8L4.4 3.2H-4.4Z", // triangle up
  "M0-5L5 0L0 5L-5 0Z", // diamond
  "M0 4.8L4.4-3.2H-4.4Z", // triangle down
  "M-1.5-5H1.5V-1.5H5V1.5H1.5V5H-1.5V1.5H-5V-1.5H-1.5Z", // plus
  "M-5-3L-3-5L0-2L3-5L5-3L2 0L5 3L3 5L0 2L-3 5L-5 3L-2 0Z", // cross
  "M0-5.2L1.5-1.7L5-1.5L2.3 .8L3.2 4.4L0 2.4L-3.2 4.4L-2.3 .8L-5-1.5L-1.5-1.7Z", // star
];

function marker(slot, x, y, title) {
  return svg("path", { class: "marker", d: MARKERS[slot], transform: `translate(${x} ${y})` }, title && svg("title", {}, title));
}

/* The line and marker of a series, as in the figures. */
function swatch(slot) {
  return svg("svg", { viewBox: "-15 -7 30 14", class: `series-${slot}`, "aria-hidden": "true" },
    svg("path", { class: "curve", d: "M-15 0H15", "stroke-dasharray": DASHES[slot] }), marker(slot, 0, 0));
}
