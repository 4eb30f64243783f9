// Reactions: messages that are drawn on the message that they are to.

// The reference may be the messaging service's id, which lists do not have: so many messages before it are asked for theirs.
const LOOKED_AT = 30;

export const isReaction = (message) => message.kind === "reaction";

export class Reactions {
  #ask;
  #targets = new Map();
  #externals = new Map();
  #asked = new Set();
  #resolving = false;

  /** `ask(id)` returns all that is known of a message. */
  constructor(ask) {
    this.#ask = ask;
  }

  clear() {
    this.#targets.clear();
    this.#externals.clear();
    this.#asked.clear();
  }

  /** Whether a message is a reaction to one of those that are shown. */
  isDrawn(message, shown) {
    return isReaction(message) && shown.has(this.#targets.get(message.id));
  }

  /** Return the reactions to each message: the last one of each side; a text that is empty takes it back. */
  of(messages) {
    const found = new Map();
    for (const message of messages) {
      const target = isReaction(message) ? this.#targets.get(message.id) : undefined;
      if (target === undefined || target === null) continue;
      if (!found.has(target)) found.set(target, new Map());
      found.get(target).set(message.direction, message);
    }
    return new Map([...found].map(([id, sides]) => [id, [...sides.values()].filter((one) => one.preview)]));
  }

  /** Find the messages of reactions that are new; return whether there was one. `messages` are in order. */
  async resolve(messages) {
    const open = messages.filter((message) => isReaction(message) && !this.#targets.has(message.id));
    if (!open.length || this.#resolving) return false;
    this.#resolving = true;
    try {
      for (const reaction of open) {
        const { content } = await this.#ask(reaction.id);
        const reference = content?.re_message_id ?? null;
        const before = messages.slice(0, messages.indexOf(reaction)).filter((message) => !isReaction(message)).reverse();
        this.#targets.set(reaction.id, reference === null ? null : await this.#find(reference, before));
      }
    } finally {
      this.#resolving = false;
    }
    return true;
  }

  async #find(reference, before) {
    if (before.some((message) => message.id === reference)) return reference;
    for (const message of before.slice(0, LOOKED_AT)) {
      if (this.#externals.has(reference)) break;
      if (this.#asked.has(message.id)) continue;
      this.#asked.add(message.id);
      const { external_id: external } = await this.#ask(message.id);
      if (external !== null) this.#externals.set(external, message.id);
    }
    return this.#externals.get(reference) ?? null;
  }
}
