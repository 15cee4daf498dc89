//! The build of web/, served as the distribution serves it: a page's address that is no file gets index.html, a file that is missing is
//! a 404, hashed assets never change. Without a build it says how to make one.

use std::path::{Component, Path, PathBuf};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

const NO_BUILD: &str = "<!doctype html><html lang=en><meta charset=utf-8><title>Kiln has no pages yet</title>\
<body><h1>The pages are not built</h1><p>The API works. To build the pages, run <code>scripts/dev</code>, or: \
<code>cd web &amp;&amp; npm ci &amp;&amp; npm run build</code>, and load this page again.</p></body></html>\n";

#[derive(Debug, Clone)]
pub struct Pages {
    root: PathBuf,
}

impl Pages {
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// `path` is the request's, still percent-encoded. A HEAD is answered as a GET; the server leaves the body out.
    pub async fn serve(&self, path: &str, headers: &HeaderMap) -> Response {
        if !self.root.join("index.html").is_file() {
            return (StatusCode::SERVICE_UNAVAILABLE, [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-store")], NO_BUILD)
                .into_response();
        }
        // The rule of the distribution's function: a last segment without a dot is a page of the studio.
        let last = path.rsplit('/').next().unwrap_or_default();
        let wanted = if last.contains('.') { safe(path) } else { Some(PathBuf::from("index.html")) };
        let Some(wanted) = wanted else { return missing() };
        let file = self.root.join(&wanted);
        // A link out of the folder is no page either.
        let inside = file.canonicalize().is_ok_and(|file| self.root.canonicalize().is_ok_and(|root| file.starts_with(root)));
        if !inside || !file.is_file() {
            return missing();
        }
        let Ok(content) = tokio::fs::read(&file).await else { return missing() };
        let tag = tag(&content);
        let hashed = wanted.starts_with("assets");
        let cache = if hashed { "public, max-age=31536000, immutable" } else { "no-cache" };
        let mut response = if headers.get(header::IF_NONE_MATCH).is_some_and(|given| given.as_bytes() == tag.as_bytes()) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            ([(header::CONTENT_TYPE, content_type(&wanted))], Body::from(content)).into_response()
        };
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
        response.headers_mut().insert(header::ETAG, tag);
        response
    }
}

fn missing() -> Response {
    (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], "No such file.\n").into_response()
}

/// The path under the root, or none where it would leave it.
fn safe(path: &str) -> Option<PathBuf> {
    let decoded = decode(path)?;
    let relative = Path::new(decoded.trim_start_matches('/'));
    relative.components().all(|part| matches!(part, Component::Normal(_))).then(|| relative.to_owned())
}

fn decode(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok().filter(|path| !path.contains('\0'))
}

/// FNV-1a over the content: it only has to differ between two builds.
fn tag(content: &[u8]) -> HeaderValue {
    let hash = content.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    HeaderValue::from_str(&format!("\"{hash:016x}\"")).expect("hexadecimal digits are a header value")
}

fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("webp") => "image/webp",
        Some("avif") => "image/avif",
        Some("gif") => "image/gif",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("wasm") => "application/wasm",
        Some("txt") => "text/plain; charset=utf-8",
        Some("xml") => "application/xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn get(pages: &Pages, path: &str) -> (StatusCode, HeaderMap, String) {
        let response = pages.serve(path, &HeaderMap::new()).await;
        let (parts, body) = response.into_parts();
        (parts.status, parts.headers, String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    fn build() -> (tempfile::TempDir, Pages) {
        let root = tempfile::tempdir().unwrap();
        let dist = root.path().join("dist");
        std::fs::create_dir_all(dist.join("assets")).unwrap();
        std::fs::write(dist.join("index.html"), "studio").unwrap();
        std::fs::write(dist.join("assets/a-1.js"), "js").unwrap();
        std::fs::write(root.path().join("secret.txt"), "no").unwrap();
        std::os::unix::fs::symlink(root.path().join("secret.txt"), dist.join("link.txt")).unwrap();
        let pages = Pages::new(dist);
        (root, pages)
    }

    #[tokio::test]
    async fn a_page_s_address_gets_the_studio_and_a_missing_file_is_404() {
        let (_root, pages) = build();
        for path in ["/", "/s/tok_en", "/creations", "/job/job_1"] {
            let (status, headers, body) = get(&pages, path).await;
            assert_eq!((status, body.as_str()), (StatusCode::OK, "studio"), "{path}");
            assert_eq!(headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
            assert_eq!(headers[header::CACHE_CONTROL], "no-cache");
        }
        let (status, headers, body) = get(&pages, "/assets/a-1.js").await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "js"));
        assert_eq!(headers[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
        assert_eq!(headers[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
        let again = HeaderMap::from_iter([(header::IF_NONE_MATCH, headers[header::ETAG].clone())]);
        assert_eq!(pages.serve("/assets/a-1.js", &again).await.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(get(&pages, "/assets/a-2.js").await.0, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn no_path_leaves_the_build() {
        let (_root, pages) = build();
        for path in
            ["/../secret.txt", "/%2e%2e/secret.txt", "/assets/../../secret.txt", "/..%2fsecret.txt", "//etc/host.conf", "/link.txt", "/a%00.txt", "/%zz.txt"]
        {
            assert_eq!(get(&pages, path).await.0, StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[tokio::test]
    async fn without_a_build_the_page_says_how_to_make_one() {
        let (status, _, body) = get(&Pages::new("/nowhere/at/all".into()), "/").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains("npm run build"));
    }
}
