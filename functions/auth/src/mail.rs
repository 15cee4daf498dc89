//! The mail that carries a sign-in link, as plain text and as HTML: no image, no script, nothing fetched from anywhere.

pub const SUBJECT: &str = "Sign in to Kiln";

/// For how many minutes a link works.
pub const MINUTES: i64 = 15;

/// One message in its two forms.
pub struct Message {
    pub text: String,
    pub html: String,
}

/// The message with this link. The link is made of our own address and of base64url, so it needs no escaping.
pub fn message(link: &str) -> Message {
    let text = format!(
        "Sign in to Kiln\n\n\
         Open this link to sign in:\n\n{link}\n\n\
         It works once, for {MINUTES} minutes.\n\n\
         If you didn't ask for it, you can ignore this mail: nobody gets in without the link.\n"
    );
    let html = HTML.replace("{link}", link).replace("{minutes}", &MINUTES.to_string()).replace("{subject}", SUBJECT);
    Message { text, html }
}

/// Styles stand on the elements: most mail programs drop a style sheet.
const HTML: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light">
<title>{subject}</title>
</head>
<body style="margin:0;padding:0;background:#f4f1ec;">
<div style="display:none;max-height:0;overflow:hidden;">Your link works once, for {minutes} minutes.</div>
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" style="background:#f4f1ec;">
<tr><td align="center" style="padding:40px 16px;">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" style="max-width:460px;background:#ffffff;border:1px solid #e4ded4;border-radius:12px;">
<tr><td style="padding:36px 36px 32px;font-family:-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;color:#26221d;">
<p style="margin:0 0 24px;font-size:15px;font-weight:600;letter-spacing:.02em;color:#b4491c;">Kiln</p>
<h1 style="margin:0 0 12px;font-size:22px;line-height:1.3;font-weight:600;">Sign in to Kiln</h1>
<p style="margin:0 0 28px;font-size:15px;line-height:1.55;color:#5a5248;">Press the button to sign in. It works once, for {minutes} minutes.</p>
<p style="margin:0 0 28px;"><a href="{link}" style="display:inline-block;padding:13px 28px;border-radius:8px;background:#b4491c;color:#ffffff;font-size:15px;font-weight:600;text-decoration:none;">Sign in</a></p>
<p style="margin:0 0 6px;font-size:13px;line-height:1.5;color:#80776b;">Or copy this address into your browser:</p>
<p style="margin:0;font-size:13px;line-height:1.5;word-break:break-all;"><a href="{link}" style="color:#b4491c;">{link}</a></p>
</td></tr>
<tr><td style="padding:20px 36px;border-top:1px solid #eee9e1;font-family:-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;font-size:13px;line-height:1.5;color:#80776b;">
If you didn't ask for it, you can ignore this mail: nobody gets in without the link.
</td></tr>
</table>
</td></tr>
</table>
</body>
</html>
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_carry_the_link_and_fetch_nothing() {
        let link = "https://kiln.example/sign-in?token=abc-_123";
        let message = message(link);
        assert!(message.text.contains(link) && message.text.contains("15 minutes"));
        assert_eq!(message.html.matches(link).count(), 3);
        for remote in ["<img", "<script", "<link", "url(", "{minutes}", "{subject}"] {
            assert!(!message.html.contains(remote), "{remote}");
        }
    }
}
