//! Products: what is sold. A price says for how much.

use serde_json::{Value, json};

use super::{list, prices};
use crate::{
    error::{Answer, Refusal},
    params::Params,
    work::{Work, text},
};

pub fn blank(work: &mut Work<'_>, id: Option<String>, name: &str) -> Value {
    let id = id.unwrap_or_else(|| work.id("prod"));
    json!({
        "id": id, "object": "product", "active": true, "created": work.now, "default_price": null, "description": null, "images": [], "livemode": false,
        "marketing_features": [], "metadata": {}, "name": name, "package_dimensions": null, "shippable": null, "statement_descriptor": null,
        "tax_code": null, "tax_details": null, "type": "service", "unit_label": null, "updated": work.now, "url": null,
    })
}

fn apply(params: &mut Params, product: &mut Value) -> Result<(), Refusal> {
    if let Some(name) = params.filled("name")? {
        product["name"] = name.into();
    }
    for field in ["description", "statement_descriptor", "unit_label", "url", "tax_code"] {
        if let Some(text) = params.text(field)? {
            product[field] = if text.is_empty() { Value::Null } else { text.into() };
        }
    }
    if let Some(active) = params.boolean("active")? {
        product["active"] = active.into();
    }
    if let Some(shippable) = params.boolean("shippable")? {
        product["shippable"] = shippable.into();
    }
    if let Some(images) = params.texts("images")? {
        product["images"] = images.into();
    }
    if params.has("marketing_features") {
        let mut features = Vec::new();
        for mut feature in params.groups("marketing_features")? {
            features.push(json!({ "name": feature.required("name")? }));
            feature.done()?;
        }
        product["marketing_features"] = features.into();
    }
    product["metadata"] = params.metadata("metadata", &product["metadata"])?;
    Ok(())
}

pub fn create(work: &mut Work<'_>, mut params: Params) -> Answer {
    work.room()?;
    let id = params.filled("id")?;
    if let Some(id) = &id {
        if work.state.get(id).is_some_and(|known| known["deleted"] != true) {
            return Err(Refusal::field("id", "Product already exists.").code("resource_already_exists"));
        }
        if id.len() > 100 || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
            return Err(Refusal::field("id", "An id holds letters, digits, - and _, up to 100 of them."));
        }
    }
    if !params.has("name") {
        return Err(Refusal::missing("name"));
    }
    params.one_of("type", &["good", "service"])?;
    let mut product = blank(work, id, "");
    apply(&mut params, &mut product)?;
    let price = params.group("default_price_data")?;
    params.done()?;
    work.put(&product);
    if let Some(mut data) = price {
        let made = prices::inline(work, &mut data, text(&product, "id"))?;
        data.done()?;
        product["default_price"] = made["id"].clone();
    }
    work.made("product.created", &product);
    Ok(product)
}

pub fn update(work: &mut Work<'_>, id: &str, mut params: Params) -> Answer {
    let mut product = work.live("product", id, "id")?;
    apply(&mut params, &mut product)?;
    if let Some(price) = params.text("default_price")? {
        if !price.is_empty() && work.get("price", &price, "default_price")?["product"] != id {
            return Err(Refusal::field("default_price", "The price belongs to another product."));
        }
        product["default_price"] = if price.is_empty() { Value::Null } else { price.into() };
    }
    params.done()?;
    if work.state.get(id) != Some(&product) {
        product["updated"] = work.now.into();
    }
    work.changed("product.updated", &product);
    Ok(product)
}

pub fn list(work: &mut Work<'_>, mut params: Params) -> Answer {
    let active = params.boolean("active")?;
    let ids = params.texts("ids")?;
    let url = params.filled("url")?;
    list::page(work, "product", "/v1/products", params, |p| {
        active.is_none_or(|a| p["active"] == a)
            && ids.as_ref().is_none_or(|ids| ids.iter().any(|i| p["id"] == **i))
            && url.as_deref().is_none_or(|u| p["url"] == u)
    })
}

pub fn delete(work: &mut Work<'_>, id: &str, params: Params) -> Answer {
    params.done()?;
    let product = work.live("product", id, "id")?;
    if work.state.all("price").any(|p| p["product"] == id) {
        return Err(Refusal::invalid("This product cannot be deleted because it has one or more user-created prices."));
    }
    let deleted = json!({ "id": id, "object": "product", "deleted": true });
    work.put(&deleted);
    work.emit("product.deleted", &product);
    Ok(deleted)
}
