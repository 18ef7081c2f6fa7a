/** What both TypeScript scenarios need: the environment, assertions, and the names of the steps. */
import assert from "node:assert/strict";

export const METADATA = { a: 1, keep: { nested: [1, null] } };
export const NAMES = ["first", "second", "third"];

/** Return an environment variable; throw an error if it is not set. */
export function variable(name: string): string {
  const text = process.env[name];
  assert(text !== undefined, `${name} is not set.`);
  return text;
}

/** Return a value that must be there. */
export function present<T>(value: T | null | undefined, what: unknown): T {
  assert(value !== null && value !== undefined, `Missing: ${JSON.stringify(what)}`);
  return value;
}

/** Print the name of a step, then run it. */
export async function step<T>(name: string, body: () => Promise<T>): Promise<T> {
  console.log(name);
  return body();
}

/** Wait before the next poll. */
export function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 200));
}
