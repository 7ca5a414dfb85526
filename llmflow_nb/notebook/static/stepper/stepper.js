// The widget. Its only state is what is being typed and what is seen of the graph: everything else is in the kernel.

function render({ model, el }) {
  const root = make("div", "root stepper", undefined, { tabindex: "0", role: "group", "aria-label": "Stepper of a flow" });
  root.setAttribute("data-lm-suppress-shortcuts", "true"); // or JupyterLab takes the keys
  root.setAttribute("data-jp-suppress-context-menu", "true");
  const place = make("div", "place", undefined, { role: "status", "aria-live": "polite" });
  const message = make("div", "message", undefined, { role: "alert" });
  const work = make("div", "work", undefined, { role: "status" });

  // ---- requests to the kernel ----------------------------------------------------------------------------------------

  const isBusy = () => Boolean(model.get("status").busy);
  const { request, whole, receive, forget } = kernelOf(model, say);
  function say(text) {
    message.textContent = text;
    message.hidden = !text;
  }

  let seen = null; // which of shared, history and output is seen
  const parts = { model, root, request, say, whole, close };
  const graph = graphPane(parts), node = nodeSection({ ...parts, find }), output = section("output", "Output");
  output.body.tabIndex = 0; // a part that scrolls must take the focus
  const shared = sharedSection({ ...parts, tell: (text) => seen.note(0, text), choose: () => seen.choose(0) });
  const history = historySection({ ...parts, tell: (text) => seen.note(1, text) });
  seen = tabs([shared, history, output]);

  function find() {
    seen.choose(0);
    shared.find.focus();
  }

  // ---- commands ------------------------------------------------------------------------------------------------------

  const commands = model.get("fixed").commands, buttons = {};
  const bar = make("div", "bar", undefined, { role: "toolbar", "aria-label": "Commands" });
  for (const { name, label, key, sign, help } of commands) {
    const act = () => buttons[name].getAttribute("aria-disabled") !== "true" && request({ do: name });
    buttons[name] = button(label + " ", help.replaceAll("`", ""), act, "command " + name, { "aria-keyshortcuts": key });
    buttons[name].append(make("kbd", "", sign));
    bar.append(buttons[name]);
  }
  const counts = make("span", "counts"), help = helpOf(commands);
  const ask = button("?", "the keys", () => toggleHelp(), "ask", { "aria-label": "show the keys", "aria-expanded": "false" });
  bar.append(ask, make("span", "hint", "click here, then use the keys"), counts);
  function toggleHelp(isOpen = help.hidden) {
    help.hidden = !isOpen;
    ask.setAttribute("aria-expanded", isOpen);
  }
  function close(what) {
    const isLeft = root.getRootNode().activeElement === root, { path } = model.get("looked"), { keys } = model.get("compared");
    if (!help.hidden) toggleHelp(false);
    else if (what || path || keys) request({ do: what || (path ? "look" : "compare") });
    else if (isLeft) return root.closest(".jp-Cell")?.focus(); // back to the notebook
    root.focus({ preventScroll: true });
  }
  root.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    else if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey) return;
    else if (event.key === "?") toggleHelp();
    else if (/^[123]$/.test(event.key)) seen.choose(event.key - 1);
    else if (event.key === "/") find();
    else {
      const found = commands.find(({ key }) => key === event.key);
      if (!found) return event.stopPropagation(); // a slip of the finger is no command of the front end
      // Taps wait for the step in progress; repeats of a held key do not.
      if (!event.repeat || !isBusy()) request({ do: found.name });
    }
    event.preventDefault();
    event.stopPropagation();
  });

  // ---- what there is to see ------------------------------------------------------------------------------------------

  const side = make("div", "side"), body = make("div", "main");
  side.append(node.part, seen.box);
  const view = make("div", "view");
  view.append(graph.pane, work, help);
  body.append(view, side);
  root.append(bar, place, message, body);
  el.append(root);

  function showPlace() {
    const now = model.get("place");
    place.replaceChildren();
    if (now.title) place.append(make("span", "chip title", now.title), " ");
    place.append(make("strong", "", now.path), ` ${now.where.join(", ")} `, make("span", "chip phase", now.phase));
    if (now.action) place.append(" action ", make("code", "", now.action));
    if (!now.is_end) place.append(make("span", "soft", "  next: " + now.next));
    if (now.failure.text) place.append(make("div", "error", now.failure.text));
    if (now.note) place.append(make("div", "note", now.note));
    counts.textContent = `called ${now.called}, replayed ${now.replayed}` + (now.spent && `, ${now.spent}`);
    counts.title = "Calls of exec that were made, and calls that were answered by the result of an earlier call. Going back does not undo what a node did outside of shared.";
    seen.note(2, now.output ? now.output.split("\n").length - 1 || 1 : "");
    if (output.body.textContent !== now.output) {
      output.body.replaceChildren(make("pre", "", now.output));
      output.body.scrollTop = output.body.scrollHeight;
    }
    node.show();
    graph.paint();
    enable();
  }
  function enable() {
    const now = model.get("place"), busy = isBusy();
    root.setAttribute("aria-busy", busy ? "true" : "false");
    for (const [what, one] of Object.entries(buttons)) {
      const isOff = what === "pause" ? !busy : busy || (what === "back" && now.number === 0) || (now.is_end && !["back", "rerun"].includes(what));
      one.setAttribute("aria-disabled", isOff); // not `disabled`: that would lose the focus, and the keys typed meanwhile
    }
  }
  function showStatus() {
    const status = model.get("status");
    root.dataset.answers = status.answers || 0;
    say(status.message || "");
    enable();
  }
  function showWork() {
    const { seconds, lines = [] } = model.get("work");
    work.replaceChildren();
    work.hidden = seconds === undefined;
    if (work.hidden) return;
    work.append(make("span", "spin"), ` running ${seconds} s`);
    for (const [name, facts, done, total] of lines) {
      const line = make("div", "", `${name}  ${facts}`);
      if (total) line.append(make("progress", "", undefined, { max: total, value: done, "aria-label": name }));
      work.append(line);
    }
  }

  // ---- size, focus, and the end --------------------------------------------------------------------------------------

  if (model.get("height")) root.style.height = model.get("height") + "px";
  root.addEventListener("pointerup", () => {
    const chosen = parseInt(root.style.height, 10);
    if (!chosen || chosen === model.get("height")) return;
    model.set("height", chosen);
    model.save_changes();
  });
  const sizes = new ResizeObserver(graph.fit);
  sizes.observe(graph.pane);
  const themes = new MutationObserver(() => markTheme(root));
  for (const element of [document.documentElement, document.body]) themes.observe(element, { attributes: true });
  const shows = { svg: graph.draw, marks: graph.paint, place: showPlace, shared: shared.show, compared: shared.show, places: history.show, looked: node.show, status: showStatus, work: showWork, "msg:custom": receive };
  const leave = follow(model, shows);
  for (const show of [showPlace, shared.show, history.show, showStatus, showWork]) show();
  requestAnimationFrame(() => {
    markTheme(root);
    graph.draw(); // once it is in the page, and has a size
    const typing = document.activeElement?.closest(".cm-editor, input, textarea, select");
    if (root.closest(".jp-Cell.jp-mod-active") && !typing) root.focus({ preventScroll: true });
  });
  return () => {
    forget();
    sizes.disconnect();
    themes.disconnect();
    leave();
  };
}

function helpOf(commands) {
  const box = make("div", "help", undefined, { role: "note", "aria-label": "Keys", tabindex: "0" }), table = make("table");
  const rows = commands.map(({ sign, help }) => [sign, help.replaceAll("`", "")]);
  rows.push(["1, 2, 3", "shared, history, output"], ["/", "find a key of shared; Enter edits it"], ["Tab, Enter", "choose a node of the graph, and look at it"], ["Esc", "close what is open; then back to the notebook"], ["?", "these keys"]);
  rows.push(["click", "on a node: look at it; on its dot: breakpoint"], ["double-click", "on a frame: fold it"], ["drag, Ctrl+wheel", "move and zoom the graph"]);
  for (const [key, what] of rows) {
    const row = make("tr");
    row.append(make("th", "", key, { scope: "row" }), make("td", "", what));
    table.append(row);
  }
  box.append(table);
  box.hidden = true;
  return box;
}

export default { render };
