// Endpoints and deliveries in a person's words.
import type { Delivery, DeliveryTry, Endpoint } from "../../api/types";
import { onDay, when } from "../../ui/format";

/** What can be subscribed to from here: the groups. Single events are the API's to choose. */
export const GROUPS: readonly (readonly [string, string])[] = [
  ["job.*", "Jobs: started, succeeded, failed, cancelled"],
  ["credits.*", "Credits: bought, granted, refunded"],
  ["batch.*", "Batches: started, finished, cancelled"],
];

const BECAUSE: Record<string, string> = {
  gone: "it answered that it is gone (410)",
  failing: "nothing but failures for five days",
};

/** How an endpoint is: "On", or since when and why it isn't. */
export function endpointText(endpoint: Endpoint): string {
  if (!endpoint.enabled) {
    const why = endpoint.disabled_because
      ? `: ${BECAUSE[endpoint.disabled_because] ?? endpoint.disabled_because}`
      : "";
    return `Off${endpoint.disabled_at ? ` since ${onDay(endpoint.disabled_at)}` : ""}${why}`;
  }
  if (endpoint.failing_since) return `On, but failing since ${when(endpoint.failing_since)}`;
  return "On";
}

const REASONS: Record<string, string> = {
  tries_used_up: "all tries failed",
  endpoint_gone: "the endpoint is gone (410)",
  endpoint_disabled: "the endpoint was switched off",
  endpoint_deleted: "the endpoint was deleted",
  expired: "it could not be sent for five days",
  sender_died: "it was interrupted too often",
};

export function deliveryText(delivery: Pick<Delivery, "state" | "reason" | "next_try_at" | "tries">): string {
  switch (delivery.state) {
    case "delivered":
      return "Delivered";
    case "failed":
      return `Failed${delivery.reason ? `: ${REASONS[delivery.reason] ?? delivery.reason}` : ""}`;
    default:
      if (delivery.tries.length === 0) return "Waiting to be sent";
      return delivery.next_try_at ? `Next try ${when(delivery.next_try_at)}` : "Being tried again";
  }
}

const ERRORS: Record<string, string> = {
  timed_out: "no answer within 15 seconds",
  dns: "its name was not found",
  address_not_allowed: "its address is not of the public internet",
  connect: "no connection",
  tls: "its certificate was not accepted",
  broken: "the connection broke",
};

/** "200 after 35 ms", "no connection after 2.1 s" */
export function tryText(tried: DeliveryTry): string {
  const outcome =
    tried.status !== null && tried.status !== undefined
      ? `${tried.status}`
      : tried.error
        ? (ERRORS[tried.error] ?? tried.error)
        : "no answer";
  return `${outcome} after ${latency(tried.latency_ms)}`;
}

function latency(ms: number): string {
  return ms < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(1)} s`;
}
