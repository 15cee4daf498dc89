//! The pages a browser sees.

use serde_json::json;

use crate::common::{Hook, Running, id, start};

async fn page(stripe: &Running, url: &str) -> (u16, String) {
    let answer = stripe.request("GET", url.strip_prefix(&stripe.url).unwrap()).send().await.unwrap();
    assert!(answer.headers()["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn press(stripe: &Running, url: &str, form: &'static str) -> (u16, String, String) {
    let answer = stripe.request("POST", url.strip_prefix(&stripe.url).unwrap()).body(form).send().await.unwrap();
    let location = answer.headers().get("location").map_or(String::new(), |l| l.to_str().unwrap().to_owned());
    (answer.status().as_u16(), location, answer.text().await.unwrap())
}

#[tokio::test]
async fn the_pay_button_pays_and_leads_back_with_the_session_s_id() {
    let (stripe, hook) = (start().await, Hook::start().await);
    hook.register(&stripe, &["checkout.session.completed"]).await;
    let session = stripe.checkout(&[("cancel_url", "http://127.0.0.1:1/back")]).await;
    let url = session["url"].as_str().unwrap();
    let (status, html) = page(&stripe, url).await;
    assert_eq!(status, 200);
    for part in ["Play money", "nothing is charged", "100 credits", "$10.00", "http://127.0.0.1:1/back"] {
        assert!(html.contains(part), "{part}");
    }
    let (status, _, html) = press(&stripe, url, "card=declined").await;
    assert_eq!(status, 402);
    assert!(html.contains("Your card was declined"));
    let (status, location, _) = press(&stripe, url, "card=ok&email=ada%40example.com").await;
    assert_eq!((status, location), (303, format!("http://127.0.0.1:1/done?s={}", id(&session))));
    stripe.idle().await;
    let event = hook.events().remove(0);
    assert_eq!(event["data"]["object"]["customer_details"]["email"], "ada@example.com");
    let (_, html) = page(&stripe, url).await;
    assert!(html.contains("is paid"));
    let (status, _, html) = press(&stripe, url, "card=ok").await;
    assert_eq!((status, html.contains("is paid")), (200, true), "a second press pays nothing");
    stripe.idle().await;
    assert_eq!(hook.types().len(), 1);
}

#[tokio::test]
async fn a_bank_debit_is_settled_on_the_page() {
    let stripe = start().await;
    let session = stripe.checkout(&[]).await;
    let url = session["url"].as_str().unwrap();
    assert_eq!(press(&stripe, url, "card=async").await.0, 303);
    assert!(page(&stripe, url).await.1.contains("under way"));
    assert_eq!(press(&stripe, url, "settle=failed").await.0, 303);
    let after = stripe.ok("GET", &format!("/v1/checkout/sessions/{}", id(&session)), &[("expand[]", "payment_intent")]).await;
    assert_eq!((after["payment_status"].as_str(), after["payment_intent"]["status"].as_str()), (Some("unpaid"), Some("requires_payment_method")));
    assert_eq!(press(&stripe, url, "settle=succeeded").await.0, 400, "it has failed for good");
    assert_eq!(press(&stripe, url, "card=maybe").await.0, 400);
}

#[tokio::test]
async fn what_a_caller_names_is_text_and_never_markup() {
    let stripe = start().await;
    let form = [
        ("mode", "payment"),
        ("success_url", "http://127.0.0.1:1/\"><script>"),
        ("cancel_url", "http://127.0.0.1:1/'onclick='x"),
        ("line_items[0][price_data][currency]", "usd"),
        ("line_items[0][price_data][unit_amount]", "500"),
        ("line_items[0][price_data][product_data][name]", "<script>alert(1)</script>"),
        ("line_items[0][quantity]", "1"),
    ];
    let session = stripe.ok("POST", "/v1/checkout/sessions", &form).await;
    let url = session["url"].as_str().unwrap().to_owned();
    let (_, html) = page(&stripe, &url).await;
    assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && !html.contains("<script") && !html.contains("'onclick"));
    press(&stripe, &url, "card=ok").await;
    assert!(!page(&stripe, &url).await.1.contains("<script"));
}

#[tokio::test]
async fn a_session_past_its_time_expires_by_itself() {
    let (stripe, hook) = (start().await, Hook::start().await);
    hook.register(&stripe, &["checkout.session.expired"]).await;
    let session = stripe.checkout(&[]).await;
    stripe.controlled("clock", json!({ "advance_s": 86_401 })).await;
    stripe.idle().await;
    assert_eq!(hook.types(), ["checkout.session.expired"]);
    let refused = stripe.control(&format!("checkout/{}/pay", id(&session)), json!({})).await;
    assert_eq!(refused.error("code"), "checkout_session_not_open");
    let (status, html) = page(&stripe, session["url"].as_str().unwrap()).await;
    assert_eq!((status, html.contains("has expired")), (410, true));
    assert_eq!(page(&stripe, &format!("{}/pay/cs_test_none", stripe.url)).await.0, 404);
}

#[tokio::test]
async fn the_portal_ends_only_its_own_customer_s_subscription() {
    let stripe = start().await;
    let plan = stripe.monthly("1900").await;
    let (mine, other) = (stripe.subscribed(&plan).await, stripe.subscribed(&plan).await);
    let (mine_id, other_id) = (mine["subscription"].as_str().unwrap(), other["subscription"].as_str().unwrap());
    let portal = stripe
        .ok("POST", "/v1/billing_portal/sessions", &[("customer", mine["customer"].as_str().unwrap()), ("return_url", "http://127.0.0.1:1/account")])
        .await;
    let url = portal["url"].as_str().unwrap();
    let act = async |subscription: &str, what: &str| {
        let answer =
            stripe.request("POST", url.strip_prefix(&stripe.url).unwrap()).body(format!("subscription={subscription}&do={what}")).send().await.unwrap();
        answer.status().as_u16()
    };
    let ends = async |subscription: &str| stripe.ok("GET", &format!("/v1/subscriptions/{subscription}"), &[]).await["cancel_at_period_end"].as_bool().unwrap();
    assert_eq!(act(other_id, "cancel").await, 400);
    assert!(!ends(other_id).await);
    assert_eq!(act(mine_id, "cancel").await, 303);
    assert!(ends(mine_id).await);
    let (_, html) = page(&stripe, url).await;
    assert!(html.contains("Keep it after all") && html.contains("http://127.0.0.1:1/account") && html.contains("A plan"));
    assert_eq!(act(mine_id, "keep").await, 303);
    assert!(!ends(mine_id).await);
    let invoice = stripe.ok("GET", "/v1/invoices", &[("customer", mine["customer"].as_str().unwrap())]).await["data"][0].clone();
    let (status, html) = page(&stripe, invoice["hosted_invoice_url"].as_str().unwrap()).await;
    assert_eq!((status, html.contains("$19.00")), (200, true));
}
