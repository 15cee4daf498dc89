//! Who is signed in: shown and changed. A new address counts once it is confirmed there, by the same person, signed in.

use crate::AccountView;
use crate::link::MINUTES;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kiln_core::FieldError;
use kiln_core::profile::{self, Theme};
use kiln_core::time::{rfc3339, seconds};
use kiln_http::mail::{AddressChanged, AddressTaken, Message, NewAddress};
use kiln_http::{App, Body, Person, Problem, Result, limits, new_secret};
use kiln_store::{Account, Confirmation, NoMove, ProfileChange, Reason, Suppression};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
pub struct Me {
    account: AccountView,
    mail: MailView,
}

/// Whether mail reaches the account's address.
#[derive(Serialize, ToSchema)]
pub struct MailView {
    state: MailState,
    /// When the mail bounced or was complained about.
    #[schema(format = "date-time")]
    since: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MailState {
    Ok,
    /// The address takes no mail, so none is sent: sign-in links and invitations too. Change it while a session is open.
    Bounced,
    /// A mail of ours was called spam there, so none is sent.
    Complained,
}

impl From<Option<Suppression>> for MailView {
    fn from(known: Option<Suppression>) -> Self {
        match known.filter(Suppression::stops) {
            None => Self { state: MailState::Ok, since: None },
            Some(Suppression { reason: Reason::Bounced, since, .. }) => Self { state: MailState::Bounced, since: Some(rfc3339(since)) },
            Some(Suppression { reason: Reason::Complained, since, .. }) => Self { state: MailState::Complained, since: Some(rfc3339(since)) },
        }
    }
}

/// Who is signed in.
#[utoipa::path(get, path = "/api/v1/me", tag = "auth", responses((status = 200, body = Me)), security(("session" = [])))]
pub async fn me(State(app): State<App>, person: Person) -> Result<Json<Me>> {
    shown(&app, &person).await.map(Json)
}

async fn shown(app: &App, person: &Person) -> Result<Me> {
    let account = account(app, person).await?;
    let known = match &account.email {
        Some(email) => app.table().suppression(email).await?,
        None => None,
    };
    Ok(Me { account: account.into(), mail: known.into() })
}

async fn account(app: &App, person: &Person) -> Result<Account> {
    let account = app.table().account(&person.account_id).await?.filter(|account| account.state.is_none());
    account.ok_or_else(|| Problem::unauthorized("The account is gone."))
}

/// What is to change; what is left out stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MeChange {
    /// 1 to 80 characters; null takes it away.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 80, example = "Ada Lovelace")]
    name: Option<Option<String>>,
    #[serde(default)]
    preferences: Option<PreferencesChange>,
    /// Gets a mail with a link; it becomes the account's address when that is opened.
    #[serde(default)]
    #[schema(format = "email", max_length = 254)]
    email: Option<String>,
}

/// What is left out stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreferencesChange {
    #[serde(default)]
    marketing_mail: Option<bool>,
    /// A language such as `en` or `en-GB`; null is the browser's.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, pattern = "^[a-z]{2,3}(-[A-Z]{2})?$")]
    locale: Option<Option<String>>,
    #[serde(default)]
    theme: Option<Theme>,
}

/// Tells null from what is left out.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl MeChange {
    fn profile(&self) -> std::result::Result<ProfileChange, FieldError> {
        let name = self.name.as_ref().map(|name| name.as_deref().map(profile::name).transpose()).transpose()?;
        let Some(wanted) = &self.preferences else { return Ok(ProfileChange { name, ..ProfileChange::default() }) };
        let locale = wanted.locale.as_ref().map(|locale| locale.as_deref().map(profile::locale).transpose()).transpose();
        let locale = locale.map_err(|error| error.under("preferences"))?;
        Ok(ProfileChange { name, marketing_mail: wanted.marketing_mail, locale, theme: wanted.theme })
    }
}

/// The account as it is now.
#[derive(Serialize, ToSchema)]
pub struct MeChanged {
    account: AccountView,
    /// Whether a new address waits to be confirmed by the link that was mailed to it.
    email_pending: bool,
}

/// Changes name, preferences or address. A new address is used only once its link was opened; whether another account has it already,
/// only its owner is told, by that mail.
#[utoipa::path(patch, path = "/api/v1/me", tag = "auth", request_body = MeChange, responses((status = 200, body = MeChanged)), security(("session" = [])))]
pub async fn change(State(app): State<App>, person: Person, body: Body<MeChange>) -> Result<Json<MeChanged>> {
    let change = body.value.profile()?;
    let email = body.value.email.as_deref().map(kiln_core::address::parse).transpose()?;
    let before = account(&app, &person).await?;
    if email.is_some() && email == before.email {
        return Err(FieldError::new("email", "this is the account's address already").into());
    }
    // Before anything changes: a refusal has changed nothing.
    if email.is_some() && !limits::take(&app, "mail-account", person.account_id.as_str(), app.settings().mails_per_account).await? {
        return Err(too_many_mails(&app));
    }
    let after = app.table().change_profile(&person.account_id, &change).await?.ok_or_else(|| Problem::unauthorized("The account is gone."))?;
    if let (Some(to), Some(from)) = (&email, before.email) {
        ask(&app, &person, from, to).await?;
    }
    Ok(Json(MeChanged { account: after.into(), email_pending: email.is_some() }))
}

