//! What the API refuses, and in which words.

use serde_json::json;

use crate::common::{KEY, id, start, start_with};

/// Path, form, and the code and parameter of the refusal.
type Case<'a> = (&'a str, Vec<(&'a str, &'a str)>, &'a str, &'a str);

#[tokio::test]
async fn each_bad_parameter_is_refused_by_its_name() {
    let stripe = start().await;
    let price = stripe.price().await;
    let plan = stripe.monthly("1900").await;
    let paid = stripe.paid().await;
    let intent = paid["payment_intent"].as_str().unwrap();
    let subscription = stripe.subscribed(&plan).await["subscription"].as_str().unwrap().to_owned();
    let one = ("line_items[0][price]", price.as_str());
    let two = ("line_items[0][quantity]", "1");
    let done = ("success_url", "http://127.0.0.1:1/");
    let (payment, billed) = (("mode", "payment"), ("mode", "subscription"));
    let product = ("product_data[name]", "P");
    let of_subscription = format!("/v1/subscriptions/{subscription}");
    let long = "x".repeat(5_001);
    let sessions = "/v1/checkout/sessions";
    let cases: Vec<Case> = vec![
        ("/v1/customers", vec![("colour", "red")], "parameter_unknown", "colour"),
        ("/v1/customers", vec![("address[planet]", "Mars")], "parameter_unknown", "address[planet]"),
        ("/v1/customers", vec![("email", "nobody")], "email_invalid", "email"),
        ("/v1/customers", vec![("name", &long)], "", "name"),
        ("/v1/customers", vec![("name[first]", "A")], "", "name"),
        ("/v1/customers", vec![("metadata[a][b]", "1")], "", "metadata[a]"),
        ("/v1/customers", vec![("balance", "ten")], "parameter_invalid_integer", "balance"),
        ("/v1/products", vec![], "parameter_missing", "name"),
        ("/v1/products", vec![("name", "")], "parameter_invalid_empty", "name"),
        ("/v1/prices", vec![("unit_amount", "5"), product], "parameter_missing", "currency"),
        ("/v1/prices", vec![("currency", "usd"), product], "parameter_missing", "unit_amount"),
        ("/v1/prices", vec![("currency", "usd"), ("unit_amount", "5")], "parameter_missing", "product"),
        ("/v1/prices", vec![("currency", "dollars"), ("unit_amount", "5"), product], "", "currency"),
        ("/v1/prices", vec![("currency", "usd"), ("unit_amount", "-5"), product], "parameter_invalid_integer", "unit_amount"),
        ("/v1/prices", vec![("currency", "usd"), ("unit_amount", "5"), ("product", "prod_none")], "resource_missing", "product"),
        ("/v1/prices", vec![("currency", "usd"), ("unit_amount", "5"), product, ("recurring[interval]", "hour")], "", "recurring[interval]"),
        (
            "/v1/prices",
            vec![("currency", "usd"), ("unit_amount", "5"), product, ("recurring[interval_count]", "2")],
            "parameter_missing",
            "recurring[interval]",
        ),
        (
            "/v1/prices",
            vec![("currency", "usd"), ("unit_amount", "5"), product, ("currency_options[eur][x]", "1")],
            "parameter_missing",
            "currency_options[eur][unit_amount]",
        ),
        (sessions, vec![one, two, done], "parameter_missing", "mode"),
        (sessions, vec![("mode", "setup"), done], "", "mode"),
        (sessions, vec![payment, one, two], "parameter_missing", "success_url"),
        (sessions, vec![payment, one, two, ("success_url", "javascript:alert(1)")], "url_invalid", "success_url"),
        (sessions, vec![payment, done], "parameter_missing", "line_items"),
        (sessions, vec![payment, done, one], "parameter_missing", "line_items[0][quantity]"),
        (sessions, vec![payment, done, two], "parameter_missing", "line_items[0][price]"),
        (sessions, vec![payment, done, ("line_items[0][price]", "price_none"), two], "resource_missing", "line_items[0][price]"),
        (sessions, vec![payment, done, ("line_items[0][price]", plan.as_str()), two], "", "line_items[0][price]"),
        (sessions, vec![billed, done, one, two], "", "line_items"),
        (sessions, vec![payment, done, one, two, ("currency", "eur")], "", "line_items[0][price]"),
        (sessions, vec![payment, done, one, two, ("customer", "cus_none")], "resource_missing", "customer"),
        (sessions, vec![payment, done, one, two, ("customer_email", "nobody")], "email_invalid", "customer_email"),
        (sessions, vec![payment, done, one, two, ("expires_at", "1")], "", "expires_at"),
        (sessions, vec![payment, done, one, two, ("subscription_data[metadata][a]", "1")], "", "subscription_data"),
        (sessions, vec![billed, done, one, two, ("payment_intent_data[metadata][a]", "1")], "", "payment_intent_data"),
        (sessions, vec![payment, done, one, two, ("automatic_tax[enabled]", "true")], "", "automatic_tax[enabled]"),
        (
            sessions,
            vec![payment, done, one, two, ("line_items[0][adjustable_quantity][enabled]", "true")],
            "parameter_unknown",
            "line_items[0][adjustable_quantity]",
        ),
        ("/v1/refunds", vec![], "parameter_missing", ""),
        ("/v1/refunds", vec![("payment_intent", "pi_none")], "resource_missing", "payment_intent"),
        ("/v1/refunds", vec![("payment_intent", intent), ("amount", "1001")], "", "amount"),
        ("/v1/refunds", vec![("payment_intent", intent), ("amount", "0")], "parameter_invalid_integer", "amount"),
        ("/v1/refunds", vec![("payment_intent", intent), ("reason", "bored")], "", "reason"),
        (&of_subscription, vec![("items[0][id]", "si_none")], "resource_missing", "items[0][id]"),
        (&of_subscription, vec![("items[0][price]", price.as_str())], "", "items[0][price]"),
        (&of_subscription, vec![("proration_behavior", "maybe")], "", "proration_behavior"),
        ("/v1/billing_portal/sessions", vec![], "parameter_missing", "customer"),
        ("/v1/webhook_endpoints", vec![("url", "http://127.0.0.1:1/")], "parameter_missing", "enabled_events"),
        ("/v1/webhook_endpoints", vec![("url", "ftp://x"), ("enabled_events[]", "*")], "url_invalid", "url"),
        ("/v1/webhook_endpoints", vec![("url", "http://127.0.0.1:1/"), ("enabled_events[]", "all")], "", "enabled_events[0]"),
        ("/v1/webhook_endpoints", vec![("url", "http://127.0.0.1:1/"), ("enabled_events[]", "*"), ("api_version", "2020-08-27")], "", "api_version"),
    ];
    for (path, form, code, param) in cases {
        let said = stripe.call("POST", path, &form).await;
        assert_eq!(
            (said.status, said.error("type"), said.error("code"), said.error("param")),
            (400, "invalid_request_error", code, param),
            "{path} {form:?}: {}",
            said.body
        );
        assert!(!said.error("message").is_empty());
    }
    for (query, param) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("starting_after=cus_none", "starting_after"),
        ("created[since]=1", "created[since]"),
        ("colour=red", "colour"),
    ] {
        let said = stripe.call("GET", &format!("/v1/customers?{query}"), &[]).await;
        assert_eq!((said.status, said.error("param")), (400, param), "{}", said.body);
    }
    let said = stripe.call("GET", &format!("/v1/payment_intents/{intent}"), &[("expand[]", "amount")]).await;
    assert_eq!((said.status, said.error("param")), (400, "expand"));
}

