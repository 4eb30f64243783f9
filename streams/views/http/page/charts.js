// Small charts: bars, one for each value. What they show is told in words too.

import { draw } from "./dom.js";

const WIDTH = 240;
const HEIGHT = 44;

/** Return bars for values; `labels` (one for each) are shown when one points at a bar, `tone` is a class. */
export function bars(values, labels, tone, text) {
  const most = Math.max(1, ...values);
  const step = WIDTH / values.length;
  const gap = Math.min(2, step / 4);
  const chart = draw("svg", {
    class: `chart ${tone}`, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": text,
  });
  values.forEach((value, index) => {
    // What is there at all can be seen.
    const height = value ? Math.max(3, (value / most) * HEIGHT) : 1;
    chart.append(
      draw(
        "rect",
        {
          class: value ? null : "zero", x: (index * step + gap / 2).toFixed(2), y: (HEIGHT - height).toFixed(2),
          width: (step - gap).toFixed(2), height: height.toFixed(2), rx: 1,
        },
        draw("title", {}, labels[index]),
      ),
    );
  });
  return chart;
}
