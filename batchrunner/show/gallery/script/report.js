/* The report, below the table. */

let reported = "";

function drawReport() {
  const report = store.data.report;
  const text = JSON.stringify(report);
  if (text === reported) return;
  reported = text;
  const node = byId("report");
  node.hidden = report === null;
  if (report === null) return node.replaceChildren();
  const sections = report.sections.map(reportSection);
  return node.replaceChildren(
    make("h2", { text: "Report" }),
    make("p", { class: "headline", text: report.headline }),
    make("div", { class: "sections" }, ...sections),
  );
}

function reportSection(section) {
  const isNext = section.title === "Next";
  const rows = section.rows.map(([what, about]) => (isNext ? nextStep(what, about) : reportRow(what, about)));
  return make("section", { "data-title": section.title }, make("h3", { text: section.title }), make("dl", {}, ...rows.flat()));
}

function reportRow(what, about) {
  return [make("dt", {}, quoted(what)), make("dd", {}, quoted(about))];
}

function nextStep(command, about) {
  const copying = button("Copy", `Copy: ${command}`, () => copy("Copy command", command));
  return [make("dt", {}, make("code", { text: command }), copying), make("dd", { text: about })];
}
