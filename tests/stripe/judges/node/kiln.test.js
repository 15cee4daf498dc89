// The official Stripe client of npm and a customer of a running Kiln meet at the stand-in. KILN_URL is Kiln, whose payment service is the
// stand-in at STRIPE_URL with STRIPE_KEY, set up by scripts/stripe-setup; WEBHOOK_SECRET is what that wrote down.
// It promises: what Kiln sold, the client finds; what the client gives back or ends, Kiln takes; what the client's own code signs, Kiln verifies.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import Stripe from "stripe";

const { KILN_URL: kiln, STRIPE_KEY: key, WEBHOOK_SECRET: secret } = process.env;
const url = new URL(process.env.STRIPE_URL);
const stripe = new Stripe(key, { host: url.hostname, port: url.port, protocol: "http", maxNetworkRetries: 0, timeout: 10_000, telemetry: false });
let cookie;

async function call(method, path, body, more = {}) {
  const headers = { "content-type": "application/json", ...(cookie ? { cookie } : {}), ...more };
  const answer = await fetch(`${kiln}${path}`, { method, headers, body: body && JSON.stringify(body) });
  cookie = answer.headers.get("set-cookie")?.split(";")[0] ?? cookie;
  const text = await answer.text();
  return { status: answer.status, body: text ? JSON.parse(text) : null };
}

async function expect(status, method, path, body) {
  const answer = await call(method, path, body);
  assert.equal(answer.status, status, `${method} ${path}: ${JSON.stringify(answer.body)}`);
  return answer.body;
}

async function control(path, body, method = "POST") {
  const answer = await fetch(new URL(`/stand-in/${path}`, url), {
    method, headers: { authorization: `Bearer ${key}`, "content-type": "application/json" }, body: body && JSON.stringify(body),
  });
  assert.equal(answer.status, 200, await answer.clone().text());
  return answer.json();
}

// Every event has been taken or given up.
async function told() {
  assert.equal((await control("deliveries/idle?timeout_ms=30000", undefined, "GET")).idle, true);
}

const available = async () => (await expect(200, "GET", "/api/v1/credits")).available_millicredits;
const session = (order) => order.url.match(/cs_[A-Za-z0-9_]+/)[0];

async function pay(order) {
  await control(`checkout/${session(order)}/pay`, { card: "ok" });
  await told();
  return stripe.checkout.sessions.retrieve(session(order), { expand: ["line_items.data.price", "customer", "subscription"] });
}

// As Stripe posts it: the client's own code has signed it.
async function post(payload, header) {
  const answer = await fetch(`${kiln}/api/v1/webhooks/stripe`, { method: "POST", body: payload, headers: { "content-type": "application/json", "stripe-signature": header } });
  return answer.status;
}

const signed = (payload, more = {}) => stripe.webhooks.generateTestHeaderString({ payload, secret, ...more });

before(async () => {
  await expect(202, "POST", "/api/v1/auth/request-link", { email: "ada@example.org" });
  let mails = [];
  for (const until = Date.now() + 30_000; mails.length === 0 && Date.now() < until; ) {
    mails = (await expect(200, "GET", "/local/mail?to=ada@example.org")).items;
  }
  const token = mails.at(-1).text.split("?token=")[1].split(/\s/)[0];
  await expect(200, "POST", "/api/v1/auth/verify-link", { token });
});

test("what scripts/stripe-setup made, the client finds: products, prices of each currency, and one endpoint", async () => {
  const { items: packs } = await expect(200, "GET", "/api/v1/credits/packs");
  const found = (await stripe.prices.list({ limit: 100, expand: ["data.product"] }).autoPagingToArray({ limit: 1000 })).filter((price) => price.active);
  for (const pack of packs) {
    const sold = found.filter((price) => price.product.metadata.kiln_pack === pack.id);
    assert.deepEqual(Object.fromEntries(sold.map((price) => [price.currency, price.unit_amount])), pack.prices, pack.id);
    assert.ok(sold.every((price) => price.product.active && price.type === "one_time"));
  }
  const endpoints = (await stripe.webhookEndpoints.list()).data;
  assert.deepEqual(endpoints.map((endpoint) => [endpoint.url, endpoint.status]), [[`${kiln}/api/v1/webhooks/stripe`, "enabled"]]);
});

