/** The scenario, with openapi-fetch and the types that openapi-typescript generates. */
import { deepEqual, equal, ok } from "node:assert/strict";

import createClient from "openapi-fetch";

import type { paths } from "./.generated/openapi-typescript/schema.js";
import { METADATA, NAMES, pause, present, step, variable } from "./steps.js";

const ONE = "/api/v1/data-sources/{data_source_id}";
const baseUrl = variable("RIVERGEN_URL");
const username = variable("RIVERGEN_USERNAME");
const port = Number(variable("SOURCE_PORT"));
const credentials = {
  username: variable("SOURCE_USERNAME"),
  password: variable("SOURCE_PASSWORD"),
};

const token = await step("sign in", async () => {
  const anonymous = createClient<paths>({ baseUrl });
  const refused = await anonymous.POST("/api/v1/auth/token", {
    body: { username, password: "wrong" },
  });
  equal(refused.response.status, 401);
  equal(refused.error?.error.code, "UNAUTHORIZED");
  const { data, error } = await anonymous.POST("/api/v1/auth/token", {
    body: { username, password: variable("RIVERGEN_PASSWORD") },
  });
  return present(data, error).data.access_token;
});
const headers = { Authorization: `Bearer ${token}` };
const client = createClient<paths>({ baseUrl, headers });

const ids = await step("create", async () => {
  const created: number[] = [];
  for (const name of NAMES) {
    const { data, error, response } = await client.POST("/api/v1/data-sources", {
      body: {
        name,
        type: "postgresql",
        host: "127.0.0.1",
        port,
        database_name: variable("SOURCE_DATABASE"),
        metadata: METADATA,
        tags: ["généré", "b"],
        credentials,
      },
    });
    const dataSource = present(data, error).data;
    equal(response.headers.get("Location"), `/api/v1/data-sources/${dataSource.id}`);
    equal(dataSource.name, name);
    deepEqual(dataSource.metadata, METADATA);
    deepEqual(dataSource.tags, ["généré", "b"]);
    equal(dataSource.credentials_status, "set");
    deepEqual(dataSource.missing_fields, []);
    ok(dataSource.id >= 3_000_000_000);
    created.push(dataSource.id);
  }
  return created;
});
const path = { data_source_id: present(ids[0], ids) };

await step("list by pages", async () => {
  const names: string[] = [];
  let cursor: string | null | undefined;
  while (cursor !== null) {
    const { data, error } = await client.GET("/api/v1/data-sources", {
      params: { query: { page_size: 1, ordering: "name", cursor } },
    });
    const page = present(data, error);
    names.push(...page.data.map((one) => one.name));
    cursor = page.pagination.next_cursor;
  }
  deepEqual(names, NAMES);
});

const read = await step("get conditionally", async () => {
  const { data, error, response } = await client.GET(ONE, { params: { path } });
  const etag = present(response.headers.get("ETag"), error);
  const again = await client.GET(ONE, { params: { path, header: { "If-None-Match": etag } } });
  equal(again.response.status, 304);
  return { etag, dataSource: present(data, error).data };
});
let { etag } = read;

await step("patch with If-Match", async () => {
  const { data, error, response } = await client.PATCH(ONE, {
    params: { path, header: { "If-Match": etag } },
    body: { description: "first", schema_name: null },
  });
  const { data: dataSource, changes } = present(data, error);
  deepEqual(changes, { description: { from: "", to: "first" } });
  equal(dataSource.version, read.dataSource.version + 1);
  etag = present(response.headers.get("ETag"), "ETag");
  equal(etag, `"${dataSource.version}"`);
});

await step("patch a stale version", async () => {
  const stale = { "If-Match": '"1"' };
  const { error, response } = await client.PATCH(ONE, {
    params: { path, header: stale },
    body: { description: "stale" },
  });
  equal(response.status, 412);
  equal(response.headers.get("ETag"), etag);
  ok(error && "conflict" in error.error, JSON.stringify(error));
  equal(error.error.code, "PRECONDITION_FAILED");
  const { changed_since, overlapping } = error.error.conflict;
  deepEqual(overlapping, ["description"]);
  deepEqual(changed_since.map(({ version, fields }) => [version, fields]), [[2, ["description"]]]);
  // Nobody has changed what this update names.
  const passed = await client.PATCH(ONE, {
    params: { path, header: stale, query: { allow_disjoint: true } },
    body: { max_retries: 4 },
  });
  equal(present(passed.data, passed.error).data.description, "first");
});

await step("send back what was read", async () => {
  const { data, error } = await client.GET(ONE, { params: { path } });
  const body = { ...present(data, error).data, description: "edited" };
  const sent = await client.PATCH(ONE, { params: { path }, body });
  deepEqual(Object.keys(present(sent.data, sent.error).changes), ["description"]);
});

