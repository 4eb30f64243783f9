// Numbers of what goes on: rates, how long deliveries take, and how the pipeline is.

import { ask } from "./api.js";
import { bars } from "./charts.js";
import { make, say } from "./dom.js";
import { showLetters } from "./letters.js";
import { clock, duration, number } from "./times.js";

const STEP_MS = 10_000;
const STEPS = 60;
const LOOK_MS = 5_000;

// The delivery of single messages is asked for: some at the beginning, then of those that change, never more than this.
const SAMPLES = 300;
const FIRST_SAMPLES = 80;
const ASK_MS = 200;
const WAITING = 50;

const LIMITS_MS = [500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000, 1_800_000, 7_200_000, 86_400_000, Infinity];

const FAR_BEHIND = 1_000;

// And the interval of the runs: as the alert CompletenessStandsStill has it.
const STANDS_STILL_MS = 3_600_000;

const FAR = new Set(["delivered", "read"]);

/** How often something has happened in the last minutes. */
class Rate {
  #counts = new Map();

  add(count) {
    const step = Math.floor(Date.now() / STEP_MS);
    this.#counts.set(step, (this.#counts.get(step) ?? 0) + count);
  }

  /** Return the counts of the last steps, the oldest first. The last one is not over yet. */
  steps() {
    const last = Math.floor(Date.now() / STEP_MS);
    for (const step of this.#counts.keys()) if (step <= last - STEPS) this.#counts.delete(step);
    return Array.from({ length: STEPS }, (_, index) => this.#counts.get(last - STEPS + 1 + index) ?? 0);
  }

  /** Return how often it has happened in the last minute. */
  perMinute() {
    return this.steps().slice(-60_000 / STEP_MS).reduce((sum, count) => sum + count, 0);
  }
}

export class Numbers {
  #messages = new Rate();
  #changes = new Rate();
  #samples = new Map();
  #toAsk = [];
  #asking = false;
  #cards = {};
  #looking = null;
  #refused;
  #mayObserve = true;

  constructor(section, refused) {
    this.#refused = refused;
    const card = (name, title, hint) => {
      const value = make("p", { class: "value" });
      const chart = make("div", { class: "plot" });
      const below = make("p", { class: "below" });
      section.append(make("article", { class: "card", title: hint }, make("h2", {}, title), value, chart, below));
      this.#cards[name] = { value, chart, below };
    };
    card("messages", "Messages", "Messages that the page has been told of since it was opened");
    card("changes", "Status changes", "Changes of delivery status that the page has been told of since it was opened");
    card("delivered", "Sent → delivered", "Of the latest replies: the time from sent to delivered");
    card("read", "Delivered → read", "Of the latest replies: the time from delivered to read");
    const letters = make("button", { type: "button", class: "letters", hidden: true, click: () => showLetters(this.#refused) }, "Show dead letters");
    this.#cards.health = { list: make("dl", { class: "health" }), letters };
    section.append(make("article", { class: "card" }, make("h2", {}, "Pipeline"), this.#cards.health.list, letters));
  }

  /** Look at the pipeline from time to time; `mayObserve` is whether the reader may see more than their own. */
  start(mayObserve) {
    this.#mayObserve = mayObserve;
    this.#cards.health.letters.hidden = !mayObserve;
    this.stop();
    this.#looking = setInterval(() => this.#look(), LOOK_MS);
    this.#look();
    this.show();
  }

  stop() {
    clearInterval(this.#looking);
    this.#looking = null;
  }

  /** Take note of a change of a conversation, as Conversations.set returns it. */
  changed(before, after) {
    const came = after.messages - (before?.messages ?? 0);
    if (came > 0) this.#messages.add(came);
    let moved = 0;
    for (const [status, count] of Object.entries(after.counts)) {
      // That a message begins as pending is no change.
      if (status !== "pending") moved += Math.max(0, count - (before?.counts[status] ?? 0));
    }
    // Of messages that come in, only that they were read can be seen from here.
    moved += Math.max(0, (before?.unread ?? 0) - after.unread);
    if (moved > 0) this.#changes.add(moved);
    this.#sample(after, before);
  }

  /** Take samples of what there is. */
  seed(conversations) {
    const latest = [...conversations].filter((one) => one.last && FAR.has(one.last.delivery)).sort((one, other) => other.at - one.at);
    for (const one of latest.slice(0, FIRST_SAMPLES)) this.#sample(one, undefined, FIRST_SAMPLES);
  }

  show() {
    this.#rate("messages", this.#messages, "messages", "tone-a");
    this.#rate("changes", this.#changes, "status changes", "tone-b");
    this.#showTimes();
  }

  #showTimes() {
    const samples = [...this.#samples.values()];
    this.#times("delivered", samples.map((one) => one.delivered), "tone-c");
    this.#times("read", samples.map((one) => one.read), "tone-d");
  }

  #rate(name, rate, what, tone) {
    const card = this.#cards[name];
    const steps = rate.steps();
    const value = rate.perMinute();
    say(card.value, `${number(value)} / min`);
    const now = Math.floor(Date.now() / STEP_MS) * STEP_MS;
    const labels = steps.map((count, index) => `${clock(now - (STEPS - 1 - index) * STEP_MS)}: ${number(count)} in 10 s`);
    card.chart.replaceChildren(bars(steps, labels, tone, `${what} in the last 10 minutes: ${number(value)} in the last one`));
    say(card.below, "last 10 min");
  }

  #times(name, all, tone) {
    const card = this.#cards[name];
    const values = all.filter((value) => value !== null && value >= 0).sort((one, other) => one - other);
    const counts = LIMITS_MS.map(() => 0);
    for (const value of values) counts[LIMITS_MS.findIndex((limit) => value <= limit)] += 1;
    const labels = counts.map((count, index) => `${rangeText(index)}: ${number(count)}`);
    const at = (share) => values[Math.min(values.length - 1, Math.floor(values.length * share))];
    const median = values.length ? duration(at(0.5)) : "–";
    say(card.value, values.length ? `${median} median` : "–");
    const words = values.length
      ? `${number(values.length)} replies, median ${median}, nine of ten within ${duration(at(0.9))}`
      : "no replies yet";
    card.chart.replaceChildren(bars(counts, labels, tone, words));
    say(card.below, values.length ? `90 % within ${duration(at(0.9))} · ${number(values.length)} replies` : "no replies yet");
  }

  #sample(after, before, most = WAITING) {
    const last = after.last;
    if (!last || last.direction !== "outgoing" || !FAR.has(last.delivery)) return;
    if (before?.last?.id === last.id && before.last.delivery === last.delivery) return;
    if (this.#toAsk.length < most && !this.#toAsk.includes(last.id)) this.#toAsk.push(last.id);
    if (!this.#asking) this.#askAll();
  }

  async #askAll() {
    this.#asking = true;
    while (this.#toAsk.length) {
      const id = this.#toAsk.shift();
      try {
        const message = await (await ask(`/messages/${encodeURIComponent(id)}`)).json();
        this.#keep(id, message);
        this.#showTimes();
      } catch (error) {
        this.#refused(error);
        this.#toAsk = [];
      }
      await new Promise((resolve) => { setTimeout(resolve, ASK_MS); });
    }
    this.#asking = false;
  }

  #keep(id, message) {
    const { sent_after_ms: sent, delivered_after_ms: delivered, read_after_ms: read } = message;
    const between = (from, to) => (from === null || to === null ? null : to - from);
    this.#samples.delete(id);
    this.#samples.set(id, { delivered: between(sent, delivered), read: between(delivered, read) });
    if (this.#samples.size > SAMPLES) this.#samples.delete(this.#samples.keys().next().value);
  }

  /** Look at how the worker and, if it can tell, the bridge are. */
  async #look() {
    const health = [];
    try {
      const { status, remarks = [] } = await ask("/readyz").then((response) => response.json());
      health.push(["Views", status, status === "ready" ? "good" : "bad"]);
      health.push(...remarks.map((remark) => ["Look at", remark, "bad"]));
      if (this.#mayObserve) health.push(...await this.#observed());
    } catch (error) {
      health.push(["Views", error.text ?? error.message, "bad"]);
      this.#refused(error);
    }
    this.#cards.health.list.replaceChildren(
      ...health.map(([name, value, tone]) => make("div", { class: tone }, make("dt", {}, name), make("dd", {}, value))),
    );
  }

  async #observed() {
    const [text, { bridge, completeness }] = await Promise.all([
      ask("/metrics").then((response) => response.text()),
      ask("/pipeline").then((response) => response.json()),
    ]);
    const values = metrics(text);
    const found = [];
    const lag = values.get("streams_lag_records");
    if (lag !== undefined) found.push(["Behind by", `${number(lag)} record${lag === 1 ? "" : "s"}`, lag < FAR_BEHIND ? "good" : "bad"]);
    let dead = values.get("streams_dead_letters_total") ?? 0;
    if (bridge !== null && !bridge.answers) found.push(["Bridge", "does not answer", "bad"]);
    else if (bridge !== null) {
      const spooled = bridge.spool_events;
      const text = spooled ? `${number(spooled)} for ${duration(bridge.spool_oldest_seconds * 1000)}` : "empty";
      found.push(["Spool", text, spooled ? "bad" : "good"]);
      dead += bridge.dead_letters;
    }
    found.push(["Dead letters", number(dead), dead ? "bad" : "good"]);
    if (completeness !== null) found.push(...complete(completeness));
    return found;
  }
}

/** Return what `bridge reconcile` has found: up to when nothing is missing, and what was. */
function complete(found) {
  if (found.problem !== null && found.run_ended_at === null) return [["Complete up to", found.problem, "bad"]];
  const at = found.verified_until === null ? null : Date.parse(found.verified_until);
  const late = at === null || Date.now() - at > STANDS_STILL_MS + 1_000 * (found.every_seconds ?? 0) || found.problem !== null;
  const lost = found.missing + found.different;
  const words = `${number(found.missing)} of ${number(found.compared)}` + (found.left ? `, ${number(found.left)} not repaired` : lost ? ", repaired" : "");
  return [
    ["Complete up to", at === null ? "not verified" : `${duration(Math.max(0, Date.now() - at))} ago`, late ? "bad" : "good"],
    ["Missing", words, found.left ? "bad" : "good"],
  ];
}

/** Return the sum of each metric of a Prometheus text over its labels. */
function metrics(text) {
  const sums = new Map();
  for (const line of text.split("\n")) {
    const match = /^([a-z_]+)(?:\{.*\})? (\S+)$/.exec(line);
    if (match) sums.set(match[1], (sums.get(match[1]) ?? 0) + Number(match[2]));
  }
  return sums;
}

function rangeText(index) {
  if (index === 0) return `up to ${duration(LIMITS_MS[0])}`;
  if (index === LIMITS_MS.length - 1) return `over ${duration(LIMITS_MS[index - 1])}`;
  return `${duration(LIMITS_MS[index - 1])} to ${duration(LIMITS_MS[index])}`;
}
