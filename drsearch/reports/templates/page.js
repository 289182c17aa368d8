"use strict";
(async () => {
  const read = (script) => JSON.parse(script.textContent);
  const plots = [...document.querySelectorAll(".plot")];
  const texts = read(document.getElementById("trials"));
  const template = read(document.getElementById("template"));

  // Plotly, unpacked by the browser.
  const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (c) => c.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(unpacked).text();
  document.head.append(script);

  const coarse = matchMedia("(pointer: coarse)").matches;
  for (const plot of plots) {
    const figure = read(plot.nextElementSibling);
    figure.layout.template = template;
    if (coarse) figure.layout.dragmode = false; // a finger scrolls the page
    await Plotly.newPlot(plot, figure.data, figure.layout, { displayModeBar: false, responsive: true });
    plot.on("plotly_click", (event) => {
      const trial = trialOf(event.points[0]);
      if (trial !== undefined) choose(trial === chosen ? null : trial);
    });
  }

  // A trial that is chosen in one figure is marked in all.
  let chosen = null;

  function trialOf(point) {
    const meta = point.data.meta || {};
    if (meta.linked) return point.customdata;
    return meta.trial;
  }

  function choose(trial) {
    chosen = trial;
    for (const plot of plots) mark(plot, trial);
    for (const row of document.querySelectorAll("[data-trial]")) {
      row.classList.toggle("marked", row.dataset.trial === String(trial));
    }
    for (const button of document.querySelectorAll("[data-pick]")) {
      button.setAttribute("aria-pressed", button.dataset.pick === String(trial));
    }
    const bar = document.querySelector(".chosen");
    bar.hidden = trial === null;
    bar.firstElementChild.textContent = trial === null ? "" : texts[trial] || `Trial ${trial}`;
  }

  function mark(plot, trial) {
    const none = trial === null;
    plot.kept ??= { lines: plot.data.map((trace) => [trace.opacity ?? 1, trace.line?.width ?? 2]), shapes: plot.layout.shapes || [] };
    const shapes = [...plot.kept.shapes];
    plot.data.forEach((trace, i) => {
      const meta = trace.meta || {};
      if (meta.trial !== undefined) {
        const [opacity, width] = plot.kept.lines[i];
        const isIt = meta.trial === trial;
        Plotly.restyle(plot, { opacity: none || isIt ? opacity : 0.15, "line.width": isIt ? Math.max(4, width) : width }, [i]);
      } else if (meta.linked && trace.type === "heatmap") {
        trace.customdata.forEach((row, y) => row.forEach((of, x) => {
          if (!none && of === trial) {
            shapes.push({ type: "rect", x0: x - 0.5, x1: x + 0.5, y0: y - 0.5, y1: y + 0.5, line: { width: 4, color: "#d9630f" } });
          }
        }));
      } else if (meta.linked) {
        const places = trace.customdata.flatMap((of, place) => (of === trial ? [place] : []));
        const look = { selectedpoints: [none ? null : places], "selected.marker.opacity": 1, "unselected.marker.opacity": 0.2 };
        Plotly.restyle(plot, look, [i]);
      }
    });
    if (shapes.length !== (plot.layout.shapes || []).length) Plotly.relayout(plot, { shapes });
  }

  for (const button of document.querySelectorAll("[data-pick]")) {
    button.addEventListener("click", () => choose(button.dataset.pick === String(chosen) ? null : Number(button.dataset.pick)));
  }
  document.querySelector(".chosen button").addEventListener("click", () => choose(null));
  addEventListener("keydown", (event) => { if (event.key === "Escape") choose(null); });

  // Sliders.
  for (const box of document.querySelectorAll(".slider")) {
    const input = box.querySelector("input");
    const rows = read(box.querySelector("script"));
    const show = () => {
      const row = rows[input.value];
      for (const output of box.querySelectorAll("output")) output.textContent = row[output.dataset.row];
      input.setAttribute("aria-valuetext", row.position);
      const plot = box.querySelector(".plot");
      if (plot) Plotly.relayout(plot, { "shapes[0].x0": row.x, "shapes[0].x1": row.x });
    };
    input.addEventListener("input", show);
    show();
  }

  // The section that is read now, in the table of contents.
  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const visible = new Set();
  const watch = new IntersectionObserver((changes) => {
    for (const change of changes) visible[change.isIntersecting ? "add" : "delete"](change.target.id);
    const here = [...links.keys()].find((id) => visible.has(id));
    for (const [id, link] of links) link.classList.toggle("here", id === here);
  }, { rootMargin: "-10% 0px -60% 0px" });
  document.querySelectorAll("section").forEach((section) => watch.observe(section));
  if (location.protocol === "blob:") { // in MLflow's frame, where the browser refuses links within a page
    for (const [id, link] of links) {
      link.addEventListener("click", (event) => { event.preventDefault(); document.getElementById(id).scrollIntoView(); });
    }
  }
  if (matchMedia("(max-width: 900px)").matches) document.querySelector("nav details").open = false;

  // Print: figures as wide as the paper.
  const fit = (printing) => {
    document.documentElement.classList.toggle("printing", printing);
    for (const plot of plots) Plotly.relayout(plot, printing ? { width: plot.clientWidth } : { width: null, autosize: true });
  };
  addEventListener("beforeprint", () => fit(true));
  addEventListener("afterprint", () => fit(false));

  document.documentElement.dataset.ready = "yes";
})();
