//! What the cloud's edge adds to every answer, read from the template: the distribution's security headers and the API's CORS rules.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::resolve::{Resolver, text};
use crate::template::{Result, wrong};

/// The headers of the distribution's response policy.
#[derive(Debug, Default)]
pub struct Security {
    headers: Vec<(HeaderName, HeaderValue, bool)>,
}

impl Security {
    /// `s3` is the stand-in's origin: there the buckets are no hosts of their own, so it joins the content policy.
    pub fn new(resolver: &Resolver, s3: &str) -> Result<Self> {
        let mut security = Self::default();
        for (id, _) in resolver.template.resources_of("AWS::CloudFront::ResponseHeadersPolicy") {
            let properties = resolver.properties(id)?;
            let policy = &properties["ResponseHeadersPolicyConfig"];
            for (name, setting) in policy["SecurityHeadersConfig"].as_object().into_iter().flatten() {
                let overrides = setting["Override"] == true;
                match name.as_str() {
                    // Browsers ignore it over plain HTTP, and must not learn it for localhost.
                    "StrictTransportSecurity" => {}
                    "ContentTypeOptions" => security.add("x-content-type-options", "nosniff", overrides)?,
                    "FrameOptions" => security.add("x-frame-options", &word(setting, "FrameOption")?, overrides)?,
                    "ReferrerPolicy" => security.add("referrer-policy", &word(setting, "ReferrerPolicy")?, overrides)?,
                    "ContentSecurityPolicy" => {
                        let policy = allow_origin(&word(setting, "ContentSecurityPolicy")?, &["img-src", "connect-src"], s3);
                        security.add("content-security-policy", &policy, overrides)?;
                    }
                    other => return Err(wrong!("{id}: {other} is a header that kiln-local can't set")),
                }
            }
            for item in policy["CustomHeadersConfig"]["Items"].as_array().into_iter().flatten() {
                security.add(&word(item, "Header")?, &word(item, "Value")?, item["Override"] == true)?;
            }
        }
        Ok(security)
    }

    fn add(&mut self, name: &str, value: &str, overrides: bool) -> Result<()> {
        let wrong = || wrong!("{name}: {value:?} is no header");
        self.headers.push((name.parse().map_err(|_| wrong())?, value.parse().map_err(|_| wrong())?, overrides));
        Ok(())
    }

    pub fn apply(&self, headers: &mut HeaderMap) {
        for (name, value, overrides) in &self.headers {
            if *overrides || !headers.contains_key(name) {
                headers.insert(name, value.clone());
            }
        }
    }
}

fn word(value: &Value, field: &str) -> Result<String> {
    text(&value[field]).ok_or_else(|| wrong!("{field} is missing"))
}

/// Adds an origin to the named directives of a content policy; the folds of the YAML become single spaces.
fn allow_origin(policy: &str, directives: &[&str], origin: &str) -> String {
    let directives = policy.split(';').map(str::trim).filter(|directive| !directive.is_empty()).map(|directive| {
        let mut words: Vec<_> = directive.split_whitespace().collect();
        if words.first().is_some_and(|name| directives.contains(name)) {
            words.push(origin);
        }
        words.join(" ")
    });
    directives.collect::<Vec<_>>().join("; ")
}

/// The API's CORS rules, which API Gateway itself answers.
#[derive(Debug, Default)]
pub struct Cors {
    origins: Vec<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
    preflight: Vec<(HeaderName, HeaderValue)>,
}

impl Cors {
    pub fn new(resolver: &Resolver) -> Result<Self> {
        let Some((id, _)) = resolver.template.resources_of("AWS::Serverless::HttpApi").next() else { return Ok(Self::default()) };
        let properties = resolver.properties(id)?;
        let rules = &properties["CorsConfiguration"];
        let list = |field: &str| rules[field].as_array().into_iter().flatten().filter_map(text).collect::<Vec<_>>();
        let mut cors = Self { origins: list("AllowOrigins"), ..Self::default() };
        let value = |text: String| HeaderValue::from_str(&text).map_err(|_| wrong!("{id}: {text:?} is no header value"));
        if rules["AllowCredentials"] == true {
            cors.headers.push((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")));
        }
        cors.headers.push((header::ACCESS_CONTROL_EXPOSE_HEADERS, value(list("ExposeHeaders").join(","))?));
        cors.preflight.push((header::ACCESS_CONTROL_ALLOW_METHODS, value(list("AllowMethods").join(","))?));
        cors.preflight.push((header::ACCESS_CONTROL_ALLOW_HEADERS, value(list("AllowHeaders").join(","))?));
        if let Some(age) = text(&rules["MaxAge"]) {
            cors.preflight.push((header::ACCESS_CONTROL_MAX_AGE, value(age)?));
        }
        Ok(cors)
    }

    /// The answer to a preflight, if this is one. One from a stranger is answered too, without a word of permission.
    pub fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<Response> {
        let asks = method == Method::OPTIONS && headers.contains_key(header::ORIGIN) && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !asks {
            return None;
        }
        let mut response = StatusCode::NO_CONTENT.into_response();
        if self.allow(headers.get(header::ORIGIN), response.headers_mut()) {
            response.headers_mut().extend(self.preflight.iter().cloned());
        }
        Some(response)
    }

    /// Adds what an allowed origin may see; says whether it is allowed.
    pub fn allow(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) -> bool {
        let Some(origin) = origin.filter(|origin| self.origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes())) else { return false };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stand_in_joins_only_the_directives_that_fetch_media() {
        let policy = "default-src 'self'; img-src 'self' https://a\n  https://b;\n connect-src 'self'";
        assert_eq!(
            allow_origin(policy, &["img-src", "connect-src"], "http://127.0.0.1:1"),
            "default-src 'self'; img-src 'self' https://a https://b http://127.0.0.1:1; connect-src 'self' http://127.0.0.1:1"
        );
    }
}
