import { describe, expect, test, vi } from "vitest";
import { ApiError, call, errorText, fieldError, newIdempotencyKey, onSignedOut, query } from "./client";

function answer(status: number, body: unknown, headers: Record<string, string> = {}) {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const fetched = vi.fn(async (_url: string, _init: RequestInit) => {
    return new Response(status === 204 ? null : text, {
      status,
      headers: {
        "content-type": status >= 400 ? "application/problem+json" : "application/json",
        ...headers,
      },
    });
  });
  vi.stubGlobal("fetch", fetched);
  return fetched;
}

async function refused(asked: Promise<unknown>): Promise<ApiError> {
  const error = await asked.catch((cause) => cause);
  expect(error).toBeInstanceOf(ApiError);
  return error as ApiError;
}

const problem = {
  type: "about:blank",
  title: "Refused",
  status: 422,
  code: "bad",
  detail: "the factor is 5",
};

describe("call", () => {
  test("sends JSON to /api/v1 with the session's cookie and the key it was given", async () => {
    const fetched = answer(202, { id: "job_1" });
    expect(await call("POST", "/jobs", { body: { kind: "upscale" }, idempotencyKey: "k" })).toEqual({
      id: "job_1",
    });
    const [url, init] = fetched.mock.calls[0] ?? [];
    expect(url).toBe("/api/v1/jobs");
    expect(init?.credentials).toBe("same-origin");
    expect(init?.body).toBe('{"kind":"upscale"}');
    expect(init?.headers).toMatchObject({ "idempotency-key": "k", "content-type": "application/json" });
  });

  test("sends no body and no content type where there is nothing to send", async () => {
    const fetched = answer(200, {});
    await call("GET", "/me");
    expect(fetched.mock.calls[0]?.[1].body).toBeUndefined();
    expect(fetched.mock.calls[0]?.[1].headers).not.toHaveProperty("content-type");
  });

  test("answers nothing for 204 and for an empty 202", async () => {
    answer(204, "");
    expect(await call("DELETE", "/creations/x")).toBeUndefined();
    answer(202, "");
    expect(await call("POST", "/auth/request-link")).toBeUndefined();
  });

  test("turns problem+json into an ApiError that keeps code, field and Retry-After", async () => {
    answer(
      429,
      { ...problem, detail: "params.scale: the factor is 5", field: "params.scale" },
      { "retry-after": "7" },
    );
    const error = await refused(call("POST", "/jobs"));
    expect(error.status).toBe(429);
    expect(error.code).toBe("bad");
    expect(error.retryAfterS).toBe(7);
    expect(fieldError(error, "scale")).toBe("The factor is 5.");
    expect(fieldError(error, "cale")).toBeNull();
    expect(errorText(error)).toBe("The factor is 5. Try again in 7 s.");
  });

  test("says something readable when a gateway answers HTML", async () => {
    answer(502, "<html>bad gateway</html>", { "content-type": "text/html" });
    const error = await refused(call("GET", "/me"));
    expect(error.code).toBe("http_502");
    expect(errorText(error)).toBe("Kiln is having trouble (502). Try again in a moment.");
  });

  test("calls a lost connection by its name", async () => {
    vi.stubGlobal("fetch", vi.fn().mockRejectedValue(new TypeError("Failed to fetch")));
    const error = await refused(call("GET", "/me"));
    expect(error.code).toBe("network");
    expect(error.status).toBe(0);
  });

  test("passes an abort through as it is", async () => {
    const abort = new AbortController();
    abort.abort();
    const cause = new DOMException("gone", "AbortError");
    vi.stubGlobal("fetch", vi.fn().mockRejectedValue(cause));
    await expect(call("GET", "/me", { signal: abort.signal })).rejects.toBe(cause);
  });

  test("tells about the end of the session on a 401, and on nothing else", async () => {
    const ended = vi.fn();
    const stop = onSignedOut(ended);
    answer(403, problem);
    await call("GET", "/me").catch(() => {});
    expect(ended).not.toHaveBeenCalled();
    answer(401, problem);
    await call("GET", "/me").catch(() => {});
    expect(ended).toHaveBeenCalledTimes(1);
    stop();
    await call("GET", "/me").catch(() => {});
    expect(ended).toHaveBeenCalledTimes(1);
  });
});

test("idempotency keys are 128 bits and differ", () => {
  const keys = new Set(Array.from({ length: 100 }, newIdempotencyKey));
  expect(keys.size).toBe(100);
  for (const key of keys) expect(key).toMatch(/^[0-9a-f]{32}$/);
});

test("a query leaves out what is not there and escapes what is", () => {
  expect(query({ limit: 12, cursor: null })).toBe("?limit=12");
  expect(query({ cursor: "a+b/c=" })).toBe("?cursor=a%2Bb%2Fc%3D");
  expect(query({})).toBe("");
});