fn too_many_mails(app: &App) -> Problem {
    Problem::too_many("too_many_mails", "Your account has caused as many mails as it may in an hour; try again later.", limits::until_next(app.now()))
}

async fn ask(app: &App, person: &Person, from: String, to: &str) -> Result<()> {
    // The limit of each address is kept in silence, as for sign-in links: who asks need not be who owns it. It is a count of its own, or
    // anybody could use up the links by which the owner signs in.
    if !limits::take(app, "change-address", to, app.settings().links_per_address).await? {
        tracing::info!("an address has had its links of this hour");
        return Ok(());
    }
    if app.table().account_of(to).await?.is_some() {
        let sign_in = format!("{}/sign-in", app.public_url());
        send(app, to, &AddressTaken { sign_in: &sign_in }).await;
    } else {
        let secret = new_secret("");
        let expires_at = app.now() + seconds(u64::from(MINUTES) * 60);
        let confirmation = Confirmation { account_id: person.account_id.clone(), from, to: to.to_owned(), expires_at, ttl: expires_at / 1000 };
        app.table().put_confirmation(&secret.hash, &confirmation).await?;
        let link = format!("{}/confirm-email?token={}", app.public_url(), secret.token);
        send(app, to, &NewAddress { link: &link, minutes: MINUTES }).await;
    }
    Ok(())
}

/// Swallowed on purpose: the answer says nothing about an address, and what the mail tells of has happened.
async fn send(app: &App, to: &str, message: &impl Message) {
    if let Err(error) = app.send_mail(to, message).await {
        tracing::error!(%error, "a mail about a change of address could not be sent");
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmToken {
    /// What the mailed link ends in.
    #[schema(min_length = 1, max_length = 256)]
    token: String,
}

/// Makes the address that the link was mailed to the account's own. It takes the person who asked for it, signed in.
#[utoipa::path(post, path = "/api/v1/me/confirm-email", tag = "auth", request_body = ConfirmToken, responses((status = 200, body = Me), (status = 404, description = "The link was used, has expired, is another account's or never existed."), (status = 409)), security(("session" = [])))]
pub async fn confirm_email(State(app): State<App>, person: Person, body: Body<ConfirmToken>) -> Result<(StatusCode, Json<Me>)> {
    let token_hash = kiln_store::hash(&body.value.token);
    let now = app.now();
    let found = app.table().confirmation(&token_hash).await?;
    let confirmation = found.filter(|found| found.expires_at > now && found.account_id == person.account_id).ok_or_else(invalid)?;
    let fingerprint = limits::address(&app, &confirmation.from).await?;
    match app.table().change_address(&token_hash, &confirmation, &fingerprint, now).await? {
        Ok(()) => {}
        Err(NoMove::Stale) => return Err(invalid()),
        // Who holds the link owns the address, so this tells them nothing new.
        Err(NoMove::Taken) => return Err(Problem::conflict("address_taken", "This address has an account of its own by now.")),
    }
    tracing::info!(account_id = %person.account_id, "an account has another address");
    send(&app, &confirmation.from, &AddressChanged { new_address: &confirmation.to, at: app.now() }).await;
    Ok((StatusCode::OK, Json(shown(&app, &person).await?)))
}

/// Unknown, used, expired and other accounts' links answer the same.
fn invalid() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "link_invalid", "This link has been used, has expired or never existed; ask for a new one.").field("token")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn profile(json: serde_json::Value) -> std::result::Result<ProfileChange, FieldError> {
        serde_json::from_value::<MeChange>(json).expect("the shape is right").profile()
    }

    #[test]
    fn what_is_left_out_stays_and_null_takes_away() {
        assert_eq!(profile(json!({})).unwrap(), ProfileChange::default());
        assert_eq!(profile(json!({"name": null})).unwrap().name, Some(None));
        assert_eq!(profile(json!({"name": " Ada "})).unwrap().name, Some(Some("Ada".into())));
        let change = profile(json!({"preferences": {"locale": null, "theme": "dark"}})).unwrap();
        assert_eq!((change.locale, change.theme, change.marketing_mail), (Some(None), Some(Theme::Dark), None));
    }

    #[test]
    fn a_bad_field_is_named_by_its_path() {
        assert_eq!(profile(json!({"name": ""})).unwrap_err().field, "name");
        assert_eq!(profile(json!({"preferences": {"locale": "English"}})).unwrap_err().field, "preferences.locale");
        assert!(serde_json::from_value::<MeChange>(json!({"colour": 1})).is_err());
        assert!(serde_json::from_value::<MeChange>(json!({"preferences": {"theme": "pink"}})).is_err());
    }
}