#[tokio::test]
async fn ids_that_are_not_here_and_paths_that_are_not_served_are_404() {
    let stripe = start().await;
    for path in [
        "customers/cus_x",
        "products/prod_x",
        "prices/price_x",
        "checkout/sessions/cs_x",
        "payment_intents/pi_x",
        "charges/ch_x",
        "refunds/re_x",
        "disputes/du_x",
        "subscriptions/sub_x",
        "invoices/in_x",
        "webhook_endpoints/we_x",
        "events/evt_x",
    ] {
        let said = stripe.call("GET", &format!("/v1/{path}"), &[]).await;
        assert_eq!((said.status, said.error("code"), said.error("param")), (404, "resource_missing", "id"), "{path}");
    }
    // One kind's id is no other kind's.
    let price = stripe.price().await;
    assert_eq!(stripe.call("GET", &format!("/v1/products/{price}"), &[]).await.status, 404);
    for (method, path) in [("GET", "/v1/tokens"), ("POST", "/v1/payment_intents"), ("DELETE", "/v1/prices/x"), ("GET", "/stand-in/nothing")] {
        assert_eq!(stripe.call(method, path, &[]).await.status, 404, "{method} {path}");
    }
}

#[tokio::test]
async fn only_the_secret_key_opens_the_api_and_the_controls() {
    let stripe = start().await;
    for path in ["/v1/customers", "/stand-in/deliveries"] {
        assert_eq!(stripe.said(stripe.request("GET", path)).await.status, 401);
        let wrong = stripe.said(stripe.request("GET", path).bearer_auth("sk_test_of_the_testz")).await;
        assert_eq!((wrong.status, wrong.error("type")), (401, "invalid_request_error"));
        assert!(!wrong.error("message").contains("sk_test"), "the key isn't told");
        assert_eq!(stripe.said(stripe.request("GET", path).basic_auth(KEY, None::<&str>)).await.status, 200);
        let answered = stripe.said(stripe.request("GET", path).bearer_auth(KEY)).await;
        assert_eq!(answered.status, 200);
    }
    let said = stripe.call("GET", "/v1/customers", &[]).await;
    assert_eq!(said.headers["stripe-version"], kiln_stripe_stand_in::API_VERSION);
    assert!(said.headers["request-id"].to_str().unwrap().starts_with("req_"));
    let old = stripe.said(stripe.request("GET", "/v1/customers").bearer_auth(KEY).header("stripe-version", "2020-08-27")).await;
    assert_eq!(old.status, 400);
}

