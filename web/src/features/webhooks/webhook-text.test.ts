import { expect, test } from "vitest";
import type { Endpoint } from "../../api/types";
import { deliveryText, endpointText, tryText } from "./webhook-text";

const endpoint = (over: Partial<Endpoint>): Endpoint => ({
  id: "whe_1",
  url: "https://example.com/kiln",
  events: ["job.*"],
  enabled: true,
  created_at: "2026-11-21T10:00:00Z",
  ...over,
});

test("an endpoint says whether it is on, and why it is not", () => {
  expect(endpointText(endpoint({}))).toBe("On");
  expect(endpointText(endpoint({ failing_since: "2026-11-21T10:00:00Z" }))).toContain("failing since");
  expect(endpointText(endpoint({ enabled: false }))).toBe("Off");
  expect(
    endpointText(endpoint({ enabled: false, disabled_because: "gone", disabled_at: "2026-11-21T10:00:00Z" })),
  ).toMatch(/^Off since .*410/);
});

test("a delivery says how it went", () => {
  const tried = { at: "2026-11-21T10:00:00Z", latency_ms: 35, status: 500 };
  expect(deliveryText({ state: "delivered", tries: [tried] })).toBe("Delivered");
  expect(deliveryText({ state: "failed", reason: "tries_used_up", tries: [] })).toBe(
    "Failed: all tries failed",
  );
  expect(deliveryText({ state: "pending", tries: [] })).toBe("Waiting to be sent");
  expect(deliveryText({ state: "pending", tries: [tried], next_try_at: "2026-11-21T10:00:00Z" })).toMatch(
    /^Next try /,
  );
});

test("a try says what came back and how long it took", () => {
  const at = "2026-11-21T10:00:00Z";
  expect(tryText({ at, latency_ms: 35, status: 200 })).toBe("200 after 35 ms");
  expect(tryText({ at, latency_ms: 2100, error: "connect" })).toBe("no connection after 2.1 s");
  expect(tryText({ at, latency_ms: 5, error: "new_word" })).toBe("new_word after 5 ms");
});
