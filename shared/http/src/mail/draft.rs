//! What a message says, before it is text or HTML.

use super::words::{line, wrap};

/// Most characters of a subject; what is longer is cut with an ellipsis.
const SUBJECT_CHARS: usize = 120;

/// One message, in order of reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    subject: String,
    /// What a list of mails shows after the subject.
    pub(super) preview: String,
    pub(super) title: String,
    pub(super) parts: Vec<Part>,
    /// Why the reader gets it, and what to do if it isn't for them.
    pub(super) footer: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Says(String),
    /// Names and values, as on a receipt.
    Facts(Vec<(&'static str, String)>),
    /// The one thing to press, and its address.
    Button {
        label: &'static str,
        link: String,
    },
}

impl Draft {
    pub(super) fn new(subject: impl Into<String>, title: impl Into<String>) -> Self {
        Self { subject: subject.into(), preview: String::new(), title: title.into(), parts: Vec::new(), footer: String::new() }
    }

    pub(super) fn preview(mut self, text: impl Into<String>) -> Self {
        self.preview = text.into();
        self
    }

    pub(super) fn says(mut self, text: impl Into<String>) -> Self {
        self.parts.push(Part::Says(text.into()));
        self
    }

    pub(super) fn facts(mut self, facts: Vec<(&'static str, String)>) -> Self {
        self.parts.push(Part::Facts(facts));
        self
    }

    /// `link` is an address of ours or of Stripe's, never a user's.
    pub(super) fn button(mut self, label: &'static str, link: &str) -> Self {
        self.parts.push(Part::Button { label, link: link.to_owned() });
        self
    }

    pub(super) fn footer(mut self, text: impl Into<String>) -> Self {
        self.footer = text.into();
        self
    }

    /// One line, whatever the fields held.
    pub(super) fn subject(&self) -> String {
        line(&self.subject, SUBJECT_CHARS)
    }

    /// Plain text; an address stands alone on its line, so that no mail program breaks it.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{}\n\n", wrap(&self.title));
        for part in &self.parts {
            match part {
                Part::Says(words) => text += &format!("{}\n\n", wrap(words)),
                Part::Facts(facts) => {
                    let width = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default() + 1;
                    for (name, value) in facts {
                        text += &format!("{:<width$} {value}\n", format!("{name}:"));
                    }
                    text.push('\n');
                }
                Part::Button { label, link } => text += &format!("{label}:\n{link}\n\n"),
            }
        }
        format!("{text}-- \n{}\n", wrap(&self.footer))
    }
}
