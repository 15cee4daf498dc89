// The official Stripe client of npm drives the stand-in at STRIPE_URL with STRIPE_KEY. It promises: each answer went through the client's own
// code, errors are the client's own classes, and the client's own verifier reads the webhooks that arrived.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import Stripe from "stripe";

const url = new URL(process.env.STRIPE_URL);
const key = process.env.STRIPE_KEY;
const stripe = client();
const inbox = [];
let server, hook, endpoint, product, price, monthly;

function client(apiKey = key, more = {}) {
  return new Stripe(apiKey, { host: url.hostname, port: url.port, protocol: "http", maxNetworkRetries: 0, timeout: 10_000, telemetry: false, ...more });
}

async function control(path, body, method = "POST") {
  const answer = await fetch(new URL(`/stand-in/${path}`, url), {
    method, headers: { authorization: `Bearer ${key}`, "content-type": "application/json" }, body: body && JSON.stringify(body),
  });
  const json = await answer.json();
  assert.equal(answer.status, 200, JSON.stringify(json));
  return json;
}

async function delivered() {
  assert.equal((await control("deliveries/idle?timeout_ms=20000", undefined, "GET")).idle, true);
  const events = inbox.splice(0).map(({ body, signature }) => stripe.webhooks.constructEvent(body, signature, endpoint.secret));
  return events.filter((e) => e.livemode === false);
}

async function checkout(more = {}) {
  return stripe.checkout.sessions.create({
    mode: "payment", line_items: [{ price: price.id, quantity: 2 }], success_url: "http://127.0.0.1:1/done?session={CHECKOUT_SESSION_ID}", ...more,
  });
}

