// The graph: what happened at each node, what is seen of it, and what a click asks for.

const SVG = "http://www.w3.org/2000/svg";
const DARK = ".llmflow-step-dark .llmflow-step-graph";
const STATES = ["ok", "partly", "failed", "cancelled", "running", "unvisited"];
const NATURAL = 1.1, LEAST = 0.8, CLOSE = 0.95; // pixels for a unit: as in a cell; so small that all is shown; else

function graphPane({ model, root, request }) {
  const pane = make("div", "graph", undefined, { role: "group", "aria-label": "Graph" });
  const tools = make("div", "zoom");
  let drawing = null, whole = null, boxes = {}, painted = {};
  let x = 0, y = 0, scale = 1, isChosen = false;

  function draw() {
    const focused = pane.contains(root.getRootNode().activeElement) && root.getRootNode().activeElement.dataset.path;
    pane.replaceChildren();
    painted = {};
    boxes = {};
    drawing = null;
    const svg = model.get("svg");
    if (!svg) return pane.append(make("pre", "outline", model.get("outline")));
    pane.innerHTML = svg;
    const style = pane.querySelector("style"); // in the page the theme says whether it is dark, not the system
    style.textContent = style.textContent.replace("@media (prefers-color-scheme:dark)", DARK);
    drawing = pane.querySelector("svg");
    whole = { width: drawing.viewBox.baseVal.width, height: drawing.viewBox.baseVal.height };
    root.classList.toggle("llmflow-step-wide", whole.width > 1.3 * whole.height);
    pane.append(tools);
    for (const [id, path] of Object.entries(model.get("nodes"))) {
      const group = drawing.querySelector("#" + CSS.escape(id));
      if (group) addNode(group, path);
    }
    paint();
    fit();
    if (focused) (boxes[focused]?.group || root).focus({ preventScroll: true });
  }

  function addNode(group, path) {
    const rect = [...group.querySelectorAll(":scope > rect")].pop();
    if (!rect) return;
    const [left, top, width, height] = ["x", "y", "width", "height"].map((name) => Number(rect.getAttribute(name)));
    const isFrame = group.classList.contains("frame");
    group.querySelector("title")?.remove(); // it would be a second, slower hint
    group.dataset.path = path;
    group.setAttribute("tabindex", "0");
    group.setAttribute("role", "button");
    const facts = [...group.querySelectorAll(":scope > .soft")].map((line) => line.textContent);
    boxes[path] = { group, left, top, width, height: isFrame ? 30 : height, name: [path, ...facts].join(" ") };
    const dot = document.createElementNS(SVG, "circle"), sign = document.createElementNS(SVG, "text");
    const has = { cx: left, cy: isFrame ? top + 10 : top + height / 2, r: 5, class: "llmflow-step-dot" };
    for (const [name, value] of Object.entries(has)) dot.setAttribute(name, value);
    const words = document.createElementNS(SVG, "title");
    words.textContent = "breakpoint";
    dot.append(words);
    sign.setAttribute("class", "llmflow-step-sign");
    sign.setAttribute("x", left + width - 2);
    sign.setAttribute("y", top + 2);
    group.append(dot, sign);
  }

  const pathOf = (event) => event.target.closest?.("[data-path]")?.dataset.path;
  pane.addEventListener("click", (event) => {
    const path = pathOf(event);
    if (path && !wasDragged) request(event.target.closest(".llmflow-step-dot") ? { do: "break", path } : { do: "look", path });
  });
  pane.addEventListener("dblclick", (event) => {
    const group = event.target.closest?.(".frame, .closed");
    if (group?.dataset.path) request({ do: "fold", path: group.dataset.path });
  });
  pane.addEventListener("keydown", (event) => {
    if ((event.key !== "Enter" && event.key !== " ") || !event.target.dataset.path) return;
    event.preventDefault();
    request({ do: "look", path: event.target.dataset.path });
  });

  pane.addEventListener("focusin", (event) => event.target.matches(":focus-visible") && reveal(event.target.dataset.path));

  // What is seen: the drawing is moved by a transform, which needs no layout. Until the user zooms or drags, all of it is
  // seen if that can be read, else the part around the current node. The current node is always in it.
  function look(left, top) {
    const within = (at, size, all) => (size >= all ? (all - size) / 2 : Math.max(0, Math.min(at, all - size)));
    x = within(left, pane.clientWidth / scale, whole.width);
    y = within(top, pane.clientHeight / scale, whole.height);
    drawing.style.transform = `translate(${-x * scale}px, ${-y * scale}px)`;
  }
  function resize(to) {
    scale = to;
    drawing.setAttribute("width", whole.width * scale);
    drawing.setAttribute("height", whole.height * scale);
  }
  const scaleOfAll = () => Math.min(pane.clientWidth / whole.width, pane.clientHeight / whole.height);
  function fit() {
    if (!drawing || !pane.clientWidth) return;
    resize(isChosen ? scale : scaleOfAll() >= LEAST ? Math.min(scaleOfAll(), NATURAL) : CLOSE);
    look(x, y);
    follow();
  }
  function follow() {
    const current = Object.entries(model.get("marks")).find(([, mark]) => mark.here);
    reveal(current ? current[0] : model.get("place").done.path);
  }
  function reveal(path) {
    const box = boxes[path];
    if (!drawing || !box) return;
    const room = 30 / scale, width = pane.clientWidth / scale, height = pane.clientHeight / scale;
    const isSeen = (at, size, start, all) => size > all || (at - room >= start && at + size + room <= start + all);
    if (isSeen(box.left, box.width, x, width) && isSeen(box.top, box.height, y, height)) return;
    look(box.left + box.width / 2 - width / 2, box.top + box.height / 2 - height / 2);
  }
  function zoom(factor, clientX, clientY) {
    if (!drawing) return;
    const place = pane.getBoundingClientRect(), before = scale;
    const px = clientX === undefined ? place.width / 2 : clientX - place.x, py = clientY === undefined ? place.height / 2 : clientY - place.y;
    isChosen = true;
    resize(Math.max(0.1, Math.min(4, scale * factor)));
    look(x + px / before - px / scale, y + py / before - py / scale);
  }
  const all = () => {
    isChosen = true;
    resize(Math.min(scaleOfAll(), NATURAL));
    look(0, 0);
  };
  for (const [sign, title, act] of [["−", "zoom out", () => zoom(1 / 1.25)], ["+", "zoom in", () => zoom(1.25)], ["fit", "show the whole graph", all]])
    tools.append(button(sign, title, act, "", { "aria-label": `${sign} ${title}` }));
  pane.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return; // else the page scrolls
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), event.clientX, event.clientY);
  }, { passive: false });
  let wasDragged = false;
  pane.addEventListener("pointerdown", (down) => {
    wasDragged = false;
    if (!drawing || down.button !== 0 || down.target.closest("button")) return;
    const from = { x, y };
    const move = (event) => {
      const dx = event.clientX - down.clientX, dy = event.clientY - down.clientY;
      if (!wasDragged && Math.hypot(dx, dy) < 4) return; // a click
      if (!wasDragged) pane.setPointerCapture(down.pointerId);
      wasDragged = isChosen = true;
      look(from.x - dx / scale, from.y - dy / scale);
    };
    const up = () => pane.removeEventListener("pointermove", move);
    pane.addEventListener("pointermove", move);
    pane.addEventListener("pointerup", up, { once: true });
    pane.addEventListener("pointercancel", up, { once: true });
  });

  function paint() {
    const marks = model.get("marks"), stops = new Set(model.get("place").stops || []), signs = model.get("fixed").signs;
    for (const [path, { group, name }] of Object.entries(boxes)) {
      const mark = marks[path] || {}, now = JSON.stringify([mark, stops.has(path)]);
      if (painted[path] === now) continue;
      painted[path] = now;
      const state = mark.here && mark.state !== "failed" ? "running" : mark.state || "unvisited";
      group.classList.remove(...STATES);
      group.classList.add(state); // its colours are in the style sheet of the drawing
      group.classList.toggle("llmflow-step-current", Boolean(mark.here));
      const sign = mark.state === "running" ? "" : signs[mark.state] || "";
      group.querySelector(".llmflow-step-sign").textContent = (mark.here ? "▶" : "") + sign + (mark.replayed ? "↺" : "");
      group.querySelector(".llmflow-step-dot").classList.toggle("llmflow-step-set", stops.has(path));
      const words = [name, mark.here && "here", mark.state || "not visited", mark.replayed && "replayed", mark.text, stops.has(path) && "breakpoint"];
      group.setAttribute("aria-label", words.filter(Boolean).join(", "));
    }
    follow();
  }
  return { pane, draw, paint, fit };
}