#[tokio::test]
async fn bodies_that_are_no_form_are_refused() {
    let stripe = start().await;
    let json = stripe.said(stripe.request("POST", "/v1/customers").bearer_auth(KEY).json(&json!({ "name": "A" }))).await;
    assert_eq!(json.status, 400);
    let form = |body: Vec<u8>| stripe.request("POST", "/v1/customers").bearer_auth(KEY).header("content-type", "application/x-www-form-urlencoded").body(body);
    assert_eq!(stripe.said(form(vec![b'n', b'=', 0xff])).await.status, 400);
    assert_eq!(stripe.said(form(b"name[=A".to_vec())).await.status, 400);
    assert_eq!(stripe.said(form(vec![b'x'; 300 * 1024])).await.status, 413);
}

#[tokio::test]
async fn a_refused_call_leaves_nothing_behind() {
    let stripe = start().await;
    let inline = [
        ("mode", "payment"),
        ("success_url", "http://127.0.0.1:1/"),
        ("line_items[0][price_data][currency]", "usd"),
        ("line_items[0][price_data][unit_amount]", "500"),
        ("line_items[0][price_data][product_data][name]", "Left behind"),
        ("line_items[0][quantity]", "1"),
        ("colour", "red"),
    ];
    assert_eq!(stripe.call("POST", "/v1/checkout/sessions", &inline).await.status, 400);
    for kind in ["products", "prices", "checkout/sessions", "events"] {
        assert_eq!(stripe.ok("GET", &format!("/v1/{kind}"), &[]).await["data"], json!([]), "{kind}");
    }
}

#[tokio::test]
async fn a_full_stand_in_says_so_and_keeps_serving() {
    let stripe = start_with(|c| c.max_objects = 20).await;
    let mut made = 0;
    let refused = loop {
        let said = stripe.call("POST", "/v1/customers", &[("name", "A")]).await;
        if said.status != 200 {
            break said;
        }
        made += 1;
    };
    assert_eq!((refused.status, refused.error("code"), made), (400, "stand_in_full", 9));
    assert_eq!(stripe.ok("GET", "/v1/customers", &[]).await["data"].as_array().unwrap().len(), 9);
    stripe.controlled("reset", json!({})).await;
    stripe.ok("POST", "/v1/customers", &[("name", "A")]).await;
    for _ in 0..30 {
        let customer = stripe.ok("GET", "/v1/customers", &[]).await["data"][0].clone();
        stripe.ok("POST", &format!("/v1/customers/{}", id(&customer)), &[("metadata[n]", &format!("{}", next_number()))]).await;
    }
    let events = stripe.ok("GET", "/v1/events", &[("limit", "100")]).await;
    assert_eq!(events["data"].as_array().unwrap().len(), 20, "the oldest events go");
}

/// A number that differs at each call.
fn next_number() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[tokio::test]
async fn controls_refuse_what_they_do_not_know() {
    let stripe = start().await;
    let paid = stripe.paid().await;
    let pay = format!("checkout/{}/pay", id(&paid));
    assert_eq!(stripe.control(&pay, json!({ "card": "gold" })).await.error("param"), "card");
    assert_eq!(stripe.control(&pay, json!({})).await.error("code"), "checkout_session_not_open");
    assert_eq!(stripe.control("checkout/cs_none/pay", json!({})).await.status, 404);
    assert_eq!(stripe.control(&format!("checkout/{}/settle", id(&paid)), json!({ "outcome": "failed" })).await.status, 400);
    assert_eq!(stripe.control("faults", json!({ "kind": "earthquake" })).await.status, 400);
    assert_eq!(stripe.control("clock", json!({ "advance_s": -1 })).await.status, 400);
    assert_eq!(stripe.control("disputes", json!({})).await.error("param"), "charge");
    let intent = paid["payment_intent"].as_str().unwrap();
    assert_eq!(stripe.control("disputes", json!({ "payment_intent": intent, "amount": 1_001 })).await.error("param"), "amount");
    assert_eq!(stripe.control("deliveries/release", json!({ "order": ["evt_none"] })).await.error("param"), "order");
    assert_eq!(stripe.control("events/evt_none/deliver", json!({})).await.status, 404);
    assert_eq!(stripe.control("deliver", json!({ "body": "x" })).await.error("param"), "endpoint");
}
