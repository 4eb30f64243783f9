// The worker's answers. The cookie that proves who asks goes along by itself.

/** An answer that is a problem (RFC 9457), or one that never came (`status` 0). */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem?.detail ?? (status ? `the worker answered ${status}` : "the worker does not answer"));
    this.status = status;
    this.reason = problem?.reason ?? null;
    this.partitions = problem?.partitions ?? [];
  }

  /** What to tell people. */
  get text() {
    const where = this.partitions.length ? ` (${partitionsText(this.partitions)})` : "";
    return this.message + where;
  }
}

/** Return partitions in words. */
export function partitionsText(numbers) {
  return `partition${numbers.length === 1 ? "" : "s"} ${numbers.join(", ")}`;
}

/** Ask; return the response if it is good. Throws Refused, and AbortError if `signal` says so. */
export async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Refused(0, null);
  }
  if (response.ok) return response;
  let problem = null;
  if ((response.headers.get("content-type") ?? "").startsWith("application/problem+json")) {
    problem = await response.json().catch(() => null);
  }
  throw new Refused(response.status, problem);
}

/** Return who is signed in, null if nobody is. */
export async function reader() {
  return (await (await ask("/session")).json()).reader;
}

/** Sign in; return who that is. */
export async function signIn(token) {
  const response = await ask("/session", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token }),
  });
  return (await response.json()).reader;
}

export async function signOut() {
  await ask("/session", { method: "DELETE" });
}
