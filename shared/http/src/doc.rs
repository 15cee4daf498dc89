//! OpenAPI: one document of all functions, and what is true of every operation said once.

use crate::problem::Problem;
use kiln_core::ids::{SessionId, UploadId};
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder, Ref, ResponseBuilder};
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
        ("worker", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer))),
        ("admin", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer))),
    ] {
        components.security_schemes.insert(name.to_owned(), scheme.into());
    }
    let problem = ResponseBuilder::new()
        .description("Refused: a problem with a stable code, and the field where one is wrong.")
        .content("application/problem+json", ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name()))).build())
        .build();
    for (path, item) in &mut document.paths.paths {
        let methods = [("get", &mut item.get), ("post", &mut item.post), ("put", &mut item.put), ("patch", &mut item.patch), ("delete", &mut item.delete)];
        for (method, operation) in methods {
            let Some(operation) = operation else { continue };
            operation.operation_id = Some(operation_id(method, path));
            operation.responses.responses.insert("default".into(), problem.clone().into());
        }
    }
    document
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
