//! Bad input: each is a problem that names its field, and changes nothing.

use anyhow::{Result, ensure};
use kiln_tests::{Client, System, picture};
use reqwest::Method;
use serde_json::{Value, json};

async fn start() -> Result<(System, Client)> {
    let system = System::start(&[("KILN_POOL_MAX", "0")]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    Ok((system, ada))
}

/// Puts a file and completes it; the answer of the completion.
async fn complete(client: &Client, name: &str, content_type: &str, bytes: &[u8]) -> Result<kiln_tests::client::Answer> {
    let id = client.put(name, content_type, bytes).await?;
    let answer = client.post(&format!("/api/v1/uploads/{id}/complete"), json!({})).await?;
    if !answer.status.is_success() {
        let wanted = json!({ "kind": "upscale", "params": { "scale": 2 }, "inputs": [id] });
        client.post("/api/v1/jobs", wanted).await?.problem(422, "upload_not_ready", "inputs[0]")?;
    }
    Ok(answer)
}

#[tokio::test]
async fn files_that_are_not_what_they_say_are_refused_at_completion() -> Result<()> {
    let (_system, ada) = start().await?;
    let png = picture::png(16, 16);
    let gif = b"GIF89a\x10\x00\x10\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\x10\x00\x10\x00\x00\x02\x0e\x84\x8f\xa9\xcb\xed\x0f\xa3\x9c\xb4\xda\x8b\xb3>\x05\x00;";
    let truncated_jpeg = [&[0xff, 0xd8, 0xff, 0xe0, 0, 16][..], b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0", &[0xff, 0xda, 0, 8, 1, 1]].concat();
    let truncated_png = png[..png.len() - 20].to_vec();
    let wide = picture::png(4097, 1);
    let cases: [(&str, &str, &[u8], &str); 6] = [
        ("photo.jpg", "image/jpeg", &png, "a PNG under a JPEG's name"),
        ("photo.png", "image/png", gif, "a GIF"),
        ("photo.jpg", "image/jpeg", &truncated_jpeg, "a truncated JPEG"),
        ("photo.png", "image/png", &truncated_png, "a truncated PNG"),
        ("photo.png", "image/png", &wide, "4097 pixels"),
        ("photo.png", "image/png", b"MZ\x90\x00", "a program"),
    ];
    for (name, content_type, bytes, what) in cases {
        let answer = complete(&ada, name, content_type, bytes).await?;
        ensure!(answer.status == 422, "{what}: {} {}", answer.status, answer.body);
        ensure!(answer.body["field"].as_str().is_some_and(|field| !field.is_empty()), "{what}: {}", answer.body);
        println!("{what}: {} ({})", answer.body["detail"], answer.body["code"]);
    }
    ensure!(ada.check_books().await? == (10_000, 0));
    Ok(())
}

#[tokio::test]
async fn animated_pictures_and_bombs_are_refused_before_they_are_decoded() -> Result<()> {
    let (_system, ada) = start().await?;
    let animated = with_chunk(&picture::png(16, 16), b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0]);
    let bomb = huge_png(40_000, 40_000);
    ensure!(bomb.len() < 400_000, "{}", bomb.len());
    for (bytes, what) in [(&animated, "an animated PNG"), (&bomb, "a bomb")] {
        let answer = complete(&ada, "photo.png", "image/png", bytes).await?;
        ensure!(answer.status == 422, "{what}: {} {}", answer.status, answer.body);
        println!("{what}: {} ({})", answer.body["detail"], answer.body["code"]);
    }
    Ok(())
}

#[tokio::test]
async fn a_file_too_large_or_empty_is_refused_before_it_is_sent() -> Result<()> {
    let (_system, ada) = start().await?;
    let declare = |bytes: i64, kind: &str, name: &str| ada.post("/api/v1/uploads", json!({ "filename": name, "content_type": kind, "bytes": bytes }));
    declare(10 * 1024 * 1024 + 1, "image/png", "a.png").await?.problem(422, "bad_field", "bytes")?;
    declare(0, "image/png", "a.png").await?.problem(422, "bad_field", "bytes")?;
    declare(-5, "image/png", "a.png").await?.problem(422, "bad_field", "bytes")?;
    declare(10, "image/gif", "a.gif").await?.problem(422, "bad_field", "content_type")?;
    declare(10, "image/png", "").await?.problem(422, "bad_field", "filename")?;
    // What is sent must be what was declared.
    let upload = ada.post("/api/v1/uploads", json!({ "filename": "a.png", "content_type": "image/png", "bytes": 10 })).await?.expect(201)?;
    ensure!(!ada.put_part(&upload, &[7; 5000]).await?.is_success(), "more bytes than declared were taken");
    let id = upload["id"].as_str().unwrap_or_default();
    ada.post(&format!("/api/v1/uploads/{id}/complete"), json!({})).await?.problem(409, "upload_missing", "")?;
    Ok(())
}

#[tokio::test]
async fn bytes_swapped_after_completion_change_nothing_and_two_completions_are_one() -> Result<()> {
    let (_system, ada) = start().await?;
    let png = picture::png(16, 16);
    let upload = ada.post("/api/v1/uploads", json!({ "filename": "a.png", "content_type": "image/png", "bytes": png.len() })).await?.expect(201)?;
    let id = upload["id"].as_str().unwrap_or_default();
    ensure!(ada.put_part(&upload, &png).await?.is_success());
    let path = format!("/api/v1/uploads/{id}/complete");
    let both = tokio::try_join!(ada.post(&path, json!({})), ada.post(&path, json!({})))?;
    // The URL is signed anew each time, to the second.
    let unsigned = |answer: kiln_tests::client::Answer| {
        let mut view = answer.expect(200)?;
        view.as_object_mut().map(|view| view.remove("url"));
        anyhow::Ok(view)
    };
    let first = unsigned(both.0)?;
    ensure!(first == unsigned(both.1)? && first["width"] == 16 && first["state"] == "ready", "{first}");
    // The same presigned PUT, other bytes of the same length: whatever S3 says, the verified copy is what counts.
    let mut other = png.clone();
    other.reverse();
    ada.put_part(&upload, &other).await?;
    let again = unsigned(ada.post(&path, json!({})).await?)?;
    ensure!(again == first, "{again}");
    Ok(())
}

#[tokio::test]
async fn a_job_with_a_wrong_field_is_refused_by_its_name() -> Result<()> {
    let (_system, ada) = start().await?;
    let ready = ada.upload("photo.png", "image/png", &picture::png(16, 16)).await?;
    let waiting = ada.put("photo.png", "image/png", &picture::png(16, 16)).await?;
    let upscale = |params: Value, inputs: Value| json!({ "kind": "upscale", "params": params, "inputs": inputs });
    let cases = [
        (json!({ "kind": "mine_bitcoin" }), "bad_field", "kind"),
        (json!({}), "bad_field", "kind"),
        (json!({ "kind": 7 }), "bad_field", "kind"),
        (upscale(json!({ "scale": -2 }), json!([ready])), "bad_field", "params.scale"),
        (upscale(json!({ "scale": 5 }), json!([ready])), "bad_field", "params.scale"),
        (upscale(json!({ "scale": 2, "sharpen": -1 }), json!([ready])), "bad_field", "params.sharpen"),
        (upscale(json!({ "scale": 2, "sharpen": "NaN" }), json!([ready])), "bad_field", "params.sharpen"),
        (upscale(json!({ "scale": 2, "colour": "red" }), json!([ready])), "bad_field", "params.colour"),
        (upscale(json!("large"), json!([ready])), "bad_field", "params"),
        (upscale(json!({ "scale": 2 }), json!([])), "bad_field", "inputs"),
        (upscale(json!({ "scale": 2 }), json!([ready, ready])), "bad_field", "inputs"),
        (upscale(json!({ "scale": 2 }), json!(["nonsense"])), "bad_field", "inputs[0]"),
        (upscale(json!({ "scale": 2 }), json!(vec!["upl_01JD6Z3M8Q4V5X7Y9A2B3C4D5E"; 150])), "bad_field", "inputs"),
        (upscale(json!({ "scale": 2 }), json!([waiting])), "upload_not_ready", "inputs[0]"),
        (json!({ "kind": "noop", "priority": "urgent" }), "bad_field", "priority"),
        (json!({ "kind": "noop", "webhook": "http://169.254.169.254/" }), "bad_field", "webhook"),
    ];
    for (body, code, field) in cases {
        for path in ["/api/v1/jobs", "/api/v1/jobs/quote"] {
            let answer = ada.post(path, body.clone()).await?;
            answer.problem(422, code, field).map_err(|error| error.context(format!("{path} {body}")))?;
        }
    }
    for (text, code) in [("{\"kind\":\"noop\",\"params\":{\"ms\":NaN}}", "bad_json"), ("{", "bad_json"), ("", "bad_json"), ("{} {}", "bad_field")] {
        let answer = ada.send(ada.request(Method::POST, "/api/v1/jobs").header("content-type", "application/json").body(text)).await?;
        ensure!(answer.body["code"] == code, "{text}: {}", answer.body);
    }
    let large = json!({ "kind": "noop", "params": { "note": "x".repeat(1 << 20) } });
    ada.post("/api/v1/jobs", large).await?.problem(413, "too_large", "")?;
    ada.post("/api/v1/jobs", json!({ "kind": "noop", "params": { "note": "x".repeat(40_000) } })).await?.problem(422, "bad_field", "params")?;
    ada.get("/api/v1/jobs?limit=0").await?.problem(422, "bad_field", "limit")?;
    ada.get("/api/v1/jobs?limit=many").await?.problem(422, "bad_field", "limit")?;
    ada.get("/api/v1/jobs?cursor=abc").await?.problem(422, "bad_field", "cursor")?;
    ensure!(ada.all("/api/v1/jobs").await?.is_empty() && ada.check_books().await? == (10_000, 0));
    Ok(())
}

#[tokio::test]
async fn a_wrong_address_or_an_unknown_route_is_told_plainly() -> Result<()> {
    let (system, ada) = start().await?;
    for email in ["", "ada", "ada@", "@example.org", "a b@example.org", "ada@localhost", "a@b@c.org"] {
        system
            .client()
            .post("/api/v1/auth/request-link", json!({ "email": email }))
            .await?
            .problem(422, "bad_field", "email")
            .map_err(|error| error.context(email.to_owned()))?;
    }
    ada.get("/api/v1/nothing").await?.problem(404, "not_found", "")?;
    ensure!(ada.delete("/api/v1/jobs").await?.status == 405);
    Ok(())
}

/// A PNG with one more chunk after its header.
fn with_chunk(png: &[u8], kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut out = png[..33].to_vec();
    out.extend(chunk(kind, data));
    out.extend(&png[33..]);
    out
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut out = (data.len() as u32).to_be_bytes().to_vec();
    out.extend(kind);
    out.extend(data);
    out.extend(crc32(&out[4..]).to_be_bytes());
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 }))
}

/// A well-formed PNG header of that size with 200 kB of data.
fn huge_png(width: u32, height: u32) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    out.extend(chunk(b"IHDR", &header));
    out.extend(chunk(b"IDAT", &vec![0; 200_000]));
    out.extend(chunk(b"IEND", &[]));
    out
}
