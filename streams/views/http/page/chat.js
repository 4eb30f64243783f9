// One conversation: its messages from old to new, each with the times of its statuses.

import { ask, partitionsText, Refused } from "./api.js";
import { nameOf } from "./conversations.js";
import { arrange, make, say, spoken } from "./dom.js";
import { content, mark, statusText } from "./marks.js";
import { Reactions } from "./reactions.js";
import { Stream } from "./stream.js";
import { clock, dayOf, duration, instant, minutes, number, whole } from "./times.js";

// Above this a preview has been cut.
const PREVIEW = 280;
const NEAR_PX = 80;
const OLDER = 50;

const at = (id) => document.getElementById(id);

export class Chat {
  #id = null;
  #stream = null;
  #messages = new Map();
  #items = new Map();
  #cursor = null;
  #announce;
  #refused;
  #ready = false;
  #state = null;
  #gone = false;
  #reactions;

  /** `announce(text)` tells people aloud, `refused(error)` is told of answers that are none. */
  constructor(announce, refused) {
    this.#announce = announce;
    this.#refused = refused;
    this.#reactions = new Reactions(async (id) => (await ask(`/messages/${encodeURIComponent(id)}`)).json());
    at("older").addEventListener("click", () => this.#older());
  }

  get id() {
    return this.#id;
  }

  /** Show another conversation, or none. */
  open(id) {
    if (id === this.#id) return;
    this.#stream?.stop();
    this.#stream = null;
    this.#id = id;
    this.#messages.clear();
    this.#items.clear();
    this.#ready = false;
    this.#state = null;
    this.#reactions.clear();
    this.tick();
    at("messages").replaceChildren();
    at("facts").replaceChildren();
    at("older").hidden = true;
    this.#notice(null);
    at("chat").hidden = id === null;
    at("nothing").hidden = id !== null;
    if (id === null) return;
    say(at("chat-name"), id);
    say(at("chat-about"), "");
    this.#listen();
  }

  /** Begin to show the open conversation if it did not exist until now: a link may be faster than its first webhook. */
  exists(id) {
    if (id === this.#id && this.#gone) this.#listen();
  }

  #listen() {
    this.#gone = false;
    this.#stream = new Stream(
      `/conversations/${encodeURIComponent(this.#id)}/events`,
      (name, data) => this.#told(name, data),
      (state, refused) => this.#streamState(state, refused),
    );
    this.#stream.start();
  }

  /** Hear nothing while nobody looks. */
  pause() {
    this.#stream?.stop();
  }

  resume() {
    if (!this.#gone) this.#stream?.start();
  }

  /** Show what depends on the time. */
  tick() {
    const until = instant(this.#state?.reply_window_until);
    at("chat-window").hidden = until === null;
    if (until === null) return;
    const left = until - Date.now();
    at("chat-window").dataset.state = left > 0 ? "open" : "closed";
    say(at("chat-window"), left > 0 ? `Reply window until ${minutes(until)}, ${duration(left)} left` : `Reply window ended ${minutes(until)}`);
  }

  #streamState(state, refused) {
    if (state === "lost") this.#notice(`Reconnecting: ${refused.text}`);
    else if (state === "gone") this.#leave("There is no such conversation.");
    else if (state === "signed-out") this.#refused(refused);
  }

  #told(name, data) {
    if (name === "waiting") {
      this.#notice(`Waiting: ${partitionsText(data.partitions)} will be ready soon`);
    } else if (name === "ready") {
      this.#notice(null);
    } else if (name === "removed") {
      this.#stream.stop();
      this.#leave("This conversation was removed.");
    } else if (name === "snapshot") {
      const again = this.#ready;
      this.#messages.clear();
      for (const message of data.messages) this.#messages.set(message.id, message);
      this.#about(data.conversation);
      this.#show(!again);
      this.#ready = true;
      this.#older(0);
    } else if (name === "change") {
      const came = data.messages.filter((message) => !this.#messages.has(message.id) && message.direction === "incoming");
      // An older one than those that are shown comes with its page.
      const oldest = Math.min(...[...this.#messages.values()].map(timeOf));
      for (const message of data.messages) {
        if (this.#messages.has(message.id) || at("older").hidden || timeOf(message) >= oldest) this.#messages.set(message.id, message);
      }
      for (const id of data.removed_messages) this.#messages.delete(id);
      this.#about(data.conversation);
      this.#show(false);
      if (came.length) this.#announce(`New message: ${came.at(-1).preview ?? came.at(-1).kind ?? ""}`);
    }
  }

  #leave(text) {
    this.#gone = true;
    this.#notice(text);
  }

  #notice(text) {
    at("chat-notice").hidden = text === null;
    say(at("chat-notice"), text ?? "");
  }

  /** Show older messages; 0: only find out whether there are any. */
  async #older(limit = OLDER) {
    const id = this.#id;
    const shown = this.#messages.size;
    if (limit === 0) {
      // The snapshot has the newest 50; a full one may have older ones before it.
      at("older").hidden = shown < OLDER;
      this.#cursor = null;
      return;
    }
    at("older").disabled = true;
    try {
      if (this.#cursor === null) this.#cursor = await this.#cursorBelow(id, shown);
      let page = { messages: [], next_cursor: null };
      if (this.#cursor !== null) {
        page = await messagesOf(id, limit, this.#cursor);
      }
      if (id !== this.#id) return;
      for (const message of page.messages) if (!this.#messages.has(message.id)) this.#messages.set(message.id, message);
      this.#cursor = page.next_cursor;
      at("older").hidden = page.next_cursor === null;
      const scroll = at("scroll");
      const below = scroll.scrollHeight - scroll.scrollTop;
      this.#show(false, false);
      scroll.scrollTop = scroll.scrollHeight - below;
      if (at("older").hidden) scroll.focus({ preventScroll: true });
    } catch (error) {
      this.#refused(error);
      if (id === this.#id) this.#notice(`Older messages: ${error.text ?? error.message}`);
    } finally {
      at("older").disabled = false;
    }
  }

  /** Return the cursor below what the stream has told first. */
  async #cursorBelow(id, shown) {
    return (await messagesOf(id, Math.max(OLDER, Math.min(500, shown)), null)).next_cursor;
  }

  #about(state) {
    this.#state = state;
    this.tick();
    say(at("chat-name"), nameOf(state) ?? state.contact_address ?? state.group_address ?? `Conversation ${state.id}`);
    say(at("chat-about"), [state.contact_address ?? state.group_address, state.service, state.status].filter(Boolean).join(" · "));
    const facts = {
      Messages: number(state.message_count),
      Unread: number(state.unread_count),
      "First reply": state.first_response_seconds === null ? "–" : duration(state.first_response_seconds * 1000),
      Reply: state.awaiting_reply ? "awaited" : "–",
      ...(state.scheduled_count ? { Scheduled: number(state.scheduled_count) } : {}),
    };
    at("facts").replaceChildren(
      ...Object.entries(facts).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))),
    );
  }

  #show(toEnd, keepsEnd = true) {
    const scroll = at("scroll");
    const atEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR_PX;
    const nodes = [];
    let day = null;
    const days = new Map([...at("messages").querySelectorAll(":scope > .day")].map((node) => [node.dataset.day, node]));
    const all = [...this.#messages.values()].sort(byTime);
    this.#resolve(all);
    const drawn = this.#reactions.of(all);
    for (const message of all) {
      if (message.scheduled || this.#reactions.isDrawn(message, this.#messages)) continue;
      const when = timeOf(message);
      const today = when ? dayOf(when) : null;
      if (today !== null && today !== day) {
        day = today;
        const separator = days.get(day) ?? make("li", { class: "day", "data-day": day }, make("span", {}, day));
        days.delete(day);
        nodes.push(separator);
      }
      nodes.push(this.#item(message, drawn.get(message.id) ?? []));
    }
    // Nobody has seen them yet: they stand apart, at the end.
    const scheduled = all.filter((message) => message.scheduled);
    if (scheduled.length) {
      nodes.push(days.get("scheduled") ?? make("li", { class: "day", "data-day": "scheduled" }, make("span", {}, "Scheduled, not sent yet")));
      nodes.push(...scheduled.map((message) => this.#item(message, [])));
    }
    for (const id of this.#items.keys()) if (!this.#messages.has(id)) this.#items.delete(id);
    arrange(at("messages"), nodes);
    if (toEnd || (keepsEnd && atEnd)) scroll.scrollTop = scroll.scrollHeight;
  }

  /** Find out which messages the reactions are to, and show them there. */
  async #resolve(all) {
    const id = this.#id;
    try {
      if (await this.#reactions.resolve(all) && id === this.#id) this.#show(false);
    } catch (error) {
      // They stay messages of their own until the next change.
      this.#refused(error);
    }
  }

  #item(message, reactions) {
    const known = this.#items.get(message.id);
    const signs = reactions.map((one) => one.preview).join(" ");
    if (known?.message === message && known.signs === signs) return known.item;
    const item = known?.item ?? make("li");
    this.#items.set(message.id, { item, message, signs });
    const direction = message.direction ?? "unknown";
    item.className = `message ${["incoming", "outgoing", "internal"].includes(direction) ? direction : "internal"}`;
    item.classList.toggle("gone", message.delivery_status === "deleted");
    item.classList.toggle("scheduled", message.scheduled);
    const open = item.querySelector("details")?.open ?? false;
    const wasFocused = item.contains(document.activeElement);
    const when = timeOf(message);
    const who = { incoming: "Received", outgoing: "Sent by you", internal: "Internal note" }[direction] ?? direction;
    const details = make("details", {}, make("summary", {}, ...summaryOf(message, when)));
    details.addEventListener("toggle", () => { if (details.open) this.#details(message.id, details); });
    item.replaceChildren(...[
      spoken(`${who}: `),
      make("p", { class: "text", dir: "auto" }, ...content(message), message.preview?.length >= PREVIEW ? " …" : ""),
      details,
      reactions.length ? make("p", { class: "reactions" }, spoken("Reactions: "), ...reactions.map((one) => make("bdi", { title: reactedBy(one) }, one.preview))) : null,
    ].filter(Boolean));
    details.open = open;
    if (wasFocused) details.firstElementChild.focus({ preventScroll: true });
    return item;
  }

  /** Show all that is known of a message below its line. */
  async #details(id, details) {
    let whole;
    try {
      whole = await (await ask(`/messages/${encodeURIComponent(id)}`)).json();
    } catch (error) {
      this.#refused(error);
      details.append(make("p", { class: "error" }, error.text ?? error.message));
      return;
    }
    const { errors, ...statuses } = whole.status;
    const rows = Object.entries(statuses).filter(([, value]) => value !== null).map(([name, value]) => [statusText(name), timeText(value)]);
    for (const error of errors ?? []) rows.push(["Error", typeof error === "string" ? error : JSON.stringify(error)]);
    rows.push(["Message", whole.id]);
    if (whole.agent_id !== null) rows.push(["Agent", whole.agent_id]);
    const all = textOf(whole.content);
    details.replaceChildren(
      details.firstElementChild,
      make("dl", { class: "times" }, ...rows.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)))),
      ...(all ? [make("pre", { dir: "auto", tabindex: "0", "aria-label": "The whole content" }, all)] : []),
    );
  }
}

async function messagesOf(id, limit, cursor) {
  const after = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
  return (await ask(`/conversations/${encodeURIComponent(id)}/messages?limit=${limit}${after}`)).json();
}

function summaryOf(message, when) {
  const parts = [make("span", { class: "when" }, when ? (message.scheduled ? `to be sent ${minutes(when)}` : clock(when)) : "no time")];
  if (message.direction === "outgoing" && message.delivery_status) {
    const sign = mark(message.delivery_status);
    if (sign) parts.push(sign);
  }
  // As steps: how long each status took after the message.
  const steps = Object.entries(message.status)
    .filter(([name]) => name !== "pending")
    .map(([name, text]) => [statusText(name), instant(text)])
    .filter(([, then]) => then !== null);
  if (steps.length) {
    parts.push(make("span", { class: "steps" }, steps
      .map(([name, then]) => `${name.toLowerCase()} ${when === null ? clock(then) : `+${duration(then - when)}`}`).join(" · ")));
  }
  return parts;
}

/** Return the whole text of a content, or the content itself where it is more than text that has been shown. */
function textOf(value) {
  if (value === null) return "";
  const text = typeof value.text === "object" ? value.text?.body : value.text;
  if (value.type === "text" && typeof text === "string") return text.length >= PREVIEW ? text : "";
  return JSON.stringify(value, null, 2);
}

function reactedBy(reaction) {
  const when = timeOf(reaction);
  return `${reaction.direction === "outgoing" ? "By you" : "By the contact"}${when ? `, ${clock(when)}` : ""}`;
}

function timeText(value) {
  const then = typeof value === "string" ? instant(value) : null;
  return then === null ? JSON.stringify(value) : whole(then);
}

const timeOf = (message) => instant(message.timestamp) ?? 0;
const byTime = (one, other) => timeOf(one) - timeOf(other) || (one.id < other.id ? -1 : 1);
