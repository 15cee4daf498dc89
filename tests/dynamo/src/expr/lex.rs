//! The words of an expression.

/// Bytes that one expression may have.
const LONGEST: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token<'a> {
    Word(&'a str),
    /// `#name`, with its sign.
    Name(&'a str),
    /// `:value`, with its sign.
    Value(&'a str),
    Index(usize),
    Sign(&'static str),
    End,
}

impl std::fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Token::Word(text) | Token::Name(text) | Token::Value(text) => f.write_str(text),
            Token::Index(number) => write!(f, "{number}"),
            Token::Sign(sign) => f.write_str(sign),
            Token::End => f.write_str("<EOF>"),
        }
    }
}

const SIGNS: [&str; 14] = ["<>", "<=", ">=", "=", "<", ">", "(", ")", "[", "]", ",", ".", "+", "-"];

pub fn tokens(text: &str) -> Result<Vec<Token<'_>>, String> {
    if text.is_empty() {
        return Err("The expression can not be empty;".into());
    }
    if text.len() > LONGEST {
        return Err(format!("Expression size has exceeded the maximum allowed size; expression size: {}", text.len()));
    }
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let word = |from: usize| rest[from..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(rest.len(), |end| end + from);
        let (token, length) = match first {
            '#' | ':' => {
                let end = word(1);
                if end == 1 {
                    return Err(format!("Syntax error; token: \"{first}\""));
                }
                (if first == '#' { Token::Name(&rest[..end]) } else { Token::Value(&rest[..end]) }, end)
            }
            'a'..='z' | 'A'..='Z' => (Token::Word(&rest[..word(0)]), word(0)),
            '0'..='9' => {
                let index = rest[..word(0)].parse().map_err(|_| format!("Syntax error; token: \"{}\"", &rest[..word(0)]))?;
                (Token::Index(index), word(0))
            }
            _ => {
                let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign)).ok_or_else(|| format!("Syntax error; token: \"{first}\""))?;
                (Token::Sign(sign), sign.len())
            }
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    tokens.push(Token::End);
    Ok(tokens)
}
