// The places of all branches: a click goes there, and two of them can be compared.

function historySection({ model, root, request, tell }) {
  const { part, head, body } = section("history", "History"), list = make("ol", "places", undefined, { role: "list" });
  body.append(list);

  function rowOf(row) {
    const item = make("li", row.here ? "here" : row.on_line ? "line" : "branch");
    const go = button(undefined, row.path, () => request({ do: "goto", number: row.number }), "go");
    if (row.here) go.setAttribute("aria-current", "step");
    go.disabled = row.evicted;
    const node = make("span", "node", row.node);
    node.style.paddingLeft = Math.min(row.level, 6) + "ch";
    const how = [row.how, row.seconds, row.edited, row.failed, row.evicted && "evicted", row.changed].filter(Boolean).join(" · ");
    go.append(make("span", "number", (row.here ? "▶ " : "") + row.number), node, make("span", "phase", [row.which, row.phase, row.action].filter(Boolean).join(", ")), make("span", row.failed ? "bad" : "soft", how));
    item.style.marginLeft = Math.min(row.depth, 8) + "em";
    item.append(go);
    if (!row.here && !row.evicted) item.append(button("compare", "compare shared there with shared here", () => compare(row), "compare"));
    return item;
  }

  function compare({ number }) {
    request({ do: "compare", number });
    root.focus({ preventScroll: true }); // the button is hidden now
  }

  function show() {
    const hadFocus = list.contains(root.getRootNode().activeElement), rows = model.get("places");
    fill(list, rows, (row) => row.number, rowOf);
    tell(rows.length);
    follow(hadFocus);
  }
  function follow(hadFocus) {
    const here = list.querySelector(".llmflow-step-here");
    if (!here) return;
    const top = here.offsetTop;
    if (top < body.scrollTop || top + here.offsetHeight > body.scrollTop + body.clientHeight) body.scrollTop = top - body.clientHeight / 2;
    if (hadFocus) here.querySelector("button").focus({ preventScroll: true });
  }
  return { part, head, show, onSeen: follow };
}
