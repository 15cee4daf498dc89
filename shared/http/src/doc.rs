//! OpenAPI: one document of all functions, and what is true of every operation said once.

use crate::problem::Problem;
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
    components.schemas.insert(Problem::name().into_owned(), Problem::schema());
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
    for path in document.paths.paths.values_mut() {
        for operation in [&mut path.get, &mut path.post, &mut path.put, &mut path.patch, &mut path.delete].into_iter().flatten() {
            operation.responses.responses.insert("default".into(), problem.clone().into());
        }
    }
    document
}
