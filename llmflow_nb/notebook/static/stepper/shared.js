// The keys of shared, or the difference of shared between two places.

function sharedSection({ model, root, request, say, whole, tell, choose, close }) {
  const { part, head, body } = section("shared", "shared"), words = make("div", "soft");
  const find = make("input", "input find", undefined, { type: "search", placeholder: "find a key  /", title: "Enter edits the first key that is found", "aria-label": "find a key of shared" });
  const list = make("ul", "keys", undefined, { role: "list" }), differences = make("ul", "keys", undefined, { role: "list" });
  const back = button("close", "show the current keys (Esc)", () => close("compare")), does = make("div", "does");
  const adding = make("details", "more");
  adding.append(make("summary", "", "add a key"), form("new key", "add key", 'JSON: {"key": value}', addKeys));
  does.append(find, words, back);
  body.append(does, list, differences, adding);

  function addKeys(text) {
    let found;
    try {
      found = JSON.parse(text);
    } catch (error) {
      return say("this is not JSON: " + error.message);
    }
    for (const [key, value] of Object.entries(found || {})) request({ do: "set", key, json: JSON.stringify(value) });
  }

  find.oninput = filter;
  find.onkeydown = (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault(); // else it would be typed into what opens
    list.querySelector("li:not([hidden]) [aria-label^=edit]")?.click();
  };
  function filter() {
    for (const row of list.children) row.hidden = !row.dataset.key.toLowerCase().includes(find.value.toLowerCase());
  }

  function titleOf(row) {
    const name = make("span", "name", row.key);
    if (row.how) name.append(" ", make("span", "chip " + row.how, row.how));
    if (row.by_reference) name.append(make("span", "soft", " not restorable: " + row.by_reference));
    return name;
  }

  function rowOf(row) {
    const item = make("li", row.how || "same", undefined, { "data-key": row.key }), tools = [];
    if (row.edited_as) tools.push(button("edit", "", () => edit(row, item), "", { "aria-label": "edit " + row.key }));
    if (row.how !== "gone") tools.push(button("delete", "", () => request({ do: "delete", key: row.name }), "", { "aria-label": "delete " + row.key }));
    if (row.now) item.append(valueOf(titleOf(row), row.now, () => whole("key:" + row.name), tools));
    else item.append(titleOf(row), ...tools);
    if (row.before) item.append(beforeOf(row.before));
    return item;
  }

  function beforeOf(value) {
    if (isShort(value)) return make("div", "soft", "was " + value.text);
    const details = make("details", "soft");
    details.append(make("summary", "", "before"), contentOf(value));
    return details;
  }

  function edit(row, item) {
    const close = () => {
      item.llmflowBusy = false;
      item.llmflowState = "";
      find.value = "";
      show();
      root.focus({ preventScroll: true });
    };
    const send = (text) => {
      if (row.edited_as === "json")
        try {
          JSON.parse(text);
        } catch (error) {
          return request({ do: "set", key: row.name, json: text }); // the kernel answers where the error is
        }
      request({ do: "set", key: row.name, [row.edited_as]: text });
      close();
    };
    const kind = row.edited_as === "json" ? "JSON" : "Text", rows = Math.min(12, 1 + row.text.split("\n").length);
    const made = form(`${kind} of ${row.key}`, "save", "", send, { text: row.text, rows });
    made.append(button("cancel", "Esc", close));
    made.onkeydown = (event) => {
      if (event.key === "Escape") close();
      else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) made.requestSubmit();
      else return;
      event.stopPropagation();
    };
    item.llmflowBusy = true; // it stays as it is while its key changes
    item.replaceChildren(make("div", "name", row.key), made, make("div", "soft", "Ctrl+Enter saves, Esc cancels"));
    made.querySelector("textarea").focus();
  }

  function differenceOf(row, { first, second }) {
    const item = make("li", "", undefined, { "data-key": row.key });
    item.append(titleOf(row));
    for (const [number, value] of [[first, row.first], [second, row.second]]) if (value) item.append(valueOf("place " + number, value));
    return item;
  }

  let wasCompared = false;
  function show() {
    const rows = model.get("shared"), compared = model.get("compared"), isCompared = Boolean(compared.keys);
    const changed = rows.filter((row) => row.how).length;
    words.textContent = isCompared ? `place ${compared.first} and place ${compared.second}` + (compared.keys.length ? "" : ": no difference") : "";
    tell(changed ? changed + " changed" : "");
    if (isCompared && !wasCompared) choose();
    wasCompared = isCompared;
    list.hidden = find.hidden = adding.hidden = isCompared;
    differences.hidden = back.hidden = !isCompared;
    fill(list, rows, (row) => row.name, rowOf);
    fill(differences, compared.keys || [], (row) => row.key, (row) => differenceOf(row, compared));
    filter();
  }
  return { part, head, show, find };
}
