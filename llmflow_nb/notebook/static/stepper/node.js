// The current node: what its visit has done so far, its failure, and what may be changed before it goes on. Or the node
// that the user clicked.

function nodeSection({ model, root, request, whole, find, close }) {
  const { part, head, body } = section("now", "This node");
  const heading = (text) => make("h5", "", text);

  function showFailure({ item, traceback }, input) {
    const does = make("div", "does"), box = make("div", "failure");
    does.append(button("rerun", "after correcting the cause", () => request({ do: "rerun" })));
    if (item > 1) does.append(button(`stop before item ${item}`, "results of earlier items stay", () => request({ do: "item", number: item - 1 })));
    does.append(button("edit shared", "", find), button("mock its result", "", () => openForms("[aria-label=result]")));
    box.append(make("pre", "", traceback));
    body.append(does, ...input, heading("error"), box);
  }

  function openForms(which) {
    const more = body.querySelector(".llmflow-step-more");
    more.open = true;
    more.querySelector(which)?.focus();
  }

  function formsOf(now) {
    const more = make("details", "more"), box = make("div");
    more.append(make("summary", "", "change what comes next"), box);
    box.append(form("action", "force action", "another action", (text) => request({ do: "force", action: text }), { options: now.edges }));
    if (now.can_mock) box.append(form("result", "mock exec", "JSON: the result to use instead of calling exec", (text) => request({ do: "mock", json: text })));
    if (now.can_go_to_item) box.append(form("item", "go to item", "number of items done", (text) => request({ do: "item", number: Number(text) || 1 }), { options: [] }));
    box.append(button("call exec again", "run this node again, and call exec even if its result is known", () => request({ do: "again" })));
    return more;
  }

  function showNow(now) {
    head.textContent = "This node";
    const values = now.values.map(([name, id, value]) => valueOf(name, value, () => whole(id)));
    if (now.failure.text) showFailure(now.failure, values.splice(0, now.values[0]?.[1] === "failed" ? 1 : 0));
    body.append(...values);
    if (!now.values.length && !now.failure.text) body.append(make("div", "soft", now.is_end ? "The run has ended." : "Nothing of this visit has run yet."));
    if (now.done.name) body.append(heading("just done: " + now.done.name), ...now.done.values.map(([name, , value]) => valueOf(name, value)));
    if (!now.is_end) body.append(formsOf(now));
    for (const [number, text] of now.breaks) {
      const line = make("div", "break", "breakpoint " + text + " ");
      line.append(button("remove", "", () => request({ do: "unbreak", number })));
      body.append(line);
    }
  }

  function showLooked(looked, now) {
    head.textContent = "Node " + looked.name;
    const does = make("div", "does"), { path } = looked, isSet = (now.stops || []).includes(path);
    does.append(button("close", "show the current node again (Esc)", () => close("look")));
    if (looked.visits) does.append(button("go to its last visit", "", () => {
      request({ do: "goto", number: looked.number });
      close("look");
    }));
    does.append(button(isSet ? "do not break here" : "break here", "stop before this node", () => request({ do: "break", path })));
    if (looked.is_frame) does.append(button(looked.is_closed ? "unfold" : "fold", "double-click on the frame does it too", () => request({ do: "fold", path })));
    body.append(does, make("div", "soft", looked.kind));
    if (looked.doc) body.append(make("div", "", looked.doc));
    const visits = looked.visits === 1 ? "1 visit" : `the last of ${looked.visits} visits`;
    body.append(heading(looked.visits ? `${visits}: ${looked.seconds}` : "not visited on the way here"));
    for (const [name, , value] of looked.values) body.append(valueOf(name, value));
    if (looked.source) body.append(heading("code: " + looked.source));
    if (looked.code) body.append(valueOf("", { text: looked.code }));
  }

  let shown = "";
  function show() {
    const now = model.get("place"), looked = model.get("looked");
    const state = JSON.stringify([looked, looked.path ? now.stops : [now.number, now.phase, now.values, now.failure, now.breaks, now.done]]);
    if (state === shown) return;
    shown = state;
    const hadFocus = body.contains(root.getRootNode().activeElement);
    body.replaceChildren();
    if (looked.path) showLooked(looked, now);
    else showNow(now);
    body.scrollTop = 0;
    if (hadFocus) root.focus({ preventScroll: true });
  }
  return { part, show };
}
