// What a team writes: it asks the views, with the types that openapi-typescript makes of /openapi.json.

import createClient from "openapi-fetch";
import type { paths } from "./views.js";

declare const process: { argv: string[] };
declare const console: { log(text: string): void };

const [url, token, organization, conversation] = process.argv.slice(2);
if (!url || !token || !organization || !conversation) throw new Error("address, token, organization and conversation");

const views = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${token}` } });
const path = { conversation_id: conversation };

const page = await views.GET("/conversations", { params: { query: { organization_id: organization, unread: true, archived: false, limit: 10 } } });
if (!page.data) throw new Error(page.error?.detail);
const one = await views.GET("/conversations/{conversation_id}", { params: { path } });
if (!one.data) throw new Error(one.error?.detail);
const messages = await views.GET("/conversations/{conversation_id}/messages", { params: { path } });
if (!messages.data) throw new Error(messages.error?.detail);
const failed = await views.GET("/messages", { params: { query: { organization_id: organization, status: "failed" } } });
if (!failed.data) throw new Error(failed.error?.detail);
const missing = await views.GET("/conversations/{conversation_id}", { params: { path: { conversation_id: "nope" } } });

console.log(JSON.stringify({
  listed: page.data.conversations.map((item) => item.id),
  last: one.data.last_message?.preview,
  messages: messages.data.messages.map((item) => item.id),
  failed: failed.data.messages.map((item) => [item.id, item.errors]),
  missing: missing.error?.reason,
}));
