// The widget of a stepper. Its only state is what is being typed: everything else is in the kernel.
// Texts are set as text. The only markup is the drawing, which was sanitised in Python.

const SILENT =
  "The kernel does not answer: it is busy with another cell, or was restarted. After a restart, run the cell of this stepper again.";
const SVG = "http://www.w3.org/2000/svg";
const DARK = ':is([data-jp-theme-light="false"], .vscode-dark)';

function make(tag, name, text, attributes = {}) {
  const element = document.createElement(tag);
  if (name) element.className = "llmflow-step-" + name;
  if (text !== undefined) element.textContent = text;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function render({ model, el }) {
  const root = make("div", "root", undefined, { tabindex: "0", role: "group", "aria-label": "Stepper of a flow" });
  root.setAttribute("data-lm-suppress-shortcuts", "true"); // or JupyterLab takes the keys
  root.setAttribute("data-jp-suppress-context-menu", "true");
  const bar = make("div", "bar", undefined, { role: "toolbar", "aria-label": "Commands" });
  const place = make("div", "place", undefined, { role: "status", "aria-live": "polite" });
  const message = make("div", "message", undefined, { role: "alert" });
  const graph = make("div", "graph");
  const side = make("div", "side");
  const pending = make("section", "pending", undefined, { "aria-label": "This node" });
  const state = make("section", "state", undefined, { "aria-label": "shared" });
  const history = make("section", "history", undefined, { "aria-label": "History" });
  const body = make("div", "body");
  side.append(pending, state, history);
  body.append(graph, side);
  root.append(bar, place, message, body);
  el.append(root);

  // ---- requests to the kernel ----------------------------------------------------------------------------------------

  let requested = 0, timer = null;
  const busy = () => Boolean(model.get("status").busy);
  function request(content) {
    requested = (model.get("status").answers || 0) + 1;
    clearTimeout(timer);
    timer = setTimeout(() => {
      if ((model.get("status").answers || 0) < requested) say(SILENT);
    }, 1500);
    try {
      model.send(content);
    } catch (error) {
      say(SILENT); // the connection to the kernel is closed
    }
  }
  function say(text) {
    message.textContent = text;
    message.hidden = !text;
  }

  const buttons = {};
  const commands = model.get("commands");
  for (const { name, label, key, sign, help } of commands) {
    const title = help.replaceAll("`", "");
    const button = make("button", name, undefined, { type: "button", title: title, "aria-keyshortcuts": key });
    button.append(label + " ", make("kbd", "", sign));
    button.onclick = () => button.getAttribute("aria-disabled") !== "true" && request({ do: name });
    buttons[name] = button;
    bar.append(button);
  }
  const counts = make("span", "counts");
  bar.append(counts);
  root.addEventListener("keydown", (event) => {
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey) return;
    const found = commands.find(({ key }) => key === event.key);
    if (!found) return;
    event.preventDefault();
    event.stopPropagation();
    if (!event.repeat || !busy()) request({ do: found.name }); // taps wait for the step in progress; repeats of a held key do not
  });

  // ---- the graph --------------------------------------------------------------------------------------------------

  function draw() {
    graph.replaceChildren();
    const svg = model.get("svg");
    if (!svg) {
      graph.append(make("pre", "outline", model.get("outline")));
      return;
    }
    graph.innerHTML = svg;
    const style = graph.querySelector("style"); // in the page the theme says whether it is dark, not the system
    style.textContent = style.textContent.replace("@media (prefers-color-scheme:dark)", DARK + " .llmflow-step-graph");
    drawing = graph.querySelector("svg");
    const { x, y, width, height } = drawing.viewBox.baseVal;
    whole = { x, y, width, height };
    root.classList.toggle("llmflow-step-wide", width > 1.3 * height);
    graph.append(zooms);
    for (const [id, path] of Object.entries(model.get("nodes"))) {
      const group = graph.querySelector("#" + CSS.escape(id));
      if (!group) continue;
      group.dataset.path = path;
      const box = group.getBBox ? group.getBBox() : null;
      if (!box || !box.width) continue;
      const dot = document.createElementNS(SVG, "circle");
      dot.setAttribute("cx", box.x);
      dot.setAttribute("cy", group.classList.contains("cluster") ? box.y + 10 : box.y + box.height / 2);
      dot.setAttribute("r", "5");
      dot.setAttribute("class", "llmflow-step-dot");
      dot.setAttribute("tabindex", "0");
      dot.setAttribute("role", "checkbox");
      dot.setAttribute("aria-label", "Breakpoint before " + path);
      const toggle = () => request({ do: "break", path: path });
      dot.addEventListener("click", toggle);
      dot.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        event.stopPropagation();
        toggle();
      });
      const sign = document.createElementNS(SVG, "text");
      sign.setAttribute("class", "llmflow-step-sign");
      sign.setAttribute("x", box.x + box.width - 2);
      sign.setAttribute("y", box.y + 2);
      group.append(dot, sign);
    }
    paint();
    fit();
  }

  // What is seen of the drawing: a part of it, in its own units. Until the user zooms or drags, all of it is seen if
  // that can be read, else the part around the current node. The current node is always in it.
  const NATURAL = 1.1, LEAST = 0.8, CLOSE = 0.95; // pixels for a unit: as in a cell; so small that all is shown; else
  let drawing = null, whole = null, seen = null, scale = 1, chosen = false;
  function look(x, y) {
    const width = graph.clientWidth / scale, height = graph.clientHeight / scale;
    const within = (at, size, start, all) => (size >= all ? start + (all - size) / 2 : Math.max(start, Math.min(at, start + all - size)));
    seen = { x: within(x, width, whole.x, whole.width), y: within(y, height, whole.y, whole.height), width, height };
    drawing.setAttribute("viewBox", [seen.x, seen.y, width, height].join(" "));
  }
  function fit() {
    if (!drawing || !graph.clientWidth) return;
    const all = Math.min(graph.clientWidth / whole.width, graph.clientHeight / whole.height);
    if (!chosen) scale = all >= LEAST ? Math.min(all, NATURAL) : CLOSE;
    look(seen ? seen.x : whole.x, seen ? seen.y : whole.y);
    follow();
  }
  function follow() {
    const group = drawing && seen && graph.querySelector(".llmflow-step-current > rect:last-of-type");
    if (!group) return;
    const box = group.getBBox(), room = 30 / scale;
    const isSeen = (at, size, start, all) => size > all || (at - room >= start && at + size + room <= start + all);
    if (isSeen(box.x, box.width, seen.x, seen.width) && isSeen(box.y, box.height, seen.y, seen.height)) return;
    look(box.x + box.width / 2 - seen.width / 2, box.y + box.height / 2 - seen.height / 2);
  }
  function zoom(factor, clientX, clientY) {
    if (!drawing) return;
    const pane = graph.getBoundingClientRect(), before = scale;
    const px = clientX === undefined ? pane.width / 2 : clientX - pane.x, py = clientY === undefined ? pane.height / 2 : clientY - pane.y;
    chosen = true;
    scale = Math.max(0.1, Math.min(4, scale * factor));
    look(seen.x + px / before - px / scale, seen.y + py / before - py / scale);
  }
  const zooms = make("div", "zoom");
  const all = () => {
    chosen = true;
    scale = Math.min(graph.clientWidth / whole.width, graph.clientHeight / whole.height, NATURAL);
    look(whole.x, whole.y);
  };
  for (const [sign, title, act] of [["−", "zoom out", () => zoom(1 / 1.25)], ["+", "zoom in", () => zoom(1.25)], ["fit", "show the whole graph", all]]) {
    const button = make("button", "", sign, { type: "button", title: title, "aria-label": title });
    button.onclick = act;
    zooms.append(button);
  }
  graph.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return; // else the page scrolls
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), event.clientX, event.clientY);
  }, { passive: false });
  graph.addEventListener("pointerdown", (down) => {
    if (!seen || down.button !== 0 || down.target.closest("button, circle")) return;
    const from = { ...seen };
    const move = (event) => {
      chosen = true;
      look(from.x - (event.clientX - down.clientX) / scale, from.y - (event.clientY - down.clientY) / scale);
    };
    const up = () => graph.removeEventListener("pointermove", move);
    graph.setPointerCapture(down.pointerId);
    graph.addEventListener("pointermove", move);
    graph.addEventListener("pointerup", up, { once: true });
    graph.addEventListener("pointercancel", up, { once: true });
  });
  const sizes = new ResizeObserver(() => fit());
  sizes.observe(graph);

  const STATES = ["ok", "partly", "failed", "cancelled", "running", "unvisited"];
  const SIGNS = { ok: "✓", failed: "✗", partly: "!", cancelled: "–", running: "" };
  function paint() {
    const marks = model.get("marks"), stops = new Set(model.get("place").stops || []);
    for (const group of graph.querySelectorAll("[data-path]")) {
      const path = group.dataset.path, mark = marks[path] || {};
      const state = mark.here && mark.state !== "failed" ? "running" : mark.state || "unvisited";
      group.classList.remove(...STATES);
      group.classList.add(state); // its colours are in the style sheet of the drawing
      group.classList.toggle("llmflow-step-current", Boolean(mark.here));
      const sign = group.querySelector(".llmflow-step-sign");
      const text = (mark.here ? "▶" : "") + (SIGNS[mark.state] || "") + (mark.replayed ? "↺" : "");
      if (sign && sign.textContent !== text) sign.textContent = text;
      const dot = group.querySelector(".llmflow-step-dot");
      if (dot) dot.setAttribute("aria-checked", stops.has(path) ? "true" : "false");
      const words = [path, mark.here ? "here" : "", mark.state || "not visited", mark.replayed ? "replayed" : "", mark.text || ""];
      group.setAttribute("aria-label", words.filter(Boolean).join(", "));
    }
    follow();
  }

  // ---- the place, and what comes next --------------------------------------------------------------------------------

  const isShort = (text) => text.length <= 100 && !text.includes("\n");
  function block(title, text) {
    if (isShort(text)) return make("div", "short", title + ": " + text);
    const details = make("details", "value");
    details.append(make("summary", "", title + ":"), make("pre", "", text));
    details.open = true;
    return details;
  }

  function field(label, button, placeholder, send, options) {
    const form = make("form", "field"), input = make(options ? "input" : "textarea", "input", undefined, { placeholder: placeholder, "aria-label": label });
    if (options) {
      const list = make("datalist");
      list.id = "llmflow-" + Math.random().toString(36).slice(2);
      for (const option of options) list.append(make("option", "", undefined, { value: option }));
      input.setAttribute("list", list.id);
      form.append(list);
    } else input.rows = 2;
    form.append(input, make("button", "", button, { type: "submit" }));
    form.onsubmit = (event) => {
      event.preventDefault();
      send(input.value);
    };
    return form;
  }

  let shownAt = null;
  function showPlace() {
    const now = model.get("place");
    place.replaceChildren();
    const words = [now.path, "visit " + now.visit];
    if (now.title) words.unshift(now.title);
    if (now.set) words.push("param set " + now.set);
    if (now.params) words.push("params " + now.params);
    if (now.item !== undefined) words.push("item " + now.item + (now.items == null ? "" : " of " + now.items));
    place.append(make("strong", "", words.join(", ")), " " + now.phase);
    if (now.action) place.append(", action " + now.action);
    place.append(make("span", "next", now.is_end ? "" : "  next: " + now.next));
    if (now.note) place.append(make("div", "note", now.note));
    if (now.error) place.append(make("div", "error", now.failed + ": " + now.error + ". Correct it, run its cell, and press rerun."));
    counts.textContent = "called " + now.called + ", replayed " + now.replayed;
    counts.title = "Calls of exec that were made, and calls that were answered by the result of an earlier call. Going back does not undo what a node did outside of shared.";
    const place_id = now.number + now.phase;
    if (place_id !== shownAt) showPending(now);
    shownAt = place_id;
    paint();
    enable();
  }

  function showPending(now) {
    pending.replaceChildren(make("h4", "", "This node"));
    for (const [title, text] of [["prep returned", now.prep], ["exec returned", now.exec], ["error", now.traceback], ["printed", now.output]])
      if (text) pending.append(block(title, text));
    const ended = now.is_end;
    const more = make("details", "more"), box = make("div");
    more.append(make("summary", "", "change what comes next"), box);
    if (!ended) {
      box.append(field("action", "force action", "another action", (text) => request({ do: "force", action: text }), now.edges));
      if (now.can_mock)
        box.append(field("result", "mock exec", "JSON: the result to use instead of calling exec", (text) => request({ do: "mock", json: text })));
      if (now.can_go_to_item)
        box.append(field("item", "go to item", "number of items done", (text) => request({ do: "item", number: Number(text) || 1 }), []));
      const again = make("button", "", "call exec again", { type: "button", title: "run this node again, and call exec even if its result is known" });
      again.onclick = () => request({ do: "again" });
      box.append(again);
      pending.append(more);
    }
    for (const [number, text] of now.breaks || []) {
      const line = make("div", "break", text + " "), remove = make("button", "", "remove", { type: "button" });
      remove.onclick = () => request({ do: "unbreak", number: number });
      line.append(remove);
      pending.append(line);
    }
  }

  // ---- shared -----------------------------------------------------------------------------------------------------

  const search = make("input", "search", undefined, { type: "search", placeholder: "find a key", "aria-label": "find a key of shared" });
  const table = make("table", "keys");
  const add = field("new key", "add key", 'JSON: {"key": value}', (text) => {
    let found;
    try {
      found = JSON.parse(text);
    } catch (error) {
      return say("this is not JSON: " + error.message);
    }
    for (const [key, value] of Object.entries(found || {})) request({ do: "set", key: key, json: JSON.stringify(value) });
  });
  const adding = make("details", "more");
  adding.append(make("summary", "", "add a key"), add);
  state.append(make("h4", "", "shared"), search, table, adding);
  search.oninput = () => filter();
  function filter() {
    for (const row of table.querySelectorAll("tr[data-key]")) row.hidden = !row.dataset.key.toLowerCase().includes(search.value.toLowerCase());
  }
  const open = new Set();
  let editing = false;
  function showKeys() {
    if (editing) return;
    table.replaceChildren();
    const head = make("tr");
    const rows = model.get("shared"), hasBefore = rows.some((row) => row.before); // else its column would be empty
    const titles = hasBefore ? ["key", "now", "before", "change"] : ["key", "now", "change"];
    for (const title of titles) head.append(make("th", "", title, { scope: "col" }));
    table.append(head);
    for (const row of rows) {
      const line = make("tr", row.how || "same", undefined, { "data-key": row.key });
      const name = make("th", "", row.key, { scope: "row" });
      if (row.how) name.append(make("span", "how", " " + row.how));
      if (row.by_reference) name.append(make("span", "how", " not restorable: " + row.by_reference));
      const now = make("td"), before = make("td"), does = make("td");
      for (const [cell, text, which] of [[now, row.now, "now"], [before, row.before, "before"]]) {
        if (isShort(text)) cell.textContent = text;
        else {
          const details = make("details"), id = row.key + which;
          details.append(make("summary", "", text.slice(0, 100).split("\n")[0] + "…"), make("pre", "", text));
          details.open = open.has(id);
          details.ontoggle = () => (details.open ? open.add(id) : open.delete(id));
          cell.append(details);
        }
      }
      if (row.how !== "gone") {
        if (row.json) {
          const edit = make("button", "", "edit", { type: "button", "aria-label": "edit " + row.key });
          edit.onclick = () => editKey(row, now);
          does.append(edit);
        }
        const remove = make("button", "", "delete", { type: "button", "aria-label": "delete " + row.key });
        remove.onclick = () => request({ do: "delete", key: row.name });
        does.append(remove);
      }
      line.append(name, now, ...(hasBefore ? [before] : []), does);
      table.append(line);
    }
    filter();
    enable();
  }
  function editKey(row, cell) {
    editing = true;
    const form = make("form", "field"), input = make("textarea", "input", row.json, { "aria-label": "JSON of " + row.key });
    const cancel = make("button", "", "cancel", { type: "button" });
    const close = () => {
      editing = false;
      showKeys();
      root.focus();
    };
    cancel.onclick = close;
    form.append(input, make("button", "", "save", { type: "submit" }), cancel);
    form.onsubmit = (event) => {
      event.preventDefault();
      try {
        JSON.parse(input.value);
      } catch (error) {
        request({ do: "set", key: row.name, json: input.value }); // the kernel answers where the error is
        return;
      }
      editing = false;
      request({ do: "set", key: row.name, json: input.value });
      root.focus();
    };
    form.onkeydown = (event) => event.key === "Escape" && close();
    cell.replaceChildren(form);
    input.focus();
  }

  // ---- history ----------------------------------------------------------------------------------------------------

  const list = make("ol", "places", undefined, { role: "list" });
  history.append(make("h4", "", "History"), list);
  function showPlaces() {
    const hadFocus = list.contains(root.getRootNode().activeElement);
    list.replaceChildren();
    for (const row of model.get("places")) {
      const item = make("li", row.here ? "here" : row.on_line ? "line" : "branch");
      const go = make("button", "", (row.here ? "▶ " : "") + row.number + "  " + row.text, { type: "button" });
      if (row.here) go.setAttribute("aria-current", "step");
      go.disabled = row.evicted;
      go.onclick = () => request({ do: "goto", number: row.number });
      item.style.marginLeft = Math.min(row.depth, 8) + "em";
      item.append(go, make("span", "how", [row.how, row.edited, row.failed, row.changed, row.evicted && "evicted"].filter(Boolean).join(" · ")));
      list.append(item);
      if (row.here) {
        history.scrollTop = item.offsetTop - history.offsetTop - history.clientHeight / 2;
        if (hadFocus) go.focus({ preventScroll: true });
      }
    }
    enable();
  }

  function enable() {
    const now = model.get("place"), is_busy = busy(), ended = now.is_end;
    root.setAttribute("aria-busy", is_busy ? "true" : "false");
    for (const [what, button] of Object.entries(buttons)) {
      const disabled = what === "pause" ? !is_busy : is_busy || (what === "back" && now.number === 0) || (ended && !["back", "rerun"].includes(what));
      button.setAttribute("aria-disabled", disabled); // not `disabled`: that would lose the focus, and the keys typed meanwhile
    }
    for (const button of side.querySelectorAll("button")) if (!button.closest("li")) button.disabled = is_busy;
  }
  function showStatus() {
    const status = model.get("status");
    root.dataset.answers = status.answers || 0;
    say(status.message || (status.busy ? "running …" : ""));
    enable();
  }

  const shows = { svg: draw, marks: paint, place: showPlace, shared: showKeys, places: showPlaces, status: showStatus };
  for (const [name, show] of Object.entries(shows)) model.on("change:" + name, show);
  showPlace();
  showKeys();
  showPlaces();
  showStatus();
  requestAnimationFrame(draw); // once it is in the page, and has a size
  return () => {
    clearTimeout(timer);
    sizes.disconnect();
    for (const [name, show] of Object.entries(shows)) model.off("change:" + name, show);
  };
}

export default { render };
