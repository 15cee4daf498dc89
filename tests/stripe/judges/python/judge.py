"""The official Stripe client of PyPI drives the stand-in at STRIPE_URL with STRIPE_KEY.

It promises: each answer went through the client's own code, errors are the client's own classes, and the client's own verifier reads the webhooks.
"""

import json
import os
import threading
import time
import unittest
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import stripe

URL = os.environ["STRIPE_URL"]
KEY = os.environ["STRIPE_KEY"]
INBOX: list[tuple[str, str]] = []


class Hook(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        INBOX.append((body, self.headers["stripe-signature"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def client(key=KEY, retries=0, timeout=10):
    return stripe.StripeClient(key, base_addresses={"api": URL}, max_network_retries=retries, http_client=stripe.RequestsClient(timeout=timeout))


def control(path, body=None, method="POST"):
    request = urllib.request.Request(f"{URL}/stand-in/{path}", method=method, headers={"Authorization": f"Bearer {KEY}"}, data=body and json.dumps(body).encode())
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


class Judge(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        control("reset")
        cls.server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
        threading.Thread(target=cls.server.serve_forever, daemon=True).start()
        cls.v1 = client().v1
        cls.endpoint = cls.v1.webhook_endpoints.create({"url": f"http://127.0.0.1:{cls.server.server_port}/hook", "enabled_events": ["*"]})
        cls.product = cls.v1.products.create({"name": "100 credits", "metadata": {"credits": "100"}})
        cls.price = cls.v1.prices.create({"product": cls.product.id, "currency": "usd", "unit_amount": 500, "lookup_key": "pack_100", "currency_options": {"inr": {"unit_amount": 50000}}})
        cls.monthly = cls.v1.prices.create({"product": cls.product.id, "currency": "usd", "unit_amount": 1900, "recurring": {"interval": "month"}})

    @classmethod
    def tearDownClass(cls):
        cls.server.shutdown()
        cls.server.server_close()

    def delivered(self):
        self.assertTrue(control("deliveries/idle?timeout_ms=20000", method="GET")["idle"])
        taken, INBOX[:] = INBOX[:], []
        return [stripe.Webhook.construct_event(body, signature, self.endpoint.secret) for body, signature in taken]

    def checkout(self, **more):
        return self.v1.checkout.sessions.create({"mode": "payment", "line_items": [{"price": self.price.id, "quantity": 2}], "success_url": "http://127.0.0.1:1/done", **more})

    def test_customers_are_made_found_changed_and_deleted(self):
        customer = self.v1.customers.create({"email": "a@example.com", "name": "A", "metadata": {"account": "acc_1"}})
        self.assertEqual(customer.last_response.headers["Stripe-Version"], stripe.api_version)
        self.assertEqual(self.v1.customers.update(customer.id, {"name": "", "metadata": {"account": "", "plan": "x"}}).metadata["plan"], "x")
        self.assertEqual(self.v1.customers.list({"email": "a@example.com"}).data[0].id, customer.id)
        self.assertTrue(self.v1.customers.delete(customer.id).deleted)
        self.assertTrue(self.v1.customers.retrieve(customer.id).deleted)

    def test_prices_are_found_by_lookup_key(self):
        found = self.v1.prices.list({"lookup_keys": ["pack_100"], "expand": ["data.currency_options", "data.product"]})
        self.assertEqual(found.data[0].currency_options["inr"].unit_amount, 50000)
        self.assertEqual(found.data[0].product.name, "100 credits")

    def test_a_checkout_is_made_paid_refunded_and_disputed(self):
        self.delivered()
        session = self.checkout(metadata={"order": "7"}, payment_intent_data={"metadata": {"order": "7"}}, currency="inr")
        self.assertEqual((session.status, session.payment_status, session.amount_total, session.currency), ("open", "unpaid", 100000, "inr"))
        control(f"checkout/{session.id}/pay", {"card": "ok"})
        paid = self.v1.checkout.sessions.retrieve(session.id, {"expand": ["line_items", "payment_intent.latest_charge"]})
        self.assertEqual((paid.status, paid.payment_status, paid.customer), ("complete", "paid", None))
        self.assertEqual(paid.line_items.data[0].amount_total, 100000)
        self.assertEqual(self.v1.checkout.sessions.line_items.list(session.id).data[0].quantity, 2)
        self.assertEqual(paid.payment_intent.metadata["order"], "7")
        refund = self.v1.refunds.create({"payment_intent": paid.payment_intent.id, "amount": 40000})
        self.assertEqual(refund.status, "succeeded")
        with self.assertRaises(stripe.InvalidRequestError) as raised:
            self.v1.refunds.create({"payment_intent": paid.payment_intent.id, "amount": 60001})
        self.assertEqual(raised.exception.param, "amount")
        dispute = control("disputes", {"charge": refund.charge})
        self.assertEqual(self.v1.disputes.list({"charge": refund.charge}).data[0].id, dispute["id"])
        control(f"disputes/{dispute['id']}/close", {"outcome": "lost"})
        self.assertEqual(self.v1.disputes.retrieve(dispute["id"]).status, "lost")
        types = [event.type for event in self.delivered()]
        for wanted in ["checkout.session.completed", "charge.succeeded", "payment_intent.succeeded", "refund.created", "charge.refunded", "charge.dispute.created", "charge.dispute.funds_withdrawn", "charge.dispute.closed"]:
            self.assertIn(wanted, types)
        self.assertNotIn("charge.dispute.funds_reinstated", types)

    def test_a_subscription_bills_each_period_and_pages_its_invoices(self):
        session = self.v1.checkout.sessions.create({"mode": "subscription", "line_items": [{"price": self.monthly.id, "quantity": 1}], "success_url": "http://127.0.0.1:1/done"})
        subscription = control(f"checkout/{session.id}/pay", {"email": "c@example.com"})["subscription"]
        control(f"subscriptions/{subscription}/renew", {})
        control(f"subscriptions/{subscription}/renew", {"card": "declined"})
        found = self.v1.subscriptions.retrieve(subscription, {"expand": ["latest_invoice"]})
        self.assertEqual((found.status, found.latest_invoice.status), ("past_due", "open"))
        control(f"subscriptions/{subscription}/retry", {"card": "ok"})
        invoices = list(self.v1.invoices.list({"subscription": subscription, "limit": 1}).auto_paging_iter())
        self.assertEqual([i.status for i in invoices], ["paid"] * 3)
        self.assertEqual(self.v1.subscriptions.update(subscription, {"cancel_at_period_end": True}).cancel_at_period_end, True)
        portal = self.v1.billing_portal.sessions.create({"customer": found.customer, "return_url": "http://127.0.0.1:1/account"})
        with urllib.request.urlopen(portal.url) as page:
            self.assertIn("Keep it after all", page.read().decode())
        self.assertEqual(self.v1.subscriptions.cancel(subscription).status, "canceled")
        self.assertEqual(self.v1.subscriptions.list({"customer": found.customer, "status": "canceled"}).data[0].id, subscription)

    def test_a_key_makes_one_thing_and_refuses_other_parameters(self):
        options = {"idempotency_key": f"judge-{time.time_ns()}"}
        first = self.v1.customers.create({"name": "Once"}, options)
        again = self.v1.customers.create({"name": "Once"}, options)
        self.assertEqual(first.id, again.id)
        self.assertEqual(again.last_response.headers["Idempotent-Replayed"], "true")
        with self.assertRaises(stripe.IdempotencyError):
            self.v1.customers.create({"name": "Twice"}, options)
        control("faults", {"kind": "time_out_applied", "ms": 3000, "path": "/v1/customers"})
        client(retries=1, timeout=0.5).v1.customers.create({"name": "Retried", "email": "retried@example.com"})
        self.assertEqual(len(self.v1.customers.list({"email": "retried@example.com"}).data), 1)

    def test_errors_are_the_client_s_own_classes(self):
        with self.assertRaises(stripe.AuthenticationError):
            client("sk_test_wrong").v1.customers.list()
        with self.assertRaises(stripe.InvalidRequestError) as raised:
            self.v1.customers.retrieve("cus_none")
        self.assertEqual((raised.exception.http_status, raised.exception.code), (404, "resource_missing"))
        with self.assertRaises(stripe.InvalidRequestError) as raised:
            self.v1.customers.create({"colour": "red"})
        self.assertEqual((raised.exception.param, raised.exception.code), ("colour", "parameter_unknown"))
        control("faults", {"kind": "rate_limit"})
        with self.assertRaises(stripe.RateLimitError):
            self.v1.customers.list()
        control("faults", {"kind": "error500"})
        with self.assertRaises(stripe.APIError):
            self.v1.customers.list()
        control("faults", {"kind": "time_out", "ms": 2000})
        with self.assertRaises(stripe.APIConnectionError):
            client(timeout=0.3).v1.customers.list()

    def test_the_verifier_takes_what_is_signed_and_nothing_else(self):
        self.delivered()
        self.v1.customers.create({"name": "Signed"})
        control("deliveries/idle", method="GET")
        body, signature = INBOX.pop()
        self.assertEqual(stripe.Webhook.construct_event(body, signature, self.endpoint.secret).type, "customer.created")
        for bad, secret in [(body.replace("Signed", "Forged"), self.endpoint.secret), (body, "whsec_other")]:
            with self.assertRaises(stripe.SignatureVerificationError):
                stripe.Webhook.construct_event(bad, signature, secret)
        event = self.v1.events.list({"limit": 1}).data[0]
        control(f"events/{event.id}/deliver", {"tamper": "old"})
        body, signature = INBOX.pop()
        with self.assertRaises(stripe.SignatureVerificationError):
            stripe.Webhook.construct_event(body, signature, self.endpoint.secret)


if __name__ == "__main__":
    unittest.main(verbosity=2)
