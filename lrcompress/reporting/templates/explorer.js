(() => {
  "use strict";
  const part = (name) => document.getElementById("explorer-" + name);
  const data = JSON.parse(part("data").textContent);
  const method = part("method"), slider = part("rank"), places = part("figures").children;
  let wanted = data.rank;

  // Every name may be a stranger's: text only, no markup.
  const show = () => {
    const row = data.methods[method.value].rows[slider.value];
    slider.setAttribute("aria-valuetext", String(row.rank));
    part("said").textContent = row.said;
    row.figures.forEach((pair, index) => {
      const [, value, under] = places[index].children;
      value.textContent = pair[0];
      under.textContent = pair[1];
    });
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
  method.value = data.first;
  choose();
  part("whole").hidden = false;
})();
