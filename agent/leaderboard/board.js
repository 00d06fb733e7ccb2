// Sorting and filtering of the tables that are there. Without it the page says the same.
(() => {
  "use strict";
  const form = document.getElementById("filter");
  const status = document.getElementById("status");
  const collator = new Intl.Collator("en", { numeric: true });
  const keys = ["model", "backend", "level", "category"];
  const boards = [...document.querySelectorAll(".board")].map((section) => ({
    section,
    links: document.querySelectorAll(`[data-section="${section.id}"]`),
    none: section.querySelector(".none"),
    tables: [...section.querySelectorAll("table.sortable")].map(read),
  }));

  // A cell's own words, without the small print below them.
  function words(cell) {
    return cell.firstChild ? cell.firstChild.textContent.trim() : "";
  }

  function read(table) {
    const heads = [...table.tHead.rows[0].cells];
    const at = Object.fromEntries(heads.map((head, i) => [head.dataset.f, i]));
    const groups = [...table.tBodies].map((body) => ({
      body,
      rows: [...body.rows].filter((row) => !row.classList.contains("group")).map((row) => describe(row, at)),
    }));
    heads.forEach((head, i) => addButton(table, groups, heads, head, i));
    return { table, groups, isResults: table.classList.contains("results") };
  }

  function describe(row, at) {
    const found = { row, solved: "s" in row.dataset };
    for (const key of [...keys, "task", "evidence"]) if (key in at) found[key] = words(row.cells[at[key]]);
    return found;
  }

  function addButton(table, groups, heads, head, column) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    const first = head.dataset.first || (head.classList.contains("n") ? "descending" : "ascending");
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const order = now ? (now === "ascending" ? "descending" : "ascending") : first;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      groups.forEach((group) => sort(group, column, head.classList.contains("n"), order === "ascending" ? 1 : -1));
      status.textContent = `Sorted by ${button.textContent}, ${order}.`;
    });
  }

  // What has no figure comes last either way.
  function sort(group, column, numbers, sign) {
    const valued = group.rows.map((entry) => {
      const cell = entry.row.cells[column];
      const value = numbers ? parseFloat(cell.dataset.v ?? words(cell)) : words(cell);
      return { entry, value, missing: numbers ? Number.isNaN(value) : value === "" || value === "–" };
    });
    valued.sort((a, b) => {
      if (a.missing || b.missing) return a.missing - b.missing;
      return sign * (numbers ? a.value - b.value : collator.compare(a.value, b.value));
    });
    group.rows = valued.map((one) => one.entry);
    group.body.append(...group.rows.map((entry) => entry.row));
  }

  function fits(entry, wanted, isResults) {
    if (!keys.every((key) => !wanted[key] || !(key in entry) || entry[key] === wanted[key])) return false;
    if (!isResults) return true;
    if (wanted.solved && !entry.solved) return false;
    if (wanted.evidence && entry.evidence !== "yes") return false;
    return !wanted.task || entry.task.toLowerCase().includes(wanted.task);
  }

  function filter() {
    const wanted = Object.fromEntries(new FormData(form));
    wanted.task = (wanted.task || "").trim().toLowerCase();
    let shown = 0;
    let all = 0;
    for (const { section, links, none, tables } of boards) {
      const out = ["suite", "device"].some((key) => wanted[key] && section.dataset[key] !== wanted[key]);
      section.hidden = out;
      links.forEach((link) => (link.parentElement.hidden = out));
      for (const { table, groups, isResults } of tables) {
        let here = 0;
        for (const { body, rows } of groups) {
          const scoped = ["level", "category"].some((key) => wanted[key] && key in body.dataset && body.dataset[key] !== wanted[key]);
          let within = 0;
          for (const entry of rows) {
            const fit = !scoped && fits(entry, wanted, isResults);
            entry.row.hidden = !fit;
            within += fit;
          }
          body.hidden = within === 0;
          here += within;
        }
        if (isResults) {
          all += groups.reduce((sum, group) => sum + group.rows.length, 0);
          shown += out ? 0 : here;
          table.parentElement.hidden = here === 0;
          none.hidden = here !== 0;
        }
      }
    }
    const count = (n) => n.toLocaleString("en");
    status.textContent = `${count(shown)} of ${count(all)} results shown.`;
  }

  let timer;
  function soon() {
    clearTimeout(timer);
    timer = setTimeout(filter, 120);
  }
  form.addEventListener("input", soon);
  form.addEventListener("change", soon);
  form.addEventListener("reset", soon);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  filter();
})();