before(async () => {
  await control("reset");
  server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (part) => (body += part)).on("end", () => {
      inbox.push({ body, signature: request.headers["stripe-signature"] });
      response.end("ok");
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  hook = `http://127.0.0.1:${server.address().port}/hook`;
  endpoint = await stripe.webhookEndpoints.create({ url: hook, enabled_events: ["*"], api_version: Stripe.API_VERSION });
  product = await stripe.products.create({ name: "100 credits", metadata: { credits: "100" } });
  price = await stripe.prices.create({ product: product.id, currency: "usd", unit_amount: 500, lookup_key: "pack_100", currency_options: { inr: { unit_amount: 50_000 }, eur: { unit_amount: 450 } } });
  monthly = await stripe.prices.create({ product: product.id, currency: "usd", unit_amount: 1900, recurring: { interval: "month" }, lookup_key: "plan_small" });
});

after(() => {
  server.close();
  server.closeAllConnections();
});

test("the client and the stand-in speak the same version of the API", () => {
  assert.equal(Stripe.API_VERSION, product.lastResponse.apiVersion);
  assert.match(product.lastResponse.requestId, /^req_/);
});

test("customers are made, found, changed and deleted", async () => {
  const customer = await stripe.customers.create({ email: "a@example.com", name: "A", address: { city: "Pune", country: "IN" }, metadata: { account: "acc_1" } });
  assert.match(customer.id, /^cus_/);
  assert.equal((await stripe.customers.retrieve(customer.id)).address.city, "Pune");
  const changed = await stripe.customers.update(customer.id, { name: "", metadata: { account: "", plan: "x" } });
  assert.equal(changed.name, null);
  assert.deepEqual(changed.metadata, { plan: "x" });
  assert.equal((await stripe.customers.list({ email: "a@example.com" })).data[0].id, customer.id);
  assert.equal((await stripe.customers.del(customer.id)).deleted, true);
  assert.equal((await stripe.customers.retrieve(customer.id)).deleted, true);
  await assert.rejects(stripe.customers.update(customer.id, { name: "B" }), Stripe.errors.StripeInvalidRequestError);
});

test("prices are found by lookup key, with the amounts of each currency", async () => {
  const found = await stripe.prices.list({ lookup_keys: ["pack_100", "plan_small"], expand: ["data.currency_options", "data.product"] });
  assert.deepEqual(found.data.map((p) => p.lookup_key).sort(), ["pack_100", "plan_small"]);
  const pack = found.data.find((p) => p.lookup_key === "pack_100");
  assert.equal(pack.currency_options.inr.unit_amount, 50_000);
  assert.equal(pack.product.name, "100 credits");
  const moved = await stripe.prices.create({ product: product.id, currency: "usd", unit_amount: 600, lookup_key: "pack_100", transfer_lookup_key: true });
  assert.equal((await stripe.prices.retrieve(price.id)).lookup_key, null);
  await stripe.prices.update(price.id, { lookup_key: "pack_100", transfer_lookup_key: true });
  assert.equal((await stripe.prices.update(moved.id, { active: false })).active, false);
  await assert.rejects(stripe.prices.create({ product: product.id, currency: "usd", unit_amount: 1, lookup_key: "pack_100" }), { param: "lookup_key" });
});

test("a checkout is made, paid and read with all it has led to", async () => {
  await delivered();
  const session = await checkout({
    client_reference_id: "acc_1", metadata: { order: "7" }, payment_intent_data: { metadata: { order: "7" } }, customer_email: "b@example.com",
    invoice_creation: { enabled: true }, cancel_url: "http://127.0.0.1:1/back",
  });
  assert.match(session.id, /^cs_test_/);
  assert.deepEqual([session.status, session.payment_status, session.amount_total, session.payment_intent], ["open", "unpaid", 1000, null]);
  assert.ok((await (await fetch(session.url)).text()).includes("Play money"));
  await control(`checkout/${session.id}/pay`, { card: "ok" });
  const paid = await stripe.checkout.sessions.retrieve(session.id, { expand: ["line_items.data.price.product", "payment_intent.latest_charge.balance_transaction", "customer", "invoice"] });
  assert.deepEqual([paid.status, paid.payment_status, paid.customer.email], ["complete", "paid", "b@example.com"]);
  assert.equal(paid.line_items.data[0].price.product.metadata.credits, "100");
  assert.deepEqual([paid.payment_intent.status, paid.payment_intent.amount_received, paid.payment_intent.metadata.order], ["succeeded", 1000, "7"]);
  assert.equal(paid.payment_intent.latest_charge.balance_transaction.amount, 1000);
  assert.equal(paid.invoice.status, "paid");
  assert.equal((await stripe.checkout.sessions.listLineItems(session.id)).data[0].quantity, 2);
  const types = (await delivered()).map((e) => e.type);
  for (const type of ["customer.created", "payment_intent.created", "charge.succeeded", "payment_intent.succeeded", "invoice.paid", "checkout.session.completed"]) {
    assert.ok(types.includes(type), `${type} in ${types}`);
  }
});

test("a declined card leaves the checkout open, and an async payment comes later", async () => {
  const session = await checkout();
  const declined = await control(`checkout/${session.id}/pay`, { card: "declined" });
  assert.equal(declined.status, "open");
  const intent = await stripe.paymentIntents.retrieve(declined.payment_intent);
  assert.deepEqual([intent.status, intent.last_payment_error.decline_code], ["requires_payment_method", "generic_decline"]);
  await delivered();
  assert.equal((await control(`checkout/${session.id}/pay`, { card: "async" })).payment_status, "unpaid");
  await control(`checkout/${session.id}/settle`, { outcome: "succeeded" });
  assert.equal((await stripe.checkout.sessions.retrieve(session.id)).payment_status, "paid");
  const events = await delivered();
  assert.equal(events.find((e) => e.type === "checkout.session.completed").data.object.payment_status, "unpaid");
  assert.equal(events.find((e) => e.type === "checkout.session.async_payment_succeeded").data.object.payment_status, "paid");
  const other = await checkout();
  assert.equal((await stripe.checkout.sessions.expire(other.id)).status, "expired");
  await assert.rejects(stripe.checkout.sessions.expire(other.id), Stripe.errors.StripeInvalidRequestError);
});

test("refunds in parts go up to what was paid, and a dispute stops them", async () => {
  const session = await control(`checkout/${(await checkout()).id}/pay`, {});
  const part = await stripe.refunds.create({ payment_intent: session.payment_intent, amount: 300, reason: "requested_by_customer", metadata: { job: "1" } });
  assert.deepEqual([part.status, part.amount, part.object], ["succeeded", 300, "refund"]);
  await assert.rejects(stripe.refunds.create({ payment_intent: session.payment_intent, amount: 701 }), { param: "amount", statusCode: 400 });
  await stripe.refunds.create({ charge: part.charge });
  await assert.rejects(stripe.refunds.create({ charge: part.charge }), { code: "charge_already_refunded" });
  const charge = await stripe.charges.retrieve(part.charge, { expand: ["refunds"] });
  assert.deepEqual([charge.refunded, charge.amount_refunded, charge.refunds.data.length], [true, 1000, 2]);
  assert.equal((await stripe.refunds.list({ payment_intent: session.payment_intent })).data.length, 2);
  assert.equal((await control(`refunds/${part.id}/fail`)).status, "failed");
  assert.equal((await stripe.charges.retrieve(part.charge)).amount_refunded, 700);

  const second = await control(`checkout/${(await checkout()).id}/pay`, {});
  const opened = await control("disputes", { payment_intent: second.payment_intent });
  const listed = await stripe.disputes.list({ payment_intent: second.payment_intent, expand: ["data.charge"] });
  assert.deepEqual([listed.data[0].id, listed.data[0].status, listed.data[0].charge.disputed], [opened.id, "needs_response", true]);
  await assert.rejects(stripe.refunds.create({ payment_intent: second.payment_intent }), { code: "charge_disputed" });
  await control(`disputes/${opened.id}/close`, { outcome: "won" });
  assert.equal((await stripe.disputes.retrieve(opened.id)).balance_transactions.length, 2);
});

test("a subscription renews, changes, fails and ends", async () => {
  const session = await stripe.checkout.sessions.create({
    mode: "subscription", line_items: [{ price: monthly.id, quantity: 1 }], success_url: "http://127.0.0.1:1/done", subscription_data: { metadata: { account: "acc_2" } },
  });
  const paid = await control(`checkout/${session.id}/pay`, { email: "c@example.com" });
  let subscription = await stripe.subscriptions.retrieve(paid.subscription, { expand: ["latest_invoice.payments", "customer"] });
  assert.deepEqual([subscription.status, subscription.metadata.account, subscription.customer.email], ["active", "acc_2", "c@example.com"]);
  assert.equal(subscription.latest_invoice.payments.data[0].payment.type, "payment_intent");
  const item = subscription.items.data[0];
  assert.ok(item.current_period_end - item.current_period_start >= 28 * 86400);
  await delivered();
  await control(`subscriptions/${subscription.id}/renew`, {});
  const cycle = (await delivered()).find((e) => e.type === "invoice.paid").data.object;
  assert.deepEqual([cycle.billing_reason, cycle.amount_paid, cycle.parent.subscription_details.subscription], ["subscription_cycle", 1900, subscription.id]);
  const larger = await stripe.prices.create({ product: product.id, currency: "usd", unit_amount: 4900, recurring: { interval: "month" } });
  subscription = await stripe.subscriptions.update(subscription.id, { items: [{ id: item.id, price: larger.id }], proration_behavior: "always_invoice", expand: ["latest_invoice"] });
  assert.equal(subscription.items.data[0].price.id, larger.id);
  assert.equal(subscription.latest_invoice.billing_reason, "subscription_update");
  assert.equal(subscription.latest_invoice.status, "paid");
  assert.equal((await control(`subscriptions/${subscription.id}/renew`, { card: "declined" })).status, "past_due");
  const failed = (await delivered()).find((e) => e.type === "invoice.payment_failed").data.object;
  assert.deepEqual([failed.status, failed.amount_remaining], ["open", 4900]);
  await control(`customers/${failed.customer}/card`, { card: "declined" });
  await assert.rejects(stripe.invoices.pay(failed.id), Stripe.errors.StripeCardError);
  await control(`customers/${failed.customer}/card`, { card: "ok" });
  assert.equal((await stripe.invoices.pay(failed.id)).status, "paid");
  assert.equal((await stripe.subscriptions.retrieve(subscription.id)).status, "active");

  const seen = [];
  for await (const invoice of stripe.invoices.list({ customer: failed.customer, limit: 1 })) seen.push(invoice.billing_reason);
  assert.deepEqual(seen, ["subscription_cycle", "subscription_update", "subscription_cycle", "subscription_create"]);
  const invoice = await stripe.invoices.retrieve(failed.id);
  assert.ok((await (await fetch(invoice.hosted_invoice_url)).text()).includes(invoice.number));
  assert.ok((await (await fetch(invoice.invoice_pdf)).text()).startsWith("%PDF-1.4"));
  const links = await stripe.invoicePayments.list({ invoice: failed.id });
  assert.equal(links.data[0].status, "paid");

  const portal = await stripe.billingPortal.sessions.create({ customer: failed.customer, return_url: "http://127.0.0.1:1/account" });
  assert.ok((await (await fetch(portal.url)).text()).includes("Cancel the subscription"));
  const form = new URLSearchParams({ subscription: subscription.id, do: "cancel" });
  await fetch(portal.url, { method: "POST", body: form });
  assert.equal((await stripe.subscriptions.retrieve(subscription.id)).cancel_at_period_end, true);
  await stripe.subscriptions.update(subscription.id, { cancel_at_period_end: false });
  assert.equal((await stripe.subscriptions.cancel(subscription.id)).status, "canceled");
  assert.equal((await stripe.subscriptions.list({ customer: failed.customer })).data.length, 0);
  assert.equal((await stripe.subscriptions.list({ customer: failed.customer, status: "all" })).data.length, 1);
  assert.equal((await delivered()).filter((e) => e.type === "customer.subscription.deleted").length, 1);
});

test("a key makes one thing, with the same answer, and refuses other parameters", async () => {
  const options = { idempotencyKey: `judge-${Date.now()}` };
  const first = await stripe.customers.create({ name: "Once" }, options);
  const again = await stripe.customers.create({ name: "Once" }, options);
  assert.equal(again.id, first.id);
  assert.equal(again.lastResponse.headers["idempotent-replayed"], "true");
  await assert.rejects(stripe.customers.create({ name: "Twice" }, options), Stripe.errors.StripeIdempotencyError);
  // No answer, but done: the client's own retry finds the first result.
  await control("faults", { kind: "time_out_applied", ms: 3000, path: "/v1/customers" });
  const retried = await client(key, { maxNetworkRetries: 1, timeout: 500 }).customers.create({ name: "Retried", email: "retried@example.com" });
  assert.equal((await stripe.customers.list({ email: "retried@example.com" })).data.length, 1);
  assert.equal(retried.name, "Retried");
  // A key that is in use is a conflict.
  await control("faults", { kind: "delay", ms: 700, path: "/v1/customers" });
  const keyed = { idempotencyKey: `both-${Date.now()}` };
  const both = await Promise.allSettled([stripe.customers.create({ name: "Both" }, keyed), stripe.customers.create({ name: "Both" }, keyed)]);
  assert.deepEqual(both.map((b) => b.status).sort(), ["fulfilled", "rejected"]);
  assert.equal(both.find((b) => b.status === "rejected").reason.statusCode, 409);
});

test("errors are the client's own classes", async () => {
  const { errors } = Stripe;
  await assert.rejects(client("sk_test_wrong").customers.list(), errors.StripeAuthenticationError);
  await assert.rejects(stripe.customers.retrieve("cus_none"), (e) => e instanceof errors.StripeInvalidRequestError && e.code === "resource_missing" && e.statusCode === 404 && e.param === "id");
  await assert.rejects(stripe.prices.create({ currency: "usd", unit_amount: 5 }), { code: "parameter_missing", param: "product" });
  await assert.rejects(stripe.customers.create({ colour: "red" }), { code: "parameter_unknown", param: "colour" });
  await assert.rejects(checkout({ line_items: [{ price: "price_none", quantity: 1 }] }), { code: "resource_missing", param: "line_items[0][price]" });
  await control("faults", { kind: "rate_limit" });
  await assert.rejects(stripe.customers.list(), errors.StripeRateLimitError);
  await control("faults", { kind: "error500" });
  await assert.rejects(stripe.customers.list(), errors.StripeAPIError);
  await control("faults", { kind: "time_out", ms: 2000 });
  await assert.rejects(client(key, { timeout: 300 }).customers.list(), errors.StripeConnectionError);
  await assert.rejects(client(key, { apiVersion: "2020-08-27" }).customers.list(), errors.StripeInvalidRequestError);
});

test("lists page by hand and by themselves", async () => {
  for (let n = 0; n < 5; n += 1) await stripe.customers.create({ email: "page@example.com", name: String(n) });
  const all = await stripe.customers.list({ email: "page@example.com", limit: 2 }).autoPagingToArray({ limit: 100 });
  assert.deepEqual(all.map((c) => c.name), ["4", "3", "2", "1", "0"]);
  const back = await stripe.customers.list({ email: "page@example.com", limit: 2, ending_before: all[3].id });
  assert.deepEqual([back.data.map((c) => c.name), back.has_more], [["3", "2"], true]);
  const events = await stripe.events.list({ type: "customer.created", limit: 3 });
  assert.equal(events.data.length, 3);
  assert.equal((await stripe.events.retrieve(events.data[0].id)).data.object.name, "4");
});

test("the client's verifier takes what is signed and nothing else", async () => {
  await delivered();
  await stripe.customers.create({ name: "Signed" });
  await control("deliveries/idle", undefined, "GET");
  const { body, signature } = inbox.splice(0)[0];
  assert.equal(stripe.webhooks.constructEvent(body, signature, endpoint.secret).type, "customer.created");
  const { StripeSignatureVerificationError } = Stripe.errors;
  assert.throws(() => stripe.webhooks.constructEvent(body.replace("Signed", "Forged"), signature, endpoint.secret), StripeSignatureVerificationError);
  assert.throws(() => stripe.webhooks.constructEvent(body, signature, "whsec_other"), StripeSignatureVerificationError);
  const event = (await stripe.events.list({ limit: 1 })).data[0];
  for (const tamper of ["body", "signature", "old"]) {
    await control(`events/${event.id}/deliver`, { tamper });
    const bad = inbox.splice(0)[0];
    assert.throws(() => stripe.webhooks.constructEvent(bad.body, bad.signature, endpoint.secret), StripeSignatureVerificationError, tamper);
  }
});

test("webhook endpoints are listed without their secret, changed and deleted", async () => {
  assert.match(endpoint.secret, /^whsec_/);
  assert.equal((await stripe.webhookEndpoints.list()).data.find((e) => e.id === endpoint.id).secret, undefined);
  const other = await stripe.webhookEndpoints.create({ url: `${hook}/other`, enabled_events: ["charge.refunded"] });
  assert.equal((await stripe.webhookEndpoints.update(other.id, { disabled: true })).status, "disabled");
  assert.equal((await stripe.webhookEndpoints.del(other.id)).deleted, true);
  await assert.rejects(stripe.webhookEndpoints.retrieve(other.id), { statusCode: 404 });
});