await step("patch with invalid fields", async () => {
  const { error, response } = await client.PATCH(ONE, {
    params: { path },
    body: { name: "", connection_timeout: 0 },
  });
  equal(response.status, 400);
  const failure = present(error, response.status).error;
  equal(failure.code, "BAD_REQUEST");
  deepEqual(Object.keys(failure.details).sort(), ["connection_timeout", "name"]);
  equal(failure.request_id, response.headers.get("X-Request-ID"));
});

await step("merge and replace metadata", async () => {
  const merged = await client.PATCH(ONE, {
    params: { path },
    headers: { "Content-Type": "application/merge-patch+json" },
    body: { metadata: { z: 1, a: null } },
  });
  deepEqual(present(merged.data, merged.error).data.metadata, { keep: METADATA.keep, z: 1 });
  const replaced = await client.PATCH(ONE, { params: { path }, body: { metadata: { z: 1 } } });
  deepEqual(present(replaced.data, replaced.error).data.metadata, { z: 1 });
});

await step("set credentials", async () => {
  const url = "/api/v1/data-sources/{data_source_id}/credentials";
  const changed = await client.PUT(url, {
    params: { path },
    body: credentials,
  });
  equal(present(changed.data, changed.error).data.password.is_set, true);
  const { data, error } = await client.GET(url, { params: { path } });
  const stored = present(data, error).data;
  equal(stored.username, credentials.username);
  equal(stored.password.confirmed, true);
  equal(stored.token.is_set, false);
});

await step("test and wait", async () => {
  const { data, error, response } = await client.POST(`${ONE}/test`, {
    params: { path, query: { wait: 25 } },
  });
  equal(response.status, 200);
  const test = present(data, error).data;
  deepEqual([test.code, test.ok], ["OK", true]);
  ok(test.stages.every((stage) => stage.ok));
});

await step("read the schema", async () => {
  const started = await client.POST(`${ONE}/schema/refresh`, { params: { path } });
  let refresh = present(started.data, started.error).data;
  while (refresh.finished_at === null) {
    await pause();
    const polled = await client.GET(`${ONE}/schema/refresh`, { params: { path } });
    refresh = present(polled.data, polled.error).data;
  }
  equal(refresh.ok, true);
  const { data, error } = await client.GET(`${ONE}/schema`, {
    params: { path, query: { search: "order" } },
  });
  const [table] = present(data, error).data.tables;
  deepEqual(table?.columns.map((column) => column.name), ["id", "total"]);
});

await step("restore from history", async () => {
  const { data, error } = await client.GET(`${ONE}/history`, { params: { path } });
  const history = present(data, error).data;
  equal(history.at(-1)?.version, 1);
  const restored = await client.POST(`${ONE}/history/{version}/restore`, {
    params: { path: { ...path, version: 1 } },
  });
  const dataSource = present(restored.data, restored.error).data;
  deepEqual(dataSource.metadata, METADATA);
  equal(dataSource.description, "");
});

await step("update many", async () => {
  const [, second = 0, third = 0] = ids;
  const body = {
    updates: [
      { id: second, description: "second" },
      { id: third, description: "third", if_match: '"7"' },
    ],
  };
  const refused = await client.PATCH("/api/v1/data-sources", { body });
  equal(refused.response.status, 409);
  ok(refused.error && "results" in refused.error.error, JSON.stringify(refused.error));
  const errors = refused.error.error.results?.map((result) => result.error);
  deepEqual(errors?.map((error) => error?.code), ["NOT_APPLIED", "PRECONDITION_FAILED"]);
  equal(errors?.[1]?.conflict?.version, 1);
  const { data, error } = await client.PATCH("/api/v1/data-sources", {
    params: { query: { atomic: false } },
    body,
  });
  const [first, other] = present(data, error).data;
  deepEqual([first?.status, other?.status], [200, 412]);
  equal(first?.data?.description, "second");
  deepEqual(Object.keys(first?.changes ?? {}), ["description"]);
});

await step("bear a newer version of the service", async () => {
  const newer = createClient<paths>({ baseUrl: variable("RIVERGEN_NEWER_URL"), headers });
  const { data, error } = await newer.GET("/api/v1/data-sources");
  deepEqual(present(data, error).data.map((one) => one.name), NAMES);
  ok(data?.data.every((one) => one.type === "added_later"));
  const missing = await newer.GET(ONE, { params: { path: { data_source_id: 1 } } });
  equal(missing.response.status, 404);
  equal(missing.error?.error.code, "ADDED_LATER");
});

await step("delete", async () => {
  for (const data_source_id of ids) {
    const { response } = await client.DELETE(ONE, { params: { path: { data_source_id } } });
    equal(response.status, 204);
  }
  const gone = await client.GET(ONE, { params: { path } });
  equal(gone.response.status, 404);
  equal(gone.error?.error.code, "NOT_FOUND");
});
