/** Single requests with the fetch of Node, as in a page that no generator has seen. */
import { deepEqual, equal, match, notEqual, ok } from "node:assert/strict";

import { present, step, variable } from "./steps.js";

const api = `${variable("RIVERGEN_URL")}/api/v1`;
const json = { "Content-Type": "application/json" };

function send(method: string, path: string, headers: HeadersInit, body?: object) {
  return fetch(`${api}${path}`, { method, headers, ...(body && { body: JSON.stringify(body) }) });
}

