// The table of a batch. Which rows are seen, and in which order, is the kernel's: this draws the page that it sends.

const RIGHT = ["number", "cost", "seconds"];

function render({ model, el }) {
  const root = make("div", "root table", undefined, { role: "group", "aria-label": "Rows of a batch" });
  root.setAttribute("data-lm-suppress-shortcuts", "true"); // or JupyterLab takes the keys
  root.setAttribute("data-jp-suppress-context-menu", "true");
  const message = make("div", "message", undefined, { role: "status" });
  const { request, whole, receive, forget } = kernelOf(model, say);
  const page = () => model.get("page"), opened = () => model.get("opened");
  let typing = null;
  function ask(content) {
    clearTimeout(typing);
    request({ do: "page", search: search.value, ...content });
  }
  function say(text) {
    message.textContent = text;
    message.hidden = !text;
  }
  function chip([word, colour], ...more) {
    const made = make("span", "chip state", word);
    made.style.setProperty("--state", colour);
    made.append(...more);
    return made;
  }

  // ---- above the table -----------------------------------------------------------------------------------------------

  const head = make("div", "title"), notes = make("div", "notes"), bar = make("div", "bar"), filters = make("div", "bar");
  const search = make("input", "input search", undefined, { type: "search", placeholder: "search", "aria-label": "Search all rows" });
  const range = make("span", "soft range", undefined, { "aria-live": "polite" });
  const before = button("‹", "the rows before", () => turn(-1), "", { "aria-label": "previous page" });
  const after = button("›", "the rows after", () => turn(1), "", { "aria-label": "next page" });
  const turn = (by) => ask({ number: page().query.number + by });
  filters.setAttribute("role", "group");
  filters.setAttribute("aria-label", "Filter by status");
  bar.append(filters, search, range, before, after);
  search.oninput = () => {
    clearTimeout(typing);
    typing = setTimeout(ask, 200);
  };

  function showFilters() {
    const { counts, query } = page(), focused = root.getRootNode().activeElement?.dataset?.status;
    filters.replaceChildren();
    if (counts.length < 2) return;
    for (const [word, colour, count] of counts) {
      const isOn = query.statuses.includes(word);
      const toggle = () => ask({ statuses: isOn ? query.statuses.filter((other) => other !== word) : [...query.statuses, word] });
      const made = button(`${word} ${count.toLocaleString("en")}`, "show only these rows", toggle, "chip state filter", { "aria-pressed": isOn, "data-status": word });
      made.style.setProperty("--state", colour);
      filters.append(made);
      if (word === focused) made.focus();
    }
  }

  // ---- the table -----------------------------------------------------------------------------------------------------

  const scroller = make("div", "scroller"), table = make("table", "grid"), thead = make("thead"), tbody = make("tbody");
  table.append(thead, tbody);
  scroller.append(table);

  function showHeads() {
    const { columns, query } = page(), row = make("tr");
    const focused = root.getRootNode().activeElement?.closest?.("thead button")?.dataset.head;
    for (const [name, kind] of columns) {
      const isSorted = query.sort === name, order = isSorted ? (query.down ? "descending" : "ascending") : "none";
      const cell = make("th", kind, undefined, { scope: "col", "aria-sort": order });
      // Up, then down, then the order of the kernel again.
      const next = !isSorted ? { sort: name, down: false } : query.down ? { sort: "", down: false } : { sort: name, down: true };
      const made = button(name, "sort by this column", () => ask(next), "head", { "data-head": name });
      made.append(make("span", "arrow", isSorted ? (query.down ? " ▼" : " ▲") : "", { "aria-hidden": "true" }));
      cell.append(made);
      row.append(cell);
    }
    thead.replaceChildren(row);
    if (focused) thead.querySelector(`[data-head="${CSS.escape(focused)}"]`)?.focus();
  }
  function cellOf(kind, text) {
    if (kind === "status") {
      const cell = make("td"), found = page().counts.find(([word]) => word === text);
      if (text) cell.append(chip(found || [text, ""]));
      return cell;
    }
    const cell = make("td", RIGHT.includes(kind) ? "right" : kind);
    cell.append(make("div", text.length > 24 ? "clamp long" : "clamp", text));
    return cell;
  }
  function rowOf([row, cells]) {
    const made = make("tr", "row", undefined, { "data-row": row }), label = make("th", "", undefined, { scope: "row" });
    label.append(button(cells[0], "open this row", () => {}, "label", { "aria-expanded": "false" }));
    made.append(label, ...cells.slice(1).map((text, n) => cellOf(page().columns[n + 1][1], text)));
    made.onclick = () => getSelection().isCollapsed && request({ do: "open", row }); // who selects a text reads it
    return made;
  }
  function showPage() {
    const { title, state, facts, rows, first, matching, pages, query } = page();
    head.replaceChildren(make("strong", "", title), " ", chip(state), " ", make("span", "soft", facts));
    notes.replaceChildren(...page().notes.map((text) => make("div", "note", text)));
    showFilters();
    showHeads();
    const focused = tbody.contains(root.getRootNode().activeElement);
    tbody.replaceChildren(...rows.map(rowOf));
    if (focused) tbody.querySelector("button")?.focus();
    scroller.scrollTop = 0;
    if (search !== root.getRootNode().activeElement) search.value = query.search;
    const count = (n) => n.toLocaleString("en");
    range.textContent = rows.length ? `${count(first)}-${count(first + rows.length - 1)} of ${count(matching)}` : "no row matches";
    before.disabled = query.number === 0;
    after.disabled = query.number >= pages - 1;
    before.hidden = after.hidden = pages < 2;
    showOpened();
  }

  // ---- a row that is opened ------------------------------------------------------------------------------------------

  const detail = make("section", "detail", undefined, { "aria-label": "One row", tabindex: "-1" });
  function showOpened() {
    const { row, label, status, facts, values = [], traceback, hasCode } = opened();
    for (const made of tbody.children) {
      const isOpen = row !== undefined && Number(made.dataset.row) === row;
      made.classList.toggle("llmflow-step-open", isOpen);
      made.querySelector("button").setAttribute("aria-expanded", isOpen);
    }
    detail.hidden = row === undefined;
    detail.replaceChildren();
    if (detail.hidden) return;
    const does = make("div", "does");
    does.append(make("strong", "", "row " + label), chip(status), make("span", "soft", facts));
    if (hasCode) does.append(button("step through this row", "opens a stepper below the table: .debug(row)", () => request({ do: "debug", row }), "debug"));
    does.append(button("close", "Esc does it too", close));
    detail.append(does);
    if (traceback) {
      const failure = make("div", "failure");
      failure.append(make("pre", "", traceback));
      detail.append(make("h5", "", "error"), failure);
    }
    detail.append(...values.map(([name, id, value]) => valueOf(name, value, () => whole(id))));
    detail.scrollTop = 0;
  }
  function close() {
    const { row } = opened();
    request({ do: "close" });
    (tbody.querySelector(`[data-row="${row}"] button`) || search).focus();
  }

  root.addEventListener("keydown", (event) => {
    const { key, target } = event, inTable = target.closest(".llmflow-step-row");
    if (key === "Escape" && !detail.hidden) close();
    else if (target === search || event.ctrlKey || event.metaKey || event.altKey) return event.stopPropagation();
    else if (key === "/") search.focus();
    else if (inTable && (key === "ArrowDown" || key === "ArrowUp")) {
      (key === "ArrowDown" ? inTable.nextSibling : inTable.previousSibling)?.querySelector("button").focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });

  const main = make("div", "rows-and-one");
  main.append(scroller, detail);
  root.append(head, notes, bar, message, main);
  el.append(root);
  function showStatus() {
    root.dataset.answers = model.get("status").answers;
    say(model.get("status").message);
  }
  showPage();
  showStatus();
  const leave = follow(model, { page: showPage, opened: showOpened, status: showStatus, "msg:custom": receive });
  return () => {
    forget();
    clearTimeout(typing);
    leave();
  };
}

export default { render };
