// The newest dead letters: what was refused, when and why, and the command that shows each of them whole.

import { ask } from "./api.js";
import { make, say } from "./dom.js";
import { instant, number, whole } from "./times.js";

const at = (id) => document.getElementById(id);

/** Show them; `refused(error)` is told of an answer that is none. */
export async function showLetters(refused) {
  say(at("dead-letters-about"), "Loading …");
  at("dead-letters-list").replaceChildren();
  if (!at("dead-letters").open) at("dead-letters").showModal();
  try {
    const { records, newest } = await (await ask("/dead-letters")).json();
    const some = newest.length < records ? `, the newest ${number(newest.length)} of them here` : "";
    say(at("dead-letters-about"), records ? `${number(records)} in the topic${some}. Redrive them with bridge dead-letters redrive.` : "There are none.");
    at("dead-letters-list").replaceChildren(...newest.map(item));
  } catch (error) {
    say(at("dead-letters-about"), `They cannot be shown: ${error.text ?? error.message}`);
    refused(error);
  }
}

function item(letter) {
  const of = [letter.entity, letter.key].filter(Boolean).join(" ");
  const made = instant(letter.made_at);
  return make("li", {},
    make("p", { class: "why" }, make("strong", {}, letter.reason ?? "not readable"), letter.origin === null ? null : ` · ${letter.origin}`, of ? ` · ${of}` : null),
    letter.detail === null ? null : make("p", { dir: "auto" }, letter.detail),
    make("p", { class: "when" }, made === null ? letter.made_at : whole(made)),
    make("code", {}, `bridge dead-letters show ${letter.position}`));
}
