// Stands in for the notebook webview of VS Code: a document of its own, which holds VS Code's widget manager and the
// outputs of one cell. The class names, the order of mime types and the loader of modules are those of VS Code.

const modules = {};
window.define = (name, needs, make) => {
  if (typeof name === "string") modules[name] = (make || needs)();
  else modules.anywidget = needs(...name.map((need) => modules[need]));
};
window.requirejs = window.require = (names, done) => done(...names.map((name) => modules[name]));

const ORDER = ["application/vnd.jupyter.widget-view+json", "text/html", "image/svg+xml", "text/plain"];
const places = {}, shown = [];

window.startVSCode = async (kernel) => {
  window.kernel = kernel;
  window.vscIPyWidgets8.load();
  const loader = { widgetsRegisteredInRequireJs: new Set(["anywidget"]), loadWidgetScript() {}, successHandler() {}, errorHandler: (...what) => shown.push(String(what)) };
  window.manager = new window.vscIPyWidgets.WidgetManager(kernel, document.body, loader, () => {});
};

async function show(data, place) {
  const mime = ORDER.find((one) => one in data);
  place.replaceChildren();
  place.dataset.mime = mime;
  if (mime === ORDER[0]) {
    place.classList.add("cell-output-ipywidget-background");
    place.tabIndex = 0;
    const model = await window.manager.get_model(data[mime].model_id);
    const view = await window.manager.create_view(model, { el: place });
    await window.manager.display_view(data[mime], view, { node: place });
  } else if (mime === "text/plain") place.append(Object.assign(document.createElement("pre"), { textContent: data[mime] }));
  else place.innerHTML = data[mime];
}

window.runCell = async (code) => {
  const cell = document.createElement("div");
  cell.className = "cell_container";
  document.getElementById("container").append(cell);
  const future = window.kernel.requestExecute({ code });
  const rest = [];
  future.onIOPub = ({ header, content }) => {
    if (header.msg_type === "error") throw new Error(content.evalue);
    if (!["display_data", "execute_result", "update_display_data"].includes(header.msg_type)) return;
    const id = content.transient?.display_id;
    let place = header.msg_type.startsWith("update") ? places[id] : null;
    if (!place) {
      const container = document.createElement("div");
      container.className = "output_container";
      place = document.createElement("div");
      place.className = "output";
      container.append(place);
      cell.append(container);
      if (id) places[id] = place;
    }
    rest.push(show(content.data, place));
  };
  const reply = await future.done;
  await Promise.all(rest);
  return reply.content.status;
};
