// Elements of the widget. Texts are set as text; the only markup is the drawing, which was sanitised in Python.

function make(tag, name, text, attributes = {}) {
  const element = document.createElement(tag);
  if (name) element.className = name.split(" ").map((one) => "llmflow-step-" + one).join(" ");
  if (text !== undefined) element.textContent = text;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function button(text, title, act, name = "", attributes = {}) {
  const made = make("button", name, text, { type: "button", title, ...attributes });
  made.onclick = act;
  return made;
}

// In a dark theme the text is light. Each front end has a name of its own for that.
function markTheme(root) {
  const { color } = getComputedStyle(root);
  if (color === root.dataset.color) return;
  root.dataset.color = color;
  const pixel = new OffscreenCanvas(1, 1).getContext("2d");
  pixel.fillStyle = color;
  pixel.fillRect(0, 0, 1, 1);
  const [red, green, blue] = pixel.getImageData(0, 0, 1, 1).data;
  root.classList.toggle("llmflow-step-dark", red + green + blue > 384);
}

// A part of the side: a title, and a body that scrolls.
function section(name, title) {
  const part = make("section", "section " + name, undefined, { "aria-label": title }), body = make("div", "body");
  const head = make("h4", "", title);
  part.append(head, body);
  return { part, head, body };
}

// Sections of which one is seen, chosen by the tabs above them, or by the keys 1, 2, 3.
function tabs(sections) {
  const box = make("div", "stack"), bar = make("div", "tabs", undefined, { role: "tablist" });
  const all = sections.map(({ part, head }, n) => {
    const tab = button(head.textContent, `key ${n + 1}`, () => choose(n), "", { role: "tab", "aria-keyshortcuts": n + 1 });
    const note = make("span", "soft");
    head.remove();
    part.setAttribute("role", "tabpanel");
    tab.append(" ", note);
    bar.append(tab);
    return { part, tab, note };
  });
  box.append(bar, ...all.map(({ part }) => part));
  function choose(chosen) {
    all.forEach(({ part, tab }, n) => {
      part.hidden = n !== chosen;
      tab.setAttribute("aria-selected", n === chosen);
    });
    sections[chosen].onSeen?.();
  }
  choose(0);
  return { box, choose, note: (n, text) => (all[n].note.textContent = text) };
}

function form(label, submit, placeholder, send, { text = "", options, rows = 2 } = {}) {
  const made = make("form", "form");
  const input = make(options ? "input" : "textarea", "input", undefined, { placeholder, "aria-label": label });
  input.value = text;
  if (options) {
    const list = make("datalist");
    list.id = "llmflow-" + Math.random().toString(36).slice(2);
    list.append(...options.map((option) => make("option", "", undefined, { value: option })));
    input.setAttribute("list", list.id);
    made.append(list);
  } else input.rows = rows;
  made.append(input, make("button", "", submit, { type: "submit" }));
  made.onsubmit = (event) => {
    event.preventDefault();
    send(input.value);
  };
  return made;
}

// Make the children of a list those of `rows`. The element of a row that has not changed stays what it is.
function fill(list, rows, keyOf, build) {
  const before = new Map([...list.children].map((child) => [child.llmflowKey, child]));
  rows.forEach((row, n) => {
    const key = keyOf(row), state = JSON.stringify(row);
    let element = before.get(key);
    before.delete(key);
    if (!element || (element.llmflowState !== state && !element.llmflowBusy)) {
      const made = Object.assign(build(row), { llmflowKey: key, llmflowState: state });
      element?.replaceWith(made);
      element = made;
    }
    if (list.children[n] !== element) list.insertBefore(element, list.children[n] || null);
  });
  before.forEach((element) => element.remove());
}
