// Instants and durations in words. The page is in English, and so are its dates.

const LANGUAGE = "en-GB";
const CLOCK = new Intl.DateTimeFormat(LANGUAGE, { hour: "2-digit", minute: "2-digit" });
const WEEKDAY = new Intl.DateTimeFormat(LANGUAGE, { weekday: "short" });
const DATE = new Intl.DateTimeFormat(LANGUAGE, { day: "numeric", month: "short" });
const DATE_OF_YEAR = new Intl.DateTimeFormat(LANGUAGE, { day: "numeric", month: "short", year: "numeric" });
const DAY = new Intl.DateTimeFormat(LANGUAGE, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const WHOLE = new Intl.DateTimeFormat(LANGUAGE, {
  day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit",
  fractionalSecondDigits: 3,
});
const MINUTES = new Intl.DateTimeFormat(LANGUAGE, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const NUMBER = new Intl.NumberFormat(LANGUAGE);

const DAY_MS = 86_400_000;

/** Return the milliseconds of an RFC 3339 instant, null of null. */
export function instant(text) {
  const at = text === null || text === undefined ? NaN : Date.parse(text);
  return Number.isNaN(at) ? null : at;
}

export const clock = (at) => CLOCK.format(at);
export const whole = (at) => WHOLE.format(at);
export const minutes = (at) => MINUTES.format(at);
export const dayOf = (at) => DAY.format(at);
export const number = (value) => NUMBER.format(value);

/** Return when something was, as short as it can be told today. */
export function lately(at, now = Date.now()) {
  if (at === null) return "";
  if (new Date(at).toDateString() === new Date(now).toDateString()) return CLOCK.format(at);
  if (at < now && now - at < 6 * DAY_MS) return WEEKDAY.format(at);
  return (new Date(at).getFullYear() === new Date(now).getFullYear() ? DATE : DATE_OF_YEAR).format(at);
}

/** Return how long something took. */
export function duration(ms) {
  const seconds = Math.abs(ms) / 1000;
  const sign = ms < 0 ? "−" : "";
  if (seconds < 0.0995) return `${sign}${Math.round(seconds * 1000)} ms`;
  if (seconds < 9.95) return `${sign}${seconds.toFixed(1)} s`;
  if (seconds < 59.5) return `${sign}${Math.round(seconds)} s`;
  if (seconds < 3570) return `${sign}${Math.round(seconds / 60)} min`;
  if (seconds < 86_400 * 0.99) return `${sign}${Math.round(seconds / 3600)} h`;
  return `${sign}${number(Math.round(seconds / 86_400))} d`;
}
