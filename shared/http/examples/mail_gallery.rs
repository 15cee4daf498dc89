//! Writes one of each mail, with everyday fields, for a person to look at: `index.html` shows all of them in both forms, and each is
//! there as `NAME.html` and `NAME.txt`. Run by scripts/mail-gallery with the folder as its argument.

use kiln_http::mail::{Rendered, examples};
use std::fmt::Write;
use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "target/mail".into()));
    std::fs::create_dir_all(&folder)?;
    let mut page = String::from(HEAD);
    for (name, Rendered { subject, text, html }) in examples() {
        std::fs::write(folder.join(format!("{name}.html")), &html)?;
        std::fs::write(folder.join(format!("{name}.txt")), format!("Subject: {subject}\n\n{text}"))?;
        let (subject, text) = (escape(&subject), escape(&text));
        let _ = writeln!(
            page,
            "<section><h2>{name}</h2><p>{subject}</p><div><iframe title=\"{name}\" src=\"{name}.html\"></iframe><pre>{text}</pre></div></section>"
        );
    }
    std::fs::write(folder.join("index.html"), page + "</body></html>\n")?;
    println!("{}", folder.join("index.html").display());
    Ok(())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

const HEAD: &str = "<!doctype html><html lang=en><meta charset=utf-8><title>Kiln's mails</title>
<style>body{font:14px system-ui;margin:24px;background:#fff;color:#222}h2{margin:32px 0 4px}p{margin:0 0 8px}div{display:flex;flex-wrap:wrap;gap:16px}
iframe{width:600px;height:640px;border:1px solid #ccc}pre{flex:1;min-width:300px;margin:0;padding:12px;background:#f6f6f6;white-space:pre-wrap;overflow-wrap:anywhere}</style><body>
";
