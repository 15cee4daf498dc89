//! OpenAPI: one document of all functions, and what is true of every operation said once.

use crate::problem::Problem;
use kiln_core::ids::{AccountId, SessionId, UploadId};
use std::collections::BTreeSet;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};

/// Puts the functions' documents together and adds what all operations share: the schemes of signing in, and that
/// every refusal is a problem.
pub fn assemble(parts: impl IntoIterator<Item = OpenApi>) -> OpenApi {
    let info = InfoBuilder::new()
        .title("Kiln")
        .version("1")
        .description(Some("Media made on GPUs: upload a photo, ask for a job, get the result. Money is integer millicredits; times are RFC 3339 UTC; every refusal is an RFC 9457 problem with a stable `code`."))
        .build();
    let mut document = OpenApiBuilder::new().info(info).build();
    for part in parts {
        document.merge(part);
    }
    let components = document.components.get_or_insert_default();
    // The router collects the schemas of bodies; ids also stand in paths.
    for (name, schema) in [(Problem::name(), Problem::schema()), (SessionId::name(), SessionId::schema()), (UploadId::name(), UploadId::schema())] {
        components.schemas.insert(name.into_owned(), schema);
    }
    for (name, scheme) in [
        ("session", SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new(crate::caller::COOKIE)))),
        ("api_key", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer))),
        ("worker", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer))),
        ("admin", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer))),
    ] {
        components.security_schemes.insert(name.to_owned(), scheme.into());
    }
    for (path, item) in &mut document.paths.paths {
        let methods = [("get", &mut item.get), ("post", &mut item.post), ("put", &mut item.put), ("patch", &mut item.patch), ("delete", &mut item.delete)];
        for (method, operation) in methods {
            let Some(operation) = operation else { continue };
            operation.operation_id = Some(operation_id(method, path));
            let statuses = refusals(operation);
            for_organisations(operation);
            for status in statuses {
                operation.responses.responses.entry(status.to_string()).or_insert_with(|| ResponseBuilder::new().build().into());
            }
            for (status, response) in &mut operation.responses.responses {
                if let RefOr::T(response) = response
                    && status.as_str() >= "400"
                    && response.content.is_empty()
                {
                    *response = problem(status, &response.description);
                }
            }
        }
    }
    document
}

/// The statuses that an operation refuses with because of what it is; what only it can refuse stands in its own declaration.
fn refusals(operation: &Operation) -> BTreeSet<u16> {
    let mut statuses = BTreeSet::from([429, 500, 503]);
    if operation.request_body.is_some() {
        statuses.extend([400, 413, 415, 422]);
    }
    for parameter in operation.parameters.iter().flatten() {
        let RefOr::T(parameter) = parameter else { continue };
        statuses.extend(match parameter.parameter_in {
            ParameterIn::Path => [404].as_slice(),
            ParameterIn::Query | ParameterIn::QueryString => &[422],
            // An organisation that isn't the caller's.
            ParameterIn::Header if parameter.name == ACTS_FOR => &[404],
            ParameterIn::Header => &[400, 422],
            ParameterIn::Cookie => &[],
        });
    }
    // The schemes don't show their names but when written out.
    let signed_in_by = serde_json::to_string(&operation.security).unwrap_or_default();
    if operation.security.is_some() {
        statuses.insert(401);
    }
    if signed_in_by.contains("session") {
        statuses.insert(403);
    }
    // A key without the scope; an organisation that isn't the caller's.
    if signed_in_by.contains("api_key") {
        statuses.extend([403, 404]);
    }
    statuses
}

/// The header by which a session acts for an organisation, as the document writes it.
const ACTS_FOR: &str = "Kiln-Account";

/// Whatever takes API keys is about an account's things, so a session may act for an organisation there.
fn for_organisations(operation: &mut Operation) {
    if !serde_json::to_string(&operation.security).unwrap_or_default().contains("api_key") {
        return;
    }
    let header = ParameterBuilder::new()
        .name(ACTS_FOR)
        .parameter_in(ParameterIn::Header)
        .description(Some("Acts for this organisation, of which the session's person is a member."))
        .schema(Some(AccountId::schema()))
        .build();
    operation.parameters.get_or_insert_default().push(header.into());
}

fn problem(status: &str, said: &str) -> Response {
    let meaning = match status {
        "400" => "The body is not JSON, or a header is malformed.",
        "401" => "Not signed in, or no longer.",
        "402" => "Not enough credits.",
        "403" => "Not allowed, or asked by a page of another site.",
        "404" => "There is no such thing, or it isn't yours.",
        "409" => "Its state doesn't allow that.",
        "413" => "The body is too large.",
        "415" => "The body is not declared as application/json.",
        "422" => "`field` is wrong; `detail` says how.",
        "429" => "Too many; ask again after `retry_after_s`.",
        "500" => "Our fault; quote the x-request-id.",
        "503" => "Too busy for the moment; ask again.",
        _ => "Refused.",
    };
    ResponseBuilder::new()
        .description(if said.is_empty() { meaning } else { said })
        .content("application/problem+json", ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name()))).build())
        .build()
}

/// The names of handlers repeat among functions; a method and a path don't: `get_jobs_id`.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.strip_prefix("/api/v1").unwrap_or(path).split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(method).chain(words).collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_named_by_its_method_and_path() {
        assert_eq!(operation_id("post", "/api/v1/jobs/{id}/cancel"), "post_jobs_id_cancel");
        assert_eq!(operation_id("get", "/api/v1/openapi.json"), "get_openapi_json");
    }
}
