// What the page knows of all conversations, and which of them are wanted in which order.

import { instant } from "./times.js";

// More would be too much for a browser; the latest are kept.
export const MOST = 50_000;

export const TABS = {
  all: { label: "All", has: () => true },
  waiting: { label: "Waiting", has: (one) => one.awaiting && !one.archived, first: "longest" },
  unanswered: { label: "Unanswered", has: (one) => one.unanswered > 0 && !one.archived, first: "longest" },
  unread: { label: "Unread", has: (one) => one.unread > 0 },
  failed: { label: "Failed", has: (one) => one.failed > 0 },
  archived: { label: "Archived", has: (one) => one.archived },
};

/** Return the name of a conversation, else that of its contact; null if nobody has named either. */
export function nameOf(state) {
  return state.name || state.contact?.name || null;
}

/** Return the part of a conversation that lists need. */
function summary(state) {
  const last = state.last_message;
  const name = nameOf(state);
  return {
    id: state.id,
    organization: state.organization_id,
    service: state.service,
    status: state.status,
    name: name ?? state.contact_address ?? state.group_address,
    named: name !== null,
    address: state.contact_address ?? state.group_address,
    at: instant(state.active_at) ?? 0,
    messages: state.message_count,
    counts: state.status_counts,
    failed: state.failed_count,
    scheduled: state.scheduled_count,
    unanswered: state.unanswered_count,
    archived: state.archived,
    unread: state.unread_count,
    awaiting: state.awaiting_reply,
    incomingAt: instant(state.last_incoming_at),
    last: last && {
      id: last.message_id,
      direction: last.direction,
      type: last.type,
      kind: last.kind,
      preview: last.preview,
      at: instant(last.timestamp),
      delivery: last.delivery_status,
    },
  };
}

export class Conversations {
  #known = new Map();
  #coming = null;

  get size() {
    return this.#known.size;
  }

  /** How many have come of those that are about to replace all, null if none are. */
  get coming() {
    return this.#coming?.size ?? null;
  }

  get(id) {
    return this.#known.get(id);
  }

  values() {
    return this.#known.values();
  }

  /** All is told anew from here on; what is known stays until all of it has come. */
  begin() {
    this.#coming = new Map();
  }

  /** All has been told. */
  ready() {
    if (this.#coming) this.#known = this.#coming;
    this.#coming = null;
    this.#trim(MOST);
  }

  clear() {
    this.#known = new Map();
    this.#coming = null;
  }

  /** Keep a conversation; return what it was before (undefined if it is new) and what it is. */
  set(state) {
    const one = summary(state);
    const map = this.#coming ?? this.#known;
    const before = map.get(one.id);
    map.set(one.id, one);
    if (map === this.#known) this.#trim(MOST * 1.1);
    return [before, one];
  }

  remove(id) {
    (this.#coming ?? this.#known).delete(id);
  }

  /** Return those that are wanted, in order, how many each tab would have, and the values to choose from. */
  select(wanted) {
    const found = [];
    const tabs = Object.fromEntries(Object.keys(TABS).map((name) => [name, 0]));
    const choices = { status: new Set(), service: new Set(), organization: new Set() };
    const text = wanted.search.trim().toLowerCase();
    for (const one of this.#known.values()) {
      for (const [name, values] of Object.entries(choices)) if (one[name] !== null) values.add(one[name]);
      if (wanted.status !== null && one.status !== wanted.status) continue;
      if (wanted.service !== null && one.service !== wanted.service) continue;
      if (wanted.organization !== null && one.organization !== wanted.organization) continue;
      if (text && !matches(one, text)) continue;
      for (const name of Object.keys(TABS)) if (TABS[name].has(one)) tabs[name] += 1;
      if (TABS[wanted.tab].has(one)) found.push(one);
    }
    found.sort(TABS[wanted.tab].first === "longest" ? byWait : byActivity);
    return { found, tabs, choices };
  }

  #trim(most) {
    if (this.#known.size <= most) return;
    this.#known = new Map([...this.#known.values()].sort(byActivity).slice(0, MOST).map((one) => [one.id, one]));
  }
}

const byId = (one, other) => (one.id < other.id ? 1 : -1);
const byActivity = (one, other) => other.at - one.at || byId(one, other);
/** Who has waited the longest comes first. */
const byWait = (one, other) => (one.incomingAt ?? 0) - (other.incomingAt ?? 0) || byId(one, other);

function matches(one, text) {
  one.words ??= [one.name, one.address, one.last?.preview, one.id].filter(Boolean).join("\n").toLowerCase();
  return one.words.includes(text);
}
