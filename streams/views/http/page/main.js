// The page: who is signed in, what is shown, and the stream that keeps it up to date.

import { partitionsText, reader, Refused, signIn, signOut } from "./api.js";
import { Chat } from "./chat.js";
import { Conversations } from "./conversations.js";
import { say } from "./dom.js";
import { List } from "./list.js";
import { Numbers } from "./numbers.js";
import { Stream } from "./stream.js";
import { number } from "./times.js";

const SHOW_MS = 200;
const TICK_MS = 5_000;
// A page that nobody looks at keeps no connection: a browser has six for all pages of a server.
const HIDDEN_MS = 30_000;
const ANNOUNCE_MS = 5_000;
const NARROW = matchMedia("(max-width: 760px)");

const at = (id) => document.getElementById(id);

const conversations = new Conversations();
const list = new List(conversations, (id) => { go(id); at("chat-name").focus(); }, show);
const chat = new Chat(announce, refused);
const numbers = new Numbers(at("numbers"), refused);
const stream = new Stream("/events", told, stateOf);

let live = false;
let seeded = false;
let signedIn = false;
let mayObserve = false;
let showing = null;
let announcedAt = 0;
let hiding = null;

function told(name, data) {
  if (name === "conversation") {
    const [before, after] = conversations.set(data);
    chat.exists(data.id);
    if (live) numbers.changed(before, after);
    else if (conversations.coming !== null) state("connecting", `Loading … ${number(conversations.coming)}`);
  } else if (name === "removed") {
    conversations.remove(data.id);
  } else if (name === "begin") {
    live = false;
    conversations.begin();
  } else if (name === "ready") {
    live = true;
    conversations.ready();
    state("live", "Live");
    if (!seeded) numbers.seed(conversations.values());
    seeded = true;
  } else if (name === "waiting") {
    live = false;
    state("lost", `Waiting: ${partitionsText(data.partitions)} will be ready soon`);
  } else if (name === "too_slow") {
    state("lost", "Reconnecting: this page reads too slowly");
  }
  soon();
}

function stateOf(name, refusal) {
  live = false;
  if (name === "signed-out") refused(refusal);
  else if (name === "lost") state("lost", `Reconnecting: ${refusal.text}`);
  else state("connecting", "Connecting …");
}

function state(name, text) {
  at("state").dataset.state = name;
  at("desk").dataset.stale = String(name === "lost");
  say(at("state-text"), text);
}

/** Show what is known now, but not more often than a reader can read. */
function soon() {
  if (showing === null) showing = setTimeout(show, SHOW_MS);
}

function show() {
  clearTimeout(showing);
  const began = performance.now();
  list.show(live);
  const title = list.waiting ? `(${number(list.waiting)}) Conversations` : "Conversations";
  if (document.title !== title) document.title = title;
  // With very many conversations, leave the browser time for everything else.
  const took = performance.now() - began;
  showing = took > SHOW_MS / 8 ? setTimeout(() => { showing = null; soon(); }, took * 8) : null;
}

/** Say something aloud, now and then. */
function announce(text) {
  if (Date.now() - announcedAt < ANNOUNCE_MS) return;
  announcedAt = Date.now();
  at("announcement").textContent = text;
}

function refused(error) {
  if (!(error instanceof Refused)) throw error;
  if (error.status === 401 && signedIn) leave("Your sign-in has ended.");
}

/** The open conversation is in the address, where it never reaches a server. */
function go(id) {
  location.hash = id === null ? "#/" : `#/conversations/${encodeURIComponent(id)}`;
  route();
}

function route() {
  const [, found] = /^#\/conversations\/(.+)$/.exec(location.hash) ?? [];
  const before = chat.id;
  const id = found === undefined ? null : decoded(found);
  chat.open(id);
  list.choose(id);
  at("desk").dataset.view = id === null ? "list" : "chat";
  if (id === null && before !== null) list.focus(before);
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

function enter(who) {
  signedIn = true;
  at("sign-in").hidden = true;
  at("desk").hidden = false;
  const bound = who.organizations === null ? "" : ` · ${number(who.organizations.length)} organization${who.organizations.length === 1 ? "" : "s"}`;
  say(at("who"), who.name + bound);
  mayObserve = who.organizations === null;
  numbers.start(mayObserve);
  stream.start();
  route();
}

function leave(text) {
  signedIn = false;
  live = false;
  seeded = false;
  stream.stop();
  numbers.stop();
  chat.open(null);
  conversations.clear();
  show();
  at("desk").hidden = true;
  at("sign-in").hidden = false;
  say(at("sign-in-error"), text);
  at("token").focus();
}

async function tryToken(token) {
  say(at("sign-in-error"), "");
  try {
    const who = await signIn(token);
    at("token").value = "";
    enter(who);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    leave(`Not signed in: ${error.text}.`);
  }
}

at("sign-in-form").addEventListener("submit", (event) => {
  event.preventDefault();
  tryToken(at("token").value.trim());
});
at("sign-out").addEventListener("click", async () => {
  try {
    await signOut();
    leave("");
  } catch (error) {
    refused(error);
    state("lost", `Not signed out: ${error.text}`);
  }
});
at("back").addEventListener("click", () => go(null));
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  list.focus(null);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && chat.id !== null && event.target !== at("search")) go(null);
});
at("numbers-toggle").addEventListener("click", () => foldNumbers(!at("numbers").hidden));
function foldNumbers(hidden) {
  at("numbers").hidden = hidden;
  at("numbers-toggle").setAttribute("aria-expanded", String(!hidden));
}
foldNumbers(NARROW.matches);
window.addEventListener("hashchange", () => {
  const token = takeToken();
  if (token === null) route();
  else tryToken(token);
});
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (!signedIn) return;
  if (document.hidden) {
    hiding = setTimeout(() => { stream.stop(); chat.pause(); numbers.stop(); }, HIDDEN_MS);
  } else if (!stream.running) {
    stream.start();
    chat.resume();
    numbers.start(mayObserve);
  }
});
setInterval(() => {
  if (!signedIn || document.hidden) return;
  numbers.show();
  chat.tick();
  // The list may have told of it before the refusal came.
  if (chat.id !== null && conversations.get(chat.id) !== undefined) chat.exists(chat.id);
  soon();
}, TICK_MS);

/** Return the token that a link has brought, null if none; it leaves the address and the history at once. */
function takeToken() {
  const [, token] = /^#token=(.+)$/.exec(location.hash) ?? [];
  if (token === undefined) return null;
  history.replaceState(null, "", location.pathname);
  return decoded(token);
}

const brought = takeToken();
if (brought !== null) {
  await tryToken(brought);
} else {
  try {
    const who = await reader();
    if (who === null) leave("");
    else enter(who);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    leave(`Not signed in: ${error.text}.`);
  }
}
