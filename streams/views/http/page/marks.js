// How far a message has come, as messaging apps show it.

import { draw, make, spoken } from "./dom.js";

const CLOCK = ["M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8z", "M8 4.6V8l2.3 1.6"];
const ONE = ["m4.2 8.4 3 3 5.6-6.6"];
const TWO = ["m1.4 8.4 3 3L10 4.8", "m7.6 10.6.8.8L14 4.8"];
const FAILED = ["M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8z", "M8 4.7v4", "M8 11v.3"];
const GONE = ["M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8z", "m3.8 3.8 8.4 8.4"];

/** Each delivery status: its words and its lines. */
const MARKS = {
  pending: ["Pending", CLOCK],
  held_for_quality_assessment: ["Held for quality assessment", CLOCK],
  accepted: ["Accepted", CLOCK],
  sent: ["Sent", ONE],
  delivered: ["Delivered", TWO],
  read: ["Read", TWO],
  failed: ["Failed", FAILED],
  deleted: ["Deleted", GONE],
};

/** Return the words for a status, which may be one that nobody has heard of. */
export function statusText(status) {
  return MARKS[status]?.[0] ?? status.replaceAll("_", " ");
}

/** Return the mark of an outgoing message, null for none. */
export function mark(status) {
  const [text, lines] = MARKS[status] ?? [null, null];
  if (text === null) return null;
  return make(
    "span",
    { class: "mark", "data-status": status, title: text },
    draw("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, ...lines.map((d) => draw("path", { d }))),
    spoken(`${text}: `),
  );
}

/** Return what stands for a message: its words, and what it is if it is more than words. */
export function content(message) {
  const parts = [];
  const kind = message.kind ?? message.type;
  if (kind !== null && kind !== "text") parts.push(make("span", { class: "kind" }, kind.replaceAll("_", " ")));
  if (message.preview) parts.push(make("bdi", {}, message.preview));
  else if (!parts.length) parts.push(make("span", { class: "none" }, "No text"));
  return parts;
}
