//! The HTML around every message. Styles stand on the elements: most mail programs drop a style sheet. The one sheet there is only
//! narrows the margins of a small screen. No image and no font is fetched, so that opening a mail tells nobody anything.

use super::draft::{Draft, Part};
use super::words::{escape, line};

const FONT: &str = "font-family:-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;";

pub fn html(draft: &Draft) -> String {
    let mut body = String::new();
    for (i, part) in draft.parts.iter().enumerate() {
        let last = i + 1 == draft.parts.len();
        match part {
            Part::Says(words) => {
                let below = match draft.parts.get(i + 1) {
                    None => 0,
                    Some(Part::Facts(_)) => 12,
                    Some(_) => 24,
                };
                body += &format!("<p style=\"margin:0 0 {below}px;font-size:15px;line-height:1.55;color:#5a5248;\">{}</p>\n", escape(words));
            }
            Part::Facts(facts) => body += &table(facts, last),
            Part::Button { label, link } => body += &button(label, link, last),
        }
    }
    let (subject, preview) = (escape(&draft.subject()), escape(&line(&draft.preview, 200)));
    let (title, footer) = (escape(&draft.title), escape(&draft.footer));
    fill(&[("subject", &subject), ("preview", &preview), ("title", &title), ("footer", &footer), ("font", FONT), ("body", &body)])
}

/// The frame with its marks (`[title]`) replaced, in one pass: what a field holds is never taken for a mark.
fn fill(marks: &[(&str, &str)]) -> String {
    let mut page = String::new();
    let mut rest = HTML;
    while let Some((before, after)) = rest.split_once('[') {
        let (mark, after) = after.split_once(']').unwrap_or((after, ""));
        page += before;
        page += marks.iter().find(|(name, _)| *name == mark).map_or("", |(_, value)| value);
        rest = after;
    }
    page + rest
}

fn table(facts: &[(&'static str, String)], last: bool) -> String {
    let below = if last { 0 } else { 28 };
    let mut rows = String::new();
    for (i, (name, value)) in facts.iter().enumerate() {
        let rule = if i == 0 { "" } else { "border-top:1px solid #eee9e1;" };
        rows += &format!(
            "<tr><td valign=\"top\" style=\"{rule}padding:10px 16px 10px 0;font-size:14px;line-height:1.45;color:#80776b;white-space:nowrap;\">{}</td>\
             <td align=\"right\" valign=\"top\" style=\"{rule}padding:10px 0;font-size:14px;line-height:1.45;color:#26221d;font-weight:600;word-break:break-word;\">{}</td></tr>\n",
            escape(name),
            escape(value)
        );
    }
    format!("<table role=\"presentation\" width=\"100%\" cellpadding=\"0\" cellspacing=\"0\" style=\"margin:0 0 {below}px;{FONT}\">\n{rows}</table>\n")
}

/// The button, and its address again for whoever's mail program shows no button.
fn button(label: &str, link: &str, last: bool) -> String {
    let (label, link) = (escape(label), escape(link));
    let below = if last { 0 } else { 28 };
    format!(
        "<p style=\"margin:4px 0 28px;\"><a href=\"{link}\" style=\"display:inline-block;padding:13px 28px;border-radius:8px;background:#b4491c;color:#ffffff;font-size:15px;font-weight:600;text-decoration:none;\">{label}</a></p>\n\
         <p style=\"margin:0 0 6px;font-size:13px;line-height:1.5;color:#80776b;\">Or copy this address into your browser:</p>\n\
         <p style=\"margin:0 0 {below}px;font-size:13px;line-height:1.5;word-break:break-all;\"><a href=\"{link}\" style=\"color:#b4491c;\">{link}</a></p>\n"
    )
}

const HTML: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light">
<title>[subject]</title>
<style>@media (max-width:480px){.page{padding:16px 8px !important}.card{padding:28px 22px 26px !important}.foot{padding:18px 22px !important}}</style>
</head>
<body style="margin:0;padding:0;background:#f4f1ec;">
<div style="display:none;max-height:0;overflow:hidden;">[preview]</div>
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" style="background:#f4f1ec;">
<tr><td class="page" align="center" style="padding:40px 16px;">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" style="max-width:480px;background:#ffffff;border:1px solid #e4ded4;border-radius:12px;border-collapse:separate;">
<tr><td class="card" style="padding:36px 36px 32px;[font]color:#26221d;text-align:left;">
<p style="margin:0 0 24px;font-size:15px;font-weight:600;letter-spacing:.02em;color:#b4491c;">Kiln</p>
<h1 style="margin:0 0 12px;font-size:22px;line-height:1.3;font-weight:600;overflow-wrap:anywhere;">[title]</h1>
[body]</td></tr>
<tr><td class="foot" style="padding:20px 36px;border-top:1px solid #eee9e1;[font]font-size:13px;line-height:1.5;color:#80776b;text-align:left;">
[footer]
</td></tr>
</table>
</td></tr>
</table>
</body>
</html>
"#;
