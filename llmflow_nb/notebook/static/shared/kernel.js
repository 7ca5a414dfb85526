// Requests to the kernel. It counts the requests that it has received, so that its silence is noticed.

const SILENT =
  "The kernel does not answer: it is busy with another cell, or was restarted. After a restart, run this cell again.";

function kernelOf(model, say) {
  let requested = 0, timer = null;
  const waiting = new Map(); // of whole texts that were asked for
  const answered = () => model.get("status").answers || 0;
  function request(content) {
    requested = answered() + 1;
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (answered() < requested) say(SILENT);
    }, 1500);
    try {
      model.send(content);
    } catch (error) {
      say(SILENT); // the connection to the kernel is closed
    }
  }
  function whole(id) {
    request({ do: "whole", id });
    return new Promise((done) => waiting.set(id, done));
  }
  function receive(content) {
    waiting.get(content.whole)?.(content.text);
    waiting.delete(content.whole);
  }
  return { request, whole, receive, forget: () => clearTimeout(timer) };
}

// Draw what the kernel sends from now on. Returns the function that ends this.
function follow(model, shows) {
  const event = (name) => (name.includes(":") ? name : "change:" + name);
  for (const [name, show] of Object.entries(shows)) model.on(event(name), show);
  return () => {
    for (const [name, show] of Object.entries(shows)) model.off(event(name), show);
  };
}
