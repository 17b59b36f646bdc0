//! details: what kind of book it is, and (if `INVENTORY` names a service) whether it is in stock.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use proxyless::Mesh;
use serde_json::json;

use super::inventory::Client;
use super::json;
use crate::Error;

struct Details {
    pod: String,
    inventory: Option<Client>,
}

pub(super) fn router(mesh: &Mesh) -> Result<Router, Error> {
    let target = std::env::var("INVENTORY")
        .ok()
        .filter(|target| !target.is_empty());
    let details = Details {
        pod: std::env::var("POD_NAME").unwrap_or_default(),
        inventory: target.map(|target| Client::new(mesh.grpc_channel(target))),
    };
    Ok(Router::new()
        .route("/details/{id}", get(book))
        .with_state(Arc::new(details)))
}

async fn book(State(details): State<Arc<Details>>, Path(id): Path<String>) -> Response {
    let Ok(id) = id.parse::<u32>() else {
        return json(
            StatusCode::BAD_REQUEST,
            json!({"error": "please provide numeric product id"}),
        );
    };
    let mut book = json!({
        "id": id,
        "author": "William Shakespeare",
        "year": 1595,
        "type": "paperback",
        "pages": 200,
        "publisher": "PublisherA",
        "language": "English",
        "ISBN-10": "1234567890",
        "ISBN-13": "123-1234567890",
        "podname": details.pod,
    });
    if let Some(inventory) = &details.inventory {
        book["stock"] = match inventory.check(id).await {
            Ok(copies) => json!(copies),
            // the page is worth showing without it
            Err(status) => {
                tracing::debug!("inventory: {status}");
                json!(null)
            }
        };
    }
    json(StatusCode::OK, book)
}
