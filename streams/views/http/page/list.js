// The list of conversations: tabs, filters, a page of rows.

import { MOST, TABS } from "./conversations.js";
import { arrange, make, say, spoken } from "./dom.js";
import { content, mark } from "./marks.js";
import { duration, lately, number, whole } from "./times.js";

const PAGE = 100;
const HUES = 6;

const FILTERS = {
  status: ["status-filter", "Any status"],
  service: ["service-filter", "Any service"],
  organization: ["organization-filter", "All organizations"],
};

const at = (id) => document.getElementById(id);

export class List {
  #conversations;
  #open;
  #wanted = { tab: "all", search: "", status: null, service: null, organization: null };
  #page = 0;
  #rows = new Map();
  #tabs = {};
  #current = null;
  #held = false;

  /** `open(id)` is called when a conversation is chosen, `changed()` when other ones are wanted. */
  constructor(conversations, open, changed) {
    this.#conversations = conversations;
    this.#open = open;
    const wanted = (change) => {
      Object.assign(this.#wanted, change);
      this.#page = 0;
      at("rows").scrollTop = 0;
      changed();
    };
    for (const [name, { label }] of Object.entries(TABS)) {
      const count = make("span", { class: "count" });
      const tab = make(
        "button", { type: "button", "data-tab": name, "aria-pressed": "false", click: () => wanted({ tab: name }) },
        `${label} `, count,
      );
      this.#tabs[name] = { tab, count };
      at("tabs").append(tab);
    }
    at("search").addEventListener("input", (event) => wanted({ search: event.target.value }));
    for (const [name, [id, any]] of Object.entries(FILTERS)) {
      at(id).append(make("option", { value: "" }, any));
      at(id).addEventListener("change", (event) => {
        wanted({ [name]: event.target.selectedIndex ? event.target.selectedOptions[0].textContent : null });
      });
    }
    at("previous").addEventListener("click", () => { this.#turn(-1); changed(); });
    at("next").addEventListener("click", () => { this.#turn(1); changed(); });
    // A row that moved away under a finger or a mouse would not be the one that is opened.
    at("rows").addEventListener("pointerdown", () => { this.#held = true; });
    for (const end of ["pointerup", "pointercancel"]) {
      // The click comes after it.
      document.addEventListener(end, () => setTimeout(() => { this.#held = false; }));
    }
    at("rows").addEventListener("keydown", (event) => this.#key(event));
  }

  /** Show what is wanted now; `ready` is whether all has been told. */
  show(ready) {
    const { found, tabs, choices } = this.#conversations.select(this.#wanted);
    for (const [name, { tab, count }] of Object.entries(this.#tabs)) {
      tab.setAttribute("aria-pressed", String(name === this.#wanted.tab));
      say(count, number(tabs[name]));
    }
    for (const [name, values] of Object.entries(choices)) this.#choices(name, values);
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    this.#page = Math.min(this.#page, pages - 1);
    const first = this.#page * PAGE;
    const shown = found.slice(first, first + PAGE);
    if (!this.#held) this.#rowsOf(shown);
    at("previous").disabled = this.#page === 0;
    at("next").disabled = this.#page === pages - 1;
    const whole = this.#conversations.size >= MOST ? ` (the ${number(MOST)} latest)` : "";
    say(at("shown"), found.length ? `${number(first + 1)} to ${number(first + shown.length)} of ${number(found.length)}${whole}` : "");
    at("empty").hidden = !ready || found.length > 0;
    say(at("empty"), this.#conversations.size ? "No conversation is like that." : "There is no conversation yet. The first one appears here by itself.");
  }

  /** Mark the conversation that is open. */
  choose(id) {
    this.#current = id;
    for (const [key, row] of this.#rows) row.button.setAttribute("aria-current", String(key === id));
    this.#rove();
  }

  /** Put the focus on a conversation, or on the heading if it is not on this page. */
  focus(id) {
    (this.#rows.get(id)?.button ?? at("list-heading")).focus();
  }

  get waiting() {
    return Number(this.#tabs.waiting.count.textContent.replaceAll(/\D/g, ""));
  }

  #turn(by) {
    this.#page += by;
    at("rows").scrollTop = 0;
  }

  #rowsOf(shown) {
    const focused = document.activeElement;
    const index = [...at("rows").children].findIndex((item) => item.contains(focused));
    const rows = new Map();
    const now = Date.now();
    for (const one of shown) {
      const row = this.#rows.get(one.id) ?? this.#row(one.id);
      if (row.one !== one || row.minute !== Math.floor(now / 60_000)) this.#fill(row, one, now);
      rows.set(one.id, row);
    }
    this.#rows = rows;
    arrange(at("rows"), [...rows.values()].map((row) => row.item));
    // Whoever was at a row that has gone goes on at the one that took its place.
    if (index >= 0 && !focused.isConnected) {
      const items = at("rows").children;
      (items[Math.min(index, items.length - 1)]?.firstElementChild ?? at("list-heading")).focus();
    }
    this.#rove();
  }

  /** One row can be reached by the tabulator; arrows lead to the others. */
  #rove() {
    const buttons = [...this.#rows.values()].map((row) => row.button);
    const reached = buttons.find((button) => button === document.activeElement)
      ?? this.#rows.get(this.#current)?.button ?? buttons[0];
    for (const button of buttons) button.tabIndex = button === reached ? 0 : -1;
  }

  #row(id) {
    const button = make("button", { type: "button", class: "row", "aria-current": String(id === this.#current), click: () => this.#open(id) });
    button.dataset.id = id;
    return { item: make("li", {}, button), button, one: null, minute: null };
  }

  #fill(row, one, now) {
    row.one = one;
    row.minute = Math.floor(now / 60_000);
    const last = one.last;
    const name = one.name ?? `Conversation ${one.id}`;
    const preview = make("span", { class: "preview" });
    if (last) {
      const delivery = last.direction === "outgoing" && last.delivery ? mark(last.delivery) : null;
      preview.append(...[delivery, last.direction === "outgoing" ? spoken("You: ") : null, ...content(last)].filter(Boolean));
    } else {
      preview.append(make("span", { class: "none" }, "No messages yet"));
    }
    const chips = make("span", { class: "chips" });
    if (one.awaiting && one.incomingAt !== null) {
      const waited = Math.max(0, now - one.incomingAt);
      chips.append(make("span", { class: `chip wait ${waitClass(waited)}` }, `waiting ${waited < 60_000 ? "< 1 min" : duration(waited)}`));
    }
    if (one.failed) chips.append(make("span", { class: "chip bad" }, `${number(one.failed)} failed`));
    if (one.scheduled) chips.append(make("span", { class: "chip" }, `${number(one.scheduled)} scheduled`));
    if (one.archived) chips.append(make("span", { class: "chip" }, "archived"));
    if (one.status !== null) chips.append(make("span", { class: "chip" }, one.status));
    if (one.service !== null) chips.append(make("span", { class: "chip plain" }, one.service));
    row.button.replaceChildren(
      make("span", { class: `avatar hue-${hue(one.id)}`, "aria-hidden": "true" }, initials(one)),
      make("span", { class: "name", dir: "auto" }, name),
      make("time", { title: one.at ? whole(one.at) : null }, one.at ? lately(one.at, now) : ""),
      preview,
      one.unread ? make("span", { class: "unread" }, number(one.unread), spoken(" unread")) : make("span"),
      chips,
    );
  }

  #choices(name, values) {
    const select = at(FILTERS[name][0]);
    const wanted = this.#wanted[name];
    if (wanted !== null) values.add(wanted);
    const sorted = [...values].sort();
    const known = [...select.options].slice(1).map((option) => option.textContent);
    if (sorted.length !== known.length || sorted.some((value, index) => value !== known[index])) {
      select.replaceChildren(select.options[0], ...sorted.map((value) => make("option", {}, value)));
      select.selectedIndex = wanted === null ? 0 : sorted.indexOf(wanted) + 1;
    }
    // With one organization there is nothing to choose.
    if (name === "organization") select.hidden = sorted.length < 2;
  }

  #key(event) {
    const buttons = [...this.#rows.values()].map((row) => row.button);
    const index = buttons.indexOf(document.activeElement);
    if (index < 0 || event.ctrlKey || event.altKey || event.metaKey) return;
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8, Home: -buttons.length, End: buttons.length };
    if (!(event.key in steps)) return;
    event.preventDefault();
    buttons[Math.min(buttons.length - 1, Math.max(0, index + steps[event.key]))].focus();
    this.#rove();
  }
}

function waitClass(ms) {
  if (ms > 3_600_000) return "long";
  return ms > 600_000 ? "some" : "short";
}

function initials(one) {
  const words = one.named ? one.name.trim().split(/\s+/u).filter((word) => /^\p{L}/u.test(word)) : [];
  if (!words.length) return (one.address ?? one.id).slice(-2);
  const letters = words.length > 1 ? [words[0], words.at(-1)] : [words[0]];
  return letters.map((word) => [...word][0].toUpperCase()).join("");
}

function hue(id) {
  let sum = 0;
  for (let index = 0; index < id.length; index += 1) sum = (sum * 31 + id.charCodeAt(index)) % 65_521;
  return sum % HUES;
}
