/* What opens under a row: how to run it again, what it consumed, its scores variant by variant. */

const TIER_MEANING = {
  reported: "the file holds to the schema, and no more is known",
  arithmetic: "the summary follows from the episodes in the file",
  rerun: "a sample of its episodes was played again and agreed",
};

const amount = (value) => (Number.isInteger(value) ? grouped(value) : short(value));

function definitions(pairs) {
  return html("dl", {}, pairs.filter(([, text]) => text != null && text !== "").flatMap(([term, text]) => [html("dt", {}, term), html("dd", { class: /^[0-9a-f]{40,}$/.test(text) ? "code" : null }, typeof text === "number" ? amount(text) : text)]));
}

/* Copies where the browser lets it; where not, it selects the text, so that the usual keys do. */
function command(text, title) {
  const code = html("code", {}, text), button = html("button", { type: "button", class: "copy", "aria-label": `Copy: ${title}` }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 1600);
  });
  return html("div", { class: "command" }, html("pre", {}, code), button);
}

function sheet(row, protocol) {
  const shots = protocol.shots.map((k) => `${k} shots`);
  const variants = protocol.variants.map((name, i) => [name, ...row.variants[i].map((score) => fixed(score))]);
  const gains = ["gain over 0 shots", ...row.gains.all.map(interval)];
  const families = protocol.families.map((name) => [name, ...row.scores[name].map(interval)]);
  const controls = Object.entries(row.controls ?? {}), shown = (found) => protocol.shots.flatMap((_, k) => (found.scores.all[k] ? [k] : []));
  const missing = row.missing ? `${grouped(row.missing)} of ${grouped(row.cells)} cells missing` : null;
  return html("div", { class: "sheet" },
    html("div", { class: "wide" }, html("h3", {}, "Run it again"), command(row.command, "the command that made this row"), command(`wbench results verify ${row.file}`, "the command that verifies its file")),
    html("div", { class: "double" }, html("h3", {}, "Result"), definitions([
      ["File", row.file], ["Check", `${TIER_NAMES[row.tier]}: ${TIER_MEANING[row.tier]}`], ["Track", row.track], ["Not complete", missing],
      ["Not ranked", row.unranked],
      ["Checkpoint", row.checkpoint || "a fixed rule, no weights"], ["Protocol", protocol.hash],
      ...controls.map(([logs, found]) => [`Run with ${logs} logs`, `${found.files.join(", ")}: ${TIER_NAMES[found.tier]}${row.trainings > found.files.length ? `, of ${found.files.length} of the ${row.trainings} trainings` : ""}`]),
      ...Object.entries(row.facts), ...row.failures.map((text) => ["Failure", text])])),
    html("div", {}, html("h3", {}, "Ledger, all cells"), definitions(Object.entries(row.ledger).map(([name, value]) => [name.replaceAll("_", " "), value]))),
    html("div", {}, html("h3", {}, "Versions"), definitions(Object.entries(row.versions))),
    html("div", { class: "wide" }, html("h3", {}, "Scores"),
      dataTable(`Scores of ${row.agent} by family and variant`, ["", ...shots], [["all families", ...row.scores.all.map(interval)], gains, ...families, ...variants])),
    controls.length ? html("div", { class: "wide" }, html("h3", {}, "With other logs"),
      dataTable(`Scores of ${row.agent} with other logs`, ["logs", "shots", "all families", "gain over 0 shots", ...protocol.families],
        controls.flatMap(([logs, found]) => shown(found).map((k) => [logs, protocol.shots[k], interval(found.scores.all[k]), interval(found.gains[k]), ...protocol.families.map((name) => interval(found.scores[name][k]))])))) : null);
}
