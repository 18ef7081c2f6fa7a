/** The same requests as without_generator.py, with the fetch of Node. */
import { deepEqual, equal, match } from "node:assert/strict";

import { present, step, variable } from "./steps.js";

const api = `${variable("RIVERGEN_URL")}/api/v1`;
const json = { "Content-Type": "application/json" };

/** Send a request. */
function send(method: string, path: string, headers: HeadersInit, body?: object) {
  return fetch(api + path, { method, headers, ...(body && { body: JSON.stringify(body) }) });
}

const caller = await step("sign in", async () => {
  const response = await send("POST", "/auth/token", json, {
    username: variable("RIVERGEN_USERNAME"),
    password: variable("RIVERGEN_PASSWORD"),
  });
  const { data } = await response.json();
  // The name of the scheme ignores case (RFC 9110, section 11.1).
  return { ...json, Authorization: `bearer ${data.access_token}` };
});

const path = await step("create once, though it is sent twice", async () => {
  const headers = { ...caller, "Idempotency-Key": "fetch" };
  const body = { name: "fetch", type: "postgresql" };
  const first = await send("POST", "/data-sources", headers, body);
  const second = await send("POST", "/data-sources", headers, body);
  deepEqual([first.status, second.status], [201, 201]);
  equal(second.headers.get("Idempotency-Replayed"), "true");
  const { data } = await first.json();
  deepEqual((await second.json()).data, data);
  return `/data-sources/${data.id}`;
});

await step("tags of versions", async () => {
  const etag = present((await send("GET", path, caller)).headers.get("ETag"), "ETag");
  const again = await send("GET", path, { ...caller, "If-None-Match": etag });
  deepEqual([again.status, await again.text()], [304, ""]);
  const statuses = { [etag.replaceAll('"', "")]: 400, [`W/${etag}`]: 412, [etag]: 200 };
  for (const [sent, status] of Object.entries(statuses)) {
    const headers = { ...caller, "If-Match": sent };
    const response = await send("PATCH", path, headers, { description: sent });
    equal(response.status, status);
    if (status === 400) match(await response.text(), /If-Match/);
  }
});

await step("the body of GET is sent back", async () => {
  const { data } = await (await send("GET", path, caller)).json();
  const response = await send("PATCH", path, caller, { ...data, description: "edited" });
  equal(response.status, 200);
  deepEqual(Object.keys((await response.json()).changes), ["description"]);
});

await step("compression", async () => {
  const description = "x".repeat(10_000);
  equal((await send("PATCH", path, caller, { description })).status, 200);
  const compressed = await send("GET", path, caller);
  const plain = await send("GET", path, { ...caller, "Accept-Encoding": "identity" });
  equal(compressed.headers.get("Content-Encoding"), "gzip");
  equal(plain.headers.get("Content-Encoding"), null);
  equal(plain.headers.get("ETag"), compressed.headers.get("ETag"));
  equal(await plain.text(), await compressed.text());
});
