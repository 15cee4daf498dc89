//! What is true of every message.

use super::*;

#[test]
fn both_forms_say_the_same_and_fetch_nothing() {
    for (name, message) in examples() {
        for wrong in ["<img", "<script", "<link", "url(", "@import", "src=", "[", "&amp;amp;"] {
            assert!(!message.html.contains(wrong), "{name}: {wrong}");
        }
        let words = plain(&message.html);
        for word in message.text.split_whitespace().filter(|word| *word != "--") {
            let word = word.trim_end_matches(':');
            assert!(words.contains(word), "{name}: {word:?} is in the text alone");
        }
        assert!(!message.subject.contains(['\n', '\r']) && (8..=120).contains(&message.subject.chars().count()), "{name}: {}", message.subject);
        assert!(message.text.lines().all(|line| line.chars().count() <= 78 || line.starts_with("https://")), "{name}:\n{}", message.text);
        assert!(message.html.len() < 20_000, "{name}: Gmail cuts a mail of 100 kB, and ours are small");
    }
}

/// The text of an HTML page, near enough.
fn plain(html: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for c in html.chars() {
        match c {
            '<' => inside = true,
            '>' => {
                inside = false;
                text.push(' ');
            }
            c if !inside => text.push(c),
            _ => {}
        }
    }
    text.replace("&#39;", "'").replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

#[test]
fn no_field_breaks_out_of_its_place() {
    const EVIL: &str = "<b onload=x>\"'&\r\nBcc: eve@evil.example\r\n\r\nhttps://evil.example/ [body][footer]";
    let (link, at, minor) = ("https://kiln.example.org/x?a=1&b=\"><script>", 0, 1);
    let messages = [
        render(&SignIn { link, minutes: 15 }),
        render(&NewAddress { link, minutes: 15 }),
        render(&AddressTaken { sign_in: link }),
        render(&AddressChanged { new_address: EVIL, at }),
        render(&Invitation { link, organisation: EVIL, inviter: Some(EVIL), role: EVIL, expires_at: at }),
        render(&Receipt { credits: 1, amount_minor: minor, currency: EVIL, balance: 1, at, reference: Some(EVIL), invoice_url: Some(link) }),
        render(&GuestResult { link, until: at }),
        render(&GuestRefund { why: EVIL, amount_minor: minor, currency: EVIL, at }),
        render(&PaymentFailed { plan: EVIL, amount_minor: minor, currency: EVIL, link, next_try_at: None }),
        render(&SubscriptionEnded { plan: EVIL, why: Ended::Cancelled, at, balance: 0, link }),
        render(&WebhookDisabled { endpoint: EVIL, why: Disabled::Gone, link }),
        render(&AccountDeleted { account: Some(EVIL), at }),
    ];
    assert_eq!(messages.len(), examples().len(), "a new message is missing here");
    for message in messages {
        assert!(!message.subject.contains(['\r', '\n']), "{:?}", message.subject);
        for broken in ["<b ", "<script", "b=\">", "onload=x>"] {
            assert!(!message.html.contains(broken), "{broken}: {}", message.html);
        }
        assert!(!message.text.lines().any(|line| line.starts_with("Bcc:")), "{}", message.text);
        assert_eq!(message.html.matches("</html>").count(), 1);
        assert_eq!(message.html.matches("class=\"foot\"").count(), 1);
    }
}

#[test]
fn the_sign_in_link_stands_alone_on_a_line_of_the_text_and_twice_in_the_page() {
    let link = "https://kiln.example/sign-in?token=abc-_123";
    let message = render(&SignIn { link, minutes: 15 });
    assert!(message.text.lines().any(|line| line == link) && message.text.contains("15 minutes"));
    assert_eq!(message.html.matches(link).count(), 3);
}

#[test]
fn a_stranger_s_name_is_no_link_in_an_invitation() {
    let message = render(&Invitation {
        link: "https://kiln.example.org/i",
        organisation: "https://evil.example/free",
        inviter: Some("eve@evil.example"),
        role: "admin",
        expires_at: 0,
    });
    for form in [&message.text, &message.html, &message.subject] {
        assert!(!form.contains("evil.example") && !form.contains("https://evil"), "{form}");
    }
    assert!(message.text.contains("as an admin"));
}

#[test]
fn what_may_be_secret_in_an_endpoint_s_address_is_left_out() {
    let message = render(&WebhookDisabled { endpoint: "https://h.example/kiln?key=s3cret#f", why: Disabled::Failing { days: 5 }, link: "https://k.example/" });
    assert!(!message.text.contains("s3cret") && message.text.contains("for 5 days"));
    let message = render(&AddressChanged { new_address: "ada@example.org", at: 0 });
    assert!(message.text.contains("a***@e***.org") && !message.text.contains("ada@"));
}
