//! A short mail in its two forms: a heading, a few sentences, perhaps one link. No image, no script, nothing fetched from anywhere.

/// What a mail says. All of it is plain text: what stands in HTML is escaped here.
#[derive(Debug, Clone)]
pub struct Letter<'a> {
    pub subject: &'a str,
    /// One paragraph each.
    pub says: Vec<String>,
    /// What the button says, and where it leads.
    pub link: Option<(&'a str, String)>,
    /// Small print: what to do when it comes unasked.
    pub note: &'a str,
}

impl Letter<'_> {
    pub fn text(&self) -> String {
        let mut text = format!("{}\n\n", self.subject);
        for paragraph in &self.says {
            text += &format!("{paragraph}\n\n");
        }
        if let Some((_, url)) = &self.link {
            text += &format!("{url}\n\n");
        }
        text + self.note + "\n"
    }

    pub fn html(&self) -> String {
        let mut body = String::new();
        for paragraph in &self.says {
            body += &format!("<p style=\"margin:0 0 16px;font-size:15px;line-height:1.55;color:#5a5248;\">{}</p>\n", escape(paragraph));
        }
        if let Some((label, url)) = &self.link {
            let (label, url) = (escape(label), escape(url));
            body += &format!(
                "<p style=\"margin:12px 0 28px;\"><a href=\"{url}\" style=\"display:inline-block;padding:13px 28px;border-radius:8px;background:#b4491c;color:#ffffff;font-size:15px;font-weight:600;text-decoration:none;\">{label}</a></p>\n\
                 <p style=\"margin:0;font-size:13px;line-height:1.5;word-break:break-all;color:#80776b;\">{url}</p>\n"
            );
        }
        HTML.replace("{subject}", &escape(self.subject)).replace("{note}", &escape(self.note)).replace("{body}", &body)
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

const HTML: &str = r#"<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{subject}</title></head>
<body style="margin:0;padding:40px 16px;background:#f4f1ec;">
<div style="max-width:460px;margin:0 auto;padding:36px;background:#ffffff;border:1px solid #e4ded4;border-radius:12px;font-family:-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;color:#26221d;">
<p style="margin:0 0 24px;font-size:15px;font-weight:600;color:#b4491c;">Kiln</p>
<h1 style="margin:0 0 16px;font-size:22px;line-height:1.3;font-weight:600;">{subject}</h1>
{body}<p style="margin:28px 0 0;padding-top:20px;border-top:1px solid #eee9e1;font-size:13px;line-height:1.5;color:#80776b;">{note}</p>
</div>
</body>
</html>
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_is_text_in_both_forms_and_nothing_is_fetched() {
        let letter = Letter {
            subject: "Join",
            says: vec!["<img src=x> & \"Ada's\"".into()],
            link: Some(("Go", "https://kiln.example/invite?token=a".into())),
            note: "Ignore it.",
        };
        assert!(letter.text().contains("<img src=x> & \"Ada's\"") && letter.text().contains("https://kiln.example/invite?token=a\n"));
        let html = letter.html();
        assert!(html.contains("&lt;img src=x&gt; &amp; &quot;Ada&#39;s&quot;") && html.contains("href=\"https://kiln.example/invite?token=a\""));
        for remote in ["<img", "<script", "<link", "url(", "{body}", "{note}", "{subject}"] {
            assert!(!html.contains(remote), "{remote}");
        }
    }
}
