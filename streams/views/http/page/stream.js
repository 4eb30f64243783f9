// Server-Sent Events that go on by themselves. Unlike EventSource, a stream knows why it was refused, notices a
// connection that died without a word, and says where it was when it comes back to any worker.

import { ask, Refused } from "./api.js";

// The worker sends a heartbeat every 10 s.
const SILENCE_MS = 35_000;
const FIRST_PAUSE_MS = 400;
const LONGEST_PAUSE_MS = 5_000;

export class Stream {
  #path;
  #tell;
  #state;
  #lastId = null;
  #ending = null;

  /**
   * `tell(name, data)` is called with each event, `state(name, refused)` with each change of state: `connecting`,
   * `lost` (it is tried again), or, for good, `signed-out` and `gone`.
   */
  constructor(path, tell, state) {
    this.#path = path;
    this.#tell = tell;
    this.#state = state;
  }

  get running() {
    return this.#ending !== null;
  }

  /** Begin, or go on after `stop` from where it was. */
  start() {
    if (this.running) return;
    this.#ending = new AbortController();
    this.#run(this.#ending.signal);
  }

  stop() {
    this.#ending?.abort();
    this.#ending = null;
  }

  async #run(ending) {
    let pause = FIRST_PAUSE_MS;
    this.#state("connecting", null);
    while (!ending.aborted) {
      let refused = null;
      try {
        await this.#read(ending, () => { pause = FIRST_PAUSE_MS; });
      } catch (error) {
        if (ending.aborted) return;
        if (!(error instanceof Refused)) throw error;
        refused = error;
      }
      if (ending.aborted) return;
      if (refused?.status === 401 || refused?.status === 404) {
        this.stop();
        this.#state(refused.status === 401 ? "signed-out" : "gone", refused);
        return;
      }
      this.#state("lost", refused ?? new Refused(0, { detail: "the worker has ended the stream" }));
      await sleep(pause * (0.5 + Math.random()), ending);
      pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
    }
  }

  /** Return when the worker ends the stream. */
  async #read(ending, alive) {
    const connection = new AbortController();
    const abort = () => connection.abort();
    ending.addEventListener("abort", abort);
    let silence = setTimeout(abort, SILENCE_MS);
    try {
      const place = this.#lastId === null ? "" : `?last_event_id=${encodeURIComponent(this.#lastId)}`;
      const response = await answered(ask(this.#path + place, { signal: connection.signal, cache: "no-store" }));
      const text = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { done, value } = await answered(text.read());
        if (done || ending.aborted) return;
        clearTimeout(silence);
        silence = setTimeout(abort, SILENCE_MS);
        alive();
        const frames = (rest + value).split("\n\n");
        rest = frames.pop();
        for (const frame of frames) this.#frame(frame);
      }
    } finally {
      clearTimeout(silence);
      ending.removeEventListener("abort", abort);
      abort();
    }
  }

  #frame(frame) {
    const fields = { data: "" };
    for (const line of frame.split("\n")) {
      const colon = line.indexOf(": ");
      if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 2);
    }
    if (fields.event === undefined) return;
    // After `begin`, where the stream was before means nothing.
    if (fields.event === "begin") this.#lastId = null;
    if (fields.id !== undefined) this.#lastId = fields.id;
    this.#tell(fields.event, JSON.parse(fields.data));
  }
}

/** Return what comes; that a connection broke, or was given up, is an answer that never came. */
async function answered(promise) {
  try {
    return await promise;
  } catch (error) {
    throw error instanceof Refused ? error : new Refused(0, null);
  }
}

function sleep(ms, ending) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    ending.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}