test("a pack that was bought is credited once, and what the client gives back is taken back", async () => {
  const before = await available();
  const order = await expect(201, "POST", "/api/v1/credits/checkout", { pack: "starter", currency: "usd" });
  const open = await stripe.checkout.sessions.retrieve(session(order));
  assert.deepEqual([open.status, open.payment_status, open.amount_total, open.currency], ["open", "unpaid", order.amount, "usd"]);
  assert.equal(await available(), before);
  const paid = await pay(order);
  assert.deepEqual([paid.payment_status, paid.customer.email, paid.line_items.data[0].amount_total], ["paid", "ada@example.org", order.amount]);
  assert.equal(await available(), before + order.millicredits);
  // Half of the money, then the rest.
  await stripe.refunds.create({ payment_intent: paid.payment_intent, amount: order.amount / 2 });
  await told();
  assert.equal(await available(), before + order.millicredits / 2);
  await stripe.refunds.create({ payment_intent: paid.payment_intent });
  await told();
  assert.equal(await available(), before);
  await assert.rejects(stripe.refunds.create({ payment_intent: paid.payment_intent }), Stripe.errors.StripeInvalidRequestError);
  const { items } = await expect(200, "GET", "/api/v1/credits/ledger?limit=3");
  assert.deepEqual(items.map((entry) => [entry.kind, entry.amount_millicredits]), [["refund", -order.millicredits / 2], ["refund", -order.millicredits / 2], ["purchase", order.millicredits]]);
});

test("a plan is begun at Kiln's page and ended by the client", async () => {
  const before = await available();
  const order = await expect(201, "POST", "/api/v1/credits/subscribe", { plan: "maker" });
  const paid = await pay(order);
  assert.equal(paid.subscription.status, "active");
  assert.equal(await available(), before + order.millicredits);
  assert.equal((await expect(200, "GET", "/api/v1/credits/subscription")).subscription.status, "active");
  await stripe.subscriptions.cancel(paid.subscription.id);
  await told();
  assert.equal((await expect(200, "GET", "/api/v1/credits/subscription")).subscription.status, "canceled");
  assert.equal(await available(), before + order.millicredits);
});

test("Kiln verifies what the client's own code signs, and nothing that was bent", async () => {
  const order = await expect(201, "POST", "/api/v1/credits/checkout", { pack: "starter" });
  await control("deliveries/hold", {});
  await control(`checkout/${session(order)}/pay`, { card: "ok" });
  const before = await available();
  const event = (await stripe.events.list({ type: "checkout.session.completed", limit: 1 })).data[0];
  assert.equal(event.data.object.id, session(order));
  const payload = JSON.stringify(event, null, 2);
  const now = Math.floor(Date.now() / 1000);
  const wrong = {
    "no signature": "",
    "another secret": signed(payload, { secret: "whsec_another" }),
    "another body": signed(payload.replace("evt_", "evt_x")),
    "an hour old": signed(payload, { timestamp: now - 3600 }),
    "an hour ahead": signed(payload, { timestamp: now + 3600 }),
    "another scheme": signed(payload, { scheme: "v0" }),
  };
  for (const [what, header] of Object.entries(wrong)) {
    assert.equal(await post(payload, header), 400, what);
  }
  assert.equal(await available(), before);
  const statuses = await Promise.all(Array.from({ length: 20 }, () => post(payload, signed(payload))));
  assert.deepEqual([...new Set(statuses)], [204]);
  assert.equal(await available(), before + order.millicredits);
  await control("deliveries/release", {});
  await told();
  assert.equal(await available(), before + order.millicredits);
});
