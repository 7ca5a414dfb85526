// Values to be read: texts with their lines, chat messages, fields, rows. `readable.py` makes what is laid out here.

const FOLDED = 6; // lines that are seen of a long value until it is unfolded
const isShort = (value) => value.text !== undefined && value.text.length <= 100 && !value.text.includes("\n");

function textsOf(value) {
  if (value.messages) return value.messages.map(([role, text]) => role + ": " + text);
  if (value.fields) return value.fields.map(([name, text]) => name + ": " + text);
  if (value.rows) return [value.heads, ...value.rows].map((row) => row.join("\t"));
  return [value.text];
}

function linesIn(value) {
  const lines = textsOf(value).flatMap((text) => text.split("\n"));
  return lines.reduce((sum, line) => sum + 1 + Math.floor(line.length / 60), 0);
}

function contentOf(value) {
  if (value.text !== undefined) return make("pre", "", value.text);
  const table = make("table", value.rows ? "rows" : "fields");
  for (const [role, text] of value.messages || value.fields || []) {
    const row = make("tr", value.messages ? "role-" + role.replace(/\W/g, "") : "");
    row.append(make("th", "", role, { scope: "row" }), make("td", "", text));
    table.append(row);
  }
  if (value.rows) {
    const head = make("tr");
    head.append(...value.heads.map((text) => make("th", "", text, { scope: "col" })));
    table.append(head);
    for (const cells of value.rows) {
      const row = make("tr");
      row.append(...cells.map((text) => make("td", "", text)));
      table.append(row);
    }
  }
  const box = make("div");
  box.append(table);
  if (value.more) box.append(make("div", "soft", `and ${value.more.toLocaleString("en")} more`));
  return box;
}

// `whole` returns a promise of the whole text; without it the value can be unfolded as far as it is here.
function valueOf(title, value, whole, tools = []) {
  const box = make("div", isShort(value) ? "value short" : "value"), bar = make("span", "tools");
  const name = typeof title === "string" ? make("span", "name", title) : title;
  if (isShort(value)) {
    box.append(name, make("code", "", value.text), bar);
  } else {
    const content = make("div", "content"), isLong = linesIn(value) > FOLDED;
    content.append(contentOf(value));
    content.classList.toggle("llmflow-step-folded", isLong);
    if (isLong || value.cut || value.more) {
      const all = button("show all", "show the whole value", async () => {
        if (content.classList.toggle("llmflow-step-folded", all.textContent !== "show all")) all.textContent = "show all";
        else {
          all.textContent = "fold";
          if (whole && (value.cut || value.more)) content.replaceChildren(make("pre", "", await whole()));
        }
      });
      bar.append(all);
      content.onclick = () => content.classList.contains("llmflow-step-folded") && all.click();
    }
    const head = make("div", "head");
    head.append(name, bar);
    box.append(head, content);
  }
  const copy = button("copy", "copy the whole value", async () => {
    await navigator.clipboard.writeText(whole ? await whole() : textsOf(value).join("\n"));
    copy.textContent = "copied";
    setTimeout(() => (copy.textContent = "copy"), 1500);
  });
  if (navigator.clipboard) bar.append(copy); // a page that is not secure has none
  bar.append(...tools);
  return box;
}
