(() => {
  "use strict";
  const part = (name) => document.getElementById("explorer-" + name);
  const data = JSON.parse(part("data").textContent);
  const method = part("method"), slider = part("rank"), places = part("figures").children;
  let wanted = data.rank;

  // The ring in a figure moves to the same place of the sweep.
  const move = () => {
    for (const [name, rows] of Object.entries(data.marks)) {
      const [x, y] = rows[method.value][slider.value];
      const mark = document.getElementById(name + "-mark"), ring = mark.querySelector("circle");
      mark.setAttribute("visibility", x === null ? "hidden" : "visible");
      mark.setAttribute("transform", "translate(" + (x ?? 0) + ",0)");
      ring.setAttribute("visibility", y === null ? "hidden" : "inherit");
      ring.setAttribute("cy", y ?? 0);
    }
  };
  // Every name may be a stranger's: text only, no markup.
  const show = () => {
    const found = data.methods[method.value], row = found.rows[slider.value];
    slider.setAttribute("aria-valuetext", String(row.rank));
    part("said").textContent = row.said;
    part("command").textContent = data.command.replace(/RANK --method METHOD$/, row.rank + " --method " + found.name);
    part("copied").textContent = "";
    row.figures.forEach((pair, index) => {
      const [, value, under] = places[index].children;
      value.textContent = pair[0];
      under.textContent = pair[1];
    });
    move();
  };
  // Methods were measured at ranks of their own: the nearest one stands.
  const choose = () => {
    const ranks = data.methods[method.value].rows.map((row) => row.rank);
    const far = ranks.map((rank) => Math.abs(rank - wanted));
    slider.max = ranks.length - 1;
    slider.value = far.indexOf(Math.min(...far));
    part("least").textContent = ranks[0];
    part("most").textContent = ranks[ranks.length - 1];
    show();
  };
  slider.addEventListener("input", () => {
    wanted = data.methods[method.value].rows[slider.value].rank;
    show();
  });
  method.addEventListener("change", choose);
  part("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(part("command").textContent);
      part("copied").textContent = "Copied.";
    } catch {
      // A browser that keeps the clipboard to itself: the words are marked for the keyboard.
      getSelection().selectAllChildren(part("command"));
      part("copied").textContent = "Selected: press Ctrl+C.";
    }
  });
  method.value = data.first;
  choose();
  part("whole").hidden = false;
})();
