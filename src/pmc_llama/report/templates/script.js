"use strict";

// Colour scheme: automatic, light, dark. Remembered where the browser lets a file remember.
(() => {
  const button = document.getElementById("theme");
  const schemes = ["automatic", "light", "dark"];
  let remembered = null;
  try { remembered = localStorage.getItem("pmc-llama-theme"); } catch {}
  const apply = (scheme) => {
    if (scheme === "automatic") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = scheme;
    button.querySelector("span").textContent = scheme;
    button.setAttribute("aria-label", `Colour scheme: ${scheme}`);
    button.value = scheme;
  };
  apply(schemes.includes(remembered) ? remembered : "automatic");
  button.addEventListener("click", () => {
    const next = schemes[(schemes.indexOf(button.value) + 1) % schemes.length];
    apply(next);
    try { localStorage.setItem("pmc-llama-theme", next); } catch {}
  });
})();

// Sorting: by the raw value of a column; empty values last either way.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const ascending = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const numeric = head.classList.contains("number");
    const value = (row) => row.cells[column].dataset.value;
    const compare = (a, b) => (numeric ? Number(a) - Number(b) : a.localeCompare(b)) * (ascending ? 1 : -1);
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => (value(a) === "") - (value(b) === "") || compare(value(a), value(b)));
    table.tBodies[0].append(...rows);
  }));
}

// The questions: filters over the embedded data, shown a page at a time.
(() => {
  const source = document.getElementById("data");
  if (!source) return;
  const PAGE = 20;
  const { tasks, runs, models, questions } = JSON.parse(source.textContent);
  const form = document.getElementById("filters");
  const list = document.getElementById("list");
  const found = document.getElementById("found");
  const more = document.getElementById("more");
  let matching = [];
  let shown = 0;

  const element = (tag, className, ...children) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    node.append(...children);
    return node;
  };
  const option = (value, label) => Object.assign(document.createElement("option"), { value, textContent: label });
  form.task.append(option("", "all"), ...tasks.map((name, i) => option(i, name)));
  form.run.append(...runs.map(([regime, seed], i) => option(i, `${regime}, seed ${seed}`)));
  form.run.selectedIndex = Math.max(0, runs.findIndex(([regime]) => regime === form.dataset.regime));

  for (const [place, select] of [form.first, form.second].entries()) {
    select.append(...models.map((name, i) => option(i, name)));
    select.selectedIndex = Math.min(place, models.length - 1);
  }
  const chosen = () => [form.first, form.second].map((select) => models[select.value]);
  const answersTo = (question) => [form.first, form.second].map((select) => question.a[form.run.value][select.value]);

  const right = (question, answer) => answer && answer[0] === question.g;
  const matches = (question) => {
    const [first, second] = answersTo(question);
    if (!first && !second) return false;
    if (form.task.value !== "" && question.t !== Number(form.task.value)) return false;
    const outcome = form.outcome.value;
    if (outcome === "unparsed") { if (first?.[0] !== -1 && second?.[0] !== -1) return false; }
    else if (outcome) {
      if (!first || !second) return false;
      if (outcome !== `${Number(right(question, first))}${Number(right(question, second))}`) return false;
    }
    const words = form.text.value.trim().toLowerCase();
    return !words || question.p.toLowerCase().includes(words) || question.id.toLowerCase().includes(words);
  };
  const mark = (name, question, answer) => {
    if (!answer) return `${name} –`;
    const ok = right(question, answer);
    return element("span", ok ? "right" : "wrong", `${name} ${ok ? "✓" : answer[0] < 0 ? "not parsed" : "✗"}`);
  };
  const probability = (name, answer, place) => {
    const thousandths = answer?.[1]?.[place];
    if (thousandths === undefined) return element("td", "number", "–");
    const bar = element("span", `bar ${name}`, element("i"));
    bar.setAttribute("aria-hidden", "true");
    bar.firstChild.style.width = `${thousandths / 10}%`;
    const chosen = answer[0] === place ? "chosen, " : "";
    return element("td", "number", `${chosen}${(thousandths / 10).toFixed(1)} %`, bar);
  };
  const body = (question, names, [first, second]) => {
    const head = element("tr", "", ...["Option", ...names].map((text, i) => {
      const cell = element("th", i ? "number" : "", text);
      cell.scope = "col";
      return cell;
    }));
    const rows = question.o.map((text, place) => element(
      "tr", place === question.g ? "gold" : "",
      element("td", "option", text, ...(place === question.g ? [element("small", "", "right answer")] : [])),
      probability("first", first, place), probability("second", second, place)));
    const about = [tasks[question.t], question.id, question.s].filter(Boolean).join(" · ");
    const parsed = [[names[0], first], [names[1], second]].filter(([, answer]) => answer?.[2] !== undefined)
      .map(([name, answer]) => element("p", "about", `${name} wrote: ${answer[2]}`));
    return element("div", "body", element("p", "about", about), element("pre", "", question.p), ...parsed,
      element("table", "", element("thead", "", head), element("tbody", "", ...rows)));
  };
  const card = (question) => {
    const names = chosen();
    const answers = answersTo(question);
    const marks = element("span", "marks",
      mark(names[0], question, answers[0]), " · ", mark(names[1], question, answers[1]));
    const stem = question.p.match(/^question:\s*(.+)$/im)?.[1] ?? question.p;
    const details = element("details", "question", element("summary", "", marks, element("span", "stem", stem)));
    details.addEventListener("toggle", () => {
      if (details.open && details.children.length === 1) details.append(body(question, names, answers));
    });
    return details;
  };
  const showMore = () => {
    list.append(...matching.slice(shown, shown + PAGE).map(card));
    shown = Math.min(shown + PAGE, matching.length);
    more.hidden = shown === matching.length;
    found.textContent = `${matching.length} of ${questions.length} questions match; ${shown} shown.`;
  };
  const update = () => {
    matching = questions.filter(matches);
    shown = 0;
    list.replaceChildren();
    showMore();
  };
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", showMore);
  update();
})();
