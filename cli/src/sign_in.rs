//! Sign-in by a mailed link. On a local system the mail is read from it; elsewhere the link is pasted.

use crate::api::Api;
use crate::session::{self, Session};
use anyhow::{Context, Result, bail};
use reqwest::Method;
use serde_json::{Value, json};
use std::io::Write;
use std::time::{Duration, Instant};

/// How long a local system may take to show its mail.
const MAIL_WITHIN: Duration = Duration::from_secs(10);

pub async fn login(api: &mut Api, mail: &str, json: bool) -> Result<()> {
    let before = if api.is_local() { local_tokens(api, mail).await? } else { None };
    api.post("auth/request-link", &json!({"email": mail})).await?;
    let token = match before {
        Some(before) => local_token(api, mail, &before).await?,
        None => ask(mail)?,
    };
    let response = api.send(Method::POST, "/api/v1/auth/verify-link", Some(&json!({"token": token}))).await?;
    let cookies = response.headers().get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
    let cookie = cookies.filter_map(session_cookie).next().map(str::to_owned);
    let answer = api.read(response).await?;
    let cookie = cookie.context("the server sent no session")?;
    session::write(&Session { url: api.url(), mail: mail.to_owned(), cookie })?;
    if json {
        println!("{}", serde_json::to_string_pretty(&answer)?);
    } else {
        eprintln!("Signed in to {} as {mail}.", api.url());
    }
    Ok(())
}

pub async fn logout(api: &Api) -> Result<()> {
    if api.session().is_none() {
        eprintln!("You were not signed in at {}.", api.url());
        return Ok(());
    }
    let ended = api.post("auth/logout", &json!({})).await;
    session::forget()?;
    ended.context("the session is forgotten here, but the server was not told")?;
    eprintln!("Signed out of {}.", api.url());
    Ok(())
}

/// The value of the session's cookie in one `Set-Cookie`.
fn session_cookie(header: &str) -> Option<&str> {
    let value = header.strip_prefix("kiln_session=")?.split(';').next()?;
    (!value.is_empty()).then_some(value)
}

/// The token in a link, or in text around one, or alone.
fn token_in(text: &str) -> Option<&str> {
    let text = text.trim();
    let start = match text.find("token=") {
        Some(at) => at + "token=".len(),
        None if text.contains(['/', ' ', '\n']) => return None,
        None => 0,
    };
    let rest = &text[start..];
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "._~-".contains(c))).unwrap_or(rest.len());
    (end > 0).then(|| &rest[..end])
}

fn ask(mail: &str) -> Result<String> {
    eprintln!("A link was sent to {mail}.");
    eprint!("Paste the link, or its token: ");
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    token_in(&line).map(str::to_owned).context("that is no sign-in link")
}

/// The tokens mailed so far; `None` where there is no local mail.
async fn local_tokens(api: &Api, mail: &str) -> Result<Option<Vec<String>>> {
    let mut path = reqwest::Url::parse("http://x/local/mail")?;
    path.query_pairs_mut().append_pair("to", mail);
    let response = api.send(Method::GET, &format!("{}?{}", path.path(), path.query().unwrap_or_default()), None).await?;
    if !response.status().is_success() {
        return Ok(None);
    }
    let Ok(page) = response.json::<Value>().await else { return Ok(None) };
    let Some(items) = page["items"].as_array() else { return Ok(None) };
    Ok(Some(items.iter().filter_map(|item| token_in(item["text"].as_str()?).map(str::to_owned)).collect()))
}

async fn local_token(api: &Api, mail: &str, before: &[String]) -> Result<String> {
    let began = Instant::now();
    while began.elapsed() < MAIL_WITHIN {
        let tokens = local_tokens(api, mail).await?.unwrap_or_default();
        if let Some(token) = tokens.into_iter().find(|token| !before.contains(token)) {
            return Ok(token);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("no mail to {mail} came within {} s", MAIL_WITHIN.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_in_a_link_in_a_mail_and_alone() {
        assert_eq!(token_in("http://localhost:8080/sign-in?token=abc_D-1.x\n"), Some("abc_D-1.x"));
        assert_eq!(token_in("Hello,\nclick <https://k.example/s?token=abc&x=1> soon."), Some("abc"));
        assert_eq!(token_in("  abc123 "), Some("abc123"));
        assert_eq!(token_in("https://kiln.example/"), None);
        assert_eq!(token_in(""), None);
    }

    #[test]
    fn only_the_session_s_cookie_is_kept() {
        assert_eq!(session_cookie("kiln_session=abc; HttpOnly; Path=/"), Some("abc"));
        assert_eq!(session_cookie("kiln_session=; Max-Age=0"), None);
        assert_eq!(session_cookie("other=abc"), None);
    }
}
