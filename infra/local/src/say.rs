//! What is said to the person at the terminal. It goes to standard error with the logs; standard output carries the ready line alone.
//! A terminal that is gone is no reason to stop, so nothing here fails.

use std::io::Write;

use crate::mail::Mail;

/// One block of lines, kept together.
pub fn say(text: &str) {
    let mut terminal = std::io::stderr().lock();
    let _ = writeln!(terminal, "{text}");
}

/// For programs that wait for us: one line, once.
pub fn ready(url: &str) {
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "kiln-local ready {url}").and_then(|()| output.flush());
}

pub fn mail(mail: &Mail) {
    let body = mail.text.trim_end().lines().map(|line| format!("  │ {line}\n")).collect::<String>();
    let link = mail.link().map(|link| format!("  └ {link}\n")).unwrap_or_default();
    say(&format!("\n  ┌ mail to {}: {}\n{body}{link}", mail.to, mail.subject));
}
